//! `tagboat deploy` and `tagboat rollback`.

use serde_json::Value;

use super::args::{DeployFlags, RollbackFlags, Waiting};
use super::client::{Client, Events};
use super::exit::{Exit, Failure};
use super::follow::{self, Ending};
use super::out::{Out, Tone, safe};
use super::words::took;
use crate::engine::{Answer, explain};
use crate::http::{DeployBody, RollbackRequest, Wanted};
use crate::model::{Deployment, DeploymentResult, Digest, Failure as Failed, SwapId};

pub(super) async fn deploy(client: &Client, out: &mut Out, flags: DeployFlags, json: bool) -> Result<Exit, Failure> {
    let app = flags.app.as_str();
    let version = match (&flags.tag, &flags.digest) {
        (Some(tag), _) => Some(Wanted::Tag(tag.parse().map_err(Failure::usage)?)),
        (None, Some(digest)) => Some(Wanted::Digest(known_digest(client, app, digest).await?)),
        (None, None) => None,
    };
    let author = std::env::var("SUDO_USER").or_else(|_| std::env::var("USER")).ok();
    let body = DeployBody { version, force: flags.force, only: flags.only, title: None, reason: flags.reason, author };
    let events = ear(client, app, &flags.waiting).await?;
    let answer = client.deploy(app, &body).await?;
    Outcome { client, out, app, json, waiting: &flags.waiting }.report(answer, events).await
}

pub(super) async fn rollback(
    client: &Client,
    out: &mut Out,
    flags: RollbackFlags,
    json: bool,
) -> Result<Exit, Failure> {
    let app = flags.app.as_str();
    let to = match flags.to.as_str() {
        "previous" => None,
        number if number.len() < 10 && number.parse::<u64>().is_ok() => Some(Value::from(number)),
        digest => Some(known_digest(client, app, digest).await?.to_string().into()),
    };
    let events = ear(client, app, &flags.waiting).await?;
    let answer = client.rollback(app, &RollbackRequest { to, only: flags.only }).await?;
    Outcome { client, out, app, json, waiting: &flags.waiting }.report(answer, events).await
}

/// Listening begins before the request, so that nothing of the swap is missed.
async fn ear(client: &Client, app: &str, waiting: &Waiting) -> Result<Option<Events>, Failure> {
    Ok(if waiting.wait { Some(client.events(Some(app)).await?) } else { None })
}

/// A digest by its beginning, when the app has seen it.
async fn known_digest(client: &Client, app: &str, given: &str) -> Result<Digest, Failure> {
    if let Ok(digest) = given.parse() {
        return Ok(digest);
    }
    let status = client.app(app).await?.status;
    let history = client.deployments(app, 200).await?;
    let mut known: Vec<Digest> = history.into_iter().flat_map(|d| [Some(d.digest), d.previous]).flatten().collect();
    known.extend(status.newest);
    known.extend(status.deployed.map(|deployed| deployed.digest));
    known.extend(status.quarantined.into_iter().map(|quarantine| quarantine.digest));
    by_prefix(known, given).map_err(Failure::usage)
}

/// The one digest that begins so.
pub(super) fn by_prefix(mut known: Vec<Digest>, given: &str) -> Result<Digest, String> {
    known.sort();
    known.dedup();
    let hex = given.strip_prefix("sha256:").unwrap_or(given);
    known.retain(|digest| digest.as_str().split_once(':').is_some_and(|(_, all)| all.starts_with(hex)));
    match known.as_slice() {
        _ if hex.len() < 4 => Err(format!("{given:?} is too short: give at least 4 digits of the digest")),
        [] => Err(format!("no digest that is known begins with {given:?}; give it in full, as sha256:…")),
        [one] => Ok(one.clone()),
        several => Err(format!("{} digests begin with {given:?}: give more of it", several.len())),
    }
}

/// What is needed to tell how it went.
struct Outcome<'a> {
    client: &'a Client,
    out: &'a mut Out,
    app: &'a str,
    json: bool,
    waiting: &'a Waiting,
}

