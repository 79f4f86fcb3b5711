//! A program of the user's own that knows the credentials.

use std::path::PathBuf;

use async_trait::async_trait;
use tokio::time::Duration;

use super::helper::{Helper, PATIENCE};
use super::lease::{Lease, Source};

/// A program that speaks the protocol of docker's credential helpers: it is run with `get` as its last argument, reads
/// the registry's name and prints `{"Username": …, "Secret": …}`, with `ExpiresAt` (RFC 3339) or `ExpiresIn` (seconds)
/// if there is an end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecSettings {
    /// The program.
    pub program: PathBuf,
    /// What it is given before `get`.
    pub arguments: Vec<String>,
    /// It may take so long; `None`: 10 s.
    pub patience: Option<Duration>,
}

/// It, for one registry.
#[derive(Debug)]
pub(super) struct Exec {
    helper: Helper,
    registry: String,
}

impl Exec {
    pub(super) fn new(settings: &ExecSettings, registry: &str) -> Self {
        let patience = settings.patience.unwrap_or(PATIENCE);
        let helper = Helper::configured(&settings.program, &settings.arguments, patience);
        Self { helper, registry: registry.to_owned() }
    }
}

#[async_trait]
impl Source for Exec {
    async fn ask(&self) -> Result<Lease, String> {
        let lease = self.helper.get(&self.registry).await?;
        lease.ok_or_else(|| format!("the program of provider exec has no credentials for {}", self.registry))
    }
}
