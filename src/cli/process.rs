//! `tagboat run`, `agent` and `proxy`: the long-running processes.

use std::path::Path;

use super::args::ProxyFlags;
use super::exit::{Exit, Failure};
use crate::app::{self, Ended, Error, ProxyArgs};

pub(super) fn run(config: &Path) -> Result<Exit, Failure> {
    app::run(config).map_err(failed)?;
    Ok(Exit::Done)
}

pub(super) fn agent(config: &Path) -> Result<Exit, Failure> {
    Ok(match app::agent(config).map_err(failed)? {
        Ended::Stopped => Exit::Done,
        Ended::Restart => Exit::Restart,
    })
}

pub(super) fn proxy(flags: ProxyFlags) -> Result<Exit, Failure> {
    let ProxyFlags { state_dir, control, config } = flags;
    app::proxy(ProxyArgs { state_dir, control, config }).map_err(failed)?;
    Ok(Exit::Done)
}

/// A configuration that is wrong is the user's to mend; starting again does not help.
fn failed(error: Error) -> Failure {
    let exit = if matches!(error, Error::Config(_)) { Exit::Usage } else { Exit::Failed };
    Failure::new(exit, error)
}
