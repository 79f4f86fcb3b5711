//! What somebody wrote → what is followed, with everything that is wrong with it at once.

use super::judge::NUMBERS;
use super::pattern::Pattern;
use super::range::Range;
use super::version::Version;
use super::{Lost, Policy};
use crate::model::{Follow, Prerelease, Tag, TagOrder, TagPolicy, TagRule};

/// What was written: the keys of `follow`, and the tag in `image`.
#[derive(Debug, Clone, Default)]
pub struct Wishes<'a> {
    /// The tag that `image` names, if it names one.
    pub image_tag: Option<Tag>,
    /// One tag by its name.
    pub tag: Option<&'a str>,
    /// A range of versions.
    pub semver: Option<&'a str>,
    /// A form of dates and counters.
    pub calver: Option<&'a str>,
    /// An expression whose groups are compared as numbers.
    pub numeric: Option<&'a str>,
    /// An expression.
    pub pattern: Option<&'a str>,
    /// `numeric`, `alphabetical` or `natural`.
    pub order: Option<&'a str>,
    /// `none`, `same` or `any`.
    pub prerelease: Option<&'a str>,
    /// `1`, `2`, `3` or `any`.
    pub precision: Option<&'a str>,
    /// What stands in front of the version.
    pub prefix: Option<&'a str>,
    /// What stands behind the version.
    pub suffix: Option<&'a str>,
    /// Whether an older tag may be followed than now.
    pub allow_downgrade: bool,
}

/// Something in it is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// The key of `follow`; `image` for the tag there, empty for `follow` as a whole.
    pub key: &'static str,
    /// What is wrong with it, and what would be right.
    pub message: String,
}

fn wrong(key: &'static str, message: impl Into<String>) -> Wrong {
    Wrong { key, message: message.into() }
}

/// Makes a policy of what was written.
///
/// # Errors
/// Everything that is wrong with it.
pub fn settle(wishes: &Wishes<'_>) -> Result<Follow, Vec<Wrong>> {
    let mut errors = Vec::new();
    let kinds = [
        ("tag", wishes.tag),
        ("semver", wishes.semver),
        ("calver", wishes.calver),
        ("numeric", wishes.numeric),
        ("pattern", wishes.pattern),
    ];
    let given: Vec<&'static str> = kinds.iter().filter(|(_, text)| text.is_some()).map(|(key, _)| *key).collect();
    let [kind] = given.as_slice() else {
        let found = if given.is_empty() { "none".to_owned() } else { given.join(" and ") };
        let message = format!("must have one of tag, semver, calver, numeric and pattern; it has {found}");
        return Err(vec![wrong("", message)]);
    };
    misplaced(wishes, kind, &mut errors);
    let follow = match *kind {
        "tag" => tag(wishes, &mut errors),
        "semver" => semver(wishes, &mut errors),
        "calver" => calver(wishes, &mut errors),
        _ => pattern(wishes, &mut errors),
    };
    match follow {
        Some(follow) if errors.is_empty() => Ok(follow),
        _ => Err(errors),
    }
}

/// Keys that mean nothing beside this kind.
fn misplaced(wishes: &Wishes<'_>, kind: &str, errors: &mut Vec<Wrong>) {
    let semver = [
        ("prerelease", wishes.prerelease.is_some()),
        ("precision", wishes.precision.is_some()),
        ("prefix", wishes.prefix.is_some()),
        ("suffix", wishes.suffix.is_some()),
    ];
    for (key, _) in semver.iter().filter(|(_, given)| *given && kind != "semver") {
        let advice =
            if kind == "tag" { "leave it out" } else { "write what a tag has to look like into the expression" };
        errors.push(wrong(key, format!("belongs to `semver`; {advice}")));
    }
    if wishes.order.is_some() && kind != "pattern" {
        errors.push(wrong("order", "belongs to `pattern`; leave it out"));
    }
    if wishes.allow_downgrade && kind == "tag" {
        errors.push(wrong("allow_downgrade", "a tag is followed wherever it points to; leave it out"));
    }
}

fn tag(wishes: &Wishes<'_>, errors: &mut Vec<Wrong>) -> Option<Follow> {
    let tag: Tag = match wishes.tag?.parse() {
        Ok(tag) => tag,
        Err(error) => {
            errors.push(wrong("tag", format!("{error}")));
            return None;
        }
    };
    if let Some(other) = wishes.image_tag.as_ref().filter(|other| **other != tag) {
        errors.push(wrong("tag", format!("`image` names tag {other} already; write it in one of the two places")));
    }
    Some(Follow::Tag(tag))
}

fn semver(wishes: &Wishes<'_>, errors: &mut Vec<Wrong>) -> Option<Follow> {
    let text = wishes.semver?.trim();
    let range = Range::read(text).map_err(|problem| errors.push(wrong("semver", format!("{text:?} {problem}")))).ok();
    let default = if range.as_ref().is_some_and(Range::names_prerelease) { "any" } else { "none" };
    let prerelease = match wishes.prerelease.unwrap_or(default) {
        "none" => Prerelease::None,
        "same" => Prerelease::Same,
        "any" => Prerelease::Any,
        _ => {
            errors.push(wrong("prerelease", "must be one of none, same, any"));
            Prerelease::None
        }
    };
    let prefix = wishes.prefix.unwrap_or_default();
    let shape = wishes.image_tag.as_ref().and_then(|tag| shape(tag, prefix, wishes.suffix, prerelease, errors));
    if prerelease == Prerelease::Same && shape.as_ref().is_none_or(|shape| !shape.prerelease) {
        let message = "`same` needs a pre-release as the tag in `image`, such as `shop:1.5.0-rc.1`";
        errors.push(wrong("prerelease", message));
    }
    let precision = match wishes.precision {
        None => Some(shape.as_ref().map_or(NUMBERS, |shape| shape.numbers)),
        Some("any") => None,
        Some(text) => match text.parse() {
            Ok(number) if (1..=NUMBERS).contains(&number) => Some(number),
            _ => {
                errors.push(wrong("precision", "must be 1, 2, 3 or any"));
                None
            }
        },
    };
    range?;
    let derived = shape.map(|shape| shape.suffix).unwrap_or_default();
    let suffix = wishes.suffix.map_or(derived, str::to_owned);
    let rule = TagRule::Semver { range: text.to_owned(), prerelease, prefix: prefix.to_owned(), suffix, precision };
    Some(policy(wishes, rule))
}

