//! An upgraded connection: bytes both ways, whatever they mean.

use std::io;

use bytes::Bytes;
use hyper::upgrade::{OnUpgrade, Parts};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, copy};
use tokio::net::TcpStream;

use super::pool::Link;
use super::target::Claim;

/// Carries bytes until it is over or is cut.
pub(super) async fn tunnel(client: OnUpgrade, link: Box<Link>, claim: Claim) {
    let carried = async {
        // A client that goes away before its 101 is written never comes out of HTTP.
        let (Ok(client), target) = tokio::join!(client, link.into_raw()) else { return };
        let client = client.downcast::<TokioIo<TcpStream>>();
        let Parts { io, read_buf, .. } = client.expect("listeners serve plain TCP connections");
        // How a tunnel ends is its two ends' business.
        let _ = carry((io.into_inner(), read_buf), target).await;
    };
    tokio::select! {
        () = carried => {}
        () = claim.cut() => {}
    }
}

/// Over when the target has ended, or either end breaks. A client that only stops sending may still be listening.
async fn carry(
    (mut client, from_client): (TcpStream, Bytes),
    (mut target, from_target): (TcpStream, Bytes),
) -> io::Result<()> {
    let (mut client_read, mut client_write) = client.split();
    let (mut target_read, mut target_write) = target.split();
    let down = pass(from_target, &mut target_read, &mut client_write);
    let up = async {
        pass(from_client, &mut client_read, &mut target_write).await?;
        std::future::pending().await
    };
    tokio::select! {
        ended = down => ended,
        broken = up => broken,
    }
}

/// One direction, to its end.
async fn pass(early: Bytes, from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    to.write_all(&early).await?;
    copy(from, to).await?;
    to.shutdown().await
}
