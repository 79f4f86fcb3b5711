//! Reads from OCI registries: one conditional HEAD per check, manifests by digest, lists of tags, and everything that is
//! needed to be let in.
//!
//! A thin client of our own over one pool of connections for each set of trusted certificates, because a poller has to see the headers (ETag, rate
//! limit, Retry-After) and must never answer a refusal with a dearer request; references and document types are those
//! of `oci-distribution`. It decides nothing about deployments. What a registry asks us to wait is kept over restarts.

mod artifacts;
mod asking;
mod auth;
mod backoff;
mod challenge;
mod client;
mod credentials;
mod documents;
mod habits;
mod host;
mod introduction;
mod lanes;
mod manifest;
mod pool;
mod quota;
mod refusal;
mod tags;
mod verify;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::BTreeMap;
use std::path::PathBuf;

use secrecy::SecretString;
use tokio::time::Duration;

use crate::model::Repository;

pub use client::Client;
pub use credentials::{
    AwsSettings, AzureSettings, Environment, ExecSettings, Given, GoogleSettings, KeepError, Kept, Provider, erase,
    keep,
};
pub use verify::{Verdict, verify};

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Opening a connection.
    pub(crate) connect: Duration,
    /// A HEAD or a token.
    pub(crate) short: Duration,
    /// A document.
    pub(crate) long: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), short: Duration::from_secs(15), long: Duration::from_secs(30) }
    }
}

/// A manifest, index or config is not larger (distribution-spec: registries may refuse more than 4 MiB).
const DOCUMENT: usize = 4 << 20;

/// What is known of the registries.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// By the registry's name in references: `ghcr.io`, `registry.example.com:5000`; by `ghcr.io/acme` the credentials
    /// for what is below it.
    pub registries: BTreeMap<String, RegistryConfig>,
    /// Docker's `config.json`, and no other file; `None`: every place where docker and podman keep theirs.
    pub docker_config: Option<PathBuf>,
    /// Where variables are looked up.
    pub environment: Environment,
}

/// One registry.
#[derive(Debug, Clone, Default)]
pub struct RegistryConfig {
    /// The user; with `password` or `password_file`.
    pub username: Option<String>,
    /// The password or access token.
    pub password: Option<SecretString>,
    /// A file that holds it, read anew at each use.
    pub password_file: Option<PathBuf>,
    /// Who else knows the credentials; without `username`.
    pub provider: Option<Provider>,
    /// Certificates that are trusted besides the system's.
    pub ca_file: Option<PathBuf>,
    /// The certificate that we show, and its key unless that is in the file of its own.
    pub client_cert_file: Option<PathBuf>,
    /// The key of `client_cert_file`.
    pub client_key_file: Option<PathBuf>,
    /// TLS with whoever answers: its certificate is not looked at. Not plain HTTP.
    pub insecure: bool,
    /// Plain HTTP; loopback registries have it anyway unless something above speaks of TLS.
    pub http: bool,
    /// Asked before the registry itself, with `?ns=`: host names, with a port if need be. What they do not answer is asked
    /// of the registry.
    pub mirrors: Vec<String>,
    /// Other names that references may call it by.
    pub aliases: Vec<String>,
    /// Requests under way at once; `None`: 4.
    pub max_concurrent: Option<usize>,
}

impl Config {
    /// A repository under the name that its registry is configured by.
    fn own_name(&self, repository: &Repository) -> Repository {
        let given = repository.registry();
        let named = self.registries.iter().find(|(_, registry)| registry.aliases.iter().any(|alias| alias == given));
        let own = named.and_then(|(name, _)| format!("{name}/{}", repository.path()).parse().ok());
        own.unwrap_or_else(|| repository.clone())
    }
}
