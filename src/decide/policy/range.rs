//! Ranges of versions, as npm, Masterminds and Cargo write them where the three agree: `^1.4`, `~1.4.2`, `>=1.2 <3`, `1.x`,
//! `1.2 - 1.5`, `!=1.3.0`, `||`.
//!
//! A bare `1.4` is every 1.4 (npm, Masterminds), not `^1.4` (Cargo). An upper bound leaves out its own pre-releases:
//! whoever writes `<2` does not want `2.0.0-rc.1`.

use std::cmp::Ordering;

use super::number::Number;
use super::version::Version;

/// A longer text is no range.
const LONGEST: usize = 256;

/// Alternatives of conditions that must all hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Range(Vec<Vec<Condition>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    is: Is,
    /// A version as text; its form was checked.
    at: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    AtLeast,
    Above,
    Below,
    AtMost,
    Not,
}

/// A version in a range, of which numbers from the right may be left open.
struct Partial<'t> {
    numbers: Vec<Number<'t>>,
    pre: &'t str,
}

impl Range {
    /// Reads a range. The error is a fragment that says what is wrong and what would be right.
    pub(super) fn read(text: &str) -> Result<Self, String> {
        if text.trim().is_empty() || text.len() > LONGEST {
            return Err("is no range; write it like `^1.4`, `~1.4.2`, `>=1.2 <3` or `*`".to_owned());
        }
        text.split("||").map(alternative).collect::<Result<_, _>>().map(Self)
    }

    /// Names a pre-release, and with it says that they come into question.
    pub(super) fn names_prerelease(&self) -> bool {
        let pre = |condition: &Condition| Version::read(&condition.at).is_some_and(|version| !version.pre.is_empty());
        self.0.iter().flatten().any(pre)
    }

    pub(super) fn contains(&self, version: &Version<'_>) -> bool {
        self.0.iter().any(|all| all.iter().all(|condition| condition.holds(version)))
    }
}

impl Condition {
    fn holds(&self, version: &Version<'_>) -> bool {
        let Some(at) = Version::read(&self.at) else { return false };
        let order = version.precedence(&at);
        // `2.0.0-rc.1` is below `2.0.0`, and yet not what `<2` means.
        let before = at.pre.is_empty() && !version.pre.is_empty() && version.compare_numbers(&at) == Ordering::Equal;
        match self.is {
            Is::AtLeast => order.is_ge(),
            Is::Above => order.is_gt(),
            Is::Below => order.is_lt() && !before,
            Is::AtMost => order.is_le(),
            Is::Not => order.is_ne(),
        }
    }
}

fn alternative(text: &str) -> Result<Vec<Condition>, String> {
    if let Some((from, to)) = text.split_once(" - ") {
        let mut both = comparator(">=", from.trim())?;
        both.extend(comparator("<=", to.trim())?);
        return Ok(both);
    }
    let (mut conditions, mut versions) = (Vec::new(), 0_usize);
    let mut operator: Option<&str> = None;
    for word in text.split([' ', ',', '\t']).filter(|word| !word.is_empty()) {
        let (found, version) = word.split_at(word.find(|c: char| !"<>=!^~".contains(c)).unwrap_or(word.len()));
        let operator_now = match (operator.take(), found) {
            (Some(before), "") => before,
            (None, found) => found,
            (Some(before), found) => return Err(format!("has {before:?} and {found:?} before one version")),
        };
        if version.is_empty() {
            operator = Some(operator_now);
        } else {
            conditions.extend(comparator(operator_now, version)?);
            versions += 1;
        }
    }
    match operator {
        Some(operator) => Err(format!("has nothing behind {operator:?}")),
        None if versions == 0 => Err("has nothing between `||`".to_owned()),
        None => Ok(conditions),
    }
}

