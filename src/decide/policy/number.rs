//! Numbers of any length, and texts with numbers in them. A time stamp of 17 digits is more than a float can tell apart,
//! and nothing keeps a tag from having 60.

use std::cmp::Ordering;

/// A whole number as its digits, without zeros in front.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Number<'t>(&'t str);

impl<'t> Number<'t> {
    /// One or more ASCII digits and nothing else.
    pub(super) fn read(text: &'t str) -> Option<Self> {
        let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| Self(text.trim_start_matches('0')))
    }

    /// The digits; those of zero are none.
    pub(super) fn digits(self) -> &'t str {
        self.0
    }

    /// The next whole number.
    pub(super) fn successor(self) -> String {
        let mut digits: Vec<u8> = self.0.bytes().collect();
        for digit in digits.iter_mut().rev() {
            if *digit < b'9' {
                *digit += 1;
                return String::from_utf8_lossy(&digits).into_owned();
            }
            *digit = b'0';
        }
        format!("1{}", String::from_utf8_lossy(&digits))
    }
}

impl PartialOrd for Number<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Number<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.len().cmp(&other.0.len()).then_with(|| self.0.cmp(other.0))
    }
}

/// Letter by letter without regard to case, with numbers as numbers: `rc9` is before `rc10`. Texts that differ only in
/// case or in zeros are told apart by their bytes, so that the order is total.
pub(super) fn natural(one: &str, other: &str) -> Ordering {
    let (mut left, mut right) = (one, other);
    loop {
        match (left.as_bytes().first(), right.as_bytes().first()) {
            (None, None) => return one.cmp(other),
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) if a.is_ascii_digit() && b.is_ascii_digit() => {
                let ((a, rest), (b, other_rest)) = (split_digits(left), split_digits(right));
                match Number(a.trim_start_matches('0')).cmp(&Number(b.trim_start_matches('0'))) {
                    Ordering::Equal => (left, right) = (rest, other_rest),
                    decided => return decided,
                }
            }
            (Some(a), Some(b)) => match a.to_ascii_lowercase().cmp(&b.to_ascii_lowercase()) {
                Ordering::Equal => (left, right) = (tail(left), tail(right)),
                decided => return decided,
            },
        }
    }
}

/// The digits that a text begins with, and the rest.
pub(super) fn split_digits(text: &str) -> (&str, &str) {
    let end = text.bytes().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    text.split_at_checked(end).unwrap_or((text, ""))
}

/// Without the first character. Tags and what is read from them are ASCII.
fn tail(text: &str) -> &str {
    let mut chars = text.chars();
    chars.next();
    chars.as_str()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_have_no_end() {
        let read = |text| Number::read(text).unwrap();
        assert!(read("99999999999999999999999999999999") > read("99999999999999999999999999999998"));
        assert!(read("20240131235959001") > read("20240131235959000"), "a float would see a tie");
        assert!(read("0010") == read("10") && read("0") == read("000") && read("9") < read("10"));
        assert!(Number::read("").is_none() && Number::read("1a").is_none() && Number::read("-1").is_none());
        for (number, next) in
            [("0", "1"), ("9", "10"), ("199", "200"), ("99999999999999999999", "100000000000000000000")]
        {
            assert_eq!(read(number).successor(), next);
        }
    }

    #[test]
    fn texts_are_ordered_as_people_count() {
        for (less, more) in
            [("rc9", "rc10"), ("RC1", "rc2"), ("1.2", "1.10"), ("a", "a1"), ("01", "1"), ("63-g", "100-g")]
        {
            assert_eq!(
                (natural(less, more), natural(more, less)),
                (Ordering::Less, Ordering::Greater),
                "{less} {more}"
            );
        }
    }

    proptest! {
        #[test]
        fn the_natural_order_is_total(texts in prop::collection::vec("[aB01.é-]{0,5}", 3)) {
            let [a, b, c] = [&texts[0], &texts[1], &texts[2]];
            prop_assert_eq!(natural(a, b), natural(b, a).reverse());
            prop_assert_eq!(natural(a, b) == Ordering::Equal, a == b);
            if natural(a, b).is_le() && natural(b, c).is_le() {
                prop_assert!(natural(a, c).is_le());
            }
        }
    }
}