/// What the tag in `image` says about those that are to follow it.
struct Shape {
    numbers: usize,
    suffix: String,
    prerelease: bool,
}

fn shape(
    tag: &Tag,
    prefix: &str,
    suffix: Option<&str>,
    prerelease: Prerelease,
    errors: &mut Vec<Wrong>,
) -> Option<Shape> {
    let mut refuse = |message: String| {
        errors.push(wrong("image", message));
        None
    };
    let Some(bare) = tag.as_str().strip_prefix(prefix) else {
        return refuse(format!("its tag {tag} does not begin with follow.prefix, {prefix:?}"));
    };
    let no_version = format!(
        "its tag {tag} is no version that `semver` could begin at; leave the tag out, or say what surrounds the version by follow.prefix and follow.suffix"
    );
    let (bare, suffix) = match suffix {
        Some(suffix) => match bare.strip_suffix(suffix) {
            Some(bare) => (bare, suffix.to_owned()),
            None => return refuse(format!("its tag {tag} does not end with follow.suffix, {suffix:?}")),
        },
        None => {
            let Some(version) = Version::read(bare) else { return refuse(no_version) };
            // The separator in front of the variant belongs to it.
            let start = version.variant().and_then(|variant| bare.rfind(variant)).map_or(bare.len(), |at| at - 1);
            let (bare, suffix) = bare.split_at_checked(start).unwrap_or((bare, ""));
            (bare, suffix.to_owned())
        }
    };
    let Some(version) = Version::read(bare).filter(|version| version.variant().is_none()) else {
        return refuse(no_version);
    };
    if version.numbers.len() > NUMBERS || version.padded {
        let advice =
            "a semantic version has up to 3 numbers without zeros in front; follow it by `numeric` or `calver`";
        return refuse(format!("its tag {tag} is no semantic version: {advice}"));
    }
    if !version.pre.is_empty() && prerelease == Prerelease::None {
        let pre = version.pre;
        return refuse(format!(
            "its tag {tag} is a pre-release, which `prerelease: none` leaves out; write `prerelease: same`, or \
             `suffix: \"-{pre}\"` if {pre} is a variant"
        ));
    }
    Some(Shape { numbers: version.numbers.len(), suffix, prerelease: !version.pre.is_empty() })
}

fn calver(wishes: &Wishes<'_>, errors: &mut Vec<Wrong>) -> Option<Follow> {
    let format = wishes.calver?;
    match Pattern::calver(format).and_then(|pattern| Pattern::new(&pattern, TagOrder::Numeric)) {
        Ok(_) => matching(policy(wishes, TagRule::Calver { format: format.to_owned() }), errors),
        Err(problem) => {
            errors.push(wrong("calver", problem));
            None
        }
    }
}

fn pattern(wishes: &Wishes<'_>, errors: &mut Vec<Wrong>) -> Option<Follow> {
    let (key, text) = match wishes.numeric {
        Some(text) => ("numeric", text),
        None => ("pattern", wishes.pattern?),
    };
    let order = match (key, wishes.order) {
        ("numeric", _) | (_, Some("numeric")) => TagOrder::Numeric,
        (_, Some("alphabetical")) => TagOrder::Alphabetical,
        (_, Some("natural")) => TagOrder::Natural,
        (_, Some(_)) => {
            errors.push(wrong("order", "must be one of numeric, alphabetical, natural"));
            TagOrder::Natural
        }
        (_, None) if Pattern::has_groups(text) => TagOrder::Numeric,
        (_, None) => TagOrder::Natural,
    };
    if let Err(problem) = Pattern::new(text, order) {
        errors.push(wrong(key, problem));
        return None;
    }
    if key == "pattern" && wishes.order.is_none() && !Pattern::has_groups(text) {
        // Any order of commit hashes is none.
        let message = "has no group to compare tags by: add one, such as `(?P<n>\\d+)`, or say `order: natural` or \
                       `order: alphabetical`";
        errors.push(wrong(key, message));
    }
    matching(policy(wishes, TagRule::Pattern { pattern: text.to_owned(), order }), errors)
}

fn policy(wishes: &Wishes<'_>, rule: TagRule) -> Follow {
    let (floor, allow_downgrade) = (wishes.image_tag.clone(), wishes.allow_downgrade);
    Follow::Policy(TagPolicy { rule, floor, allow_downgrade })
}

/// A tag in `image` that the policy would never follow is a mistake in one of the two.
fn matching(follow: Follow, errors: &mut Vec<Wrong>) -> Option<Follow> {
    if let Follow::Policy(policy) = &follow
        && let Some(floor) = &policy.floor
        && let Ok(ready) = Policy::new(policy)
        && let (_, Some(lost)) = ready.judge(floor)
    {
        let why = if lost == Lost::Artifact { "is a signature" } else { "does not match" };
        errors.push(wrong("image", format!("its tag {floor} {why}; leave the tag out, or change `follow`")));
        return None;
    }
    Some(follow)
}
