//! Amazon ECR through an EventBridge API destination: the event `ECR Image Action`, untransformed.
//!
//! Sent as best effort, within 5 s, again after 429 and 5xx but never after another 4xx. It names account and region, from
//! which the registry follows. Its connection sends Basic, a header of any name, or an OAuth token.

use axum::http::HeaderMap;
use serde_json::{Value, json};

use crate::http::webhooks::reading::{Misread, Pushes, Reading, json as parse, text};
use crate::http::webhooks::receiver::HookReceiver;
use crate::http::webhooks::sender::{Facts, Proof, Sample, Subject};

pub(in crate::http::webhooks) const FACTS: Facts = Facts {
    label: "ecr",
    title: "Amazon ECR (EventBridge)",
    read,
    proofs: &[Proof::Token],
    homes: &[".amazonaws.com", ".amazonaws.com.cn"],
    guide: "\
In Amazon EventBridge:

  1. API destinations > Connections > Create: authorization API key,
     API key name Authorization, value Bearer {secret}
  2. API destinations > Create: endpoint {url}, method POST, that connection
  3. Rules > Create, with this event pattern and the API destination as target (no input transformer):
     {\"source\": [\"aws.ecr\"], \"detail-type\": [\"ECR Image Action\"],
      \"detail\": {\"action-type\": [\"PUSH\"], \"result\": [\"SUCCESS\"]}}

API destinations are called by https only.",
    sample,
    ..Facts::COMMON
};

fn read(receiver: &HookReceiver, _: &HeaderMap, body: &[u8]) -> Result<Reading, Misread> {
    let body = parse(body)?;
    let id = text(&body, "/id").map(str::to_owned);
    read_event(receiver, &body, id)
}

/// An event of EventBridge; `id` is the delivery's.
pub(super) fn read_event(receiver: &HookReceiver, event: &Value, id: Option<String>) -> Result<Reading, Misread> {
    if text(event, "/source") != Some("aws.ecr") || text(event, "/detail-type") != Some("ECR Image Action") {
        return Ok(Reading::Nothing("an event that is not an action on an image in ECR"));
    }
    if text(event, "/detail/action-type") != Some("PUSH") || text(event, "/detail/result") != Some("SUCCESS") {
        return Ok(Reading::Nothing("nothing was pushed"));
    }
    let account = text(event, "/account").ok_or(Misread::Missing("`account`"))?;
    let region = text(event, "/region").ok_or(Misread::Missing("`region`"))?;
    let path = text(event, "/detail/repository-name").ok_or(Misread::Missing("`detail.repository-name`"))?;
    let end = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
    let host = format!("{account}.dkr.ecr.{region}.{end}");
    let mut pushes = Pushes::of(receiver);
    pushes.add(Some(&host), path, text(event, "/detail/image-tag"), text(event, "/detail/image-digest"));
    pushes.finish(id, "nothing was pushed")
}

pub(super) fn event(subject: &Subject) -> Value {
    let Subject { repository, tag, digest, .. } = subject;
    let mut parts = repository.registry().split('.');
    let account = parts.next().unwrap_or_default();
    let region = parts.nth(2).unwrap_or_default();
    json!({
        "version": "0", "id": subject.id, "detail-type": "ECR Image Action", "source": "aws.ecr",
        "account": account, "region": region, "resources": [],
        "detail": {
            "result": "SUCCESS", "action-type": "PUSH", "repository-name": repository.path(), "image-tag": tag,
            "image-digest": digest,
        },
    })
}

fn sample(subject: &Subject) -> Sample {
    Sample::json(&event(subject)).with("content-type", "application/json; charset=utf-8")
}