/// `>=1.2` and the like, as one or two plain conditions.
fn comparator(operator: &str, text: &str) -> Result<Vec<Condition>, String> {
    let version = Partial::read(text)?;
    let (low, full) = (version.floor(), version.numbers.len() >= 3);
    let at = |is, at: String| Condition { is, at };
    let last = version.numbers.len().saturating_sub(1);
    // The first version behind those that a partial one stands for.
    let behind = version.raised(last);
    Ok(match (operator, behind) {
        ("" | "=" | "==" | "^" | "~" | "~>" | ">=" | "<=" | "=>" | "=<", None) => Vec::new(),
        (">" | "<" | "!=", None) => return Err(format!("has {operator:?} before {text:?}, which no version fulfils")),
        ("" | "=" | "==", Some(_)) if full => vec![at(Is::AtLeast, low.clone()), at(Is::AtMost, low)],
        ("" | "=" | "==", Some(behind)) => vec![at(Is::AtLeast, low), at(Is::Below, behind)],
        (">=" | "=>", _) => vec![at(Is::AtLeast, low)],
        (">", Some(_)) if full => vec![at(Is::Above, low)],
        (">", Some(behind)) => vec![at(Is::AtLeast, behind)],
        ("<", _) => vec![at(Is::Below, low)],
        ("<=" | "=<", Some(_)) if full => vec![at(Is::AtMost, low)],
        ("<=" | "=<", Some(behind)) => vec![at(Is::Below, behind)],
        ("!=", Some(_)) if full => vec![at(Is::Not, low)],
        ("!=", _) => return Err(format!("has \"!=\" before {text:?}; write all three numbers")),
        ("~" | "~>", Some(_)) => {
            vec![at(Is::AtLeast, low), at(Is::Below, version.raised(last.min(1)).unwrap_or_default())]
        }
        ("^", Some(_)) => vec![at(Is::AtLeast, low), at(Is::Below, version.caret())],
        _ => return Err(format!("has {operator:?}, which is none of ^ ~ > >= < <= = !=")),
    })
}

impl<'t> Partial<'t> {
    fn read(text: &'t str) -> Result<Self, String> {
        let wrong = || format!("has {text:?}, which is no version; write it like `1.4` or `1.4.2-rc.1`");
        if matches!(text, "*" | "x" | "X") {
            return Ok(Self { numbers: Vec::new(), pre: "" });
        }
        let open = text.split_once(".x").or_else(|| text.split_once(".X")).or_else(|| text.split_once(".*"));
        if let Some((fixed, rest)) = open {
            let only_open = rest.split('.').skip(1).all(|part| matches!(part, "x" | "X" | "*"));
            let version =
                Version::read(fixed).filter(|v| v.pre.is_empty() && v.build.is_empty() && v.numbers.len() < 3);
            return match version {
                Some(version) if only_open && (rest.is_empty() || rest.starts_with('.')) => {
                    Ok(Self { numbers: version.numbers, pre: "" })
                }
                _ => Err(wrong()),
            };
        }
        let version = Version::read(text).filter(|v| v.numbers.len() <= 3 && !v.padded && v.build.is_empty());
        let version = version.ok_or_else(wrong)?;
        Ok(Self { numbers: version.numbers, pre: version.pre })
    }

    /// The lowest version that it stands for.
    fn floor(&self) -> String {
        let numbers: Vec<&str> = (0..3).map(|place| self.digits(place)).collect();
        let floor = numbers.join(".");
        if self.pre.is_empty() { floor } else { format!("{floor}-{}", self.pre) }
    }

    fn digits(&self, place: usize) -> &str {
        match self.numbers.get(place).map(|number| number.digits()) {
            None | Some("") => "0",
            Some(digits) => digits,
        }
    }

    /// The version with the number at `place` raised and what follows zero.
    fn raised(&self, place: usize) -> Option<String> {
        let raised = self.numbers.get(place)?.successor();
        let number = |at: usize| match at.cmp(&place) {
            Ordering::Less => self.digits(at).to_owned(),
            Ordering::Equal => raised.clone(),
            Ordering::Greater => "0".to_owned(),
        };
        Some((0..3).map(number).collect::<Vec<_>>().join("."))
    }

