//! A new program takes over from the old one without dropping a request.
//!
//! First a proxy of the new program is started beside the old one: only when it answers anything is given up. Then the
//! agent ends at its next safe point, and the supervisor executes the new program in its own place, with its sockets
//! and its process number. The proxies before see the end of their lifeline and retire: they finish what they have,
//! while the new supervisor's own proxy takes what waits in the sockets' queues.

use std::io;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::Path;

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::Signal;
use serde::{Deserialize, Serialize};
use tokio::time::{Duration, Instant, sleep};

use super::super::child::{Child, FIRST_FD};
use super::children::{PROXY_START, control};
use super::{AGENT_GRACE, Supervisor};
use crate::listeners;

/// Set for a supervisor that has taken over in place: the version before it, and the processes that still finish
/// what they have.
pub(in crate::supervisor) const UPGRADED: &str = "TAGBOAT_UPGRADED";

/// The agent must answer within this time after an upgrade.
const AGENT_START: Duration = Duration::from_secs(60);

/// How an upgrade went, in `run/upgrade` of the state directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum Upgrade {
    /// The new program runs: supervisor, agent and proxy.
    Done {
        /// The version before.
        from: String,
        /// The version now.
        to: String,
    },
    /// The old one runs on, or the new one in part.
    Failed {
        /// What went wrong.
        problem: String,
    },
}

impl Upgrade {
    /// Reads how the last upgrade went; `None` while one is under way.
    pub fn read(state_dir: &Path) -> Option<Self> {
        serde_json::from_slice(&std::fs::read(file(state_dir)).ok()?).ok()
    }

    /// Forgets it.
    ///
    /// # Errors
    /// When the file is there and can't be removed.
    pub fn forget(state_dir: &Path) -> io::Result<()> {
        match std::fs::remove_file(file(state_dir)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn write(&self, state_dir: &Path) {
        let (path, new) = (file(state_dir), file(state_dir).with_extension("new"));
        let text = serde_json::to_vec(self).expect("a result can be written as JSON");
        if let Err(error) = std::fs::write(&new, text).and_then(|()| std::fs::rename(&new, &path)) {
            tracing::warn!(path = %path.display(), %error, "how the upgrade went could not be written down");
        }
    }
}

fn file(state_dir: &Path) -> std::path::PathBuf {
    state_dir.join("run").join("upgrade")
}

impl Supervisor {
    /// Returns only when it fails.
    pub(super) async fn upgrade(&mut self) {
        let version = env!("CARGO_PKG_VERSION");
        tracing::info!(version, exe = %self.config.exe.display(), "a new program takes over");
        if !self.replace_proxy().await {
            let problem = format!("a proxy of the new program did not answer within {} s", PROXY_START.as_secs());
            Upgrade::Failed { problem }.write(&self.config.state_dir);
            return;
        }
        self.agent.stop(Signal::TERM, AGENT_GRACE);
        self.agent.ended().await;
        let error = self.execute();
        // Our descriptors may be in disorder now: whoever started us starts us anew, and the proxies serve on.
        tracing::error!(%error, exe = %self.config.exe.display(), "the new program could not be executed");
        Upgrade::Failed { problem: format!("the new program could not be executed: {error}") }
            .write(&self.config.state_dir);
        self.failed = true;
    }

    /// Becomes the new program; returns why that was not possible.
    fn execute(&self) -> io::Error {
        let mut command = std::process::Command::new(&self.config.exe);
        command.args(std::env::args_os().skip(1));
        let (mut mappings, mut names) = (Vec::new(), Vec::new());
        let sockets = self.proxy_sockets.iter().chain(&self.agent_sockets);
        for (child_fd, (_, address, socket)) in (FIRST_FD..).zip(sockets) {
            match socket.as_fd().try_clone_to_owned() {
                Ok(parent_fd) => mappings.push(FdMapping { parent_fd, child_fd }),
                Err(error) => return error,
            }
            names.push(listeners::encoded(&address.to_string()));
        }
        let retired = std::iter::once(&self.proxy).chain(&self.retired).filter_map(Child::pid);
        let retired: Vec<String> = retired.map(|pid| pid.to_string()).collect();
        command.env(listeners::COUNT, mappings.len().to_string()).env(listeners::NAMES, names.join(":"));
        command.env(UPGRADED, format!("{} {}", env!("CARGO_PKG_VERSION"), retired.join(" "))).env_remove("LISTEN_PID");
        match command.fd_mappings(mappings) {
            Ok(command) => command.exec(),
            Err(error) => io::Error::other(error),
        }
    }

    /// What is to be done first by a supervisor that has taken over in place.
    pub(super) fn take_over(&mut self, told: &str) {
        let mut words = told.split_whitespace();
        let from = words.next().unwrap_or_default().to_owned();
        self.retired.extend(words.filter_map(|pid| Some(Child::adopt("proxy", pid.parse().ok()?))));
        let (state_dir, socket) = (self.config.state_dir.clone(), control(&self.config, self.generation));
        let to = env!("CARGO_PKG_VERSION").to_owned();
        tracing::info!(from, to, "this program has taken over");
        self.report = Some(tokio::spawn(async move {
            let agent = state_dir.join("run").join("agent.sock");
            let begun = Instant::now();
            let result = loop {
                let missing = [("proxy", &socket), ("agent", &agent)]
                    .into_iter()
                    .find(|(_, at)| UnixStream::connect(at).is_err());
                match missing {
                    None => break Upgrade::Done { from, to },
                    Some((role, _)) if begun.elapsed() > AGENT_START => {
                        let problem = format!("the new {role} did not answer within {} s", AGENT_START.as_secs());
                        break Upgrade::Failed { problem };
                    }
                    Some(_) => sleep(Duration::from_millis(50)).await,
                }
            };
            result.write(&state_dir);
        }));
    }
}
