//! `tagboat login` and `logout`: credentials for docker and tagboat alike, verified before they are kept.

use std::path::Path;

use crate::config::Config;
use crate::model::Credentials;
use crate::ports::RegistryError;
use crate::registry::{self, Environment, KeepError, Kept, Verdict};

use super::{Error, system};

/// Why nothing was kept or erased.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// The configuration, which says how the registry is reached, is wrong.
    #[error(transparent)]
    Unusable(#[from] Error),
    /// The registry refuses the credentials, or can't be asked.
    #[error(transparent)]
    Refused(#[from] RegistryError),
    /// Docker's file or its helper.
    #[error(transparent)]
    Keep(#[from] KeepError),
}

/// Asks the registry, and keeps the credentials where docker does. `path`: the configuration, which need not be there.
///
/// # Errors
/// When the registry refuses them, or they can't be kept.
pub fn login(path: &Path, registry: &str, credentials: &Credentials) -> Result<(Verdict, Kept), LoginError> {
    let registries = match path.exists() {
        true => Config::load(path).map_err(Error::Config)?.registries,
        false => Default::default(),
    };
    let config = registry::Config { registries, ..registry::Config::default() };
    runtime()?.block_on(async {
        let verdict = registry::verify(&config, registry, credentials).await?;
        let kept = registry::keep(registry, credentials, None, &config.environment).await?;
        Ok((verdict, kept))
    })
}

/// Erases what `login` has kept. `None`: there was nothing.
///
/// # Errors
/// When docker's file can't be changed, or its helper refuses.
pub fn logout(registry: &str) -> Result<Option<Kept>, LoginError> {
    runtime()?.block_on(async { Ok(registry::erase(registry, None, &Environment::default()).await?) })
}

fn runtime() -> Result<tokio::runtime::Runtime, LoginError> {
    let built = tokio::runtime::Builder::new_current_thread().enable_all().build();
    Ok(built.map_err(system("start a thread"))?)
}
