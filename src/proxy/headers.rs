//! What a proxy must do to a message's headers (RFC 9110 7.6, RFC 7239).

use http::header::{
    CONNECTION, CONTENT_LENGTH, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::peer::Peer;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED: HeaderName = HeaderName::from_static("forwarded");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// Concern one connection and are not passed on.
const HOP_BY_HOP: [HeaderName; 8] =
    [CONNECTION, KEEP_ALIVE, PROXY_CONNECTION, TRANSFER_ENCODING, UPGRADE, TE, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION];

/// What messages are routed and framed by; naming them in `Connection` does not take them away.
const NEVER_DROPPED: [HeaderName; 2] = [HOST, CONTENT_LENGTH];

/// The protocol that a message asks to change to, if it does. HTTP/2 is none: it would carry further requests past
/// the routes (RFC 9113 3.1 has dropped it as well).
pub(super) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let protocol = headers.get(UPGRADE)?;
    let asks = tokens(headers, &CONNECTION).any(|token| token.eq_ignore_ascii_case("upgrade"));
    let http = tokens(headers, &UPGRADE).any(|token| token.get(..2).is_some_and(|h| h.eq_ignore_ascii_case("h2")));
    (asks && !http).then(|| protocol.clone())
}

/// Makes a request fit to be passed on.
pub(super) fn prepare_request(headers: &mut HeaderMap, peer: &Peer) {
    let upgrade = upgrade(headers);
    let trailers = tokens(headers, &TE).any(|token| token.eq_ignore_ascii_case("trailers"));
    drop_hop_by_hop(headers);
    // Whoever sent it gets its 100 when the body is first asked for; the target need not be waited for.
    headers.remove(EXPECT);
    if trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
    }
    restore_upgrade(headers, upgrade);
    forwarded(headers, peer);
}

/// Makes an answer fit to be passed on.
pub(super) fn prepare_response(headers: &mut HeaderMap, switching: bool) {
    let upgrade = if switching { upgrade(headers) } else { None };
    drop_hop_by_hop(headers);
    restore_upgrade(headers, upgrade);
}

fn restore_upgrade(headers: &mut HeaderMap, upgrade: Option<HeaderValue>) {
    if let Some(protocol) = upgrade {
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        headers.insert(UPGRADE, protocol);
    }
}

fn drop_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let named: Vec<HeaderName> = tokens(headers, &CONNECTION).filter_map(|token| token.parse().ok()).collect();
        for name in named.iter().filter(|name| !NEVER_DROPPED.contains(name)) {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

/// Says for whom the request is passed on; what earlier proxies said stays in front.
fn forwarded(headers: &mut HeaderMap, peer: &Peer) {
    let host = headers.get(HOST).cloned();
    append(headers, &X_FORWARDED_FOR, peer.address());
    append(headers, &FORWARDED, peer.element(host.as_ref()));
    if !headers.contains_key(X_FORWARDED_PROTO) {
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    if let Some(host) = host
        && !headers.contains_key(X_FORWARDED_HOST)
    {
        headers.insert(X_FORWARDED_HOST, host);
    }
}

fn append(headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue) {
    if !headers.contains_key(name) {
        headers.insert(name, value);
        return;
    }
    let earlier: Vec<&[u8]> = headers.get_all(name).iter().chain([&value]).map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&earlier.join(&b", "[..])) {
        headers.insert(name, joined);
    }
}

fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        lines.iter().map(|(k, v)| (k.parse::<HeaderName>().unwrap(), v.parse::<HeaderValue>().unwrap())).collect()
    }

    #[test]
    fn headers_of_the_connection_are_dropped_with_those_it_names() {
        let mut map = headers(&[
            ("host", "shop.example"),
            ("connection", "close, X-Private, Host"),
            ("x-private", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("te", "trailers, gzip"),
            ("x-public", "1"),
        ]);
        prepare_request(&mut map, &Peer::new("10.0.0.9".parse().unwrap()));
        assert!(!map.contains_key("x-private") && !map.contains_key("connection") && !map.contains_key("keep-alive"));
        assert_eq!(
            (&map["x-public"], &map["host"]),
            (&HeaderValue::from_static("1"), &HeaderValue::from_static("shop.example"))
        );
        assert_eq!(map["te"], "trailers");
    }

    #[test]
    fn an_upgrade_survives_and_the_client_is_named() {
        let mut map = headers(&[
            ("host", "shop.example"),
            ("connection", "keep-alive, Upgrade"),
            ("upgrade", "websocket"),
            ("x-forwarded-for", "1.2.3.4"),
        ]);
        prepare_request(&mut map, &Peer::new("::ffff:10.0.0.9".parse().unwrap()));
        assert_eq!(map["upgrade"], "websocket");
        assert_eq!(map["x-forwarded-for"], "1.2.3.4, 10.0.0.9");
        assert_eq!(map["forwarded"], "for=10.0.0.9;proto=http;host=\"shop.example\"");
        assert_eq!(map["x-forwarded-host"], "shop.example");
    }

    #[test]
    fn a_change_to_http2_is_not_passed_on() {
        let mut map =
            headers(&[("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c"), ("http2-settings", "AAM")]);
        assert!(upgrade(&map).is_none());
        prepare_request(&mut map, &Peer::new("10.0.0.9".parse().unwrap()));
        assert!(!map.contains_key("upgrade") && !map.contains_key("connection") && !map.contains_key("http2-settings"));
    }

    #[test]
    fn an_ipv6_client_is_quoted() {
        let mut map = HeaderMap::new();
        prepare_request(&mut map, &Peer::new("2001:db8::1".parse().unwrap()));
        assert_eq!(map["forwarded"], "for=\"[2001:db8::1]\";proto=http");
    }
}
