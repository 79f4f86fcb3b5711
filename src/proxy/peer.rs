//! Who is at the other end of a client's connection, as headers say it: made once, not for every request.

use std::net::IpAddr;
use std::sync::Mutex;

use http::HeaderValue;

/// A client.
#[derive(Debug)]
pub(super) struct Peer {
    ip: IpAddr,
    address: HeaderValue,
    /// For the host that was asked for last: nearly always the next one's, too.
    element: Mutex<Option<(Option<HeaderValue>, HeaderValue)>>,
}

impl Peer {
    /// An IPv4 client of an IPv6 socket is an IPv4 client.
    pub(super) fn new(ip: IpAddr) -> Self {
        let ip = ip.to_canonical();
        let address = HeaderValue::from_str(&ip.to_string()).expect("an address is made of visible characters");
        Self { ip, address, element: Mutex::new(None) }
    }

    /// As `X-Forwarded-For` has it.
    pub(super) fn address(&self) -> HeaderValue {
        self.address.clone()
    }

    /// As `Forwarded` has it (RFC 7239 4).
    pub(super) fn element(&self, host: Option<&HeaderValue>) -> HeaderValue {
        let mut last = self.element.lock().expect("no holder panics");
        if let Some((of, element)) = &*last
            && of.as_ref() == host
        {
            return element.clone();
        }
        let element = element(self.ip, host);
        *last = Some((host.cloned(), element.clone()));
        element
    }
}

fn element(client: IpAddr, host: Option<&HeaderValue>) -> HeaderValue {
    let node = if client.is_ipv6() { format!("\"[{client}]\"") } else { client.to_string() };
    let host = host.and_then(|host| host.to_str().ok()).filter(|host| !host.contains(['"', '\\']));
    let host = host.map(|host| format!(";host=\"{host}\"")).unwrap_or_default();
    HeaderValue::from_str(&format!("for={node};proto=http{host}")).expect("made of visible characters")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_element_names_the_host_of_this_request() {
        let peer = Peer::new("::ffff:10.0.0.9".parse().unwrap());
        for (host, wanted) in [
            (Some("a.example"), "for=10.0.0.9;proto=http;host=\"a.example\""),
            (Some("a.example"), "for=10.0.0.9;proto=http;host=\"a.example\""),
            (Some("b.example"), "for=10.0.0.9;proto=http;host=\"b.example\""),
            (Some("quo\"ted"), "for=10.0.0.9;proto=http"),
            (None, "for=10.0.0.9;proto=http"),
        ] {
            let host = host.map(HeaderValue::from_static);
            assert_eq!(peer.element(host.as_ref()), wanted, "{host:?}");
        }
    }
}
