use chrono::TimeDelta;

use super::*;
use crate::decide::fixtures::container;
use crate::model::ContainerState::{Created, Dead, Exited, Restarting, Running};

const ALWAYS: &str = r#"{"Name":"always","MaximumRetryCount":0}"#;

fn at(seconds: i64) -> Time {
    Time::UNIX_EPOCH + TimeDelta::seconds(seconds)
}

/// The old one: what it is called, whether it runs, its policy.
fn old(name: &str, state: ContainerState, policy: &str) -> Container {
    Container { state, restart_policy: policy.to_owned(), ..container(name, 1, 1) }
}

/// The next one, started at second 100 and ended, if it has, at second 110.
fn next(name: &str, state: ContainerState, policy: &str) -> Container {
    let mut next = container(name, 2, 2);
    next.owned.restart = Some(ALWAYS.to_owned());
    next.started = (state != Created).then_some(at(100));
    next.finished = (state == Exited).then_some(at(110));
    Container { state, restart_policy: policy.to_owned(), ..next }
}

fn about() -> Circumstances<'static> {
    Circumstances { now: at(120), since: at(90), within: Duration::from_secs(60), announced: true, refused: None }
}

fn exited() -> Blame {
    (FailureReason::Exited, "it ended with code 0 instead of taking the place".to_owned())
}

#[test]
fn each_situation_has_one_answer() {
    let serving = || old("t", Running, "always");
    let parked = || old("t", Exited, "no");
    let waiting = || next("t.next-2", Created, "no");
    let trying = || next("t.next-2", Running, "no");
    let ended = || next("t.next-2", Exited, "no");
    let failed = |state| next("t.failed-2", state, "no");
    let taken = |state, policy| next("t", state, policy);
    let previous = |state| old("t.prev-2", state, "no");
    let refused = || Container { exit_code: 128, ..waiting() };
    let said_no = Blame::from((FailureReason::CannotStart, "the engine could not start it".to_owned()));
    for (label, old, next, wanted) in [
        ("the beginning", Some(serving()), Some(waiting()), Act::StopOld),
        ("its policy is gone, and it still runs", Some(old("t", Running, "no")), Some(waiting()), Act::StopOld),
        ("it ends again and again", Some(old("t", Restarting, "always")), Some(waiting()), Act::StopOld),
        ("it has stopped", Some(parked()), Some(waiting()), Act::StartNext),
        ("the next one proves itself", Some(parked()), Some(trying()), Act::Wait),
        ("between the two names", Some(previous(Exited)), Some(trying()), Act::Wait),
        ("it has the name, and not its policy yet", Some(previous(Exited)), Some(taken(Running, "no")), Act::Wait),
        ("it has everything", Some(previous(Exited)), Some(taken(Running, "always")), Act::End(End::Taken)),
        ("the old one is removed", None, Some(taken(Running, "always")), Act::End(End::Taken)),
        ("a power cut between the two names", Some(previous(Exited)), Some(ended()), Act::StartNext),
        ("a power cut after the name", Some(previous(Exited)), Some(taken(Exited, "no")), Act::StartNext),
        ("the same, and the old one gone", None, Some(taken(Exited, "no")), Act::StartNext),
        ("the next one has ended", Some(parked()), Some(ended()), Act::StartOld(Some(exited()))),
        ("the next one can't be started", Some(parked()), Some(refused()), Act::StartOld(Some(said_no.clone()))),
        ("and the old one is back", Some(serving()), Some(ended()), Act::End(End::PutBack)),
        ("and back after a refusal", Some(serving()), Some(refused()), Act::End(End::PutBack)),
        ("back, without its policy", Some(old("t", Running, "no")), Some(ended()), Act::StartOld(Some(exited()))),
        ("its agent has put the next one aside", Some(serving()), Some(failed(Exited)), Act::End(End::PutBack)),
        ("the same before it was started", Some(serving()), Some(failed(Created)), Act::End(End::PutBack)),
        ("put aside, and the old one stopped", Some(parked()), Some(failed(Exited)), Act::StartOld(None)),
        ("the next one is removed", Some(parked()), None, Act::StartOld(None)),
        ("removed, and the old one is back", Some(serving()), None, Act::End(End::PutBack)),
        ("the old one is removed by a person", None, Some(trying()), Act::Wait),
        ("removed before the next one was started", None, Some(waiting()), Act::StartNext),
        ("removed, and the next one failed", None, Some(ended()), Act::End(End::Lost)),
        ("removed, and the next one can't be started", None, Some(refused()), Act::End(End::Lost)),
        ("both are removed", None, None, Act::End(End::Lost)),
        ("both run", Some(serving()), Some(trying()), Act::Wait),
        ("beyond repair", Some(parked()), Some(next("t.next-2", Dead, "no")), Act::StartOld(None)),
    ] {
        assert_eq!(relieve(old.as_ref(), next.as_ref(), &about()), wanted, "{label}");
    }
}

