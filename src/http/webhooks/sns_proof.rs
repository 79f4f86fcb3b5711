//! The signature of Amazon SNS, and the confirmation of its subscriptions.
//!
//! SNS signs for every customer: what makes a message ours is the topic, which is signed with it and must be configured.
//! Certificate and confirmation are fetched only from the SNS host of that topic's region, and only from the paths that
//! SNS itself uses: other paths of the same host answer with what a caller has put there.

use std::str::FromStr;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{AlgorithmIdentifier, CertificateDer, InvalidSignature, SignatureVerificationAlgorithm, alg_id};
use serde_json::Value;
use url::Url;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::signature::{RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, UnparsedPublicKey};

use super::auth::Verdict;
use super::fetch::{Library, Unfetched};

/// The address of a topic: `arn:aws:sns:eu-west-1:123456789012:pushes`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicArn {
    text: String,
    host: String,
}

/// Not an address of a topic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no topic's ARN; it looks like arn:aws:sns:eu-west-1:123456789012:pushes")]
pub struct InvalidArn(String);

impl FromStr for TopicArn {
    type Err = InvalidArn;

    fn from_str(text: &str) -> Result<Self, InvalidArn> {
        let invalid = || InvalidArn(text.to_owned());
        let parts: Vec<&str> = text.split(':').collect();
        let ["arn", partition, "sns", region, account, name] = parts.as_slice() else { return Err(invalid()) };
        let word = |text: &str| text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
        if region.is_empty() || name.is_empty() || !word(region) || !account.bytes().all(|b| b.is_ascii_digit()) {
            return Err(invalid());
        }
        let end = match *partition {
            "aws" | "aws-us-gov" => "amazonaws.com",
            "aws-cn" => "amazonaws.com.cn",
            _ => return Err(invalid()),
        };
        Ok(Self { text: text.to_owned(), host: format!("sns.{region}.{end}") })
    }
}

/// Judges a message.
pub(super) async fn check(topics: &[TopicArn], body: &[u8], library: &Library) -> Verdict {
    let Ok(message) = serde_json::from_slice::<Value>(body) else { return Verdict::Refused("the message is not JSON") };
    let Some(topic) = topic(topics, &message) else { return Verdict::Refused("the message is of another topic") };
    let Some(signed) = signed_text(&message) else { return Verdict::Refused("the message is not signed in SNS's way") };
    let Some(url) = certificate_url(topic, &message) else {
        return Verdict::Refused("its certificate is not at SNS's own place");
    };
    let signature = field(&message, "Signature").and_then(|text| STANDARD.decode(text).ok());
    let Some(signature) = signature else { return Verdict::Refused("the message has no signature") };
    match library.get(&url).await {
        Ok(pem) => verify(&pem, field(&message, "SignatureVersion"), signed.as_bytes(), &signature),
        Err(error) => Verdict::Undecided(error.to_string()),
    }
}

/// Confirms the subscription, if that is what an authentic message asks for. The address is made anew from the topic
/// that is configured and the token that is signed.
pub(super) async fn confirm(topics: &[TopicArn], body: &[u8], library: &Library) -> Option<Result<(), Unfetched>> {
    let message: Value = serde_json::from_slice(body).ok()?;
    if field(&message, "Type") != Some("SubscriptionConfirmation") {
        return None;
    }
    let url = confirmation(topic(topics, &message)?, field(&message, "Token")?)?;
    Some(library.once(&url).await.map(drop))
}

fn confirmation(topic: &TopicArn, token: &str) -> Option<Url> {
    let mut url: Url = format!("https://{}/", topic.host).parse().ok()?;
    let mut query = url.query_pairs_mut();
    query.append_pair("Action", "ConfirmSubscription").append_pair("TopicArn", &topic.text).append_pair("Token", token);
    drop(query);
    Some(url)
}

fn topic<'a>(topics: &'a [TopicArn], message: &Value) -> Option<&'a TopicArn> {
    let named = field(message, "TopicArn")?;
    topics.iter().find(|topic| topic.text == named)
}

/// A field exactly as it is: what is signed may not be trimmed.
fn field<'a>(message: &'a Value, name: &str) -> Option<&'a str> {
    message.get(name)?.as_str()
}

/// What SNS signs: names and values, each on a line, in this order.
fn signed_text(message: &Value) -> Option<String> {
    let names: &[&str] = match field(message, "Type")? {
        "Notification" => &["Message", "MessageId", "Subject", "Timestamp", "TopicArn", "Type"],
        "SubscriptionConfirmation" | "UnsubscribeConfirmation" => {
            &["Message", "MessageId", "SubscribeURL", "Timestamp", "Token", "TopicArn", "Type"]
        }
        _ => return None,
    };
    let mut text = String::new();
    for name in names {
        match field(message, name) {
            Some(value) => text.push_str(&format!("{name}\n{value}\n")),
            // The only one that a message need not have.
            None if *name == "Subject" => {}
            None => return None,
        }
    }
    Some(text)
}

