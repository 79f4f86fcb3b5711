//! A signature was announced while an app waits for one.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

use crate::engine::clock::Utc;
use crate::model::{EventKind, SeenSource};

use super::reconciler::{LOOK_AGAIN, Reconciler};

/// Announcements within this lead to one look: each asks the registry for several documents.
const MOMENT: Duration = Duration::from_millis(500);

/// When to look for a signature that was announced.
#[derive(Debug, Default)]
pub(super) struct Signing {
    looks: VecDeque<Instant>,
    last: Option<Instant>,
}

impl Signing {
    /// The next look.
    pub(super) fn next(&self) -> Option<Instant> {
        self.looks.front().copied()
    }

    /// Something was announced: looks at once, and again in case the registry lags behind its own announcement.
    fn announced(&mut self, now: Instant) {
        let first = self.last.map_or(now, |last| now.max(last + MOMENT));
        self.looks = std::iter::once(Duration::ZERO).chain(LOOK_AGAIN).map(|after| first + after).collect();
    }

    /// A look that is due is had now.
    fn looked(&mut self, now: Instant) {
        self.looks.retain(|at| *at > now);
        self.last = Some(now);
    }
}

impl Reconciler {
    /// Something was announced that may be the signature which the app waits for.
    pub(super) fn signed(&mut self) {
        let source = SeenSource::Webhook;
        self.parts.bus.publish(Utc::now(), &self.parts.app.name, EventKind::Activated { source });
        self.signing.announced(Instant::now());
    }

    /// Looks for it, unless it is there by now.
    pub(super) async fn look_for_signature(&mut self) {
        self.signing.looked(Instant::now());
        if self.gatekeeping.look_for_signature() {
            self.pass(SeenSource::Webhook, None, false, None).await;
        } else {
            self.signing.looks.clear();
        }
    }
}
