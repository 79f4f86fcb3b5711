//! Gets a request to a target: which one, on which connection, and what to do when that does not work.

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::time::Instant;

use super::body::Upload;
use super::hold::{Turn, weight};
use super::pool::Link;
use super::runtime::{AppRuntime, Unclaimed};
use super::stats::TargetStats;
use super::target::{Claim, Upstream};

/// A target that refuses connections is tried for so long: it may be restarting, or about to be replaced.
const CONNECT_WINDOW: Duration = Duration::from_secs(1);

/// The same after requests have waited for their app: there is somebody, and there may be a crowd.
const RELEASED_WINDOW: Duration = Duration::from_secs(3);

/// The first wait after a refused connection; doubles.
const CONNECT_PAUSE: Duration = Duration::from_millis(25);

/// A connection that was idle for longer may be closed by the target at the very moment it is used again. A request
/// that can be repeated is copied then; the copy is spared where connections are reused at once.
const MAY_BE_CLOSING: Duration = Duration::from_millis(200);

/// An answer, with what must be held until its end.
pub(super) struct Answered {
    pub(super) response: Response<Incoming>,
    pub(super) claim: Claim,
    pub(super) link: Box<Link>,
}

/// Why there is no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// The app has no target.
    NoTarget,
    /// Its targets can't be connected, or the answer did not come.
    Target,
    /// The client did not send all of its request.
    Client,
    /// It would have had to wait, and too many waited already.
    Crowded,
    /// It has waited in vain.
    Overdue,
}

/// What has been tried in vain.
struct Attempts {
    deadline: Instant,
    pause: Duration,
    failed: Vec<Arc<Upstream>>,
}

impl Attempts {
    fn new(app: &AppRuntime, now: Instant) -> Self {
        let window = if app.lot.is_crowded(now) { RELEASED_WINDOW } else { CONNECT_WINDOW };
        Self { deadline: now + window, pause: CONNECT_PAUSE, failed: Vec::new() }
    }

    /// After a failure: goes on at once where there is another target, else after a pause; false when it is time to
    /// give up.
    async fn may_go_on(&mut self, app: &AppRuntime, upstream: Arc<Upstream>) -> bool {
        upstream.has_failed();
        self.failed.push(upstream);
        if app.has_other_than(&self.failed) {
            return true;
        }
        if Instant::now() + self.pause > self.deadline {
            return false;
        }
        tokio::time::sleep(self.pause).await;
        self.pause *= 2;
        self.failed.clear();
        true
    }
}

/// Sends a request. What was not written to a connection that turned out dead is sent again on another; what was
/// written is not, because it may have been carried out, unless carrying it out twice is the same as once (RFC 9110
/// 9.2.2) and the connection had been idle. `now` is when the request came.
///
/// While the app is held it waits, and begins anew when it is let go.
pub(super) async fn send(app: &AppRuntime, mut now: Instant, request: Request<Incoming>) -> Result<Answered, Failure> {
    let mut request = request.map(Upload::from);
    let (mut parked, mut turn) = (None, None);
    let mut attempts = Attempts::new(app, now);
    let mut fresh_only = false;
    loop {
        let claim = match app.claim(&attempts.failed) {
            Ok(claim) => claim,
            Err(Unclaimed::NoTarget) => return Err(Failure::NoTarget),
            Err(Unclaimed::Held(hold)) => {
                let since = *parked.get_or_insert_with(Instant::now);
                turn = Some(Box::pin(app.lot.wait(&hold, weight(&request), since)).await?);
                now = Instant::now();
                attempts = Attempts::new(app, now);
                continue;
            }
        };
        let upstream = claim.upstream().clone();
        let kept = if fresh_only { None } else { upstream.pool.take(now) };
        let reused = kept.is_some();
        let mut link = match kept {
            Some(link) => link,
            None => {
                let addr = upstream.addr();
                match Link::connect(addr).await {
                    Ok(link) => link,
                    Err(error) => {
                        drop((claim, turn.take()));
                        if upstream.addr() != addr {
                            // It has moved meanwhile, and was not asked yet.
                            attempts = Attempts::new(app, Instant::now());
                            continue;
                        }
                        if attempts.may_go_on(app, upstream.clone()).await {
                            continue;
                        }
                        if addr.ip().is_unspecified() && parked.is_none() {
                            return Err(Failure::NoTarget);
                        }
                        let failure = failed(&upstream, &error);
                        // The hold has ended with nobody there, which is a matter of time and no error of the app.
                        return Err(if parked.is_some() { Failure::Overdue } else { failure });
                    }
                }
            }
        };
        let copy = if reused && link.idle(now) > MAY_BE_CLOSING { copy(&request) } else { None };
        let sent = tokio::select! {
            biased;
            sent = link.send(request) => sent,
            () = claim.cut() => return Err(Failure::Target),
            never = Turn::pass_on(turn.take()) => match never {},
        };
        let TrySend { unsent, error } = match sent {
            Ok(response) => {
                TargetStats::add(&upstream.stats.requests);
                return Ok(Answered { response, claim, link });
            }
            Err(error) => TrySend::from(error),
        };
        drop((claim, link));
        request = match unsent {
            Some(unsent) if reused => unsent,
            Some(unsent) if attempts.may_go_on(app, upstream.clone()).await => unsent,
            // The client's own connection broke, which says nothing about the target.
            None if error.is_user() => return Err(Failure::Client),
            None if let Some(copy) = copy => {
                fresh_only = true;
                copy
            }
            _ => {
                TargetStats::add(&upstream.stats.requests);
                return Err(failed(&upstream, &error));
            }
        };
    }
}

fn failed(upstream: &Upstream, error: &dyn std::fmt::Display) -> Failure {
    TargetStats::add(&upstream.stats.transport_errors);
    tracing::debug!(container = upstream.container.short(), %error, "a request failed");
    Failure::Target
}

/// A send error, taken apart.
struct TrySend {
    unsent: Option<Request<Upload>>,
    error: hyper::Error,
}

impl From<TrySendError<Request<Upload>>> for TrySend {
    fn from(mut error: TrySendError<Request<Upload>>) -> Self {
        Self { unsent: error.take_message(), error: error.into_error() }
    }
}

/// The same request again, if it carries nothing and repeating it is harmless.
fn copy(request: &Request<Upload>) -> Option<Request<Upload>> {
    let harmless =
        matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE);
    if !harmless || !matches!(request.body(), Upload::Nothing) || request.headers().contains_key(http::header::UPGRADE)
    {
        return None;
    }
    let mut copy = Request::new(Upload::Nothing);
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    *copy.version_mut() = request.version();
    copy.headers_mut().clone_from(request.headers());
    copy.extensions_mut().clone_from(request.extensions());
    Some(copy)
}
