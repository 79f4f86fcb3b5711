//! Connections, shared by all registries that trust the same certificates.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use reqwest::redirect;

use super::Limits;

/// An unused connection is closed by us after so long, before load balancers do it (many after 60 s) in the middle of a
/// request.
const IDLE: std::time::Duration = std::time::Duration::from_secs(55);

/// A server's sign of life on HTTP/2, where one connection carries everything: without it a dead one is noticed only when
/// each request on it has run out of time.
const SIGN: std::time::Duration = std::time::Duration::from_secs(10);

/// Who is trusted, and who we say we are.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Trust {
    /// Plain HTTP: certificates only matter to a token service or storage elsewhere.
    pub(super) plain: bool,
    /// On this host: no proxy is in between.
    pub(super) here: bool,
    /// Certificates in a file, besides the system's.
    pub(super) authorities: Option<PathBuf>,
    /// Any certificate.
    pub(super) anything: bool,
    /// Our certificate, and the file with its key if that is another.
    pub(super) identity: Option<(PathBuf, Option<PathBuf>)>,
}

/// The pools of connections.
#[derive(Debug)]
pub(super) struct Pools {
    clients: Mutex<HashMap<Trust, reqwest::Client>>,
    limits: Limits,
}

impl Pools {
    pub(super) fn new(limits: Limits) -> Self {
        Self { clients: Mutex::default(), limits }
    }

    /// The connections for a trust. The error is a sentence for a person.
    pub(super) fn client(&self, trust: &Trust) -> Result<reqwest::Client, String> {
        let mut clients = self.clients.lock().expect("no holder panics");
        if let Some(client) = clients.get(trust) {
            return Ok(client.clone());
        }
        let client = self.build(trust)?;
        clients.insert(trust.clone(), client.clone());
        Ok(client)
    }

    /// Files are read anew for the next registry.
    pub(super) fn forget(&self) {
        self.clients.lock().expect("no holder panics").clear();
    }

    fn build(&self, trust: &Trust) -> Result<reqwest::Client, String> {
        let failed = |error: reqwest::Error| format!("TLS can't be set up: {}", super::refusal::chain(&error));
        let built = self.prepare(trust)?.build();
        if trust.plain {
            // In a container from scratch there are no certificates, and most plain registries need none.
            return built.or_else(|_| self.prepare(trust)?.tls_certs_only([]).build().map_err(failed));
        }
        built.map_err(failed)
    }

    fn prepare(&self, trust: &Trust) -> Result<reqwest::ClientBuilder, String> {
        // Redirects are followed by hand: what introduces us must not go along, in whatever part of the request it is.
        let mut builder = reqwest::Client::builder()
            .connect_timeout(self.limits.connect)
            .pool_idle_timeout(IDLE)
            .http2_keep_alive_interval(SIGN)
            .http2_keep_alive_timeout(SIGN)
            .redirect(redirect::Policy::none())
            .user_agent(concat!("tagboat/", env!("CARGO_PKG_VERSION")));
        if trust.here {
            builder = builder.no_proxy();
        }
        if let Some(path) = &trust.authorities {
            builder = builder.tls_certs_merge(authorities(path)?);
        }
        if let Some((certificate, key)) = &trust.identity {
            builder = builder.identity(identity(certificate, key.as_deref())?);
        }
        Ok(builder.tls_danger_accept_invalid_certs(trust.anything))
    }
}

fn authorities(path: &Path) -> Result<Vec<reqwest::Certificate>, String> {
    let pem = std::fs::read(path).map_err(|error| format!("ca_file {} can't be read: {error}", path.display()))?;
    let certificates = reqwest::Certificate::from_pem_bundle(&pem)
        .map_err(|error| format!("ca_file {} holds no certificates: {error}", path.display()))?;
    if certificates.is_empty() {
        return Err(format!("ca_file {} holds no certificates", path.display()));
    }
    Ok(certificates)
}

fn identity(certificate: &Path, key: Option<&Path>) -> Result<reqwest::Identity, String> {
    let read = |what: &str, path: &Path| {
        std::fs::read(path).map_err(|error| format!("{what} {} can't be read: {error}", path.display()))
    };
    let mut pem = read("client_cert_file", certificate)?;
    if let Some(key) = key {
        pem.push(b'\n');
        pem.extend(read("client_key_file", key)?);
    }
    // What the parser says could show a part of the key.
    reqwest::Identity::from_pem(&pem).map_err(|_| {
        format!("client_cert_file {} does not hold a certificate, or there is no key to it", certificate.display())
    })
}
