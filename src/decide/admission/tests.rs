//! The gates by tables and by chance.

use std::collections::BTreeMap;

use chrono::TimeDelta;
use proptest::prelude::*;

use super::*;
use crate::decide::window::parse;
use crate::model::{Env, PublicKey, ScanRule, Scanner, SignatureRule};

fn at(seconds: i64) -> Time {
    // A Monday, 08:00.
    "2026-11-23T08:00:00Z".parse::<Time>().unwrap() + TimeDelta::seconds(seconds)
}

fn digest() -> Digest {
    Digest::of(b"new")
}

fn signed() -> Gates {
    let keys = vec![PublicKey { name: "ci.pub".into(), spki: vec![1] }];
    let rule = SignatureRule { keys, annotations: BTreeMap::new(), deadline: Duration::from_secs(600) };
    Gates { signatures: Some(rule), ..Gates::default() }
}

fn scanned() -> Gates {
    let by = Scanner::Exec { command: vec!["scan".into()], env: Env::default(), deny: vec![1] };
    let rule = ScanRule { by, timeout: Duration::from_secs(60), fresh: Duration::from_secs(3600) };
    Gates { scan: Some(rule), ..Gates::default() }
}

fn patient() -> Gates {
    let window = parse("Mon 09:00-10:00", chrono_tz::UTC).unwrap();
    Gates { windows: vec![window], soak: Duration::from_secs(600), approve: true, ..Gates::default() }
}

fn looked<T>(verdict: T, second: i64, count: u32) -> Option<Looked<T>> {
    Some(Looked { verdict, at: at(second), count })
}

fn invalid() -> SignatureVerdict {
    SignatureVerdict::Invalid { message: "another key".into() }
}

fn unreachable() -> SignatureVerdict {
    SignatureVerdict::Unreachable { message: "no route".into() }
}

#[test]
fn a_signature_is_waited_for_until_its_deadline_and_a_wrong_one_is_not() {
    use SignatureVerdict::Missing;
    let verified = || SignatureVerdict::Verified { by: "ci.pub".into() };
    for (label, signature, now, gate, until, due) in [
        ("not looked", None, 1, Some(Gate::SignaturePending), None, true),
        ("none yet", looked(Missing, 0, 1), 1, Some(Gate::SignaturePending), Some(5), false),
        ("none yet, time to look", looked(Missing, 0, 1), 5, Some(Gate::SignaturePending), Some(5), true),
        ("often looked", looked(Missing, 100, 4), 101, Some(Gate::SignaturePending), Some(140), false),
        ("the deadline comes first", looked(Missing, 590, 9), 591, Some(Gate::SignaturePending), Some(600), false),
        ("late", looked(Missing, 590, 9), 600, Some(Gate::SignatureMissing), Some(890), false),
        ("wrong", looked(invalid(), 0, 1), 1, Some(Gate::SignatureInvalid), Some(5), false),
        ("still wrong", looked(invalid(), 0, 30), 1, Some(Gate::SignatureInvalid), Some(300), false),
        ("no answer", looked(unreachable(), 0, 2), 1, Some(Gate::SignatureUnreachable), Some(10), false),
        ("no answer, late", looked(unreachable(), 700, 2), 701, Some(Gate::SignatureUnreachable), Some(710), false),
        ("good", looked(verified(), 0, 1), 9000, None, None, false),
    ] {
        let evidence = Evidence { signature, scan: None };
        let known = Admission { first_seen: Some(at(0)), evidence: evidence.clone(), ..Admission::default() };
        for forced in [false, true] {
            let found = hold(&signed(), &digest(), &known, forced, at(now));
            let found = found.map(|hold| (hold.label(), hold.until()));
            assert_eq!(found, gate.map(|gate| (gate.label(), until.map(at))), "{label}, forced: {forced}");
        }
        assert_eq!(super::due(&signed(), &evidence, at(now)).is_some(), due, "{label}");
    }
}

#[test]
fn a_scanner_s_word_holds_for_its_time() {
    let denied = || ScanVerdict::Denied { reason: "CVE-1".into() };
    let later = || ScanVerdict::Later { reason: "queued".into() };
    let failed = || ScanVerdict::Failed { message: "exit code 9".into() };
    for (label, scan, now, gate, until, due) in [
        ("not scanned", None, 1, Some(Gate::ScanPending), None, true),
        ("allowed", looked(ScanVerdict::Allowed, 0, 1), 3599, None, None, false),
        ("allowed long ago", looked(ScanVerdict::Allowed, 0, 1), 3600, Some(Gate::ScanPending), None, true),
        ("denied", looked(denied(), 0, 1), 1, Some(Gate::ScanDenied), Some(3600), false),
        ("denied, asked again", looked(denied(), 0, 1), 3600, Some(Gate::ScanDenied), Some(3600), true),
        ("later", looked(later(), 0, 1), 1, Some(Gate::ScanPending), Some(30), false),
        ("failed", looked(failed(), 0, 9), 1, Some(Gate::ScanFailed), Some(300), false),
    ] {
        let evidence = Evidence { signature: None, scan };
        let known = Admission { first_seen: Some(at(0)), evidence: evidence.clone(), ..Admission::default() };
        for forced in [false, true] {
            let found = hold(&scanned(), &digest(), &known, forced, at(now)).map(|hold| (hold.label(), hold.until()));
            assert_eq!(found, gate.map(|gate| (gate.label(), until.map(at))), "{label}, forced: {forced}");
        }
        assert_eq!(super::due(&scanned(), &evidence, at(now)).is_some(), due, "{label}");
    }
}

