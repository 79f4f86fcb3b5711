//! The listening sockets: kept, bound, and handed to children.

use std::net::TcpListener;
use std::sync::Arc;

use tokio::time::{Duration, Instant, sleep};

use super::Error;
use crate::listeners;
use crate::model::ListenAddr;

/// The children of a supervisor that was killed hold its addresses for so long, until they notice.
const ADDRESS_FREED: Duration = Duration::from_secs(5);

/// A bound socket and the address it was asked for.
pub(super) type Bound = (String, ListenAddr, TcpListener);

pub(super) fn proxy_names(addresses: &[ListenAddr]) -> Vec<(String, ListenAddr)> {
    addresses.iter().map(|address| (address.to_string(), address.clone())).collect()
}

/// Waits a little for an address that is in use: another supervisor may have been killed a moment ago.
pub(super) async fn bind_when_free(
    wanted: Vec<(String, ListenAddr)>,
    passed: &mut Vec<(String, TcpListener)>,
) -> Result<Vec<Bound>, Error> {
    let begun = Instant::now();
    let mut bound = Vec::new();
    for (name, address) in wanted {
        let mut told = false;
        let socket = loop {
            let tried = listeners::take(passed, &address).map_or_else(|| listeners::bind(&address), Ok);
            match tried {
                Err(error) if error.is_in_use() && begun.elapsed() < ADDRESS_FREED => {
                    if !std::mem::replace(&mut told, true) {
                        tracing::warn!(%address, "another program listens there: waiting for it to end");
                    }
                    sleep(Duration::from_millis(50)).await;
                }
                tried => break tried?,
            }
        };
        bound.push((name, address, socket));
    }
    Ok(bound)
}

/// Keeps the sockets that are held and binds the others.
pub(super) fn bind_all(
    wanted: Vec<(String, ListenAddr)>,
    mut held: Vec<(String, TcpListener)>,
) -> Result<Vec<Bound>, Error> {
    let bind = |(name, address): (String, ListenAddr)| -> Result<Bound, Error> {
        let socket = listeners::take(&mut held, &address).map_or_else(|| listeners::bind(&address), Ok)?;
        Ok((name, address, socket))
    };
    wanted.into_iter().map(bind).collect()
}

pub(super) fn shared(sockets: &[Bound]) -> Arc<Vec<(String, TcpListener)>> {
    let clone = |(name, _, socket): &Bound| Some((name.clone(), socket.try_clone().ok()?));
    Arc::new(sockets.iter().filter_map(clone).collect())
}
