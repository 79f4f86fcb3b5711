//! Requests that wait because nobody may serve them for the moment: their app must never run twice, and its old version
//! makes room for the new one.
//!
//! A parked request is a connection that is not read from and an entry in a queue: what it has sent of its body beyond
//! one read buffer stays with the client. How many wait, how much their heads hold and how long each waits is bounded,
//! and what is beyond gets a 503. They are let go in the order in which they came, some at a time, so that a new version
//! is not met by thousands of connections in one millisecond.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwapOption, Guard};
use http::Request;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::model::{HoldLimits, Parking};

use super::send::Failure;
use super::stats::Times;

/// So many of those that are let go are sent at once: a quarter of what the queue of an ordinary listener holds.
const AT_ONCE: usize = 32;

/// For so long after a release there may be a crowd before the target's door.
const CROWD: Duration = Duration::from_secs(10);

/// The next one goes when one has its answer, and after so long in any case: then its connection has been taken from the
/// queue, and those whose answers take long do not hold up the others.
const SPACE: Duration = Duration::from_millis(50);

/// What became of a parked request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Released,
    Overdue,
    Refused,
    Left,
}

const ENDS: [(End, &str); 4] =
    [(End::Released, "released"), (End::Overdue, "overdue"), (End::Refused, "refused"), (End::Left, "left")];

/// One hold of one app.
#[derive(Debug)]
pub(super) struct Hold {
    limits: HoldLimits,
    turns: Arc<Semaphore>,
}

impl Hold {
    pub(super) fn new(limits: HoldLimits) -> Arc<Self> {
        Arc::new(Self { limits, turns: Arc::new(Semaphore::new(0)) })
    }

    /// Whoever waits is refused from now on.
    pub(super) fn turn_away(&self) {
        self.turns.close();
    }
}

/// Where the requests of one app wait.
#[derive(Debug, Default)]
pub(super) struct Lot {
    hold: ArcSwapOption<Hold>,
    requests: AtomicU64,
    bytes: AtomicU64,
    ended: [AtomicU64; ENDS.len()],
    waited: Times,
    released: ArcSwapOption<Instant>,
}

impl Lot {
    /// The hold that is in force.
    pub(super) fn hold(&self) -> Guard<Option<Arc<Hold>>> {
        self.hold.load()
    }

    /// From now on requests wait.
    pub(super) fn begin(&self, hold: Arc<Hold>) {
        self.hold.store(Some(hold));
    }

    /// From now on they don't, and those that do are let go.
    pub(super) fn end(&self) {
        if let Some(hold) = self.hold.swap(None) {
            self.released.store(Some(Arc::new(Instant::now())));
            hold.turns.add_permits(AT_ONCE);
        }
    }

    /// Whether what waited has been let go a moment ago.
    pub(super) fn is_crowded(&self, now: Instant) -> bool {
        self.released.load().as_ref().is_some_and(|at| now.saturating_duration_since(**at) < CROWD)
    }

    /// Waits for the turn of a request whose head has so many bytes, and which has waited since then.
    pub(super) async fn wait(&self, hold: &Hold, bytes: u64, since: Instant) -> Result<Turn, Failure> {
        let Some(place) = Place::take(self, &hold.limits, bytes) else {
            self.count(End::Refused);
            return Err(Failure::Crowded);
        };
        let deadline = since + Duration::from_millis(hold.limits.wait_ms);
        match tokio::time::timeout_at(deadline, hold.turns.clone().acquire_owned()).await {
            Ok(Ok(turn)) => {
                place.leave(End::Released);
                Ok(Turn(turn))
            }
            // Closed: the process ends.
            Ok(Err(_)) => {
                place.leave(End::Refused);
                Err(Failure::Overdue)
            }
            Err(_) => {
                place.leave(End::Overdue);
                Err(Failure::Overdue)
            }
        }
    }

    fn count(&self, end: End) {
        if let Some(counter) = self.ended.get(end as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn read(&self) -> Parking {
        let ended = ENDS.iter().zip(&self.ended).map(|((_, name), n)| ((*name).to_owned(), n.load(Ordering::Relaxed)));
        Parking { now: self.requests.load(Ordering::Relaxed), ended: ended.collect(), waited: self.waited.read() }
    }
}

/// That of a request that was let go; when it is dropped, it is the next one's.
#[derive(Debug)]
pub(super) struct Turn(OwnedSemaphorePermit);

impl Turn {
    /// Gives it up after a while.
    pub(super) async fn pass_on(turn: Option<Self>) -> Infallible {
        if let Some(Self(turn)) = turn {
            Box::pin(tokio::time::sleep(SPACE)).await;
            drop(turn);
        }
        std::future::pending().await
    }
}

/// A request's place among those that wait, given back also when its client goes away and its future is dropped.
struct Place<'a> {
    lot: &'a Lot,
    bytes: u64,
    taken: Instant,
    end: End,
}

impl<'a> Place<'a> {
    fn take(lot: &'a Lot, limits: &HoldLimits, bytes: u64) -> Option<Self> {
        let requests = lot.requests.fetch_add(1, Ordering::SeqCst);
        let held = lot.bytes.fetch_add(bytes, Ordering::SeqCst);
        if requests >= limits.requests || held + bytes > limits.bytes {
            lot.requests.fetch_sub(1, Ordering::SeqCst);
            lot.bytes.fetch_sub(bytes, Ordering::SeqCst);
            return None;
        }
        Some(Self { lot, bytes, taken: Instant::now(), end: End::Left })
    }