#[test]
fn what_is_not_signed_is_not_scanned() {
    let gates = Gates { signatures: signed().signatures, ..scanned() };
    let mut evidence = Evidence::default();
    assert_eq!(due(&gates, &evidence, at(0)), Some(Check::Signature));
    evidence.signature = looked(invalid(), 0, 1);
    assert_eq!(due(&gates, &evidence, at(1)), None);
    evidence.signature = looked(SignatureVerdict::Verified { by: "ci.pub".into() }, 0, 1);
    assert_eq!(due(&gates, &evidence, at(1)), Some(Check::Scan));
}

#[test]
fn approval_age_and_hour_are_asked_for_in_turn_and_skipped_by_force() {
    let approval = |digest: Digest| Some(Approval { digest, by: "ada".into(), at: at(0) });
    for (label, approval, now, gate, until) in [
        ("nobody", None, 9000, Some(Gate::Approval), None),
        ("for another version", approval(Digest::of(b"old")), 9000, Some(Gate::Approval), None),
        ("too young", approval(digest()), 599, Some(Gate::Soak), Some(600)),
        ("too early", approval(digest()), 600, Some(Gate::Window), Some(3600)),
        ("in time", approval(digest()), 3600, None, None),
        ("too late", approval(digest()), 7200, Some(Gate::Window), Some(3600 + 7 * 86_400)),
    ] {
        let known = Admission { first_seen: Some(at(0)), approval, ..Admission::default() };
        let found = hold(&patient(), &digest(), &known, false, at(now)).map(|hold| (hold.label(), hold.until()));
        assert_eq!(found, gate.map(|gate| (gate.label(), until.map(at))), "{label}");
        assert_eq!(hold(&patient(), &digest(), &known, true, at(now)), None, "{label}, forced");
    }
}

#[test]
fn a_count_begins_anew_with_another_kind_of_verdict() {
    let first = next(None, unreachable(), at(0));
    let second = next(Some(first), unreachable(), at(1));
    assert_eq!(second.count, 2);
    assert_eq!(next(Some(second), invalid(), at(2)).count, 1);
}

fn any_signature() -> impl Strategy<Value = Option<Looked<SignatureVerdict>>> {
    let verdict = prop_oneof![
        Just(SignatureVerdict::Missing),
        Just(invalid()),
        Just(unreachable()),
        Just(SignatureVerdict::Verified { by: "k".into() })
    ];
    prop::option::of((verdict, 0i64..5000, 0u32..80).prop_map(|(verdict, second, count)| Looked {
        verdict,
        at: at(second),
        count,
    }))
}

fn any_scan() -> impl Strategy<Value = Option<Looked<ScanVerdict>>> {
    let verdict = prop_oneof![
        Just(ScanVerdict::Allowed),
        Just(ScanVerdict::Denied { reason: "x".into() }),
        Just(ScanVerdict::Later { reason: "x".into() }),
        Just(ScanVerdict::Failed { message: "x".into() })
    ];
    prop::option::of((verdict, 0i64..5000, 0u32..80).prop_map(|(verdict, second, count)| Looked {
        verdict,
        at: at(second),
        count,
    }))
}

proptest! {
    /// Nothing passes that was not verified and allowed, by whatever force; and whatever waits has something to wait for.
    #[test]
    fn nothing_slips_through_and_nothing_waits_for_nothing(
        signature in any_signature(),
        scan in any_scan(),
        approved in any::<bool>(),
        forced in any::<bool>(),
        now in 0i64..20_000,
    ) {
        let gates = Gates { signatures: signed().signatures, scan: scanned().scan, ..patient() };
        let approval = approved.then(|| Approval { digest: digest(), by: "ada".into(), at: at(0) });
        let evidence = Evidence { signature, scan };
        let known = Admission { first_seen: Some(at(0)), approval, evidence: evidence.clone(), served: Vec::new() };
        let found = hold(&gates, &digest(), &known, forced, at(now));
        let verified = matches!(&evidence.signature, Some(l) if matches!(l.verdict, SignatureVerdict::Verified { .. }));
        let allowed = matches!(&evidence.scan, Some(l) if l.verdict == ScanVerdict::Allowed);
        match found {
            None => {
                prop_assert!(verified && allowed);
                prop_assert!(forced || (approved && now >= 600));
            }
            Some(Hold::Gated { gate: Gate::Approval, until, .. }) => prop_assert!(until.is_none() && !approved),
            Some(hold) => {
                let wakes = hold.until().is_some_and(|until| until > at(now));
                prop_assert!(wakes || due(&gates, &evidence, at(now)).is_some(), "{hold:?}");
            }
        }
    }
}