    /// Up to where nothing incompatible may change: the first number that is not zero, or the last that is given.
    fn caret(&self) -> String {
        let first = (0..self.numbers.len()).find(|place| self.digits(*place) != "0");
        self.raised(first.unwrap_or(self.numbers.len().saturating_sub(1))).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_what_their_writers_mean() {
        for (range, within, outside) in [
            ("^1.4", "1.4.0 1.4.9 1.99.0 1.4", "1.3.9 2.0.0 2.0.0-rc.1 1.4.0-rc.1"),
            ("^0.2.3", "0.2.3 0.2.9", "0.2.2 0.3.0 1.0.0"),
            ("^0.0.3", "0.0.3", "0.0.4 0.0.2"),
            ("^0.0", "0.0.9", "0.1.0"),
            ("^0", "0.9.9", "1.0.0"),
            ("~1.4.2", "1.4.2 1.4.99", "1.5.0 1.4.1"),
            ("~1.4", "1.4.0", "1.5.0"),
            ("~1", "1.9.0", "2.0.0"),
            ("~> 1.4", "1.4.7", "1.5.0"),
            ("1.4", "1.4.0 1.4.7", "1.5.0 1.3.0"),
            ("1.4.2", "1.4.2 v1.4.2 1.4.2_7", "1.4.3 1.4.2-rc.1"),
            ("v1.4.2", "1.4.2", "1.4.3"),
            ("1", "1.0.0 1.99.9", "2.0.0 0.9.0"),
            ("1.x", "1.0.0", "2.0.0"),
            ("1.4.x", "1.4.9", "1.5.0"),
            ("1.4.*", "1.4.9", "1.5.0"),
            ("1.x.x", "1.4.9", "2.5.0"),
            ("*", "0.0.0 99.0.0 1.0.0-rc.1", ""),
            (">=1.2 <3", "1.2.0 2.9.9", "3.0.0 1.1.9 3.0.0-rc.1"),
            (">=1.2, <3", "1.2.0 2.9.9", "3.0.0"),
            (">= 1.2 < 3", "1.2.0 2.9.9", "3.0.0"),
            (">1.2", "1.3.0", "1.2.9 1.2.0"),
            (">1.2.0", "1.2.1", "1.2.0 1.2.0-rc.1"),
            ("<=1.2", "1.2.9 0.1.0", "1.3.0 1.3.0-rc.1"),
            ("<=1.2.3", "1.2.3", "1.2.4"),
            ("1.2 - 1.5", "1.2.0 1.5.9", "1.6.0 1.1.0"),
            ("1.2.0 - 1.5.0", "1.5.0", "1.5.1"),
            ("^1.4 !=1.5.0", "1.4.0 1.5.1", "1.5.0"),
            ("~1.4 || ^3", "1.4.1 3.9.0", "1.5.0 2.0.0"),
            (">=1.5.0-rc.1 <1.6", "1.5.0-rc.2 1.5.0 1.5.9", "1.5.0-beta.1 1.6.0-rc.1"),
            ("^1.99999999999999999999", "1.99999999999999999999.1", "1.99999999999999999998.1"),
        ] {
            let read = Range::read(range).unwrap();
            let holds = |text: &str| read.contains(&Version::read(text).unwrap());
            for text in within.split(' ') {
                assert!(holds(text), "{range} has {text}");
            }
            for text in outside.split(' ').filter(|text| !text.is_empty()) {
                assert!(!holds(text), "{range} has not {text}");
            }
        }
    }

    #[test]
    fn what_is_no_range_is_told() {
        for (range, says) in [
            ("", "is no range"),
            ("latest", "no version"),
            ("^", "nothing behind"),
            (">= <2", "before one version"),
            ("!1.2.3", "none of"),
            ("1.2.3.4", "no version"),
            ("01.2.3", "no version"),
            ("1.2.x-rc", "no version"),
            ("1.x.3", "no version"),
            ("^1 ||", "between"),
            ("<*", "no version fulfils"),
            ("!=1.2", "all three"),
        ] {
            let error = Range::read(range).unwrap_err();
            assert!(error.contains(says), "{range}: {error}");
        }
    }

    #[test]
    fn a_range_that_names_a_prerelease_says_so() {
        assert!(Range::read(">=1.0.0-0").unwrap().names_prerelease());
        assert!(!Range::read("^1").unwrap().names_prerelease());
        assert!(!Range::read("*").unwrap().names_prerelease());
    }
}
