//! Any bytes to every sender's reader, with the headers that the sender gives and without: no panic, and every push that
//! comes out names a repository.

#![no_main]

use http::{HeaderMap, HeaderValue};
use libfuzzer_sys::fuzz_target;
use tagboat::http::webhooks::{Fields, HookAuth, HookReceiver, Misread, Reading, Sender, Subject};
use tagboat::model::{Digest, Repository};

fn receiver(sender: Sender) -> HookReceiver {
    HookReceiver {
        id: "fuzz".into(),
        sender,
        auth: HookAuth::Hmac("fuzz".into()),
        default_host: Some("registry.example.com".into()),
        aliases: [("registry:5000".to_owned(), "registry.example.com".to_owned())].into(),
        fields: Fields::default(),
    }
}

/// The headers of a delivery as the sender makes it.
fn headers(receiver: &HookReceiver) -> HeaderMap {
    let subject = Subject {
        repository: "registry.example.com/acme/shop".parse().expect("it is one"),
        tag: "latest".parse().expect("it is one"),
        digest: Digest::of(b"fuzz"),
        id: "1".to_owned(),
    };
    let given = receiver.trial(&subject).headers;
    given.into_iter().map(|(name, value)| (name, HeaderValue::from_str(&value).expect("it was made"))).collect()
}

fn holds(read: Result<Reading, Misread>) {
    match read {
        Ok(Reading::Pushed { hints, beside, .. }) => {
            assert!(!(hints.is_empty() && beside.is_empty()) && hints.len().max(beside.len()) <= 256);
            for hint in hints {
                assert!(hint.repository.to_string().parse::<Repository>().is_ok());
            }
        }
        Ok(Reading::Nothing(why)) => assert!(!why.is_empty()),
        Err(error) => assert!(error.to_string().len() < 2000),
    }
}

fuzz_target!(|body: &[u8]| {
    for sender in Sender::ALL {
        let receiver = receiver(sender);
        holds(receiver.read(&headers(&receiver), body));
        holds(receiver.read(&HeaderMap::new(), body));
        let mut form = HeaderMap::new();
        form.insert("content-type", HeaderValue::from_static("application/x-www-form-urlencoded"));
        holds(receiver.read(&form, body));
    }
});
