//! Sonatype Nexus Repository 3: events of components and assets, signed with HMAC-SHA1.
//!
//! No host and no digest, only the repository's name in Nexus. One upload makes many events in no order, and some come
//! before the tag can be read. Whether a tag pushed again is created or updated depends on the version.

use axum::http::HeaderMap;
use serde_json::json;

use crate::http::webhooks::reading::{Misread, Pushes, Reading, header, json as parse, text};
use crate::http::webhooks::receiver::HookReceiver;
use crate::http::webhooks::sender::{Facts, Hash, Proof, Sample, Signing, Subject};

pub(in crate::http::webhooks) const FACTS: Facts = Facts {
    label: "nexus",
    title: "Sonatype Nexus Repository 3",
    read,
    proofs: &[Proof::Hmac],
    signing: Signing { headers: &["x-nexus-webhook-signature"], prefix: "", hash: Hash::Sha1 },
    names_registry: false,
    early: true,
    guide: "\
In Nexus: Settings > System > Capabilities > Create capability > Webhook: Repository.

  Repository:  the docker repository
  Event types: component
  URL:         {url}
  Secret key:  {secret}

Nexus does not say under which name it is pulled from: set the receiver's `default_host` to what stands before the
repository in your apps' images, or map several: aliases: {docker-hosted: nexus.example.com:8082}",
    sample,
    ..Facts::COMMON
};

fn read(receiver: &HookReceiver, headers: &HeaderMap, body: &[u8]) -> Result<Reading, Misread> {
    let body = parse(body)?;
    let named = text(&body, "/repositoryName").ok_or(Misread::Missing("`repositoryName`"))?;
    let action = text(&body, "/action").ok_or(Misread::Missing("`action`"))?;
    let id = header(headers, "x-nexus-webhook-delivery").map(str::to_owned);
    if !matches!(action, "CREATED" | "UPDATED") {
        return Ok(Reading::Nothing("nothing was pushed"));
    }
    let docker = |pointer: &str| text(&body, pointer) == Some("docker");
    let mut pushes = Pushes::of(receiver);
    if docker("/component/format") {
        let name = text(&body, "/component/name").ok_or(Misread::Missing("`component.name`"))?;
        pushes.add(Some(named), name, text(&body, "/component/version"), None);
    } else if docker("/asset/format") {
        let asset = text(&body, "/asset/name").unwrap_or_default().trim_start_matches('/');
        let manifest = asset.strip_prefix("v2/").and_then(|rest| rest.split_once("/manifests/"));
        let Some((path, tag)) = manifest else { return Ok(Reading::Nothing("an asset that is no manifest")) };
        pushes.add(Some(named), path, Some(tag), None);
    } else {
        return Ok(Reading::Nothing("a component that is not a container image"));
    }
    pushes.finish(id, "nothing was pushed")
}

fn sample(subject: &Subject) -> Sample {
    let component = json!({
        "format": "docker", "name": subject.repository.path(), "group": null, "version": subject.tag,
    });
    Sample::json(&json!({"repositoryName": "docker-hosted", "action": "UPDATED", "component": component}))
        .with("x-nexus-webhook-id", "rm:repository:component")
        .with("x-nexus-webhook-delivery", &*subject.id)
}
