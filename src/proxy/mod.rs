//! The data plane: takes requests on listeners, sends each to the container that serves its app, and counts what is
//! in flight, so that a container is only stopped when nothing needs it any more.
//!
//! It knows routes and targets, and nothing of registries, images or deployments; it holds no Docker socket and no
//! credential. The agent steers it over a control socket ([`Client`] is the agent's end of it); what it was last
//! told is on disk and in force again at the next start, whether there is an agent or not.
//!
//! A request walks: `listener` → `forward` → `router` → `send` (claim, `pool`) → `body` or `tunnel`. While its app
//! is held it waits in `send` for its turn (`hold`).

mod body;
mod claim;
mod client;
mod control;
mod forward;
mod headers;
mod hold;
mod holds;
mod listener;
mod pages;
mod peer;
mod plane;
mod pool;
mod probe;
mod router;
mod runtime;
mod send;
mod server;
mod stats;
mod sync;
mod table;
mod target;
mod tunnel;

use std::path::PathBuf;
use std::time::Duration;

use crate::model::ListenAddr;

pub use client::Client;
pub use server::{End, run};
pub use table::{Decoded, decode as decode_table};

/// What one proxy process is given.
#[derive(Debug)]
pub struct Config {
    /// Where the route table is kept.
    pub state_dir: PathBuf,
    /// Its control socket, made anew.
    pub control: PathBuf,
    /// Bound listeners, by the address that routes name.
    pub listeners: Vec<(ListenAddr, std::net::TcpListener)>,
    /// When it ends, requests may take so long.
    pub request_grace: Duration,
    /// When it ends, streams may take so long.
    pub stream_grace: Duration,
}

/// A proxy that could not start.
#[derive(Debug, thiserror::Error)]
#[error("failed to {operation}")]
pub struct Error {
    /// What was tried on what.
    pub operation: String,
    /// What lies beneath.
    #[source]
    pub source: std::io::Error,
}
