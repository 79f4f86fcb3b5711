//! One supervisor takes over from another, in the next version of the container that both run in.
//!
//! The one that runs ends its agent and frees the state directory, the next one starts its own proxy and agent on the
//! same sockets and says when both answer; only then the old proxy retires. From there on the new agent finishes the swap
//! that the old one began: when it is content, it stops the old container. Until that happens the old supervisor is ready
//! to take everything back: when the next one ends, gives up, or is not done in time.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;

use rustix::process::Signal;
use tokio::net::UnixListener;
use tokio::time::{Duration, Instant, sleep, timeout};

use crate::model::FailureReason;

use super::super::child::Child;
use super::super::handover::{self, Link, Message, NotTaken};
use super::super::relieved::Relieved;
use super::{
    AGENT_GRACE, Config, Error, PROXY_GRACE, Supervisor, agent_spec, control, lock, next_generation, proxy_spec,
};

/// The agent that runs comes to its safe point within this time, and a little more.
const GIVEN: Duration = Duration::from_secs(75);

/// The next one's proxy and agent must answer within this time.
const READY: Duration = Duration::from_secs(60);

/// The new agent must have stopped the old container within this time.
const SETTLED: Duration = Duration::from_secs(600);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// An agent that has given up and is all there is comes back after this time.
const AGAIN: Duration = Duration::from_secs(10);

/// Between `fork` and `exec` a child has its parent's locks.
const FORKED: Duration = Duration::from_secs(2);

/// It is told once that the state directory does not get free.
const LATE: Duration = Duration::from_secs(70);

/// The next one's side.
pub(super) struct Given {
    pub(super) link: Link,
    pub(super) sockets: Vec<(String, TcpListener)>,
}

/// Asks the supervisor that runs to give its place away.
///
/// # Errors
/// When it refuses or does not answer in time: it runs on.
pub(super) async fn ask(config: &Config, container: &str) -> Result<Given, Error> {
    let asked = async {
        let mut link = Link::to(&config.state_dir).await?;
        let (container, network) = (container.to_owned(), handover::network()?);
        link.say(&Message::TakeOver { version: handover::VERSION, container, network }).await?;
        let mut sockets = Vec::new();
        loop {
            match link.hear().await? {
                Some(Message::Sockets { names }) => sockets = names.into_iter().zip(link.sockets()).collect(),
                Some(Message::Yours) => return Ok(Given { link, sockets }),
                Some(Message::Refused { why }) => return Err(std::io::Error::other(why)),
                Some(other) => return Err(std::io::Error::other(format!("it said {other:?}"))),
                None => return Err(std::io::Error::other("it ended the connection")),
            }
        }
    };
    let asked = timeout(GIVEN, asked).await.unwrap_or_else(|late| Err(late.into()));
    asked.map_err(Error::TakeOver)
}

impl Supervisor {
    /// Waits until our own proxy and agent answer, and says so to the one that we take over from. An error means that it
    /// has taken its place back.
    pub(super) async fn prove(&mut self) -> Result<(), Error> {
        let Some(link) = &mut self.incumbent else { return Ok(()) };
        let places = [control(&self.config, self.generation), self.config.state_dir.join("run").join("agent.sock")];
        let answer = async {
            while places.iter().any(|place| UnixStream::connect(place).is_err()) {
                sleep(LOOK).await;
            }
        };
        tokio::select! {
            () = answer => {}
            heard = link.hear() => return self.heard(&heard),
        }
        tracing::info!("proxy and agent answer: this container has taken over");
        if link.say(&Message::Ready).await.is_err() {
            self.incumbent = None;
        }
        Ok(())
    }

    /// What the one that we took over from says: it wants its place back, or it has ended and we are alone.
    pub(super) fn heard(&mut self, heard: &std::io::Result<Option<Message>>) -> Result<(), Error> {
        match heard {
            Ok(Some(Message::Back)) => Err(Error::TakenBack),
            _ => {
                tracing::info!("the container before this one has ended");
                self.incumbent = None;
                Ok(())
            }
        }
    }

    /// Gives the place back to the one that we took over from, if it is still there: it takes new requests and starts its
    /// agent, while what is under way here is finished.
    pub(super) async fn give_back(&mut self) {
        if self.incumbent.take().is_none() {
            return;
        }
        tracing::warn!("the place goes back to the container before this one");
        self.agent.stop(Signal::TERM, AGENT_GRACE);
        self.agent.ended().await;
        self.lock = None;
    }

    /// The agent says that this container is no good. That is for the one before to mend, as long as there is one, or for
    /// the relief that starts it again when this one has ended.
    pub(super) async fn given_up(&mut self) -> Result<(), Error> {
        let relieved = self.config.container.as_ref().and_then(|own| Relieved::read(&self.config.state_dir, own));
        if self.incumbent.is_some() || relieved.is_some() {
            return Err(Error::GivenUp);
        }
        tracing::error!(
            "there is no container before this one that could take its place back: the agent is started again"
        );
        sleep(AGAIN).await;
        self.agent = Child::start(agent_spec(&self.config, &self.agent_sockets));
        Ok(())
    }

