//! What is cut off, too deep, of the wrong type or no text at all; and anything whatever.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::payloads::fixtures;
use super::*;
use crate::engine::SignatureHint;

/// Bodies that each sender sends, with their headers.
fn samples(sender: Sender) -> (HookReceiver, HeaderMap, Vec<u8>) {
    let receiver = at(sender, "registry.example.com");
    let trial = receiver.trial(&subject(sender));
    let headers = trial.headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()));
    (receiver, headers.collect(), trial.body.into_bytes())
}

/// What must never come of rubbish: a push.
fn leads_nowhere(receiver: &HookReceiver, headers: &HeaderMap, body: &[u8], what: &str) {
    let read = receiver.read(headers, body);
    assert!(!matches!(read, Ok(Reading::Pushed { .. })), "{} and {what}: {read:?}", receiver.sender.label());
}

#[test]
fn rubbish_leads_nowhere_with_any_sender() {
    let deep = |open: &str, n: usize| open.repeat(n).into_bytes();
    let mut nested = Value::Null;
    for _ in 0..100 {
        nested = json!({"events": [nested]});
    }
    for sender in Sender::ALL {
        let (receiver, headers, body) = samples(sender);
        assert!(matches!(receiver.read(&headers, &body), Ok(Reading::Pushed { .. })), "{}", sender.label());
        for cut in [0, 1, body.len() / 2, body.len() - 1] {
            leads_nowhere(&receiver, &headers, &body[..cut], &format!("cut off at {cut}"));
        }
        let mut broken = body.clone();
        broken[body.len() / 2] = 0xff;
        for (what, body) in [
            ("invalid UTF-8", broken),
            ("no text", vec![0xff; 100]),
            ("nulls", vec![0; 1000]),
            ("deep lists", deep("[", 500_000)),
            ("deep maps", deep("{\"a\":", 200_000)),
            ("deep and closed", nested.to_string().into_bytes()),
            ("spaces", vec![b' '; 1_000_000]),
            ("a number", b"7.5e300".to_vec()),
            ("null", b"null".to_vec()),
            ("a list", b"[]".to_vec()),
            ("a list of lists", b"[[], {}, null, 1]".to_vec()),
            ("a map", b"{}".to_vec()),
            ("XML", b"<xml/>".to_vec()),
            ("ten megabytes", vec![b'"'; 10_000_000]),
        ] {
            leads_nowhere(&receiver, &headers, &body, what);
        }
    }
}

/// Every value of `body`, one after the other, replaced by each of `others`.
fn replaced(body: &Value, others: &[Value]) -> Vec<Value> {
    let mut all = others.to_vec();
    match body {
        Value::Object(map) => {
            for (key, value) in map {
                for other in replaced(value, others) {
                    let mut changed = map.clone();
                    changed.insert(key.clone(), other);
                    all.push(changed.into());
                }
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                for other in replaced(value, others) {
                    let mut changed = list.clone();
                    changed[index] = other;
                    all.push(changed.into());
                }
            }
        }
        _ => {}
    }
    all
}

#[test]
fn a_value_of_another_type_anywhere_is_never_more_than_the_push_that_was_meant() {
    let others = [Value::Null, json!(7), json!(-1.5e300), json!(true), json!("\u{0}"), json!(["x"]), json!({"a": {}})];
    for sender in Sender::ALL {
        let (receiver, headers, body) = samples(sender);
        let body: Value = serde_json::from_slice(&body).unwrap();
        let meant = receiver.read(&headers, body.to_string().as_bytes()).unwrap();
        let Reading::Pushed { hints: meant, .. } = meant else { panic!("{meant:?}") };
        for changed in replaced(&body, &others) {
            if let Ok(Reading::Pushed { hints, .. }) = receiver.read(&headers, changed.to_string().as_bytes()) {
                for hint in hints {
                    let path = hint.repository.path().rsplit('/').next().unwrap().to_owned();
                    let known = meant.iter().any(|other| other.repository.path().ends_with(&path));
                    assert!(known || sender == Sender::Generic, "{}: {changed} gives {hint:?}", sender.label());
                }
            }
        }
    }
}

#[test]
fn a_tag_that_is_none_is_no_push_with_any_sender() {
    let referrer = format!("sha256-{}", "a".repeat(64));
    for (end, may_sign) in [("", true), (".sig", true), (".att", false), (".sbom", false)] {
        let tag = format!("{referrer}{end}");
        for sender in Sender::ALL {
            let receiver = at(sender, "registry.example.com");
            let trial = receiver.trial(&Subject { tag: tag.parse().unwrap(), ..subject(sender) });
            let given = trial.headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_str(value).unwrap()));
            let read = receiver.read(&given.collect(), trial.body.as_bytes());
            let is_this = |hint: &SignatureHint| hint.tag.as_ref().is_some_and(|given| given.as_str() == tag);
            match &read {
                Ok(Reading::Pushed { hints, beside, .. }) if may_sign => {
                    assert!(hints.is_empty() && beside.iter().all(is_this), "{} {tag}: {read:?}", sender.label());
                }
                Ok(Reading::Nothing(_)) if !may_sign => {}
                other => panic!("{} {tag}: {other:?}", sender.label()),
            }
        }
    }
}

