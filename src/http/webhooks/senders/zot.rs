//! zot: the CloudEvent `….image.updated`, in binary mode (attributes as `ce-` headers, the data as body) or structured.
//!
//! Sent once, after the tag was written, and not at all when a push changes nothing. The host is not in it; `source` can
//! be configured at zot, and an alias can map it. `reference` is a tag or a digest. Headers are static.

use axum::http::HeaderMap;
use serde_json::json;

use crate::http::webhooks::reading::{Misread, Pushes, Reading, header, json as parse, text};
use crate::http::webhooks::receiver::HookReceiver;
use crate::http::webhooks::sender::{Facts, Proof, Sample, Subject};

pub(in crate::http::webhooks) const FACTS: Facts = Facts {
    label: "zot",
    title: "zot",
    read,
    proofs: &[Proof::Token],
    names_registry: false,
    guide: "\
In zot's config.json, then restart zot. It must be a build with the extension `events` (zot, not zot-minimal):

  \"extensions\": {
    \"events\": {
      \"enable\": true,
      \"sinks\": [{
        \"type\": \"http\",
        \"address\": \"{url}\",
        \"timeout\": \"10s\",
        \"headers\": {\"Authorization\": \"Bearer {secret}\"}
      }]
    }
  }

zot does not say under which name it is pulled from: set the receiver's `default_host`.",
    sample,
    ..Facts::COMMON
};

fn read(receiver: &HookReceiver, headers: &HeaderMap, body: &[u8]) -> Result<Reading, Misread> {
    let body = parse(body)?;
    let (kind, source, id, data) = match header(headers, "ce-type") {
        Some(kind) => (Some(kind), header(headers, "ce-source"), header(headers, "ce-id"), &body),
        None => (text(&body, "/type"), text(&body, "/source"), text(&body, "/id"), body.get("data").unwrap_or(&body)),
    };
    if !kind.ok_or(Misread::Missing("`ce-type`"))?.ends_with(".image.updated") {
        return Ok(Reading::Nothing("an event that pushes no image"));
    }
    // The source of an unconfigured zot is the name of its project, which is no registry.
    let host = source.filter(|source| receiver.alias(source).is_some());
    let path = text(data, "/name").ok_or(Misread::Missing("`name`"))?;
    let mut pushes = Pushes::of(receiver);
    pushes.add(host, path, text(data, "/reference"), text(data, "/digest"));
    pushes.finish(id.map(str::to_owned), "nothing was pushed")
}

fn sample(subject: &Subject) -> Sample {
    let Subject { repository, tag, digest, .. } = subject;
    let media = "application/vnd.oci.image.index.v1+json";
    Sample::json(&json!({"name": repository.path(), "reference": tag, "digest": digest, "mediaType": media}))
        .with("ce-specversion", "1.0")
        .with("ce-id", &*subject.id)
        .with("ce-source", "zotregistry.dev")
        .with("ce-type", "zotregistry.image.updated")
}
