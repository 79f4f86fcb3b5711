//! Deliveries with their proofs, right and wrong.

use super::*;

/// A delivery of this sender with a proof: its path, its headers, its body. `id` tells deliveries apart.
pub(super) struct Sent {
    pub(super) path: String,
    pub(super) headers: Vec<(String, String)>,
    pub(super) body: String,
}

impl Sent {
    pub(super) fn by(receiver: &HookReceiver, subject: &Subject) -> Self {
        let mut trial = receiver.trial(subject);
        if receiver.auth.proof() == Proof::Sns {
            let message: Value = serde_json::from_str(&trial.body).unwrap();
            trial.body = notification(message["Message"].as_str().unwrap(), "m-1").to_string();
        }
        let mut headers: Vec<_> = trial.headers.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
        if receiver.auth.proof() == Proof::IdToken {
            headers.push(("authorization".into(), format!("Bearer {}", token(&header(), &claims()))));
        }
        Self { path: trial.path, headers, body: trial.body }
    }

    pub(super) async fn to(&self, door: &mut Door) -> Reply {
        let headers: Vec<_> = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        door.post(&self.path, &headers, self.body.as_bytes()).await
    }

    /// Without what proves it.
    pub(super) fn bare(&self) -> Self {
        let proofs = ["authorization", "signature", "event-auth"];
        let headers = self.headers.iter().filter(|(name, _)| !proofs.iter().any(|proof| name.contains(proof)));
        Self { path: "/hooks/ci".into(), headers: headers.cloned().collect(), body: self.body.clone() }
    }
}

/// Every sender with every proof that it can give.
pub(super) fn all() -> Vec<(Sender, HookReceiver, Subject)> {
    let each = |sender: Sender| {
        let proofs = sender.proofs().iter();
        proofs.map(move |proof| (sender, HookReceiver { auth: auth(*proof), ..fitting(sender) }, subject(sender)))
    };
    Sender::ALL.into_iter().flat_map(each).collect()
}

/// What a wrong delivery is like.
pub(super) fn wrong(sent: &Sent, proof: Proof) -> Vec<(&'static str, Sent)> {
    let clone =
        |headers: &[(String, String)], body: String| Sent { path: sent.path.clone(), headers: headers.to_vec(), body };
    let each = |change: &dyn Fn(&str) -> String| {
        let changed = sent.headers.iter().map(|(name, value)| {
            let proves = sent.bare().headers.iter().all(|(kept, _)| kept != name);
            (name.clone(), if proves { change(value) } else { value.clone() })
        });
        clone(&changed.collect::<Vec<_>>(), sent.body.clone())
    };
    let mut all = vec![("nothing", if proof == Proof::Sns { clone(&sent.headers, "{}".into()) } else { sent.bare() })];
    match proof {
        Proof::Url => {
            for (what, path) in [("another end", "/hooks/ci/other"), ("a part", "/hooks/ci/s3cret")] {
                all.push((what, Sent { path: path.into(), ..sent.bare() }));
            }
        }
        Proof::Sns => {
            let mut message: Value = serde_json::from_str(&sent.body).unwrap();
            message["MessageId"] = json!("m-9");
            all.push(("another body", clone(&sent.headers, message.to_string())));
            message["Signature"] = json!("AAAA");
            all.push(("another signature", clone(&sent.headers, message.to_string())));
        }
        Proof::Token | Proof::Hmac | Proof::IdToken => {
            all.push(("cut short", each(&|value| value[..value.len() - 1].to_owned())));
            all.push(("too long", each(&|value| format!("{value}0"))));
            all.push(("empty", each(&|_| String::new())));
            if sent.headers.iter().any(|(_, value)| value.starts_with("Bearer ") || value.starts_with("sha256=")) {
                all.push((
                    "only its prefix",
                    each(&|value| value.split_inclusive([' ', '=']).next().unwrap().to_owned()),
                ));
            }
            let turned = |value: &str| {
                let last = if value.ends_with('0') { "1" } else { "0" };
                format!("{}{last}", &value[..value.len() - 1])
            };
            all.push(("one digit off", each(&turned)));
            if proof == Proof::Hmac {
                all.push(("another body", clone(&sent.headers, format!("{} ", sent.body))));
            }
        }
    }
    all
}
