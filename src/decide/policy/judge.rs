//! One tag under a policy: what it is compared by, or why it does not come into question.

use std::cmp::Ordering;

use super::pattern::{self, Pattern, Refused};
use super::range::Range;
use super::version::Version;
use crate::model::{Prerelease, Tag, TagPolicy, TagRule};

/// A semantic version has so many numbers.
pub(super) const NUMBERS: usize = 3;

/// Why a tag is not the one that is followed; the nearer to winning, the smaller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lost {
    /// It counts the same as the winner, and a rule of its own decides.
    Tie,
    /// The winner is newer.
    Older,
    /// It is older than what served last.
    Downgrade,
    /// It is below the tag that stands in `image`.
    BelowFloor,
    /// It is no version of the range.
    OutOfRange,
    /// It is a pre-release, and these are not followed.
    Prerelease,
    /// It has more or fewer numbers than are followed.
    Precision,
    /// It is another variant of the image.
    Suffix,
    /// It does not begin as it has to.
    Prefix,
    /// It has more numbers than a semantic version.
    TooManyNumbers,
    /// A number has a zero in front of it, as dates have.
    Padded,
    /// What the groups take is no number.
    NoNumber,
    /// The expression does not match.
    NoMatch,
    /// It is no version.
    NoVersion,
    /// Another tag is followed by its name.
    Other,
    /// It is a signature, an attestation or a list of materials.
    Artifact,
}

impl Lost {
    /// Stable name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Tie => "tie",
            Self::Older => "older",
            Self::Downgrade => "downgrade",
            Self::BelowFloor => "below_floor",
            Self::OutOfRange => "out_of_range",
            Self::Prerelease => "prerelease",
            Self::Precision => "precision",
            Self::Suffix => "suffix",
            Self::Prefix => "prefix",
            Self::TooManyNumbers => "too_many_numbers",
            Self::Padded => "padded",
            Self::NoNumber => "no_number",
            Self::NoMatch => "no_match",
            Self::NoVersion => "no_version",
            Self::Other => "other",
            Self::Artifact => "artifact",
        }
    }
}

/// A policy, ready for one look at the tags.
#[derive(Debug)]
pub struct Policy {
    pub(super) rule: Rule,
    pub(super) floor: Option<Tag>,
    pub(super) allow_downgrade: bool,
    /// In words.
    pub(super) words: String,
}

#[derive(Debug)]
pub(super) enum Rule {
    Only(Tag),
    Semver(Semver),
    Pattern(Pattern),
}

#[derive(Debug)]
pub(super) struct Semver {
    range: Range,
    pub(super) text: String,
    pub(super) prerelease: Prerelease,
    /// The name that `prerelease: same` wants.
    name: String,
    pub(super) prefix: String,
    pub(super) suffix: String,
    pub(super) precision: Option<usize>,
}

/// What a tag is compared by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key<'t> {
    Only,
    Version(Version<'t>),
    Text(pattern::Key<'t>),
}

/// What a tag alone comes to: its key as far as it has one, and why it does not come into question.
pub(super) type Judged<'t> = (Option<Key<'t>>, Option<Lost>);

impl Policy {
    /// Makes a policy ready.
    ///
    /// # Errors
    /// When range, form or expression can't be read; the configuration has checked that they can.
    pub fn new(policy: &TagPolicy) -> Result<Self, String> {
        let rule = match &policy.rule {
            TagRule::Semver { range, prerelease, prefix, suffix, precision } => Rule::Semver(Semver {
                range: Range::read(range).map_err(|problem| format!("{range:?} {problem}"))?,
                text: range.clone(),
                prerelease: *prerelease,
                name: String::new(),
                prefix: prefix.clone(),
                suffix: suffix.clone(),
                precision: *precision,
            }),
            TagRule::Calver { format } => {
                Rule::Pattern(Pattern::new(&Pattern::calver(format)?, crate::model::TagOrder::Numeric)?)
            }
            TagRule::Pattern { pattern, order } => Rule::Pattern(Pattern::new(pattern, *order)?),
        };
        let (floor, allow_downgrade) = (policy.floor.clone(), policy.allow_downgrade);
        let mut ready = Self { rule, floor, allow_downgrade, words: policy.to_string() };
        if let (Rule::Semver(semver), Some(floor)) = (&mut ready.rule, &ready.floor) {
            semver.name = semver.version(floor.as_str()).map(|version| version.pre_name()).unwrap_or_default();
        }
        Ok(ready)
    }

