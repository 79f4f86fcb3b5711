//! Versions as tags spell them.
//!
//! The `semver` crate can't express them: it refuses `v1.2.3`, `1.2`, leading zeros in a pre-release and numbers beyond 64
//! bits, and knows no suffix that has to stay. What differs from SemVer 2.0: numbers have any length, texts in a
//! pre-release are compared with numbers as numbers (`rc9` < `rc10`), `_` stands for the `+` that a tag can't hold, and a
//! pre-release may be written Python's way (`3.8.0b1`).

use std::cmp::Ordering;

use super::number::{Number, natural, split_digits};

/// What marks a variant of an image rather than a version before a release. `1.4.3-alpine` must never follow `1.4.2`.
const VARIANTS: [&str; 66] = [
    "alpine",
    "amd",
    "apache",
    "arm",
    "armhf",
    "armv",
    "bionic",
    "bookworm",
    "bullseye",
    "buster",
    "centos",
    "chainguard",
    "cli",
    "cpu",
    "cuda",
    "debian",
    "debug",
    "dind",
    "distroless",
    "fedora",
    "focal",
    "forky",
    "fpm",
    "full",
    "glibc",
    "gnu",
    "gpu",
    "i",
    "jammy",
    "jdk",
    "jessie",
    "jre",
    "linux",
    "lite",
    "ltsc",
    "management",
    "minimal",
    "musl",
    "nanoserver",
    "noble",
    "nonroot",
    "openjdk",
    "otel",
    "perl",
    "ppc",
    "python",
    "rhel",
    "riscv",
    "rocm",
    "rootless",
    "s",
    "scratch",
    "servercore",
    "sid",
    "slim",
    "standard",
    "stretch",
    "trixie",
    "ubi",
    "ubuntu",
    "unprivileged",
    "windows",
    "windowsservercore",
    "wolfi",
    "x",
    "zulu",
];

/// Python's names of a pre-release directly behind the numbers.
const ATTACHED: [&str; 8] = ["a", "alpha", "b", "beta", "c", "dev", "pre", "rc"];

/// Numbers, and what comes behind them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Version<'t> {
    /// `1`, `4`, `2`.
    pub(super) numbers: Vec<Number<'t>>,
    /// `rc.1` of `1.4.2-rc.1`; empty for a release.
    pub(super) pre: &'t str,
    /// What stands behind `_`; it counts only when all else is equal.
    pub(super) build: &'t str,
    /// It begins with `v`.
    pub(super) v: bool,
    /// A number has a zero in front of it.
    pub(super) padded: bool,
}

impl<'t> Version<'t> {
    /// Reads a tag without its prefix and suffix. `None` for what is no version.
    pub(super) fn read(text: &'t str) -> Option<Self> {
        let bare = text.strip_prefix(['v', 'V']);
        let (v, mut rest) = (bare.is_some(), bare.unwrap_or(text));
        let (mut numbers, mut padded) = (Vec::new(), false);
        loop {
            let (digits, after) = split_digits(rest);
            numbers.push(Number::read(digits)?);
            padded |= digits.len() > 1 && digits.starts_with('0');
            rest = after;
            match after.strip_prefix('.') {
                Some(next) if next.starts_with(|c: char| c.is_ascii_digit()) => rest = next,
                _ => break,
            }
        }
        let (rest, build) = rest.split_once('_').unwrap_or((rest, ""));
        let pre = match rest.strip_prefix('-') {
            Some(pre) => pre,
            None if rest.is_empty() || is_attached(rest) => rest,
            None => return None,
        };
        Some(Self { numbers, pre, build, v, padded })
    }

    /// The number at a place; missing ones are zero.
    fn number(&self, place: usize) -> &str {
        self.numbers.get(place).map_or("", |number| number.digits())
    }

    /// The order of the numbers alone; missing ones are zero.
    pub(super) fn compare_numbers(&self, other: &Self) -> Ordering {
        let places = self.numbers.len().max(other.numbers.len());
        let compare = |place| {
            let (one, other) = (self.number(place), other.number(place));
            one.len().cmp(&other.len()).then_with(|| one.cmp(other))
        };
        (0..places).map(compare).find(|order| order.is_ne()).unwrap_or(Ordering::Equal)
    }

    /// The order of precedence (SemVer 2.0, 11).
    pub(super) fn precedence(&self, other: &Self) -> Ordering {
        self.compare_numbers(other).then_with(|| compare_pre(self.pre, other.pre))
    }

    /// The order, with the build counted last.
    pub(super) fn compare(&self, other: &Self) -> Ordering {
        self.precedence(other).then_with(|| natural(self.build, other.build))
    }

    /// The name of the pre-release, in lower case: `rc` of `rc.1` and of `RC1`; empty for a number alone.
    pub(super) fn pre_name(&self) -> String {
        self.pre.chars().take_while(char::is_ascii_alphabetic).collect::<String>().to_ascii_lowercase()
    }

    /// Where the pre-release turns out to be the name of a variant: the part from there on.
    pub(super) fn variant(&self) -> Option<&'t str> {
        let behind = if self.build.is_empty() { self.pre } else { return variant(self.pre).or(variant(self.build)) };
        variant(behind)
    }
}

/// The text from the first word on that names a variant.
fn variant(text: &str) -> Option<&str> {
    let mut start = 0;
    for word in text.split(['-', '.', '_']) {
        let head: String = word.chars().take_while(char::is_ascii_alphabetic).collect::<String>().to_ascii_lowercase();
        // `x86`, `s390x`, `i386` are architectures; a lone letter is not.
        let named = VARIANTS.contains(&head.as_str()) && (head.len() > 1 || word.len() > 2);
        if named {
            return text.get(start..);
        }
        start += word.len() + 1;
    }
    None
}

fn is_attached(rest: &str) -> bool {
    let head: String = rest.chars().take_while(char::is_ascii_alphabetic).collect();
    let tail = rest.get(head.len()..).unwrap_or_default();
    ATTACHED.contains(&head.to_ascii_lowercase().as_str()) && tail.bytes().all(|b| b.is_ascii_digit() || b == b'.')
}

/// A release is above what comes before it; else part by part.
fn compare_pre(one: &str, other: &str) -> Ordering {
    match (one.is_empty(), other.is_empty()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let (mut left, mut right) = (one.split('.'), other.split('.'));
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(one), Some(other)) => match (Number::read(one), Number::read(other)) {
                (Some(one), Some(other)) => one.cmp(&other),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => natural(one, other),
            },
        };
        if order.is_ne() {
            return order;
        }
    }
}
