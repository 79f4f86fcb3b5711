//! Where a plan meets those of the other apps of its group: all of them move, or none.

use tokio::time::Instant;

use crate::model::{AppSwitch, ContainerId, EventKind, FailureReason, Stage, Strategy, Table, Target};
use crate::ports::TrafficError;

use super::service::SWITCH_PATIENCE;
use super::{Halt, LOOK, Swap, chain};
use crate::engine::group::{Meeting, Phase, Seat, go_back};

impl Swap<'_> {
    /// Waits until the whole group has come so far; at once without one.
    pub(super) async fn meet(&self, phase: Phase) -> Result<(), Halt> {
        let Some(seat) = self.seat else { return Ok(()) };
        match self.meeting(seat, phase, None).await? {
            Meeting::Broken(why) => Err(Halt::Failed(FailureReason::Group, why)),
            Meeting::Met | Meeting::Lead(_) => Ok(()),
        }
    }

    async fn meeting(&self, seat: &Seat, phase: Phase, change: Option<AppSwitch>) -> Result<Meeting, Halt> {
        tokio::select! {
            biased;
            () = self.executor.shutdown.cancelled() => Err(Halt::Interrupted),
            meeting = seat.meet(phase, change) => Ok(meeting),
        }
    }

    /// Moves the traffic, with a group that of all its members in one generation of the table.
    pub(super) async fn switch_traffic(&self, expect: u64, to: Vec<Target>) -> Result<(), Halt> {
        // What was stopped first has met the others before that.
        if self.seat.is_none() || self.plan.strategy == Strategy::Recreate {
            return self.move_traffic(expect, &to).await;
        }
        let app = self.executor.app.name.clone();
        self.meet_at_the_switch(Some(AppSwitch { app, expect, to })).await
    }

    /// Waits until the whole group has passed its gates and its traffic has moved. The last to come makes the switch, for
    /// all who have one to make; whoever is swapped by name goes on from here.
    pub(super) async fn meet_at_the_switch(&self, own: Option<AppSwitch>) -> Result<(), Halt> {
        let Some(seat) = self.seat else { return Ok(()) };
        let meeting = tokio::select! {
            meeting = self.meeting(seat, Phase::Gated, own) => meeting?,
            ended = self.ended() => return Err(Halt::Failed(FailureReason::Exited, ended)),
        };
        match meeting {
            Meeting::Met => Ok(()),
            Meeting::Broken(why) => Err(Halt::Failed(FailureReason::Group, why)),
            Meeting::Lead(changes) if changes.is_empty() => {
                seat.switched(None);
                Ok(())
            }
            Meeting::Lead(changes) => {
                let table = self.move_all(&changes).await?;
                seat.switched(Some(table));
                let (group, deployment) = (seat.group().clone(), seat.id().clone());
                self.executor.publish(EventKind::GroupSwitched { group, deployment, table });
                Ok(())
            }
        }
    }

    /// What is swapped by name has taken over, and can't be taken back with the traffic of the others. It waits for their
    /// bake; if they go back, it goes back by a deployment of its own.
    pub(super) async fn stay_or_go_back(&self) -> Result<(), Halt> {
        let Some(seat) = self.seat.filter(|_| self.plan.strategy.is_by_name()) else { return Ok(()) };
        let Meeting::Broken(why) = self.meeting(seat, Phase::Baked, None).await? else { return Ok(()) };
        let (app, store) = (&self.executor.app.name, &self.executor.ports.store);
        tracing::error!(
            app = app.as_str(),
            "it has taken over already, and goes back by a deployment of its own: {why}"
        );
        let Some(previous) = self.plan.previous.clone() else { return Ok(()) };
        let culprit = seat.culprit().unwrap_or_else(|| app.clone());
        if let Err(error) = go_back(&**store, app, &culprit, (&self.plan.digest, &previous), &why) {
            tracing::error!(app = app.as_str(), "it stays at the new version, alone: {}", chain(&error));
        }
        Ok(())
    }

    /// Resolves when a candidate, which waits for the others, does not run any more.
    async fn ended(&self) -> String {
        loop {
            tokio::time::sleep(LOOK).await;
            for id in &self.candidates {
                // One that is to make room first has not been started.
                if let Ok(container) = self.inspect(id).await
                    && container.started.is_some()
                    && !container.is_running()
                {
                    return format!("it {} while it waited for its group", container.state.label());
                }
            }
        }
    }

    /// Compare-and-set of several apps, until the proxy has either done it or refused it. Returns the table's generation.
    async fn move_all(&self, changes: &[AppSwitch]) -> Result<u64, Halt> {
        let deadline = Instant::now() + SWITCH_PATIENCE;
        loop {
            let traffic = &self.executor.ports.traffic;
            let error = match traffic.switch(changes).await {
                Ok(ack) => return Ok(ack.generation),
                Err(error) => error,
            };
            // An attempt whose answer was lost may have been carried out.
            if let Some(table) = traffic.table().await.ok().filter(|table| is_in_force(table, changes)) {
                return Ok(table.generation);
            }
            let again = matches!(error, TrafficError::Unreachable { .. }) && Instant::now() < deadline;
            if !again {
                return Err(Halt::Failed(FailureReason::Traffic, chain(&error)));
            }
            tokio::select! {
                biased;
                () = self.executor.shutdown.cancelled() => return Err(Halt::Interrupted),
                () = tokio::time::sleep(LOOK) => {}
            }
        }
    }

    /// Resolves when another of the group has failed, as long as that concerns this plan.
    pub(super) async fn let_down(&self) -> String {
        match self.seat {
            Some(seat) => seat.broken().await,
            None => std::future::pending().await,
        }
    }

    /// This plan has failed, or another of the group: from here on it is undone. Where all had moved already, the first
    /// to notice takes all of them back, in one generation of the table.
    pub(super) async fn break_up(&mut self, stage: Stage, reason: FailureReason, message: &str) {
        let Some(seat) = self.seat.take() else { return };
        if reason != FailureReason::Group {
            seat.fail(&format!("failed at {}: {message}", stage.label()));
        }
        if stage != Stage::Bake {
            return;
        }
        if seat.takes_back() {
            let back = self.take_all_back(seat).await;
            if let Err(Halt::Failed(_, why)) = &back {
                let group = seat.group().as_str();
                tracing::error!(group, "the group could not be taken back at once; each goes back by itself: {why}");
            }
            seat.taken_back(back.is_ok());
        }
        self.brought_back = seat.is_back(SWITCH_PATIENCE * 2).await;
    }

    async fn take_all_back(&self, seat: &Seat) -> Result<(), Halt> {
        let timer = Instant::now();
        let table = self.executor.ports.traffic.table().await;
        let table = table.map_err(|error| Halt::Failed(FailureReason::Traffic, chain(&error)))?;
        let member = |app| {
            let entry = table.apps.get(&app)?;
            (!entry.previous.is_empty()).then(|| AppSwitch { app, expect: entry.revision, to: entry.previous.clone() })
        };
        let changes: Vec<AppSwitch> = seat.members().into_iter().filter_map(member).collect();
        let table = self.move_all(&changes).await?;
        tracing::info!(group = seat.group().as_str(), table, "the group was switched back in {}", Self::took(timer));
        Ok(())
    }

    /// The group has brought the traffic back to this one.
    pub(super) fn is_brought_back(&self, fallback: &[ContainerId], table: &Table) -> bool {
        let entry = table.apps.get(&self.executor.app.name);
        self.brought_back
            && entry.is_some_and(|entry| entry.active.iter().all(|target| fallback.contains(&target.container)))
    }
}

/// All of these targets get the requests of their apps.
fn is_in_force(table: &Table, changes: &[AppSwitch]) -> bool {
    changes.iter().all(|change| table.apps.get(&change.app).is_some_and(|entry| entry.active == change.to))
}
