//! One HTTP request to the agent, over its Unix socket or to a URL.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use http::{Method, Request};
use http_body_util::{BodyDataStream, Full};
use hyper_util::rt::TokioIo;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::UnixStream;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;
use url::Url;

use super::client::ClientError;

/// For a connection.
const CONNECT: Duration = Duration::from_secs(5);
/// For the head of an answer; the agent itself answers or gives up within some ten seconds.
const ANSWER: Duration = Duration::from_secs(30);
/// Between two pieces of a body; an event stream says something every 15 s.
const SILENCE: Duration = Duration::from_secs(45);

/// Where the agent is.
pub(super) enum Transport {
    Socket(PathBuf),
    Url { client: reqwest::Client, base: Url, token: Option<SecretString> },
}

/// An answer whose body is still on its way.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) body: BoxStream<'static, io::Result<Bytes>>,
}

impl Transport {
    /// To a URL. A token is sent along when there is one.
    pub(super) fn url(base: Url, token: Option<SecretString>) -> anyhow::Result<Self> {
        // Another part of the program may have done it already, with the same provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .connect_timeout(CONNECT)
            .read_timeout(SILENCE)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("tagboat/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self::Url { client, base, token })
    }

    /// The place, for messages.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Socket(path) => path.display().to_string(),
            Self::Url { base, .. } => base.to_string(),
        }
    }

    /// Sends a request to `/api/v1` and `path`.
    pub(super) async fn send(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Reply, ClientError> {
        match self {
            Self::Socket(socket) => over_socket(socket, method, path, body).await.map_err(|error| self.lost(error)),
            Self::Url { client, base, token } => {
                let url = format!("{}/api/v1{path}", base.as_str().trim_end_matches('/'));
                let mut request = client.request(method, url);
                if let Some(token) = token {
                    request = request.bearer_auth(token.expose_secret());
                }
                if let Some(body) = body {
                    request = request.header(http::header::CONTENT_TYPE, "application/json").body(body);
                }
                let sent = timeout(ANSWER, request.send()).await;
                let late = || io::Error::from(io::ErrorKind::TimedOut);
                let response =
                    sent.map_err(|_| self.lost(late()))?.map_err(|error| self.lost(io::Error::other(error)))?;
                let status = response.status().as_u16();
                Ok(Reply { status, body: response.bytes_stream().map_err(io::Error::other).boxed() })
            }
        }
    }

    fn lost(&self, source: io::Error) -> ClientError {
        let advice = match (self, source.kind()) {
            (Self::Socket(_), io::ErrorKind::PermissionDenied) => "use sudo, or the user that tagboat runs as",
            (Self::Socket(_), _) => "is `tagboat run` running? Another place is named with --socket or --url",
            (Self::Url { .. }, _) => "is the URL right, and may this host connect to it?",
        };
        ClientError::Unreachable { place: self.place(), advice, source }
    }
}

async fn over_socket(socket: &Path, method: Method, path: &str, body: Option<Vec<u8>>) -> io::Result<Reply> {
    let late = |_| io::Error::from(io::ErrorKind::TimedOut);
    let stream = timeout(CONNECT, UnixStream::connect(socket)).await.map_err(late)??;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let driver = AbortOnDropHandle::new(tokio::spawn(connection));
    let mut request = Request::builder().method(method).uri(format!("/api/v1{path}")).header("host", "localhost");
    if body.is_some() {
        request = request.header("content-type", "application/json");
    }
    let request = request.body(Full::new(Bytes::from(body.unwrap_or_default()))).map_err(io::Error::other)?;
    let response = timeout(ANSWER, sender.send_request(request)).await.map_err(late)?.map_err(io::Error::other)?;
    let status = response.status().as_u16();
    let frames = BodyDataStream::new(response.into_body()).map_err(io::Error::other);
    let state = (frames, driver);
    let body = futures_util::stream::unfold(state, |(mut frames, driver)| async move {
        match timeout(SILENCE, frames.next()).await {
            Ok(frame) => frame.map(|frame| (frame, (frames, driver))),
            Err(_) => Some((Err(io::ErrorKind::TimedOut.into()), (frames, driver))),
        }
    });
    Ok(Reply { status, body: body.boxed() })
}