#[test]
fn one_delivery_can_t_make_us_look_everywhere() {
    let event = |n: usize| json!({"action": "push", "target": {"repository": format!("r{n}"), "tag": "v1"}, "request": {"host": "a.example"}});
    let body = json!({"events": (0..300).map(event).collect::<Vec<_>>()}).to_string();
    assert_eq!(receiver(Sender::Distribution).read(&HeaderMap::new(), body.as_bytes()), Err(Misread::TooMany));
    let same = json!({"events": (0..300).map(|_| event(1)).collect::<Vec<_>>()}).to_string();
    assert!(
        matches!(receiver(Sender::Distribution).read(&HeaderMap::new(), same.as_bytes()), Ok(Reading::Pushed { hints, .. }) if hints.len() == 1)
    );
}

/// What is done to a body.
type Changes = Vec<(prop::sample::Index, u8, u8)>;

fn changes() -> impl Strategy<Value = Changes> {
    prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..4_u8), 0..12)
}

fn changed(mut body: Vec<u8>, changes: Changes) -> Vec<u8> {
    for (place, byte, change) in changes {
        let place = place.index(body.len().max(1));
        match change {
            0 if place < body.len() => body[place] = byte,
            1 if place < body.len() => drop(body.remove(place)),
            2 => body.truncate(place),
            _ => body.insert(place.min(body.len()), byte),
        }
    }
    body
}

#[test]
fn there_is_a_fixture_of_every_sender() {
    let fixtures = fixtures();
    for sender in Sender::ALL {
        assert!(fixtures.iter().any(|(_, receiver, ..)| receiver.sender == sender), "{}", sender.label());
    }
}

/// Each value of each fixture in turn, in case the mutations by chance miss the one that matters.
#[test]
fn a_value_of_another_type_anywhere_in_a_fixture_is_no_more_than_a_push() {
    let others = [Value::Null, json!(-1.5e300), json!(true), json!("\u{0}"), json!(["x"]), json!({"a": {}})];
    for (name, receiver, headers, body) in fixtures() {
        let body: Value = serde_json::from_slice(&body).unwrap();
        for changed in replaced(&body, &others) {
            if let Err(error) = holds(&receiver, &headers, changed.to_string().as_bytes()) {
                panic!("{name}: {changed}: {error}");
            }
        }
    }
}

fn json_value() -> impl Strategy<Value = Value> {
    let word = prop::sample::select(vec![
        "events",
        "action",
        "push",
        "target",
        "repository",
        "tag",
        "v1",
        "data",
        "type",
        "host",
        "package",
        "name",
        "PUSH_ARTIFACT",
        "resources",
        "updated_tags",
        "docker_url",
        "quay.io/a/b",
        "Message",
        "message",
        "image",
        "detail",
        "digest",
        "registry:5000",
        "a:b@c",
        "component",
        "format",
        "docker",
        "contents",
        "é\u{202e}",
        "",
    ]);
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.clone().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((word.clone(), inner), 0..5)
                .prop_map(|pairs| Value::Object(pairs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

fn holds(receiver: &HookReceiver, headers: &HeaderMap, body: &[u8]) -> Result<(), TestCaseError> {
    match receiver.read(headers, body) {
        Ok(Reading::Pushed { hints, beside, .. }) => {
            prop_assert!(!(hints.is_empty() && beside.is_empty()) && hints.len().max(beside.len()) <= 256);
            for hint in hints {
                prop_assert!(hint.repository.to_string().parse::<crate::model::Repository>().is_ok());
            }
        }
        Ok(Reading::Nothing(why)) => prop_assert!(!why.is_empty()),
        Err(error) => prop_assert!(error.to_string().chars().count() < 400),
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]
    #[test]
    fn a_mutated_body_makes_no_sender_s_reader_panic(changes in changes(), chosen in any::<prop::sample::Index>()) {
        for sender in Sender::ALL {
            let (receiver, headers, body) = samples(sender);
            holds(&receiver, &headers, &changed(body, changes.clone()))?;
        }
        let fixtures = fixtures();
        let (_, receiver, headers, body) = chosen.get(&fixtures);
        holds(receiver, headers, &changed(body.clone(), changes))?;
    }

    #[test]
    fn any_bytes_and_any_json_make_no_sender_s_reader_panic(
        bytes in prop::collection::vec(any::<u8>(), 0..300), json in json_value(), path in "[a-z$.*0-9\\[\\]]{0,12}",
    ) {
        for sender in Sender::ALL {
            let (mut receiver, headers, _) = samples(sender);
            holds(&receiver, &headers, &bytes)?;
            holds(&receiver, &HeaderMap::new(), json.to_string().as_bytes())?;
            holds(&receiver, &headers, json.to_string().as_bytes())?;
            if let (Sender::Generic, Ok(path)) = (sender, path.parse::<FieldPath>()) {
                receiver.fields = Fields { repository: Some(path.clone()), tag: Some(path) };
                holds(&receiver, &headers, json.to_string().as_bytes())?;
            }
        }
    }
}
