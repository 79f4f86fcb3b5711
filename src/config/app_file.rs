//! The form of an app in the file.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::follow::FollowFile;
use super::jobs::{AppHooksFile, JobsFile};
use super::policy::PolicyFile;
use super::processes::ProcessFile;
use super::words::{Scalar, Words};

/// One app.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AppFile {
    /// `repository`, `repository:tag` (default `latest`), or `repository@sha256:…`, which never moves. With `follow`, the
    /// tag is where that begins: nothing below it is deployed, and its suffix and its count of numbers stay.
    pub(super) image: Option<String>,
    /// Which of the repository's tags it follows; without it, the one in `image`.
    pub(super) follow: Option<FollowFile>,
    /// People depend on it: what is risky in production is warned about.
    pub(super) production: Option<bool>,
    /// `platform`: when the image for this host has changed; `index`: also when only what is beside it in the index has,
    /// such as attestations.
    pub(super) redeploy_on: Option<String>,
    /// Time between two looks at the registry.
    pub(super) every: Option<String>,
    /// Instead of `every`: a cron expression of 5, 6 or 7 fields.
    pub(super) cron: Option<String>,
    /// The time zone of `cron`.
    pub(super) timezone: Option<String>,
    /// Where the proxy takes this app's requests: `:80`, `127.0.0.1:8080`; `none`: it is a worker, and nothing reaches it.
    pub(super) listen: Option<String>,
    /// Which of a listener's requests are this app's.
    pub(super) route: Option<RouteFile>,
    /// Several of them.
    pub(super) routes: Vec<RouteFile>,
    /// The port that the container listens on; the container is told by `PORT`.
    #[schemars(range(min = 1, max = 65535))]
    pub(super) port: Option<u16>,
    /// Replaces the image's command. A text is split as a shell would.
    pub(super) command: Option<Words>,
    /// Replaces the image's entrypoint.
    pub(super) entrypoint: Option<Words>,
    /// Environment variables.
    pub(super) env: BTreeMap<String, Scalar>,
    /// `name:/path`, `/host/path:/path[:ro]`.
    pub(super) volumes: Vec<String>,
    /// Networks, the first one primary.
    pub(super) networks: Vec<String>,
    /// `user[:group]`.
    pub(super) user: Option<String>,
    /// Labels.
    pub(super) labels: BTreeMap<String, Scalar>,
    /// Memory and CPUs.
    pub(super) resources: Option<ResourcesFile>,
    /// `no`, `always`, `unless-stopped`, `on-failure` or `on-failure:5`.
    pub(super) restart: Option<String>,
    /// Replaces the image's health check, field by field.
    pub(super) healthcheck: Option<HealthcheckFile>,
    /// The signal that asks it to end.
    pub(super) stop_signal: Option<String>,
    /// Time between that and SIGKILL.
    pub(super) stop_timeout: Option<String>,
    /// `name:address`.
    pub(super) extra_hosts: Vec<String>,
    /// Capabilities added.
    pub(super) cap_add: Vec<String>,
    /// Capabilities dropped.
    pub(super) cap_drop: Vec<String>,
    /// Resource limits: `nofile: 1024` or `nofile: 1024:2048`.
    pub(super) ulimits: BTreeMap<String, Scalar>,
    /// Kernel parameters.
    pub(super) sysctls: BTreeMap<String, Scalar>,
    /// Where the container's output goes.
    pub(super) log: Option<ContainerLogFile>,
    /// The root file system can't be written.
    pub(super) read_only: Option<bool>,
    /// Mount point → options of a tmpfs.
    pub(super) tmpfs: BTreeMap<String, String>,
    /// `/dev/x[:/dev/y[:rwm]]`.
    pub(super) devices: Vec<String>,
    /// Runs an init as process 1.
    pub(super) init: Option<bool>,
    /// Host name inside.
    pub(super) hostname: Option<String>,
    /// So many containers of it serve side by side. A new version is deployed as a whole: all of its containers have proved
    /// themselves beside all old ones before the traffic moves to them at once.
    #[schemars(range(min = 1, max = 100))]
    pub(super) replicas: Option<u32>,
    /// How the proxy probes it.
    pub(super) health: Option<HealthFile>,
    /// How it is swapped: `auto` (the default), `proxy`, or `hold`, which has requests wait while one version makes room
    /// for the next.
    pub(super) strategy: Option<StrategyFile>,
    /// `never`: two versions of it must not run at the same time, such as with SQLite.
    pub(super) overlap: Option<OverlapFile>,
    /// The times of a swap.
    pub(super) swap: Option<SwapFile>,
    /// Earlier images that stay on the host for a rollback.
    #[schemars(range(min = 0, max = 100))]
    pub(super) keep: Option<u32>,
    /// What runs before and after its deployments, in containers of their own.
    pub(super) jobs: Option<JobsFile>,
    /// What is done to its containers when they come and go.
    pub(super) hooks: Option<AppHooksFile>,
    /// A version that fails so soon after it went into service is replaced by the one before it; `0s`: never.
    pub(super) watch: Option<String>,
    /// The apps of a group are switched together, all or none.
    pub(super) group: Option<String>,
    /// Further processes of the image, by name: each is an app `NAME-PROCESS` that nothing reaches, in a group with this one.
    pub(super) processes: BTreeMap<String, ProcessFile>,
    /// What must be true of a version before it is deployed; what is not said here is as in the defaults.
    pub(super) policy: Option<PolicyFile>,
}

