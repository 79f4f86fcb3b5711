//! Identifiers, each a type of its own so that they cannot be mixed up.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A name or address that does not have the required form.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {given:?} {problem}")]
pub struct InvalidName {
    /// What was being parsed: "app name", "listen address", …
    pub what: &'static str,
    /// The text as given.
    pub given: String,
    /// What is wrong with it and what would be right.
    pub problem: &'static str,
}

/// The name of an app: `[a-z0-9][a-z0-9_.-]*`, at most 63 characters. It becomes part of container names.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct AppName(String);

impl AppName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for AppName {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<Self, InvalidName> {
        let bad = |problem| InvalidName { what: "app name", given: s.to_owned(), problem };
        if s.is_empty() || s.len() > 63 {
            return Err(bad("must have 1 to 63 characters"));
        }
        if !s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b)) {
            return Err(bad("may hold only lower-case letters, digits, '_', '.' and '-'"));
        }
        if !s.as_bytes()[0].is_ascii_alphanumeric() {
            return Err(bad("must begin with a letter or a digit"));
        }
        Ok(Self(s.to_owned()))
    }
}

impl TryFrom<String> for AppName {
    type Error = InvalidName;
    fn try_from(s: String) -> Result<Self, InvalidName> {
        s.parse()
    }
}

impl From<AppName> for String {
    fn from(n: AppName) -> Self {
        n.0
    }
}

impl fmt::Display for AppName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a group of apps that move together; it has the form of an app's name.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct GroupName(AppName);

impl GroupName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl FromStr for GroupName {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<Self, InvalidName> {
        s.parse().map(Self).map_err(|error: InvalidName| InvalidName { what: "group name", ..error })
    }
}

impl fmt::Display for GroupName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The full id that the engine gave a container.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContainerId(pub String);

impl ContainerId {
    /// The first twelve characters, as `docker ps` shows them.
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The number of an app's version on this host: 1 for the first container, one more for each candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The one after this.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one swap: in the container's label, in the log, in the history and in the API.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SwapId(pub String);

impl fmt::Display for SwapId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An address to listen on: `:80` (every address, IPv4 and IPv6), `127.0.0.1:80` or `[::1]:80`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ListenAddr {
    ip: Option<IpAddr>,
    port: u16,
}

impl ListenAddr {
    /// The port; 0 lets the kernel choose.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// True when only processes of this host can connect.
    pub fn is_loopback(&self) -> bool {
        self.ip.is_some_and(|ip| ip.is_loopback())
    }

    /// The address to bind. Without an IP this is the IPv6 wildcard, which takes IPv4 as well on Linux.
    pub fn socket_addr(&self) -> SocketAddr {
        SocketAddr::new(self.ip.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)), self.port)
    }
}

impl FromStr for ListenAddr {
    type Err = InvalidName;
    fn from_str(s: &str) -> Result<Self, InvalidName> {
        let bad = || InvalidName {
            what: "listen address",
            given: s.to_owned(),
            problem: "must be \":PORT\", \"IP:PORT\" or \"[IPv6]:PORT\"",
        };
        if let Some(port) = s.strip_prefix(':') {
            return Ok(Self { ip: None, port: port.parse().map_err(|_| bad())? });
        }
        let addr: SocketAddr = s.parse().map_err(|_| bad())?;
        Ok(Self { ip: Some(addr.ip()), port: addr.port() })
    }
}

impl TryFrom<String> for ListenAddr {
    type Error = InvalidName;
    fn try_from(s: String) -> Result<Self, InvalidName> {
        s.parse()
    }
}

impl From<ListenAddr> for String {
    fn from(a: ListenAddr) -> Self {
        a.to_string()
    }
}

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.ip {
            None => write!(f, ":{}", self.port),
            Some(ip) => SocketAddr::new(ip, self.port).fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listen_addresses_print_as_they_were_written() {
        for text in [":80", "127.0.0.1:8080", "[::1]:443"] {
            assert_eq!(text.parse::<ListenAddr>().unwrap().to_string(), text);
        }
        assert!("80".parse::<ListenAddr>().is_err());
        assert!(":99999".parse::<ListenAddr>().is_err());
    }

    #[test]
    fn app_names_that_docker_would_refuse_are_refused_with_the_rule() {
        for (given, rule) in [("", "1 to 63"), ("Shop", "lower-case"), ("-shop", "begin"), ("a b", "lower-case")] {
            let error = given.parse::<AppName>().unwrap_err().to_string();
            assert!(error.contains(rule), "{given:?}: {error}");
        }
        assert!("shop-2.web_x".parse::<AppName>().is_ok());
    }
}
