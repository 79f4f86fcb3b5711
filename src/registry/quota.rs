//! What a registry says about its rate limit and about waiting.

use http::HeaderMap;
use http::header::RETRY_AFTER;
use tokio::time::Duration;

use crate::model::{Quota, Time};

/// Whoever looks leaves a tenth of the limit to pulls.
const FOR_PULLS: u64 = 10;

/// A reset that is larger is a Unix time and not a number of seconds.
const SURELY_A_TIME: u64 = 1_000_000_000;

/// Reads what a registry says of its rate limit, in the spellings that there are: Docker Hub's `ratelimit-limit: 100;w=21600`
/// and `ratelimit-remaining: 20;w=21600`, with or without the window; with `x-` and `x-rate-limit-`; `…-reset` in seconds or
/// as a Unix time; and the one header of the IETF drafts (`ratelimit: limit=100, remaining=50, reset=30`, and
/// `ratelimit: "default";r=50;t=30` with `ratelimit-policy: "default";q=100;w=60`).
pub(super) fn quota(headers: &HeaderMap, now: Time) -> Option<Quota> {
    let of = |what: &str| {
        let names = ["ratelimit-", "x-ratelimit-", "x-rate-limit-"];
        let text = names.iter().find_map(|prefix| headers.get(format!("{prefix}{what}")))?.to_str().ok()?;
        Some((text.split([';', ',']).next()?.trim().parse::<u64>().ok()?, named(text, "w")))
    };
    let (limit, remaining, reset) = (of("limit"), of("remaining"), of("reset"));
    let line = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let (draft, policy) = (line("ratelimit"), line("ratelimit-policy"));
    let window = limit.and_then(|(_, window)| window).or_else(|| remaining.and_then(|(_, window)| window));
    let limit = limit.map(|(number, _)| number).or_else(|| named(draft, "limit")).or_else(|| named(policy, "q"));
    let remaining =
        remaining.map(|(number, _)| number).or_else(|| named(draft, "remaining")).or_else(|| named(draft, "r"));
    if limit.is_none() && remaining.is_none() {
        return None;
    }
    let reset = reset.map(|(number, _)| number).or_else(|| named(draft, "reset")).or_else(|| named(draft, "t"));
    let unix = u64::try_from(now.timestamp()).unwrap_or_default();
    Some(Quota {
        limit,
        remaining,
        window_seconds: window.or_else(|| named(policy, "w")),
        resets_seconds: reset.map(|reset| if reset >= SURELY_A_TIME { reset.saturating_sub(unix) } else { reset }),
        looks_count: false,
        at: now,
    })
}

/// A number by its name among parameters: `w` of `100;w=21600`.
fn named(text: &str, name: &str) -> Option<u64> {
    let parts = text.split([';', ',']);
    parts.filter_map(|part| part.trim().split_once('=')).find(|(key, _)| key.trim() == name)?.1.trim().parse().ok()
}

/// How far apart the looks at each of `watched` tags have to be, for what is left to last until the window ends.
pub(super) fn spacing(quota: &Quota, watched: usize, now: Time) -> Option<Duration> {
    if !quota.looks_count {
        return None;
    }
    let window = i64::try_from(quota.resets_seconds.or(quota.window_seconds)?).ok()?;
    let left = (quota.at + chrono::Duration::try_seconds(window)? - now).to_std().ok()?;
    let remaining = quota.remaining?;
    let usable = remaining.saturating_sub(quota.limit.unwrap_or(remaining) / FOR_PULLS);
    let looks = u32::try_from(usable).unwrap_or(u32::MAX);
    let watched = u32::try_from(watched.max(1)).unwrap_or(u32::MAX);
    Some(left.saturating_mul(watched).checked_div(looks).unwrap_or(left).min(left))
}

/// How long to wait: `Retry-After` in seconds or as a date (RFC 9110 10.2.3, with the two older forms of dates), the same
/// under other names, or GHCR's words in the body (`retry-after: 880.092µs`).
pub(super) fn retry_after(headers: &HeaderMap, body: &str, now: Time) -> Option<Duration> {
    let names = [RETRY_AFTER.as_str(), "x-retry-after", "x-ratelimit-retry-after"];
    let said = names.iter().filter_map(|name| headers.get(*name)?.to_str().ok()).find_map(|text| wait(text, now));
    said.or_else(|| {
        let words = body.to_ascii_lowercase();
        let words = words.split_once("retry-after:")?.1.trim_start().to_owned();
        let end = words.find([',', '"', ' ', '\n']).unwrap_or(words.len());
        wait(words.get(..end)?, now)
    })
}

fn wait(text: &str, now: Time) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let until = |at: Time| (at - now).to_std().unwrap_or_default();
    if let Ok(at) = chrono::DateTime::parse_from_rfc2822(text) {
        return Some(until(at.to_utc()));
    }
    let older = ["%A, %d-%b-%y %H:%M:%S GMT", "%a %b %e %H:%M:%S %Y"];
    let date = older.iter().find_map(|form| chrono::NaiveDateTime::parse_from_str(text, form).ok());
    date.map(|at| until(at.and_utc())).or_else(|| go_duration(text))
}

