//! Which of a repository's tags an app follows, and what became of each.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::Tag;

/// How the best tag of a repository is found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagPolicy {
    /// Which tags come into question, and what makes one better than another.
    pub rule: TagRule,
    /// The tag that stands in `image`: nothing below it is followed.
    pub floor: Option<Tag>,
    /// A tag that is older than the one followed now may be followed, when that is gone.
    pub allow_downgrade: bool,
}

/// Which tags come into question, and what makes one better than another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TagRule {
    /// Versions within a range.
    Semver {
        /// `^1.4`, `>=1.2 <3`, `1.x`, `~1.4.2 || 2.x`.
        range: String,
        /// Which versions before a release come into question.
        prerelease: Prerelease,
        /// What a tag begins with before its version: `debian-` in `debian-1.13.2`.
        prefix: String,
        /// What a tag ends with behind its version: `-alpine`.
        suffix: String,
        /// How many numbers a version has; `None`: any.
        precision: Option<usize>,
    },
    /// Dates and counters in a form such as `YYYY.0M.MICRO`.
    Calver {
        /// The form.
        format: String,
    },
    /// What a regular expression matches as a whole.
    Pattern {
        /// The expression; its groups are what is compared, left to right.
        pattern: String,
        /// How they are compared.
        order: TagOrder,
    },
}

/// Which versions before a release come into question.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Prerelease {
    /// None.
    None,
    /// Those with the name that the tag in `image` has: `rc` in `1.5.0-rc.1`.
    Same,
    /// All.
    Any,
}

impl Prerelease {
    /// Stable name.
    pub fn label(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Same => "same",
            Self::Any => "any",
        }
    }
}

/// How two texts are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TagOrder {
    /// As whole numbers of any length; what is no number is left out.
    Numeric,
    /// Letter by letter: `10` is before `9`.
    Alphabetical,
    /// Letter by letter, with numbers in it as numbers: `rc9` is before `rc10`.
    Natural,
}

impl TagOrder {
    /// Stable name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Numeric => "numeric",
            Self::Alphabetical => "alphabetical",
            Self::Natural => "natural",
        }
    }
}

impl fmt::Display for TagPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.rule {
            TagRule::Semver { range, prerelease, prefix, suffix, .. } => {
                write!(f, "semver {range}")?;
                if *prerelease != Prerelease::None {
                    write!(f, ", prerelease {}", prerelease.label())?;
                }
                if !prefix.is_empty() {
                    write!(f, ", prefix {prefix}")?;
                }
                if !suffix.is_empty() {
                    write!(f, ", suffix {suffix}")?;
                }
                Ok(())
            }
            TagRule::Calver { format } => write!(f, "calver {format}"),
            TagRule::Pattern { pattern, order } => write!(f, "pattern {pattern}, {} order", order.label()),
        }
    }
}

/// What became of a tag.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagVerdict {
    /// The tag.
    pub tag: Tag,
    /// `winner`, or the stable name of why it lost.
    pub verdict: String,
    /// The same in words.
    pub why: String,
}

/// All tags of an app's repository, and which of them is followed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TagReport {
    /// The app.
    pub app: super::AppName,
    /// `registry/repository`.
    pub repository: String,
    /// What the app follows, in words.
    pub follows: String,
    /// The tag that won.
    pub winner: Option<Tag>,
    /// Why there is no winner, with the tags that come nearest.
    pub message: Option<String>,
    /// Tags that the registry listed.
    pub listed: usize,
    /// How many of them are signatures and the like.
    pub artifacts: usize,
    /// What became of each of the others, the best first.
    pub candidates: Vec<TagVerdict>,
}
