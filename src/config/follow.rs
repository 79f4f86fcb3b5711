//! `image` and `follow` of an app → what it follows.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::decide::policy::{Wishes, settle};
use crate::model::{Follow, ImageRef, Tag, Version};

use super::errors::Report;
use super::words::Scalar;

/// Which of a repository's tags an app follows: one of `tag`, `semver`, `calver`, `numeric` and `pattern`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct FollowFile {
    /// This tag, whatever it points to.
    pub(super) tag: Option<String>,
    /// The highest version of a range: `^1.4`, `~1.4.2`, `>=1.2 <3`, `1.x`, `1.2 - 1.5`, `^1 || ^3`. A `v` in front of a
    /// tag's version means nothing.
    pub(super) semver: Option<String>,
    /// The latest of tags in this form: `YYYY.0M.0D`, `YY.MM-MICRO`; of YYYY, YY, 0Y, MM, 0M, WW, DD, 0D, MAJOR, MINOR,
    /// MICRO and PATCH, compared as numbers from left to right; all else in it stands for itself.
    pub(super) calver: Option<String>,
    /// A regular expression that takes the whole tag; its groups (the named ones, if there are any) are compared as whole
    /// numbers of any length, from left to right: `main-(?P<n>\d+)`.
    pub(super) numeric: Option<String>,
    /// A regular expression that takes the whole tag, compared by its groups, or as a whole, in `order`.
    pub(super) pattern: Option<String>,
    /// Of a `pattern`: `numeric` (where there is a group, that is the default), `alphabetical`, or `natural`, which is
    /// alphabetical with numbers as numbers.
    pub(super) order: Option<String>,
    /// Of `semver`: `none` (default), `same` (those with the name that the tag in `image` has) or `any` (default when the
    /// range names one).
    pub(super) prerelease: Option<String>,
    /// Of `semver`: how many numbers a tag's version has, 1, 2, 3 or `any`. Default: as the tag in `image`, else 3.
    pub(super) precision: Option<Scalar>,
    /// Of `semver`: what stands in front of the version, such as `debian-`.
    pub(super) prefix: Option<String>,
    /// Of `semver`: what stands behind the version, such as `-alpine`. Default: as the tag in `image`.
    pub(super) suffix: Option<String>,
    /// When the tag that was followed is removed, an older one may be deployed.
    pub(super) allow_downgrade: Option<bool>,
}

/// What an app follows; `None` when that can't be said, which the report then tells.
pub(super) fn follow(
    image: &ImageRef,
    text: &str,
    file: Option<&FollowFile>,
    path: &str,
    report: &mut Report,
) -> Option<Follow> {
    let Some(file) = file else {
        return Some(match &image.version {
            Version::Tag(tag) => Follow::Tag(tag.clone()),
            Version::Digest(digest) => Follow::Pinned(digest.clone()),
        });
    };
    let image_tag = match &image.version {
        Version::Tag(tag) => named(text).then(|| tag.clone()),
        Version::Digest(_) => {
            let message = "`image` names a digest, which never moves; leave out the digest, or `follow`";
            report.add(&format!("{path}.follow"), message);
            return None;
        }
    };
    let precision = file.precision.as_ref().map(|precision| precision.0.as_str());
    settle(&wishes(file, image_tag, precision))
        .map_err(|problems| {
            for problem in problems {
                let at = match problem.key {
                    "" => format!("{path}.follow"),
                    "image" => format!("{path}.image"),
                    key => format!("{path}.follow.{key}"),
                };
                report.add(&at, problem.message);
            }
        })
        .ok()
}

fn wishes<'a>(file: &'a FollowFile, image_tag: Option<Tag>, precision: Option<&'a str>) -> Wishes<'a> {
    Wishes {
        image_tag,
        tag: file.tag.as_deref(),
        semver: file.semver.as_deref(),
        calver: file.calver.as_deref(),
        numeric: file.numeric.as_deref(),
        pattern: file.pattern.as_deref(),
        order: file.order.as_deref(),
        prerelease: file.prerelease.as_deref(),
        precision,
        prefix: file.prefix.as_deref(),
        suffix: file.suffix.as_deref(),
        allow_downgrade: file.allow_downgrade.unwrap_or_default(),
    }
}

/// The reference names its tag, and is not given `latest` for want of one.
fn named(image: &str) -> bool {
    image.rsplit('/').next().is_some_and(|last| last.contains(':'))
}

/// Notes what is risky for an app that people depend on.
pub(super) fn advise(follow: &Follow, production: bool, path: &str, report: &mut Report) {
    if production && matches!(follow, Follow::Tag(tag) if tag.as_str() == "latest") {
        report.warn(
            &format!("{path}.image"),
            "a production app follows `latest`, which is whatever somebody pushed last; follow versions instead, such as \
             `follow: {semver: \"^1.4\"}`, or a tag that only releases move",
        );
    }
}
