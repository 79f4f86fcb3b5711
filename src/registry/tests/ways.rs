//! How a registry is reached: mirrors, other names, TLS of every kind, HTTP/2, proxies.

use std::path::PathBuf;

use super::fake::{Fake, Reply, client, client_with, config, digest, found, reply, resolve};
use crate::metrics::Metrics;
use crate::model::Repository;
use crate::ports::{Registry, RegistryErrorKind};
use crate::registry::{Client, Config, Limits, RegistryConfig};
use tokio::time::Duration;

fn with_mirror(origin: &Fake, mirror: &Fake) -> Client {
    let settings = RegistryConfig { mirrors: vec![mirror.addr.to_string()], ..RegistryConfig::default() };
    let limits = Limits { short: Duration::from_millis(300), ..Limits::default() };
    client_with(&[(origin, settings)], std::sync::Arc::default(), limits)
}

#[tokio::test]
async fn a_mirror_is_asked_for_the_registrys_images_and_the_registry_for_nothing() {
    let document = r#"{"schemaVersion":2,"manifests":[]}"#;
    let mirror = Fake::new(move |asked| match asked.line.starts_with("HEAD") {
        true => found(asked, &digest(document)),
        false => reply(200, &[], document),
    })
    .await;
    let origin = Fake::new(|_| reply(500, &[], "")).await;
    let (client, repository) = (with_mirror(&origin, &mirror), origin.repository("a"));
    let first = resolve(&client, &repository, "1", None).await.unwrap();
    assert!(resolve(&client, &repository, "1", Some(&first)).await.unwrap().not_modified);
    client.manifest(&repository, &first.digest).await.unwrap();
    let ns = format!("?ns={}", origin.addr).replace(':', "%3A");
    let head = format!("HEAD /v2/a/manifests/1{ns}");
    assert_eq!(mirror.lines(), [head.clone(), head, format!("GET /v2/a/manifests/{}{ns}", first.digest)]);
    assert!(origin.lines().is_empty());
}

#[tokio::test]
async fn what_a_mirror_does_not_answer_is_asked_of_the_registry() {
    type Answer = fn() -> Reply;
    let replies: [(&str, Answer, usize); 5] = [
        ("it has no such image", || reply(404, &[], ""), 2),
        ("it fails", || reply(500, &[], ""), 1),
        ("it wants a password", || reply(401, &[("www-authenticate", "Basic realm=x")], ""), 1),
        ("it has had enough", || reply(429, &[("retry-after", "60")], ""), 1),
        ("it hangs", || None, 1),
    ];
    for (label, answer, asked) in replies {
        let mirror = Fake::new(move |_| answer()).await;
        let origin = Fake::new(|asked| found(asked, &digest("one"))).await;
        let (client, repository) = (with_mirror(&origin, &mirror), origin.repository("a"));
        assert_eq!(resolve(&client, &repository, "1", None).await.unwrap().digest, digest("one"), "{label}");
        assert_eq!(origin.lines(), ["HEAD /v2/a/manifests/1"], "{label}");
        assert_eq!(mirror.lines().len(), asked, "{label}");
    }
    let origin = Fake::new(|_| reply(404, &[], "")).await;
    let gone = Fake::new(|_| None).await;
    let client = with_mirror(&origin, &gone);
    let error = resolve(&client, &origin.repository("a"), "1", None).await.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::NotFound, "what the registry says counts");
    assert!(error.message.contains(&origin.addr.to_string()), "{error}");
}

#[tokio::test]
async fn another_name_of_a_registry_shares_all_that_is_its_own() {
    let fake = Fake::new(|asked| match asked.header("authorization") {
        Some("Basic Ym90OnMzY3JldA==") => found(asked, &digest("one")),
        _ => reply(401, &[("www-authenticate", "Basic realm=x")], ""),
    })
    .await;
    let settings = RegistryConfig { aliases: vec!["registry:5000".to_owned()], ..super::fake::user("s3cret") };
    let client = client(&[(&fake, settings)]);
    let repository: Repository = "registry:5000/a".parse().unwrap();
    assert_eq!(resolve(&client, &repository, "1", None).await.unwrap().digest, digest("one"));
    assert_eq!(client.pull_auth(&repository).await.unwrap().unwrap().username, "bot");
    let names: Vec<String> = client.status().into_iter().map(|status| status.registry).collect();
    assert_eq!(names, [fake.addr.to_string()], "one back-off, one quota, one limit of requests");
}

fn at_localhost(fake: &Fake, settings: RegistryConfig) -> (Client, Repository) {
    let name = format!("localhost:{}", fake.addr.port());
    let client = client(&[]);
    let registries = [(name.clone(), settings)].into();
    client.reconfigure(Config { registries, ..config(&[]) });
    (client, format!("{name}/a").parse().unwrap())
}

