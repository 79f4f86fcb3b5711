//! Google Artifact Registry (and Container Registry) through a Pub/Sub push subscription, wrapped or not.
//!
//! `digest` and `tag` are whole references; either may be missing, and one push can be several messages. Pub/Sub sends
//! again until it is answered with 2xx, in no order. With authentication it sends an ID token of a service account.

use axum::http::HeaderMap;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::http::webhooks::reading::{Misread, Pushes, Reading, header, json as parse, text};
use crate::http::webhooks::receiver::HookReceiver;
use crate::http::webhooks::sender::{Facts, Proof, Sample, Subject};

pub(in crate::http::webhooks) const FACTS: Facts = Facts {
    label: "google",
    title: "Google Artifact Registry (Pub/Sub)",
    read,
    proofs: &[Proof::IdToken, Proof::Url],
    homes: &[".pkg.dev", "gcr.io"],
    guide: "\
With the gcloud CLI, in the registry's project (the topic's name must be gcr):

  gcloud pubsub topics create gcr
  gcloud iam service-accounts create tagboat-push
  gcloud pubsub subscriptions create tagboat --topic gcr --push-endpoint {url} \\
    --push-auth-service-account tagboat-push@PROJECT.iam.gserviceaccount.com \\
    --push-auth-token-audience {url}

Put that account and that audience into the receiver's `id_token`: {audience: {url}, email: tagboat-push@PROJECT.iam.gserviceaccount.com}.",
    sample,
    ..Facts::COMMON
};

fn read(receiver: &HookReceiver, headers: &HeaderMap, body: &[u8]) -> Result<Reading, Misread> {
    let body = parse(body)?;
    let (message, id) = match body.get("message") {
        Some(message) => (unwrapped(message), text(message, "/messageId").or_else(|| text(message, "/message_id"))),
        None => (Some(body.clone()), header(headers, "x-goog-pubsub-message-id")),
    };
    let foreign = Ok(Reading::Nothing("a message that is not of Artifact Registry"));
    let Some(message) = message else { return foreign };
    match text(&message, "/action") {
        Some("INSERT") => {}
        Some(_) => return Ok(Reading::Nothing("nothing was pushed")),
        None => return foreign,
    }
    let Some(tagged) = text(&message, "/tag") else { return Ok(Reading::Nothing("what was pushed has no tag")) };
    let senseless = || Misread::Senseless("the tag", tagged.chars().take(100).collect());
    let (name, tag) = tagged.rsplit_once(':').ok_or_else(senseless)?;
    let (host, path) = name.split_once('/').ok_or_else(senseless)?;
    let digest = text(&message, "/digest").and_then(|digest| digest.rsplit_once('@')).map(|(_, digest)| digest);
    let mut pushes = Pushes::of(receiver);
    pushes.add(Some(host), path, Some(tag), digest);
    pushes.finish(id.map(str::to_owned), "nothing was pushed")
}

fn unwrapped(message: &Value) -> Option<Value> {
    parse(&STANDARD.decode(text(message, "/data")?).ok()?).ok()
}

fn sample(subject: &Subject) -> Sample {
    let Subject { repository, tag, digest, .. } = subject;
    let message = json!({
        "action": "INSERT", "digest": format!("{repository}@{digest}"), "tag": format!("{repository}:{tag}"),
    });
    let data = STANDARD.encode(message.to_string());
    Sample::json(&json!({
        "message": {"data": data, "messageId": subject.id}, "subscription": "projects/p/subscriptions/s",
    }))
}
