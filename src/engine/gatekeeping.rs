//! What the gates need to know of the version that is wanted: remembered, asked for beside the app's task, which goes on
//! looking after what serves meanwhile.

use crate::engine::clock::Utc;
use tokio_util::task::AbortOnDropHandle;

use crate::decide::admission::{Admission, due, next};
use crate::model::{
    App, Approval, Check, DeploymentResult, Digest, Evidence, Gate, Hold, ScanSubject, ScanVerdict, SignatureVerdict,
    Tag, Time,
};
use crate::ports::{Store, StoreError};

use super::Ports;
use super::looking::Seeing;
use super::observer::{TagView, chain};
use super::reconciler::{Parts, Reconciler, Reply};

/// History entries that are searched for what has served.
const HISTORY: usize = 200;

/// What was asked of an app whose version had not been looked at yet; goes on when it has.
pub(super) struct Asked {
    pub(super) reason: Option<String>,
    pub(super) forced: bool,
    pub(super) reply: Reply,
}

/// What a check found.
enum Finding {
    Signature(SignatureVerdict),
    Scan(ScanVerdict),
}

/// What is known of the version that waits, and what is being found out.
#[derive(Default)]
pub(super) struct Gatekeeping {
    /// The version, and since when it is wanted.
    about: Option<(Digest, Time)>,
    evidence: Evidence,
    running: Option<(Check, AbortOnDropHandle<Finding>)>,
    /// Something may have changed: the next look does not wait for its time.
    impatient: bool,
    asked: Option<Asked>,
}

impl Gatekeeping {
    /// What is known of a version.
    fn of(&self, digest: &Digest) -> (Option<Time>, Evidence) {
        match &self.about {
            Some((about, since)) if about == digest => (Some(*since), self.evidence.clone()),
            _ => (None, Evidence::default()),
        }
    }

    /// The next look is now, whatever was planned.
    pub(super) fn look_now(&mut self) {
        self.impatient = true;
    }

    /// Somebody has signed something, perhaps this: the next look for a signature is now, and the waits begin anew. False
    /// when none is wanted.
    pub(super) fn look_for_signature(&mut self) -> bool {
        if self.about.is_none() {
            return false;
        }
        match &mut self.evidence.signature {
            Some(looked) if matches!(looked.verdict, SignatureVerdict::Verified { .. }) => return false,
            Some(looked) => looked.count = 0,
            None => {}
        }
        self.impatient = true;
        true
    }

    /// Finds out what the gate wants to know, beside the app's task.
    fn pursue(&mut self, parts: &Parts, digest: &Digest, gate: Gate, tag: Option<&Tag>) {
        let now = Utc::now();
        if self.about.as_ref().is_none_or(|(about, _)| about != digest) {
            *self = Self { about: Some((digest.clone(), now)), asked: self.asked.take(), ..Self::default() };
        }
        if self.running.is_some() {
            // It may have begun before that which made us impatient: another one follows.
            return;
        }
        let patient = matches!(gate, Gate::Approval | Gate::Soak | Gate::Window);
        let asked_at = if std::mem::take(&mut self.impatient) && !patient { Time::MAX_UTC } else { now };
        let Some(check) = due(&parts.app.gates, &self.evidence, asked_at) else { return };
        let (app, ports) = (parts.app.clone(), parts.ports.clone());
        let (digest, tag) = (digest.clone(), tag.cloned());
        let task = async move {
            match check {
                Check::Signature => Finding::Signature(signature(&app, &ports, &digest).await),
                Check::Scan => Finding::Scan(scan(&app, &ports, digest, tag).await),
            }
        };
        self.running = Some((check, AbortOnDropHandle::new(tokio::spawn(task))));
    }

    /// Waits until a check has ended; for ever when there is none.
    pub(super) async fn finished(&mut self) {
        let Some((check, task)) = &mut self.running else { return std::future::pending().await };
        let (check, ended, now) = (*check, task.await, Utc::now());
        self.running = None;
        let message = || format!("the {} check had panicked", check.label());
        let found = ended.unwrap_or_else(|_| match check {
            Check::Signature => Finding::Signature(SignatureVerdict::Unreachable { message: message() }),
            Check::Scan => Finding::Scan(ScanVerdict::Failed { message: message() }),
        });
        let evidence = &mut self.evidence;
        match found {
            Finding::Signature(verdict) => evidence.signature = Some(next(evidence.signature.take(), verdict, now)),
            Finding::Scan(verdict) => evidence.scan = Some(next(evidence.scan.take(), verdict, now)),
        }
    }

