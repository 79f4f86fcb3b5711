//! The command line: parses it, asks the agent's API, prints, and says by its exit code what came of it.
//!
//! Everything but `run`, `agent`, `proxy` and the commands about files is a client of the API, over the agent's
//! Unix socket or a URL. Tables are for people, `--json` is for programs and has the API's own shapes. Results
//! go to the standard output, errors to the standard error with a way out.

mod actions;
mod args;
mod check;
mod client;
mod deploy;
mod dispatch;
mod exit;
mod files;
mod follow;
mod history;
mod hook;
mod login;
mod out;
mod plan;
mod process;
mod prune;
mod secret;
mod status;
mod tags;
#[cfg(test)]
mod tests;
mod transport;
mod upgrade;
mod words;

pub use dispatch::main;
pub use exit::Exit;
