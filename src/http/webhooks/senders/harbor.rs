//! Harbor: `PUSH_ARTIFACT` in its own format, or `harbor.artifact.pushed` as a CloudEvent in structured mode.
//!
//! What is pushed by digest (the children of an index, signatures, replication) has the digest in the tag's place.
//! Scans, retention and replication arrive at the same address. It is sent for every push, also of what was there
//! already. The configured `Auth Header` is sent as it is, as `Authorization`; nothing is signed.

use axum::http::HeaderMap;
use serde_json::{Value, json};

use crate::http::webhooks::reading::{Misread, Pushes, Reading, json as parse, text};
use crate::http::webhooks::receiver::HookReceiver;
use crate::http::webhooks::sender::{Facts, Proof, Sample, Subject};

pub(in crate::http::webhooks) const FACTS: Facts = Facts {
    label: "harbor",
    title: "Harbor",
    read,
    proofs: &[Proof::Token],
    guide: "\
In Harbor: the project > Webhooks > New webhook.

  Notify type:    http
  Payload format: Default, or CloudEvents
  Event type:     Artifact pushed
  Endpoint URL:   {url}
  Auth header:    Bearer {secret}

If Harbor calls itself otherwise than your apps' images do, add `default_host` to the receiver.",
    sample,
    ..Facts::COMMON
};

fn read(receiver: &HookReceiver, _: &HeaderMap, body: &[u8]) -> Result<Reading, Misread> {
    let body = parse(body)?;
    let kind = text(&body, "/type").ok_or(Misread::Missing("`type`"))?;
    let data = match kind {
        "PUSH_ARTIFACT" | "pushImage" => body.get("event_data"),
        "harbor.artifact.pushed" => body.get("data"),
        _ => return Ok(Reading::Nothing("an event that pushes nothing")),
    };
    let data = data.ok_or(Misread::Missing("`event_data` or `data`"))?;
    let full = text(data, "/repository/repo_full_name").ok_or(Misread::Missing("`repository.repo_full_name`"))?;
    let resources = data.get("resources").and_then(Value::as_array).ok_or(Misread::Missing("list of `resources`"))?;
    let mut pushes = Pushes::of(receiver);
    for resource in resources {
        let host = text(resource, "/resource_url").and_then(|url| url.split_once('/')).map(|(host, _)| host);
        pushes.add(host, full, text(resource, "/tag"), text(resource, "/digest"));
    }
    pushes.finish(text(&body, "/id").map(str::to_owned), "nothing was pushed")
}

fn sample(subject: &Subject) -> Sample {
    let Subject { repository, tag, digest, .. } = subject;
    let resource = json!({"digest": digest, "tag": tag, "resource_url": format!("{repository}:{tag}")});
    let data = json!({"resources": [resource], "repository": {"repo_full_name": repository.path()}});
    Sample::json(&json!({"type": "PUSH_ARTIFACT", "operator": "tagboat", "event_data": data}))
}
