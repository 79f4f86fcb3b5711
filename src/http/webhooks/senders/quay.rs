//! Quay: the tags of one push (a list; a map in 2013), no digest, no signature, no id. A template at the notification can
//! rewrite the body entirely. Quay switches a notification off after three failures.

use axum::http::HeaderMap;
use serde_json::{Value, json};

use crate::http::webhooks::reading::{Misread, Pushes, Reading, json as parse, text};
use crate::http::webhooks::receiver::HookReceiver;
use crate::http::webhooks::sender::{Facts, Proof, Sample, Subject};

pub(in crate::http::webhooks) const FACTS: Facts = Facts {
    label: "quay",
    title: "Quay",
    read,
    proofs: &[Proof::Url],
    homes: &["quay.io"],
    guide: "\
On quay.io or your Quay: the repository > Settings > Events and notifications > Create notification.

  When this event occurs: Push to Repository
  Then issue:             Webhook POST
  Webhook URL:            {url}
  POST body template:     leave it empty

Quay can prove itself by nothing else, so this address is the secret: do not show it, and use https.",
    sample,
    ..Facts::COMMON
};

fn read(receiver: &HookReceiver, _: &HeaderMap, body: &[u8]) -> Result<Reading, Misread> {
    let body = parse(body)?;
    let Some(tags) = body.get("updated_tags") else {
        return match text(&body, "/docker_url") {
            Some(_) => Ok(Reading::Nothing("an event that pushes no tag")),
            None => Err(Misread::Missing("`docker_url`")),
        };
    };
    let url = text(&body, "/docker_url").ok_or(Misread::Missing("`docker_url`"))?;
    let (host, path) = url.split_once('/').ok_or_else(|| Misread::Unplaced(url.chars().take(100).collect()))?;
    let tags: Vec<&str> = match tags {
        Value::Array(tags) => tags.iter().filter_map(Value::as_str).collect(),
        Value::Object(tags) => tags.keys().map(String::as_str).collect(),
        _ => return Err(Misread::Missing("list of `updated_tags`")),
    };
    let mut pushes = Pushes::of(receiver);
    for tag in tags {
        pushes.add(Some(host), path, Some(tag), None);
    }
    pushes.finish(None, "no tag was pushed")
}

fn sample(subject: &Subject) -> Sample {
    Sample::json(&json!({
        "repository": subject.repository.path(), "docker_url": subject.repository, "updated_tags": [subject.tag],
    }))
}
