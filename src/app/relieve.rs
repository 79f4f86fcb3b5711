//! `tagboat relieve`: takes turns with two containers of tagboat that can't run at the same time.

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::decide::relief::End;
use crate::engine::{Notes, Relief, carry_out};
use crate::model::{ContainerId, FailureReason, Time};
use crate::supervisor::{NotTaken, Relieved, is_successor};

use super::{Error, engine_of, logging, own_container, system};

/// What the relief is started with.
#[derive(Debug, Clone)]
pub struct RelieveArgs {
    /// The configuration of both.
    pub config: PathBuf,
    /// The next one has to have the name within this time from its start.
    pub within: Duration,
    /// The id of the container that runs.
    pub old: String,
    /// That of the one which is to run in its place.
    pub next: String,
}

/// Runs the relief until it is done; false when it was told to end before that.
///
/// # Errors
/// When it can't start.
pub fn relieve(args: RelieveArgs) -> Result<bool, Error> {
    let config = Config::load(&args.config).map_err(Error::Config)?;
    logging::start(config.log.json, &config.log.level);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(system("start the relief's thread"))?;
    runtime.block_on(work(&config, args))
}

async fn work(config: &Config, args: RelieveArgs) -> Result<bool, Error> {
    let engine = engine_of(config)?;
    let relief = Relief {
        old: ContainerId(args.old),
        next: ContainerId(args.next),
        own: own_container().map(ContainerId),
        within: args.within,
    };
    let files = Files { state_dir: config.state_dir.clone(), next: relief.next.0.clone() };
    files.begin().map_err(system(format!("write to the state directory {}", config.state_dir.display())))?;
    tracing::info!(
        old = relief.old.short(),
        next = relief.next.short(),
        "this relief container stops the old container of tagboat and starts the next one, because the two can't run at \
         the same time; if the next one is no good, the old one is started again"
    );
    let mut term = signal(SignalKind::terminate()).map_err(system("receive SIGTERM"))?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(system("receive SIGINT"))?;
    let told = CancellationToken::new();
    let signalled = async {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        told.cancel();
        std::future::pending().await
    };
    let end = tokio::select! {
        end = carry_out(&relief, &engine, &files, &told) => end,
        never = signalled => never,
    };
    tell(end);
    if end.is_some() {
        Relieved::forget(&files.state_dir);
    }
    Ok(end.is_some())
}

fn tell(end: Option<End>) {
    match end {
        Some(End::Taken) => tracing::info!("done: the next container has the place"),
        Some(End::PutBack) => tracing::warn!("done: the container before the next one has its place again"),
        Some(End::Recalled) => tracing::warn!("done: the container that runs is not to be replaced any more"),
        Some(End::Lost) => tracing::error!("no container of tagboat is left that could run: start one by hand"),
        None => tracing::warn!("told to end before it was done: whoever starts this container again has it go on"),
    }
}

/// What the two read, in the state directory that all three have.
struct Files {
    state_dir: PathBuf,
    next: String,
}

impl Files {
    /// From now on the next one may end when it is no good. What an earlier run has written stays.
    fn begin(&self) -> std::io::Result<()> {
        match Relieved::read(&self.state_dir, &self.next) {
            Some(_) => Ok(()),
            None => Relieved { container: self.next.clone(), away_since: None }.write(&self.state_dir),
        }
    }
}

impl Notes for Files {
    fn announced(&self) -> bool {
        is_successor(&self.state_dir, &self.next)
    }

    fn stopping(&self, at: Time) {
        let before = Relieved::read(&self.state_dir, &self.next).and_then(|written| written.away_since);
        let note = Relieved { container: self.next.clone(), away_since: before.or(Some(at)) };
        if let Err(error) = note.write(&self.state_dir) {
            tracing::warn!(%error, "when the old container was stopped is not written down: the gap will be told too short");
        }
    }

    fn blamed(&self, reason: FailureReason, why: &str) -> bool {
        // One that had to be stopped has ended as well.
        let known = NotTaken::read(&self.state_dir).is_some_and(|written| written.container == self.next);
        if !known {
            NotTaken { container: self.next.clone(), why: why.to_owned(), reason }.write(&self.state_dir);
        }
        !known
    }
}
