//! The wall clock of this room. In its tests it goes with tokio's, which can be paused: a whole swap, a crash and a
//! restart then take milliseconds and not minutes.

use crate::model::Time;

/// Stands for `chrono::Utc`.
pub(super) struct Utc;

impl Utc {
    /// Now.
    pub(super) fn now() -> Time {
        #[cfg(test)]
        if let Some(time) = simulated::now() {
            return time;
        }
        chrono::Utc::now()
    }
}

#[cfg(test)]
pub(super) mod simulated {
    use std::cell::Cell;

    use tokio::time::Instant;

    use crate::model::Time;

    thread_local! {
        static BEGUN: Cell<Option<(Time, Instant)>> = const { Cell::new(None) };
    }

    /// From now on it is `time` on this thread, and later as tokio's clock goes on.
    pub(in crate::engine) fn set(time: Time) {
        BEGUN.set(Some((time, Instant::now())));
    }

    pub(super) fn now() -> Option<Time> {
        BEGUN.get().map(|(time, begun)| time + begun.elapsed())
    }
}
