//! The supervisor's loop.

mod children;
mod signals;
mod sockets;
mod takeover;
mod upgrade;

use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use rustix::process::Signal;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tokio::time::Duration;

use crate::listeners::{self, BindError};
use crate::model::ListenAddr;

use self::children::{agent_spec, answers, control, next_generation, proxy_spec};
use self::signals::Signals;
use self::sockets::{Bound, bind_all, bind_when_free, proxy_names};
use self::takeover::Given;
use super::child::Child;
use super::handover::{Link, Message, is_successor};
pub(super) use upgrade::UPGRADED;
pub use upgrade::Upgrade;

/// The agent may take so long to come to a safe point.
const AGENT_GRACE: Duration = Duration::from_secs(60);

/// A proxy may take so long to finish what it has: its own graces and a little more.
const PROXY_GRACE: Duration = Duration::from_secs(330);

/// What is to be listened on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listeners {
    /// By the proxy.
    pub proxy: Vec<ListenAddr>,
    /// By the agent: `api`, `metrics`, `hooks`.
    pub agent: Vec<(String, ListenAddr)>,
}

/// Reads the configuration anew; the error is what is wrong with it, for the log.
pub type Reload = Box<dyn Fn() -> Result<Listeners, String> + Send>;

/// What the supervisor is given.
pub struct Config {
    /// The program of the children: this one.
    pub exe: PathBuf,
    /// The configuration file, for the agent.
    pub config: PathBuf,
    /// Where everything is kept.
    pub state_dir: PathBuf,
    /// What is to be listened on.
    pub listeners: Listeners,
    /// JSON lines or not, and the least level of the proxy's log; the agent reads its own.
    pub log: (bool, String),
    /// Reads the configuration anew.
    pub reload: Reload,
    /// The id of the container that this is in.
    pub container: Option<String>,
}

