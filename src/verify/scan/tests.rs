//! Scanners that answer, hang, babble and lie.

use std::collections::BTreeMap;
use std::time::Duration;

use secrecy::SecretString;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::model::{Bearer, Digest, Env, Platform};

fn subject() -> ScanSubject {
    ScanSubject {
        app: "shop".parse().unwrap(),
        repository: "ghcr.io/acme/shop".parse().unwrap(),
        digest: Digest::of(b"image"),
        tag: Some("latest".parse().unwrap()),
        platform: Platform { os: "linux".into(), architecture: "arm".into(), variant: Some("v7".into()) },
    }
}

fn rule(by: Scanner, timeout: Duration) -> ScanRule {
    ScanRule { by, timeout, fresh: Duration::from_secs(60) }
}

async fn script(text: &str, arguments: &[&str], timeout: Duration) -> ScanVerdict {
    let command = ["sh", "-c", text, "gate"].iter().chain(arguments).map(|word| (*word).to_owned()).collect();
    let env = Env(BTreeMap::from([("SCAN_KEY".to_owned(), "s3cret".to_owned())]));
    ask(&subject(), &rule(Scanner::Exec { command, env, deny: vec![1] }, timeout)).await
}

const LONG: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_program_is_told_what_will_be_deployed_and_nothing_of_ours() {
    let reference = format!("ghcr.io/acme/shop@{}", Digest::of(b"image"));
    let check = format!(
        r#"[ "$1" = "{reference}" ] && [ "$2" = "linux/arm/v7 latest shop" ] && [ "$TAGBOAT_REFERENCE" = "{reference}" ] &&
           [ "$TAGBOAT_PLATFORM" = linux/arm/v7 ] && [ "$SCAN_KEY" = s3cret ] && [ -z "$CARGO_MANIFEST_DIR" ] && [ -n "$PATH" ]"#
    );
    let arguments = ["{reference}", "{platform} {tag} {app}"];
    assert_eq!(script(&check, &arguments, LONG).await, ScanVerdict::Allowed);
    for (text, wanted) in [
        ("echo CVE-1 >&2; exit 1", ScanVerdict::Denied { reason: "CVE-1".into() }),
        ("echo queued; exit 75", ScanVerdict::Later { reason: "queued".into() }),
        ("exit 9", ScanVerdict::Failed { message: "exit code 9: without a reason".into() }),
        ("kill -9 $$", ScanVerdict::Failed { message: "it was killed: without a reason".into() }),
    ] {
        assert_eq!(script(text, &[], LONG).await, wanted, "{text}");
    }
}

#[tokio::test]
async fn a_program_that_hangs_is_killed_with_all_that_it_has_started() {
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("pid").display().to_string();
    let verdict = script("sleep 600 & echo $! > \"$1\"; wait", &[&path], Duration::from_millis(700)).await;
    assert_eq!(verdict, ScanVerdict::Failed { message: "it gave no answer within 700ms".into() });
    let pid = std::fs::read_to_string(&path).unwrap();
    let gone = async {
        // A zombie that nobody has collected yet is gone as well.
        while std::fs::read_to_string(format!("/proc/{}/stat", pid.trim())).is_ok_and(|stat| !stat.contains(") Z ")) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(LONG, gone).await.unwrap();
}

#[tokio::test]
async fn a_program_that_babbles_is_cut_and_one_that_is_not_there_is_named() {
    let verdict = script("yes babble | head -n 400000; echo the end; exit 1", &[], LONG).await;
    let ScanVerdict::Denied { reason } = verdict else { panic!("{verdict:?}") };
    assert!(reason.ends_with("babble the end") && reason.chars().count() < 600, "{reason}");
    let by = Scanner::Exec { command: vec!["/nowhere/scan".into()], env: Env::default(), deny: vec![1] };
    let ScanVerdict::Failed { message } = ask(&subject(), &rule(by, LONG)).await else { panic!() };
    assert!(message.starts_with("/nowhere/scan can't be run: "), "{message}");
}

/// A service that answers one request with this; what it was asked.
async fn service(answer: String, token: Option<&str>, timeout: Duration) -> (ScanVerdict, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/gate", listener.local_addr().unwrap()).parse().unwrap();
    let served = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            let mut piece = [0; 4096];
            let length = stream.read(&mut piece).await.unwrap();
            assert!(length > 0, "the request was cut off");
            request.extend_from_slice(&piece[..length]);
        }
        // A client that has read enough goes away.
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.shutdown().await;
        String::from_utf8(request).unwrap()
    });
    let token = token.map(|token| Bearer(SecretString::from(token)));
    let verdict = ask(&subject(), &rule(Scanner::Http { url, token }, timeout)).await;
    (verdict, served.await.unwrap())
}

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

#[tokio::test]
async fn a_service_is_asked_in_json_and_only_its_allow_allows() {
    let (verdict, request) = service(ok(r#"{"decision": "allow"}"#), Some("t0ken"), LONG).await;
    assert_eq!(verdict, ScanVerdict::Allowed);
    assert!(
        request.starts_with("POST /gate HTTP/1.1\r\n") && request.contains("authorization: Bearer t0ken"),
        "{request}"
    );
    let body: serde_json::Value = serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!(body["reference"], format!("ghcr.io/acme/shop@{}", Digest::of(b"image")));
    assert_eq!((&body["platform"], &body["tag"]), (&"linux/arm/v7".into(), &"latest".into()));
    for (label, answer, wanted) in [
        ("deny", ok(r#"{"decision": "deny", "reason": "CVE-1"}"#), "denied"),
        ("later", ok(r#"{"decision": "later"}"#), "later"),
        ("another word", ok(r#"{"decision": "yes"}"#), "failed"),
        ("no JSON", ok("allow"), "failed"),
        ("nothing", ok(""), "failed"),
        ("an error that says allow", ok(r#"{"decision": "allow"}"#).replace("200 OK", "500 Oops"), "failed"),
        ("a redirect", "HTTP/1.1 307 X\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n".into(), "failed"),
        ("too much", ok(&format!(r#"{{"decision": "allow", "reason": "{}"}}"#, "x".repeat(100_000))), "failed"),
        ("cut off", "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"decision\": \"allow\"}".into(), "failed"),
    ] {
        let (verdict, _) = service(answer, None, Duration::from_secs(3)).await;
        assert_eq!(verdict.label(), wanted, "{label}: {verdict:?}");
        assert!(!format!("{verdict:?}").contains("t0ken"));
    }
}