    fn leave(mut self, end: End) {
        self.end = end;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.lot.requests.fetch_sub(1, Ordering::SeqCst);
        self.lot.bytes.fetch_sub(self.bytes, Ordering::SeqCst);
        self.lot.waited.add(self.taken.elapsed());
        self.lot.count(self.end);
    }
}

/// What a request's head holds in memory, as it came over the wire.
pub(super) fn weight<B>(request: &Request<B>) -> u64 {
    let target = request.uri().path_and_query().map_or(1, |path| path.as_str().len());
    let lines: usize = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    (request.method().as_str().len() + target + lines) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(requests: u64, bytes: u64) -> HoldLimits {
        HoldLimits { wait_ms: 20_000, requests, bytes }
    }

    fn held(limits: HoldLimits) -> (Arc<Lot>, Arc<Hold>) {
        let (lot, hold) = (Arc::new(Lot::default()), Hold::new(limits));
        lot.begin(hold.clone());
        (lot, hold)
    }

    fn ended(lot: &Lot, how: &str) -> u64 {
        lot.read().ended[how]
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_waits_for_its_limit_and_not_longer() {
        let (lot, hold) = held(limits(1, 100));
        let begun = Instant::now();
        let overdue = lot.wait(&hold, 10, begun).await;
        assert_eq!(overdue.err(), Some(Failure::Overdue));
        assert_eq!(begun.elapsed().as_secs(), 20);
        assert_eq!((lot.read().now, ended(&lot, "overdue")), (0, 1));
        assert_eq!(lot.wait(&hold, 10, begun).await.err(), Some(Failure::Overdue), "a second hold is no second wait");
        assert_eq!(begun.elapsed().as_secs(), 20);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_too_many_or_too_much_is_refused_at_once_and_what_has_left_makes_room() {
        for (label, limits, first, second) in
            [("requests", limits(1, 1000), 10, 10), ("bytes", limits(10, 100), 60, 41)]
        {
            let (lot, hold) = held(limits);
            let mut waiting = Box::pin(lot.wait(&hold, first, Instant::now()));
            assert!(futures_util::poll!(waiting.as_mut()).is_pending(), "{label}");
            let begun = Instant::now();
            assert_eq!(lot.wait(&hold, second, begun).await.err(), Some(Failure::Crowded), "{label}");
            assert_eq!(begun.elapsed(), Duration::ZERO, "{label}");
            drop(waiting);
            let counted = lot.read();
            assert_eq!((counted.now, counted.ended["left"], counted.ended["refused"]), (0, 1, 1), "{label}");
            let mut waiting = Box::pin(lot.wait(&hold, second, Instant::now()));
            assert!(futures_util::poll!(waiting.as_mut()).is_pending(), "{label}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn they_are_let_go_in_the_order_in_which_they_came_and_some_at_a_time() {
        let (lot, hold) = held(limits(1000, 100_000));
        let mut waiting: Vec<_> = Vec::new();
        for _ in 0..AT_ONCE + 2 {
            let mut one = Box::pin(lot.wait(&hold, 10, Instant::now()));
            assert!(futures_util::poll!(one.as_mut()).is_pending());
            waiting.push(one);
        }
        lot.end();
        assert!(lot.hold().is_none());
        let last = waiting.split_off(AT_ONCE);
        let mut turns = Vec::new();
        for one in waiting {
            turns.push(one.await.unwrap());
        }
        let [mut next, mut after] = <[_; 2]>::try_from(last).ok().unwrap();
        assert!(futures_util::poll!(next.as_mut()).is_pending() && futures_util::poll!(after.as_mut()).is_pending());
        turns.pop();
        assert!(futures_util::poll!(after.as_mut()).is_pending(), "it is the other one's turn");
        assert!(futures_util::poll!(next.as_mut()).is_ready());
        assert_eq!(ended(&lot, "released"), AT_ONCE as u64 + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_process_ends_nobody_waits_on() {
        let (lot, hold) = held(limits(1, 100));
        let mut waiting = Box::pin(lot.wait(&hold, 10, Instant::now()));
        assert!(futures_util::poll!(waiting.as_mut()).is_pending());
        hold.turn_away();
        assert_eq!(waiting.await.err(), Some(Failure::Overdue));
    }
}
