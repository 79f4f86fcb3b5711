//! One request: to its app's target and back.

use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::{HeaderValue, Request, Response, StatusCode, Uri, Version};
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::time::Instant;

use crate::model::{ContainerId, ListenAddr};

use super::body::Body;
use super::headers;
use super::pages::page;
use super::plane::{AppRuntime, Plane};
use super::pool::{Sender, connect};
use super::stats::{Class, TargetStats};
use super::target::Claim;

/// A target that refuses connections is tried for so long: it may be restarting, or about to be replaced.
const CONNECT_WINDOW: Duration = Duration::from_secs(1);

/// The first wait after a refused connection; doubles.
const CONNECT_PAUSE: Duration = Duration::from_millis(25);

/// Counts how a request ended, also when its client went away and the future was dropped.
struct Outcome<'a> {
    app: &'a AppRuntime,
    started: Instant,
    counted: bool,
}

impl Outcome<'_> {
    fn count(mut self, class: Class) {
        self.counted = true;
        self.app.stats.count(class);
        self.app.stats.latency(self.started.elapsed());
    }
}

impl Drop for Outcome<'_> {
    fn drop(&mut self) {
        if !self.counted {
            self.app.stats.count(Class::Aborted);
        }
    }
}

/// Answers a request.
pub(super) async fn handle(
    plane: &Plane,
    listener: &ListenAddr,
    client: IpAddr,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    normalise(&mut request);
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let app = plane.router.load().find(listener, host, request.uri().path()).cloned();
    let mut response = match app {
        Some(app) => serve(plane, &app, client, request).await,
        None => {
            plane.unrouted.fetch_add(1, Ordering::Relaxed);
            page(StatusCode::NOT_FOUND, "No app is reached by this address.", request.headers())
        }
    };
    if plane.retiring.load(Ordering::Relaxed) && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// An absolute URI names the host itself (RFC 9112 3.2.2), and a length beside a transfer coding is not to be
/// believed or passed on (RFC 9112 6.3).
fn normalise(request: &mut Request<Incoming>) {
    *request.version_mut() = Version::HTTP_11;
    if let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(HOST, host);
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    }
    if request.headers().contains_key(TRANSFER_ENCODING) {
        request.headers_mut().remove(CONTENT_LENGTH);
    }
}

async fn serve(plane: &Plane, app: &Arc<AppRuntime>, client: IpAddr, mut request: Request<Incoming>) -> Response<Body> {
    let outcome = Outcome { app, started: Instant::now(), counted: false };
    let accept = request.headers().get(http::header::ACCEPT).cloned();
    let upgrade = headers::upgrade(request.headers()).map(|_| hyper::upgrade::on(&mut request));
    headers::prepare_request(request.headers_mut(), client);
    match send(app, request).await {
        Ok((response, claim, sender)) => {
            let class = Class::of(response.status());
            if class == Class::ServerError {
                TargetStats::add(&claim.upstream().stats.server_errors);
            }
            outcome.count(class);
            pass(plane, response, claim, sender, upgrade)
        }
        Err(status) => {
            let unavailable = status == StatusCode::SERVICE_UNAVAILABLE;
            outcome.count(if unavailable { Class::Unavailable } else { Class::BadGateway });
            let explanation = if unavailable {
                "Nothing serves here at the moment. Please try again in a moment."
            } else {
                "The app did not answer."
            };
            page(status, explanation, &accept.into_iter().map(|v| (http::header::ACCEPT, v)).collect())
        }
    }
}

/// Sends a request to a target. What was not written to a connection that turned out dead is sent again on another;
/// what was written is not: it may have been carried out.
async fn send(
    app: &AppRuntime,
    mut request: Request<Incoming>,
) -> Result<(Response<Incoming>, Claim, Sender), StatusCode> {
    let deadline = Instant::now() + CONNECT_WINDOW;
    let mut pause = CONNECT_PAUSE;
    let mut avoid: Option<ContainerId> = None;
    loop {
        let claim = app.claim(avoid.as_ref()).ok_or(StatusCode::SERVICE_UNAVAILABLE)?;
        let upstream = claim.upstream().clone();
        let kept = upstream.pool.take();
        let reused = kept.is_some();
        let mut sender = match kept {
            Some(sender) => sender,
            None => match connect(upstream.addr()).await {
                Ok(sender) => sender,
                Err(error) => {
                    drop(claim);
                    if Instant::now() + pause > deadline {
                        TargetStats::add(&upstream.stats.transport_errors);
                        tracing::debug!(container = upstream.container.short(), %error, "connect failed");
                        return Err(StatusCode::BAD_GATEWAY);
                    }
                    avoid = Some(upstream.container.clone());
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                    continue;
                }
            },
        };
        TargetStats::add(&upstream.stats.requests);
        match sender.try_send_request(request).await {
            Ok(response) => return Ok((response, claim, sender)),
            Err(mut error) => match error.take_message() {
                Some(unsent) if reused || Instant::now() < deadline => request = unsent,
                _ => {
                    TargetStats::add(&upstream.stats.transport_errors);
                    tracing::debug!(container = upstream.container.short(), error = %error.error(), "request failed");
                    return Err(StatusCode::BAD_GATEWAY);
                }
            },
        }
    }
}

/// Passes an answer on: as a tunnel, as an event stream, or as it comes.
fn pass(
    plane: &Plane,
    mut response: Response<Incoming>,
    mut claim: Claim,
    sender: Sender,
    upgrade: Option<OnUpgrade>,
) -> Response<Body> {
    let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
    if response.headers().contains_key(TRANSFER_ENCODING) {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    headers::prepare_response(response.headers_mut(), switching);
    if switching && let Some(client) = upgrade {
        let target = hyper::upgrade::on(&mut response);
        claim.become_stream();
        plane.tunnels.spawn(tunnel(client, target, claim));
        return response.map(|_| Body::empty());
    }
    let kind = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let events = kind.get(..17).is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"));
    response.map(|inner| Body::passed(inner, claim, sender, events))
}

/// Carries bytes both ways until either end is done or the stream is cut.
async fn tunnel(client: OnUpgrade, target: OnUpgrade, claim: Claim) {
    let (Ok(client), Ok(target)) = tokio::join!(client, target) else { return };
    let (mut client, mut target) = (TokioIo::new(client), TokioIo::new(target));
    tokio::select! {
        // How a tunnel ends is its two ends' business.
        _ = tokio::io::copy_bidirectional(&mut client, &mut target) => {}
        () = claim.cut() => {}
    }
}
