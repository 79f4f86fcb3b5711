//! The `Gatekeeper` port: whether a version is signed by somebody who is known, and what a scanner says of it.
//!
//! Signatures are those that cosign makes with a key, in both of its forms: "simple signing" under the tag
//! `sha256-<digest>.sig`, and a sigstore bundle (v0.3, a DSSE envelope around an in-toto statement) that refers to the
//! image. A signature counts when a configured key made it, when what it signs names exactly the digest that is to be
//! deployed, and when it carries the annotations that are asked for: all three by the *same* signature.
//!
//! Refused: signatures without a key of ours (keyless ones: that needs sigstore's trust root, transparency log and
//! certificate identities; the configuration says so), and every document that is not what its digest names. That the
//! registry can't be asked is told apart from that there is no signature. Nothing here waits for one or decides about
//! a deployment.

mod bundle;
mod keys;
mod scan;
mod signature;
mod simple;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::Semaphore;

use crate::metrics::Metrics;
use crate::model::{Check, Digest, Repository, ScanRule, ScanSubject, ScanVerdict, SignatureRule, SignatureVerdict};
use crate::ports::{Artifacts, Gatekeeper};

pub use keys::read_keys;

/// Scans at once: each may need half a gigabyte, and one that hangs must not keep another app waiting.
const SCANS: usize = 2;

/// Asks registries and scanners.
pub struct Verifier {
    artifacts: Arc<dyn Artifacts>,
    metrics: Metrics,
    scans: Semaphore,
}

impl Verifier {
    /// One that reads signatures through `artifacts`.
    pub fn new(artifacts: Arc<dyn Artifacts>, metrics: Metrics) -> Self {
        Self { artifacts, metrics, scans: Semaphore::new(SCANS) }
    }

    fn count(&self, check: Check, result: &str) {
        self.metrics.gate_checks_total.with_label_values(&[check.label(), result]).inc();
    }
}

#[async_trait]
impl Gatekeeper for Verifier {
    async fn signature(&self, repository: &Repository, digest: &Digest, rule: &SignatureRule) -> SignatureVerdict {
        let verdict = signature::look(&*self.artifacts, repository, digest, rule).await;
        self.count(Check::Signature, verdict.label());
        verdict
    }

    async fn scan(&self, subject: &ScanSubject, rule: &ScanRule) -> ScanVerdict {
        let _slot = self.scans.acquire().await.expect("the semaphore is never closed");
        let verdict = scan::ask(subject, rule).await;
        self.count(Check::Scan, verdict.label());
        verdict
    }
}
