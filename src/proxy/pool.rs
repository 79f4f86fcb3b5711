//! Open connections to one target, kept for the next request.
//!
//! A connection has no task of its own: whoever holds it drives it, so that a request and its answer wake one task
//! only. While it lies in the pool nobody drives it; that the other end has closed it is found when it is taken.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::body::Upload;

/// An idle connection is kept so long: less than the 5 s after which Node closes its end, so that we rarely write to
/// a connection that is being closed.
const IDLE: Duration = Duration::from_secs(4);

/// Idle connections that are kept at most; more than this in parallel is a peak.
const KEPT: usize = 256;

/// A connection that was idle for less is not looked at again before it is used.
const LOOKED_AT: Duration = Duration::from_millis(20);

/// A connect attempt may take so long; a container on the same host answers at once or not at all.
const CONNECT: Duration = Duration::from_secs(1);

/// A connection to a target, with the one request that may be under way on it.
pub(super) struct Link {
    sender: SendRequest<Upload>,
    /// `None` when HTTP on it has ended.
    connection: Option<Connection<TokioIo<TcpStream>, Upload>>,
    /// What is left then: an upgrade goes on with it.
    end: Option<Ended>,
    used: Instant,
}

/// A connection on which HTTP has ended.
struct Ended {
    stream: TcpStream,
    /// What was read too far.
    early: Bytes,
    /// It ended because the client did not send all of its request.
    by_client: bool,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("open", &self.connection.is_some()).finish_non_exhaustive()
    }
}

impl Link {
    /// Opens a connection.
    pub(super) async fn connect(addr: SocketAddr) -> std::io::Result<Box<Self>> {
        if addr.ip().is_unspecified() {
            // The system would take that for this host.
            return Err(std::io::Error::new(std::io::ErrorKind::AddrNotAvailable, "its address is not known yet"));
        }
        let stream = tokio::time::timeout(CONNECT, TcpStream::connect(addr))
            .await
            .map_err(|_| std::io::Error::new(std::io::ErrorKind::TimedOut, "connect timed out"))??;
        stream.set_nodelay(true)?;
        let (sender, connection) =
            http1::Builder::new().handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
        Ok(Box::new(Self { sender, connection: Some(connection), end: None, used: Instant::now() }))
    }

    /// Lets the connection do what it can.
    pub(super) fn drive(&mut self, cx: &mut Context<'_>) {
        drive(&mut self.connection, &mut self.end, cx);
    }

    /// Sends a request and waits for the head of its answer.
    pub(super) async fn send(
        &mut self,
        request: Request<Upload>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Upload>>> {
        let Self { sender, connection, end, .. } = self;
        let mut answer = pin!(sender.try_send_request(request));
        std::future::poll_fn(|cx| {
            drive(connection, end, cx);
            answer.as_mut().poll(cx)
        })
        .await
    }

    /// Waits for the end of HTTP on it, and gives what then remains.
    pub(super) async fn into_raw(mut self: Box<Self>) -> (TcpStream, Bytes) {
        std::future::poll_fn(|cx| {
            self.drive(cx);
            match self.end.take() {
                Some(end) => Poll::Ready((end.stream, end.early)),
                None => Poll::Pending,
            }
        })
        .await
    }

    /// Whether it broke off because the client did.
    pub(super) fn was_left_by_client(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.by_client)
    }

    /// How long it has lain idle.
    pub(super) fn idle(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.used)
    }

    /// Open at both ends as far as one can know, and nothing is under way on it.
    fn is_ready(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        self.connection.is_some() && self.sender.is_ready()
    }
}

fn drive(
    connection: &mut Option<Connection<TokioIo<TcpStream>, Upload>>,
    end: &mut Option<Ended>,
    cx: &mut Context<'_>,
) {
    let Some(open) = connection else { return };
    if let Poll::Ready(how) = Pin::new(open).poll(cx)
        && let Some(ended) = connection.take()
    {
        // Taking it apart also gives a request back that it had not begun to send.
        let parts = ended.into_parts();
        // The request that uses it is told of any other error.
        let by_client = how.is_err_and(|error| error.is_user());
        *end = Some(Ended { stream: parts.io.into_inner(), early: parts.read_buf, by_client });
    }
}

/// Idle connections, the one used last at the back.
#[derive(Debug, Default)]
pub(super) struct Pool {
    idle: Mutex<VecDeque<Box<Link>>>,
}

impl Pool {
    /// A connection that is open and ready, as far as one can know.
    pub(super) fn take(&self, now: Instant) -> Option<Box<Link>> {
        loop {
            let mut link = self.idle.lock().expect("no holder panics").pop_back()?;
            let idle = link.idle(now);
            if idle >= IDLE {
                // Every other one has lain there longer.
                self.clear();
                return None;
            }
            // Looked at when it was given back. One that is closed after all takes no request and gives it back.
            if idle < LOOKED_AT || link.is_ready() {
                return Some(link);
            }
        }
    }

    /// Keeps a connection if it can be used again; one whose upload has not ended can't.
    pub(super) fn give_back(&self, mut link: Box<Link>) {
        if !link.is_ready() {
            return;
        }
        link.used = Instant::now();
        let mut idle = self.idle.lock().expect("no holder panics");
        if idle.len() < KEPT {
            idle.push_back(link);
        }
    }

    /// Closes what has been idle for too long.
    pub(super) fn sweep(&self) {
        let now = Instant::now();
        let mut idle = self.idle.lock().expect("no holder panics");
        let old = idle.iter().take_while(|link| link.idle(now) >= IDLE).count();
        idle.drain(..old);
        if idle.is_empty() {
            idle.shrink_to_fit();
        }
    }

    /// Closes what is idle.
    pub(super) fn clear(&self) {
        self.idle.lock().expect("no holder panics").clear();
    }
}
