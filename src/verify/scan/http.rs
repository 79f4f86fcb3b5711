//! A service that scans: asked by POST, answering in JSON.

use std::sync::LazyLock;
use std::time::Duration;

use secrecy::ExposeSecret;
use serde_json::json;

use crate::model::{Bearer, ScanSubject, ScanVerdict};

use super::verdict::{Said, shown};
use super::{OUTPUT, reference};

/// To open a connection; the answer may take as long as the rule says.
const CONNECT: Duration = Duration::from_secs(5);

/// One set of connections for all scanners; where it can't be made, each request says why.
static CLIENT: LazyLock<Result<reqwest::Client, String>> = LazyLock::new(|| {
    // TLS needs a provider of cryptography; that somebody has set it already is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let builder = || {
        reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("tagboat/", env!("CARGO_PKG_VERSION")))
    };
    // In a container from scratch there are no certificates, and a scanner next door may need none.
    builder().build().or_else(|_| builder().tls_certs_only([]).build()).map_err(|error| error.to_string())
});

pub(super) async fn ask(subject: &ScanSubject, url: &url::Url, token: Option<&Bearer>) -> ScanVerdict {
    match exchange(subject, url, token).await {
        Ok(verdict) => verdict,
        Err(message) => ScanVerdict::Failed { message },
    }
}

async fn exchange(subject: &ScanSubject, url: &url::Url, token: Option<&Bearer>) -> Result<ScanVerdict, String> {
    let question = json!({
        "app": subject.app,
        "reference": reference(subject),
        "repository": subject.repository.to_string(),
        "digest": subject.digest,
        "tag": subject.tag,
        "platform": subject.platform.to_string(),
    });
    let client = CLIENT.as_ref().map_err(|error| format!("TLS can't be set up: {error}"))?;
    let mut request = client.post(url.clone()).header("content-type", "application/json").body(question.to_string());
    if let Some(token) = token {
        request = request.bearer_auth(token.0.expose_secret());
    }
    let host = url.host_str().unwrap_or_default();
    let broken = |error: reqwest::Error| format!("{host} does not answer: {}", chain(&error.without_url()));
    let mut response = request.send().await.map_err(broken)?;
    let status = response.status();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(broken)? {
        body.extend_from_slice(&chunk);
        if body.len() > OUTPUT {
            return Err(format!("{host} answers with more than {OUTPUT} bytes"));
        }
    }
    if !status.is_success() {
        return Err(format!("{host} answers with {status}: {}", shown(&body)));
    }
    let said = Said::read(&body).ok_or_else(|| {
        format!(
            "{host} answers with something else than {{\"decision\": \"allow\", \"deny\" or \"later\", \"reason\": …}}"
        )
    })?;
    Ok(said.verdict())
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
