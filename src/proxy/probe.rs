//! One probe of a target, made from where the proxy stands: what passes here will pass for a request.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Empty;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::model::{Probe, ProbeOutcome};

/// Makes a probe; redirects are answers and are not followed.
pub(super) async fn probe(addr: SocketAddr, probe: &Probe, limit: Duration) -> ProbeOutcome {
    let started = Instant::now();
    let made = tokio::time::timeout(limit, attempt(addr, probe)).await;
    let (ok, detail) = match made {
        Ok(Ok(status)) => match status {
            None => (true, format!("{addr} accepts connections")),
            Some(status) => {
                let ok = status.is_success() || status.is_redirection();
                (ok, format!("HTTP {} from {addr}", status.as_u16()))
            }
        },
        Ok(Err(error)) => (false, format!("{addr}: {error}")),
        Err(_) => (false, format!("{addr}: no answer within {} ms", limit.as_millis())),
    };
    ProbeOutcome { ok, detail, millis: u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX) }
}

async fn attempt(addr: SocketAddr, probe: &Probe) -> std::io::Result<Option<StatusCode>> {
    let stream = TcpStream::connect(addr).await?;
    let (method, path) = match probe {
        Probe::Tcp => return Ok(None),
        Probe::Http(path) => ("GET", path),
        Probe::Request { method, path } => (method.as_str(), path),
    };
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(std::io::Error::other)?;
    let request = Request::builder()
        .method(method)
        .uri(path.as_str())
        .header(http::header::HOST, addr.to_string())
        .header(http::header::USER_AGENT, "tagboat-probe")
        .header(http::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(std::io::Error::other)?;
    let answer = async { sender.send_request(request).await.map_err(std::io::Error::other) };
    let driven = async {
        // It ends after the answer; an error of it shows in the answer.
        let _ = connection.await;
        std::future::pending::<std::io::Result<http::Response<hyper::body::Incoming>>>().await
    };
    let response = tokio::select! {
        response = answer => response,
        response = driven => response,
    };
    response.map(|response| Some(response.status()))
}
