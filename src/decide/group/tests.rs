use super::*;
use crate::decide::fixtures;
use crate::model::{Failure, FailureReason, Gate, Generation, Stage, Strategy, SwapId};
use chrono::TimeDelta;

fn name(text: &str) -> AppName {
    text.parse().unwrap()
}

fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

fn at(seconds: i64) -> Time {
    Time::UNIX_EPOCH + TimeDelta::seconds(seconds)
}

/// A member on an image, looked at ten seconds after the beginning of time, which is when the others were asked to look.
fn member(image: &str, stance: Stance) -> Member {
    Member {
        image: image.to_owned(),
        pinned: false,
        serving: Some(digest("old")),
        switched: None,
        looked: Some(at(10)),
        stance,
        since: at(10),
    }
}

fn ready(image: &str) -> Member {
    member(image, Stance::Ready(digest("new")))
}

fn group(members: &[(&str, Member)]) -> BTreeMap<AppName, Member> {
    members.iter().map(|(app, member)| (name(app), member.clone())).collect()
}

fn gathered(
    members: &[(&str, Member)],
    seconds: i64,
    forced: bool,
) -> Result<Vec<String>, (Vec<String>, Option<Time>)> {
    match gather(&name("web"), &group(members), at(10), forced, at(seconds)) {
        Gathering::Go(with) => Ok(with.iter().map(ToString::to_string).collect()),
        Gathering::Wait(waiting) => Err((waiting.on.iter().map(ToString::to_string).collect(), waiting.until)),
    }
}

fn goes(with: &[&str]) -> Result<Vec<String>, (Vec<String>, Option<Time>)> {
    Ok(with.iter().map(ToString::to_string).collect())
}

fn waits(on: &[&str], until: Option<i64>) -> Result<Vec<String>, (Vec<String>, Option<Time>)> {
    Err((on.iter().map(ToString::to_string).collect(), until.map(at)))
}

#[test]
fn who_moves_with_whom_and_who_is_waited_for() {
    let held = |image| member(image, Stance::Held("it failed".to_owned()));
    let blind = |image| member(image, Stance::Blind("no answer".to_owned()));
    let still = |image| member(image, Stance::Still);
    let unasked = |image| Member { looked: Some(at(9)), ..still(image) };
    let never = |image| Member { looked: None, stance: Stance::Unknown, ..still(image) };
    let there = Member { serving: Some(digest("new")), ..still("a") };
    let older = member("a", Stance::Ready(digest("older")));
    let pinned = |member: Member| Member { pinned: true, ..member };
    let aside = |image| pinned(member(image, Stance::Aside));
    for (label, other, seconds, forced, wanted) in [
        ("one image: both have seen it", ready("a"), 10, false, goes(&["api", "web"])),
        ("one image: it has not seen it", still("a"), 10, false, waits(&["api"], None)),
        ("one image: it has not seen it, ever so long", still("a"), 9000, false, waits(&["api"], None)),
        ("one image: it has seen another", older, 10, false, waits(&["api"], None)),
        ("one image: it serves it already", there.clone(), 10, false, goes(&["web"])),
        ("one image: it was not looked at, ever so long", never("a"), 9000, false, waits(&["api"], None)),
        ("one image: its registry is silent", blind("a"), 9000, false, waits(&["api"], None)),
        ("one image: it is held back", held("a"), 9000, false, waits(&["api"], None)),
        ("one image: pinned to what serves", aside("a"), 10, false, goes(&["web"])),
        ("another image: right after", ready("b"), 12, false, waits(&[], Some(15))),
        ("another image: a moment later", ready("b"), 15, false, goes(&["api", "web"])),
        ("another image: nothing newer", still("b"), 15, false, goes(&["web"])),
        ("another image: nothing newer, a moment ago", still("b"), 11, false, waits(&[], Some(15))),
        ("another image: being looked at", unasked("b"), 16, false, waits(&["api"], Some(25))),
        ("another image: looked at for too long", unasked("b"), 25, false, goes(&["web"])),
        ("another image: never looked at", never("b"), 16, false, waits(&["api"], Some(25))),
        ("another image: never looked at for too long", never("b"), 25, false, goes(&["web"])),
        ("another image: its registry is silent", blind("b"), 15, false, goes(&["web"])),
        ("another image: it is held back", held("b"), 9000, false, waits(&["api"], None)),
        ("another image: it is held back, and a person insists", held("b"), 11, true, goes(&["web"])),
        ("another image: pinned", aside("b"), 10, false, goes(&["web"])),
        ("another image: busy", member("b", Stance::Busy), 9000, true, waits(&["api"], None)),
        ("one image: the other is pinned to something else", pinned(ready("a")), 12, false, waits(&[], Some(15))),
    ] {
        assert_eq!(gathered(&[("web", ready("a")), ("api", other)], seconds, forced), wanted, "{label}");
    }
}

