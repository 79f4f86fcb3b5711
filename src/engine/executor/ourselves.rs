//! What is different where we run in the container that is swapped.

use crate::engine::clock::Utc;

use crate::model::{ContainerId, FailureReason, Strategy, Time};

use super::{Halt, Stepped, Swap};

impl Swap<'_> {
    /// Whether we run in this container.
    fn are_we(&self, id: &ContainerId) -> bool {
        self.executor.settings.own.as_ref().is_some_and(|own| own.id == *id)
    }

    /// Before the next one of ours is started: it may take over.
    pub(super) fn announce_successor(&self) -> Result<(), Halt> {
        let (Some(own), Some(serving)) = (&self.executor.settings.own, self.plan.serving.first()) else {
            return Ok(());
        };
        if own.id != *serving {
            return Ok(());
        }
        let announced = (own.announce)(Some(self.candidate()?));
        announced
            .map_err(|error| Halt::Failed(FailureReason::Engine, format!("the next one can't be announced: {error}")))
    }

    /// Whether what is to be replaced is what we run in.
    pub(super) fn is_ours_to_give(&self) -> bool {
        self.plan.serving.first().is_some_and(|serving| self.are_we(serving))
    }

    /// The next one's gate, seen from the one before: it takes over, which ends us, or it is no good.
    pub(super) async fn be_replaced(&self) -> Stepped {
        let timing = &self.executor.app.timing;
        let deadline = Utc::now() + timing.healthy_deadline;
        loop {
            let next = self.inspect(self.candidate()?).await?;
            if !next.is_running() {
                let message = format!("it {} with code {} instead of taking over", next.state.label(), next.exit_code);
                return Err(Halt::Failed(FailureReason::Exited, message));
            }
            if Utc::now() >= deadline {
                let message = format!("it did not take over within {:?}", timing.healthy_deadline);
                return Err(Halt::Failed(FailureReason::Unhealthy, message));
            }
            self.pause(timing.probe_interval).await?;
        }
    }

    /// Since when nobody has had our place, if we are to take it from one that was stopped for us.
    pub(super) fn away_since(&self) -> Option<Time> {
        let own = self.executor.settings.own.as_ref()?;
        own.away_since.filter(|_| self.candidates.contains(&own.id))
    }

    /// We don't stop ourselves: the one before takes its place back, and stops us, or is started again when we end.
    pub(super) async fn spares_us(&self, id: &ContainerId) -> Result<(), Halt> {
        let Some(own) = self.executor.settings.own.as_ref().filter(|_| self.are_we(id)) else { return Ok(()) };
        if self.executor.app.strategy == Strategy::Recreate {
            self.somebody_relieves_us(own).await?;
        }
        tracing::error!(container = id.short(), "this container is not to serve: it gives its place back");
        own.give_up.cancel();
        Err(Halt::Interrupted)
    }
}
