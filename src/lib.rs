//! tagboat keeps running containers at the image tags they follow, without dropping a request.
//!
//! The rooms and their order are described in `docs/ARCHITECTURE.md`; a room uses only rooms of a lower
//! level, and `tests/it/layers.rs` fails when one does not.

pub mod app;
pub mod cli;
pub mod config;
pub mod decide;
pub mod docker;
pub mod engine;
pub mod http;
pub mod listeners;
pub mod metrics;
pub mod model;
pub mod ports;
pub mod proxy;
pub mod registry;
pub mod store;
pub mod supervisor;
pub mod verify;
