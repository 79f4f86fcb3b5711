//! Others who sign: an identity provider and Amazon SNS, both with the key in `tests/fixtures/hooks`, and the net.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use ring::rand::SystemRandom;
use ring::signature::{KeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use serde_json::{Value, json};
use url::Url;

use super::*;

const KEY: &[u8] = include_bytes!("../../../../tests/fixtures/hooks/rsa_key.pk8");
const CERTIFICATE: &[u8] = include_bytes!("../../../../tests/fixtures/hooks/sns_certificate.pem");

/// Where the certificate of our SNS is.
pub(super) const CERTIFICATE_URL: &str =
    "https://sns.eu-west-1.amazonaws.com/SimpleNotificationService-0123456789abcdef.pem";

fn rs256(message: &[u8]) -> Vec<u8> {
    let key = RsaKeyPair::from_pkcs8(KEY).unwrap();
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
    signature
}

/// The claims of a token that is accepted.
pub(super) fn claims() -> Value {
    let now = chrono::Utc::now().timestamp();
    json!({
        "iss": ISSUER, "aud": AUDIENCE, "exp": now + 600, "iat": now, "nbf": now - 5, "sub": "1",
        "email": ACCOUNT, "email_verified": true, "repository": "acme/shop",
    })
}

/// A token with these claims, signed by the issuer.
pub(super) fn token(header: &Value, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature = rs256(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

pub(super) fn header() -> Value {
    json!({"alg": "RS256", "typ": "JWT", "kid": "k1"})
}

/// The issuer's keys, with others that nobody knows what to do with.
fn keys() -> Value {
    let public =
        ring::signature::RsaPublicKeyComponents::<Vec<u8>>::from(RsaKeyPair::from_pkcs8(KEY).unwrap().public_key());
    let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    json!({"keys": [
        {"kty": "unheard-of", "kid": "k0"},
        {"kty": "RSA", "use": "enc", "kid": "k2", "n": text(&public.n), "e": text(&public.e)},
        {"kty": "RSA", "use": "sig", "alg": "RS256", "kid": "k1", "n": text(&public.n), "e": text(&public.e)},
    ]})
}

/// A message of SNS, signed by it in version 2.
pub(super) fn sns(mut message: Value) -> Value {
    let mut signed = String::new();
    let subscription = message["Type"] == "SubscriptionConfirmation";
    let names = if subscription {
        ["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"].as_slice()
    } else {
        &["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"]
    };
    for name in names {
        if let Some(value) = message[*name].as_str() {
            signed.push_str(&format!("{name}\n{value}\n"));
        }
    }
    message["Signature"] = STANDARD.encode(rs256(signed.as_bytes())).into();
    message
}

/// A notification of SNS around a text.
pub(super) fn notification(text: &str, id: &str) -> Value {
    sns(json!({
        "Type": "Notification", "MessageId": id, "TopicArn": TOPIC, "Message": text, "SignatureVersion": "2",
        "Timestamp": "2024-05-02T00:54:06.655Z", "SigningCertURL": CERTIFICATE_URL,
    }))
}

/// The net: what is where, and who asked for it.
#[derive(Default)]
pub(super) struct Net {
    pub(super) asked: Mutex<Vec<String>>,
    pub(super) down: AtomicUsize,
}

impl Net {
    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl Fetch for Net {
    async fn get(&self, url: &Url) -> Result<Bytes, Unfetched> {
        self.asked.lock().unwrap().push(url.to_string());
        if self.down.load(Ordering::Relaxed) > 0 {
            return Err(Unfetched { host: "the net".into(), problem: "connection refused".into() });
        }
        let json = |value: Value| Ok(Bytes::from(value.to_string()));
        match url.as_str() {
            "https://issuer.example.com/.well-known/openid-configuration" => {
                json(json!({"issuer": ISSUER, "jwks_uri": "https://keys.example.com/jwks"}))
            }
            "https://keys.example.com/jwks" => json(keys()),
            CERTIFICATE_URL => Ok(Bytes::from_static(CERTIFICATE)),
            url if url.starts_with("https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription") => {
                Ok(Bytes::from_static(b"<ConfirmSubscriptionResponse/>"))
            }
            _ => Err(Unfetched { host: "the net".into(), problem: "HTTP 404".into() }),
        }
    }
}

#[test]
fn the_key_of_the_tests_is_that_of_their_certificate() {
    let key = RsaKeyPair::from_pkcs8(KEY).unwrap();
    let pem = String::from_utf8(CERTIFICATE.to_vec()).unwrap();
    let der = STANDARD.decode(pem.lines().filter(|line| !line.starts_with('-')).collect::<String>()).unwrap();
    let public = key.public_key().as_ref();
    assert!(der.windows(public.len()).any(|window| window == public));
}
