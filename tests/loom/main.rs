//! Model check of `src/proxy/claim.rs`: every interleaving of a request and a drain.
//!
//! The file is included here with loom's atomics in place of the standard ones. Without the second look at the flag
//! in `enter` (`if self.draining.load …`), `a_drained_target_is_never_used` fails: the drain reads zero, the target is
//! stopped, and the request that had selected it before uses it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, clippy::disallowed_methods, reason = "tests")]

#[path = "../../src/proxy/claim.rs"]
#[allow(dead_code, reason = "each model uses a part")]
mod claim;

mod sync {
    pub(crate) use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
}

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use claim::Claims;

/// Drains and stops a target while `request` runs against it.
fn drained_beside(request: fn(&Claims, &AtomicBool)) {
    loom::model(move || {
        let claims = Arc::new(Claims::new());
        let stopped = Arc::new(AtomicBool::new(false));
        let worker = {
            let (claims, stopped) = (claims.clone(), stopped.clone());
            thread::spawn(move || request(&claims, &stopped))
        };
        claims.set_draining(true);
        if claims.under_way() == (0, 0) {
            stopped.store(true, Ordering::SeqCst);
        }
        worker.join().unwrap();
        assert_eq!(claims.under_way(), (0, 0), "everything that entered has left");
    });
}

#[test]
fn a_drained_target_is_never_used() {
    drained_beside(|claims, stopped| {
        if claims.enter() {
            assert!(!stopped.load(Ordering::SeqCst), "a request is on a target that was stopped");
            claims.leave();
        }
    });
}

#[test]
fn a_request_that_becomes_a_stream_is_never_uncounted() {
    drained_beside(|claims, stopped| {
        if claims.enter() {
            claims.turn_stream();
            assert!(!stopped.load(Ordering::SeqCst), "a stream is on a target that was stopped");
            claims.leave_stream();
        }
    });
}
