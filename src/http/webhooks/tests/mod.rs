//! Every sender: what its bodies mean, what proves them, what rubbish does; and the door, over real connections.

use std::collections::BTreeMap;

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::SecretString;

use super::*;
use crate::engine::Hint;
use crate::http::testing::digest;

mod door;
mod hostile;
mod payloads;
mod proofs;
mod restart;
mod signed;

/// The secret of every receiver here.
const SECRET: &str = "s3cret-of-the-tests";
/// A topic whose messages `signed` signs.
const TOPIC: &str = "arn:aws:sns:eu-west-1:123456789012:pushes";
/// The account and the audience of tokens that `signed` makes.
const ACCOUNT: &str = "push@acme.iam.gserviceaccount.com";
const AUDIENCE: &str = "https://hooks.example.com";
const ISSUER: &str = "https://issuer.example.com";

/// A proof of this kind with the secret, topic or account of the tests.
fn auth(proof: Proof) -> HookAuth {
    let secret = SecretString::from(SECRET);
    match proof {
        Proof::Token => HookAuth::Token { secret, header: None },
        Proof::Hmac => HookAuth::Hmac(secret),
        Proof::Url => HookAuth::Url(secret),
        Proof::Sns => HookAuth::Sns(vec![TOPIC.parse().unwrap()]),
        Proof::IdToken => HookAuth::IdToken(Box::new(IdTokenRules {
            issuer: ISSUER.parse().unwrap(),
            issuer_claim: ISSUER.into(),
            audience: vec![AUDIENCE.into()],
            email: Some(ACCOUNT.into()),
            claims: BTreeMap::from([("repository".to_owned(), vec!["acme/*".to_owned()])]),
        })),
    }
}

/// A receiver of this sender with its best proof.
fn receiver(sender: Sender) -> HookReceiver {
    let aliases = BTreeMap::from([("registry:5000".to_owned(), "registry.example.com".to_owned())]);
    HookReceiver {
        id: "ci".into(),
        sender,
        auth: auth(sender.proofs()[0]),
        default_host: None,
        aliases,
        fields: Fields::default(),
    }
}

fn at(sender: Sender, default_host: &str) -> HookReceiver {
    HookReceiver { default_host: Some(default_host.into()), ..receiver(sender) }
}

fn headers(given: &[(&'static str, &str)]) -> HeaderMap {
    let pairs =
        given.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_str(value).unwrap()));
    pairs.collect()
}

fn shown(hints: &[Hint]) -> Vec<String> {
    let tag = |hint: &Hint| hint.tag.as_ref().map_or("*", |tag| tag.as_str()).to_owned();
    hints.iter().map(|hint| format!("{}:{}", hint.repository, tag(hint))).collect()
}

/// What an app's image is, and what a sender's sample is to announce so that this app looks.
fn subject(sender: Sender) -> Subject {
    let repository = match sender {
        Sender::DockerHub => "docker.io/acme/shop",
        Sender::Ecr | Sender::Sns => "123456789012.dkr.ecr.eu-west-1.amazonaws.com/acme/shop",
        Sender::Alibaba => "registry.cn-hangzhou.aliyuncs.com/acme/shop",
        _ => "registry.example.com/acme/shop",
    };
    Subject {
        repository: repository.parse().unwrap(),
        tag: "latest".parse().unwrap(),
        digest: digest('c'),
        id: "d-1".into(),
    }
}

/// A receiver to which this sender's sample means its subject.
fn fitting(sender: Sender) -> HookReceiver {
    match sender.names_registry() {
        true => receiver(sender),
        false => at(sender, "registry.example.com"),
    }
}

#[test]
fn the_documentation_has_a_row_for_every_sender_with_its_proofs() {
    let document = include_str!("../../../../docs/WEBHOOKS.md");
    for sender in Sender::ALL {
        let proofs = sender.proofs().iter().map(|proof| format!("`{}`", proof.label())).collect::<Vec<_>>().join(", ");
        let row = document.lines().find(|line| line.starts_with(&format!("| `{}` |", sender.label())));
        assert!(row.is_some_and(|row| row.contains(&format!("| {proofs} |"))), "{}: {proofs}: {row:?}", sender.label());
        let named = sender.names_registry() || row.is_some_and(|row| row.contains("`default_host`"));
        assert!(named, "{}", sender.label());
    }
}
