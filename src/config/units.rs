//! Texts with a unit → values.

use std::time::Duration;

use crate::model::RestartPolicy;

/// `30s`, `5m`, `1h 30m`.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text.trim())
        .map_err(|_| format!("{text:?} is no duration; write it like `30s`, `5m` or `1h 30m`"))
}

/// As `duration`, but not zero.
pub(super) fn period(text: &str) -> Result<Duration, String> {
    match duration(text)? {
        Duration::ZERO => Err("must be longer than nothing".to_owned()),
        duration => Ok(duration),
    }
}

/// `512MB`, `1GiB`, `1048576`; powers of 1024 as Docker has them.
pub(super) fn size(text: &str) -> Result<u64, String> {
    let parsed = parse_size::Config::new().with_binary().parse_size(text.trim());
    parsed.map_err(|_| format!("{text:?} is no size; write it like `512MB` or `1GiB`"))
}

/// `no`, `always`, `unless-stopped`, `on-failure`, `on-failure:5`.
pub(super) fn restart(text: &str) -> Result<RestartPolicy, String> {
    let wrong = || format!("{text:?} must be no, always, unless-stopped, on-failure or on-failure:5");
    match text.split_once(':') {
        Some(("on-failure", times)) => times.parse().map(RestartPolicy::OnFailure).map_err(|_| wrong()),
        None => match text {
            "no" | "false" => Ok(RestartPolicy::No),
            "always" => Ok(RestartPolicy::Always),
            "unless-stopped" => Ok(RestartPolicy::UnlessStopped),
            "on-failure" => Ok(RestartPolicy::OnFailure(0)),
            _ => Err(wrong()),
        },
        Some(_) => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_understood_and_rubbish_is_told_with_an_example() {
        assert_eq!(duration("1m 30s").unwrap(), Duration::from_secs(90));
        assert!(duration("soon").unwrap_err().contains("`30s`"));
        assert!(period("0s").is_err());
        assert_eq!(size("512MB").unwrap(), 512 << 20);
        assert!(size("big").unwrap_err().contains("`512MB`"));
        assert_eq!(restart("on-failure:3").unwrap(), RestartPolicy::OnFailure(3));
        assert!(restart("sometimes").unwrap_err().contains("unless-stopped"));
    }
}
