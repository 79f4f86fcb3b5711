//! Amazon ECR through EventBridge and Amazon SNS: the event as a text inside SNS's envelope, sent as `text/plain`.
//!
//! SNS signs every message (see `sns_proof`); that shows that SNS sent it, and the topic, which is signed too, from whom.
//! A new subscription is confirmed by `receive`. Raw message delivery leaves the signature away and is refused.

use axum::http::HeaderMap;
use serde_json::{Value, json};

use crate::http::webhooks::reading::{Misread, Reading, json as parse, text};
use crate::http::webhooks::receiver::HookReceiver;
use crate::http::webhooks::sender::{Facts, Proof, Sample, Subject};

use super::ecr;

pub(in crate::http::webhooks) const FACTS: Facts = Facts {
    label: "sns",
    title: "Amazon ECR (EventBridge and SNS)",
    read,
    proofs: &[Proof::Sns],
    homes: &[".amazonaws.com", ".amazonaws.com.cn"],
    guide: "\
1. In Amazon SNS make a standard topic, and put its ARN into the receiver's `topic_arn`.
2. In Amazon EventBridge make a rule with this topic as target:
   {\"source\": [\"aws.ecr\"], \"detail-type\": [\"ECR Image Action\"], \"detail\": {\"action-type\": [\"PUSH\"]}}
3. With tagboat running, subscribe to the topic: protocol HTTPS (or HTTP), endpoint {url},
   raw message delivery off. tagboat confirms the subscription by itself.

There is no secret: SNS signs with its own key, and only messages of the configured topics are taken.",
    sample,
    ..Facts::COMMON
};

fn read(receiver: &HookReceiver, _: &HeaderMap, body: &[u8]) -> Result<Reading, Misread> {
    let envelope = parse(body)?;
    match text(&envelope, "/Type").ok_or(Misread::Missing("`Type`"))? {
        "Notification" => {}
        "SubscriptionConfirmation" => return Ok(Reading::Nothing("a new subscription, which is confirmed")),
        _ => return Ok(Reading::Nothing("a message that is no notification")),
    }
    let message = text(&envelope, "/Message").ok_or(Misread::Missing("`Message`"))?;
    let Ok(event) = serde_json::from_str::<Value>(message) else {
        return Ok(Reading::Nothing("a message that is no event of EventBridge"));
    };
    ecr::read_event(receiver, &event, text(&envelope, "/MessageId").map(str::to_owned))
}

fn sample(subject: &Subject) -> Sample {
    Sample::json(&json!({
        "Type": "Notification", "MessageId": subject.id, "Message": ecr::event(subject).to_string(),
    }))
    .with("content-type", "text/plain; charset=UTF-8")
}
