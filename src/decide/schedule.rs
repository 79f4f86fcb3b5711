//! When is the registry asked next?

use std::str::FromStr;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use cron::Schedule as Cron;

use crate::model::{Schedule, Time};

/// At the start checks are spread over at most so long.
const START_SPREAD: Duration = Duration::from_secs(30);

/// A cron time is missed by at most so much.
const CRON_JITTER: Duration = Duration::from_secs(10);

/// A cron expression that can't be understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "cron expression {expression:?} is not valid ({problem}); it has 5 fields (minute first), or 6 or 7 with seconds first"
)]
pub struct InvalidCron {
    /// As given.
    pub expression: String,
    /// What the parser said.
    pub problem: String,
}

/// Checks an expression and brings it to the form with seconds.
///
/// # Errors
/// When the `cron` crate does not accept it or it never comes true.
pub fn parse_cron(expression: &str) -> Result<String, InvalidCron> {
    let fields = expression.split_whitespace().count();
    let full = if fields == 5 { format!("0 {expression}") } else { expression.to_owned() };
    match Cron::from_str(&full) {
        Ok(_) => Ok(full),
        Err(error) => Err(InvalidCron { expression: expression.to_owned(), problem: one_line(&error.to_string()) }),
    }
}

/// The parser draws arrows under the text; the last line says what is wrong.
fn one_line(problem: &str) -> String {
    problem.lines().last().unwrap_or_default().trim_start_matches('^').trim().trim_end_matches('.').to_owned()
}

/// The time of the next check. `last` is the last one, `None` at the start; `jitter` is a random number from 0 to 1.
/// Times that were missed are not made up for.
pub fn next_check(schedule: &Schedule, last: Option<Time>, now: Time, jitter: f64) -> Time {
    let jitter = jitter.clamp(0.0, 1.0);
    match (schedule, last) {
        (Schedule::Every(every), None) => now + delta((*every).min(START_SPREAD).mul_f64(jitter)),
        (Schedule::Every(every), Some(last)) => {
            let next = last + delta(every.mul_f64(0.9 + 0.2 * jitter));
            next.max(now)
        }
        (Schedule::Cron { expression, zone }, _) => {
            let occurrence = Cron::from_str(expression)
                .ok()
                .and_then(|cron| cron.after(&now.with_timezone(zone)).next())
                .map(|at| at.with_timezone(&Utc));
            // An expression that never comes true again: look once a day, which does no harm.
            let next = occurrence.unwrap_or(now + TimeDelta::days(1));
            next + delta(CRON_JITTER.mul_f64(jitter))
        }
    }
}

fn delta(duration: Duration) -> TimeDelta {
    TimeDelta::from_std(duration).unwrap_or(TimeDelta::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> Time {
        text.parse().unwrap()
    }

    #[test]
    fn cron_follows_the_wall_clock_of_its_zone_over_the_change_to_summer_time() {
        let schedule = Schedule::Cron { expression: "0 30 2 * * *".into(), zone: chrono_tz::Europe::Berlin };
        // On 2026-03-29 there is no 02:30 in Berlin: the next one is a day later.
        let next = next_check(&schedule, None, at("2026-03-28T12:00:00Z"), 0.0);
        assert_eq!(next, at("2026-03-30T00:30:00Z"));
    }

    #[test]
    fn five_fields_begin_with_the_minute() {
        assert_eq!(parse_cron("*/5 * * * *").unwrap(), "0 */5 * * * *");
        assert!(parse_cron("99 * * * *").unwrap_err().to_string().contains("99 * * * *"));
    }

    proptest! {
        #[test]
        fn checks_are_never_in_the_past_and_never_much_later_than_asked(
            every in 1u64..100_000, behind in 0i64..1_000_000, jitter in 0.0f64..1.0,
        ) {
            let now = at("2026-01-01T00:00:00Z");
            let schedule = Schedule::Every(Duration::from_secs(every));
            let next = next_check(&schedule, Some(now - TimeDelta::seconds(behind)), now, jitter);
            prop_assert!(next >= now);
            prop_assert!((next - now).to_std().unwrap() <= Duration::from_secs(every).mul_f64(1.1));
            let first = next_check(&schedule, None, now, jitter);
            prop_assert!(first >= now && (first - now).num_seconds() <= 30);
        }

        #[test]
        fn rubbish_is_no_cron_expression_and_no_panic(text in ".{0,40}") {
            let _ = parse_cron(&text);
        }
    }
}