#[tokio::test]
async fn insecure_is_tls_with_anybody_and_never_plain_http() {
    let insecure = || RegistryConfig { insecure: true, ..RegistryConfig::default() };
    let (fake, _) = Fake::with_tls(|asked| found(asked, &digest("one"))).await;
    let (client, repository) = at_localhost(&fake, insecure());
    assert_eq!(resolve(&client, &repository, "1", None).await.unwrap().digest, digest("one"));
    // Its certificate is for `localhost` only.
    let client = super::fake::client(&[(&fake, insecure())]);
    resolve(&client, &fake.repository("a"), "1", None).await.unwrap();

    let plain = Fake::new(|asked| found(asked, &digest("one"))).await;
    let (client, repository) = at_localhost(&plain, insecure());
    let error = resolve(&client, &repository, "1", None).await.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::Tls, "{error}");
    assert!(plain.lines().is_empty());
}

#[tokio::test]
async fn http_2_is_spoken_where_it_is_offered() {
    let (fake, certificate) = Fake::with_tls(|asked| found(asked, &digest("one"))).await;
    let dir = tempfile::tempdir().unwrap();
    let path = written(&dir, "ca.pem", &certificate);
    let (client, repository) = at_localhost(&fake, RegistryConfig { ca_file: Some(path), ..RegistryConfig::default() });
    resolve(&client, &repository, "1", None).await.unwrap();
    assert_eq!(fake.asked()[0].version, http::Version::HTTP_2);
}

fn written(dir: &tempfile::TempDir, name: &str, text: &str) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn a_registry_that_wants_a_certificate_is_shown_ours() {
    let ours = rcgen::generate_simple_self_signed(vec!["tagboat".to_owned()]).unwrap();
    let other = rcgen::generate_simple_self_signed(vec!["tagboat".to_owned()]).unwrap();
    let script = |asked: &super::fake::Asked| found(asked, &digest("one"));
    let (fake, certificate) = Fake::with_tls_for(Some(ours.cert.der().clone()), script).await;
    let dir = tempfile::tempdir().unwrap();
    let ca = written(&dir, "ca.pem", &certificate);
    let cert = written(&dir, "cert.pem", &ours.cert.pem());
    let key = written(&dir, "key.pem", &ours.signing_key.serialize_pem());
    let both = written(&dir, "both.pem", &(ours.signing_key.serialize_pem() + &ours.cert.pem()));
    let wrong = written(&dir, "wrong.pem", &(other.signing_key.serialize_pem() + &other.cert.pem()));
    let nowhere = dir.path().join("nowhere.pem");
    let trusted = |cert: Option<&PathBuf>, key: Option<&PathBuf>| RegistryConfig {
        ca_file: Some(ca.clone()),
        client_cert_file: cert.cloned(),
        client_key_file: key.cloned(),
        ..RegistryConfig::default()
    };
    for (label, settings, words) in [
        ("two files", trusted(Some(&cert), Some(&key)), None),
        ("one file", trusted(Some(&both), None), None),
        ("none", trusted(None, None), Some("client_cert_file")),
        ("another's", trusted(Some(&wrong), None), Some("does not accept the certificate")),
        ("no key", trusted(Some(&cert), None), Some("there is no key to it")),
        ("no file", trusted(Some(&cert), Some(&nowhere)), Some("nowhere.pem can't be read")),
    ] {
        let (client, repository) = at_localhost(&fake, settings);
        let answer = resolve(&client, &repository, "1", None).await;
        match words {
            None => assert_eq!(answer.unwrap().digest, digest("one"), "{label}"),
            Some(words) => {
                let error = answer.unwrap_err();
                assert_eq!(error.kind, RegistryErrorKind::Tls, "{label}: {error} {error:?}");
                assert!(error.message.contains(words), "{label}: {error}");
            }
        }
    }
}

const PROXIED: &str = "TAGBOAT_TEST_PROXIED";

/// The environment is the process's: the client is one of its own.
#[tokio::test]
async fn proxies_come_from_the_environment_and_are_not_used_for_this_host() {
    if std::env::var_os(PROXIED).is_some() {
        return asks_through_a_proxy().await;
    }
    let proxy = Fake::new(|asked| found(asked, &digest("by the proxy"))).await;
    let here = Fake::new(|asked| found(asked, &digest("by itself"))).await;
    let name = std::thread::current().name().unwrap().to_owned();
    let url = format!("http://{}", proxy.addr);
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap());
    child.args([&name, "--exact", "--nocapture"]).env(PROXIED, here.addr.to_string());
    child.env("http_proxy", &url).env("HTTP_PROXY", &url).env_remove("no_proxy").env_remove("NO_PROXY");
    let output = child.output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(proxy.lines(), ["HEAD http://registry.test/v2/a/manifests/1"]);
    assert_eq!(here.lines(), ["HEAD /v2/a/manifests/1"]);
}

async fn asks_through_a_proxy() {
    let plain = RegistryConfig { http: true, ..RegistryConfig::default() };
    let registries = [("registry.test".to_owned(), plain)].into();
    let config = Config { registries, ..config(&[]) };
    let client = Client::new(config, Metrics::new(), std::sync::Arc::new(super::fake::Notes::default()));
    let there = resolve(&client, &"registry.test/a".parse().unwrap(), "1", None).await.unwrap();
    assert_eq!(there.digest, digest("by the proxy"));
    let here: Repository = format!("{}/a", std::env::var(PROXIED).unwrap()).parse().unwrap();
    assert_eq!(resolve(&client, &here, "1", None).await.unwrap().digest, digest("by itself"));
}
