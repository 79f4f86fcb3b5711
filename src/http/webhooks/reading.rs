//! What a delivery says: the pushes in it, or why it leads to nothing. Everything here and in `senders` is pure.

use std::collections::BTreeSet;

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use serde_json::Value;

use super::receiver::HookReceiver;
use crate::engine::{Hint, SignatureHint};
use crate::model::{Digest, Tag};

/// Pushes in one delivery; the largest envelopes of registries have some dozens.
const MAX_PUSHES: usize = 256;

/// What is said of a delivery in which nothing is an image that could be followed.
pub(super) const NO_TAG: &str = "what was pushed has no tag, or holds a signature";

/// What an authentic delivery says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reading {
    /// Something was pushed: an image, or something beside one.
    Pushed {
        /// The sender's own id of this delivery, the same when it is sent again; not every sender has one.
        id: Option<String>,
        /// Where to look for images.
        hints: Vec<Hint>,
        /// Where something is that may be an image's signature.
        beside: Vec<SignatureHint>,
    },
    /// It is in order but announces nothing that anyone could wait for: a test, a pull, a layer.
    Nothing(&'static str),
}

/// A delivery that can't be understood. What it quotes of the delivery is cut short.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misread {
    /// Not JSON, or nested too deeply.
    #[error("the body is not JSON; is this receiver's `sender` the one that sends here?")]
    NotJson,
    /// A field that this sender always sends is missing or has another type.
    #[error("the body has no {0}; is this receiver's `sender` the one that sends here?")]
    Missing(&'static str),
    /// A field has a value that it can't have.
    #[error("{0} makes no sense: {1:?}")]
    Senseless(&'static str, String),
    /// The registry can't be told from the delivery.
    #[error("{0:?} is no repository of a registry; configure `default_host`, or an alias for the sender's name of it")]
    Unplaced(String),
    /// More than anyone sends.
    #[error("more than {MAX_PUSHES} pushes in one delivery")]
    TooMany,
}

/// What a sender says about itself: its file's reader has this type.
pub(super) type Read = fn(&HookReceiver, &HeaderMap, &[u8]) -> Result<Reading, Misread>;

/// The body as JSON. `serde_json` gives up beyond 128 levels.
pub(super) fn json(body: &[u8]) -> Result<Value, Misread> {
    serde_json::from_slice(body).map_err(|_| Misread::NotJson)
}

/// The body as JSON, also when it comes as the form field `payload`.
pub(super) fn json_or_form(headers: &HeaderMap, body: &[u8]) -> Result<Value, Misread> {
    let kind = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !kind.trim_start().to_ascii_lowercase().starts_with("application/x-www-form-urlencoded") {
        return json(body);
    }
    let payload = url::form_urlencoded::parse(body).find(|(name, _)| name == "payload");
    json(payload.ok_or(Misread::Missing("form field `payload`"))?.1.as_bytes())
}

/// A text field by JSON pointer; empty ones are as good as none.
pub(super) fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str().map(str::trim).filter(|text| !text.is_empty())
}

/// A header's text.
pub(super) fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok().map(str::trim).filter(|text| !text.is_empty())
}

/// What of a delivery may be quoted.
pub(super) fn quoted(text: &str) -> String {
    text.chars().take(100).collect()
}

/// False for what is no image's tag: digests in its place, and the tags that hold signatures, attestations and
/// referrers (`sha256-<hex>`, with or without a suffix).
pub(super) fn names_image(tag: &str) -> bool {
    // Artifactory has `sha256__` where others have a colon.
    let hex = ["sha256-", "sha512-", "sha256__"].into_iter().find_map(|algorithm| tag.strip_prefix(algorithm));
    let referrer = hex.is_some_and(|rest| rest.bytes().take_while(u8::is_ascii_hexdigit).count() >= 64);
    !referrer && !tag.contains(':') && !tag.is_empty()
}

/// Something beside images may be the signature of one.
enum Beside {
    /// It says of which: by the tag that stands in for a digest, with cosign's `.sig` for signatures.
    Of(Tag),
    /// It does not: a manifest without a tag refers to another one, or is an index's child.
    Untold,
    /// It is none: an attestation, a list of packages.
    Nothing,
}

impl Beside {
    /// What stands where an image's tag would.
    fn read(tag: Option<&str>) -> Self {
        let Some(tag) = tag.map(str::trim).filter(|tag| !tag.is_empty() && !tag.contains(':')) else {
            return Self::Untold;
        };
        let end = tag.rsplit_once('.').map_or("", |(_, end)| end);
        let stands_in = (tag.starts_with("sha256-") || tag.starts_with("sha512-")) && matches!(end, "" | "sig");
        match tag.parse() {
            Ok(tag) if stands_in => Self::Of(tag),
            _ if tag.starts_with("sha256__") => Self::Untold,
            _ => Self::Nothing,
        }
    }
}