    /// The policy that follows one tag by its name.
    pub fn only(tag: &Tag) -> Self {
        Self { words: format!("tag {tag}"), rule: Rule::Only(tag.clone()), floor: None, allow_downgrade: false }
    }

    /// A tag alone, without regard to the others.
    pub(super) fn judge<'t>(&self, tag: &'t Tag) -> Judged<'t> {
        if is_artifact(tag) {
            return (None, Some(Lost::Artifact));
        }
        match &self.rule {
            Rule::Only(only) if only == tag => (Some(Key::Only), None),
            Rule::Only(_) => (None, Some(Lost::Other)),
            Rule::Semver(semver) => match semver.version(tag.as_str()) {
                Ok(version) => {
                    let lost = semver.objection(&version);
                    (Some(Key::Version(version)), lost)
                }
                Err(lost) => (None, Some(lost)),
            },
            Rule::Pattern(pattern) => match pattern.key(tag.as_str()) {
                Ok(key) => (Some(Key::Text(key)), None),
                Err(Refused::NoMatch) => (None, Some(Lost::NoMatch)),
                Err(Refused::NoNumber) => (None, Some(Lost::NoNumber)),
            },
        }
    }

    /// The order by the policy.
    pub(super) fn compare(&self, one: &Key<'_>, other: &Key<'_>) -> Ordering {
        match (&self.rule, one, other) {
            (_, Key::Version(one), Key::Version(other)) => one.compare(other),
            (Rule::Pattern(pattern), Key::Text(one), Key::Text(other)) => pattern.compare(one, other),
            // Keys are of the rule that made them.
            _ => Ordering::Equal,
        }
    }
}

impl Semver {
    /// The version in a tag.
    pub(super) fn version<'t>(&self, tag: &'t str) -> Result<Version<'t>, Lost> {
        let bare = tag.strip_prefix(self.prefix.as_str()).ok_or(Lost::Prefix)?;
        let bare = match bare.strip_suffix(self.suffix.as_str()) {
            Some(bare) => bare,
            // Whatever has no number in front is not even another variant.
            None if Version::read(bare).is_some() => return Err(Lost::Suffix),
            None => return Err(Lost::NoVersion),
        };
        let version = Version::read(bare).ok_or(Lost::NoVersion)?;
        if version.numbers.len() > NUMBERS {
            return Err(Lost::TooManyNumbers);
        }
        if version.padded {
            return Err(Lost::Padded);
        }
        if version.variant().is_some() {
            return Err(Lost::Suffix);
        }
        Ok(version)
    }

    fn objection(&self, version: &Version<'_>) -> Option<Lost> {
        if self.precision.is_some_and(|wanted| version.numbers.len() != wanted) {
            return Some(Lost::Precision);
        }
        let admitted = version.pre.is_empty()
            || match self.prerelease {
                Prerelease::None => false,
                Prerelease::Same => version.pre_name() == self.name,
                Prerelease::Any => true,
            };
        if !admitted {
            return Some(Lost::Prerelease);
        }
        (!self.range.contains(version)).then_some(Lost::OutOfRange)
    }
}

/// A tag that is no image but something about one: what cosign and OCI's fall-back for referrers make.
pub fn is_artifact(tag: &Tag) -> bool {
    let text = tag.as_str();
    if [".sig", ".att", ".sbom"].iter().any(|end| text.ends_with(end)) {
        return true;
    }
    let hex = |rest: &str, length: usize| {
        let digits = rest.split('.').next().unwrap_or_default();
        digits.len() == length && digits.bytes().all(|b| b.is_ascii_hexdigit())
    };
    text.strip_prefix("sha256-").is_some_and(|rest| hex(rest, 64))
        || text.strip_prefix("sha512-").is_some_and(|rest| hex(rest, 128))
}
