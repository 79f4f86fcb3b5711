//! Composition: the only place that knows which adapter stands behind which port, and which processes there are.
//!
//! `tagboat run` is a supervisor with two children of the same program, an agent and a proxy; the children can also be
//! run by themselves, under another supervisor.

mod agent;
mod doctor;
mod logging;
mod login;
mod proxy;
mod relieve;
mod run;
mod upgrade;

use std::os::fd::AsFd;
use std::path::PathBuf;

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;

use crate::config::Config;
use crate::docker::{self, Docker};

pub use agent::{Ended, agent};
pub use doctor::{Finding, doctor};
pub use login::{LoginError, login, logout};
pub use proxy::{ProxyArgs, proxy};
pub use relieve::{RelieveArgs, relieve};
pub use run::run;
pub use upgrade::{UpgradeError, Upgraded, upgrade};

/// A process that could not start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration is wrong.
    #[error("{0}")]
    Config(crate::config::Errors),
    /// Something of the system can't be had.
    #[error("failed to {operation}")]
    System {
        /// What was tried.
        operation: String,
        /// What lies beneath.
        #[source]
        source: crate::ports::Source,
    },
    /// The supervisor could not start.
    #[error(transparent)]
    Supervisor(#[from] crate::supervisor::Error),
    /// The proxy could not start.
    #[error(transparent)]
    Proxy(#[from] crate::proxy::Error),
}

/// An error of the system.
fn system(operation: impl Into<String>) -> impl FnOnce(std::io::Error) -> Error {
    let operation = operation.into();
    move |source| Error::System { operation, source: Box::new(source) }
}

/// The id of the container that we run in, if we do: the engine mounts files from its directory.
fn own_container() -> Option<String> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").ok()?;
    let (_, rest) = mounts.split_once("/containers/")?;
    rest.get(..64).filter(|id| id.bytes().all(|byte| byte.is_ascii_hexdigit())).map(str::to_owned)
}

/// Where our program is.
fn own_program() -> Result<PathBuf, Error> {
    let exe = std::env::current_exe().map_err(system("find the own program"))?;
    // After an upgrade the running program's file has another name; the new one has the old name.
    Ok(PathBuf::from(exe.display().to_string().trim_end_matches(" (deleted)")))
}

/// The container engine that a configuration names.
fn engine_of(config: &Config) -> Result<Docker, Error> {
    let at = docker::Config { host: config.docker.host.clone(), cert_path: config.docker.cert_path.clone() };
    let refused = |error| Error::System { operation: "use the container engine".to_owned(), source: Box::new(error) };
    Docker::new(at, config.state_dir.display().to_string()).map_err(refused)
}

/// The directory of the sockets.
fn run_dir(state_dir: &std::path::Path) -> PathBuf {
    state_dir.join("run")
}

/// Resolves when the parent that holds our lifeline is gone; never without such a parent.
async fn orphaned() {
    if std::env::var("TAGBOAT_LIFELINE").as_deref() != Ok("stdin") {
        return std::future::pending().await;
    }
    let opened = std::io::stdin().as_fd().try_clone_to_owned().and_then(Receiver::from_owned_fd);
    let Ok(mut lifeline) = opened else { return std::future::pending().await };
    let mut byte = [0];
    while matches!(lifeline.read(&mut byte).await, Ok(1..)) {}
    tracing::warn!("the supervisor is gone");
}
