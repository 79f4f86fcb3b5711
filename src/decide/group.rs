//! Who of a group moves with whom, and who is waited for.
//!
//! Every member says where it stands; from that each of them works out the same answer. The rules:
//!
//! - Members that follow the same image of the same repository move to the same digest, all of them.
//! - Of the others, those that have something newer move together. A member that has something newer and may not deploy
//!   it, because it failed, or a gate holds it back, is waited for; its reason is the group's reason.
//! - A pinned member, and one that can't be swapped as it is, has stepped aside: nobody waits for it.
//! - A member whose registry does not answer is not waited for, except by those that follow the same image.
//! - A person who insists (`--force`), or has pinned what is deployed, waits for nobody who is held back.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{AppName, Decision, Digest, Hold, Plan, PlanReason, Step, Time};

/// A member that was asked to look is waited for so long, unless it follows the same image.
pub const LOOK: Duration = Duration::from_secs(15);

/// Of members with different images, the first that has something newer waits so long for what is pushed right after it.
pub const SETTLE: Duration = Duration::from_secs(5);

/// What a person asks of several at once is with all of them within so long.
pub const SETTLE_ASKED: Duration = Duration::from_secs(1);

/// Where a member stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stance {
    /// It was not looked at yet.
    Unknown,
    /// It has nothing newer.
    Still,
    /// Nobody waits for it: it is pinned, or can't be swapped.
    Aside,
    /// It could not find out whether it has.
    Blind(String),
    /// It has something newer and may not deploy it, and why.
    Held(String),
    /// It has something newer and could deploy it at once.
    Ready(Digest),
    /// It carries out a plan.
    Busy,
    /// It was switched by an earlier run, which did not come to watch it until the end.
    Baking,
}

/// What the others need to know of a member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// What it follows: repository and tag or policy.
    pub image: String,
    /// A person has pinned it.
    pub pinned: bool,
    /// What serves.
    pub serving: Option<Digest>,
    /// When the proxy's table was last switched for it.
    pub switched: Option<Time>,
    /// When its registry was last asked; the end of time when it never is.
    pub looked: Option<Time>,
    /// Where it stands.
    pub stance: Stance,
    /// Since when.
    pub since: Time,
}

/// What becomes of a member that is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gathering {
    /// These move together, itself among them.
    Go(BTreeSet<AppName>),
    /// It waits.
    Wait(Waiting),
}

/// Who is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Them.
    pub on: Vec<AppName>,
    /// Why, for a person.
    pub message: String,
    /// Not longer than until then, where that is known.
    pub until: Option<Time>,
}

/// Whether a plan is one that the group carries out together: it brings something else into service in the place of what
/// serves and runs. What brings a service back, or into being, waits for nobody.
pub fn is_move(plan: &Plan, serving_runs: bool) -> bool {
    use PlanReason as R;
    let reason =
        matches!(plan.reason, R::TagMoved | R::ConfigurationChanged | R::Pinned | R::Forced | R::ResumedCandidate);
    let beside = plan.candidates.iter().all(|candidate| !plan.serving.contains(candidate));
    reason && serving_runs && !plan.serving.is_empty() && plan.stay.is_empty() && beside
}

/// Whether a plan only watches what was switched by an earlier run.
pub fn is_bake(plan: &Plan) -> bool {
    plan.reason == PlanReason::FinishedSwap && plan.steps.iter().any(|step| matches!(step, Step::Bake { .. }))
}

/// Where a member stands that has decided this.
pub fn stance(decision: &Decision, serving_runs: bool, pinned: bool, explain: impl Fn(&Hold) -> String) -> Stance {
    match decision {
        Decision::Act(plan) if is_move(plan, serving_runs) => Stance::Ready(plan.digest.clone()),
        Decision::Act(plan) if is_bake(plan) => Stance::Baking,
        Decision::Act(_) => Stance::Busy,
        _ if pinned => Stance::Aside,
        Decision::UpToDate => Stance::Still,
        Decision::Hold(hold) => match hold {
            Hold::Pinned { .. } | Hold::NotSwappable { .. } => Stance::Aside,
            Hold::RegistryUnknown { .. }
            | Hold::NothingMatches { .. }
            | Hold::EngineUnknown { .. }
            | Hold::TrafficUnknown { .. } => Stance::Blind(explain(hold)),
            Hold::Quarantined { .. }
            | Hold::NotReady { .. }
            | Hold::BackingOff { .. }
            | Hold::Gated { .. }
            | Hold::Group { .. } => Stance::Held(explain(hold)),
        },
    }
}

