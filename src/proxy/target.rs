//! A container as the data plane sees it, and the claim that a request holds on it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::model::{ContainerId, InFlight, Target};

use super::claim::Claims;
use super::pool::Pool;
use super::stats::TargetStats;

/// One container.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) container: ContainerId,
    addr: ArcSwap<SocketAddr>,
    claims: Claims,
    pub(super) pool: Pool,
    pub(super) stats: TargetStats,
    cut: CancellationToken,
    cut_over_ms: AtomicU64,
}

impl Upstream {
    pub(super) fn new(target: &Target) -> Self {
        Self {
            container: target.container.clone(),
            addr: ArcSwap::from_pointee(target.addr),
            claims: Claims::new(),
            pool: Pool::default(),
            stats: TargetStats::default(),
            cut: CancellationToken::new(),
            cut_over_ms: AtomicU64::new(0),
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

    /// Ends its streams, spread over a time so that their clients do not come back all at once.
    pub(super) fn cut(&self, over: Duration) {
        self.cut_over_ms.store(u64::try_from(over.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.cut.cancel();
    }
}

/// A request's hold on a target: as long as it lives, the target is not stopped.
#[derive(Debug)]
pub(super) struct Claim {
    upstream: Arc<Upstream>,
    stream: bool,
}

impl Claim {
    /// Holds the target, unless it is being drained.
    pub(super) fn on(upstream: &Arc<Upstream>) -> Option<Self> {
        upstream.claims.enter().then(|| Self { upstream: upstream.clone(), stream: false })
    }

    pub(super) fn upstream(&self) -> &Arc<Upstream> {
        &self.upstream
    }

    /// From now on this is a stream.
    pub(super) fn become_stream(&mut self) {
        if !self.stream {
            self.upstream.claims.turn_stream();
            self.stream = true;
        }
    }

    /// Resolves when the stream is to be ended.
    pub(super) fn cut(&self) -> impl Future<Output = ()> + Send + Sync + use<> {
        let upstream = self.upstream.clone();
        async move {
            upstream.cut.cancelled().await;
            let over = Duration::from_millis(upstream.cut_over_ms.load(Ordering::Relaxed));
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