    /// Lets the next one take over. Returns when that came to nothing and we have everything back; when it succeeds we are
    /// told to end meanwhile.
    pub(super) async fn hand_over(&mut self, stream: tokio::net::UnixStream) {
        if !handover::is_one_of_us(&stream) {
            return;
        }
        let mut link = Link::new(stream);
        let why = match self.give(&mut link).await {
            Ok(true) => self.wait_to_be_stopped(&mut link).await,
            Ok(false) => return,
            Err(why) => why,
        };
        tracing::error!("the next container did not take over: {why}");
        // If it still listens, it ends now.
        let _ = link.say(&Message::Back).await;
        drop(link);
        self.take_back(why).await;
    }

    /// Returns, with the reason, only when we are not stopped.
    async fn wait_to_be_stopped(&self, link: &mut Link) -> String {
        tracing::info!("the next container has taken over; this one waits to be stopped");
        self.proxy.stop(Signal::USR2, PROXY_GRACE);
        match timeout(SETTLED, link.hear()).await {
            Ok(_) => "it has given up or ended".to_owned(),
            Err(_) => format!("it was not content within {} s", SETTLED.as_secs()),
        }
    }

    /// False when nothing was given because the asker is not the one that is awaited.
    async fn give(&mut self, link: &mut Link) -> Result<bool, String> {
        let heard = timeout(READY, link.hear()).await.map_err(|late| late.to_string())?;
        let Ok(Some(Message::TakeOver { version, container, network })) = heard else { return Ok(false) };
        let why = if version != handover::VERSION {
            Some(format!("this tagboat speaks version {} of the hand-over, not {version}", handover::VERSION))
        } else if !handover::is_successor(&self.config.state_dir, &container) {
            Some("another container is to take over, or none".to_owned())
        } else {
            None
        };
        if let Some(why) = why {
            tracing::warn!(container, "asked to give its place away and does not: {why}");
            let _ = link.say(&Message::Refused { why }).await;
            return Ok(false);
        }
        tracing::info!(container, "the next container takes over: the agent ends");
        let text = |error: std::io::Error| error.to_string();
        let sockets: Vec<_> = self.proxy_sockets.iter().chain(&self.agent_sockets).collect();
        let same = handover::network().is_ok_and(|own| own == network);
        let sockets = if same { sockets } else { Vec::new() };
        let names = sockets.iter().map(|(_, address, _)| address.to_string()).collect();
        let sockets: Vec<&TcpListener> = sockets.iter().map(|(_, _, socket)| socket).collect();
        link.say_with(&Message::Sockets { names }, &sockets).await.map_err(text)?;
        self.agent.stop(Signal::TERM, AGENT_GRACE);
        self.agent.ended().await;
        self.lock = None;
        link.say(&Message::Yours).await.map_err(text)?;
        match timeout(READY, link.hear()).await {
            Ok(Ok(Some(Message::Ready))) => Ok(true),
            Ok(_) => Err("it ended".to_owned()),
            Err(_) => Err(format!("its proxy and agent did not answer within {} s", READY.as_secs())),
        }
    }

    /// Everything runs here again: the proxy at once, the agent as soon as nobody else has the state directory.
    async fn take_back(&mut self, why: String) {
        let old = &self.config.state_dir;
        if let Ok(container) = std::fs::read_to_string(handover::successor_file(old)) {
            NotTaken { container, why, reason: FailureReason::Unhealthy }.write(old);
        }
        self.door = open(&self.config);
        if self.proxy.was_stopped() {
            self.generation = next_generation(&old.join("run"));
            let new = Child::start(proxy_spec(&self.config, self.generation, &self.proxy_sockets));
            self.retired.push(std::mem::replace(&mut self.proxy, new));
        }
        self.lock = Some(locked(old).await);
        self.agent = Child::start(agent_spec(&self.config, &self.agent_sockets));
        tracing::info!("this container has its place back");
    }
}

/// The state directory, of which the one before has let go. A child that it was starting just then may have it for a moment
/// longer.
pub(super) async fn let_go(state_dir: &Path) -> Result<File, Error> {
    let begun = Instant::now();
    loop {
        match lock(state_dir) {
            Err(Error::Locked { .. }) if begun.elapsed() < FORKED => sleep(LOOK).await,
            other => return other,
        }
    }
}

/// Waits until nobody else has the state directory, neither a supervisor nor an agent.
async fn locked(state_dir: &Path) -> File {
    let begun = Instant::now();
    let mut told = false;
    loop {
        let agent = || File::open(state_dir.join("agent.lock")).is_ok_and(|file| file.try_lock().is_err());
        match lock(state_dir) {
            Ok(lock) if !agent() => return lock,
            other => {
                if begun.elapsed() > LATE && !std::mem::replace(&mut told, true) {
                    let why = other.err().map_or("an agent uses it".to_owned(), |error| error.to_string());
                    tracing::error!("the agent can't be started again yet, the proxy serves meanwhile: {why}");
                }
            }
        }
        sleep(LOOK).await;
    }
}

/// In a container: where the next one asks. Without it this container can't be updated, and that is all.
pub(super) fn open(config: &Config) -> Option<UnixListener> {
    config.container.as_ref()?;
    let opened = handover::door(&config.state_dir);
    opened.inspect_err(|error| tracing::warn!(%error, "the next version of this container can't take over")).ok()
}

/// The next one that asks; for ever if nobody can.
pub(super) async fn asked(door: Option<&UnixListener>) -> tokio::net::UnixStream {
    let Some(door) = door else { return std::future::pending().await };
    loop {
        match door.accept().await {
            Ok((stream, _)) => return stream,
            Err(_) => sleep(LOOK).await,
        }
    }
}