#[test]
fn what_a_person_has_pinned_goes_soon_and_past_those_that_are_held_back() {
    let pinned = |member: Member| Member { pinned: true, ..member };
    let held = member("b", Stance::Held("it failed".to_owned()));
    for (label, other, seconds, wanted) in [
        ("both at once", pinned(ready("b")), 10, waits(&[], Some(11))),
        ("both, a moment later", pinned(ready("b")), 11, goes(&["api", "web"])),
        ("one, the other held back", held, 11, goes(&["web"])),
        ("one, the other busy", member("b", Stance::Busy), 11, waits(&["api"], None)),
    ] {
        assert_eq!(gathered(&[("web", pinned(ready("a"))), ("api", other)], seconds, false), wanted, "{label}");
    }
}

#[test]
fn alone_or_of_one_image_nobody_settles() {
    assert_eq!(gathered(&[("web", ready("a"))], 10, false), goes(&["web"]));
    let three = [("web", ready("a")), ("api", ready("a")), ("worker", ready("a"))];
    assert_eq!(gathered(&three, 10, false), goes(&["api", "web", "worker"]));
}

#[test]
fn a_wait_ends_when_the_last_of_its_reasons_does_and_never_when_one_has_no_end() {
    let never = Member { looked: None, stance: Stance::Unknown, ..ready("b") };
    let both = [("web", ready("a")), ("api", never.clone()), ("db", never.clone())];
    assert_eq!(gathered(&both, 12, false), waits(&["api", "db"], Some(25)));
    let held = member("c", Stance::Held("it failed".to_owned()));
    assert_eq!(gathered(&[("web", ready("a")), ("api", never), ("db", held)], 12, false), waits(&["api", "db"], None));
}

#[test]
fn whoever_waits_is_told_for_whom_and_why() {
    let held = member("b", Stance::Held("new failed before (gate: exited)".to_owned()));
    let members = group(&[("web", ready("a")), ("api", held)]);
    let Gathering::Wait(waiting) = gather(&name("web"), &members, at(10), false, at(10)) else { panic!("it waits") };
    assert_eq!(waiting.message, "waits for its group: api is held back: new failed before (gate: exited)");
}

fn plan(reason: PlanReason) -> Plan {
    Plan {
        swap: SwapId("s".into()),
        reason,
        strategy: Strategy::Proxy,
        strategy_reason: String::new(),
        digest: digest("new"),
        tag: None,
        generation: Generation(2),
        serving: vec![fixtures::container("shop.1", 1, 1).id],
        fallback: Vec::new(),
        previous: None,
        candidates: Vec::new(),
        stay: Vec::new(),
        missing: Vec::new(),
        watched: false,
        steps: vec![Step::Switch { expect: 1 }, Step::Bake { until: None }],
    }
}

#[test]
fn what_brings_a_service_back_or_into_being_waits_for_nobody() {
    use PlanReason as R;
    for (reason, moves) in [
        (R::TagMoved, true),
        (R::ConfigurationChanged, true),
        (R::Pinned, true),
        (R::Forced, true),
        (R::ResumedCandidate, true),
        (R::FirstDeployment, false),
        (R::ServingLost, false),
        (R::RouteRestored, false),
        (R::ClearedLeftovers, false),
        (R::WatchFailed, false),
        (R::JobOwed, false),
        (R::FinishedSwap, false),
    ] {
        assert_eq!(is_move(&plan(reason), true), moves, "{}", reason.label());
    }
    assert!(!is_move(&plan(R::TagMoved), false), "what serves has ended: something newer may be the cure");
    assert!(!is_move(&Plan { serving: Vec::new(), ..plan(R::ResumedCandidate) }, true), "nothing serves");
    assert!(is_bake(&plan(R::FinishedSwap)) && !is_bake(&plan(R::TagMoved)));
}

