//! Gitea and Forgejo: the event `package`, as JSON or as a form, signed over the raw body.
//!
//! Gitea also sends `X-GitHub-Event`, and empty signature headers when it has no secret. It lower-cases tags; that is
//! why announced tags are compared without regard to case. No digest; the children of an index have theirs in the
//! tag's place. The host is that of the page (`html_url`). Sent once; private addresses are refused by default.

use axum::http::HeaderMap;
use serde_json::json;

use crate::http::webhooks::reading::{Misread, Pushes, Reading, header, json_or_form, text};
use crate::http::webhooks::receiver::HookReceiver;
use crate::http::webhooks::sender::{Facts, Hash, Proof, Sample, Signing, Subject};

pub(in crate::http::webhooks) const FACTS: Facts = Facts {
    label: "gitea",
    title: "Gitea or Forgejo",
    read,
    proofs: &[Proof::Hmac, Proof::Token],
    signing: Signing { headers: &["x-gitea-signature", "x-forgejo-signature"], prefix: "", hash: Hash::Sha256 },
    guide: "\
In Gitea or Forgejo: the organisation, user or repository > Settings > Webhooks > Add webhook > Gitea (or Forgejo).

  Target URL:        {url}
  HTTP method:       POST
  POST content type: application/json
  Secret:            {secret}
  Trigger on:        Custom events > Packages

Addresses in private networks are refused unless app.ini says so: [webhook] ALLOWED_HOST_LIST = external,private",
    sample,
    ..Facts::COMMON
};

fn read(receiver: &HookReceiver, headers: &HeaderMap, body: &[u8]) -> Result<Reading, Misread> {
    let body = json_or_form(headers, body)?;
    let named = |name: &str| header(headers, name).map(str::to_owned);
    if named("x-gitea-event").or_else(|| named("x-forgejo-event")).is_some_and(|event| event != "package") {
        return Ok(Reading::Nothing("an event that is not about packages"));
    }
    let Some(package) = body.get("package") else {
        return Ok(Reading::Nothing("an event that is not about packages"));
    };
    if text(package, "/type") != Some("container") {
        return Ok(Reading::Nothing("a package that is not a container image"));
    }
    if text(&body, "/action") != Some("created") {
        return Ok(Reading::Nothing("nothing was published"));
    }
    let owner = text(package, "/owner/login").ok_or(Misread::Missing("`package.owner.login`"))?;
    let name = text(package, "/name").ok_or(Misread::Missing("`package.name`"))?;
    let page = text(package, "/html_url").and_then(|url| url.parse::<url::Url>().ok());
    let host = page.as_ref().and_then(|url| {
        let port = url.port().map_or(String::new(), |port| format!(":{port}"));
        Some(format!("{}{port}", url.host_str()?))
    });
    let mut pushes = Pushes::of(receiver);
    pushes.add(host.as_deref(), &format!("{owner}/{name}"), text(package, "/version"), None);
    pushes.finish(named("x-gitea-delivery").or_else(|| named("x-forgejo-delivery")), "no tag was pushed")
}

fn sample(subject: &Subject) -> Sample {
    let Subject { repository, tag, .. } = subject;
    let (owner, name) = repository.path().split_once('/').unwrap_or(("library", repository.path()));
    let page = format!("https://{}/{owner}/-/packages/container/{name}/{tag}", repository.registry());
    let package = json!({
        "owner": {"login": owner}, "type": "container", "name": name,
        "version": tag.as_str().to_lowercase(), "html_url": page,
    });
    Sample::json(&json!({"action": "created", "package": package}))
        .with("x-gitea-event", "package")
        .with("x-gitea-delivery", &*subject.id)
}
