//! The Docker Engine API, as the `Engine` port.
//!
//! Create and inspect go as raw JSON, so that no field is lost that a typed model does not know; pulls, logs and events
//! are streams and go through bollard. The API version is negotiated: 1.41 (Docker 20.10) at least. This room does
//! not choose what runs; it does what it is told and says what happened in words that name the container.

mod calls;
mod convert;
mod engine;
mod error;
mod streams;

use std::path::PathBuf;
use std::time::Duration;

#[cfg(test)]
pub(crate) use convert::{container as understood, digest_of, image as image_of, job as understood_job};
pub use engine::Docker;

/// Where the daemon is.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// `unix:///var/run/docker.sock`, `tcp://host:2376`; `None`: `DOCKER_HOST`, or the usual socket.
    pub host: Option<String>,
    /// Directory with `ca.pem`, `cert.pem` and `key.pem` for TLS.
    pub cert_path: Option<PathBuf>,
}

/// The oldest API version that is supported: Docker 20.10's.
const OLDEST_API: (u32, u32) = (1, 41);

/// The newest API version that we know the meaning of. From 1.52 on an inspect does not tell any more which hardware
/// address was asked for, and a container could not be recreated with it.
const NEWEST_API: (u32, u32) = (1, 51);

/// A call may take so long; a daemon on a busy disk needs many seconds to remove a container.
const CALL: Duration = Duration::from_secs(60);

/// Whether it is there is answered within this time, if it is.
const PING: Duration = Duration::from_secs(3);

/// The daemon is unreachable rather than busy when it does not even accept within this time.
const CONNECT: Duration = Duration::from_secs(5);
