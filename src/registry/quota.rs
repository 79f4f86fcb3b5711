//! What a registry says about its rate limit and about waiting.

use http::HeaderMap;
use http::header::RETRY_AFTER;
use tokio::time::Duration;

use crate::model::{Quota, Time};

/// Reads `ratelimit-limit: 100;w=21600` and `ratelimit-remaining: 20;w=21600` (Docker Hub), with or without the window
/// and in the spellings with `x-`.
pub(super) fn quota(headers: &HeaderMap, now: Time) -> Option<Quota> {
    let of = |names: [&str; 2]| -> Option<(u64, Option<u64>)> {
        let text = names.iter().find_map(|name| headers.get(*name))?.to_str().ok()?;
        let mut parts = text.split([';', ',']);
        let number = parts.next()?.trim().parse().ok()?;
        let window = parts.find_map(|part| part.trim().strip_prefix("w=")?.parse().ok());
        Some((number, window))
    };
    let limit = of(["ratelimit-limit", "x-ratelimit-limit"]);
    let remaining = of(["ratelimit-remaining", "x-ratelimit-remaining"]);
    if limit.is_none() && remaining.is_none() {
        return None;
    }
    Some(Quota {
        limit: limit.map(|(number, _)| number),
        remaining: remaining.map(|(number, _)| number),
        window_seconds: limit.or(remaining).and_then(|(_, window)| window),
        at: now,
    })
}

/// How long to wait: `Retry-After` in seconds or as a date (RFC 9110 10.2.3), or GHCR's words in the body
/// (`retry-after: 880.092µs`).
pub(super) fn retry_after(headers: &HeaderMap, body: &str, now: Time) -> Option<Duration> {
    if let Some(text) = headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()) {
        let text = text.trim();
        if let Ok(seconds) = text.parse::<u64>() {
            return Some(Duration::from_secs(seconds));
        }
        if let Ok(at) = chrono::DateTime::parse_from_rfc2822(text) {
            return Some((at.to_utc() - now).to_std().unwrap_or_default());
        }
    }
    let words = body.split_once("retry-after:")?.1.trim_start();
    let end = words.find([',', '"', ' ', '\n']).unwrap_or(words.len());
    go_duration(words.get(..end)?)
}

/// Go's notation of a duration, as far as it is a single number with a unit.
fn go_duration(text: &str) -> Option<Duration> {
    let split = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(split);
    let seconds = match unit {
        "ns" => 1e-9,
        "µs" | "us" | "\u{3bc}s" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(k, v)| (http::HeaderName::from_static(k), http::HeaderValue::from_static(v))).collect()
    }

    fn now() -> Time {
        "2026-01-01T00:00:00Z".parse().unwrap()
    }

    #[test]
    fn waits_are_read_in_every_spelling() {
        let date = headers(&[("retry-after", "Thu, 01 Jan 2026 00:01:00 GMT")]);
        assert_eq!(retry_after(&date, "", now()), Some(Duration::from_secs(60)));
        assert_eq!(retry_after(&headers(&[("retry-after", "7")]), "", now()), Some(Duration::from_secs(7)));
        let words = "toomanyrequests: retry-after: 880.092\u{b5}s, allowed: 44000/minute";
        assert_eq!(retry_after(&HeaderMap::new(), words, now()), Some(Duration::from_nanos(880_092)));
        assert_eq!(retry_after(&HeaderMap::new(), "too many", now()), None);
    }

    #[test]
    fn the_rate_limit_is_read_with_its_window() {
        let hub = headers(&[("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "20;w=21600")]);
        let quota = quota(&hub, now()).unwrap();
        assert_eq!((quota.limit, quota.remaining, quota.window_seconds), (Some(100), Some(20), Some(21600)));
        assert_eq!(super::quota(&HeaderMap::new(), now()), None);
    }
}
