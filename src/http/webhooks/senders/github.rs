//! GitHub Packages (ghcr.io): the events `package` (to repositories and organisations) and `registry_package` (to GitHub
//! Apps), as JSON or as a form, signed over the raw body either way.
//!
//! The children of an index are versions of their own, with an empty tag. `package_url` ends in `:` and the tag, or in a
//! colon alone. Owners have capitals that the registry has not. The digests below `container_metadata` are not to be
//! relied on; `package_version.version` is. A delivery is sent once, and again by hand with the same id.

use axum::http::HeaderMap;
use serde_json::{Value, json};

use crate::http::webhooks::reading::{Misread, Pushes, Reading, header, json_or_form, text};
use crate::http::webhooks::receiver::HookReceiver;
use crate::http::webhooks::sender::{Facts, Proof, Sample, Signing, Subject, X_HUB};

pub(in crate::http::webhooks) const FACTS: Facts = Facts {
    label: "github",
    title: "GitHub Packages (ghcr.io)",
    read,
    proofs: &[Proof::Hmac],
    signing: Signing { headers: &["x-hub-signature-256"], ..X_HUB },
    homes: &["ghcr.io"],
    guide: "\
On github.com: the repository that the package is linked to (or the organisation) > Settings > Webhooks > Add webhook.

  Payload URL:  {url}
  Content type: application/json
  Secret:       {secret}
  Events:       \"Let me select individual events\" > Packages (for a GitHub App: Registry packages)

A package that is linked to no repository sends nothing.",
    sample,
    ..Facts::COMMON
};

fn read(receiver: &HookReceiver, headers: &HeaderMap, body: &[u8]) -> Result<Reading, Misread> {
    let body = json_or_form(headers, body)?;
    let id = header(headers, "x-github-delivery").map(str::to_owned);
    let event = header(headers, "x-github-event");
    if event.is_some_and(|event| !matches!(event, "package" | "registry_package")) {
        return Ok(Reading::Nothing("an event that is not about packages"));
    }
    let Some(package) = body.get("package").or_else(|| body.get("registry_package")) else {
        return match event {
            Some(_) => Err(Misread::Missing("`package` or `registry_package`")),
            None => Ok(Reading::Nothing("an event that is not about packages")),
        };
    };
    if !is_image(package) {
        return Ok(Reading::Nothing("a package that is not a container image"));
    }
    if text(&body, "/action").is_some_and(|action| !matches!(action, "published" | "updated" | "create")) {
        return Ok(Reading::Nothing("nothing was published"));
    }
    let (host, path) = place(package).ok_or(Misread::Missing("`package_version.package_url` or `namespace`"))?;
    let tag = text(package, "/package_version/container_metadata/tag/name");
    let mut pushes = Pushes::of(receiver);
    pushes.add(Some(&host), &path, tag, text(package, "/package_version/version"));
    pushes.finish(id, "no tag was pushed")
}

fn is_image(package: &Value) -> bool {
    let kind = |pointer: &str| text(package, pointer).map(str::to_ascii_lowercase);
    let container = |kind: String| matches!(kind.as_str(), "container" | "docker");
    kind("/package_type").is_some_and(container)
        || kind("/ecosystem").is_some_and(container)
        || package.pointer("/package_version/container_metadata").is_some_and(Value::is_object)
}

/// Host and path: from the address, else from the owner's and the package's name.
fn place(package: &Value) -> Option<(String, String)> {
    let url = text(package, "/package_version/package_url").map(|url| url.trim_start_matches("https://"));
    if let Some((host, rest)) = url.and_then(|url| url.split_once('/')) {
        let path = rest.split([':', '@']).next().unwrap_or(rest);
        if !path.is_empty() {
            return Some((host.to_owned(), path.to_owned()));
        }
    }
    let owner = text(package, "/namespace").or_else(|| text(package, "/owner/login"))?;
    Some(("ghcr.io".to_owned(), format!("{owner}/{}", text(package, "/name")?)))
}

fn sample(subject: &Subject) -> Sample {
    let Subject { repository, tag, digest, .. } = subject;
    let version = json!({
        "version": digest, "package_url": format!("{repository}:{tag}"),
        "container_metadata": {"tag": {"name": tag, "digest": digest}},
    });
    let package = json!({"package_type": "CONTAINER", "ecosystem": "CONTAINER", "package_version": version});
    Sample::json(&json!({"action": "published", "package": package}))
        .with("x-github-event", "package")
        .with("x-github-delivery", &*subject.id)
}
