//! Signature Version 4, as far as a POST without a query needs it.

use chrono::{DateTime, Utc};
use hmac::{Hmac, KeyInit, Mac};
use secrecy::{ExposeSecret, SecretString};
use sha2::{Digest, Sha256};

/// Who signs. `Debug` shows no secret.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    pub(super) id: String,
    pub(super) secret: SecretString,
    pub(super) session: Option<SecretString>,
    /// What messages call the source.
    pub(super) origin: String,
}

/// What is signed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Call<'a> {
    pub(super) service: &'a str,
    pub(super) region: &'a str,
    pub(super) url: &'a url::Url,
    /// Names in lower case.
    pub(super) headers: &'a [(&'a str, &'a str)],
    pub(super) body: &'a str,
}

/// The headers that a POST needs besides its own.
pub(super) fn sign(call: &Call<'_>, keys: &Keys, at: DateTime<Utc>) -> Vec<(&'static str, SecretString)> {
    let (time, date) = (at.format("%Y%m%dT%H%M%SZ").to_string(), at.format("%Y%m%d").to_string());
    let host = match call.url.port() {
        Some(port) => format!("{}:{port}", call.url.host_str().unwrap_or_default()),
        None => call.url.host_str().unwrap_or_default().to_owned(),
    };
    let mut headers: Vec<(&str, &str)> = call.headers.to_vec();
    headers.push(("host", &host));
    headers.push(("x-amz-date", &time));
    if let Some(session) = &keys.session {
        headers.push(("x-amz-security-token", session.expose_secret()));
    }
    headers.sort_unstable();
    let names = headers.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(";");
    let lines: String = headers.iter().map(|(name, value)| format!("{name}:{}\n", value.trim())).collect();
    let body = hex::encode(Sha256::digest(call.body));
    let canonical = format!("POST\n{}\n\n{lines}\n{names}\n{body}", call.url.path());
    let scope = format!("{date}/{}/{}/aws4_request", call.region, call.service);
    let text = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex::encode(Sha256::digest(canonical)));
    let signature = hex::encode(mac(&key(&keys.secret, &date, call.region, call.service), &text));
    let authorization =
        format!("AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders={names}, Signature={signature}", keys.id);
    let mut added = vec![("authorization", authorization.into()), ("x-amz-date", time.into())];
    if let Some(session) = &keys.session {
        added.push(("x-amz-security-token", session.clone()));
    }
    added
}

fn key(secret: &SecretString, date: &str, region: &str, service: &str) -> Vec<u8> {
    let first = mac(format!("AWS4{}", secret.expose_secret()).as_bytes(), date);
    [region, service, "aws4_request"].iter().fold(first, |key, part| mac(&key, part))
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of every length");
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(session: Option<&str>) -> Keys {
        Keys {
            id: "AKIDEXAMPLE".to_owned(),
            secret: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".to_owned().into(),
            session: session.map(|session| session.to_owned().into()),
            origin: "test".to_owned(),
        }
    }

    /// From the documentation of Signature Version 4, "Examples of how to derive a signing key".
    #[test]
    fn the_signing_key_is_that_of_the_documentation() {
        let made = key(&keys(None).secret, "20120215", "us-east-1", "iam");
        assert_eq!(hex::encode(made), "f4780e2d9f65fa895f9c67b32ce1baf0b0d8a43505a000a1a9e090d414db404d");
    }

    /// The suite `aws-sig-v4-test-suite`: `post-vanilla`, `post-x-www-form-urlencoded`, `post-sts-header-before`.
    #[test]
    fn posts_are_signed_as_in_amazons_test_suite() {
        let at = "2015-08-30T12:36:00Z".parse().unwrap();
        let url = "https://example.amazonaws.com/".parse().unwrap();
        let form = [("content-type", "application/x-www-form-urlencoded")];
        let session = "AQoDYXdzEPT//////////wEXAMPLEtc764bNrC9SAPBSM22wDOk4x4HIZ8j4FZTwdQWLWsKWHGBuFqwAeMicRXmxfpSPfIeoIYRqTflfKD8YUuwthAx7mSEI/qkPpKPi/kMcGdQrmGdeehM4IC1NtBmUpp2wUE8phUZampKsburEDy0KPkyQDYwT7WZ0wq5VSXDvp75YU9HFvlRd8Tx6q6fE8YQcHNVXAkiY9q6d+xo0rKwT38xVqr7ZD0u0iPPkUL64lIZbqBAz+scqKmlzm8FDrypNC9Yjc8fPOLn9FX9KSYvKTr4rvx3iSIlTJabIQwj2ICCR/oLxBA==";
        for (label, headers, body, session, signature) in [
            ("vanilla", &form[..0], "", None, "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
            (
                "form",
                &form[..],
                "Param1=value1",
                None,
                "ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a",
            ),
            (
                "session",
                &form[..0],
                "",
                Some(session),
                "85d96828115b5dc0cfc3bd16ad9e210dd772bbebba041836c64533a82be05ead",
            ),
        ] {
            let call = Call { service: "service", region: "us-east-1", url: &url, headers, body };
            let added = sign(&call, &keys(session), at);
            let authorization = added[0].1.expose_secret();
            assert!(authorization.ends_with(&format!("Signature={signature}")), "{label}: {authorization}");
            assert!(
                authorization.contains("Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "),
                "{label}"
            );
            assert_eq!(added.len(), 2 + usize::from(session.is_some()), "{label}");
        }
    }
}
