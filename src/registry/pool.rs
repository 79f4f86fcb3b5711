//! Connections, shared by all registries that trust the same certificates.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;

use reqwest::redirect;

use super::Limits;

/// An unused connection is closed by us after so long, before load balancers do it (many after 60 s) in the middle of a
/// request.
const IDLE: std::time::Duration = std::time::Duration::from_secs(55);

/// Which certificates are trusted.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Trust {
    /// Plain HTTP, and no proxy; the system's certificates for a token service or storage elsewhere.
    Plain,
    /// The system's.
    System,
    /// Those in a file, besides the system's.
    File(PathBuf),
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
        // Redirects are followed by hand: what introduces us must not go along, in whatever part of the request it is.
        let builder = || {
            reqwest::Client::builder()
                .connect_timeout(self.limits.connect)
                .pool_idle_timeout(IDLE)
                .redirect(redirect::Policy::none())
                .user_agent(concat!("tagboat/", env!("CARGO_PKG_VERSION")))
        };
        let failed = |error: reqwest::Error| format!("TLS can't be set up: {}", super::refusal::chain(&error));
        match trust {
            Trust::System => builder().build().map_err(failed),
            Trust::Plain => {
                // In a container from scratch there are no certificates, and most plain registries need none.
                let bare = || builder().no_proxy().tls_certs_only([]).build();
                builder().no_proxy().build().or_else(|_| bare()).map_err(failed)
            }
            Trust::File(path) => {
                let pem = std::fs::read(path)
                    .map_err(|error| format!("ca_file {} can't be read: {error}", path.display()))?;
                let certificates = reqwest::Certificate::from_pem_bundle(&pem);
                let certificates = certificates
                    .map_err(|error| format!("ca_file {} holds no certificates: {error}", path.display()))?;
                if certificates.is_empty() {
                    return Err(format!("ca_file {} holds no certificates", path.display()));
                }
                builder().tls_certs_merge(certificates).build().map_err(failed)
            }
        }
    }
}
