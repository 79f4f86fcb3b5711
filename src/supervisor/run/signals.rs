//! What the system tells the supervisor.

use std::io;

use tokio::signal::unix::{Signal as Signaled, SignalKind, signal};

/// What the system tells us.
pub(super) struct Signals {
    pub(super) end: Ends,
    pub(super) hangup: Signaled,
    pub(super) upgrade: Signaled,
}

/// What tells us to end.
pub(super) struct Ends {
    pub(super) term: Signaled,
    pub(super) interrupt: Signaled,
}

impl Signals {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            end: Ends { term: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? },
            hangup: signal(SignalKind::hangup())?,
            upgrade: signal(SignalKind::user_defined2())?,
        })
    }
}

impl Ends {
    pub(super) async fn told(&mut self) {
        tokio::select! {
            _ = self.term.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
