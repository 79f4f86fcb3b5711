//! An upgraded connection: bytes both ways, whatever they mean.

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncWriteExt, copy_bidirectional};

use super::pool::Link;
use super::target::Claim;

/// Carries bytes until both ends are done, one breaks, or the stream is cut.
pub(super) async fn tunnel(client: OnUpgrade, link: Link, claim: Claim) {
    let carried = async {
        // A client that goes away before its 101 is written never comes out of HTTP.
        let (Ok(client), (mut target, early)) = tokio::join!(client, link.into_raw()) else { return };
        let mut client = TokioIo::new(client);
        if client.write_all(&early).await.is_err() {
            return;
        }
        // How a tunnel ends is its two ends' business.
        let _ = copy_bidirectional(&mut client, &mut target).await;
    };
    tokio::select! {
        () = carried => {}
        () = claim.cut() => {}
    }
}
