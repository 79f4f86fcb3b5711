//! The agent's end of the control socket.
//!
//! The directory holds one socket a proxy process: `proxy-<n>.sock`, the highest number is the current one, the others
//! are finishing what they have. A change must succeed at the current one, and is then told to the others, so that
//! requests on their old connections follow it too.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio_util::codec::{FramedRead, LinesCodec, LinesCodecError};

use crate::model::{
    AppHold, AppName, AppSwitch, CONTROL_VERSION, ContainerId, InFlight, Probe, ProbeOutcome, RouteSet, SwitchAck,
    Table, TrafficStats,
};
use crate::ports::{Source, Traffic, TrafficError};

use super::control::{Envelope, LINE, Request, Response};

/// An answer is expected within this time.
const LIMIT: Duration = Duration::from_secs(2);

/// A switch connects to its targets, for a second at most, and waits for the disk.
const SWITCH_LIMIT: Duration = Duration::from_secs(5);

/// A probe's answer may come so much later than the probe's own limit.
const PROBE_MARGIN: Duration = Duration::from_secs(1);

/// The proxy, or proxies, of a directory.
#[derive(Debug, Clone)]
pub struct Client {
    dir: PathBuf,
}

impl Client {
    /// Of the proxies whose control sockets are in `dir`. Nothing is connected yet.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The sockets, the current one first.
    fn sockets(&self) -> Vec<PathBuf> {
        let number = |path: &Path| -> Option<u64> {
            path.file_name()?.to_str()?.strip_prefix("proxy-")?.strip_suffix(".sock")?.parse().ok()
        };
        let entries = std::fs::read_dir(&self.dir).into_iter().flatten().flatten().map(|entry| entry.path());
        let mut sockets: Vec<(u64, PathBuf)> = entries.filter_map(|path| Some((number(&path)?, path))).collect();
        sockets.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
        sockets.into_iter().map(|(_, path)| path).collect()
    }

    fn unreachable(&self, socket: Option<&Path>, source: Option<Source>) -> TrafficError {
        let socket = socket.unwrap_or(&self.dir).display().to_string();
        TrafficError::Unreachable { socket, source }
    }

    async fn ask(&self, socket: &Path, envelope: &Envelope, limit: Duration) -> Result<Response, TrafficError> {
        let answered = tokio::time::timeout(limit, exchange(socket, envelope)).await;
        let source: Source = match answered {
            Ok(Ok(response)) => return Ok(response),
            Ok(Err(error)) if error.kind() == io::ErrorKind::InvalidData => {
                return Err(TrafficError::Protocol { message: error.to_string() });
            }
            Ok(Err(error)) => Box::new(error),
            Err(late) => Box::new(late),
        };
        Err(self.unreachable(Some(socket), Some(source)))
    }

    /// Asks the current proxy, and says which one that is. One that has died leaves its socket behind until its
    /// successor is there: the next older one is no substitute for it.
    async fn current(&self, request: &Request, limit: Duration) -> Result<(PathBuf, Response), TrafficError> {
        let Some(socket) = self.sockets().into_iter().next() else { return Err(self.unreachable(None, None)) };
        let response = understood(self.ask(&socket, &decided(request), limit).await?)?;
        Ok((socket, response))
    }

    /// Tells the current proxy, then the others: older ones follow it. A newer one may have appeared and read its
    /// table just before this change was made; it has to decide for itself.
    async fn everywhere(&self, request: &Request, limit: Duration) -> Result<Response, TrafficError> {
        let (told, answer) = self.current(request, limit).await?;
        let mut older = false;
        for socket in self.sockets() {
            if socket == told {
                older = true;
                continue;
            }
            let envelope = Envelope { followed: older, ..decided(request) };
            match self.ask(&socket, &envelope, limit).await {
                Ok(Response::Conflict { .. }) if !older => {}
                Ok(response) if !older => drop(understood(response)?),
                Ok(_) => {}
                Err(error) if is_gone(&error) => {}
                Err(error) if !older => return Err(error),
                Err(error) => {
                    tracing::warn!(socket = %socket.display(), %error, "an older proxy does not follow a change");
                }
            }
        }
        Ok(answer)
    }
}

/// A request to the proxy that decides.
fn decided(request: &Request) -> Envelope {
    Envelope { version: CONTROL_VERSION, followed: false, request: request.clone() }
}

/// Nobody is behind the socket any more, so nothing is under way there.
fn is_gone(error: &TrafficError) -> bool {
    let TrafficError::Unreachable { source: Some(source), .. } = error else { return false };
    let kind = source.downcast_ref::<io::Error>().map(io::Error::kind);
    matches!(kind, Some(io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound))
}

