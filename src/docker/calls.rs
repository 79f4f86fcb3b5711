//! Calls that take and give JSON, over one pool of connections.

use reqwest::{Client, Method};
use serde_json::Value;
use tokio::sync::Mutex;
use tokio::time::Duration;

use crate::ports::{EngineError, EngineErrorKind};

use super::error::{of_answer, unreachable};
use super::{CALL, CONNECT, Config, NEWEST_API, OLDEST_API, PING};

/// The daemon's usual socket.
const USUAL: &str = "unix:///var/run/docker.sock";

/// The daemon, reached by HTTP.
#[derive(Debug)]
pub(super) struct Calls {
    client: Client,
    /// Makes a connection for each request.
    fresh: Client,
    base: String,
    pub(super) host: String,
    negotiated: Mutex<Option<(u32, u32)>>,
}

/// An answer.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl Calls {
    /// Prepares the way to the daemon; nothing is connected yet.
    pub(super) fn new(config: &Config) -> Result<Self, EngineError> {
        let host = config.host.clone().or_else(|| std::env::var("DOCKER_HOST").ok()).filter(|host| !host.is_empty());
        let host = host.unwrap_or_else(|| USUAL.to_owned());
        let refused = |problem: String| EngineError {
            kind: EngineErrorKind::Refused,
            message: format!("the container engine's address {host:?} can't be used: {problem}"),
            source: None,
        };
        // Another part of the program may have done it already, with the same provider; `doctor` begins here.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let builder = Client::builder().connect_timeout(CONNECT).no_proxy();
        let fresh = Client::builder().connect_timeout(CONNECT).no_proxy().pool_max_idle_per_host(0);
        let (builder, fresh, base) = if let Some(path) = host.strip_prefix("unix://") {
            (builder.unix_socket(path), fresh.unix_socket(path), "http://docker".to_owned())
        } else if let Some(address) = host.strip_prefix("tcp://").or_else(|| host.strip_prefix("http://")) {
            match &config.cert_path {
                None => (builder, fresh, format!("http://{address}")),
                Some(dir) => {
                    let both = (tls(builder, dir).map_err(refused)?, tls(fresh, dir).map_err(refused)?);
                    (both.0, both.1, format!("https://{address}"))
                }
            }
        } else {
            return Err(refused("it must begin with unix:// or tcp://".to_owned()));
        };
        let client = builder.build().map_err(|error| refused(error.to_string()))?;
        let fresh = fresh.build().map_err(|error| refused(error.to_string()))?;
        Ok(Self { client, fresh, base, host, negotiated: Mutex::new(None) })
    }

    /// Asks whether it is there, over a new connection. Where systemd has its socket, a connection to one that is ending
    /// waits for the next one: that is no answer.
    pub(super) async fn ping(&self) -> Result<(), EngineError> {
        let asked = self.fresh.get(format!("{}/_ping", self.base)).timeout(PING).send().await;
        asked.map(|_| ()).map_err(|error| unreachable("reach it", &self.host, Box::new(error.without_url())))
    }

    /// The API version to speak: the newest that both know.
    pub(super) async fn version(&self) -> Result<(u32, u32), EngineError> {
        let mut negotiated = self.negotiated.lock().await;
        if let Some(version) = *negotiated {
            return Ok(version);
        }
        let answer = self.send("ask its version", Method::GET, "/version", None, CALL).await?;
        let theirs = answer.body["ApiVersion"].as_str().and_then(parse_version);
        let Some(theirs) = theirs else { return Err(of_answer("ask its version", 500, "it did not say its version")) };
        if theirs < OLDEST_API {
            let words = format!(
                "its API version is {}.{}, and tagboat needs at least {}.{} (Docker 20.10)",
                theirs.0, theirs.1, OLDEST_API.0, OLDEST_API.1
            );
            return Err(of_answer("use the container engine", 400, &words));
        }
        let least = answer.body["MinAPIVersion"].as_str().and_then(parse_version).unwrap_or_default();
        let version = theirs.min(NEWEST_API).max(least);
        *negotiated = Some(version);
        Ok(version)
    }

    /// Makes a call and returns its answer if the status is one that `fine` names, else an error.
    pub(super) async fn call(
        &self,
        what: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
        fine: &[u16],
    ) -> Result<Answer, EngineError> {
        self.timed(what, method, path, body, fine, CALL).await
    }

    /// As `call`, with a limit of its own.
    pub(super) async fn timed(
        &self,
        what: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
        fine: &[u16],
        limit: Duration,
    ) -> Result<Answer, EngineError> {
        let (major, minor) = self.version().await?;
        let sent = self.send(what, method, &format!("/v{major}.{minor}{path}"), body, limit).await;
        if matches!(&sent, Err(error) if error.kind == EngineErrorKind::Unreachable) {
            // It may come back as another version.
            *self.negotiated.lock().await = None;
        }
        let answer = sent?;
        if (200..300).contains(&answer.status) || fine.contains(&answer.status) {
            return Ok(answer);
        }
        let words = answer.body["message"].as_str().map_or_else(|| answer.body.to_string(), str::to_owned);
        Err(of_answer(what, answer.status, &words))
    }

    async fn send(
        &self,
        what: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
        limit: Duration,
    ) -> Result<Answer, EngineError> {
        let lost = |error: reqwest::Error| unreachable(what, &self.host, Box::new(error.without_url()));
        let mut request = self.client.request(method, format!("{}{path}", self.base)).timeout(limit);
        if let Some(body) = body {
            let text = serde_json::to_vec(body).expect("a JSON value can be written");
            request = request.header(http::header::CONTENT_TYPE, "application/json").body(text);
        }
        let response = request.send().await.map_err(lost)?;
        let status = response.status().as_u16();
        let bytes = response.bytes().await.map_err(lost)?;
        let text = || Value::String(String::from_utf8_lossy(&bytes).into_owned());
        let body =
            if bytes.is_empty() { Value::Null } else { serde_json::from_slice(&bytes).unwrap_or_else(|_| text()) };
        Ok(Answer { status, body })
    }
}

fn tls(builder: reqwest::ClientBuilder, dir: &std::path::Path) -> Result<reqwest::ClientBuilder, String> {
    let read = |name: &str| {
        let path = dir.join(name);
        std::fs::read(&path).map_err(|error| format!("{} can't be read: {error}", path.display()))
    };
    let ca = reqwest::Certificate::from_pem_bundle(&read("ca.pem")?).map_err(|error| format!("ca.pem: {error}"))?;
    let mut identity = read("cert.pem")?;
    identity.extend(read("key.pem")?);
    let identity = reqwest::Identity::from_pem(&identity).map_err(|error| format!("cert.pem and key.pem: {error}"))?;
    Ok(builder.tls_certs_only(ca).identity(identity))
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
