//! An app as the hot path sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;

use crate::model::InFlight;

use super::hold::{Hold, Lot};
use super::stats::AppStats;
use super::target::{Claim, Upstream};

/// How often a request looks for a target before it gives up; more than once only while a switch is in progress.
const LOOKS: usize = 64;

/// An app as the hot path sees it.
#[derive(Debug, Default)]
pub(super) struct AppRuntime {
    pub(super) active: ArcSwap<Vec<Arc<Upstream>>>,
    turn: AtomicUsize,
    pub(super) stats: AppStats,
    pub(super) lot: Lot,
}

/// Why a request has no target.
#[derive(Debug)]
pub(super) enum Unclaimed {
    /// There is none.
    NoTarget,
    /// The app is held: it waits.
    Held(Arc<Hold>),
}

impl AppRuntime {
    /// Holds the target with the least under way, in turn among equals; not one of `avoid` if there is another.
    pub(super) fn claim(&self, avoid: &[Arc<Upstream>]) -> Result<Claim, Unclaimed> {
        for _ in 0..LOOKS {
            if let Some(hold) = &*self.lot.hold() {
                return Err(Unclaimed::Held(hold.clone()));
            }
            let active = self.active.load();
            let upstream = match active.as_slice() {
                [] => return Err(Unclaimed::NoTarget),
                [only] => Some(only),
                several => self.choose(several, avoid),
            };
            // A refusal means that a switch has just replaced what was loaded, or that a hold has begun: look again.
            if let Some(claim) = upstream.and_then(Claim::on) {
                return Ok(claim);
            }
            std::hint::spin_loop();
        }
        Err(Unclaimed::NoTarget)
    }

    fn choose<'a>(&self, several: &'a [Arc<Upstream>], avoid: &[Arc<Upstream>]) -> Option<&'a Arc<Upstream>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % several.len();
        let rank = |upstream: &&Arc<Upstream>| {
            let InFlight { requests, streams } = upstream.in_flight();
            (is_among(avoid, upstream), upstream.is_ailing(), requests + streams)
        };
        several.iter().cycle().skip(turn).take(several.len()).min_by_key(rank)
    }

    /// Whether there is a target that is not one of these.
    pub(super) fn has_other_than(&self, these: &[Arc<Upstream>]) -> bool {
        self.active.load().iter().any(|upstream| !is_among(these, upstream))
    }
}

/// Whether a target is one of these.
pub(super) fn is_among(these: &[Arc<Upstream>], upstream: &Arc<Upstream>) -> bool {
    these.iter().any(|one| Arc::ptr_eq(one, upstream))
}
