//! Tags by a regular expression, and forms of dates that become one.
//!
//! `regex-lite` and not `regex`: an expression there takes hundreds of kilobytes with its tables, here a few; tags are
//! short, and the time is linear in both. An expression is compiled for one look at the tags and dropped again.

use std::cmp::Ordering;

use regex_lite::{Regex, RegexBuilder};

use super::number::{Number, natural};
use crate::model::TagOrder;

/// A longer expression is a mistake.
const LONGEST: usize = 1000;

/// Bytes that a compiled expression may take: `(\d{1000}){1000}` is refused, not compiled.
const LARGEST: usize = 1 << 20;

/// The fields of a form, the longest first; each is compared as a number.
const FIELDS: [(&str, &str); 12] = [
    ("YYYY", r"\d{4}"),
    ("MAJOR", r"\d+"),
    ("MINOR", r"\d+"),
    ("MICRO", r"\d+"),
    ("PATCH", r"\d+"),
    ("YY", r"\d{1,3}"),
    ("0Y", r"\d{2,3}"),
    ("MM", r"(?:1[0-2]|0?[1-9])"),
    ("0M", r"(?:0[1-9]|1[0-2])"),
    ("WW", r"(?:[1-4]\d|5[0-3]|0?[1-9])"),
    ("DD", r"(?:[12]\d|3[01]|0?[1-9])"),
    ("0D", r"(?:0[1-9]|[12]\d|3[01])"),
];

/// A compiled expression and what is compared.
#[derive(Debug)]
pub(super) struct Pattern {
    regex: Regex,
    groups: Vec<usize>,
    order: TagOrder,
}

/// What a tag is compared by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key<'t>(Vec<Option<&'t str>>);

/// A tag that the expression does not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    NoMatch,
    NoNumber,
}

impl Pattern {
    /// Compiles an expression. The error is a fragment that says what is wrong with it.
    pub(super) fn new(pattern: &str, order: TagOrder) -> Result<Self, String> {
        if pattern.is_empty() || pattern.len() > LONGEST {
            return Err(format!("must have 1 to {LONGEST} characters"));
        }
        let compile = |text: &str| RegexBuilder::new(text).size_limit(LARGEST).build();
        // Alone first: with brackets around it, `a)(b` would pass, and the error would show what nobody wrote.
        compile(pattern).map_err(|error| format!("{pattern:?} is no regular expression: {error}"))?;
        let whole = format!("^(?:{pattern})$");
        let regex = compile(&whole).map_err(|error| format!("{pattern:?} is no regular expression: {error}"))?;
        let named: Vec<usize> =
            regex.capture_names().enumerate().filter_map(|(place, name)| name.map(|_| place)).collect();
        let groups = if named.is_empty() { (1..regex.captures_len()).collect() } else { named };
        if groups.is_empty() && order == TagOrder::Numeric {
            return Err(format!("{pattern:?} has no group whose number could be compared, such as `(?P<n>\\d+)`"));
        }
        Ok(Self { regex, groups, order })
    }

    /// Has a group to compare by.
    pub(super) fn has_groups(pattern: &str) -> bool {
        Self::new(pattern, TagOrder::Numeric).is_ok()
    }

    /// A form of dates and counters, as an expression.
    pub(super) fn calver(format: &str) -> Result<String, String> {
        let (mut expression, mut rest, mut fields) = (String::new(), format, 0_usize);
        while let Some(next) = rest.chars().next() {
            if let Some((name, field)) = FIELDS.iter().find(|(name, _)| rest.starts_with(name)) {
                fields += 1;
                expression.push_str(&format!("(?P<f{fields}>{field})"));
                rest = rest.get(name.len()..).unwrap_or_default();
            } else if next.is_ascii_uppercase() || next.is_ascii_digit() || !(next.is_ascii_graphic()) {
                let names: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
                return Err(format!("{format:?} has {rest:?}, which begins with none of {}", names.join(", ")));
            } else {
                expression.push_str(&regex_lite::escape(&next.to_string()));
                rest = rest.get(next.len_utf8()..).unwrap_or_default();
            }
        }
        if fields == 0 {
            return Err(format!("{format:?} has no field; write it like `YYYY.0M.MICRO`"));
        }
        Ok(expression)
    }

    /// What a tag is compared by, if the expression takes it as a whole.
    pub(super) fn key<'t>(&self, tag: &'t str) -> Result<Key<'t>, Refused> {
        let found = self.regex.captures(tag).ok_or(Refused::NoMatch)?;
        if self.groups.is_empty() {
            return Ok(Key(vec![Some(tag)]));
        }
        // A group that took part with nothing is as absent as one that did not.
        let group = |place: &usize| found.get(*place).map(|group| group.as_str()).filter(|text| !text.is_empty());
        let key: Vec<Option<&str>> = self.groups.iter().map(group).collect();
        let number = |text: &&str| Number::read(text).is_some();
        if self.order == TagOrder::Numeric && !(key.iter().flatten().all(number) && key.iter().any(Option::is_some)) {
            return Err(Refused::NoNumber);
        }
        Ok(Key(key))
    }

    /// Group by group; what is absent is before everything.
    pub(super) fn compare(&self, one: &Key<'_>, other: &Key<'_>) -> Ordering {
        let pairs = one.0.iter().zip(&other.0);
        let orders = pairs.map(|(one, other)| match (one, other) {
            (Some(one), Some(other)) => match self.order {
                TagOrder::Numeric => Number::read(one).cmp(&Number::read(other)),
                TagOrder::Alphabetical => one.cmp(other),
                TagOrder::Natural => natural(one, other),
            },
            (one, other) => one.is_some().cmp(&other.is_some()),
        });
        orders.into_iter().find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_that_can_t_be_used_is_told() {
        for (pattern, order, says) in [
            ("", TagOrder::Natural, "1 to 1000"),
            ("a(", TagOrder::Natural, "no regular expression"),
            ("a)(b", TagOrder::Natural, "no regular expression"),
            (r"((\d{1000}){1000}){1000}", TagOrder::Numeric, "no regular expression"),
            (r"main-\d+", TagOrder::Numeric, "no group"),
        ] {
            let error = Pattern::new(pattern, order).unwrap_err();
            assert!(error.contains(says), "{pattern}: {error}");
        }
    }

    #[test]
    fn a_form_of_dates_is_an_expression() {
        for (format, takes, refuses) in [
            ("YYYY.0M.0D", "2024.01.31", "2024.1.31 2024.13.01 2024.01.31-1 24.01.31"),
            ("YYYY.MM.MICRO", "2024.1.0", "2024.00.1"),
            ("YY.0M", "24.04", "2024.04 24.4"),
            ("release-YYYY0M0D-MICRO", "release-20240131-4", "release-20240131"),
            ("YYYY.0M.0D-alpine", "2024.01.31-alpine", "2024.01.31 2024.01.31-slim"),
        ] {
            let pattern = Pattern::new(&Pattern::calver(format).unwrap(), TagOrder::Numeric).unwrap();
            assert!(pattern.key(takes).is_ok(), "{format} takes {takes}");
            for tag in refuses.split(' ') {
                assert!(pattern.key(tag).is_err(), "{format} refuses {tag}");
            }
        }
        for (format, says) in [("latest", "no field"), ("YYYY.Q", "none of"), ("YYYY é", "none of"), ("", "no field")]
        {
            let error = Pattern::calver(format).unwrap_err();
            assert!(error.contains(says), "{format}: {error}");
        }
    }
}
