//! Old container + old image + new image → the new container.
//!
//! `docker inspect` shows what the user asked for merged with the image's and the daemon's defaults. To carry a
//! container to another image the image's share has to be taken out again: everything that equals the *old* image's
//! default is left to the new image, everything else is the user's and stays. The merge that is undone here is the
//! engine's own (`merge` in moby's `daemon/commit.go`): user, exposed ports, environment by key, labels, entrypoint and
//! command as a pair, healthcheck by field, working directory, volumes and stop signal; nothing else is inherited.
//!
//! What can't be known: a value that the user gave and that equals the old image's default looks like the default. It
//! follows the new image; the label `tagboat.keep_config` ([`Keep`]) settles it the other way. The same holds of a default of
//! the daemon that can't be asked for (default ulimits, default log options): it stays as it is.
//!
//! Works on the raw documents: a field that nobody here knows passes through. Refuses what belongs to another
//! orchestrator (Swarm tasks, pods, one-off containers of compose). Enters: [`Sources`]; leaves: [`Derived`], and
//! after the create [`compare`] says whether the engine made what was meant.

mod assemble;
mod command;
mod compare;
mod compose;
mod config;
mod derived;
mod fit;
mod healthcheck;
mod host;
mod joins;
mod json;
mod masks;
mod merge;
mod mounts;
mod networks;
mod notices;
mod options;

pub use assemble::derive;
pub use compare::compare;
pub use derived::{Carried, DeriveError, Derived, Notice, WantedState};
pub use fit::unfit;
pub use joins::{Join, JoinKind, dependents, namespace_joins, recreate_order};
pub use options::{DaemonDefaults, Keep, Options, Peer, Sources};

#[cfg(test)]
mod tests;
