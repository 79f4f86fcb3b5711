//! The file's form, from which the schema is generated. Everything is optional here; what must be there is said by
//! `convert`, with a better sentence than a schema has.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::app_file::{AppFile, SwapFile};
use super::hooks::HooksFile;
use super::jobs::LimitFile;
use super::policy::PolicyFile;
use super::words::Words;

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
    /// Where the proxy listens for those that have the label `tagboat.listen`.
    pub(super) listen: Vec<String>,
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
    /// So many containers of each declared app serve side by side, of those that may run more than once.
    #[schemars(range(min = 1, max = 100))]
    pub(super) replicas: Option<u32>,
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
