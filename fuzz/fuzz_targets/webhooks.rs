//! Any bytes to any sender's reader: no panic, and every push that comes out names a repository.
//!
//! The first byte chooses the sender, the second its headers; the rest is the body. `tests/fixtures/payloads` is a good
//! corpus to begin with.

#![no_main]

use http::{HeaderMap, HeaderName, HeaderValue};
use libfuzzer_sys::fuzz_target;
use tagboat::http::webhooks::{Fields, HookAuth, HookReceiver, Reading, Sender};

const HEADERS: [(&str, &str); 8] = [
    ("content-type", "application/x-www-form-urlencoded"),
    ("content-type", "application/cloudevents+json"),
    ("x-github-event", "package"),
    ("x-gitea-event", "package"),
    ("ce-type", "zotregistry.image.updated"),
    ("ce-source", "zot.example.com"),
    ("x-goog-pubsub-message-id", "1"),
    ("x-github-delivery", "1"),
];

fuzz_target!(|data: &[u8]| {
    let [sender, given, body @ ..] = data else { return };
    let sender = Sender::ALL[usize::from(*sender) % Sender::ALL.len()];
    let mut headers = HeaderMap::new();
    for (bit, (name, value)) in HEADERS.iter().enumerate() {
        if given & (1 << bit) != 0 {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
        }
    }
    let receiver = HookReceiver {
        id: "fuzz".into(),
        sender,
        auth: HookAuth::Hmac("fuzz".into()),
        default_host: Some("registry.example.com".into()),
        aliases: [("registry:5000".to_owned(), "registry.example.com".to_owned())].into(),
        fields: Fields::default(),
    };
    match receiver.read(&headers, body) {
        Ok(Reading::Pushed { hints, .. }) => {
            assert!(!hints.is_empty() && hints.len() <= 256);
            for hint in hints {
                assert!(hint.repository.to_string().parse::<tagboat::model::Repository>().is_ok());
            }
        }
        Ok(Reading::Nothing(_)) => {}
        Err(error) => assert!(error.to_string().len() < 2000),
    }
});