/// Collects the pushes of a delivery.
pub(super) struct Pushes<'a> {
    receiver: &'a HookReceiver,
    known: BTreeSet<(crate::model::Repository, Option<Tag>, Option<Digest>)>,
    hints: Vec<Hint>,
    beside: Vec<SignatureHint>,
    untagged: bool,
    unplaced: Option<String>,
    senseless: Option<String>,
    too_many: bool,
}

impl<'a> Pushes<'a> {
    pub(super) fn of(receiver: &'a HookReceiver) -> Self {
        let (known, hints, beside) = (BTreeSet::new(), Vec::new(), Vec::new());
        Self { receiver, known, hints, beside, untagged: false, unplaced: None, senseless: None, too_many: false }
    }

    /// A push of `path` on the registry that the sender calls `host`.
    pub(super) fn add(&mut self, host: Option<&str>, path: &str, tag: Option<&str>, digest: Option<&str>) {
        self.add_at(&[host], path, tag, digest);
    }

    /// A push of `path` on a registry for which the sender has several names, each of which may be ours.
    pub(super) fn add_at(&mut self, hosts: &[Option<&str>], path: &str, tag: Option<&str>, digest: Option<&str>) {
        let Some(tag) = tag.map(str::trim).filter(|tag| names_image(tag)) else {
            return self.add_beside(hosts, path, tag);
        };
        match tag.parse() {
            Ok(tag) => self.place(hosts, path, Some(tag), digest),
            Err(_) => self.senseless = Some(quoted(tag)),
        }
    }

    /// A push that is nobody's business, such as a layer.
    pub(super) fn pass_over(&mut self) {
        self.untagged = true;
    }

    /// A push of something beside images.
    fn add_beside(&mut self, hosts: &[Option<&str>], path: &str, tag: Option<&str>) {
        self.untagged = true;
        let tag = match Beside::read(tag) {
            Beside::Of(tag) => Some(tag),
            Beside::Untold => None,
            Beside::Nothing => return,
        };
        let repositories = hosts.iter().flat_map(|host| self.receiver.repositories(*host, path));
        for repository in repositories {
            let hint = SignatureHint { repository, tag: tag.clone() };
            if self.beside.len() < MAX_PUSHES && !self.beside.contains(&hint) {
                self.beside.push(hint);
            }
        }
    }

    /// A push after which every tag of the repository is to be looked at.
    pub(super) fn add_untold(&mut self, host: Option<&str>, path: &str, digest: Option<&str>) {
        self.place(&[host], path, None, digest);
    }

    fn place(&mut self, hosts: &[Option<&str>], path: &str, tag: Option<Tag>, digest: Option<&str>) {
        let digest = digest.and_then(|digest| digest.trim().parse::<Digest>().ok());
        let repositories: BTreeSet<_> = hosts.iter().flat_map(|host| self.receiver.repositories(*host, path)).collect();
        if repositories.is_empty() {
            let host = hosts.iter().flatten().next().map_or(String::new(), |host| format!("{host}/"));
            self.unplaced = Some(quoted(&format!("{host}{path}")));
        }
        let early = self.receiver.sender.facts().early;
        for repository in repositories {
            self.too_many |= self.hints.len() >= MAX_PUSHES;
            if !self.too_many && self.known.insert((repository.clone(), tag.clone(), digest.clone())) {
                self.hints.push(Hint { repository, tag: tag.clone(), digest: digest.clone(), early });
            }
        }
    }

    /// What came together; `otherwise` is said when nothing in the delivery was a push.
    pub(super) fn finish(self, id: Option<String>, otherwise: &'static str) -> Result<Reading, Misread> {
        match (self.senseless, self.unplaced) {
            _ if self.too_many => Err(Misread::TooMany),
            _ if !self.hints.is_empty() => Ok(Reading::Pushed { id, hints: self.hints, beside: self.beside }),
            (Some(tag), _) => Err(Misread::Senseless("the tag", tag)),
            (None, Some(place)) => Err(Misread::Unplaced(place)),
            (None, None) if !self.beside.is_empty() => {
                Ok(Reading::Pushed { id, hints: self.hints, beside: self.beside })
            }
            (None, None) if self.untagged => Ok(Reading::Nothing(NO_TAG)),
            (None, None) => Ok(Reading::Nothing(otherwise)),
        }
    }
}
