//! Registries that do not let in just anybody: a token service, a password, a certificate of their own, a certificate of
//! ours.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::extract::{Query, State};
use axum::http::{HeaderMap, StatusCode};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use serde_json::json;
use tagboat::metrics::Metrics;
use tagboat::model::{Digest, Repository};
use tagboat::ports::{Artifacts as _, Registry as _, RegistryErrorKind};
use tagboat::registry::{Client, Config, RegistryConfig};
use tagboat::store::SledStore;

use crate::support::{ISSUER, Image, Program, Registry, SERVICE, Setup, Terms, Tokens};

/// A password with its bcrypt hash, from the test vectors of Openwall's crypt_blowfish.
const PASSWORD: &str = "U*U";
const HASH: &str = "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW";

type Pair = rcgen::CertifiedKey<rcgen::KeyPair>;

fn pair() -> Pair {
    rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap()
}

/// What a token service knows.
struct Knows {
    pair: Mutex<Pair>,
    issued: AtomicUsize,
}

/// A service that gives `bot` tokens for what it asks for, and others a refusal.
struct Service {
    knows: Arc<Knows>,
    realm: String,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Service {
    async fn start() -> Self {
        let knows = Arc::new(Knows { pair: Mutex::new(pair()), issued: AtomicUsize::new(0) });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let realm = format!("http://{}/token", listener.local_addr().unwrap());
        let router = axum::Router::new().route("/token", axum::routing::get(issue)).with_state(knows.clone());
        let task = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { knows, realm, task }
    }

    fn terms(&self) -> Terms {
        let certificate = self.knows.pair.lock().unwrap().cert.pem();
        Terms { tokens: Some(Tokens { realm: self.realm.clone(), certificate }), ..Terms::default() }
    }

    /// From now on it signs with another key: the tokens that it has issued are worth nothing to those who know that.
    fn change_key(&self) {
        *self.knows.pair.lock().unwrap() = pair();
    }

    fn issued(&self) -> usize {
        self.knows.issued.load(Ordering::SeqCst)
    }
}

async fn issue(
    State(knows): State<Arc<Knows>>,
    Query(asked): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Result<String, StatusCode> {
    let bot = format!("Basic {}", STANDARD.encode(format!("bot:{PASSWORD}")));
    if headers.get("authorization").is_none_or(|given| given != bot.as_str()) {
        return Err(StatusCode::UNAUTHORIZED);
    }
    assert_eq!(asked.get("service").map(String::as_str), Some(SERVICE));
    let access = asked.get("scope").and_then(|scope| {
        let (kind, rest) = scope.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        Some(json!([{"type": kind, "name": name, "actions": actions.split(',').collect::<Vec<_>>()}]))
    });
    knows.issued.fetch_add(1, Ordering::SeqCst);
    let now = chrono::Utc::now().timestamp();
    let claims = json!({"iss": ISSUER, "aud": SERVICE, "sub": "bot", "iat": now, "nbf": now - 5, "exp": now + 300,
        "jti": knows.issued.load(Ordering::SeqCst).to_string(), "access": access.unwrap_or_else(|| json!([]))});
    Ok(json!({"token": signed(&knows.pair.lock().unwrap(), &claims), "expires_in": 300}).to_string())
}

/// A JSON Web Token with its certificate.
fn signed(pair: &Pair, claims: &serde_json::Value) -> String {
    let header = json!({"alg": "ES256", "typ": "JWT", "x5c": [STANDARD.encode(pair.cert.der())]});
    let text = [&header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string())).join(".");
    let (random, key) = (SystemRandom::new(), pair.signing_key.serialize_der());
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &key, &random).unwrap();
    let signature = key.sign(&random, text.as_bytes()).unwrap();
    format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A registry with an image in it, which then has these terms.
async fn closed(terms: Terms) -> (Registry, Digest) {
    let mut registry = Registry::start(Terms::default()).await;
    let digest = Image::sample("v1").push(&registry, "shop", "latest").await;
    registry.reopen(terms).await;
    (registry, digest)
}

fn bot(password: &str) -> RegistryConfig {
    RegistryConfig { username: Some("bot".to_owned()), password: Some(password.into()), ..RegistryConfig::default() }
}

/// A client that reaches the registry so, under its name for TLS.
struct Visitor {
    client: Client,
    repository: Repository,
    _dir: tempfile::TempDir,
}

impl Visitor {
    fn new(registry: &Registry, settings: RegistryConfig) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            registries: [(registry.host(), settings)].into(),
            docker_config: Some("/nowhere/config.json".into()),
            ..Config::default()
        };
        let store = Arc::new(SledStore::open(&dir.path().join("db")).unwrap());
        let client = Client::new(config, Metrics::new(), store);
        Self { client, repository: format!("{}/shop", registry.host()).parse().unwrap(), _dir: dir }
    }

    /// Everything that is read for a deployment; the digest of the tag.
    async fn reads(&self) -> Result<Digest, tagboat::ports::RegistryError> {
        let digest = self.client.resolve(&self.repository, &"latest".parse().unwrap(), None).await?.digest;
        assert_eq!(self.client.manifest(&self.repository, &digest).await?.platforms.len(), 1);
        self.client.tags(&self.repository, None).await?;
        self.client.referrers(&self.repository, &digest).await?;
        Ok(digest)
    }
}

