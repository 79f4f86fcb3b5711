//! Listening sockets: binding them, passing them to a child, and taking them over from a parent or from systemd.
//!
//! The protocol is systemd's (`sd_listen_fds(3)`): descriptors from 3 on, their number in `LISTEN_FDS`, their names in
//! `LISTEN_FDNAMES`.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use listenfd::ListenFd;

use crate::model::ListenAddr;

/// Names of the passed descriptors, colon-separated. A listen address has colons itself, so each is percent-encoded.
pub const NAMES: &str = "LISTEN_FDNAMES";

/// The number of passed descriptors.
pub const COUNT: &str = "LISTEN_FDS";

/// An address that can't be listened on, with what to do about it.
#[derive(Debug, thiserror::Error)]
#[error("failed to listen on {address}: {advice}")]
pub struct BindError {
    /// The address.
    pub address: String,
    /// What is in the way.
    pub advice: &'static str,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl BindError {
    /// Whether it is taken, which may end.
    pub fn is_in_use(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }
}

/// Binds an address. `:80` takes IPv6 and IPv4, or IPv4 alone where there is no IPv6.
///
/// # Errors
/// When it is taken, not ours, or not allowed.
pub fn bind(address: &ListenAddr) -> Result<TcpListener, BindError> {
    let mut bound = TcpListener::bind(address.socket_addr());
    if bound.is_err() && address.to_string().starts_with(':') && !has_ipv6() {
        bound = TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port()));
    }
    bound.map_err(|source| BindError {
        address: address.to_string(),
        advice: match source.kind() {
            io::ErrorKind::AddrInUse => "another program listens there (`ss -ltnp` names it)",
            io::ErrorKind::PermissionDenied => "a port below 1024 needs root or CAP_NET_BIND_SERVICE",
            io::ErrorKind::AddrNotAvailable => "this host has no such address",
            _ => "the system refused",
        },
        source,
    })
}

fn has_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

/// The sockets that a parent or systemd passed, with their names; empty when there are none. Can be taken once.
pub fn inherited() -> Vec<(String, TcpListener)> {
    let names = std::env::var(NAMES).unwrap_or_default();
    let names: Vec<String> = names.split(':').map(decoded).collect();
    let mut passed = ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..passed.len() {
        match passed.take_tcp_listener(index) {
            Ok(Some(socket)) => sockets.push((names.get(index).cloned().unwrap_or_default(), socket)),
            Ok(None) => {}
            Err(error) => tracing::warn!(index, %error, "a passed descriptor is no TCP listener"),
        }
    }
    sockets
}

/// Takes the socket for an address out of those that were passed: by name, or by what it is bound to.
pub fn take(passed: &mut Vec<(String, TcpListener)>, address: &ListenAddr) -> Option<TcpListener> {
    let wanted = address.to_string();
    let fits = |(name, socket): &(String, TcpListener)| {
        *name == wanted || socket.local_addr().is_ok_and(|local| same(local, address))
    };
    let index = passed.iter().position(fits)?;
    Some(passed.swap_remove(index).1)
}

fn same(local: SocketAddr, address: &ListenAddr) -> bool {
    let wildcard = address.socket_addr().ip().is_unspecified() && local.ip().is_unspecified();
    local.port() == address.port() && (wildcard || local.ip() == address.socket_addr().ip())
}

/// A name as it stands in `LISTEN_FDNAMES`.
pub fn encoded(name: &str) -> String {
    name.replace('%', "%25").replace(':', "%3A")
}

fn decoded(name: &str) -> String {
    name.replace("%3A", ":").replace("%25", "%")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_colons_survives() {
        for name in [":80", "[::1]:80", "100%:x", "api"] {
            assert_eq!(decoded(&encoded(name)), name);
            assert!(!encoded(name).contains(':'));
        }
    }

    #[test]
    fn an_address_in_use_says_how_to_find_out_by_whom() {
        let taken = bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let address = taken.local_addr().unwrap().to_string().parse().unwrap();
        assert!(bind(&address).unwrap_err().to_string().contains("ss -ltnp"));
    }

    #[test]
    fn a_passed_socket_is_found_by_name_or_by_address() {
        let bound = bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
        let address: ListenAddr = bound.local_addr().unwrap().to_string().parse().unwrap();
        let mut passed = vec![("shop".to_owned(), bound)];
        assert!(take(&mut passed, &":1".parse().unwrap()).is_none());
        assert!(take(&mut passed, &address).is_some() && passed.is_empty());
    }
}
