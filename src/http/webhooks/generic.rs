//! What a CI job sends with `curl`: `{"image": "host/repository:tag"}`, or `{"name": …, "tag": …, "host": …}`;
//! both may carry a `digest`.

use serde_json::Value;

use super::receiver::{HookReceiver, Ignored, is_registry};
use crate::engine::Hint;
use crate::model::{Digest, Repository, Tag};

pub(super) fn hints(receiver: &HookReceiver, body: &[u8]) -> Result<Vec<Hint>, Ignored> {
    let body: Value = serde_json::from_slice(body).map_err(|_| Ignored::Strange("the body is not JSON".into()))?;
    let name = text(&body, "image").or_else(|| text(&body, "name"));
    let name = name.ok_or_else(|| Ignored::Strange("the body has neither \"image\" nor \"name\"".into()))?;
    let (name, inline_digest) =
        name.split_once('@').map_or((name.as_str(), None), |(name, digest)| (name, Some(digest)));
    let (path, inline_tag) = split_tag(name);
    let repositories = locate(receiver, text(&body, "host").as_deref(), path);
    if repositories.is_empty() {
        let shown: String = name.chars().take(100).collect();
        return Err(Ignored::Strange(format!("{shown:?} does not name an image")));
    }
    let tag = match text(&body, "tag").or_else(|| inline_tag.map(str::to_owned)) {
        None => None,
        Some(tag) => Some(tag.parse::<Tag>().map_err(|_| Ignored::Strange("the tag is not valid".into()))?),
    };
    let digest = text(&body, "digest").and_then(|digest| digest.parse::<Digest>().ok());
    let digest = digest.or_else(|| inline_digest?.parse().ok());
    let hint = |repository| Hint { repository, tag: tag.clone(), digest: digest.clone() };
    Ok(repositories.into_iter().map(hint).collect())
}

/// The repositories that are meant: by the host field, by a host in the name, or by the receiver's default.
fn locate(receiver: &HookReceiver, host: Option<&str>, path: &str) -> Vec<Repository> {
    if host.is_some() {
        return receiver.repositories(host, path);
    }
    let (first, rest) = path.split_once('/').unwrap_or((path, ""));
    let aliased = receiver.aliases.contains_key(&first.to_ascii_lowercase());
    if !rest.is_empty() && (is_registry(first) || aliased) {
        return receiver.repositories(Some(first), rest);
    }
    if receiver.default_host.is_some() {
        return receiver.repositories(None, path);
    }
    path.parse().into_iter().collect()
}

/// Splits off the tag: after the last colon, unless that belongs to a port.
fn split_tag(name: &str) -> (&str, Option<&str>) {
    match name.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (name, None),
    }
}

/// A field's text; YAML-minded senders make numbers of tags.
fn text(body: &Value, field: &str) -> Option<String> {
    match body.get(field)? {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}
