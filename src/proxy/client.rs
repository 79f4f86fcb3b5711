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
use tokio_util::codec::{FramedRead, LinesCodec};

use crate::model::{
    AppName, AppSwitch, CONTROL_VERSION, ContainerId, InFlight, Probe, ProbeOutcome, RouteSet, SwitchAck, Table,
    TrafficStats,
};
use crate::ports::{Source, Traffic, TrafficError};

use super::control::{Envelope, LINE, Request, Response};

/// An answer is expected within this time; a probe's own limit is added.
const LIMIT: Duration = Duration::from_secs(2);

/// A switch connects to its targets and waits for the disk.
const SWITCH_LIMIT: Duration = Duration::from_secs(8);

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

    async fn ask(&self, socket: &Path, request: &Request, limit: Duration) -> Result<Response, TrafficError> {
        let answered = tokio::time::timeout(limit, exchange(socket, request)).await;
        match answered {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(self.unreachable(Some(socket), Some(Box::new(error)))),
            Err(late) => Err(self.unreachable(Some(socket), Some(Box::new(late)))),
        }
    }

    /// Asks the current proxy. One that has died leaves its socket behind until its successor is there: the next
    /// older one is no substitute for it.
    async fn current(&self, request: &Request, limit: Duration) -> Result<Response, TrafficError> {
        let sockets = self.sockets();
        let Some(socket) = sockets.first() else { return Err(self.unreachable(None, None)) };
        understood(self.ask(socket, request, limit).await?)
    }

    /// Tells the current proxy, then the others.
    async fn everywhere(&self, request: &Request, limit: Duration) -> Result<Response, TrafficError> {
        let answer = self.current(request, limit).await?;
        for socket in self.sockets().iter().skip(1) {
            if let Err(error) = self.ask(socket, request, limit).await {
                tracing::debug!(socket = %socket.display(), %error, "an older proxy is gone");
            }
        }
        Ok(answer)
    }
}

async fn exchange(socket: &Path, request: &Request) -> io::Result<Response> {
    let mut stream = UnixStream::connect(socket).await?;
    let envelope = Envelope { version: CONTROL_VERSION, request: request.clone() };
    let mut line = serde_json::to_vec(&envelope).map_err(io::Error::other)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    let mut lines = FramedRead::new(stream, LinesCodec::new_with_max_length(LINE));
    let answer = lines.next().await.ok_or(io::ErrorKind::UnexpectedEof)?.map_err(io::Error::other)?;
    serde_json::from_str(&answer).map_err(io::Error::other)
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
        match self.current(&Request::Table, LIMIT).await? {
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
        match self.current(&request, timeout + LIMIT).await? {
            Response::Probed { outcome } => Ok(outcome),
            other => strange(&other),
        }
    }

    async fn in_flight(&self, container: &ContainerId) -> Result<InFlight, TrafficError> {
        let request = Request::InFlight { container: container.clone() };
        let mut sum = match self.current(&request, LIMIT).await? {
            Response::InFlight { count } => count,
            other => return strange(&other),
        };
        for socket in self.sockets().iter().skip(1) {
            // One that does not answer has ended, and nothing is under way on it.
            if let Ok(Response::InFlight { count }) = self.ask(socket, &request, LIMIT).await {
                sum.requests += count.requests;
                sum.streams += count.streams;
            }
        }
        Ok(sum)
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
            match self.ask(socket, &Request::Stats, LIMIT).await {
                Ok(Response::Stats { stats }) => all.push(*stats),
                Ok(other) => return strange(&other),
                Err(error) if index == 0 => return Err(error),
                Err(_) => {}
            }
        }
        if all.is_empty() { Err(self.unreachable(None, None)) } else { Ok(all) }
    }
}
