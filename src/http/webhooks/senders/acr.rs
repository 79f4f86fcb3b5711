//! Azure Container Registry's own webhooks: one event a delivery, with static headers; nothing is signed.
//!
//! `ping` is its test. `quarantine` comes before a push that can't be pulled yet; the `push` follows when it can. Charts
//! have actions of their own. The host is whatever name the pusher used.

use axum::http::HeaderMap;
use serde_json::json;

use crate::http::webhooks::reading::{Misread, Pushes, Reading, json as parse, text};
use crate::http::webhooks::receiver::HookReceiver;
use crate::http::webhooks::sender::{Facts, Proof, Sample, Subject};

pub(in crate::http::webhooks) const FACTS: Facts = Facts {
    label: "acr",
    title: "Azure Container Registry",
    read,
    proofs: &[Proof::Token, Proof::Url],
    homes: &[".azurecr.io"],
    guide: "\
With the Azure CLI:

  az acr webhook create --registry REGISTRY --name tagboat --actions push \\
    --uri {url} --headers \"Authorization=Bearer {secret}\"

In the portal: the registry > Services > Webhooks > Add; custom header `Authorization: Bearer {secret}`, action push.",
    sample,
    ..Facts::COMMON
};

fn read(receiver: &HookReceiver, _: &HeaderMap, body: &[u8]) -> Result<Reading, Misread> {
    let body = parse(body)?;
    match text(&body, "/action").ok_or(Misread::Missing("`action`"))? {
        "push" => {}
        "ping" => return Ok(Reading::Nothing("a ping")),
        "quarantine" => return Ok(Reading::Nothing("in quarantine: its push is announced when it can be pulled")),
        _ => return Ok(Reading::Nothing("an action that pushes no image")),
    }
    let path = text(&body, "/target/repository").ok_or(Misread::Missing("`target.repository`"))?;
    let mut pushes = Pushes::of(receiver);
    pushes.add(text(&body, "/request/host"), path, text(&body, "/target/tag"), text(&body, "/target/digest"));
    pushes.finish(text(&body, "/id").map(str::to_owned), "nothing was pushed")
}

fn sample(subject: &Subject) -> Sample {
    let Subject { repository, tag, digest, .. } = subject;
    Sample::json(&json!({
        "id": subject.id, "action": "push",
        "target": {"repository": repository.path(), "tag": tag, "digest": digest},
        "request": {"host": repository.registry(), "method": "PUT"},
    }))
}
