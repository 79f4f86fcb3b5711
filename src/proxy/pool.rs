//! Open connections to one target, kept for the next request.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::time::Duration;

use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

/// An idle connection is kept so long: less than the 5 s after which Node closes its end, so that we rarely write to
/// a connection that is being closed.
const IDLE: Duration = Duration::from_secs(4);

/// Idle connections that are kept at most; more than this in parallel is a peak.
const KEPT: usize = 256;

/// A connect attempt may take so long; a container on the same host answers at once or not at all.
const CONNECT: Duration = Duration::from_secs(1);

/// A connection that can send one request at a time.
pub(super) type Sender = SendRequest<Incoming>;

/// Idle connections, the most recently used on top.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: Mutex<Vec<(Sender, Instant)>>,
}

impl Pool {
    /// A connection that is open and ready, as far as one can know.
    pub(super) fn take(&self) -> Option<Sender> {
        let now = Instant::now();
        let mut idle = self.idle.lock().expect("no holder panics");
        idle.retain(|(sender, since)| !sender.is_closed() && now.duration_since(*since) < IDLE);
        let ready = idle.iter().rposition(|(sender, _)| sender.is_ready())?;
        Some(idle.swap_remove(ready).0)
    }

    /// Keeps a connection whose answer has ended.
    pub(super) fn give_back(&self, sender: Sender) {
        if sender.is_closed() {
            return;
        }
        let mut idle = self.idle.lock().expect("no holder panics");
        if idle.len() < KEPT {
            idle.push((sender, Instant::now()));
        }
    }

    /// Closes what is idle.
    pub(super) fn clear(&self) {
        self.idle.lock().expect("no holder panics").clear();
    }
}

/// Opens a connection. Its task ends with the connection, which ends when the sender and the answer are dropped.
pub(super) async fn connect(addr: SocketAddr) -> std::io::Result<Sender> {
    let stream = tokio::time::timeout(CONNECT, TcpStream::connect(addr))
        .await
        .map_err(|_| std::io::Error::new(std::io::ErrorKind::TimedOut, "connect timed out"))??;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::Builder::new()
        .preserve_header_case(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(std::io::Error::other)?;
    tokio::spawn(async move {
        // How a connection ended is told to the request that used it.
        let _ = connection.with_upgrades().await;
    });
    Ok(sender)
}
