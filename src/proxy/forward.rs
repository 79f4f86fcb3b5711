//! One request: to its app's target and back.

use std::convert::Infallible;
use std::sync::atomic::Ordering;

use http::header::{ACCEPT, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::upgrade::OnUpgrade;
use tokio::time::Instant;

use crate::model::ListenAddr;

use super::body::Body;
use super::headers;
use super::pages::page;
use super::peer::Peer;
use super::plane::Plane;
use super::runtime::AppRuntime;
use super::send::{Answered, Failure, send};
use super::stats::{Class, TargetStats};
use super::tunnel::tunnel;

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
    peer: &Peer,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let mut response = match normalise(&mut request) {
        Err((status, explanation)) => {
            // Nothing that follows on a connection with such a request is to be believed.
            let mut refusal = page(status, explanation, request.headers());
            refusal.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            refusal
        }
        Ok(()) => {
            let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
            let app = plane.router.load().find(listener, host, request.uri().path()).cloned();
            match app {
                Some(app) => serve(plane, &app, peer, request).await,
                None => {
                    plane.unrouted.fetch_add(1, Ordering::Relaxed);
                    page(StatusCode::NOT_FOUND, "No app is reached by this address.", request.headers())
                }
            }
        }
    };
    if plane.retiring.load(Ordering::Relaxed) && response.status() != StatusCode::SWITCHING_PROTOCOLS {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(response)
}

/// Makes a request unambiguous, or says why it can't be.
fn normalise<B>(request: &mut Request<B>) -> Result<(), (StatusCode, &'static str)> {
    if request.method() == Method::CONNECT {
        // Its answer would turn the connection into a tunnel past every route.
        return Err((StatusCode::METHOD_NOT_ALLOWED, "CONNECT is not served here."));
    }
    // RFC 9112 3.2: one Host; only HTTP/1.0 may do without.
    let mut hosts = request.headers().get_all(HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    if second.is_some() || (first.is_none() && request.version() >= Version::HTTP_11) {
        return Err((StatusCode::BAD_REQUEST, "A request names exactly one host."));
    }
    *request.version_mut() = Version::HTTP_11;
    // An absolute URI names the host itself (RFC 9112 3.2.2).
    if let Some(authority) = request.uri().authority()
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().insert(HOST, host);
        let path = request.uri().path_and_query().cloned();
        *request.uri_mut() = path.map_or_else(|| Uri::from_static("/"), Uri::from);
    }
    // A length beside a transfer coding is not to be believed or passed on (RFC 9112 6.3).
    if request.headers().contains_key(TRANSFER_ENCODING) {
        request.headers_mut().remove(CONTENT_LENGTH);
    }
    Ok(())
}

async fn serve(plane: &Plane, app: &AppRuntime, peer: &Peer, mut request: Request<Incoming>) -> Response<Body> {
    let outcome = Outcome { app, started: Instant::now(), counted: false };
    let accept = request.headers().get(ACCEPT).cloned();
    let carries = !request.body().is_end_stream();
    let upgrade = headers::upgrade(request.headers()).map(|_| hyper::upgrade::on(&mut request));
    headers::prepare_request(request.headers_mut(), peer);
    let failure = match send(app, outcome.started, request).await {
        // A change of protocol that nobody asked for.
        Ok(answer) if is_switch(&answer) && upgrade.is_none() => {
            TargetStats::add(&answer.claim.upstream().stats.transport_errors);
            Failure::Target
        }
        Ok(answer) => {
            let class = Class::of(answer.response.status());
            if class == Class::ServerError {
                TargetStats::add(&answer.claim.upstream().stats.server_errors);
            }
            outcome.count(class);
            return pass(plane, answer, upgrade);
        }
        Err(failure) => failure,
    };
    let (status, class, explanation) = match failure {
        Failure::NoTarget => (
            StatusCode::SERVICE_UNAVAILABLE,
            Class::Unavailable,
            "Nothing serves here at the moment. Please try again in a moment.",
        ),
        Failure::Crowded => (
            StatusCode::SERVICE_UNAVAILABLE,
            Class::Unavailable,
            "A new version is being put in place, and too many wait for it already. Please try again in a moment.",
        ),
        Failure::Overdue => (
            StatusCode::SERVICE_UNAVAILABLE,
            Class::Unavailable,
            "A new version is being put in place, and takes longer than expected. Please try again in a moment.",
        ),
        Failure::Target => (StatusCode::BAD_GATEWAY, Class::BadGateway, "The app did not answer."),
        Failure::Client => (StatusCode::BAD_REQUEST, Class::Aborted, "The request was not sent to its end."),
    };
    outcome.count(class);
    let mut answer = page(status, explanation, &accept.into_iter().map(|v| (ACCEPT, v)).collect());
    if carries && matches!(failure, Failure::Crowded | Failure::Overdue) {
        // What the client still sends of its body is not waited for.
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

fn is_switch(answer: &Answered) -> bool {
    answer.response.status() == StatusCode::SWITCHING_PROTOCOLS
}

/// Passes an answer on: as a tunnel, as an event stream, or as it comes.
fn pass(plane: &Plane, answer: Answered, upgrade: Option<OnUpgrade>) -> Response<Body> {
    let switching = is_switch(&answer);
    let Answered { mut response, mut claim, link } = answer;
    if response.headers().contains_key(TRANSFER_ENCODING) {
        response.headers_mut().remove(CONTENT_LENGTH);
    }
    headers::prepare_response(response.headers_mut(), switching);
    if switching && let Some(client) = upgrade {
        claim.become_stream();
        plane.tunnels.spawn(tunnel(client, link, claim));
        return response.map(|_| Body::empty());
    }
    let kind = response.headers().get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    if kind.get(..17).is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream")) {
        claim.become_stream();
    }
    response.map(|inner| Body::passed(inner, claim, link))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_whose_host_is_unclear_is_refused() {
        for (label, version, hosts, ok) in [
            ("one", Version::HTTP_11, &["a"][..], true),
            ("two", Version::HTTP_11, &["a", "b"][..], false),
            ("none", Version::HTTP_11, &[][..], false),
            ("none, in HTTP/1.0", Version::HTTP_10, &[][..], true),
        ] {
            let mut request = Request::builder().version(version).uri("/");
            for host in hosts {
                request = request.header(HOST, *host);
            }
            assert_eq!(normalise(&mut request.body(()).unwrap()).is_ok(), ok, "{label}");
        }
    }

    #[test]
    fn an_absolute_uri_names_the_host_and_connect_is_refused() {
        let mut request = Request::get("http://shop.example/a?b").header(HOST, "other").body(()).unwrap();
        normalise(&mut request).unwrap();
        assert_eq!(
            (request.headers()[HOST].to_str().unwrap(), request.uri().to_string().as_str()),
            ("shop.example", "/a?b")
        );
        let mut connect = Request::connect("shop.example:443").header(HOST, "shop.example").body(()).unwrap();
        assert_eq!(normalise(&mut connect).unwrap_err().0, StatusCode::METHOD_NOT_ALLOWED);
    }
}