/// Go's notation of a duration: `1m30s`, `880.092µs`.
fn go_duration(text: &str) -> Option<Duration> {
    let (mut rest, mut sum) = (text, Duration::ZERO);
    while !rest.is_empty() {
        let unit = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(unit);
        let end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(end);
        let seconds = match unit {
            "ns" => 1e-9,
            "µs" | "us" | "\u{3bc}s" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        sum += Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        rest = after;
    }
    (!text.is_empty()).then_some(sum)
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
        let seconds = |seconds: f64| Some(Duration::from_secs_f64(seconds));
        for (name, value, wait) in [
            ("retry-after", "Thu, 01 Jan 2026 00:01:00 GMT", seconds(60.0)),
            ("retry-after", "Thursday, 01-Jan-26 00:01:00 GMT", seconds(60.0)),
            ("retry-after", "Thu Jan  1 00:01:00 2026", seconds(60.0)),
            ("retry-after", "Wed, 31 Dec 2025 23:59:00 GMT", seconds(0.0)),
            ("retry-after", "7", seconds(7.0)),
            ("retry-after", "1.5", seconds(1.5)),
            ("retry-after", "1m30s", seconds(90.0)),
            ("x-retry-after", "7", seconds(7.0)),
            ("x-ratelimit-retry-after", "7", seconds(7.0)),
            ("retry-after", "-1", None),
            ("retry-after", "soon", None),
            ("retry-after", "", None),
        ] {
            assert_eq!(retry_after(&headers(&[(name, value)]), "", now()), wait, "{name}: {value}");
        }
        let words = "toomanyrequests: retry-after: 880.092\u{b5}s, allowed: 44000/minute";
        assert_eq!(retry_after(&HeaderMap::new(), words, now()), Some(Duration::from_nanos(880_092)));
        assert_eq!(retry_after(&HeaderMap::new(), "{\"message\":\"Retry-After: 1h2m\"}", now()), seconds(3720.0));
        assert_eq!(retry_after(&HeaderMap::new(), "too many", now()), None);
    }

    #[test]
    fn the_rate_limit_is_read_in_every_spelling() {
        for (lines, read) in [
            (
                vec![("ratelimit-limit", "100;w=21600"), ("ratelimit-remaining", "20;w=21600")],
                Some((Some(100), Some(20), Some(21600), None)),
            ),
            (
                vec![("x-ratelimit-limit", "100"), ("x-ratelimit-remaining", "20"), ("x-ratelimit-reset", "30")],
                Some((Some(100), Some(20), None, Some(30))),
            ),
            // 2026-01-01T00:01:00Z
            (
                vec![("x-rate-limit-remaining", "20"), ("x-rate-limit-reset", "1767225660")],
                Some((None, Some(20), None, Some(60))),
            ),
            (vec![("ratelimit", "limit=100, remaining=50, reset=30")], Some((Some(100), Some(50), None, Some(30)))),
            (
                vec![("ratelimit", "\"default\";r=50;t=30"), ("ratelimit-policy", "\"default\";q=100;w=60")],
                Some((Some(100), Some(50), Some(60), Some(30))),
            ),
            (vec![("ratelimit-limit", "unlimited")], None),
            (vec![], None),
        ] {
            let quota = quota(&headers(&lines), now());
            let found = quota.map(|q| (q.limit, q.remaining, q.window_seconds, q.resets_seconds));
            assert_eq!(found, read, "{lines:?}");
        }
    }

    #[test]
    fn what_is_left_lasts_until_the_window_ends() {
        let quota = |limit, remaining, window, looks_count| Quota {
            limit: Some(limit),
            remaining: Some(remaining),
            window_seconds: Some(window),
            resets_seconds: None,
            looks_count,
            at: now(),
        };
        for (label, quota, watched, seconds) in [
            ("looks are free", quota(100, 1, 3600, false), 10, None),
            ("one tag, 90 looks in an hour", quota(100, 100, 3600, true), 1, Some(40)),
            ("ten tags share them", quota(100, 100, 3600, true), 10, Some(400)),
            ("what is kept for pulls is left", quota(100, 10, 3600, true), 1, Some(3600)),
            ("nothing is left", quota(100, 0, 3600, true), 1, Some(3600)),
            ("plenty", quota(44_000, 44_000, 60, true), 1, Some(0)),
        ] {
            let found = spacing(&quota, watched, now());
            assert_eq!(found.map(|d| d.as_secs()), seconds, "{label}");
            assert_eq!(
                spacing(&quota, watched, now() + chrono::Duration::hours(2)),
                None,
                "{label}: the window is over"
            );
        }
    }
}
