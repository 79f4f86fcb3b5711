//! A sample delivery with its proof, as its sender would make it: for trying a receiver.

use axum::http::HeaderName;

use super::auth::proof_of;
use super::receiver::HookReceiver;
use super::sender::{Proof, Sample, Subject};

/// A delivery, ready to be sent.
pub struct Trial {
    /// The path on the hooks' listener; it may hold the receiver's secret.
    pub path: String,
    /// The headers, with the proof.
    pub headers: Vec<(HeaderName, String)>,
    /// The body.
    pub body: String,
    /// False when the proof can only be made by somebody else, and the answer will be 401.
    pub is_authentic: bool,
}

impl HookReceiver {
    /// A delivery that announces `subject`.
    pub fn trial(&self, subject: &Subject) -> Trial {
        let mut sample = self.sender.sample(subject);
        if let Some(repository) = &self.fields.repository {
            let mut body = serde_json::Value::Null;
            let tag = self.fields.tag.as_ref();
            let named = if tag.is_some() { "" } else { &format!(":{}", subject.tag) };
            repository.put(&mut body, &format!("{}{named}", subject.repository));
            if let Some(tag) = tag {
                tag.put(&mut body, subject.tag.as_str());
            }
            sample = Sample::json(&body);
        }
        let Sample { headers, body } = sample;
        let (end, proof) = proof_of(&self.auth, self.sender.facts(), body.as_bytes());
        let end = end.map_or(String::new(), |secret| format!("/{secret}"));
        let headers = headers.into_iter().map(|(name, value)| (HeaderName::from_static(name), value));
        Trial {
            path: format!("/hooks/{}{end}", self.id),
            headers: headers.chain(proof).collect(),
            body,
            is_authentic: !matches!(self.auth.proof(), Proof::IdToken | Proof::Sns),
        }
    }
}
