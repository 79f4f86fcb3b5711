//! The CNCF distribution registry (`registry:2`, `registry:3`) and those built on it: an envelope of events, media type
//! `application/vnd.docker.distribution.events.v1+json` (2.x) or `…v2+json` (3.x), or plain JSON.
//!
//! A push of one image makes an event for every layer, every platform's manifest, and the index; only the one
//! that carries a tag is of interest. It is sent before the registry has written the tag (distribution#2625), and is
//! sent again for ever until it is answered with 2xx: meanwhile no other event of that registry arrives.
//! `request.host` is whatever name the pusher used. Headers are static; nothing is signed.

use axum::http::HeaderMap;
use serde_json::{Value, json};

use crate::http::webhooks::reading::{Misread, Pushes, Reading, json as parse, text};
use crate::http::webhooks::receiver::HookReceiver;
use crate::http::webhooks::sender::{Facts, Proof, Sample, Subject};

pub(in crate::http::webhooks) const FACTS: Facts = Facts {
    label: "distribution",
    title: "CNCF distribution (registry:2, registry:3)",
    read,
    proofs: &[Proof::Token],
    early: true,
    guide: "\
In the registry's config.yml, then restart the registry:

  notifications:
    endpoints:
      - name: tagboat
        url: {url}
        headers: {Authorization: [\"Bearer {secret}\"]}
        timeout: 1s
        threshold: 5
        backoff: 1s
        ignore: {actions: [pull]}

If clients push under another name than the one in your apps' images, map it: aliases: {\"registry:5000\": registry.example.com}",
    sample,
    ..Facts::COMMON
};

pub(in crate::http::webhooks) fn read(receiver: &HookReceiver, _: &HeaderMap, body: &[u8]) -> Result<Reading, Misread> {
    let envelope = parse(body)?;
    let events = envelope.get("events").and_then(Value::as_array).ok_or(Misread::Missing("list of `events`"))?;
    let mut pushes = Pushes::of(receiver);
    for event in events.iter().filter(|event| text(event, "/action") == Some("push")) {
        let is_layer = text(event, "/target/url").is_some_and(|url| url.contains("/blobs/"));
        if is_layer {
            pushes.pass_over();
        } else if let Some(path) = text(event, "/target/repository") {
            pushes.add(text(event, "/request/host"), path, text(event, "/target/tag"), text(event, "/target/digest"));
        }
    }
    let ids: Vec<_> = events.iter().filter_map(|event| text(event, "/id")).collect();
    let id = (!ids.is_empty() && ids.len() == events.len()).then(|| ids.join(","));
    pushes.finish(id, "no event pushes anything")
}

pub(in crate::http::webhooks) fn sample(subject: &Subject) -> Sample {
    let Subject { repository, tag, digest, .. } = subject;
    let event = json!({
        "id": subject.id, "action": "push",
        "target": {
            "mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest,
            "repository": repository.path(), "tag": tag,
        },
        "request": {"host": repository.registry(), "method": "PUT"},
    });
    Sample::json(&json!({"events": [event]})).with("content-type", "application/vnd.docker.distribution.events.v1+json")
}
