//! ID tokens and the signature of SNS, without a door.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::super::auth::{Checker, Verdict};
use super::super::fetch::Library;
use super::signed::{CERTIFICATE_URL, Net, claims, header, notification, sns, token};
use super::*;

async fn judged(proof: Proof, given: &HeaderMap, body: &[u8], library: &Library) -> Verdict {
    let checker = Checker::new(&auth(proof), Sender::Generic.facts()).unwrap();
    checker.check(None, given, body, library).await
}

fn with_token(token: &str) -> HeaderMap {
    headers(&[("authorization", &format!("Bearer {token}"))])
}

fn library() -> (Arc<Net>, Library) {
    let net = Arc::new(Net::default());
    (Arc::clone(&net), Library::new(net))
}

/// `claims()` with one of them changed, or left away when `value` is null.
fn but(name: &str, value: Value) -> Value {
    let mut claims = claims();
    match value {
        Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
        value => claims[name] = value,
    }
    claims
}

#[tokio::test]
async fn a_token_must_be_from_the_issuer_for_us_of_the_account_and_in_time() {
    let now = chrono::Utc::now().timestamp();
    let (_, library) = library();
    for (what, claims, refused) in [
        ("as it should be", claims(), None),
        ("for several", but("aud", json!(["x", AUDIENCE])), None),
        ("verified as text", but("email_verified", json!("true")), None),
        ("another issuer", but("iss", json!("https://evil.example")), Some("another issuer")),
        ("no issuer", but("iss", Value::Null), Some("lacks exp, iss or aud")),
        ("for others", but("aud", json!("https://others.example.com")), Some("somebody else")),
        ("for nobody", but("aud", Value::Null), Some("lacks exp, iss or aud")),
        ("expired", but("exp", json!(now - 120)), Some("expired")),
        ("expiring never", but("exp", Value::Null), Some("lacks exp, iss or aud")),
        ("expiring as text", but("exp", json!("soon")), Some("")),
        ("not yet valid", but("nbf", json!(now + 600)), Some("not valid yet")),
        ("valid from a text on", but("nbf", json!("tomorrow")), Some("")),
        ("another account", but("email", json!("other@acme.example")), Some("another account")),
        ("an account that is not verified", but("email_verified", json!(false)), Some("another account")),
        ("an account of which that is not said", but("email_verified", Value::Null), Some("another account")),
        ("another repository", but("repository", json!("evil/shop")), Some("a claim")),
        ("no repository", but("repository", Value::Null), Some("a claim")),
        ("a list of repositories", but("repository", json!(["acme/shop"])), Some("a claim")),
    ] {
        let verdict = judged(Proof::IdToken, &with_token(&token(&header(), &claims)), b"", &library).await;
        match refused {
            None => assert_eq!(verdict, Verdict::Authentic, "{what}"),
            Some(reason) => {
                assert!(matches!(verdict, Verdict::Refused(told) if told.contains(reason)), "{what}: {verdict:?}")
            }
        }
    }
}

