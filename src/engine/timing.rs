//! When an app looks at its registry by itself.

use std::time::Duration;

use tokio::time::Instant;

use crate::decide::schedule::next_check;
use crate::model::{Hold, Schedule};

use super::chance;
use super::clock::Utc;
use super::looking::Seeing;
use super::reconciler::{FIRST_RETRY, Reconciler};

/// After a look without an answer the next one comes so soon, then twice as late each time until the schedule's own is
/// sooner; unless the registry says how long.
const UNANSWERED: Duration = Duration::from_secs(5);

/// An image that is not there for this host yet is looked at again so soon: the rest of a build takes minutes.
const NOT_READY: Duration = Duration::from_secs(60);

/// A wait and up to a quarter of it: those who wait for the same do not come back at the same time.
fn a_little_more(wait: Duration) -> Duration {
    wait.mul_f64(1.0 + 0.25 * chance::fraction())
}

impl Reconciler {
    /// Plans the next poll; at the start, few apps look at once and many are spread out.
    pub(super) fn schedule(&mut self, last: Option<crate::model::Time>) {
        let now = Utc::now();
        let mut jitter = chance::fraction();
        if last.is_none() {
            let crowd = u32::try_from(self.parts.crowd).unwrap_or(u32::MAX);
            jitter *= (f64::from(crowd) / 100.0).min(1.0);
        }
        let next = next_check(&self.parts.app.schedule, last, now, jitter);
        let mut wait = (next - now).to_std().unwrap_or_default();
        if last.is_some() && std::mem::take(&mut self.in_crowd) && matches!(self.parts.app.schedule, Schedule::Every(_))
        {
            // All started together: from here on each goes at its own time, or they would come in waves for hours.
            wait = wait.mul_f64(chance::fraction());
        }
        if last.is_some()
            && let Some(spacing) = self.parts.ports.registry.spacing(&self.parts.app.image)
        {
            wait = wait.max(spacing.mul_f64(0.9 + 0.2 * jitter));
        }
        self.look_in(wait);
        self.look_sooner();
    }

    fn look_in(&mut self, wait: Duration) {
        self.next_poll = Instant::now() + wait;
        let next = Utc::now() + chrono::Duration::from_std(wait).unwrap_or(chrono::Duration::days(1));
        self.parts.status.send_modify(|status| status.next_check = Some(next));
    }

    /// A look that got no answer is repeated when that is worth it, and not only when the schedule comes round.
    pub(super) fn look_sooner(&mut self) {
        if self.unanswered == 0 {
            return;
        }
        let own = || UNANSWERED.saturating_mul(2_u32.saturating_pow(self.unanswered - 1));
        let wait = self.tag.worth_after.unwrap_or_else(own).max(FIRST_RETRY);
        self.look_within(a_little_more(wait));
    }

    fn look_within(&mut self, wait: Duration) {
        if Instant::now() + wait < self.next_poll {
            self.look_in(wait);
            self.tag.sooner = true;
        }
    }

    /// What could not be read is tried again, and what is not ready is looked at again.
    pub(super) fn look_again_because(&mut self, hold: Option<&Hold>, seeing: Option<&Seeing>) {
        if let Some(wait) = seeing.and_then(|seeing| seeing.unread) {
            self.retry = Some(Instant::now() + a_little_more(wait.max(FIRST_RETRY)));
        }
        if matches!(hold, Some(Hold::NotReady { .. })) {
            self.look_within(a_little_more(NOT_READY));
        }
    }
}
