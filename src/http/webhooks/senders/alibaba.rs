//! Alibaba Cloud Container Registry: looks like Docker Hub's, with a digest and a region; nothing is signed.
//!
//! The Personal Edition's host follows from the region. An Enterprise instance has a host of its own, which the delivery
//! does not name: `default_host`.

use axum::http::HeaderMap;
use serde_json::json;

use crate::http::webhooks::reading::{Misread, Pushes, Reading, json as parse, text};
use crate::http::webhooks::receiver::HookReceiver;
use crate::http::webhooks::sender::{Facts, Proof, Sample, Subject};

pub(in crate::http::webhooks) const FACTS: Facts = Facts {
    label: "alibaba",
    title: "Alibaba Cloud Container Registry",
    read,
    proofs: &[Proof::Url],
    homes: &[".aliyuncs.com"],
    guide: "\
In the Container Registry console: the repository > Trigger > Create.

  Name:        tagboat
  Trigger URL: {url}
  Trigger:     All

It can prove itself by nothing else, so this address is the secret: do not show it, and use https.
For an Enterprise Edition instance set the receiver's `default_host` to its name.",
    sample,
    ..Facts::COMMON
};

fn read(receiver: &HookReceiver, _: &HeaderMap, body: &[u8]) -> Result<Reading, Misread> {
    let body = parse(body)?;
    let path = text(&body, "/repository/repo_full_name").ok_or(Misread::Missing("`repository.repo_full_name`"))?;
    let host = text(&body, "/repository/region").map(|region| format!("registry.{region}.aliyuncs.com"));
    let mut pushes = Pushes::of(receiver);
    pushes.add(host.as_deref(), path, text(&body, "/push_data/tag"), text(&body, "/push_data/digest"));
    pushes.finish(None, "no tag was pushed")
}

fn sample(subject: &Subject) -> Sample {
    let Subject { repository, tag, digest, .. } = subject;
    let region = repository.registry().split('.').nth(1).unwrap_or_default();
    Sample::json(&json!({
        "push_data": {"tag": tag, "digest": digest, "pushed_at": "2024-01-01 00:00:00"},
        "repository": {"repo_full_name": repository.path(), "region": region},
    }))
}
