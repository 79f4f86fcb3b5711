//! Samples, a second apart, and what the windows say after each.

use super::*;
use crate::decide::fixtures::{app, container};
use crate::model::InFlight;

fn at(second: i64) -> Time {
    Time::from_timestamp(1_800_000_000 + second, 0).unwrap()
}

fn running() -> Container {
    let mut container = container("shop-2", 2, 2);
    (container.state, container.started) = (ContainerState::Running, Some(at(0)));
    container
}

/// Carries out a script of samples, a letter each: `o` good, `x` bad, `?` nobody made the probe, `n` no address,
/// `s` good while the health check has not passed, `e` ended, `r` restarted. `.` lets a second pass without one.
/// Returns after how many seconds which verdict came.
fn gate(script: &str) -> Option<(i64, Verdict)> {
    let timing = SwapTiming { healthy_deadline: Duration::from_secs(20), ..app("shop").timing };
    let mut gate = Gate::new(&timing, at(0), 0);
    let (good, bad) = [(true, "200"), (false, "503")]
        .map(|(ok, detail)| ProbeOutcome { ok, detail: detail.to_owned(), millis: 1 })
        .into();
    for (second, letter) in (0..).zip(script.chars()) {
        let mut container = running();
        let probe = match letter {
            '.' => continue,
            'x' => Probed::Made(&bad),
            '?' => Probed::Unknown("the proxy does not answer"),
            'n' => Probed::Impossible("it has no address"),
            _ => Probed::Made(&good),
        };
        match letter {
            's' => (container.health, container.health_output) = (Some(Health::Starting), "warming up\n".to_owned()),
            'e' => (container.state, container.exit_code) = (ContainerState::Exited, 3),
            'r' => container.restart_count = 1,
            _ => {}
        }
        match gate.sample(at(second), &container, probe) {
            Verdict::Wait => {}
            verdict => return Some((second, verdict)),
        }
    }
    None
}

#[test]
fn the_gate_wants_probes_in_a_row_and_then_a_while_without_a_bad_one() {
    let rows = [
        ("three good ones and five seconds", "oooooooo", Some(7)),
        ("a bad one begins anew", "oooxooooooooo", Some(11)),
        ("one that nobody made counts neither way", "oo?oooooo", Some(8)),
        ("nothing is passed without a sample", "ooo?????", None),
        ("without an address it can't serve", "oooooonoooooooo", Some(14)),
        ("its own health check must pass too", "ssssssoooooo", Some(11)),
    ];
    for (label, script, wanted) in rows {
        let passed = gate(script).map(|(second, verdict)| match verdict {
            Verdict::Passed(_) => second,
            other => panic!("{label}: {other:?}"),
        });
        assert_eq!(passed, wanted, "{label}");
    }
}

#[test]
fn the_gate_says_what_was_wrong_and_blames_the_image_only_for_what_is_known() {
    let late = "not healthy within 20s; last ";
    let rows = [
        ("x".repeat(30), 20, FailureReason::Unhealthy, format!("{late}probe: 503")),
        ("n".repeat(30), 20, FailureReason::Unhealthy, format!("{late}probe: it has no address")),
        ("?".repeat(30), 20, FailureReason::Traffic, format!("{late}probe: the proxy does not answer")),
        (
            "s".repeat(30),
            20,
            FailureReason::Unhealthy,
            format!("{late}the container's own health check has not passed: warming up"),
        ),
        ("oooe".to_owned(), 3, FailureReason::Exited, "exited with code 3 after 0.0 s".to_owned()),
        ("oor".to_owned(), 2, FailureReason::Exited, "it was restarted".to_owned()),
    ];
    for (script, second, reason, message) in rows {
        assert_eq!(gate(&script), Some((second, Verdict::Failed(reason, message))), "{script}");
    }
}

fn counted(requests: u64, errors: u64) -> TargetCounters {
    TargetCounters { requests, server_errors: errors, transport_errors: 0, in_flight: InFlight::default() }
}

#[test]
fn the_bake_compares_with_the_old_version_and_needs_enough_to_go_by() {
    let rows = [
        ("no answers are counted", None, (100, 0), None),
        ("as good as the old one", Some((100, 0)), (100, 0), None),
        ("few errors", Some((100, 5)), (100, 0), None),
        ("few requests", Some((19, 19)), (100, 0), None),
        ("as bad as the old one was", Some((100, 50)), (100, 48), None),
        ("worse", Some((100, 50)), (100, 10), Some("50 of its 100 requests failed (50 %; the old version: 10 %)")),
        (
            "the old one had no requests",
            Some((20, 6)),
            (0, 0),
            Some("6 of its 20 requests failed (30 %; the old version: 0 %)"),
        ),
    ];
    for (label, new, (requests, errors), wanted) in rows {
        let bake = Bake::new(at(10), at(0), 0, &counted(requests, errors));
        let new = new.map(|(requests, errors)| counted(requests, errors));
        let said = bake.sample(at(5), &running(), new.as_ref());
        let wanted = wanted.map_or(Verdict::Wait, |text| Verdict::Failed(FailureReason::FailedInBake, text.to_owned()));
        assert_eq!(said, wanted, "{label}");
        if wanted == Verdict::Wait {
            let passed = Verdict::Passed("stayed up and answered".to_owned());
            assert_eq!(bake.sample(at(10), &running(), new.as_ref()), passed, "{label}");
        }
    }
}

#[test]
fn a_version_that_ends_is_restarted_or_turns_unhealthy_fails_its_bake() {
    type Change = fn(&mut Container);
    let changes: [(&str, Change); 4] = [
        ("exited with code 0 after 0.0 s", |c| c.state = ContainerState::Exited),
        ("exited with code 137 after 0.0 s, killed for its memory limit", |c| {
            (c.state, c.exit_code, c.oom_killed) = (ContainerState::Dead, 137, true);
        }),
        ("it was restarted 2 times", |c| c.restart_count = 2),
        ("its health check failed after the switch: no database", |c| {
            (c.health, c.health_output) = (Some(Health::Unhealthy), "no database\n".to_owned());
        }),
    ];
    for (message, change) in changes {
        let mut container = running();
        change(&mut container);
        let said = Bake::new(at(10), at(0), 0, &counted(0, 0)).sample(at(5), &container, None);
        assert_eq!(said, Verdict::Failed(FailureReason::FailedInBake, message.to_owned()));
    }
}