impl Outcome<'_> {
    async fn report(mut self, answer: Answer, events: Option<Events>) -> Result<Exit, Failure> {
        match (answer, events) {
            (Answer::Started { deployment, digest }, Some(events)) => {
                self.say(Tone::Plain, &format!("deploying {} to {}", digest.short(), self.app))?;
                self.stay(Some(deployment), events).await
            }
            (Answer::Queued, Some(events)) => {
                self.say(Tone::Plain, &format!("{} is busy with a swap; yours is next", self.app))?;
                self.stay(None, events).await
            }
            (answer, _) => self.tell(&answer),
        }
    }

    /// What the agent answered, when nobody waits or there is nothing to wait for.
    fn tell(&mut self, answer: &Answer) -> Result<Exit, Failure> {
        let app = self.app;
        if self.json {
            self.out.json(answer)?;
        }
        let (tone, text, exit) = match answer {
            Answer::UpToDate { digest } => {
                (Tone::Good, format!("{app} serves {} already; --force deploys it again", digest.short()), Exit::Done)
            }
            Answer::Started { deployment, digest } => {
                let text = format!(
                    "{app}: deploying {} as {deployment}; `tagboat status` shows how far it is",
                    digest.short()
                );
                (Tone::Busy, text, Exit::Done)
            }
            Answer::Queued => (Tone::Busy, format!("{app} is busy with a swap; the request is next"), Exit::Done),
            Answer::Held { hold } => {
                (Tone::Warning, safe(&format!("{app} is held back: {}", explain(hold))), Exit::Held)
            }
        };
        self.say(tone, &text)?;
        Ok(exit)
    }

    async fn stay(mut self, swap: Option<SwapId>, events: Events) -> Result<Exit, Failure> {
        let patience = self.waiting.timeout;
        let follower = follow::Follower::new(self.client, self.app, swap, patience);
        match follower.run(events, self.out, self.json).await? {
            Ending::Ended(deployment) => {
                if self.json {
                    self.out.json(&deployment)?;
                }
                let (tone, text, exit) = verdict(self.app, &deployment);
                self.say(tone, &safe(&text))?;
                for line in deployment.result.failure().map_or(&[][..], |failure| &failure.log_tail) {
                    self.say(Tone::Quiet, &format!("  | {}", safe(line)))?;
                }
                Ok(exit)
            }
            Ending::Nothing(view) => {
                if self.json {
                    self.out.json(&view)?;
                }
                let (tone, text, exit) = match &view.explanation {
                    Some(why) => (Tone::Warning, format!("{} is held back: {why}", self.app), Exit::Held),
                    None => (Tone::Good, format!("{}: nothing had to be done", self.app), Exit::Done),
                };
                self.say(tone, &safe(&text))?;
                Ok(exit)
            }
            Ending::TooLong => {
                let time = humantime::format_duration(patience);
                let text = format!("still under way after {time}; `tagboat status` shows how far it is");
                Err(Failure::new(Exit::TimedOut, anyhow::Error::msg(text)))
            }
        }
    }

    /// Words are for people; programs get one document.
    fn say(&mut self, tone: Tone, text: &str) -> std::io::Result<()> {
        if self.json { Ok(()) } else { self.out.line(tone, text) }
    }
}

/// What became of a deployment, in words.
fn verdict(app: &str, deployment: &Deployment) -> (Tone, String, Exit) {
    let digest = deployment.digest.short();
    let millis = deployment.finished.map(|finished| (finished - deployment.started).num_milliseconds());
    let failed = |failure: &Failed, rest: &str| {
        format!("{digest} failed at {}: {}; {rest}", failure.stage.label(), failure.message)
    };
    match &deployment.result {
        DeploymentResult::Succeeded => {
            let time = took(millis.and_then(|millis| u64::try_from(millis).ok()).unwrap_or(0));
            (Tone::Good, format!("{app} serves {digest} ({time})"), Exit::Done)
        }
        DeploymentResult::Failed { failure } => {
            (Tone::Bad, failed(failure, "what served before still serves"), Exit::Failed)
        }
        DeploymentResult::RolledBack { failure } => {
            (Tone::Bad, failed(failure, "the traffic is back at the old version"), Exit::Failed)
        }
        DeploymentResult::Running | DeploymentResult::Superseded => {
            let text = format!("another swap has taken over; `tagboat history {app}` shows it");
            (Tone::Warning, text, Exit::Failed)
        }
    }
}
