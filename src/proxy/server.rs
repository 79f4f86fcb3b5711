//! The process: control socket, listeners, and an orderly end.

use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::codec::{FramedRead, LinesCodec};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::model::InFlight;

use super::control::{Envelope, LINE, Request, Response, parse};
use super::listener::{Ending, accept};
use super::plane::{Change, Plane};
use super::probe::probe;
use super::{Config, Error};

/// Control requests that are worked on at once.
const CONTROLS: usize = 64;

/// A control request must arrive, and its answer be taken, within this time each. What is done in between has limits
/// of its own and is never broken off: a switch that is on disk must come into force.
const CONTROL_TIME: Duration = Duration::from_secs(10);

/// A probe may take so long, whatever was asked for.
const LONGEST_PROBE: Duration = Duration::from_secs(60);

/// Between two rounds of housekeeping: half of what an idle connection may live.
const SWEEP: Duration = Duration::from_secs(2);

/// What is cut when the process ends gets so long to tell its clients.
const CUT: Duration = Duration::from_secs(1);

/// Between two looks at what is still under way when ending.
const LOOK: Duration = Duration::from_millis(50);

/// A request may be on its way to an idle connection when the proxy ends: it is given so long to arrive.
const LAST_REQUESTS: Duration = Duration::from_millis(500);

/// A successor has taken the sockets over: clients may use what they hold open a little longer, and are asked to
/// close it with their next answer.
const LAST_REQUESTS_RETIRED: Duration = Duration::from_secs(30);

/// How the process is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// Everything ends.
    Stop,
    /// A successor serves from now on.
    Retire,
}

/// Serves until `end` says how to end, then finishes what is under way.
///
/// # Errors
/// When the control socket or a listener can't be set up. Nothing was accepted then.
pub async fn run(config: Config, end: impl Future<Output = End>) -> Result<(), Error> {
    // The socket first: a switch that is made after the table was read is sent to it, and waits there.
    let control = bind(&config.control)?;
    let plane = Arc::new(Plane::load(&config.state_dir));
    let (connections, ending) = (TaskTracker::new(), Ending::default());
    let mut names = Vec::new();
    for (name, listener) in config.listeners {
        let failed = |source| Error { operation: format!("listen on {name}"), source };
        listener.set_nonblocking(true).map_err(failed)?;
        let listener = TcpListener::from_std(listener).map_err(failed)?;
        names.push(name.to_string());
        connections.spawn(accept(plane.clone(), name, listener, connections.clone(), ending.clone()));
    }
    let done = CancellationToken::new();
    let controls = tokio::spawn(serve_control(plane.clone(), control, done.clone()));
    let sweeps = tokio::spawn(sweep(plane.clone(), done.clone()));
    let apps = plane.table().await.apps.len();
    tracing::info!(listeners = names.join(" "), apps, control = %config.control.display(), "proxy serves");
    let how = end.await;
    finish(&plane, how, &ending, &connections, config.request_grace, config.stream_grace).await;
    done.cancel();
    // Its socket would only be in the way of the next one; that it is gone already is fine.
    let _ = std::fs::remove_file(&config.control);
    if controls.await.is_err() || sweeps.await.is_err() {
        tracing::error!("a task of the proxy had panicked");
    }
    Ok(())
}

/// No more connections; then no more requests; then nothing under way, or the time is over.
async fn finish(
    plane: &Plane,
    how: End,
    ending: &Ending,
    connections: &TaskTracker,
    request_grace: Duration,
    stream_grace: Duration,
) {
    plane.retiring.store(true, Ordering::SeqCst);
    ending.accept.cancel();
    connections.close();
    plane.tunnels.close();
    let begun = Instant::now();
    tracing::info!(retired = how == End::Retire, "proxy accepts no more connections");
    let linger = if how == End::Retire { LAST_REQUESTS_RETIRED } else { LAST_REQUESTS };
    while begun.elapsed() < linger && !connections.is_empty() {
        tokio::time::sleep(LOOK).await;
    }
    ending.idle.cancel();
    // The connections are counted, not only what is under way on targets: the last bytes are still to be written to
    // the client, or a request is still looking for its target.
    while !(connections.is_empty() && plane.tunnels.is_empty()) {
        let streams = plane.in_flight().streams;
        let grace = if streams > 0 { stream_grace.max(request_grace) } else { request_grace };
        if begun.elapsed() >= grace {
            let InFlight { requests, streams } = plane.in_flight();
            tracing::warn!(requests, streams, "the time for what is under way is over: it is broken off");
            plane.cut_all().await;
            let _ = tokio::time::timeout(CUT, async { tokio::join!(connections.wait(), plane.tunnels.wait()) }).await;
            break;
        }
        tokio::time::sleep(LOOK).await;
    }
    tracing::info!(seconds = begun.elapsed().as_secs_f64(), "proxy ends");
}

