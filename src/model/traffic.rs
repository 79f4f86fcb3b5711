//! What the agent and the proxy say to each other: the route table, the switch, the counts.
//!
//! The types are the wire format of the control socket (one JSON document a line). A field that is added
//! must have a default, so that an agent and a proxy of neighbouring versions understand each other; a change
//! that can't be made so raises [`CONTROL_VERSION`].

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::{AppName, ContainerId, Generation, Route, Time};

/// The version of the control protocol.
pub const CONTROL_VERSION: u32 = 1;

/// The port of a target that was stopped on purpose: nobody listens there, whoever has its address by then.
pub const NOWHERE: u16 = 0;

/// One container that can be sent requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Target {
    /// The container; identity. A new address of the same container is the same target.
    pub container: ContainerId,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Its generation, for display.
    pub generation: Generation,
}

/// What the proxy knows of one app.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppEntry {
    /// Counts the switches of this app; a switch names the number it expects.
    pub revision: u64,
    /// Where requests come in.
    pub routes: Vec<Route>,
    /// The targets that get new requests; empty: answered with 503.
    pub active: Vec<Target>,
    /// The targets before the last switch.
    #[serde(default)]
    pub previous: Vec<Target>,
    /// When the last switch was made.
    pub since: Time,
}

/// The whole route table.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Table {
    /// Counts all changes.
    pub generation: u64,
    /// The apps.
    pub apps: BTreeMap<AppName, AppEntry>,
}

/// The routes of one app. Setting them changes neither its targets nor its revision.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouteSet {
    /// The app.
    pub app: AppName,
    /// Its routes; replaces those it had.
    pub routes: Vec<Route>,
}

/// A change of one app's active targets, made only when its revision is still the expected one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppSwitch {
    /// The app.
    pub app: AppName,
    /// The revision that the caller saw; 0 for an app that has never been switched.
    pub expect: u64,
    /// The targets from now on.
    pub to: Vec<Target>,
}

/// A hold of one app: its new requests wait at the proxy, made only when the app's revision is still the expected one.
/// It is over when the app is switched or released, or when its lease ends; setting it again begins the lease anew.
/// A proxy that is restarted in the middle has it in force from its first request, with a new lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppHold {
    /// The app.
    pub app: AppName,
    /// The revision that the caller saw.
    pub expect: u64,
    /// It ends by itself so many milliseconds after it was set last.
    pub lease_ms: u64,
    /// What waits meanwhile.
    pub limits: HoldLimits,
}

/// How much may wait at the proxy while an app is held, and how long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldLimits {
    /// A request waits so many milliseconds at most.
    pub wait_ms: u64,
    /// So many requests wait at once at most.
    pub requests: u64,
    /// Their heads have so many bytes together at most. Bodies stay with their clients.
    pub bytes: u64,
}

/// The switch is on disk and in force.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SwitchAck {
    /// The table's generation.
    pub generation: u64,
    /// Each app's new revision.
    pub revisions: BTreeMap<AppName, u64>,
}

/// What is under way on one container, over every proxy process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct InFlight {
    /// Requests whose answer has not ended.
    pub requests: u64,
    /// Upgraded connections and event streams.
    pub streams: u64,
}

/// The result of one probe.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeOutcome {
    /// It can serve.
    pub ok: bool,
    /// What happened: "HTTP 503", "connection refused", …
    pub detail: String,
    /// How long it took.
    pub millis: u64,
}

/// Upper bounds of the latency histogram's buckets, in milliseconds; the last bucket has no bound.
pub const LATENCY_BUCKETS_MS: [f64; 14] =
    [0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 2500.0, 5000.0, 10000.0];

/// A latency histogram over [`LATENCY_BUCKETS_MS`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Histogram {
    /// Observations per bucket, not cumulative; one more than there are bounds.
    pub buckets: Vec<u64>,
    /// The sum of all observations in milliseconds.
    pub sum_ms: f64,
}

/// What one proxy process has counted for an app since it started.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct AppCounters {
    /// Answers by class: `1xx` … `5xx` as the target gave them, `unavailable` (503 of our own), `bad_gateway`
    /// (502 of our own), `aborted` (the client went away).
    pub requests: BTreeMap<String, u64>,
    /// Time to the first byte of the answer.
    pub latency: Histogram,
    /// Requests and streams under way now.
    pub in_flight: InFlight,
    /// Requests that were parked while the app was held.
    #[serde(default)]
    pub parked: Parking,
}

/// Requests of an app that was held, as one proxy process has counted them since it started.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Parking {
    /// Waiting now.
    pub now: u64,
    /// By what became of them: `released`, `overdue` (waited too long), `refused` (too many waited already),
    /// `left` (the client went away).
    pub ended: BTreeMap<String, u64>,
    /// How long they waited, whatever became of them.
    pub waited: Histogram,
}

/// What one proxy process has counted for a container since it started.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TargetCounters {
    /// Requests sent to it.
    pub requests: u64,
    /// Of them, answered with 5xx.
    pub server_errors: u64,
    /// Of them, that could not be connected or broke off.
    pub transport_errors: u64,
    /// Under way now.
    pub in_flight: InFlight,
}

impl TargetCounters {
    /// What was counted after `before`. A proxy that has started since counts from zero, which is taken as it is.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let anew = self.requests < before.requests || self.transport_errors < before.transport_errors;
        if anew {
            return self.clone();
        }
        Self {
            requests: self.requests - before.requests,
            server_errors: self.server_errors.saturating_sub(before.server_errors),
            transport_errors: self.transport_errors - before.transport_errors,
            in_flight: self.in_flight,
        }
    }
}

/// The counters of one proxy process.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TrafficStats {
    /// Names the process: counters of two instances are added, a new instance starts from zero.
    pub instance: String,
    /// Process id.
    pub pid: u32,
    /// It no longer accepts connections and ends when it is idle.
    #[serde(default)]
    pub retiring: bool,
    /// Client connections open.
    pub connections: u64,
    /// Requests that no route took.
    pub unrouted: u64,
    /// Per app.
    pub apps: BTreeMap<AppName, AppCounters>,
    /// Per container.
    pub targets: BTreeMap<ContainerId, TargetCounters>,
}
