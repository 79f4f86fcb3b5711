//! Integration tests on real parts: a dockerd, a registry, the tagboat program, and load.
//!
//! Each test has containers, ports and directories of its own; the engine is shared by all of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, clippy::disallowed_methods, reason = "tests")]

mod adopted;
mod announced;
mod broken;
mod chaos;
mod compose;
mod faults;
mod fidelity;
mod gates;
mod groups;
mod hold;
mod jobs;
mod kills;
mod layers;
mod locked;
mod login;
mod matrix;
mod moving;
mod ourselves;
mod policy;
mod proxy;
mod prune;
mod registry;
mod reload;
mod replicas;
mod routed;
mod support;
mod swap;
mod upgrade;
mod watch;
mod watched;
