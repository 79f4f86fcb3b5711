//! JFrog Artifactory: the event `docker`/`pushed`.
//!
//! `X-JFrog-Event-Auth` holds the secret itself, or, with "use secret for payload signing", the hex HMAC-SHA256 of the
//! body. The event names the platform (`jpd_origin`, if it has a custom base URL) and the *local* repository, never the
//! virtual one that is pulled from: an alias says what that is. Children of an index have their digest as tag.

use axum::http::HeaderMap;
use serde_json::json;

use crate::http::webhooks::reading::{Misread, Pushes, Reading, json as parse, text};
use crate::http::webhooks::receiver::HookReceiver;
use crate::http::webhooks::sender::{Facts, Hash, Proof, Sample, Signing, Subject};

pub(in crate::http::webhooks) const FACTS: Facts = Facts {
    label: "jfrog",
    title: "JFrog Artifactory",
    read,
    proofs: &[Proof::Hmac, Proof::Token],
    token_header: "x-jfrog-event-auth",
    signing: Signing { headers: &["x-jfrog-event-auth"], prefix: "", hash: Hash::Sha256 },
    guide: "\
In the JFrog platform: Administration > General > Webhooks > New webhook.

  URL:          {url}
  Secret token: {secret}
  Use secret for payload signing: on
  Events:       Docker > Tag was pushed

The event names the local repository. If your apps' images are pulled from a virtual one, map it:
  aliases: {docker-local: acme.jfrog.io/docker}
Addresses in private networks are refused unless the platform's urlStrictPolicy allows them.",
    sample,
    ..Facts::COMMON
};

fn read(receiver: &HookReceiver, _: &HeaderMap, body: &[u8]) -> Result<Reading, Misread> {
    let body = parse(body)?;
    let domain = text(&body, "/domain").ok_or(Misread::Missing("`domain`"))?;
    let kind = text(&body, "/event_type").ok_or(Misread::Missing("`event_type`"))?;
    if !matches!(domain, "docker" | "oci") || !matches!(kind, "pushed" | "promoted") {
        return Ok(Reading::Nothing("an event that pushes no image"));
    }
    let key = text(&body, "/data/repo_key").ok_or(Misread::Missing("`data.repo_key`"))?;
    let image = text(&body, "/data/image_name").ok_or(Misread::Missing("`data.image_name`"))?;
    let tag = text(&body, "/data/tag");
    let digest = text(&body, "/data/sha256").map(|hex| format!("sha256:{hex}"));
    let mut pushes = Pushes::of(receiver);
    if receiver.alias(key).is_some() {
        pushes.add(Some(key), image, tag, digest.as_deref());
    } else {
        // The registry is reached by path or by a host name of the repository's own; both are looked for.
        let origin = text(&body, "/jpd_origin").and_then(|url| url.parse::<url::Url>().ok());
        let origin = origin.as_ref().and_then(|url| url.host_str());
        let own = origin.map(|host| format!("{key}.{host}"));
        pushes.add(origin, &format!("{key}/{image}"), tag, digest.as_deref());
        pushes.add(own.as_deref(), image, tag, digest.as_deref());
    }
    pushes.finish(None, "nothing was pushed")
}

fn sample(subject: &Subject) -> Sample {
    let Subject { repository, tag, digest, .. } = subject;
    let (key, image) = repository.path().split_once('/').unwrap_or(("docker-local", repository.path()));
    Sample::json(&json!({
        "domain": "docker", "event_type": "pushed", "subscription_key": "tagboat",
        "jpd_origin": format!("https://{}", repository.registry()),
        "data": {
            "repo_key": key, "image_name": image, "tag": tag, "name": "list.manifest.json",
            "sha256": digest.as_str().trim_start_matches("sha256:"),
        },
    }))
}
