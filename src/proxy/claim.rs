//! Select and count without a gap: the property that a drain rests on.
//!
//! A request *enters* a target before it uses it: it counts itself, then looks whether the target is being drained.
//! A drain sets the flag, then reads the count. Either the request sees the flag and goes elsewhere, or the drain sees
//! the request: the count is read by a read-modify-write, so a request that counts itself later synchronises with the
//! drain and sees its flag. The model check in `tests/loom/main.rs` runs every interleaving.

use super::sync::{AtomicBool, AtomicUsize, Ordering};

/// What is under way on a target, and whether it takes anything new.
#[derive(Debug)]
pub(crate) struct Claims {
    draining: AtomicBool,
    requests: AtomicUsize,
    streams: AtomicUsize,
}

impl Claims {
    /// Nothing under way.
    pub(crate) fn new() -> Self {
        Self { draining: AtomicBool::new(false), requests: AtomicUsize::new(0), streams: AtomicUsize::new(0) }
    }

    /// Counts a request in. False: the target is being drained, nothing was counted, choose again.
    pub(crate) fn enter(&self) -> bool {
        self.requests.fetch_add(1, Ordering::SeqCst);
        if self.draining.load(Ordering::SeqCst) {
            self.requests.fetch_sub(1, Ordering::SeqCst);
            return false;
        }
        true
    }

    /// A request has ended.
    pub(crate) fn leave(&self) {
        self.requests.fetch_sub(1, Ordering::SeqCst);
    }

    /// A request turns out to be a stream. It is counted there first, so that the sum is never too small.
    pub(crate) fn turn_stream(&self) {
        self.streams.fetch_add(1, Ordering::SeqCst);
        self.requests.fetch_sub(1, Ordering::SeqCst);
    }

    /// A stream has ended.
    pub(crate) fn leave_stream(&self) {
        self.streams.fetch_sub(1, Ordering::SeqCst);
    }

    /// Takes nothing new from now on, or again.
    pub(crate) fn set_draining(&self, draining: bool) {
        self.draining.store(draining, Ordering::SeqCst);
    }

    /// Requests and streams under way. Requests are read first: one that becomes a stream in between is counted twice
    /// rather than not at all. Adding nothing makes the read a read-modify-write (see the head of this file).
    pub(crate) fn under_way(&self) -> (usize, usize) {
        let requests = self.requests.fetch_add(0, Ordering::SeqCst);
        (requests, self.streams.fetch_add(0, Ordering::SeqCst))
    }
}
