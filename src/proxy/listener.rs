//! Accepts connections and serves HTTP/1.1 on them.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::model::ListenAddr;

use super::forward::handle;
use super::peer::Peer;
use super::plane::Plane;

/// A request's head must arrive within this time.
const HEAD: Duration = Duration::from_secs(30);

/// The first wait after an accept error such as too many open files, whose cause does not go away in a microsecond;
/// doubles.
const ACCEPT_PAUSE: Duration = Duration::from_millis(10);

/// The longest such wait.
const LONGEST_ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// When the process ends: first no more connections, later no more idle ones.
#[derive(Debug, Clone, Default)]
pub(super) struct Ending {
    pub(super) accept: CancellationToken,
    pub(super) idle: CancellationToken,
}

/// Accepts until told otherwise. The socket itself lives on in the supervisor: what waits in its queue is taken by
/// the next proxy.
pub(super) async fn accept(
    plane: Arc<Plane>,
    name: ListenAddr,
    listener: TcpListener,
    connections: TaskTracker,
    ending: Ending,
) {
    let name = Arc::new(name);
    let mut pause = ACCEPT_PAUSE;
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = ending.accept.cancelled() => return,
        };
        match accepted {
            Ok((stream, client)) => {
                pause = ACCEPT_PAUSE;
                connections.spawn(connection(
                    plane.clone(),
                    name.clone(),
                    stream,
                    Peer::new(client.ip()),
                    ending.idle.clone(),
                ));
            }
            Err(error) => {
                tracing::warn!(listener = %name, %error, "a connection could not be accepted");
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = ending.accept.cancelled() => return,
                }
                pause = (pause * 2).min(LONGEST_ACCEPT_PAUSE);
            }
        }
    }
}

async fn connection(
    plane: Arc<Plane>,
    listener: Arc<ListenAddr>,
    stream: TcpStream,
    peer: Peer,
    idle: CancellationToken,
) {
    // Without it small answers wait for the client's delayed acknowledgement; a socket that can't have it still works.
    let _ = stream.set_nodelay(true);
    plane.connections.fetch_add(1, Ordering::Relaxed);
    let service = {
        let at = Arc::new((plane.clone(), listener, peer));
        service_fn(move |request| {
            let at = at.clone();
            async move { handle(&at.0, &at.1, &at.2, request).await }
        })
    };
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD);
    let mut serving = pin!(http.serve_connection(TokioIo::new(stream), service).with_upgrades());
    let served = tokio::select! {
        served = serving.as_mut() => served,
        () = idle.cancelled() => tokio::select! {
            biased;
            served = serving.as_mut() => served,
            // By then the system was asked what has arrived: a request that has is answered, not cut off.
            () = tokio::task::yield_now() => {
                serving.as_mut().graceful_shutdown();
                serving.await
            }
        },
    };
    if let Err(error) = served {
        tracing::trace!(%error, "a client connection broke off");
    }
    plane.connections.fetch_sub(1, Ordering::Relaxed);
}
