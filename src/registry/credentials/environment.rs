//! What sources see of the process's surroundings: its environment variables, and a way to the services of clouds.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use http::StatusCode;
use http::header::CONTENT_TYPE;
use reqwest::redirect;
use serde::de::DeserializeOwned;
use tokio::time::Duration;

use crate::registry::refusal::{chain, said};

/// A cloud's service may take so long.
const SERVICE: Duration = Duration::from_secs(10);

/// A metadata server is on the same host: one that does not take a connection at once is not there.
const NEAR: Duration = Duration::from_secs(1);

/// A service's answer is not longer.
const ANSWER: usize = 256 << 10;

/// Finds a variable's value.
type Lookup = dyn Fn(&str) -> Option<String> + Send + Sync;

/// The environment that sources of credentials look into.
#[derive(Clone)]
pub struct Environment {
    lookup: Arc<Lookup>,
    far: Arc<OnceLock<reqwest::Client>>,
    near: Arc<OnceLock<reqwest::Client>>,
}

impl Default for Environment {
    /// The process's own. A service has no `HOME`, and its user has one all the same.
    fn default() -> Self {
        let home = || std::env::home_dir()?.into_os_string().into_string().ok();
        Self::new(move |name| std::env::var(name).ok().or_else(|| if name == "HOME" { home() } else { None }))
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Environment").finish_non_exhaustive()
    }
}

/// What a service answered.
pub(super) struct Said {
    pub(super) status: StatusCode,
    pub(super) body: Vec<u8>,
}

impl Environment {
    /// An environment with these variables.
    pub fn new(lookup: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        Self { lookup: Arc::new(lookup), far: Arc::default(), near: Arc::default() }
    }

    /// A variable that is set and not empty.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    /// A variable that is a path.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.get(name).map(PathBuf::from)
    }

    /// A path below the user's home.
    pub(super) fn home(&self, below: &str) -> Option<PathBuf> {
        Some(self.path("HOME")?.join(below))
    }

    /// Connections to services in the internet, through the environment's proxies.
    pub(super) fn far(&self) -> Result<reqwest::Client, String> {
        kept(&self.far, || builder().connect_timeout(Duration::from_secs(5)).timeout(SERVICE))
    }

    /// Connections to a metadata server: never through a proxy, and plain.
    pub(super) fn near(&self) -> Result<reqwest::Client, String> {
        kept(&self.near, || {
            builder().connect_timeout(NEAR).timeout(Duration::from_secs(5)).no_proxy().tls_certs_only([])
        })
    }
}

fn builder() -> reqwest::ClientBuilder {
    // What introduces us to a cloud goes nowhere else.
    reqwest::Client::builder()
        .redirect(redirect::Policy::none())
        .user_agent(concat!("tagboat/", env!("CARGO_PKG_VERSION")))
}

fn kept(
    cell: &OnceLock<reqwest::Client>,
    make: impl FnOnce() -> reqwest::ClientBuilder,
) -> Result<reqwest::Client, String> {
    if let Some(client) = cell.get() {
        return Ok(client.clone());
    }
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = make().build().map_err(|error| format!("TLS can't be set up: {}", chain(&error)))?;
    Ok(cell.get_or_init(|| client).clone())
}

/// A form as the body of a request.
pub(super) fn form(request: reqwest::RequestBuilder, pairs: &[(&str, &str)]) -> reqwest::RequestBuilder {
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
    request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body)
}

/// Sends, and reads the answer to its end. `whom` is what messages call the service.
pub(super) async fn ask(whom: &str, request: reqwest::RequestBuilder) -> Result<Said, String> {
    let failed = |error: reqwest::Error| {
        let error = error.without_url();
        let why = if error.is_timeout() { "it did not answer in time".to_owned() } else { chain(&error) };
        format!("{whom} can't be reached: {why}")
    };
    let mut response = request.send().await.map_err(failed)?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        body.extend_from_slice(&chunk);
        if body.len() > ANSWER {
            return Err(format!("the answer of {whom} is larger than {ANSWER} bytes"));
        }
    }
    Ok(Said { status, body })
}

impl Said {
    /// The body of a success. A refusal is told in the service's own words, a success never.
    pub(super) fn well(self, whom: &str) -> Result<Vec<u8>, String> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        let (status, said) = (self.status.as_u16(), said(&String::from_utf8_lossy(&self.body)));
        Err(if said.is_empty() {
            format!("{whom} answered {status}")
        } else {
            format!("{whom} answered {status}, it says \"{said}\"")
        })
    }

    /// The document that a success is.
    pub(super) fn document<T: DeserializeOwned>(self, whom: &str) -> Result<T, String> {
        let body = self.well(whom)?;
        // serde's own words would quote what they stumble over.
        serde_json::from_slice(&body).map_err(|_| format!("{whom} answered with something else than expected"))
    }
}

/// An address that secrets may be sent to: https, or a service of this host's own.
pub(super) fn safe_url(what: &str, text: &str) -> Result<url::Url, String> {
    let url: url::Url = text.parse().map_err(|_| format!("{what} {text:?} is no address"))?;
    let own = match url.host() {
        Some(url::Host::Ipv4(ip)) => ip.is_loopback() || ip.is_link_local(),
        Some(url::Host::Ipv6(ip)) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
        Some(url::Host::Domain(name)) => name == "localhost",
        None => false,
    };
    if url.scheme() == "https" || (url.scheme() == "http" && own) {
        return Ok(url);
    }
    Err(format!("{what} {text:?} is not https, and no secret is sent there"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Set in the process that has no `HOME`.
    const HOMELESS: &str = "TAGBOAT_TEST_HOMELESS";

    #[test]
    fn a_service_without_home_finds_what_its_user_has_kept() {
        if std::env::var_os(HOMELESS).is_some() {
            assert!(std::env::var_os("HOME").is_none());
            let file = Environment::default().home(".docker").expect("every user has a home");
            assert!(file.is_absolute() && file.ends_with(".docker"), "{file:?}");
            return;
        }
        let mut child = std::process::Command::new(std::env::current_exe().unwrap());
        let name = std::thread::current().name().unwrap().to_owned();
        let output = child.args([&name, "--exact"]).env_remove("HOME").env(HOMELESS, "1").output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
    }
}
