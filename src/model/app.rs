//! An app: what should run, how it is reached, and how it is replaced.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{AppName, Digest, Gates, GroupName, Hooks, Jobs, ListenAddr, Repository, Strategy, Tag, TagPolicy};

/// Which image of the repository the app should run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Follow {
    /// Whatever this tag points to.
    Tag(Tag),
    /// This and nothing else; the registry is never asked.
    Pinned(Digest),
    /// The best of the repository's tags, and whatever it points to.
    Policy(TagPolicy),
}

impl fmt::Display for Follow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => write!(f, "tag {tag}"),
            Self::Pinned(digest) => write!(f, "digest {}", digest.short()),
            Self::Policy(policy) => policy.fmt(f),
        }
    }
}

/// What has to change for a new version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RedeployOn {
    /// The image for this host. What else is in the index, such as attestations, is not what runs.
    #[default]
    Platform,
    /// The index that the tag points to.
    Index,
}

/// Where an app comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The configuration declares it, and tagboat makes its containers from that.
    Declared,
    /// A person started a container and labelled it; tagboat makes the next one from that.
    Adopted {
        /// The container's name, which every version takes over.
        container: String,
    },
}

/// When the registry is asked by itself, besides webhooks and people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Schedule {
    /// So long after the last check, give or take the jitter.
    Every(Duration),
    /// At the times of a cron expression with seconds (`cron` crate), in this zone.
    Cron {
        /// Seven or six fields, seconds first; already checked.
        expression: String,
        /// The zone whose wall clock it means.
        zone: chrono_tz::Tz,
    },
}

/// Where requests for an app come in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Route {
    /// The proxy's listener.
    pub listen: ListenAddr,
    /// Host name without port, lower-case; `None` takes every host that no other route names.
    pub host: Option<String>,
    /// Path prefix, beginning with `/`; matches whole segments: `/a` takes `/a` and `/a/b`, not `/ab`.
    pub path: String,
}

/// How the proxy finds out whether a target can serve.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// A TCP connection to the port is enough.
    Tcp,
    /// `GET` of this path must answer 2xx or 3xx.
    Http(String),
    /// A request of any method, of which the same is asked: a hook.
    Request {
        /// The method.
        method: String,
        /// The path.
        path: String,
    },
}

/// Environment variables of a container. Values are never shown by `Debug`.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Env(pub BTreeMap<String, String>);

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.keys()).finish()
    }
}

/// What the engine does when the container's process ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RestartPolicy {
    /// Nothing.
    No,
    /// Starts it again, also after a restart of the daemon.
    Always,
    /// As `Always`, except when a person stopped it.
    #[default]
    UnlessStopped,
    /// Starts it again after a non-zero exit, at most so often (0: without limit).
    OnFailure(u32),
}

impl RestartPolicy {
    /// The name in the Docker API.
    pub fn label(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
            Self::OnFailure(_) => "on-failure",
        }
    }
}

/// A health check that replaces, field by field, the image's own.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HealthcheckSpec {
    /// `["NONE"]`, `["CMD", …]` or `["CMD-SHELL", …]`; `None` keeps the image's.
    pub test: Option<Vec<String>>,
    /// Time between two checks.
    pub interval: Option<Duration>,
    /// How long one check may take.
    pub timeout: Option<Duration>,
    /// Failures that do not count after the start.
    pub start_period: Option<Duration>,
    /// Failures in a row that make it unhealthy.
    pub retries: Option<u32>,
}

/// A resource limit of the container's processes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ulimit {
    /// `nofile`, `nproc`, …
    pub name: String,
    /// The soft limit.
    pub soft: i64,
    /// The hard limit.
    pub hard: i64,
}

/// Where the container's output goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSpec {
    /// `json-file`, `local`, `journald`, …
    pub driver: String,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
}