/// How an app is swapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum StrategyFile {
    Auto,
    Proxy,
    Hold,
}

/// Whether two versions of an app may run at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OverlapFile {
    Allowed,
    Never,
}

/// Which of a listener's requests are an app's.
#[derive(Debug, Default, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RouteFile {
    /// The listener; that of the app, or of the defaults.
    pub(super) listen: Option<String>,
    /// The host name; without one, every host that no other route names.
    pub(super) host: Option<String>,
    /// The path prefix.
    pub(super) path: Option<String>,
}

/// Memory and CPUs.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ResourcesFile {
    /// `512MB`
    pub(super) memory: Option<Scalar>,
    /// `0.5`
    pub(super) cpus: Option<f64>,
}

/// A health check.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HealthcheckFile {
    /// A text is run by a shell, a list as it is.
    pub(super) test: Option<Words>,
    /// Time between two checks.
    pub(super) interval: Option<String>,
    /// How long one may take.
    pub(super) timeout: Option<String>,
    /// Failures that do not count after the start.
    pub(super) start_period: Option<String>,
    /// Failures in a row that make it unhealthy.
    #[schemars(range(min = 1, max = 1000))]
    pub(super) retries: Option<u32>,
    /// Turns the image's health check off.
    pub(super) disable: Option<bool>,
}

/// Where a container's output goes.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ContainerLogFile {
    /// `json-file`, `local`, `journald`, …
    pub(super) driver: Option<String>,
    /// The driver's options.
    pub(super) options: BTreeMap<String, Scalar>,
}

/// How the proxy probes a container.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HealthFile {
    /// A path that must answer 2xx or 3xx; without one, a TCP connection must be accepted.
    pub(super) http: Option<String>,
}

/// The times of a swap.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct SwapFile {
    /// Between two probes.
    pub(super) probe_interval: Option<String>,
    /// For one probe.
    pub(super) probe_timeout: Option<String>,
    /// Probes in a row that must succeed.
    #[schemars(range(min = 1, max = 100))]
    pub(super) probe_successes: Option<u32>,
    /// Then it must stay up so long.
    pub(super) min_healthy: Option<String>,
    /// All of that within so long.
    pub(super) healthy_deadline: Option<String>,
    /// The old version stays warm so long after the switch.
    pub(super) bake: Option<String>,
    /// The old version's requests may take so long.
    pub(super) drain: Option<String>,
    /// The old version's streams may take so long.
    pub(super) drain_streams: Option<String>,
    /// A pull may take so long.
    pub(super) pull_deadline: Option<String>,
    /// Of an app that must never run twice: a request waits so long at most for the new version.
    pub(super) hold_wait: Option<String>,
    /// What is in flight on the old version may take so long while others wait.
    pub(super) hold_drain: Option<String>,
    /// So many requests wait at once at most.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub(super) hold_requests: Option<u32>,
    /// Their heads have so many bytes together at most: `64MB`.
    pub(super) hold_bytes: Option<Scalar>,
}