#[test]
fn where_a_member_stands_is_read_off_its_decision() {
    let failure =
        Failure { stage: Stage::Gate, reason: FailureReason::Exited, message: "exited".into(), log_tail: Vec::new() };
    let (new, message) = (digest("new"), String::new());
    let held = |hold| Decision::Hold(hold);
    let says = |text: &str| text.to_owned();
    for (label, decision, pinned, wanted) in [
        ("a move", Decision::Act(Box::new(plan(PlanReason::TagMoved))), false, Stance::Ready(new.clone())),
        (
            "a move to what is pinned",
            Decision::Act(Box::new(plan(PlanReason::Pinned))),
            true,
            Stance::Ready(new.clone()),
        ),
        ("a bake", Decision::Act(Box::new(plan(PlanReason::FinishedSwap))), false, Stance::Baking),
        ("a repair", Decision::Act(Box::new(plan(PlanReason::ServingLost))), false, Stance::Busy),
        ("nothing", Decision::UpToDate, false, Stance::Still),
        ("nothing, pinned", Decision::UpToDate, true, Stance::Aside),
        ("a pin", held(Hold::Pinned { newer: new.clone(), reason: says("x") }), true, Stance::Aside),
        ("stopped", held(Hold::NotSwappable { message: message.clone() }), false, Stance::Aside),
        ("no answer", held(Hold::RegistryUnknown { message: message.clone() }), false, Stance::Blind(says("why"))),
        ("no tag", held(Hold::NothingMatches { message: message.clone() }), false, Stance::Blind(says("why"))),
        ("not ready", held(Hold::NotReady { message: message.clone() }), false, Stance::Held(says("why"))),
        (
            "failed",
            held(Hold::Quarantined { digest: new.clone(), failure: failure.clone() }),
            false,
            Stance::Held(says("why")),
        ),
        (
            "tried later",
            held(Hold::BackingOff { digest: new.clone(), until: at(1), failure }),
            false,
            Stance::Held(says("why")),
        ),
        (
            "gated",
            held(Hold::Gated { digest: new, gate: Gate::Approval, message, until: None }),
            false,
            Stance::Held(says("why")),
        ),
    ] {
        assert_eq!(stance(&decision, true, pinned, |_| "why".to_owned()), wanted, "{label}");
    }
}

#[test]
fn after_a_crash_in_the_bake_those_go_on_together_that_were_switched_together() {
    let baking = |switched| Member { switched, ..member("a", Stance::Baking) };
    let same = Some(at(5));
    let other = |stance| Member { switched: same, ..member("b", stance) };
    let alone = Rebake::With(BTreeSet::from([name("web")]));
    let both = Rebake::With(BTreeSet::from([name("api"), name("web")]));
    for (label, member, seconds, wanted) in [
        ("it was switched with it", baking(same), 10, Ok(both)),
        ("it was switched at another time", baking(Some(at(4))), 10, Ok(alone.clone())),
        ("it was switched with it and is through", other(Stance::Still), 10, Ok(Rebake::Passed)),
        ("it was switched with it, is through and held", other(Stance::Held(String::new())), 10, Ok(Rebake::Passed)),
        (
            "it has nothing to do with it",
            Member { switched: Some(at(1)), ..other(Stance::Still) },
            10,
            Ok(alone.clone()),
        ),
        ("it is at it", other(Stance::Busy), 9000, Err(None)),
        ("it was not looked at yet", other(Stance::Unknown), 10, Err(Some(at(25)))),
        ("it is not looked at", other(Stance::Unknown), 25, Ok(alone)),
    ] {
        let found = match rebake(&name("web"), &group(&[("web", baking(same)), ("api", member)]), at(10), at(seconds)) {
            Rebake::Wait(waiting) => Err(waiting.until),
            other => Ok(other),
        };
        assert_eq!(found, wanted, "{label}");
    }
}
