//! The real fleet, reconcilers and executor on an engine, a proxy, a registry and a memory that are made of data.
//!
//! Time is tokio's paused clock, so that minutes pass in milliseconds; one run of the agent is one runtime, and a
//! crash is its end in the middle of a call. After a crash the next run finds the world as it was left. What must
//! hold all the time ([`laws`]) is checked at every call that changes something; what must hold at rest, at the end.

mod crashes;
mod engine;
mod laws;
mod memory;
mod person;
mod random;
mod run;
mod traffic;
mod world;