#[tokio::test]
async fn a_token_must_be_signed_with_one_of_the_issuer_s_keys() {
    let (_, library) = library();
    let good = token(&header(), &claims());
    let mut parts = good.split('.');
    let (head, body, signature) = (parts.next().unwrap(), parts.next().unwrap(), parts.next().unwrap());
    let other = token(&header(), &but("repository", json!("acme/other")));
    let swapped = format!("{head}.{}.{signature}", other.split('.').nth(1).unwrap());
    let header = |text: &str| token(&serde_json::from_str(text).unwrap(), &claims());
    for (what, given) in [
        ("of another body", swapped),
        ("none", format!("{head}.{body}.")),
        ("cut", good[..good.len() - 10].to_owned()),
        ("not there", format!("{head}.{body}")),
        ("by no algorithm", header(r#"{"alg": "none", "kid": "k1"}"#)),
        ("with a shared key", header(r#"{"alg": "HS256", "kid": "k1"}"#)),
        ("with a curve's algorithm", header(r#"{"alg": "ES256", "kid": "k1"}"#)),
        ("with an unknown key", header(r#"{"alg": "RS256", "kid": "k9"}"#)),
        ("with a key for encryption", header(r#"{"alg": "RS256", "kid": "k2"}"#)),
        ("with a key of its own", header(r#"{"alg": "RS256", "kid": "k9", "jku": "https://evil.example/jwks"}"#)),
        ("not a token", "s3cret".into()),
        ("empty", String::new()),
        ("long", "a".repeat(20_000)),
        ("dots", "..".into()),
    ] {
        let verdict = judged(Proof::IdToken, &with_token(&given), b"", &library).await;
        assert!(matches!(verdict, Verdict::Refused(_)), "{what}: {verdict:?}");
    }
    let without_name = header(r#"{"alg": "RS256"}"#);
    assert_eq!(judged(Proof::IdToken, &with_token(&without_name), b"", &library).await, Verdict::Authentic);
    let nothing = judged(Proof::IdToken, &HeaderMap::new(), b"", &library).await;
    assert_eq!(nothing, Verdict::Refused("there is no bearer token"));
}

#[tokio::test(start_paused = true)]
async fn keys_are_fetched_once_an_hour_and_once_a_minute_for_names_that_are_not_known() {
    let (net, library) = library();
    let good = with_token(&token(&header(), &claims()));
    for _ in 0..5 {
        assert_eq!(judged(Proof::IdToken, &good, b"", &library).await, Verdict::Authentic);
    }
    assert_eq!(net.asked().len(), 2, "{:?}", net.asked());
    let unknown = with_token(&token(&json!({"alg": "RS256", "kid": "new"}), &claims()));
    for _ in 0..5 {
        judged(Proof::IdToken, &unknown, b"", &library).await;
    }
    assert_eq!(net.asked().len(), 2, "the keys are less than a minute old");
    tokio::time::advance(tokio::time::Duration::from_secs(61)).await;
    for _ in 0..5 {
        judged(Proof::IdToken, &unknown, b"", &library).await;
    }
    assert_eq!(net.asked().len(), 3);
    tokio::time::advance(tokio::time::Duration::from_secs(61)).await;
    net.down.store(1, Ordering::Relaxed);
    assert!(matches!(judged(Proof::IdToken, &unknown, b"", &library).await, Verdict::Undecided(_)));
    assert_eq!(
        judged(Proof::IdToken, &good, b"", &library).await,
        Verdict::Authentic,
        "the keys that are known are kept"
    );
    net.down.store(0, Ordering::Relaxed);
    tokio::time::advance(tokio::time::Duration::from_secs(3601)).await;
    net.down.store(1, Ordering::Relaxed);
    let verdict = judged(Proof::IdToken, &good, b"", &library).await;
    assert!(matches!(&verdict, Verdict::Undecided(why) if why.contains("refused")), "{verdict:?}");
    let asked = net.asked().len();
    judged(Proof::IdToken, &good, b"", &library).await;
    assert_eq!(net.asked().len(), asked, "what failed is not tried again at once");
    net.down.store(0, Ordering::Relaxed);
    tokio::time::advance(tokio::time::Duration::from_secs(11)).await;
    assert_eq!(judged(Proof::IdToken, &good, b"", &library).await, Verdict::Authentic);
}

#[tokio::test]
async fn a_message_of_sns_must_be_of_our_topic_and_signed_over_all_of_it() {
    let (net, library) = library();
    let good = notification("Hello", "m-1");
    let changed = |name: &str, value: Value| {
        let mut message = good.clone();
        message[name] = value;
        message
    };
    let other_topic = "arn:aws:sns:eu-west-1:666666666666:pushes";
    for (what, message) in [
        ("another text", changed("Message", json!("Hullo"))),
        ("a text with a space more", changed("Message", json!("Hello "))),
        ("another id", changed("MessageId", json!("m-2"))),
        ("another time", changed("Timestamp", json!("2025-05-02T00:54:06.655Z"))),
        ("a subject that was not signed", changed("Subject", json!("x"))),
        ("another kind", changed("Type", json!("UnsubscribeConfirmation"))),
        ("an unknown kind", changed("Type", json!("x"))),
        ("another topic", changed("TopicArn", json!(other_topic))),
        ("a topic of others, well signed", sns(changed("TopicArn", json!(other_topic)))),
        ("another version", changed("SignatureVersion", json!("1"))),
        ("an unknown version", changed("SignatureVersion", json!("3"))),
        ("no signature", changed("Signature", Value::Null)),
        ("no base64", changed("Signature", json!("***"))),
        ("an empty signature", changed("Signature", json!(""))),
        (
            "a certificate elsewhere",
            changed("SigningCertURL", json!("https://evil.example/SimpleNotificationService-1.pem")),
        ),
        ("no text", json!({"Type": "Notification", "TopicArn": TOPIC, "SigningCertURL": CERTIFICATE_URL})),
        ("a list", json!([good.clone()])),
    ] {
        let verdict = judged(Proof::Sns, &HeaderMap::new(), message.to_string().as_bytes(), &library).await;
        assert!(matches!(verdict, Verdict::Refused(_)), "{what}: {verdict:?}");
    }
    for body in [&b""[..], b"{", b"\xff"] {
        assert!(matches!(judged(Proof::Sns, &HeaderMap::new(), body, &library).await, Verdict::Refused(_)));
    }
    let subject = sns(changed("Subject", json!("a subject")));
    for message in [good, subject] {
        let text = serde_json::to_string_pretty(&message).unwrap();
        assert_eq!(judged(Proof::Sns, &HeaderMap::new(), text.as_bytes(), &library).await, Verdict::Authentic);
    }
    assert!(net.asked().iter().all(|url| url == CERTIFICATE_URL), "{:?}", net.asked());
    assert_eq!(net.asked().len(), 1, "the certificate is fetched once");
}

#[tokio::test]
async fn without_the_certificate_a_message_is_not_refused_but_asked_for_again() {
    let (net, library) = library();
    net.down.store(1, Ordering::Relaxed);
    let body = notification("Hello", "m-1").to_string();
    let verdict = judged(Proof::Sns, &HeaderMap::new(), body.as_bytes(), &library).await;
    assert!(matches!(verdict, Verdict::Undecided(_)), "{verdict:?}");
}

#[test]
fn no_receiver_has_an_empty_secret() {
    for empty in ["", "  ", "\n"] {
        for auth in [
            HookAuth::Token { secret: empty.into(), header: None },
            HookAuth::Hmac(empty.into()),
            HookAuth::Url(empty.into()),
        ] {
            assert!(Checker::new(&auth, Sender::Generic.facts()).is_err(), "{empty:?}");
        }
    }
}
