//! Running a router on a listener: bounded connections, bounded header time, a graceful end.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Connections of one listener; further ones wait in the kernel's backlog.
const MAX_CONNECTIONS: usize = 256;
/// A request's head must be complete within this time, and a kept connection's next one begin.
const HEADER_TIMEOUT: Duration = Duration::from_secs(15);
/// Bytes buffered of a request's head.
const HEAD_BUFFER: usize = 32 * 1024;
/// Requests under way get so long when the agent ends.
const GRACE: Duration = Duration::from_secs(5);
/// After a failed accept (too many open files), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A bound listener.
#[derive(Debug)]
pub enum Listener {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket.
    Unix(UnixListener),
}

impl TryFrom<std::net::TcpListener> for Listener {
    type Error = io::Error;
    /// Needs a running tokio runtime.
    fn try_from(listener: std::net::TcpListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(Self::Tcp)
    }
}

impl TryFrom<std::os::unix::net::UnixListener> for Listener {
    type Error = io::Error;
    /// Needs a running tokio runtime.
    fn try_from(listener: std::os::unix::net::UnixListener) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener).map(Self::Unix)
    }
}

enum Connection {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Listener {
    async fn accept(&self) -> io::Result<Connection> {
        match self {
            Self::Tcp(listener) => {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                Ok(Connection::Tcp(stream))
            }
            Self::Unix(listener) => Ok(Connection::Unix(listener.accept().await?.0)),
        }
    }
}

/// Binds a Unix socket that only its owner can connect to (mode 0600 from the first moment on). A socket that
/// a dead process left is replaced; one that somebody answers on is not.
///
/// # Errors
/// The path is taken by a living process or another kind of file, or can't be written.
pub fn bind_unix(path: &Path) -> io::Result<Listener> {
    use std::os::unix::net as std_unix;
    if std_unix::UnixStream::connect(path).is_ok() {
        let message = format!("another process serves {}", path.display());
        return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
    }
    if path.symlink_metadata().is_ok_and(|found| !std::os::unix::fs::FileTypeExt::is_socket(&found.file_type())) {
        let message = format!("{} is not a socket; it is left alone", path.display());
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
    }
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent)?;
    }
    // Bound under another name first: at the public name the socket appears with its final mode.
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = Path::new(&new);
    match std::fs::remove_file(new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = std_unix::UnixListener::bind(new)?;
    std::fs::set_permissions(new, std::fs::Permissions::from_mode(0o600))?;
    std::fs::rename(new, path)?;
    listener.try_into()
}

/// Serves `router` until `shutdown` is cancelled; then requests under way get a few seconds to end.
pub async fn serve(listener: impl Into<Listener>, router: Router, shutdown: CancellationToken) {
    let listener = listener.into();
    let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = next(&listener, &places) => accepted,
            Some(_) = connections.join_next() => continue,
            () = shutdown.cancelled() => break,
        };
        match accepted {
            Ok((Connection::Tcp(stream), place)) => {
                connections.spawn(converse(stream, router.clone(), graceful.watcher(), place));
            }
            Ok((Connection::Unix(stream), place)) => {
                connections.spawn(converse(stream, router.clone(), graceful.watcher(), place));
            }
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::select! {
                    () = tokio::time::sleep(ACCEPT_PAUSE) => {}
                    () = shutdown.cancelled() => break,
                }
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(GRACE, graceful.shutdown()).await.is_err() {
        tracing::warn!(connections = connections.len(), "requests were still under way and are cut off");
    }
    connections.shutdown().await;
}

/// A place first, then a connection to fill it.
async fn next(listener: &Listener, places: &Arc<Semaphore>) -> io::Result<(Connection, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.expect("the semaphore is never closed");
    Ok((listener.accept().await?, place))
}

async fn converse<S>(stream: S, router: Router, watcher: Watcher, place: OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .max_buf_size(HEAD_BUFFER)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended badly");
    }
    drop(place);
}
