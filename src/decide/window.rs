//! Windows in which versions may change: `Mon-Fri 09:00-17:00 Europe/Berlin`.
//!
//! A window is the stretch of real time from its first minute to its last by the wall clock. Where clocks go forward
//! over its first minute it begins when they have; where they go back, the first of two equal minutes begins it and
//! the second ends it: it is open or shut once, not twice.

use chrono::{Datelike, Days, Duration, NaiveDate, NaiveDateTime, TimeZone};

use crate::model::{Time, Window};

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A window opens at least once in so many days, even if clocks go forward over it.
const HORIZON: u64 = 15;

const MIDNIGHT: u16 = 24 * 60;

/// Reads a window; without a zone of its own it means `zone`.
///
/// # Errors
/// A sentence that says what is wrong and what would be right.
pub fn parse(text: &str, zone: chrono_tz::Tz) -> Result<Window, String> {
    let form = || format!("{text:?} is no window; write it like `Mon-Fri 09:00-17:00 Europe/Berlin`");
    let mut words: Vec<&str> = text.split_whitespace().collect();
    let is_hours = |word: &&str| word.starts_with(|c: char| c.is_ascii_digit());
    let at = words.iter().position(is_hours).ok_or_else(form)?;
    let hours = words.remove(at);
    let (days, rest) = words.split_at(at);
    let zone = match rest {
        [] => zone,
        [name] => name.parse().map_err(|_| format!("{name:?} is no time zone; write it like `Europe/Berlin`"))?,
        _ => return Err(form()),
    };
    let days = if days.is_empty() { [true; 7] } else { parse_days(&days.concat()).map_err(|day| day_error(&day))? };
    let (from, to) = hours.split_once('-').ok_or_else(form)?;
    let (from, to) = (minutes(from).ok_or_else(form)?, minutes(to).ok_or_else(form)?);
    if from == MIDNIGHT {
        return Err(form());
    }
    if from == to {
        return Err(format!("{text:?} is open for no time at all; a whole day is `00:00-24:00`"));
    }
    Ok(Window { text: text.split_whitespace().collect::<Vec<_>>().join(" "), days, from, to, zone })
}

fn day_error(day: &str) -> String {
    format!("{day:?} is no day of the week; write them like `Mon-Fri` or `Mon,Wed,Sat`")
}

fn parse_days(text: &str) -> Result<[bool; 7], String> {
    let day = |name: &str| {
        let lower = name.to_ascii_lowercase();
        let full = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
        DAYS.iter().position(|d| *d == lower).or_else(|| full.iter().position(|d| *d == lower)).ok_or(name.to_owned())
    };
    let mut days = [false; 7];
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last) = (day(first)?, day(last)?);
        let length = (last + 7 - first) % 7;
        for (index, open) in days.iter_mut().enumerate() {
            *open |= (index + 7 - first) % 7 <= length;
        }
    }
    Ok(days)
}

/// Minutes after midnight, up to 24:00.
fn minutes(text: &str) -> Option<u16> {
    let (hour, minute) = text.split_once(':')?;
    let two = |text: &str| (text.len() <= 2 && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok());
    let (hour, minute): (u16, u16) = (two(hour)??, two(minute).filter(|_| minute.len() == 2)??);
    let all = hour * 60 + minute;
    (minute < 60 && all <= MIDNIGHT).then_some(all)
}

/// Whether one of the windows is open, and if not, when the next one opens; without windows it is always open.
///
/// # Errors
/// The time at which the next window opens; `None` if there is none within two weeks.
pub fn open(windows: &[Window], now: Time) -> Result<(), Option<Time>> {
    if windows.is_empty() {
        return Ok(());
    }
    let mut next: Option<Time> = None;
    for window in windows {
        for (from, to) in occurrences(window, now) {
            if from <= now && now < to {
                return Ok(());
            }
            if now < from {
                next = Some(next.map_or(from, |known| known.min(from)));
                break;
            }
        }
    }
    Err(next)
}

/// The stretches of time in which a window is open, from the one that began yesterday.
fn occurrences(window: &Window, now: Time) -> impl Iterator<Item = (Time, Time)> + '_ {
    let today = now.with_timezone(&window.zone).date_naive();
    let first = today.checked_sub_days(Days::new(1)).unwrap_or(today);
    let dates = (0..HORIZON).filter_map(move |n| first.checked_add_days(Days::new(n)));
    let dates = dates.filter(|date| {
        let day = date.weekday().num_days_from_monday() as usize;
        window.days.get(day).copied().unwrap_or_default()
    });
    dates.filter_map(|date| {
        let overnight = u64::from(window.to <= window.from);
        let last = date.checked_add_days(Days::new(overnight))?;
        let (from, to) = (begins(window, date)?, ends(window, last)?);
        // Clocks may have gone forward over the whole of it.
        (from < to).then_some((from, to))
    })
}

