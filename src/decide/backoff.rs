//! How long to wait after a failure.

use std::time::Duration;

/// The first wait; a registry that restarts is back by then.
const FIRST: Duration = Duration::from_secs(15);

/// The longest wait: a failure that lasts is still noticed to be over within the hour.
const LONGEST: Duration = Duration::from_secs(3600);

/// The wait after the `attempt`-th failure in a row (from 1): 15 s, doubling to an hour, less up to a tenth by
/// `jitter` (0 to 1) so that many do not come back at once.
pub fn retry_after(attempt: u32, jitter: f64) -> Duration {
    let doubled = FIRST.saturating_mul(2_u32.saturating_pow(attempt.saturating_sub(1)));
    doubled.min(LONGEST).mul_f64(1.0 - 0.1 * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_from_a_quarter_of_a_minute_to_an_hour() {
        let seconds = |attempt| retry_after(attempt, 0.0).as_secs();
        assert_eq!([1, 2, 3, 8, 9, 50].map(seconds), [15, 30, 60, 1920, 3600, 3600]);
        assert!(retry_after(1, 1.0) >= Duration::from_secs(13));
    }
}
