//! Credentials on their way to a registry: two for one host, changed ones, refused ones, and that none is ever told.

use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::json;

use super::fake::{Asked, Fake, Notes, Reply, bearer, digest, found, reply, resolve, user};
use crate::metrics::Metrics;
use crate::model::{Credentials, SecretKind};
use crate::ports::{Registry, RegistryErrorKind};
use crate::registry::{
    AwsSettings, AzureSettings, Client, Config, Environment, ExecSettings, Given, GoogleSettings, Provider,
    RegistryConfig, Verdict, verify,
};

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

/// A token service whose token names who asked, and a registry that lets in by repository who is named.
async fn organisations() -> (Fake, Fake) {
    let tokens = Fake::new(|asked| {
        let who = asked.header("authorization").unwrap_or("nobody").replace("Basic ", "");
        reply(200, &[], json!({"token": who, "expires_in": 300}).to_string())
    })
    .await;
    let challenge = bearer(tokens.addr);
    let registry = Fake::new(move |asked| {
        let organisation = asked.line.split('/').nth(2).unwrap_or_default();
        let right = format!("Bearer {}", STANDARD.encode(format!("{organisation}-bot:{organisation}-pw")));
        match asked.header("authorization") {
            Some(given) if given == right => found(asked, &digest("one")),
            _ => reply(401, &[("www-authenticate", &challenge)], ""),
        }
    })
    .await;
    (tokens, registry)
}

fn with_file(path: &Path) -> Client {
    let config = Config { docker_config: Some(path.to_owned()), ..Config::default() };
    Client::new(config, Metrics::new(), Arc::new(Notes::default()))
}

fn write(path: &Path, entries: &[(String, &str, &str)]) {
    let auths: serde_json::Map<String, serde_json::Value> = entries
        .iter()
        .map(|(key, user, password)| (key.clone(), json!({"auth": STANDARD.encode(format!("{user}:{password}"))})))
        .collect();
    std::fs::write(path, json!({"auths": auths}).to_string()).unwrap();
}

#[tokio::test]
async fn two_organisations_on_one_host_have_a_credential_each_by_file_and_by_configuration() {
    let (tokens, registry) = organisations().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    let addr = registry.addr;
    write(
        &path,
        &[(format!("{addr}/acme"), "acme-bot", "acme-pw"), (format!("{addr}/other"), "other-bot", "other-pw")],
    );
    let entry = |name: &str| {
        let settings = RegistryConfig { username: Some(format!("{name}-bot")), ..user(&format!("{name}-pw")) };
        (format!("{addr}/{name}"), settings)
    };
    let config = Config {
        registries: [entry("acme"), entry("other")].into_iter().collect(),
        docker_config: Some("/nowhere".into()),
        ..Config::default()
    };
    let configured = Client::new(config, Metrics::new(), Arc::new(Notes::default()));
    for client in [with_file(&path), configured] {
        for path in ["acme/shop", "other/shop", "acme/blog", "acme/shop"] {
            resolve(&client, &registry.repository(path), "1", None).await.unwrap();
        }
        assert_eq!(tokens.lines().len(), 3, "one token a repository");
        let error = resolve(&client, &registry.repository("third/shop"), "1", None).await.unwrap_err();
        assert_eq!(error.kind, RegistryErrorKind::Unauthorized);
        assert!(error.message.contains("no credentials were used"), "{error}");
        tokens.lines();
    }
}

