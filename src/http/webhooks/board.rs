//! What became of each receiver's deliveries, for people.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use super::receiver::HookReceiver;
use crate::metrics::Metrics;
use crate::model::Time;

/// Reasons that are told in the log; each only once.
const TOLD: usize = 256;

/// A receiver, as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookView {
    /// Its id.
    pub id: String,
    /// What sends to it.
    pub sender: String,
    /// Where it is, on the hooks' listener; without the secret, if that is a part of it.
    pub path: String,
    /// How deliveries prove themselves: `token`, `hmac_secret`, `url_secret`, `id_token` or `topic_arn`.
    pub proof: String,
    /// The last delivery since the start, whatever became of it.
    pub last: Option<LastDelivery>,
    /// When the last delivery that made an app look was taken, since the start.
    pub last_accepted: Option<Time>,
}

/// A delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LastDelivery {
    /// When.
    pub at: Time,
    /// What became of it, in the words of the metric.
    pub result: String,
    /// What it was about, or what was wrong.
    pub detail: String,
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// An app looks.
    Accepted,
    /// It leads to nothing.
    Ignored,
    /// It was taken before.
    Duplicate,
    /// The sender introduced itself.
    Handshake,
    /// It is not authentic.
    Unauthorized,
    /// Whether it is authentic can't be found out now.
    Unverifiable,
    TooLarge,
    QueueFull,
}

impl Outcome {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Accepted => "accepted",
            Self::Ignored => "ignored",
            Self::Duplicate => "duplicate",
            Self::Handshake => "handshake",
            Self::Unauthorized => "unauthorized",
            Self::Unverifiable => "unverifiable",
            Self::TooLarge => "too_large",
            Self::QueueFull => "queue_full",
        }
    }

    /// Whether somebody should do something about it.
    fn is_wrong(self) -> bool {
        matches!(self, Self::Unauthorized | Self::Unverifiable)
    }
}

/// Every receiver's view; cheap to clone.
#[derive(Clone)]
pub struct HookBoard {
    views: Arc<Mutex<BTreeMap<String, HookView>>>,
    told: Arc<Mutex<BTreeSet<(String, String)>>>,
    metrics: Metrics,
}

impl HookBoard {
    pub(super) fn new<'a>(receivers: impl Iterator<Item = &'a HookReceiver>, metrics: Metrics) -> Self {
        let view = |receiver: &HookReceiver| {
            let id = receiver.id.clone();
            let proof = receiver.auth.proof();
            let end = if proof == super::Proof::Url { "/…" } else { "" };
            let path = format!("/hooks/{id}{end}");
            let sender = receiver.sender.label().to_owned();
            let view =
                HookView { id: id.clone(), sender, path, proof: proof.label().into(), last: None, last_accepted: None };
            (id, view)
        };
        Self { views: Arc::new(Mutex::new(receivers.map(view).collect())), told: Arc::default(), metrics }
    }

    /// Every receiver, by id.
    pub fn views(&self) -> Vec<HookView> {
        self.views.lock().expect("no holder panics").values().cloned().collect()
    }

    /// Counts a delivery and remembers what became of it. `worth` telling is what a person could mend; the same is
    /// told once.
    pub(super) fn note(&self, receiver: &HookReceiver, outcome: Outcome, detail: &str, worth_telling: bool, now: Time) {
        let (hook, result) = (receiver.id.as_str(), outcome.label());
        self.metrics.webhooks_total.with_label_values(&[hook, receiver.sender.label(), result]).inc();
        let last = LastDelivery { at: now, result: result.to_owned(), detail: detail.to_owned() };
        if let Some(view) = self.views.lock().expect("no holder panics").get_mut(hook) {
            if outcome == Outcome::Accepted {
                view.last_accepted = Some(now);
            }
            view.last = Some(last);
        }
        if !worth_telling && !outcome.is_wrong() {
            tracing::debug!(hook, result, detail, "a webhook arrived");
            return;
        }
        let mut told = self.told.lock().expect("no holder panics");
        if told.len() < TOLD && told.insert((hook.to_owned(), detail.to_owned())) {
            tracing::info!(hook, result, detail, "a webhook leads to nothing; the same reason is not logged again");
        }
    }
}