/// Keeps house now and then.
async fn sweep(plane: Arc<Plane>, done: CancellationToken) {
    while done.run_until_cancelled(tokio::time::sleep(SWEEP)).await.is_some() {
        plane.sweep().await;
    }
}

/// Makes the socket under another name, so that nobody finds it before its permissions are set, and a dead proxy's
/// socket gives way to it at once.
fn bind(path: &Path) -> Result<UnixListener, Error> {
    let failed = |source: io::Error| Error { operation: format!("make the control socket {}", path.display()), source };
    let beside = path.with_extension("sock.new");
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&beside).map_err(failed)?;
    std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    std::fs::rename(&beside, path).map_err(failed)?;
    Ok(listener)
}

async fn serve_control(plane: Arc<Plane>, listener: UnixListener, done: CancellationToken) {
    let (tasks, slots) = (TaskTracker::new(), Arc::new(Semaphore::new(CONTROLS)));
    loop {
        let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = done.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => {
                let plane = plane.clone();
                tasks.spawn(async move {
                    if let Err(error) = exchange(&plane, stream).await {
                        tracing::debug!(%error, "a control connection broke off");
                    }
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "a control connection could not be accepted");
                tokio::time::sleep(LOOK).await;
            }
        }
    }
    tasks.close();
    tasks.wait().await;
}

/// One request, one answer.
async fn exchange(plane: &Plane, mut stream: UnixStream) -> io::Result<()> {
    let (reader, mut writer) = stream.split();
    let mut lines = FramedRead::new(reader, LinesCodec::new_with_max_length(LINE));
    let answer = match tokio::time::timeout(CONTROL_TIME, lines.next()).await? {
        None => return Ok(()),
        Some(Err(error)) => Response::Malformed { message: error.to_string() },
        Some(Ok(line)) => match parse(line.as_bytes()) {
            Ok(envelope) => answer(plane, envelope).await,
            Err(malformed) => malformed,
        },
    };
    let mut text = serde_json::to_vec(&answer).map_err(io::Error::other)?;
    text.push(b'\n');
    tokio::time::timeout(CONTROL_TIME, async {
        writer.write_all(&text).await?;
        writer.shutdown().await
    })
    .await?
}

async fn answer(plane: &Plane, envelope: Envelope) -> Response {
    let how = if envelope.followed { Change::Followed } else { Change::Decided };
    match envelope.request {
        Request::Table => Response::Table { table: plane.table().await },
        Request::SetRoutes { apps } => plane.set_routes(apps, how).await,
        Request::Switch { changes } => plane.switch(changes, how).await,
        Request::Hold { hold } => plane.hold(&hold, how).await,
        Request::Release { app, expect } => plane.release(&app, expect, how).await,
        Request::Readdress { app, container, addr } => plane.readdress(&app, &container, addr, how).await,
        Request::Probe { addr, probe: kind, timeout_ms } => {
            let limit = Duration::from_millis(timeout_ms).min(LONGEST_PROBE);
            Response::Probed { outcome: probe(addr, &kind, limit).await }
        }
        Request::InFlight { container } => {
            let count = plane.find(&container).map(|upstream| upstream.in_flight()).unwrap_or_default();
            Response::InFlight { count }
        }
        Request::Cut { container, over_ms } => {
            if let Some(upstream) = plane.find(&container) {
                upstream.cut(Duration::from_millis(over_ms));
            }
            Response::Done
        }
        Request::Stats => Response::Stats { stats: Box::new(plane.stats().await) },
    }
}
