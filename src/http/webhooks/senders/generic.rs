//! What a CI job sends with `curl`: `{"image": "host/repository:tag"}`, or `{"name": …, "tag": …, "host": …}`; both may
//! carry a `digest`. Bodies of other programs are read by the paths that the receiver configures.

use axum::http::HeaderMap;
use serde_json::{Value, json};

use crate::http::webhooks::path::scalar;
use crate::http::webhooks::reading::{Misread, Pushes, Reading, json as parse, names_image, quoted};
use crate::http::webhooks::receiver::{Fields, HookReceiver, is_registry};
use crate::http::webhooks::sender::{Facts, Proof, Sample, Subject};

pub(in crate::http::webhooks) const FACTS: Facts = Facts {
    label: "generic",
    title: "a CI job or another program",
    read,
    proofs: &[Proof::Token, Proof::Hmac, Proof::IdToken, Proof::Url],
    guide: "\
In the job, after the push, with the secret in the CI's own store of secrets:

  curl --fail-with-body --retry 3 {url} \\
    -H \"Authorization: Bearer {secret}\" -H 'Content-Type: application/json' \\
    -d '{\"image\": \"registry.example.com/shop:v1\"}'

For a program that sends a body of its own, say where it has what: repository: $.image.name and tag: $.image.tag.
A CI that issues ID tokens (GitHub Actions, GitLab) needs no secret: give the receiver `id_token` instead.",
    sample,
    ..Facts::COMMON
};

pub(in crate::http::webhooks) fn read(receiver: &HookReceiver, _: &HeaderMap, body: &[u8]) -> Result<Reading, Misread> {
    let body = parse(body)?;
    if receiver.fields.repository.is_some() {
        return by_paths(receiver, &body);
    }
    let field = |name: &str| body.get(name).and_then(scalar);
    let name = field("image").or_else(|| field("name")).ok_or(Misread::Missing("`image` or `name`"))?;
    let image = Image::of(&name);
    let (host, path) = locate(receiver, field("host").as_deref(), image.path);
    let (tag, digest) = (field("tag"), field("digest"));
    let tag = tag.as_deref().or(image.tag);
    let mut pushes = Pushes::of(receiver);
    push(&mut pushes, host.as_deref(), path, tag, digest.as_deref().or(image.digest))?;
    pushes.finish(None, "nothing was pushed")
}

fn by_paths(receiver: &HookReceiver, body: &Value) -> Result<Reading, Misread> {
    let Fields { repository: Some(at), tag } = &receiver.fields else {
        return Err(Misread::Missing("path to the repository"));
    };
    let names = at.find(body);
    let tags = tag.as_ref().map(|tag| tag.find(body)).unwrap_or_default();
    if names.is_empty() {
        return Err(Misread::Missing("repository where this receiver looks for it"));
    }
    let mut pushes = Pushes::of(receiver);
    // One repository may have several tags, and a list of repositories a list of tags of the same length.
    let pairs = names.len().max(tags.len());
    if names.len() > 1 && tags.len() > 1 && names.len() != tags.len() {
        return Err(Misread::Senseless("the number of tags", tags.len().to_string()));
    }
    for (index, name) in (0..pairs).zip(names.iter().cycle()) {
        let image = Image::of(name);
        let tag = if tags.len() > 1 { tags.get(index) } else { tags.first() };
        let (host, path) = locate(receiver, None, image.path);
        push(&mut pushes, host.as_deref(), path, tag.map(String::as_str).or(image.tag), image.digest)?;
    }
    pushes.finish(None, "nothing was pushed")
}

/// Without a tag, every tag of the repository is looked at; a job that names a wrong one is told.
fn push(
    pushes: &mut Pushes<'_>,
    host: Option<&str>,
    path: &str,
    tag: Option<&str>,
    digest: Option<&str>,
) -> Result<(), Misread> {
    match tag {
        None => pushes.add_untold(host, path, digest),
        Some(tag) if names_image(tag) && tag.parse::<crate::model::Tag>().is_err() => {
            return Err(Misread::Senseless("the tag", quoted(tag)));
        }
        Some(tag) => pushes.add(host, path, Some(tag), digest),
    }
    Ok(())
}

/// A reference's parts, not yet judged.
struct Image<'a> {
    path: &'a str,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

impl<'a> Image<'a> {
    fn of(name: &'a str) -> Self {
        let (name, digest) = name.split_once('@').map_or((name, None), |(name, digest)| (name, Some(digest)));
        // The last colon, unless it belongs to a port.
        match name.rsplit_once(':') {
            Some((path, tag)) if !tag.contains('/') => Self { path, tag: Some(tag), digest },
            _ => Self { path: name, tag: None, digest },
        }
    }
}

/// Registry and path: by the host field, by a host in the name, by the receiver's default, or Docker Hub.
fn locate<'a>(receiver: &HookReceiver, host: Option<&str>, path: &'a str) -> (Option<String>, &'a str) {
    if host.is_some() {
        return (host.map(str::to_owned), path);
    }
    match path.split_once('/') {
        Some((first, rest)) if is_registry(first) || receiver.alias(first).is_some() => (Some(first.to_owned()), rest),
        _ if receiver.default_host.is_some() => (None, path),
        _ => (Some("docker.io".to_owned()), path),
    }
}

pub(in crate::http::webhooks) fn sample(subject: &Subject) -> Sample {
    let Subject { repository, tag, digest, .. } = subject;
    Sample::json(&json!({"image": format!("{repository}:{tag}"), "digest": digest}))
}
