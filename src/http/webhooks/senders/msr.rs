//! Mirantis Secure Registry 2 and 3, formerly Docker Trusted Registry: `TAG_PUSH`. No host, nothing is signed. (MSR 4 is
//! Harbor.)

use axum::http::HeaderMap;
use serde_json::json;

use crate::http::webhooks::reading::{Misread, Pushes, Reading, json as parse, text};
use crate::http::webhooks::receiver::HookReceiver;
use crate::http::webhooks::sender::{Facts, Proof, Sample, Subject};

pub(in crate::http::webhooks) const FACTS: Facts = Facts {
    label: "msr",
    title: "Mirantis Secure Registry (Docker Trusted Registry)",
    read,
    proofs: &[Proof::Url],
    names_registry: false,
    guide: "\
In MSR: the repository > Webhooks > New webhook.

  Notification to receive: Tag pushed to repository
  Webhook URL:             {url}

It can prove itself by nothing else, so this address is the secret: do not show it, and use https.
MSR does not say under which name it is pulled from: set the receiver's `default_host`.
MSR 4 is Harbor: use that sender.",
    sample,
    ..Facts::COMMON
};

fn read(receiver: &HookReceiver, _: &HeaderMap, body: &[u8]) -> Result<Reading, Misread> {
    let body = parse(body)?;
    if text(&body, "/type").ok_or(Misread::Missing("`type`"))? != "TAG_PUSH" {
        return Ok(Reading::Nothing("an event that pushes no tag"));
    }
    let namespace = text(&body, "/contents/namespace").ok_or(Misread::Missing("`contents.namespace`"))?;
    let name = text(&body, "/contents/repository").ok_or(Misread::Missing("`contents.repository`"))?;
    let mut pushes = Pushes::of(receiver);
    let path = format!("{namespace}/{name}");
    pushes.add(None, &path, text(&body, "/contents/tag"), text(&body, "/contents/digest"));
    pushes.finish(None, "no tag was pushed")
}

fn sample(subject: &Subject) -> Sample {
    let Subject { repository, tag, digest, .. } = subject;
    let (namespace, name) = repository.path().split_once('/').unwrap_or(("library", repository.path()));
    let contents = json!({"namespace": namespace, "repository": name, "tag": tag, "digest": digest});
    Sample::json(&json!({"type": "TAG_PUSH", "contents": contents}))
}
