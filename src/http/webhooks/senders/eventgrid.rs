//! Azure Event Grid with events of a container registry: a list of events in Event Grid's own schema or as CloudEvents,
//! one alone in CloudEvents' structured mode.
//!
//! A new subscription is validated: a first event carries a code that the answer repeats (CloudEvents: `OPTIONS` with the
//! sender's name, see `receive`). `eventType` comes with and without its prefix.

use axum::http::HeaderMap;
use serde_json::{Value, json};

use crate::http::webhooks::reading::{Misread, Pushes, Reading, json as parse, text};
use crate::http::webhooks::receiver::HookReceiver;
use crate::http::webhooks::sender::{Facts, Proof, Sample, Subject};

pub(in crate::http::webhooks) const FACTS: Facts = Facts {
    label: "eventgrid",
    title: "Azure Event Grid",
    read,
    proofs: &[Proof::Url, Proof::IdToken, Proof::Token],
    homes: &[".azurecr.io"],
    guide: "\
With the Azure CLI:

  az eventgrid event-subscription create --name tagboat \\
    --source-resource-id $(az acr show --name REGISTRY --query id --output tsv) \\
    --included-event-types Microsoft.ContainerRegistry.ImagePushed \\
    --endpoint {url}

The address holds the secret; tagboat answers the validation by itself. With Microsoft Entra instead, give the receiver
`id_token` with the issuer and the audience of your tenant, and the subscription --azure-active-directory-tenant-id and
--azure-active-directory-application-id-or-uri.",
    sample,
    ..Facts::COMMON
};

fn read(receiver: &HookReceiver, _: &HeaderMap, body: &[u8]) -> Result<Reading, Misread> {
    let body = parse(body)?;
    let events = events(&body);
    let mut pushes = Pushes::of(receiver);
    for event in events {
        let kind = kind(event).ok_or(Misread::Missing("`eventType` or `type`"))?;
        if kind != "ImagePushed" && !kind.ends_with(".ImagePushed") {
            continue;
        }
        let path = text(event, "/data/target/repository").ok_or(Misread::Missing("`data.target.repository`"))?;
        let host = text(event, "/data/request/host");
        pushes.add(host, path, text(event, "/data/target/tag"), text(event, "/data/target/digest"));
    }
    let ids: Vec<_> = events.iter().filter_map(|event| text(event, "/id")).collect();
    let id = (!ids.is_empty() && ids.len() == events.len()).then(|| ids.join(","));
    pushes.finish(id, "no event pushes an image")
}

fn events(body: &Value) -> &[Value] {
    body.as_array().map_or(std::slice::from_ref(body), Vec::as_slice)
}

fn kind(event: &Value) -> Option<&str> {
    text(event, "/eventType").or_else(|| text(event, "/type"))
}

/// The answer that Event Grid's validation of a new subscription wants.
pub(in crate::http::webhooks) fn validation(body: &[u8]) -> Option<Value> {
    let body = parse(body).ok()?;
    let event = events(&body)
        .iter()
        .find(|event| kind(event).is_some_and(|kind| kind == "Microsoft.EventGrid.SubscriptionValidationEvent"))?;
    Some(json!({"validationResponse": text(event, "/data/validationCode")?}))
}

fn sample(subject: &Subject) -> Sample {
    let Subject { repository, tag, digest, .. } = subject;
    Sample::json(&json!([{
        "id": subject.id, "eventType": "Microsoft.ContainerRegistry.ImagePushed",
        "subject": format!("{}:{tag}", repository.path()), "dataVersion": "1.0",
        "data": {
            "action": "push", "target": {"repository": repository.path(), "tag": tag, "digest": digest},
            "request": {"host": repository.registry(), "method": "PUT"},
        },
    }]))
    .with("aeg-event-type", "Notification")
}
