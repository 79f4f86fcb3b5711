//! All tags under a policy: the winner, the losers, and words for both.

use std::cmp::Ordering;

use super::judge::{Key, Lost, Policy, Rule};
use super::number::natural;
use super::version::Version;
use crate::model::{AppName, Repository, Tag, TagReport, TagVerdict};

/// So many tags are named when nothing matches.
const NEAREST: usize = 3;

/// What became of a list of tags.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice<'t> {
    /// The tag to follow.
    pub winner: Option<&'t Tag>,
    /// The others, the nearest to winning first; signatures and the like are only counted.
    pub losers: Vec<(&'t Tag, Lost)>,
    /// How many signatures and the like there are.
    pub artifacts: usize,
}

/// A tag that may win.
struct Contender<'t> {
    tag: &'t Tag,
    key: Key<'t>,
}

/// What no tag may be below.
struct Limits<'p> {
    floor: Option<Key<'p>>,
    current: Option<Key<'p>>,
}

impl Policy {
    /// The tag to follow. `current` is the last one of the same policy that came to serve.
    pub fn pick<'t>(&self, tags: &'t [Tag], current: Option<&Tag>) -> Option<&'t Tag> {
        let limits = self.limits(current);
        let contenders = tags.iter().filter_map(|tag| match self.judge(tag) {
            (Some(key), None) if self.too_low(&key, &limits).is_none() => Some(Contender { tag, key }),
            _ => None,
        });
        contenders.max_by(|one, other| self.rank(one, other, current)).map(|winner| winner.tag)
    }

    /// The tag to follow, and why not the others.
    pub fn choose<'t>(&self, tags: &'t [Tag], current: Option<&Tag>) -> Choice<'t> {
        let limits = self.limits(current);
        let winner = self.pick(tags, current);
        let best = winner.and_then(|tag| self.judge(tag).0);
        let (mut losers, mut artifacts) = (Vec::new(), 0);
        for tag in tags.iter().filter(|tag| Some(*tag) != winner) {
            let (key, lost) = self.judge(tag);
            let beaten = || match (&key, &best) {
                (Some(key), Some(best)) if self.compare(key, best) == Ordering::Equal => Lost::Tie,
                _ => Lost::Older,
            };
            // What is below the tag of before is below a winner all the more, which is the simpler reason.
            let low = || {
                key.as_ref()
                    .and_then(|key| self.too_low(key, &limits))
                    .filter(|lost| *lost != Lost::Downgrade || best.is_none())
            };
            match lost.or_else(low).unwrap_or_else(beaten) {
                Lost::Artifact => artifacts += 1,
                lost => losers.push((tag, key, lost)),
            }
        }
        losers.sort_by(|(one, one_key, one_lost), (other, other_key, other_lost)| {
            one_lost.cmp(other_lost).then_with(|| {
                let by_key = match (one_key, other_key) {
                    (Some(one), Some(other)) => self.compare(other, one),
                    _ => Ordering::Equal,
                };
                by_key.then_with(|| natural(other.as_str(), one.as_str()))
            })
        });
        Choice { winner, losers: losers.into_iter().map(|(tag, _, lost)| (tag, lost)).collect(), artifacts }
    }

    fn limits<'p>(&'p self, current: Option<&'p Tag>) -> Limits<'p> {
        let admitted = |tag: &'p Tag| match self.judge(tag) {
            (key, None) => key,
            _ => None,
        };
        let floor = self.floor.as_ref().and_then(|tag| self.judge(tag).0);
        Limits { floor, current: current.filter(|_| !self.allow_downgrade).and_then(admitted) }
    }

    fn too_low(&self, key: &Key<'_>, limits: &Limits<'_>) -> Option<Lost> {
        let below = |limit: &Option<Key<'_>>| limit.as_ref().is_some_and(|limit| self.compare(key, limit).is_lt());
        if below(&limits.floor) {
            return Some(Lost::BelowFloor);
        }
        below(&limits.current).then_some(Lost::Downgrade)
    }

    /// The order by the policy; then what is followed now, the spelling of `v` in `image`, the longer tag, the letters.
    fn rank(&self, one: &Contender<'_>, other: &Contender<'_>, current: Option<&Tag>) -> Ordering {
        let taste = |contender: &Contender<'_>| {
            let v = matches!(&contender.key, Key::Version(version) if Some(version.v) == self.floor_v());
            (Some(contender.tag) == current, v, contender.tag.as_str().len())
        };
        let order = self.compare(&one.key, &other.key).then_with(|| taste(one).cmp(&taste(other)));
        order.then_with(|| one.tag.cmp(other.tag))
    }

    fn floor_v(&self) -> Option<bool> {
        let (Rule::Semver(semver), Some(floor)) = (&self.rule, &self.floor) else { return None };
        semver.version(floor.as_str()).ok().map(|version| version.v)
    }

    /// Why there is no winner, with the tags that come nearest.
    pub fn unmatched(&self, choice: &Choice<'_>, repository: &Repository, current: Option<&Tag>) -> String {
        let listed = choice.losers.len();
        if listed == 0 {
            return format!("{repository} has no tags yet; {} waits for one", self.words);
        }
        let nearest: Vec<String> = choice
            .losers
            .iter()
            .take(NEAREST)
            .map(|(tag, lost)| format!("{tag} ({})", self.why(tag, *lost, choice.winner, current)))
            .collect();
        format!(
            "none of the {listed} tags of {repository} is followed by {}; the nearest: {}",
            self.words,
            nearest.join(", ")
        )
    }

    /// Why a tag lost, as a fragment of a sentence.
    pub fn why(&self, tag: &Tag, lost: Lost, winner: Option<&Tag>, current: Option<&Tag>) -> String {
        let named = |tag: Option<&Tag>| tag.map_or("what is followed", Tag::as_str).to_owned();
        let (semver, version) = match &self.rule {
            Rule::Semver(semver) => {
                (Some(semver), tag.as_str().strip_prefix(semver.prefix.as_str()).and_then(Version::read))
            }
            _ => (None, None),
        };
        let numbers = version.as_ref().map_or(0, |version| version.numbers.len());
        match (lost, semver) {
            (Lost::Tie, _) => format!("counts the same as {}", named(winner)),
            (Lost::Older, _) => format!("below {}", named(winner)),
            (Lost::Downgrade, _) => format!("below {}, which served last; see `allow_downgrade`", named(current)),
            (Lost::BelowFloor, _) => format!("below {}, the tag in `image`", named(self.floor.as_ref())),
            (Lost::OutOfRange, Some(semver)) => format!("outside {}", semver.text),
            (Lost::Prerelease, Some(semver)) => format!("a pre-release; `prerelease` is {}", semver.prerelease.label()),
            (Lost::Precision, Some(semver)) => {
                let wanted = semver.precision.unwrap_or_default();
                format!(
                    "has {numbers} {}, not {wanted}; see `precision`",
                    if numbers == 1 { "number" } else { "numbers" }
                )
            }
            (Lost::Suffix, Some(semver)) if !semver.suffix.is_empty() => format!("its suffix is not {}", semver.suffix),
            (Lost::Suffix, _) => "a variant of the image; see `suffix`".to_owned(),
            (Lost::Prefix, Some(semver)) => format!("does not begin with {}", semver.prefix),
            (Lost::TooManyNumbers, _) => format!("has {numbers} numbers, a semantic version has 3; see `numeric`"),
            (Lost::Padded, _) => "has a number with a zero in front; see `calver`".to_owned(),
            (Lost::NoNumber, _) => "what its groups take is no number".to_owned(),
            (Lost::NoMatch, _) => "does not match".to_owned(),
            (Lost::Other, _) => "not the tag that is followed".to_owned(),
            (Lost::Artifact, _) => "a signature or the like".to_owned(),
            _ => "no version".to_owned(),
        }
    }

    /// Everything, for people.
    pub fn report(&self, app: &AppName, repository: &Repository, tags: &[Tag], current: Option<&Tag>) -> TagReport {
        let choice = self.choose(tags, current);
        let winner = choice.winner.map(|tag| TagVerdict {
            tag: tag.clone(),
            verdict: "winner".to_owned(),
            why: format!("the best by {}", self.words),
        });
        let losers = choice.losers.iter().map(|(tag, lost)| TagVerdict {
            tag: (*tag).clone(),
            verdict: lost.label().to_owned(),
            why: self.why(tag, *lost, choice.winner, current),
        });
        TagReport {
            app: app.clone(),
            repository: repository.to_string(),
            follows: self.words.clone(),
            winner: choice.winner.cloned(),
            message: choice.winner.is_none().then(|| self.unmatched(&choice, repository, current)),
            listed: tags.len(),
            artifacts: choice.artifacts,
            candidates: winner.into_iter().chain(losers).collect(),
        }
    }
}
