//! The file's form, from which the schema is generated. Everything is optional here; what must be there is said by
//! `convert`, with a better sentence than a schema has.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::follow::FollowFile;
use super::hooks::HooksFile;
use super::jobs::{AppHooksFile, JobsFile, LimitFile};
use super::policy::PolicyFile;

/// tagboat's configuration. Times are written `30s`, `5m`, `1h 30m`; sizes `512MB`, `1GiB`. `${NAME}` is replaced by the
/// environment variable, `${NAME:-default}` with a default; `$$` is a dollar sign.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct File {
    /// Where tagboat keeps what it must remember, and its sockets.
    pub(super) state_dir: Option<String>,
    /// The container engine.
    pub(super) docker: Option<DockerFile>,
    /// What holds for every app that does not say otherwise.
    pub(super) defaults: Option<DefaultsFile>,
    /// The API and the status page.
    pub(super) api: Option<ApiFile>,
    /// Registry webhooks.
    pub(super) hooks: Option<HooksFile>,
    /// The metrics page.
    pub(super) metrics: Option<MetricsFile>,
    /// tagboat's own log.
    pub(super) log: Option<LogFile>,
    /// Registries by the name that references have, such as `ghcr.io`.
    pub(super) registries: BTreeMap<String, RegistryFile>,
    /// The apps by name.
    pub(super) apps: BTreeMap<String, AppFile>,
    /// Swaps that may be under way at once.
    #[schemars(range(min = 1, max = 64))]
    pub(super) parallel_swaps: Option<u32>,
    /// Containers that no file declares.
    pub(super) adopt: Option<AdoptFile>,
}

/// Containers that no file declares.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AdoptFile {
    /// Whether there are any.
    pub(super) enabled: Option<bool>,
    /// Every container, unless it has the label `tagboat.enable=false`.
    pub(super) watch_all: Option<bool>,
    /// Only containers with this `tagboat.scope`.
    pub(super) scope: Option<String>,
}

/// The container engine.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DockerFile {
    /// `unix:///var/run/docker.sock` or `tcp://host:2376`.
    pub(super) host: Option<String>,
    /// Directory with `ca.pem`, `cert.pem` and `key.pem`.
    pub(super) cert_path: Option<String>,
}

/// What holds for every app that does not say otherwise.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DefaultsFile {
    /// Time between two looks at the registry.
    pub(super) every: Option<String>,
    /// The listener of apps that have a route and no `listen`.
    pub(super) listen: Option<String>,
    /// The port that containers listen on.
    #[schemars(range(min = 1, max = 65535))]
    pub(super) port: Option<u16>,
    /// Earlier images that stay on the host for a rollback.
    #[schemars(range(min = 0, max = 100))]
    pub(super) keep: Option<u32>,
    /// `no`, `always`, `unless-stopped`, `on-failure` or `on-failure:5`.
    pub(super) restart: Option<String>,
    /// The time zone of cron expressions.
    pub(super) timezone: Option<String>,
    /// The times of a swap.
    pub(super) swap: Option<SwapFile>,
    /// Jobs before and after deployments.
    pub(super) jobs: Option<LimitFile>,
    /// Hooks in containers.
    pub(super) hooks: Option<LimitFile>,
    /// A version that fails so soon after it went into service is replaced by the one before it; `0s`: never.
    pub(super) watch: Option<String>,
    /// What must be true of a version before it is deployed.
    pub(super) policy: Option<PolicyFile>,
}

/// The API and the status page.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ApiFile {
    /// Where it listens for TCP.
    pub(super) listen: Option<String>,
    /// What a TCP client must present; without one, TCP clients can only read.
    pub(super) token: Option<String>,
    /// A file that holds the token.
    pub(super) token_file: Option<String>,
}

/// The metrics page.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MetricsFile {
    /// Where it listens.
    pub(super) listen: Option<String>,
}

/// tagboat's own log.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LogFile {
    /// `text` or `json`.
    pub(super) format: Option<String>,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub(super) level: Option<String>,
}