fn certificate_url(topic: &TopicArn, message: &Value) -> Option<Url> {
    let url: Url = field(message, "SigningCertURL")?.parse().ok()?;
    let name = url.path().strip_prefix("/SimpleNotificationService-")?.strip_suffix(".pem")?;
    let own = url.scheme() == "https" && url.host_str() == Some(&topic.host) && url.port().is_none();
    let bare =
        url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none();
    let named = !name.is_empty() && name.bytes().all(|b| b.is_ascii_hexdigit());
    (own && bare && named).then_some(url)
}

fn verify(pem: &[u8], version: Option<&str>, signed: &[u8], signature: &[u8]) -> Verdict {
    let algorithm: &dyn SignatureVerificationAlgorithm = match version {
        Some("1") => &RsaSha1,
        Some("2") => webpki::ring::RSA_PKCS1_2048_8192_SHA256,
        _ => return Verdict::Refused("its version of signature is not known"),
    };
    let Ok(der) = CertificateDer::from_pem_slice(pem) else {
        return Verdict::Undecided("the certificate of SNS can't be read".to_owned());
    };
    let Ok(certificate) = webpki::EndEntityCert::try_from(&der) else {
        return Verdict::Undecided("the certificate of SNS can't be read".to_owned());
    };
    match certificate.verify_signature(algorithm, signed, signature) {
        Ok(()) => Verdict::Authentic,
        Err(_) => Verdict::Refused("the signature is not that of SNS"),
    }
}

/// SNS's first way to sign, and still its default. A collision of SHA-1 is of no use here: the two messages would have
/// the same topic, because it comes after everything that a publisher chooses.
#[derive(Debug)]
struct RsaSha1;

impl SignatureVerificationAlgorithm for RsaSha1 {
    fn verify_signature(&self, key: &[u8], message: &[u8], signature: &[u8]) -> Result<(), InvalidSignature> {
        let key = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, key);
        key.verify(message, signature).map_err(|_| InvalidSignature)
    }

    fn public_key_alg_id(&self) -> AlgorithmIdentifier {
        alg_id::RSA_ENCRYPTION
    }

    fn signature_alg_id(&self) -> AlgorithmIdentifier {
        // Only ever compared within certificates, which are not judged with this.
        alg_id::RSA_PKCS1_SHA256
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn certificates_come_only_from_the_topic_s_own_sns_host() {
        let topic: TopicArn = "arn:aws:sns:us-west-2:123456789012:MyTopic".parse().unwrap();
        let fits = |url: &str| certificate_url(&topic, &json!({"SigningCertURL": url})).is_some();
        assert!(fits("https://sns.us-west-2.amazonaws.com/SimpleNotificationService-f3ecfb7224c7233f.pem"));
        for url in [
            "http://sns.us-west-2.amazonaws.com/SimpleNotificationService-f3.pem",
            "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-f3.pem",
            "https://sns.us-west-2.amazonaws.com.evil.example/SimpleNotificationService-f3.pem",
            "https://evil.example/SimpleNotificationService-f3.pem",
            "https://sns.us-west-2.amazonaws.com@evil.example/SimpleNotificationService-f3.pem",
            "https://u:p@sns.us-west-2.amazonaws.com/SimpleNotificationService-f3.pem",
            "https://sns.us-west-2.amazonaws.com:444/SimpleNotificationService-f3.pem",
            "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-f3.pem?x=1",
            "https://sns.us-west-2.amazonaws.com/x/SimpleNotificationService-f3.pem",
            "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-../f3.pem",
            "https://sns.us-west-2.amazonaws.com/SimpleNotificationService-.pem",
            "https://s3.us-west-2.amazonaws.com/SimpleNotificationService-f3.pem",
            "file:///etc/passwd",
            "",
        ] {
            assert!(!fits(url), "{url}");
        }
    }

    #[test]
    fn a_topic_is_told_by_its_arn_and_tells_its_host() {
        let cn: TopicArn = "arn:aws-cn:sns:cn-north-1:123456789012:t".parse().unwrap();
        assert_eq!(cn.host, "sns.cn-north-1.amazonaws.com.cn");
        for text in
            ["", "arn:aws:sqs:eu-west-1:1:t", "arn:aws:sns::1:t", "arn:aws:sns:a.b/:1:t", "arn:x:sns:eu:1:t", "t"]
        {
            assert!(text.parse::<TopicArn>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_subscription_is_confirmed_at_an_address_of_our_own_making() {
        let topic: TopicArn = "arn:aws:sns:us-west-2:123456789012:MyTopic".parse().unwrap();
        assert_eq!(
            confirmation(&topic, "a&b=c").unwrap().as_str(),
            "https://sns.us-west-2.amazonaws.com/?Action=ConfirmSubscription\
             &TopicArn=arn%3Aaws%3Asns%3Aus-west-2%3A123456789012%3AMyTopic&Token=a%26b%3Dc"
        );
    }
}