async fn exchange(socket: &Path, envelope: &Envelope) -> io::Result<Response> {
    let mut stream = UnixStream::connect(socket).await?;
    let mut line = serde_json::to_vec(envelope).map_err(io::Error::other)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut lines = FramedRead::new(stream, LinesCodec::new_with_max_length(LINE));
    let strange = |error: Source| io::Error::new(io::ErrorKind::InvalidData, error);
    let answer = lines.next().await.ok_or(io::ErrorKind::UnexpectedEof)?.map_err(|error| match error {
        LinesCodecError::Io(error) => error,
        long @ LinesCodecError::MaxLineLengthExceeded => strange(Box::new(long)),
    })?;
    serde_json::from_str(&answer).map_err(|error| strange(Box::new(error)))
}

/// Sorts the answers that are errors from those that are not.
fn understood(response: Response) -> Result<Response, TrafficError> {
    match response {
        Response::Conflict { app, expected, found } => Err(TrafficError::Conflict { app, expected, found }),
        Response::Refused { message } => Err(TrafficError::Refused { message }),
        Response::Malformed { message } => Err(TrafficError::Protocol { message }),
        other => Ok(other),
    }
}

fn strange<T>(response: &Response) -> Result<T, TrafficError> {
    Err(TrafficError::Protocol { message: format!("it answered {response:?}") })
}

#[async_trait]
impl Traffic for Client {
    async fn table(&self) -> Result<Table, TrafficError> {
        match self.current(&Request::Table, LIMIT).await?.1 {
            Response::Table { table } => Ok(table),
            other => strange(&other),
        }
    }

    async fn set_routes(&self, apps: &[RouteSet]) -> Result<(), TrafficError> {
        match self.everywhere(&Request::SetRoutes { apps: apps.to_vec() }, LIMIT).await? {
            Response::Done => Ok(()),
            other => strange(&other),
        }
    }

    async fn switch(&self, changes: &[AppSwitch]) -> Result<SwitchAck, TrafficError> {
        match self.everywhere(&Request::Switch { changes: changes.to_vec() }, SWITCH_LIMIT).await? {
            Response::Switched { ack } => Ok(ack),
            other => strange(&other),
        }
    }

    async fn hold(&self, hold: &AppHold) -> Result<(), TrafficError> {
        match self.everywhere(&Request::Hold { hold: hold.clone() }, LIMIT).await? {
            Response::Done => Ok(()),
            other => strange(&other),
        }
    }

    async fn release(&self, app: &AppName, expect: u64) -> Result<(), TrafficError> {
        match self.everywhere(&Request::Release { app: app.clone(), expect }, LIMIT).await? {
            Response::Done => Ok(()),
            other => strange(&other),
        }
    }

    async fn readdress(&self, app: &AppName, container: &ContainerId, addr: SocketAddr) -> Result<(), TrafficError> {
        let request = Request::Readdress { app: app.clone(), container: container.clone(), addr };
        match self.everywhere(&request, LIMIT).await? {
            Response::Done => Ok(()),
            other => strange(&other),
        }
    }

    async fn probe(&self, addr: SocketAddr, probe: &Probe, timeout: Duration) -> Result<ProbeOutcome, TrafficError> {
        let timeout_ms = u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX);
        let request = Request::Probe { addr, probe: probe.clone(), timeout_ms };
        match self.current(&request, timeout + PROBE_MARGIN).await?.1 {
            Response::Probed { outcome } => Ok(outcome),
            other => strange(&other),
        }
    }

    async fn in_flight(&self, container: &ContainerId) -> Result<InFlight, TrafficError> {
        let request = Request::InFlight { container: container.clone() };
        let mut sum = InFlight::default();
        let sockets = self.sockets();
        for (index, socket) in sockets.iter().enumerate() {
            match self.ask(socket, &decided(&request), LIMIT).await {
                Ok(Response::InFlight { count }) => {
                    sum.requests += count.requests;
                    sum.streams += count.streams;
                }
                Ok(other) => return strange(&understood(other)?),
                // One that is gone has nothing under way. One that only does not answer may have.
                Err(error) if index > 0 && is_gone(&error) => {}
                Err(error) => return Err(error),
            }
        }
        if sockets.is_empty() { Err(self.unreachable(None, None)) } else { Ok(sum) }
    }

    async fn cut(&self, container: &ContainerId, over: Duration) -> Result<(), TrafficError> {
        let over_ms = u64::try_from(over.as_millis()).unwrap_or(u64::MAX);
        match self.everywhere(&Request::Cut { container: container.clone(), over_ms }, LIMIT).await? {
            Response::Done => Ok(()),
            other => strange(&other),
        }
    }

    async fn stats(&self) -> Result<Vec<TrafficStats>, TrafficError> {
        let sockets = self.sockets();
        let mut all = Vec::new();
        for (index, socket) in sockets.iter().enumerate() {
            match self.ask(socket, &decided(&Request::Stats), LIMIT).await {
                Ok(Response::Stats { stats }) => all.push(*stats),
                Ok(other) => return strange(&understood(other)?),
                Err(error) if index == 0 => return Err(error),
                Err(_) => {}
            }
        }
        if all.is_empty() { Err(self.unreachable(None, None)) } else { Ok(all) }
    }
}
