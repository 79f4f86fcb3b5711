//! Docker Hub: one tag of one repository, no digest, no signature, no id.
//!
//! A push of an image for several platforms sends several deliveries with the same tag (hub-feedback#2148), some before
//! the tag can be read. Numbers come as floats at times. `callback_url` is a relic, and is never called: anyone who
//! knows the address could make us call anything.

use axum::http::HeaderMap;
use serde_json::json;

use crate::http::webhooks::reading::{Misread, Pushes, Reading, json as parse, text};
use crate::http::webhooks::receiver::HookReceiver;
use crate::http::webhooks::sender::{Facts, Proof, Sample, Subject};

pub(in crate::http::webhooks) const FACTS: Facts = Facts {
    label: "dockerhub",
    title: "Docker Hub",
    read,
    proofs: &[Proof::Url],
    homes: &["docker.io"],
    guide: "\
On hub.docker.com: the repository > Webhooks > New webhook.

  Webhook name: tagboat
  Webhook URL:  {url}

Docker Hub can prove itself by nothing else, so this address is the secret: do not show it, and use https.",
    sample,
    ..Facts::COMMON
};

fn read(receiver: &HookReceiver, _: &HeaderMap, body: &[u8]) -> Result<Reading, Misread> {
    let body = parse(body)?;
    let path = text(&body, "/repository/repo_name").ok_or(Misread::Missing("`repository.repo_name`"))?;
    let mut pushes = Pushes::of(receiver);
    pushes.add(Some("docker.io"), path, text(&body, "/push_data/tag"), None);
    pushes.finish(None, "no tag was pushed")
}

fn sample(subject: &Subject) -> Sample {
    Sample::json(&json!({
        "push_data": {"pushed_at": 1_417_566_161, "pusher": "tagboat", "tag": subject.tag},
        "repository": {"repo_name": subject.repository.path(), "status": "Active"},
    }))
}
