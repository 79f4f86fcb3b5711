//! Notifications of the CNCF distribution registry: an envelope of events, media type
//! `application/vnd.docker.distribution.events.v1+json` (2.x) or `…v2+json` (3.x), or plain JSON.
//!
//! A push of one image makes an event for every layer, every platform's manifest, and the index; only the one
//! that carries a tag is of interest. It is sent before the registry has written the tag (distribution#2625).
//! `request.host` is whatever name the pusher used.

use std::collections::BTreeSet;

use serde_json::Value;

use super::receiver::{HookReceiver, Ignored};
use crate::engine::Hint;
use crate::model::{Digest, Tag};

pub(super) fn hints(receiver: &HookReceiver, body: &[u8]) -> Result<Vec<Hint>, Ignored> {
    let envelope: Value = serde_json::from_slice(body).map_err(|_| Ignored::Strange("the body is not JSON".into()))?;
    let Some(events) = envelope.get("events").and_then(Value::as_array) else {
        return Err(Ignored::Strange("the body has no list of events".into()));
    };
    let mut known = BTreeSet::new();
    let mut hints = Vec::new();
    let mut unplaced = None;
    for event in events {
        let Some((path, tag)) = pushed_tag(event) else { continue };
        let host = text(event, "/request/host");
        let repositories = receiver.repositories(host, path);
        if repositories.is_empty() {
            unplaced = Some(host.unwrap_or_default().chars().take(100).collect::<String>());
        }
        let digest = text(event, "/target/digest").and_then(|digest| digest.parse::<Digest>().ok());
        for repository in repositories {
            if known.insert((repository.clone(), tag.clone(), digest.clone())) {
                hints.push(Hint { repository, tag: Some(tag.clone()), digest: digest.clone() });
            }
        }
    }
    match unplaced {
        _ if !hints.is_empty() => Ok(hints),
        Some(host) => {
            Err(Ignored::Strange(format!("{host:?} is not a registry: configure an alias or a default_host")))
        }
        None => Err(Ignored::Uninteresting("no event pushes a tag")),
    }
}

/// Repository and tag of an event that pushes one.
fn pushed_tag(event: &Value) -> Option<(&str, Tag)> {
    let tag = text(event, "/target/tag").filter(|tag| text(event, "/action") == Some("push") && names_image(tag))?;
    Some((text(event, "/target/repository")?, tag.parse().ok()?))
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str().filter(|text| !text.is_empty())
}

/// False for digests in the tag's place, and for the tags that hold signatures, attestations and referrers:
/// `sha256-<hex>`, with or without a suffix.
fn names_image(tag: &str) -> bool {
    let hex = tag.strip_prefix("sha256-").or_else(|| tag.strip_prefix("sha512-"));
    let referrer = hex.is_some_and(|rest| rest.bytes().take_while(u8::is_ascii_hexdigit).count() >= 64);
    !referrer && !tag.contains(':')
}