#[test]
fn what_is_known_besides_decides_the_rest() {
    let (serving, parked) = (old("t", Running, "always"), old("t", Exited, "no"));
    let (waiting, trying, ended) =
        (next("t.next-2", Created, "no"), next("t.next-2", Running, "no"), next("t.next-2", Exited, "no"));
    let late = (FailureReason::Unhealthy, "it had not taken the place 60 s after its start".to_owned());
    let recalled = Circumstances { announced: false, ..about() };
    let refused = Circumstances { refused: Some("port is taken"), ..about() };
    let said_no = (FailureReason::CannotStart, "port is taken".to_owned());
    for (label, old, next, about, wanted) in [
        ("in time", &parked, &trying, Circumstances { now: at(160), ..about() }, Act::Wait),
        ("not in time", &parked, &trying, Circumstances { now: at(161), ..about() }, Act::StopNext(late.clone())),
        ("nor while both run", &serving, &trying, Circumstances { now: at(161), ..about() }, Act::StopNext(late)),
        ("recalled in time", &serving, &waiting, recalled, Act::End(End::Recalled)),
        ("recalled too late", &parked, &waiting, recalled, Act::StartNext),
        ("the engine said no", &parked, &waiting, refused, Act::StartOld(Some(said_no))),
        ("ended in a power cut", &parked, &ended, Circumstances { since: at(115), ..about() }, Act::StartOld(None)),
        ("ended just now", &parked, &ended, Circumstances { since: at(110), ..about() }, Act::StartOld(Some(exited()))),
    ] {
        assert_eq!(relieve(Some(old), Some(next), &about), wanted, "{label}");
    }
}

#[test]
fn one_that_never_came_back_by_itself_is_done_without_a_policy() {
    for told in [None, Some(r#"{"Name":"no"}"#), Some(r#"{"Name":""}"#)] {
        let mut taken = next("t", Running, "no");
        taken.owned.restart = told.map(str::to_owned);
        assert_eq!(relieve(None, Some(&taken), &about()), Act::End(End::Taken), "{told:?}");
        let ended = Container { name: "t.next-2".to_owned(), state: Exited, ..taken };
        assert_eq!(relieve(Some(&old("t", Running, "no")), Some(&ended), &about()), Act::End(End::PutBack), "{told:?}");
    }
}

/// What carrying an act out makes of the two; `good`: the next one proves itself.
fn carried_out(act: &Act, old: &mut Container, next: &mut Container, good: bool) {
    match act {
        Act::Wait if good => {
            (old.name, next.name) = ("t.prev-2".to_owned(), "t".to_owned());
            next.restart_policy = "always".to_owned();
        }
        Act::Wait => (next.state, next.finished) = (Exited, Some(at(119))),
        Act::StopOld => (old.state, old.restart_policy) = (Exited, "no".to_owned()),
        Act::StartNext => (next.state, next.started) = (Running, Some(at(100))),
        Act::StopNext(_) => (next.state, next.finished) = (Exited, Some(at(119))),
        Act::StartOld(_) => (old.state, old.restart_policy) = (Running, "always".to_owned()),
        Act::End(_) => {}
    }
}

/// A cut of the power ends everything, and what has a policy comes back.
fn cut(container: &mut Container) {
    if container.state == Running && container.restart_policy == "no" {
        (container.state, container.finished) = (Exited, Some(at(50)));
    }
}

#[test]
fn whatever_is_cut_short_one_of_them_serves_in_the_end() {
    for good in [true, false] {
        for cut_after in 0..8 {
            let (mut old, mut next) = (old("t", Running, "always"), next("t.next-2", Created, "no"));
            let mut end = None;
            for step in 0..20 {
                let act = relieve(Some(&old), Some(&next), &about());
                if let Act::End(came) = act {
                    end = Some(came);
                    break;
                }
                carried_out(&act, &mut old, &mut next, good);
                let both = old.state == Running && next.state == Running;
                assert!(!both, "two run, good {good}, cut after {cut_after}, at {step}");
                if step == cut_after {
                    cut(&mut old);
                    cut(&mut next);
                }
            }
            let serving = |container: &Container| container.state == Running && container.restart_policy == "always";
            let fine = match end {
                Some(End::Taken) => good && serving(&next) && !serving(&old),
                Some(End::PutBack) => serving(&old) && next.state == Exited,
                _ => false,
            };
            assert!(fine, "good {good}, cut after {cut_after}: {end:?}\n{old:#?}\n{next:#?}");
        }
    }
}
