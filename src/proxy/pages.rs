//! The few answers that are the proxy's own.

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::body::Body;

/// A page for a status: HTML for a browser, a line of text for everyone else.
pub(super) fn page(status: StatusCode, explanation: &str, request: &HeaderMap) -> Response<Body> {
    let html = request.get(ACCEPT).and_then(|v| v.to_str().ok()).is_some_and(|accept| accept.contains("text/html"));
    let title = status.canonical_reason().unwrap_or("Error");
    let (kind, text) = if html {
        (
            "text/html; charset=utf-8",
            format!(
                "<!doctype html><meta name=viewport content=\"width=device-width\"><title>{title}</title>\
                 <style>body{{font:16px/1.5 system-ui;margin:20vh auto;max-width:30em;padding:0 1em;color:#444}}\
                 h1{{font-size:1.3em;color:#111}}</style><h1>{code} {title}</h1><p>{explanation}</p>\n",
                code = status.as_u16()
            ),
        )
    } else {
        ("text/plain; charset=utf-8", format!("{title}: {explanation}\n"))
    };
    let mut response = Response::new(Body::Own(Some(Bytes::from(text))));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}