/// Whether `me`, which is ready, goes, and with whom. `asked` is when the others were last asked to look.
pub fn gather(me: &AppName, members: &BTreeMap<AppName, Member>, asked: Time, forced: bool, now: Time) -> Gathering {
    let Some((own, digest)) = members.get(me).and_then(|own| match &own.stance {
        Stance::Ready(digest) => Some((own, digest)),
        _ => None,
    }) else {
        return Gathering::Wait(Waiting { on: Vec::new(), message: "it is not ready".to_owned(), until: None });
    };
    let awaited: Vec<(&AppName, String, Option<Time>)> = members
        .iter()
        .filter(|(name, _)| *name != me)
        .filter_map(|(name, other)| {
            let same = own.image == other.image && !own.pinned && !other.pinned;
            let (why, until) = objection(other, same, digest, asked, forced || own.pinned, now)?;
            Some((name, why, until))
        })
        .collect();
    if let Some((_, _, until)) = awaited.first() {
        // The whole wait has an end when each of them has one.
        let until = awaited.iter().try_fold(*until, |end, (_, _, until)| until.map(|until| end.max(Some(until))));
        let said: Vec<String> = awaited.iter().map(|(name, why, _)| format!("{name} {why}")).collect();
        return Gathering::Wait(Waiting {
            on: awaited.iter().map(|(name, _, _)| (*name).clone()).collect(),
            message: format!("waits for its group: {}", said.join("; ")),
            until: until.flatten(),
        });
    }
    match settling(members).filter(|until| now < *until && !forced) {
        Some(until) => Gathering::Wait(Waiting {
            on: Vec::new(),
            message: "waits a moment for what else is pushed to its group".to_owned(),
            until: Some(until),
        }),
        None => Gathering::Go(ready(members).map(|(name, _)| name.clone()).collect()),
    }
}

fn ready(members: &BTreeMap<AppName, Member>) -> impl Iterator<Item = (&AppName, &Member)> {
    members.iter().filter(|(_, member)| matches!(member.stance, Stance::Ready(_)))
}

/// Until when something may be added to what moves that nobody can know of yet.
fn settling(members: &BTreeMap<AppName, Member>) -> Option<Time> {
    let parts: Vec<&Member> = members.values().filter(|member| member.stance != Stance::Aside).collect();
    let images: BTreeSet<&str> = parts.iter().map(|member| member.image.as_str()).collect();
    let apart = images.len() > 1 || (parts.len() > 1 && parts.iter().any(|member| member.pinned));
    let wait = if ready(members).all(|(_, member)| member.pinned) { SETTLE_ASKED } else { SETTLE };
    ready(members).map(|(_, member)| member.since + wait).max().filter(|_| apart)
}

/// Why `other` is waited for by one that is about to deploy `digest`, and until when at most.
fn objection(
    other: &Member,
    same: bool,
    digest: &Digest,
    asked: Time,
    forced: bool,
    now: Time,
) -> Option<(String, Option<Time>)> {
    let patience = Some(asked + LOOK).filter(|_| !same);
    let patient = patience.is_none_or(|until| now < until);
    let looked = other.looked.is_some_and(|at| at >= asked);
    let short = digest.short();
    match &other.stance {
        Stance::Unknown if patient => Some(("was not looked at yet".to_owned(), patience)),
        Stance::Still if same && other.serving.as_ref() != Some(digest) => {
            Some((format!("follows the same image and has not seen {short} yet"), None))
        }
        Stance::Still if !looked && now < asked + LOOK => Some(("is being looked at".to_owned(), Some(asked + LOOK))),
        Stance::Ready(theirs) if same && theirs != digest => {
            Some((format!("follows the same image and has seen {} instead of {short}", theirs.short()), None))
        }
        Stance::Held(why) if !forced => Some((format!("is held back: {why}"), None)),
        Stance::Blind(why) if same && !forced => Some((format!("follows the same image: {why}"), None)),
        Stance::Busy | Stance::Baking => Some(("is in the middle of a swap".to_owned(), None)),
        _ => None,
    }
}

/// How a bake goes on that an earlier run did not come to the end of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rebake {
    /// These were switched in one generation, and go on together: all of them go back if one fails.
    With(BTreeSet<AppName>),
    /// One of them is through with it, so all had passed.
    Passed,
    /// It waits until the others have been looked at.
    Wait(Waiting),
}

/// Whether `me`, which was switched by an earlier run, is still to be watched, and with whom. `begun` is when this was
/// asked first.
pub fn rebake(me: &AppName, members: &BTreeMap<AppName, Member>, begun: Time, now: Time) -> Rebake {
    let switched = members.get(me).and_then(|own| own.switched);
    let mut with = BTreeSet::from([me.clone()]);
    let (mut on, mut unbounded) = (Vec::new(), false);
    for (name, other) in members.iter().filter(|(name, _)| *name != me) {
        match &other.stance {
            Stance::Unknown if now < begun + LOOK => on.push(name.clone()),
            Stance::Unknown => {}
            _ if switched.is_none() || other.switched != switched => {}
            Stance::Baking => drop(with.insert(name.clone())),
            // It is still at it, in the deployment that we have left, or about to say that it is through.
            Stance::Busy => (on.push(name.clone()), unbounded = true).0,
            _ => return Rebake::Passed,
        }
    }
    if on.is_empty() {
        return Rebake::With(with);
    }
    let message = "waits for its group before it goes on watching what was switched".to_owned();
    Rebake::Wait(Waiting { on, message, until: Some(begun + LOOK).filter(|_| !unbounded) })
}

#[cfg(test)]
mod tests;