/// One registry, or the credentials for what is below `registry/organisation`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RegistryFile {
    /// The user.
    pub(super) username: Option<String>,
    /// The password or access token.
    pub(super) password: Option<String>,
    /// A file that holds it, read anew at each use.
    pub(super) password_file: Option<String>,
    /// Who knows the credentials: `ecr`, `ecr-public`, `google`, `azure`, `ghcr`, `digitalocean` or `exec`.
    pub(super) provider: Option<String>,
    /// `ghcr`, `digitalocean`: the access token.
    pub(super) token: Option<String>,
    /// `ghcr`, `digitalocean`: a file that holds it, read anew at each use.
    pub(super) token_file: Option<String>,
    /// `ecr`: the region, where the registry's name has none.
    pub(super) region: Option<String>,
    /// `ecr`, `ecr-public`: the profile in `~/.aws`, and nothing else.
    pub(super) profile: Option<String>,
    /// `google`: the JSON key of a service account.
    pub(super) key_file: Option<String>,
    /// `azure`: the directory of the service principal.
    pub(super) tenant_id: Option<String>,
    /// `azure`: the service principal, or the managed identity where there are several.
    pub(super) client_id: Option<String>,
    /// `azure`: the service principal's secret.
    pub(super) client_secret: Option<String>,
    /// `azure`: a file that holds it, read anew at each use.
    pub(super) client_secret_file: Option<String>,
    /// `exec`: a program that speaks the protocol of docker's credential helpers. A text is split as a shell would.
    pub(super) command: Option<Words>,
    /// `exec`: the program may take so long.
    pub(super) timeout: Option<String>,
    /// `ecr`, `ecr-public`, `google`, `azure`: the service's address, where it is not the usual one.
    pub(super) endpoint: Option<String>,
    /// Certificates that are trusted besides the system's.
    pub(super) ca_file: Option<String>,
    /// The certificate that tagboat shows.
    pub(super) client_cert_file: Option<String>,
    /// The key of `client_cert_file`, unless it is in the same file.
    pub(super) client_key_file: Option<String>,
    /// TLS with whoever answers: its certificate is not looked at. Not plain HTTP.
    pub(super) insecure: Option<bool>,
    /// Plain HTTP. Registries on this host have it anyway.
    pub(super) http: Option<bool>,
    /// Mirrors that are asked first, with `?ns=`: `mirror.example.com:5000`. Their settings are under their own names.
    pub(super) mirrors: Vec<String>,
    /// Other names that images and webhooks may call it by: `registry:5000`.
    pub(super) aliases: Vec<String>,
    /// Requests under way at once.
    #[schemars(range(min = 1, max = 256))]
    pub(super) max_concurrent: Option<u32>,
}

/// One app.
#[derive(Debug, Default, Deserialize, JsonSchema)]
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
    /// Where the proxy takes this app's requests: `:80`, `127.0.0.1:8080`.
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
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ResourcesFile {
    /// `512MB`
    pub(super) memory: Option<Scalar>,
    /// `0.5`
    pub(super) cpus: Option<f64>,
}

/// A health check.
#[derive(Debug, Default, Deserialize, JsonSchema)]
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
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ContainerLogFile {
    /// `json-file`, `local`, `journald`, …
    pub(super) driver: Option<String>,
    /// The driver's options.
    pub(super) options: BTreeMap<String, Scalar>,
}

/// How the proxy probes a container.
#[derive(Debug, Default, Deserialize, JsonSchema)]
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

/// A text, number or truth value, used as text.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "serde_json::Value")]
pub(super) struct Scalar(pub(super) String);

impl TryFrom<serde_json::Value> for Scalar {
    type Error = &'static str;
    fn try_from(value: serde_json::Value) -> Result<Self, &'static str> {
        match value {
            serde_json::Value::String(text) => Ok(Self(text)),
            serde_json::Value::Number(number) => Ok(Self(number.to_string())),
            serde_json::Value::Bool(truth) => Ok(Self(truth.to_string())),
            _ => Err("must be text, a number, or true or false"),
        }
    }
}

impl JsonSchema for Scalar {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": ["string", "number", "boolean"]})
    }
}

/// A list of words, or a text.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "serde_json::Value")]
pub(super) enum Words {
    Text(String),
    List(Vec<String>),
}

impl TryFrom<serde_json::Value> for Words {
    type Error = &'static str;
    fn try_from(value: serde_json::Value) -> Result<Self, &'static str> {
        match value {
            serde_json::Value::String(text) => Ok(Self::Text(text)),
            serde_json::Value::Array(list) => {
                let words = list.into_iter().map(|word| word.as_str().map(str::to_owned)).collect::<Option<_>>();
                words.map(Self::List).ok_or("must be a list of texts")
            }
            _ => Err("must be text or a list of texts"),
        }
    }
}

impl JsonSchema for Words {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Words".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
    }
}