#[tokio::test]
async fn a_changed_password_is_picked_up_without_a_restart() {
    for challenge in ["Basic realm=\"x\"", "bearer"] {
        let right = Arc::new(Mutex::new(basic("bot", "one")));
        let (expected, tokens_expected) = (right.clone(), right.clone());
        let tokens = Fake::new(move |asked| {
            let right = tokens_expected.lock().unwrap().clone();
            if asked.header("authorization") == Some(&right) {
                return reply(200, &[], json!({"token": right.replace("Basic ", ""), "expires_in": 300}).to_string());
            }
            reply(401, &[], "wrong")
        })
        .await;
        let challenge = if challenge == "bearer" { bearer(tokens.addr) } else { challenge.to_owned() };
        let registry = Fake::new(move |asked| {
            let right = expected.lock().unwrap().clone();
            match asked.header("authorization") {
                Some(given) if given.rsplit(' ').next() == right.rsplit(' ').next() => found(asked, &digest("one")),
                _ => reply(401, &[("www-authenticate", &challenge)], ""),
            }
        })
        .await;
        let dir = tempfile::tempdir().unwrap();
        let (path, secret) = (dir.path().join("config.json"), dir.path().join("password"));
        let settings = RegistryConfig {
            username: Some("bot".to_owned()),
            password_file: Some(secret.clone()),
            ..RegistryConfig::default()
        };
        let by_file = Config {
            registries: [(registry.addr.to_string(), settings)].into_iter().collect(),
            docker_config: Some("/nowhere".into()),
            ..Config::default()
        };
        let by_file = Client::new(by_file, Metrics::new(), Arc::new(Notes::default()));
        let by_docker = with_file(&path);
        for password in ["one", "two", "three"] {
            std::fs::write(&secret, format!("{password}\n")).unwrap();
            write(&path, &[(registry.addr.to_string(), "bot", password)]);
            *right.lock().unwrap() = basic("bot", password);
            for client in [&by_file, &by_docker] {
                resolve(client, &registry.repository("a"), "1", None).await.unwrap();
            }
        }
    }
}

/// A program that answers with what a file holds, and counts how often it is asked.
fn program(dir: &Path) -> ExecSettings {
    use std::os::unix::fs::PermissionsExt;
    let (path, place) = (dir.join("program"), dir.display());
    let body = format!(
        "#!/bin/sh\necho asked >> {place}/asked\nprintf '{{\"Username\":\"bot\",\"Secret\":\"%s\"}}' \"$(cat {place}/secret)\"\n"
    );
    std::fs::write(&path, body).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    ExecSettings { program: path, arguments: Vec::new(), patience: None }
}

#[tokio::test]
async fn a_program_is_asked_again_once_when_its_answer_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let settings = program(dir.path());
    std::fs::write(dir.path().join("secret"), "one").unwrap();
    let asked = || std::fs::read_to_string(dir.path().join("asked")).unwrap_or_default().lines().count();
    let right = Arc::new(Mutex::new(basic("bot", "one")));
    let expected = right.clone();
    let registry = Fake::new(move |asked| match asked.header("authorization") {
        Some(given) if given == *expected.lock().unwrap() => found(asked, &digest("one")),
        _ => reply(401, &[("www-authenticate", "Basic realm=\"x\"")], "who are you"),
    })
    .await;
    let entry = RegistryConfig { provider: Some(Provider::Exec(settings)), ..RegistryConfig::default() };
    let client = super::fake::client(&[(&registry, entry)]);
    let repository = registry.repository("a");
    while let Err(error) = resolve(&client, &repository, "1", None).await {
        assert!(error.message.contains("busy"), "another test's fork may still hold the script: {error}");
        tokio::task::yield_now().await;
    }
    let first = asked();
    resolve(&client, &repository, "1", None).await.unwrap();
    assert_eq!(asked(), first, "what it said is kept");
    // The password is changed on both sides: the program is asked again, and the check goes on as if nothing were.
    std::fs::write(dir.path().join("secret"), "two").unwrap();
    *right.lock().unwrap() = basic("bot", "two");
    resolve(&client, &repository, "1", None).await.unwrap();
    assert_eq!(asked(), first + 1);
    // Only the registry's has changed: there is nothing new to be had, and nobody is bothered with it again and again.
    *right.lock().unwrap() = basic("bot", "three");
    registry.lines();
    for _ in 0..3 {
        let error = resolve(&client, &repository, "1", None).await.unwrap_err();
        assert_eq!(error.kind, RegistryErrorKind::Unauthorized);
        for words in ["401", "\"bot\"", "provider exec"] {
            assert!(error.message.contains(words), "{words}: {error}");
        }
        assert_eq!(registry.lines().len(), 1, "the same password is not tried twice");
    }
    assert_eq!(asked(), first + 1);
}