#[tokio::test]
async fn a_token_service_lets_in_who_has_the_password_and_its_new_key_is_followed() {
    let service = Service::start().await;
    let (mut registry, digest) = closed(service.terms()).await;
    for (label, settings, words) in [
        ("no credentials", RegistryConfig::default(), "no credentials were used"),
        ("a wrong password", bot("wr0ng"), "\"bot\""),
    ] {
        let error = Visitor::new(&registry, settings).reads().await.unwrap_err();
        assert_eq!(error.kind, RegistryErrorKind::Unauthorized, "{label}: {error}");
        assert!(error.message.contains(words) && !error.message.contains("wr0ng"), "{label}: {error}");
    }
    assert_eq!(service.issued(), 0);
    let visitor = Visitor::new(&registry, bot(PASSWORD));
    for look in ["the first", "the second"] {
        assert_eq!(visitor.reads().await.unwrap(), digest, "{look}");
    }
    assert_eq!(service.issued(), 1, "one token for all that is read of a repository");
    service.change_key();
    registry.reopen(service.terms()).await;
    assert_eq!(visitor.reads().await.unwrap(), digest);
    assert_eq!(service.issued(), 2, "what is refused is replaced, once");
}

#[tokio::test]
async fn a_password_lets_in() {
    let (registry, digest) = closed(Terms { passwords: Some(format!("bot:{HASH}\n")), ..Terms::default() }).await;
    for (label, settings) in [("no credentials", RegistryConfig::default()), ("a wrong password", bot("wr0ng"))] {
        let error = Visitor::new(&registry, settings).reads().await.unwrap_err();
        assert_eq!(error.kind, RegistryErrorKind::Unauthorized, "{label}: {error}");
    }
    assert_eq!(Visitor::new(&registry, bot(PASSWORD)).reads().await.unwrap(), digest);
}

#[tokio::test]
async fn certificates_are_checked_on_both_sides() {
    let (theirs, ours, dir) = (pair(), pair(), tempfile::tempdir().unwrap());
    let place = |name: &str, text: String| -> Option<PathBuf> {
        std::fs::write(dir.path().join(name), text).unwrap();
        Some(dir.path().join(name))
    };
    let terms = |clients| Terms {
        tls: Some((theirs.cert.pem(), theirs.signing_key.serialize_pem())),
        clients,
        ..Terms::default()
    };
    let trusting = RegistryConfig { ca_file: place("ca.pem", theirs.cert.pem()), ..RegistryConfig::default() };
    let (mut registry, digest) = closed(terms(None)).await;
    let insecure = RegistryConfig { insecure: true, ..RegistryConfig::default() };
    let other = RegistryConfig { ca_file: place("other.pem", ours.cert.pem()), ..RegistryConfig::default() };
    for settings in [trusting.clone(), insecure] {
        assert_eq!(Visitor::new(&registry, settings).reads().await.unwrap(), digest);
    }
    let error = Visitor::new(&registry, other).reads().await.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::Tls, "{error}");
    assert!(error.message.contains("ca_file"), "{error}");

    registry.reopen(terms(Some(ours.cert.pem()))).await;
    let known = RegistryConfig {
        client_cert_file: place("both.pem", ours.signing_key.serialize_pem() + &ours.cert.pem()),
        ..trusting.clone()
    };
    assert_eq!(Visitor::new(&registry, known).reads().await.unwrap(), digest);
    let error = Visitor::new(&registry, trusting).reads().await.unwrap_err();
    if registry.make.hangs_up() {
        // Why it hangs up gets lost when it does so while we speak.
        assert!(matches!(error.kind, RegistryErrorKind::Tls | RegistryErrorKind::Unreachable), "{error:?}");
        assert!(error.message.contains("client_cert_file"), "{error:?}");
    } else {
        assert_eq!(error.kind, RegistryErrorKind::Unauthorized, "{error}");
    }
}

/// The same app behind both kinds of lock: looked at, pulled, swapped.
#[tokio::test(flavor = "multi_thread")]
async fn an_image_behind_a_lock_is_pulled_and_swapped() {
    let service = Service::start().await;
    let app = "locked";
    let mut program = Program::prepared(Setup::new(app)).await;
    let password = || Terms { passwords: Some(format!("bot:{HASH}\n")), ..Terms::default() };
    for (version, terms) in [("v1", password()), ("v2", service.terms()), ("v3", password())] {
        program.registry.reopen(Terms::default()).await;
        Image::sample(version).note(version).push(&program.registry, app, "latest").await;
        program.registry.reopen(terms).await;
        if version == "v1" {
            let secret = program.state().with_file_name("secret");
            std::fs::write(&secret, PASSWORD).unwrap();
            let mut config = std::fs::read_to_string(program.file()).unwrap();
            let (host, secret) = (program.registry.host(), secret.display());
            config.push_str(&format!("registries: {{'{host}': {{username: bot, password_file: {secret}}}}}\n"));
            std::fs::write(program.file(), config).unwrap();
            program.start();
        } else {
            program.cli(&["check", app]);
        }
        program.wait_for_version(version).await;
        program.settled().await;
    }
    assert!(service.issued() > 0 && !program.log().contains(PASSWORD));
}
