//! A registry, token service or storage whose answers a test writes, and that records what it is asked.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use axum::serve::Listener;
use http::HeaderMap;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::metrics::Metrics;
use crate::model::{AppName, Attempts, Deployment, Digest, Pin, Quarantine, Repository, Resolved, Seen, SwapId, Tag};
use crate::ports::{Registry, RegistryError, Store, StoreError};
use crate::registry::{Client, Config, Limits, RegistryConfig};

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    /// `HEAD /v2/a/manifests/1`, with the query.
    pub(crate) line: String,
    pub(crate) headers: HeaderMap,
    pub(crate) version: http::Version,
    pub(crate) body: Bytes,
}

impl Asked {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    pub(crate) fn is_token(&self) -> bool {
        self.line.contains(" /token")
    }
}

/// The answer; `None`: never one.
pub(crate) type Reply = Option<Response>;

pub(crate) struct Fake {
    pub(crate) addr: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    task: JoinHandle<()>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fake {
    pub(crate) async fn new(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (asked, app) = app(script);
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        Self { addr, asked, task }
    }

    /// With TLS and a certificate of its own for `localhost`, which is returned as PEM.
    pub(crate) async fn with_tls(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> (Self, String) {
        Self::with_tls_for(None, script).await
    }

    /// With TLS, for clients that have this certificate.
    pub(crate) async fn with_tls_for(
        client: Option<rustls_pki_types::CertificateDer<'static>>,
        script: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
    ) -> (Self, String) {
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = rustls::ServerConfig::builder_with_provider(provider.clone());
        let tls = tls.with_safe_default_protocol_versions().unwrap();
        let tls = match client {
            None => tls.with_no_client_auth(),
            Some(certificate) => {
                let mut roots = rustls::RootCertStore::empty();
                roots.add(certificate).unwrap();
                let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
                tls.with_client_cert_verifier(verifier.build().unwrap())
            }
        };
        let mut tls = tls.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = tcp.local_addr().unwrap();
        let (asked, app) = app(script);
        let listener = Tls { tcp, acceptor: TlsAcceptor::from(Arc::new(tls)) };
        let task = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        (Self { addr, asked, task }, made.cert.pem())
    }

    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    /// What was asked, one line each, since the last look.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.asked.lock().unwrap().drain(..).map(|asked| asked.line).collect()
    }

    pub(crate) fn repository(&self, path: &str) -> Repository {
        format!("{}/{path}", self.addr).parse().unwrap()
    }
}

fn app(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> (Arc<Mutex<Vec<Asked>>>, axum::Router) {
    let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
    let (script, record) = (Arc::new(script), asked.clone());
    let app = axum::Router::new().fallback(move |request: Request| {
        let (script, record) = (script.clone(), record.clone());
        async move {
            let (parts, body) = request.into_parts();
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            let line = format!("{} {}", parts.method, parts.uri);
            let asked = Asked { line, headers: parts.headers, version: parts.version, body };
            record.lock().unwrap().push(asked.clone());
            match script(&asked) {
                Some(response) => response,
                None => std::future::pending().await,
            }
        }
    });
    (asked, app)
}

struct Tls {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, addr) = self.tcp.accept().await.unwrap();
            // A client that does not trust us hangs up.
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, addr);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

pub(crate) fn reply(status: u16, headers: &[(&str, &str)], body: impl Into<Body>) -> Reply {
    let mut response = Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    Some(response.body(body.into()).unwrap())
}

/// A HEAD of a manifest as distribution answers it.
pub(crate) fn found(asked: &Asked, digest: &Digest) -> Reply {
    let etag = format!("\"{digest}\"");
    if asked.header("if-none-match") == Some(&etag) {
        return reply(304, &[("etag", &etag)], "");
    }
    reply(200, &[("docker-content-digest", digest.as_str()), ("etag", &etag)], "")
}

pub(crate) fn bearer(realm: SocketAddr) -> String {
    format!(r#"Bearer realm="http://{realm}/token",service="fake""#)
}

pub(crate) fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

/// A client that uses nothing of the machine it runs on.
pub(crate) fn client(registries: &[(&Fake, RegistryConfig)]) -> Client {
    client_with(registries, Arc::new(Notes::default()), Limits::default())
}

pub(crate) fn config(registries: &[(&Fake, RegistryConfig)]) -> Config {
    let registries = registries.iter().map(|(fake, config)| (fake.addr.to_string(), config.clone())).collect();
    Config { registries, docker_config: Some("/nowhere/config.json".into()), ..Config::default() }
}

pub(crate) fn client_with(registries: &[(&Fake, RegistryConfig)], notes: Arc<Notes>, limits: Limits) -> Client {
    Client::with_limits(config(registries), Metrics::new(), notes, limits)
}

pub(crate) fn user(password: &str) -> RegistryConfig {
    RegistryConfig {
        username: Some("bot".to_owned()),
        password: Some(password.to_owned().into()),
        ..RegistryConfig::default()
    }
}

pub(crate) async fn resolve(
    client: &Client,
    repository: &Repository,
    tag: &str,
    last: Option<&Resolved>,
) -> Result<Resolved, RegistryError> {
    client.resolve(repository, &tag.parse().unwrap(), last.map(|last| &last.cached)).await
}

/// A memory of notes only.
#[derive(Default)]
pub(crate) struct Notes(Mutex<HashMap<String, Vec<u8>>>);

type Stored<T> = Result<T, StoreError>;

impl Store for Notes {
    fn seen(&self, _: &Repository, _: &Tag) -> Stored<Option<Seen>> {
        Ok(None)
    }
    fn put_seen(&self, _: &Repository, _: &Tag, _: &Seen) -> Stored<()> {
        Ok(())
    }
    fn quarantine(&self, _: &AppName) -> Stored<Vec<Quarantine>> {
        Ok(Vec::new())
    }
    fn put_quarantine(&self, _: &AppName, _: &Quarantine) -> Stored<()> {
        Ok(())
    }
    fn lift_quarantine(&self, _: &AppName, _: Option<&Digest>) -> Stored<usize> {
        Ok(0)
    }
    fn pin(&self, _: &AppName) -> Stored<Option<Pin>> {
        Ok(None)
    }
    fn put_pin(&self, _: &AppName, _: Option<&Pin>) -> Stored<()> {
        Ok(())
    }
    fn attempts(&self, _: &AppName) -> Stored<Option<Attempts>> {
        Ok(None)
    }
    fn put_attempts(&self, _: &AppName, _: Option<&Attempts>) -> Stored<()> {
        Ok(())
    }
    fn put_deployment(&self, _: &AppName, _: &Deployment) -> Stored<()> {
        Ok(())
    }
    fn deployments(&self, _: &AppName, _: usize) -> Stored<Vec<Deployment>> {
        Ok(Vec::new())
    }
    fn deployment(&self, _: &AppName, _: &SwapId) -> Stored<Option<Deployment>> {
        Ok(None)
    }
    fn note(&self, key: &str) -> Stored<Option<Vec<u8>>> {
        Ok(self.0.lock().unwrap().get(key).cloned())
    }
    fn put_note(&self, key: &str, value: &[u8]) -> Stored<()> {
        self.0.lock().unwrap().insert(key.to_owned(), value.to_owned());
        Ok(())
    }
}