/// Everything a declared app says about its container. An absent field leaves the image's or the engine's
/// own default in force.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ContainerSpec {
    /// Replaces the image's command.
    pub command: Option<Vec<String>>,
    /// Replaces the image's entrypoint.
    pub entrypoint: Option<Vec<String>>,
    /// Set over the image's environment, key by key.
    pub env: Env,
    /// `source:/target[:options]`, source a named volume or an absolute host path.
    pub volumes: Vec<String>,
    /// Networks by name, the first one primary; empty means the engine's default bridge.
    pub networks: Vec<String>,
    /// `user[:group]`.
    pub user: Option<String>,
    /// Further labels; `tagboat.` is ours.
    pub labels: BTreeMap<String, String>,
    /// Bytes of memory.
    pub memory: Option<u64>,
    /// Billionths of a CPU.
    pub nano_cpus: Option<u64>,
    /// What to do when the process ends.
    pub restart: RestartPolicy,
    /// Health check override.
    pub healthcheck: Option<HealthcheckSpec>,
    /// Signal that asks it to end; `None` takes the image's.
    pub stop_signal: Option<String>,
    /// Time between that signal and SIGKILL; `None` takes the engine's 10 s.
    pub stop_timeout: Option<Duration>,
    /// `name:address`.
    pub extra_hosts: Vec<String>,
    /// Capabilities added.
    pub cap_add: Vec<String>,
    /// Capabilities dropped.
    pub cap_drop: Vec<String>,
    /// Resource limits.
    pub ulimits: Vec<Ulimit>,
    /// Kernel parameters of the container's namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Log driver.
    pub log: Option<LogSpec>,
    /// The root file system can't be written.
    pub read_only: bool,
    /// Mount point → options of a tmpfs.
    pub tmpfs: BTreeMap<String, String>,
    /// `/dev/x[:/dev/y[:rwm]]`.
    pub devices: Vec<String>,
    /// Runs an init as process 1.
    pub init: Option<bool>,
    /// Host name inside.
    pub hostname: Option<String>,
}

/// The times of a swap; the defaults and their reasons are in `config/default.yaml`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwapTiming {
    /// Between two probes.
    pub probe_interval: Duration,
    /// For one probe.
    pub probe_timeout: Duration,
    /// Probes in a row that must succeed.
    pub probe_successes: u32,
    /// Then it must stay up so long without a restart.
    pub min_healthy: Duration,
    /// All of the gate must be passed within this time from the start.
    pub healthy_deadline: Duration,
    /// The old version stays warm so long after the switch.
    pub bake: Duration,
    /// Requests in flight on the old version may take so long.
    pub drain: Duration,
    /// Streams (WebSocket, SSE, upgraded connections) on the old version may take so long.
    pub drain_streams: Duration,
    /// A pull may take so long.
    pub pull_deadline: Duration,
    /// A request that is parked while the app is held waits so long at most.
    pub hold_wait: Duration,
    /// What is in flight on the old version when a hold begins may take so long, requests and streams alike.
    pub hold_drain: Duration,
    /// So many requests are parked at once at most.
    pub hold_requests: u32,
    /// Their heads have so many bytes together at most.
    pub hold_bytes: u64,
}

impl App {
    /// A declared app that nothing reaches: the proxy's table says which container of it is in service, and no more.
    pub fn is_worker(&self) -> bool {
        self.origin == Origin::Declared && self.port.is_none()
    }
}

/// One app as the configuration declares it, complete and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its name.
    pub name: AppName,
    /// Where its image comes from.
    pub image: Repository,
    /// Which image of it.
    pub follow: Follow,
    /// Where it comes from.
    pub origin: Origin,
    /// How it is swapped.
    pub strategy: Strategy,
    /// Why so, for a person.
    pub strategy_reason: String,
    /// When to look.
    pub schedule: Schedule,
    /// Where its requests come in by the proxy; empty unless that is the strategy.
    pub routes: Vec<Route>,
    /// The port that the container listens on, if it is known; a declared app is told by `PORT`.
    pub port: Option<u16>,
    /// What its container looks like.
    pub container: ContainerSpec,
    /// How the proxy probes it.
    pub probe: Probe,
    /// So many containers of a version serve side by side, at least one.
    pub replicas: u32,
    /// The times of a swap.
    pub timing: SwapTiming,
    /// How many earlier images stay on the host for a rollback.
    pub keep: usize,
    /// People depend on it: what is risky in production is warned about.
    pub production: bool,
    /// What has to change for a new version.
    pub redeploy_on: RedeployOn,
    /// What runs before and after its deployments.
    pub jobs: Jobs,
    /// What is done to its containers when they come and go.
    pub hooks: Hooks,
    /// A version that fails within so long after it went into service is replaced by the one before it; zero: never.
    pub watch: Duration,
    /// What must be true of a version before it is deployed.
    pub gates: Gates,
    /// The apps of a group move together.
    pub group: Option<GroupName>,
}
