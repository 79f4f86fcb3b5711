//! Exit codes, and errors that know theirs. `docs/CLI.md` lists them.

use std::fmt;
use std::process::ExitCode;

/// What a command's end means to a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// It was done, or there was nothing to do.
    Done = 0,
    /// It failed.
    Failed = 1,
    /// `check` found that something newer is there.
    UpdatesAvailable = 2,
    /// The command line, the configuration or a name in it is wrong.
    Usage = 3,
    /// The agent does not answer.
    Unreachable = 4,
    /// It is held back: quarantined, pinned, or not to be found out now.
    Held = 5,
    /// It was still under way when the time was over.
    TimedOut = 6,
    /// The agent wants to be started anew (EX_TEMPFAIL); only its supervisor sees this.
    Restart = 75,
    /// The agent says that its container must not take the place of the one before it; only its supervisor sees this.
    GaveUp = 76,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

/// An error and the code that the program ends with.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) exit: Exit,
    pub(super) error: anyhow::Error,
}

impl Failure {
    pub(super) fn new(exit: Exit, error: impl Into<anyhow::Error>) -> Self {
        Self { exit, error: error.into() }
    }

    /// A mistake in what was typed.
    pub(super) fn usage(message: impl fmt::Display + fmt::Debug + Send + Sync + 'static) -> Self {
        Self { exit: Exit::Usage, error: anyhow::Error::msg(message) }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error = error.into();
        let exit = error.downcast_ref::<super::client::ClientError>().map_or(Exit::Failed, |error| error.exit());
        Self { exit, error }
    }
}