#[tokio::test]
async fn a_registry_token_is_sent_as_it_is() {
    let registry = Fake::new(|asked| match asked.header("authorization") {
        Some("Bearer rt") => found(asked, &digest("one")),
        _ => reply(401, &[("www-authenticate", "Bearer realm=\"http://127.0.0.1:1/token\"")], "no"),
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    let write = |token: &str| {
        let file = json!({"auths": {registry.addr.to_string(): {"registrytoken": token}}});
        std::fs::write(&path, file.to_string()).unwrap();
    };
    let client = with_file(&path);
    write("rt");
    resolve(&client, &registry.repository("a"), "1", None).await.unwrap();
    write("old");
    let error = resolve(&client, &registry.repository("a"), "1", None).await.unwrap_err();
    assert!(error.message.contains("the registry token from") && error.message.contains("401"), "{error}");
}

fn typed(password: &str) -> Credentials {
    let (username, secret) = ("bot".to_owned(), password.to_owned().into());
    Credentials { username, secret, kind: SecretKind::Password, origin: "the command line".to_owned() }
}

#[tokio::test]
async fn a_login_is_verified_by_what_the_registry_asks_for() {
    let tokens = Fake::new(|asked| match asked.header("authorization") {
        Some("Basic Ym90OnB3") => reply(200, &[], r#"{"token":"t"}"#),
        _ => reply(401, &[], r#"{"errors":[{"code":"UNAUTHORIZED","message":"bad login"}]}"#),
    })
    .await;
    fn wants(asked: &Asked, challenge: &str, right: &[&str]) -> Reply {
        match asked.header("authorization") {
            Some(given) if right.contains(&given) => reply(200, &[], "{}"),
            _ => reply(401, &[("www-authenticate", challenge)], "who are you"),
        }
    }
    let challenge = bearer(tokens.addr);
    let by_token = Fake::new(move |asked| wants(asked, &challenge, &["Bearer t"])).await;
    let by_basic = Fake::new(|asked| wants(asked, "Basic realm=\"x\"", &["Basic Ym90OnB3"])).await;
    let open = Fake::new(|_| reply(200, &[], "{}")).await;
    let none = Fake::new(|_| reply(404, &[], "nothing here")).await;
    let config = Config { docker_config: Some("/nowhere".into()), ..Config::default() };
    for (label, fake, password, expected) in [
        ("token", &by_token, "pw", Ok(Verdict::Accepted)),
        ("token, wrong", &by_token, "s3cret", Err(&["bad login", "401", "\"bot\"", "its token service"][..])),
        ("basic", &by_basic, "pw", Ok(Verdict::Accepted)),
        ("basic, wrong", &by_basic, "s3cret", Err(&["who are you", "401", "\"bot\""])),
        ("nobody is asked", &open, "s3cret", Ok(Verdict::NotAsked)),
        ("no registry", &none, "s3cret", Err(&["404", "is this the name of a registry"])),
    ] {
        for name in [fake.addr.to_string(), format!("{}/acme", fake.addr)] {
            match (verify(&config, &name, &typed(password)).await, expected) {
                (Ok(verdict), Ok(expected)) => assert_eq!(verdict, expected, "{label}"),
                (Err(error), Err(expected)) => {
                    for words in expected {
                        assert!(error.message.contains(words), "{label}: {words}: {error}");
                    }
                    assert!(!format!("{error:?}").contains("s3cret"), "{label}: {error:?}");
                }
                (got, _) => panic!("{label}: {got:?}"),
            }
        }
    }
    assert!(by_token.lines().iter().all(|line| line == "GET /v2/"));
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Every secret in this test has these letters in it; so has the answer of every service.
const SECRET: &str = "s3cret";

#[tokio::test]
async fn no_secret_is_in_a_log_an_error_or_a_state() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let count = Arc::new(AtomicUsize::new(0));
    let counted = count.clone();
    // Says yes to whoever asks for a credential, and no to whoever uses it.
    let service = Fake::new(move |asked| {
        counted.fetch_add(1, Ordering::Relaxed);
        if asked.line.starts_with("HEAD") || asked.line.contains("/v2/a") {
            return reply(401, &[("www-authenticate", "Basic realm=\"x\"")], "");
        }
        let everything = json!({
            "access_token": "s3cret", "refresh_token": "s3cret", "expires_in": 3000,
            "AccessKeyId": "AK", "SecretAccessKey": "s3cret", "Token": "s3cret",
            "authorizationData": [{"authorizationToken": STANDARD.encode("AWS:s3cret")}],
        });
        reply(200, &[], everything.to_string())
    })
    .await;
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("secret"), SECRET).unwrap();
    let base = format!("http://{}", service.addr);
    let variables = [
        ("AWS_ACCESS_KEY_ID".to_owned(), "AK".to_owned()),
        ("AWS_SECRET_ACCESS_KEY".to_owned(), SECRET.to_owned()),
        ("AWS_SESSION_TOKEN".to_owned(), SECRET.to_owned()),
        ("IDENTITY_ENDPOINT".to_owned(), base.clone()),
        ("IDENTITY_HEADER".to_owned(), SECRET.to_owned()),
        ("GCE_METADATA_HOST".to_owned(), service.addr.to_string()),
    ];
    let environment =
        Environment::new(move |name| variables.iter().find(|(key, _)| key == name).map(|(_, v)| v.clone()));
    let given = Given::Here(SECRET.to_owned().into());
    let principal = AzureSettings {
        tenant_id: Some("t".to_owned()),
        client_id: Some("c".to_owned()),
        client_secret: Some(given.clone()),
        endpoint: Some(base.clone()),
    };
    let providers = [
        Provider::Ecr(AwsSettings {
            region: Some("r".to_owned()),
            endpoint: Some(base.clone()),
            ..AwsSettings::default()
        }),
        Provider::Google(GoogleSettings::default()),
        Provider::Azure(principal),
        Provider::Azure(AzureSettings::default()),
        Provider::Token { username: Some("u".to_owned()), token: given },
        Provider::Exec(program(dir.path())),
    ];
    let mut told = String::new();
    for provider in providers {
        let settings = RegistryConfig { provider: Some(provider), ..RegistryConfig::default() };
        let config = Config {
            registries: [(service.addr.to_string(), settings)].into_iter().collect(),
            docker_config: Some("/nowhere".into()),
            environment: environment.clone(),
        };
        told.push_str(&format!("{config:?}"));
        let client = Client::new(config, Metrics::new(), Arc::new(Notes::default()));
        let error = resolve(&client, &service.repository("a"), "1", None).await.unwrap_err();
        told.push_str(&format!("{error} {error:?} {:?}", client.status()));
        told.push_str(&format!("{:?}", client.pull_auth(&service.repository("a")).await));
    }
    for kind in [SecretKind::Password, SecretKind::RegistryToken, SecretKind::IdentityToken] {
        let credentials = Credentials { kind, ..typed(SECRET) };
        let verified = verify(&Config::default(), &service.addr.to_string(), &credentials).await;
        told.push_str(&format!("{verified:?} {credentials:?}"));
    }
    assert!(count.load(Ordering::Relaxed) >= 10 && told.contains("provider ecr") && told.contains("provider google"));
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(!log.is_empty(), "the log is looked at");
    for (what, text) in [("what is told", &told), ("the log", &log)] {
        for secret in [SECRET.to_owned(), STANDARD.encode("AWS:s3cret"), STANDARD.encode("u:s3cret")] {
            let at = text.find(&secret).map(|at| text.get(at.saturating_sub(200)..at + 20));
            assert_eq!(at, None, "{what}");
        }
    }
}