    /// Whether what a person asked for should be answered only when the check has ended: so far there is nothing to say.
    fn is_first_look(&self) -> bool {
        match &self.running {
            Some((Check::Signature, _)) => self.evidence.signature.is_none(),
            Some((Check::Scan, _)) => self.evidence.scan.is_none(),
            None => false,
        }
    }
}

impl Reconciler {
    /// A gate holds a version back: sees to it that it gets what it asks for. Whoever waits for a `reply` has it once
    /// there is something to say.
    pub(super) fn attend(&mut self, hold: &Hold, reason: Option<&str>, forced: bool, reply: &mut Option<Reply>) {
        let Hold::Gated { digest, gate, .. } = hold else { return };
        self.gatekeeping.pursue(&self.parts, digest, *gate, self.tag.tag.as_ref());
        if self.gatekeeping.is_first_look()
            && let Some(reply) = reply.take()
        {
            self.gatekeeping.asked = Some(Asked { reason: reason.map(str::to_owned), forced, reply });
        }
    }

    /// A check has ended: goes on with what was asked, if anything was.
    pub(super) async fn checked(&mut self) {
        use crate::model::SeenSource::{Poll, Request};
        match self.gatekeeping.asked.take() {
            None => self.pass(Poll, None, false, None).await,
            Some(asked) => self.pass(Request, asked.reason.as_deref(), asked.forced, Some(asked.reply)).await,
        }
    }

    /// What the gates need to know of what is wanted.
    pub(super) async fn admission(&self, seeing: &Seeing) -> Admission {
        let parts = &self.parts;
        let Some(digest) = seeing.wanted.digest.as_ref().filter(|_| parts.app.gates.any()) else {
            return Admission::default();
        };
        let (since, evidence) = self.gatekeeping.of(digest);
        let mut served = served(&parts.app, &*parts.ports.store);
        if seeing.pin.is_some() && !served.contains(digest) {
            served.extend(self.kept().await.into_iter().map(|(_, digest)| digest));
        }
        Admission {
            first_seen: first_seen(seeing, &self.tag).or(since),
            approval: approval(&parts.app, &*parts.ports.store).filter(|approval| approval.digest == *digest),
            evidence,
            served,
        }
    }
}

/// A digest that a person named is known since they did.
fn first_seen(seeing: &Seeing, tag: &TagView) -> Option<Time> {
    seeing.pin.as_ref().map(|pin| pin.at).or(tag.first_seen)
}

async fn signature(app: &App, ports: &Ports, digest: &Digest) -> SignatureVerdict {
    let Some(rule) = &app.gates.signatures else { return SignatureVerdict::Missing };
    let verdict = ports.gatekeeper.signature(&app.image, digest, rule).await;
    if let SignatureVerdict::Verified { by } = &verdict {
        tracing::info!(app = app.name.as_str(), digest = digest.short(), by, "signature verified");
    }
    verdict
}

async fn scan(app: &App, ports: &Ports, digest: Digest, tag: Option<Tag>) -> ScanVerdict {
    let Some(rule) = &app.gates.scan else { return ScanVerdict::Allowed };
    let platform = match ports.engine.info().await {
        Ok(info) => info.platform,
        Err(error) => return ScanVerdict::Failed { message: chain(&error) },
    };
    let (app_name, repository) = (app.name.clone(), app.image.clone());
    let subject = ScanSubject { app: app_name, repository, digest, tag, platform };
    let verdict = ports.gatekeeper.scan(&subject, rule).await;
    tracing::info!(app = app.name.as_str(), digest = subject.digest.short(), verdict = verdict.label(), "scanned");
    verdict
}

/// What has served, the newest first.
fn served(app: &App, store: &dyn Store) -> Vec<Digest> {
    let history = store.deployments(&app.name, HISTORY).unwrap_or_else(|error| {
        tracing::warn!(app = app.name.as_str(), error = &error as &dyn std::error::Error, "{error}");
        Vec::new()
    });
    history.into_iter().filter(|d| d.result == DeploymentResult::Succeeded).map(|d| d.digest).collect()
}

fn approval_key(app: &str) -> String {
    format!("approval/{app}")
}

/// The last approval of an app. One that can't be read must be given again.
pub(super) fn approval(app: &App, store: &dyn Store) -> Option<Approval> {
    let note = store.note(&approval_key(app.name.as_str())).unwrap_or_else(|error| {
        tracing::warn!(app = app.name.as_str(), error = &error as &dyn std::error::Error, "{error}");
        None
    });
    serde_json::from_slice(&note?).ok()
}

/// Remembers an approval, in the place of the one before.
pub(super) fn approve(app: &App, store: &dyn Store, approval: &Approval) -> Result<(), StoreError> {
    let bytes = serde_json::to_vec(approval).expect("an approval can be written as JSON");
    store.put_note(&approval_key(app.name.as_str()), &bytes)
}
