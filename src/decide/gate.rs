//! Has a container proved that it can serve? And after the switch: is it still as good as the old one?
//!
//! Both are windows over samples that somebody else takes; they hold no clock.

use std::time::Duration;

use crate::model::{Container, ContainerState, FailureReason, Health, ProbeOutcome, SwapTiming, TargetCounters, Time};

/// What the window says after a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Wait,
    /// Passed; the text says by what.
    Passed(String),
    /// Failed.
    Failed(FailureReason, String),
}

/// What came of a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probed<'a> {
    /// It was made.
    Made(&'a ProbeOutcome),
    /// The container can't be probed as it is, and why.
    Impossible(&'a str),
    /// Whoever makes the probes did not answer, and what it said: nothing is known of the container.
    Unknown(&'a str),
}

/// The gate: enough probes in a row, the container's own health check if it has one, and then a while of both
/// without a restart; all before a deadline that counts from the container's start.
#[derive(Debug)]
pub struct Gate {
    timing: SwapTiming,
    started: Time,
    restarts: u64,
    successes: u32,
    good_since: Option<Time>,
    last: String,
    blind: bool,
}

impl Gate {
    /// A gate for a container that was started at `started` and had been restarted so often by then.
    pub fn new(timing: &SwapTiming, started: Time, restarts: u64) -> Self {
        Self {
            timing: timing.clone(),
            started,
            restarts,
            successes: 0,
            good_since: None,
            last: "no probe was made".to_owned(),
            blind: false,
        }
    }

    /// Since when every sample was good.
    pub fn good_since(&self) -> Option<Time> {
        self.good_since
    }

    /// Takes a sample, with what came of a probe just now. A probe of which nothing is known counts neither for the
    /// container nor against it.
    pub fn sample(&mut self, now: Time, container: &Container, probe: Probed<'_>) -> Verdict {
        if let Some(ended) = ended(container, self.restarts, self.started) {
            return Verdict::Failed(FailureReason::Exited, ended);
        }
        let (probed, said) = match probe {
            Probed::Made(outcome) => (outcome.ok, outcome.detail.as_str()),
            Probed::Impossible(why) | Probed::Unknown(why) => (false, why),
        };
        self.last = format!("probe: {said}");
        self.blind = matches!(probe, Probed::Unknown(_));
        if self.blind {
            return self.overdue(now);
        }
        let healthy = matches!(container.health, None | Some(Health::Healthy));
        if probed && !healthy {
            let output = container.health_output.trim();
            let said = if output.is_empty() { String::new() } else { format!(": {output}") };
            self.last = format!("the container's own health check has not passed{said}");
        }
        if !(probed && healthy) {
            (self.successes, self.good_since) = (if probed { self.successes + 1 } else { 0 }, None);
            return self.overdue(now);
        }
        self.successes += 1;
        if self.successes < self.timing.probe_successes {
            return self.overdue(now);
        }
        let since = *self.good_since.get_or_insert(now);
        if elapsed(since, now) >= self.timing.min_healthy {
            let seconds = elapsed(self.started, now).as_secs_f64();
            return Verdict::Passed(format!("{} probes passed, up for {seconds:.1} s", self.successes));
        }
        self.overdue(now)
    }

    fn overdue(&self, now: Time) -> Verdict {
        if elapsed(self.started, now) < self.timing.healthy_deadline {
            return Verdict::Wait;
        }
        let limit = humantime::format_duration(self.timing.healthy_deadline);
        // The image is not blamed for a probe that nobody made.
        let reason = if self.blind { FailureReason::Traffic } else { FailureReason::Unhealthy };
        Verdict::Failed(reason, format!("not healthy within {limit}; last {}", self.last))
    }
}

/// Requests that the new version must have answered before its error rate says anything.
const ENOUGH_REQUESTS: u64 = 20;

/// Errors that are too few to act upon whatever their rate.
const FEW_ERRORS: u64 = 5;

/// By how much the new version's error rate may exceed the old one's.
const TOLERANCE: f64 = 0.05;

/// The bake: the new version serves, the old one is warm.
#[derive(Debug)]
pub struct Bake {
    until: Time,
    restarts: u64,
    started: Time,
    old_rate: f64,
}

impl Bake {
    /// A bake until `until` of a container with so many restarts, beside what the old one had counted.
    pub fn new(until: Time, started: Time, restarts: u64, old: &TargetCounters) -> Self {
        Self { until, restarts, started, old_rate: rate(old) }
    }

    /// Takes a sample. `counters` is what the proxy has counted for the new version; `None` when it did not
    /// answer, which is no failure of the new version.
    pub fn sample(&self, now: Time, container: &Container, counters: Option<&TargetCounters>) -> Verdict {
        let failed = |message| Verdict::Failed(FailureReason::FailedInBake, message);
        if let Some(ended) = ended(container, self.restarts, self.started) {
            return failed(ended);
        }
        if container.health == Some(Health::Unhealthy) {
            return failed(format!("its health check failed after the switch: {}", container.health_output.trim()));
        }
        if let Some(new) = counters {
            let errors = new.server_errors + new.transport_errors;
            if new.requests >= ENOUGH_REQUESTS && errors > FEW_ERRORS && rate(new) > self.old_rate + TOLERANCE {
                return failed(format!(
                    "{errors} of its {} requests failed ({:.0} %; the old version: {:.0} %)",
                    new.requests,
                    rate(new) * 100.0,
                    self.old_rate * 100.0
                ));
            }
        }
        if now < self.until { Verdict::Wait } else { Verdict::Passed("stayed up and answered".to_owned()) }
    }
}

/// The sentence about its end, if it has ended or been restarted.
fn ended(container: &Container, restarts: u64, started: Time) -> Option<String> {
    match container.restart_count.saturating_sub(restarts) {
        0 => {}
        1 => return Some("it was restarted".to_owned()),
        often => return Some(format!("it was restarted {often} times")),
    }
    let over = matches!(container.state, ContainerState::Exited | ContainerState::Dead | ContainerState::Removing);
    if !over && container.state != ContainerState::Restarting {
        return None;
    }
    let lived = container.finished.map_or(Duration::ZERO, |at| elapsed(container.started.unwrap_or(started), at));
    let killed = if container.oom_killed { ", killed for its memory limit" } else { "" };
    Some(format!("exited with code {} after {:.1} s{killed}", container.exit_code, lived.as_secs_f64()))
}

#[expect(clippy::cast_precision_loss, reason = "a rate of counts; the last digits don't matter")]
fn rate(counters: &TargetCounters) -> f64 {
    if counters.requests == 0 {
        return 0.0;
    }
    (counters.server_errors + counters.transport_errors) as f64 / counters.requests as f64
}

fn elapsed(from: Time, to: Time) -> Duration {
    (to - from).to_std().unwrap_or_default()
}

#[cfg(test)]
mod tests;