fn begins(window: &Window, date: NaiveDate) -> Option<Time> {
    let local = local(date, window.from)?;
    Some(instant(window.zone, local)?.0)
}

fn ends(window: &Window, date: NaiveDate) -> Option<Time> {
    let local = local(date, window.to)?;
    Some(instant(window.zone, local)?.1)
}

fn local(date: NaiveDate, minutes: u16) -> Option<NaiveDateTime> {
    date.and_hms_opt(0, 0, 0)?.checked_add_signed(Duration::minutes(i64::from(minutes)))
}

/// The earliest and latest instant of a wall clock's time; of one that is skipped, the instant after the gap.
fn instant(zone: chrono_tz::Tz, mut local: NaiveDateTime) -> Option<(Time, Time)> {
    // No gap is longer than a day (Samoa skipped one).
    for _ in 0..=24 * 60 {
        let found = zone.from_local_datetime(&local);
        if let (Some(earliest), Some(latest)) = (found.earliest(), found.latest()) {
            return Some((earliest.to_utc(), latest.to_utc()));
        }
        local = local.checked_add_signed(Duration::minutes(1))?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::Timelike;
    use proptest::prelude::*;

    fn window(text: &str) -> Window {
        parse(text, chrono_tz::UTC).unwrap()
    }

    fn at(text: &str) -> Time {
        text.parse().unwrap()
    }

    #[test]
    fn a_window_is_open_between_its_hours_on_its_days() {
        for (label, text, now, wanted) in [
            ("inside", "Mon-Fri 09:00-17:00", "2026-11-20T09:00:00Z", None),
            ("its last second", "Mon-Fri 09:00-17:00", "2026-11-20T16:59:59Z", None),
            ("its end", "Mon-Fri 09:00-17:00", "2026-11-20T17:00:00Z", Some("2026-11-23T09:00:00Z")),
            ("before", "Mon-Fri 09:00-17:00", "2026-11-20T08:59:59Z", Some("2026-11-20T09:00:00Z")),
            ("weekend", "Mon-Fri 09:00-17:00", "2026-11-21T12:00:00Z", Some("2026-11-23T09:00:00Z")),
            ("zone", "Mon-Fri 09:00-17:00 Europe/Berlin", "2026-11-20T08:00:00Z", None),
            ("zone, before", "09:00-17:00 Europe/Berlin", "2026-11-20T07:30:00Z", Some("2026-11-20T08:00:00Z")),
            ("zone, summer", "09:00-17:00 Europe/Berlin", "2026-07-20T06:30:00Z", Some("2026-07-20T07:00:00Z")),
            ("over midnight", "Fri 22:00-04:00", "2026-11-21T03:59:00Z", None),
            ("over midnight, begins", "Fri 22:00-04:00", "2026-11-20T22:00:00Z", None),
            ("over midnight, not Sunday", "Fri 22:00-04:00", "2026-11-22T01:00:00Z", Some("2026-11-27T22:00:00Z")),
            ("to midnight", "Sat 20:00-24:00", "2026-11-21T23:59:59Z", None),
            ("whole days", "Sat,Sun 00:00-24:00", "2026-11-22T23:59:59Z", None),
            ("round the week", "Sat-Mon 10:00-11:00", "2026-11-23T10:30:00Z", None),
            ("full names", "saturday,MONDAY 10:00-11:00", "2026-11-22T10:30:00Z", Some("2026-11-23T10:00:00Z")),
            // Clocks go from 02:00 to 03:00 on 2026-03-29, and from 03:00 to 02:00 on 2026-10-25.
            ("begins in the gap", "02:30-05:00 Europe/Berlin", "2026-03-29T00:59:00Z", Some("2026-03-29T01:00:00Z")),
            ("lies in the gap", "02:15-02:45 Europe/Berlin", "2026-03-29T00:59:00Z", Some("2026-03-30T00:15:00Z")),
            ("ends in the repeated hour", "01:00-02:30 Europe/Berlin", "2026-10-25T01:15:00Z", None),
            ("ended", "01:00-02:30 Europe/Berlin", "2026-10-25T01:30:00Z", Some("2026-10-26T00:00:00Z")),
            ("begins at the first of two", "02:30-04:00 Europe/Berlin", "2026-10-25T00:30:00Z", None),
            (
                "a day that never was",
                "Fri 10:00-11:00 Pacific/Apia",
                "2011-12-30T20:30:00Z",
                Some("2012-01-05T20:00:00Z"),
            ),
        ] {
            let found = open(&[window(text)], at(now));
            assert_eq!(found.err(), wanted.map(|wanted| Some(at(wanted))), "{label}");
        }
    }

    #[test]
    fn of_several_the_next_counts_and_none_at_all_means_always() {
        let windows = [window("Sat 10:00-11:00"), window("Tue 10:00-11:00 Asia/Tokyo")];
        assert_eq!(open(&windows, at("2026-11-22T10:00:00Z")), Err(Some(at("2026-11-24T01:00:00Z"))));
        assert_eq!(open(&windows, at("2026-11-21T10:00:00Z")), Ok(()));
        assert_eq!(open(&[], at("2026-11-21T10:00:00Z")), Ok(()));
    }

    #[test]
    fn what_is_no_window_is_told_with_one_that_is() {
        for (text, wanted) in [
            ("", "`Mon-Fri 09:00-17:00 Europe/Berlin`"),
            ("Mon-Fri", "`Mon-Fri 09:00-17:00 Europe/Berlin`"),
            ("9-17", "`Mon-Fri 09:00-17:00 Europe/Berlin`"),
            ("09:00-25:00", "`Mon-Fri 09:00-17:00 Europe/Berlin`"),
            ("09:60-10:00", "`Mon-Fri 09:00-17:00 Europe/Berlin`"),
            ("24:00-10:00", "`Mon-Fri 09:00-17:00 Europe/Berlin`"),
            ("Mon 09:00-10:00 UTC x", "`Mon-Fri 09:00-17:00 Europe/Berlin`"),
            ("Mondy 09:00-10:00", "\"Mondy\" is no day"),
            ("Mon--Fri 09:00-10:00", "is no day"),
            ("09:00-10:00 Berlin", "\"Berlin\" is no time zone"),
            ("09:00-09:00", "`00:00-24:00`"),
        ] {
            let told = parse(text, chrono_tz::UTC).unwrap_err();
            assert!(told.contains(wanted), "{text}: {told}");
        }
    }

    fn any_window() -> impl Strategy<Value = Window> {
        let zones = [chrono_tz::UTC, chrono_tz::Europe::Berlin, chrono_tz::America::St_Johns, chrono_tz::Pacific::Apia];
        let days = prop::array::uniform7(any::<bool>()).prop_filter("a day", |days| days.iter().any(|day| *day));
        (days, 0..MIDNIGHT, 1..=MIDNIGHT, prop::sample::select(zones.to_vec()))
            .prop_filter("not empty", |(_, from, to, _)| from != to)
            .prop_map(|(days, from, to, zone)| Window { text: String::new(), days, from, to, zone })
    }

    /// By the wall clock alone, which is right where no clock is changed nearby.
    fn by_the_clock(window: &Window, now: Time) -> bool {
        let local = now.with_timezone(&window.zone);
        let minute = u16::try_from(local.hour() * 60 + local.minute()).unwrap();
        let day = local.weekday().num_days_from_monday() as usize;
        if window.from < window.to {
            return window.days[day] && (window.from..window.to).contains(&minute);
        }
        (window.days[day] && minute >= window.from) || (window.days[(day + 6) % 7] && minute < window.to)
    }

    proptest! {
        #[test]
        fn a_window_agrees_with_the_wall_clock(window in any_window(), minutes in 0i64..60 * 24 * 700) {
            let now = at("2025-06-01T00:00:00Z") + Duration::minutes(minutes);
            let offset = |time: Time| time.with_timezone(&window.zone).naive_local() - time.naive_utc();
            prop_assume!(offset(now - Duration::days(2)) == offset(now + Duration::days(2)));
            prop_assert_eq!(open(std::slice::from_ref(&window), now).is_ok(), by_the_clock(&window, now));
        }

        #[test]
        fn the_next_opening_is_open_and_nothing_before_it_is(window in any_window(), minutes in 0i64..60 * 24 * 700) {
            let now = at("2025-06-01T00:00:00Z") + Duration::minutes(minutes);
            if let Err(next) = open(std::slice::from_ref(&window), now) {
                let next = next.unwrap();
                prop_assert!(next > now && next - now < Duration::days(15));
                prop_assert!(open(std::slice::from_ref(&window), next).is_ok());
                for part in 0..50 {
                    let before = now + (next - now) * part / 50;
                    prop_assert!(open(std::slice::from_ref(&window), before).is_err(), "{}", before);
                }
            }
        }

        #[test]
        fn any_text_is_a_window_or_refused(text in "[ -~]{0,40}") {
            if let Ok(window) = parse(&text, chrono_tz::UTC) {
                prop_assert!(window.from != window.to && window.days.contains(&true));
                prop_assert_eq!(parse(&window.text, chrono_tz::UTC).unwrap(), window);
            }
        }
    }
}