/// A supervisor that could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state directory can't be used.
    #[error("failed to use the state directory {path}")]
    State {
        /// It.
        path: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another tagboat uses it.
    #[error(
        "another tagboat (pid {pid}) uses the state directory {path}; stop it, or give this one a `state_dir` of its own"
    )]
    Locked {
        /// It.
        path: String,
        /// Whose it is.
        pid: String,
    },
    /// An address can't be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The new program could not be executed, and the old one can't go on.
    #[error("the new program could not be executed; start tagboat anew")]
    Upgrade,
    /// Signals can't be received.
    #[error("failed to receive signals")]
    Signals(#[source] io::Error),
    /// The container that runs does not give its place away.
    #[error("failed to take over from the container that runs")]
    TakeOver(#[source] io::Error),
    /// It wants its place back.
    #[error("the container before this one has taken its place back: see its log")]
    TakenBack,
    /// The agent says that this container is no good.
    #[error("the agent has given up, and the container before this one has its place back")]
    GivenUp,
}

struct Supervisor {
    config: Config,
    proxy_sockets: Vec<Bound>,
    agent_sockets: Vec<Bound>,
    generation: u64,
    agent: Child,
    proxy: Child,
    retired: Vec<Child>,
    /// Writes down how an upgrade went.
    report: Option<JoinHandle<()>>,
    /// It can't go on.
    failed: bool,
    /// Held as long as the state directory is ours.
    lock: Option<File>,
    /// Where the next version of our container asks for our place.
    door: Option<UnixListener>,
    /// The one that we take over from, until it has ended.
    incumbent: Option<Link>,
}

/// Runs until SIGTERM or SIGINT.
///
/// # Errors
/// When it can't start; nothing was started then. Or when another one takes its place.
pub async fn run(config: Config) -> Result<(), Error> {
    let mut signals = Signals::new().map_err(Error::Signals)?;
    let mut supervisor = tokio::select! {
        started = Supervisor::take_place(config) => started?,
        () = signals.end.told() => return Ok(()),
    };
    if let Ok(told) = std::env::var(UPGRADED) {
        supervisor.take_over(&told);
    }
    let ended = supervisor.work(&mut signals).await;
    if matches!(ended, Err(Error::Upgrade)) {
        return ended;
    }
    tracing::info!("ending: the agent first, then the proxy");
    tokio::select! {
        () = supervisor.stop() => {}
        () = signals.end.told() => supervisor.kill().await,
    }
    ended
}

/// One tagboat a state directory.
fn lock(dir: &Path) -> Result<File, Error> {
    let failed = |source| Error::State { path: dir.display().to_string(), source };
    std::fs::create_dir_all(dir.join("run")).map_err(failed)?;
    let path = dir.join("lock");
    let file = File::options().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
    match file.try_lock() {
        Ok(()) => {
            file.set_len(0).map_err(failed)?;
            (&file).write_all(std::process::id().to_string().as_bytes()).map_err(failed)?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => {
            let pid = std::fs::read_to_string(&path).unwrap_or_default();
            Err(Error::Locked { path: dir.display().to_string(), pid })
        }
        Err(TryLockError::Error(error)) => Err(failed(error)),
    }
}

impl Supervisor {
    /// Starts, or takes over from another one if that is what this container was made for.
    async fn take_place(config: Config) -> Result<Self, Error> {
        match (lock(&config.state_dir), config.container.clone()) {
            (Ok(lock), _) => Self::start(config, listeners::inherited(), Some(lock), None).await,
            (Err(Error::Locked { .. }), Some(own)) if is_successor(&config.state_dir, &own) => {
                tracing::info!("taking over from the container that runs");
                let Given { link, sockets } = takeover::ask(&config, &own).await?;
                let lock = takeover::let_go(&config.state_dir).await?;
                Self::start(config, sockets, Some(lock), Some(link)).await
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Does what it is told until it is told to end.
    async fn work(&mut self, signals: &mut Signals) -> Result<(), Error> {
        tokio::select! {
            proved = self.prove() => proved?,
            () = signals.end.told() => return Ok(()),
        }
        loop {
            tokio::select! {
                () = signals.end.told() => return Ok(()),
                _ = signals.hangup.recv() => self.reload().await,
                _ = signals.upgrade.recv() => self.upgrade().await,
                heard = heard(self.incumbent.as_mut()) => self.heard(&heard)?,
                () = self.agent.ended() => self.given_up().await?,
                stream = takeover::asked(self.door.as_ref()) => tokio::select! {
                    () = self.hand_over(stream) => {}
                    () = signals.end.told() => return Ok(()),
                },
            }
            if self.failed {
                return Err(Error::Upgrade);
            }
        }
    }

    async fn start(
        config: Config,
        mut passed: Vec<(String, TcpListener)>,
        lock: Option<File>,
        incumbent: Option<Link>,
    ) -> Result<Self, Error> {
        let wanted = config.listeners.clone();
        let proxy_sockets = bind_when_free(proxy_names(&wanted.proxy), &mut passed).await?;
        let agent_sockets = bind_when_free(wanted.agent, &mut passed).await?;
        let generation = next_generation(&config.state_dir.join("run"));
        let proxy = Child::start(proxy_spec(&config, generation, &proxy_sockets));
        let agent = Child::start(agent_spec(&config, &agent_sockets));
        let door = takeover::open(&config);
        Ok(Self {
            config,
            proxy_sockets,
            agent_sockets,
            generation,
            agent,
            proxy,
            retired: Vec::new(),
            report: None,
            failed: false,
            lock,
            door,
            incumbent,
        })
    }

    /// SIGHUP: an invalid file changes nothing; changed listeners cost a new proxy, or a restart of the agent, and no
    /// connection either way.
    async fn reload(&mut self) {
        let wanted = match (self.config.reload)() {
            Ok(wanted) => wanted,
            Err(problems) => {
                tracing::error!("the new configuration is refused, the old one stays in force:\n{problems}");
                return;
            }
        };
        let changed = wanted.proxy != self.config.listeners.proxy;
        let agent_changed = wanted.agent != self.config.listeners.agent;
        let Some((proxy_sockets, agent_sockets)) = self.rebind(&wanted) else { return };
        let before = std::mem::replace(&mut self.proxy_sockets, proxy_sockets);
        if changed && !self.replace_proxy().await {
            // So that the next reload tries the same change again.
            self.proxy_sockets = before;
            tracing::error!("the new configuration is not taken over, the old one stays in force");
            return;
        }
        self.agent_sockets = agent_sockets;
        self.config.listeners = wanted;
        tracing::info!(
            proxy_listeners_changed = changed,
            agent_listeners_changed = agent_changed,
            "configuration reloaded"
        );
        if agent_changed {
            self.agent.stop(Signal::TERM, AGENT_GRACE);
            self.agent.ended().await;
            self.agent = Child::start(agent_spec(&self.config, &self.agent_sockets));
        } else {
            self.agent.signal(Signal::HUP);
        }
    }

    /// Keeps the sockets that are still wanted and binds the new ones; all or nothing.
    fn rebind(&self, wanted: &Listeners) -> Option<(Vec<Bound>, Vec<Bound>)> {
        let held = |sockets: &[Bound]| -> io::Result<Vec<(String, TcpListener)>> {
            sockets.iter().map(|(name, _, socket)| Ok((name.clone(), socket.try_clone()?))).collect()
        };
        let bound = || -> Result<_, Error> {
            let state = |source| Error::State { path: "the open sockets".to_owned(), source };
            let proxy = held(&self.proxy_sockets).map_err(state)?;
            let agent = self.agent_sockets.iter().map(|(_, a, s)| Ok((a.to_string(), s.try_clone()?)));
            let agent = agent.collect::<io::Result<Vec<_>>>().map_err(state)?;
            Ok((bind_all(proxy_names(&wanted.proxy), proxy)?, bind_all(wanted.agent.clone(), agent)?))
        };
        bound().inspect_err(|error| tracing::error!("the old listeners stay: {error}")).ok()
    }

    /// Starts a proxy beside the old one; the old one ends when the new one answers. False: it did not, and the old
    /// one goes on.
    async fn replace_proxy(&mut self) -> bool {
        self.generation += 1;
        let socket = control(&self.config, self.generation);
        let mut new = Child::start(proxy_spec(&self.config, self.generation, &self.proxy_sockets));
        if !answers(&socket).await {
            tracing::error!("the new proxy does not answer: the old one goes on");
            new.kill();
            new.ended().await;
            // The agent takes the highest number for the proxy that serves.
            let _ = std::fs::remove_file(socket);
            return false;
        }
        let old = std::mem::replace(&mut self.proxy, new);
        old.stop(Signal::USR2, PROXY_GRACE);
        self.retired.retain(|child| !child.has_ended());
        self.retired.push(old);
        true
    }

    async fn stop(&mut self) {
        if let Some(report) = self.report.take() {
            report.abort();
        }
        self.give_back().await;
        self.agent.stop(Signal::TERM, AGENT_GRACE);
        self.agent.ended().await;
        self.proxy.stop(Signal::TERM, PROXY_GRACE);
        // What was waiting in the queues has been taken or is refused now.
        self.proxy_sockets.clear();
        for child in std::iter::once(&mut self.proxy).chain(&mut self.retired) {
            child.ended().await;
        }
    }

    async fn kill(&mut self) {
        tracing::warn!("asked twice: what is under way is cut");
        for child in [&mut self.agent, &mut self.proxy].into_iter().chain(&mut self.retired) {
            child.kill();
            child.ended().await;
        }
    }
}

/// What the one that we take over from says; for ever silent if there is none.
async fn heard(incumbent: Option<&mut Link>) -> io::Result<Option<Message>> {
    match incumbent {
        Some(link) => link.hear().await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
