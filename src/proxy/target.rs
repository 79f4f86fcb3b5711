//! A container as the data plane sees it, and the claim that a request holds on it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::model::{ContainerId, InFlight, Target};

use super::claim::Claims;
use super::pool::Pool;
use super::stats::TargetStats;

/// A target that could not be connected is passed over for so long where there is another: as long as a container
/// needs to come back, and short enough that nobody misses it.
const PASSED_OVER: Duration = Duration::from_secs(1);

/// One container.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) container: ContainerId,
    addr: ArcSwap<SocketAddr>,
    claims: Claims,
    pub(super) pool: Pool,
    pub(super) stats: TargetStats,
    /// The origin of `ailing_until_ms`.
    known_since: Instant,
    ailing_until_ms: AtomicU64,
    /// How often what is under way was ended: a claim is cut when this is not what it was at its beginning.
    cuts: AtomicU64,
    cut_over_ms: AtomicU64,
    cut: Notify,
}

impl Upstream {
    pub(super) fn new(target: &Target) -> Self {
        Self {
            container: target.container.clone(),
            addr: ArcSwap::from_pointee(target.addr),
            claims: Claims::new(),
            pool: Pool::default(),
            stats: TargetStats::default(),
            known_since: Instant::now(),
            ailing_until_ms: AtomicU64::new(0),
            cuts: AtomicU64::new(0),
            cut_over_ms: AtomicU64::new(0),
            cut: Notify::new(),
        }
    }

    pub(super) fn addr(&self) -> SocketAddr {
        **self.addr.load()
    }

    pub(super) fn readdress(&self, addr: SocketAddr) {
        self.addr.store(Arc::new(addr));
        self.pool.clear();
    }

    pub(super) fn set_draining(&self, draining: bool) {
        self.claims.set_draining(draining);
        if draining {
            self.pool.clear();
        }
    }

    pub(super) fn in_flight(&self) -> InFlight {
        let (requests, streams) = self.claims.under_way();
        InFlight { requests: requests as u64, streams: streams as u64 }
    }

    /// It could not be connected just now.
    pub(super) fn has_failed(&self) {
        self.ailing_until_ms.store(millis(self.known_since.elapsed() + PASSED_OVER), Ordering::Relaxed);
    }

    /// Whether it could not be connected a moment ago.
    pub(super) fn is_ailing(&self) -> bool {
        let until = self.ailing_until_ms.load(Ordering::Relaxed);
        until > 0 && millis(self.known_since.elapsed()) < until
    }

    /// Ends what is under way, spread over a time so that the clients do not come back all at once.
    pub(super) fn cut(&self, over: Duration) {
        self.cut_over_ms.store(millis(over), Ordering::SeqCst);
        self.cuts.fetch_add(1, Ordering::SeqCst);
        self.cut.notify_waiters();
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A request's hold on a target: as long as it lives, the target is not stopped.
#[derive(Debug)]
pub(super) struct Claim {
    upstream: Arc<Upstream>,
    stream: bool,
    cuts: u64,
}

impl Claim {
    /// Holds the target, unless it is being drained.
    pub(super) fn on(upstream: &Arc<Upstream>) -> Option<Self> {
        upstream.claims.enter().then(|| Self {
            upstream: upstream.clone(),
            stream: false,
            cuts: upstream.cuts.load(Ordering::SeqCst),
        })
    }

    pub(super) fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    pub(super) fn is_stream(&self) -> bool {
        self.stream
    }

    /// From now on this is a stream.
    pub(super) fn become_stream(&mut self) {
        if !self.stream {
            self.upstream.claims.turn_stream();
            self.stream = true;
        }
    }

    /// Resolves when what holds this claim is to be ended.
    pub(super) fn cut(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        let (upstream, seen) = (self.upstream.clone(), self.cuts);
        async move {
            loop {
                // Made before the look, so that a cut between the two is not missed.
                let called = upstream.cut.notified();
                if upstream.cuts.load(Ordering::SeqCst) != seen {
                    break;
                }
                called.await;
            }
            let over = Duration::from_millis(upstream.cut_over_ms.load(Ordering::SeqCst));
            tokio::time::sleep(over.mul_f64(rand::random())).await;
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if self.stream {
            self.upstream.claims.leave_stream();
        } else {
            self.upstream.claims.leave();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Generation;

    fn upstream() -> Arc<Upstream> {
        let container = ContainerId("c".into());
        Arc::new(Upstream::new(&Target { container, addr: "127.0.0.1:1".parse().unwrap(), generation: Generation(1) }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_cut_ends_what_began_before_it_and_nothing_that_begins_after() {
        let upstream = upstream();
        let (before, unpolled) = (Claim::on(&upstream).unwrap(), Claim::on(&upstream).unwrap());
        let waiting = tokio::spawn(before.cut());
        tokio::task::yield_now().await;
        upstream.cut(Duration::from_secs(5));
        waiting.await.unwrap();
        unpolled.cut().await;
        let after = Claim::on(&upstream).unwrap();
        assert!(tokio::time::timeout(Duration::from_secs(60), after.cut()).await.is_err());
    }

    #[tokio::test(start_paused = true)]
    async fn a_target_that_failed_is_passed_over_for_a_second() {
        let upstream = upstream();
        assert!(!upstream.is_ailing());
        upstream.has_failed();
        assert!(upstream.is_ailing());
        tokio::time::advance(Duration::from_millis(1001)).await;
        assert!(!upstream.is_ailing());
    }
}
