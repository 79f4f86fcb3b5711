//! Whether a version may be deployed, by what the app's policy asks of it and what is known about it.
//!
//! Asked in this order: signature, scan, approval, age, hour. Only versions that would be new to the app are asked
//! about: what has served goes back into service whenever it must, because a gate that stands in the way of a recovery
//! costs more than it protects from.

use std::time::Duration;

use crate::model::{Approval, Check, Digest, Evidence, Gate, Gates, Hold, Looked, ScanVerdict, SignatureVerdict, Time};

use super::window;

/// What the gates need to know about a version.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Admission {
    /// When it was first seen.
    pub first_seen: Option<Time>,
    /// A person's word.
    pub approval: Option<Approval>,
    /// What was found out about it.
    pub evidence: Evidence,
    /// What has served, the newest first.
    pub served: Vec<Digest>,
}

/// Between two looks for a signature, at first; doubles.
const SIGNATURE: Duration = Duration::from_secs(5);

/// Between two scans that came to nothing, at first; doubles.
const SCAN: Duration = Duration::from_secs(30);

/// Between two looks, at most.
const SELDOM: Duration = Duration::from_secs(300);

/// Why a version may not be deployed now. `forced` skips what a person may skip: approval, age and hour, never what
/// tells whether the version is what it claims to be.
pub fn hold(gates: &Gates, digest: &Digest, known: &Admission, forced: bool, now: Time) -> Option<Hold> {
    let first_seen = known.first_seen.unwrap_or(now);
    let found = by_signature(gates, &known.evidence, first_seen, now).or_else(|| by_scan(gates, &known.evidence, now));
    let found = found.or_else(|| if forced { None } else { by_patience(gates, digest, known, first_seen, now) });
    let (gate, message, until) = found?;
    Some(Hold::Gated { digest: digest.clone(), gate, message, until })
}

/// What should be found out now, to get further.
pub fn due(gates: &Gates, evidence: &Evidence, now: Time) -> Option<Check> {
    if gates.signatures.is_some() {
        match &evidence.signature {
            Some(looked) if matches!(looked.verdict, SignatureVerdict::Verified { .. }) => {}
            Some(looked) => return (signature_again(looked) <= now).then_some(Check::Signature),
            None => return Some(Check::Signature),
        }
    }
    let rule = gates.scan.as_ref()?;
    match &evidence.scan {
        Some(looked) => (scan_again(looked, rule.fresh) <= now).then_some(Check::Scan),
        None => Some(Check::Scan),
    }
}

/// A verdict after the one before it.
pub fn next<T>(before: Option<Looked<T>>, verdict: T, at: Time) -> Looked<T> {
    let same = before.filter(|before| std::mem::discriminant(&before.verdict) == std::mem::discriminant(&verdict));
    Looked { verdict, at, count: same.map_or(1, |before| before.count.saturating_add(1)) }
}

type Found = (Gate, String, Option<Time>);

fn by_signature(gates: &Gates, evidence: &Evidence, first_seen: Time, now: Time) -> Option<Found> {
    let rule = gates.signatures.as_ref()?;
    let Some(looked) = &evidence.signature else {
        return Some((Gate::SignaturePending, "its signature is being looked for".to_owned(), None));
    };
    let again = signature_again(looked);
    let deadline = first_seen + rule.deadline;
    let (gate, message) = match &looked.verdict {
        SignatureVerdict::Verified { .. } => return None,
        SignatureVerdict::Missing if now < deadline => {
            let words = format!("it is not signed yet, and has until {} to be", clock(deadline));
            return Some((Gate::SignaturePending, words, Some(again.min(deadline))));
        }
        SignatureVerdict::Missing => {
            let words = "nobody has signed it in time; sign it with `cosign sign --key`, and it is deployed";
            (Gate::SignatureMissing, words.to_owned())
        }
        SignatureVerdict::Invalid { message } => (Gate::SignatureInvalid, message.clone()),
        SignatureVerdict::Unreachable { message } => {
            (Gate::SignatureUnreachable, format!("its signatures can't be read: {message}"))
        }
    };
    Some((gate, message, Some(again)))
}

fn by_scan(gates: &Gates, evidence: &Evidence, now: Time) -> Option<Found> {
    let rule = gates.scan.as_ref()?;
    let Some(looked) = &evidence.scan else {
        return Some((Gate::ScanPending, "it is being scanned".to_owned(), None));
    };
    let again = scan_again(looked, rule.fresh);
    let (gate, message) = match &looked.verdict {
        ScanVerdict::Allowed if now < again => return None,
        ScanVerdict::Allowed => {
            return Some((Gate::ScanPending, "its scan is old: it is being scanned again".to_owned(), None));
        }
        ScanVerdict::Denied { reason } => (Gate::ScanDenied, format!("the scan gate says no: {reason}")),
        ScanVerdict::Later { reason } => (Gate::ScanPending, format!("the scan gate says later: {reason}")),
        ScanVerdict::Failed { message } => (Gate::ScanFailed, format!("the scan gate failed: {message}")),
    };
    Some((gate, message, Some(again)))
}

/// What a person or time alone decides.
fn by_patience(gates: &Gates, digest: &Digest, known: &Admission, first_seen: Time, now: Time) -> Option<Found> {
    if gates.approve && known.approval.as_ref().is_none_or(|approval| approval.digest != *digest) {
        let words = format!("{} waits for a person's word: `tagboat approve APP`", digest.short());
        return Some((Gate::Approval, words, None));
    }
    let ripe = first_seen + gates.soak;
    if now < ripe {
        let words = format!("{} is to be known for {}", digest.short(), humantime::format_duration(gates.soak));
        return Some((Gate::Soak, words, Some(ripe)));
    }
    match window::open(&gates.windows, now) {
        Ok(()) => None,
        Err(until) => {
            let windows: Vec<&str> = gates.windows.iter().map(|window| window.text.as_str()).collect();
            Some((Gate::Window, format!("it is outside of {}", windows.join(" and ")), until))
        }
    }
}

fn clock(time: Time) -> String {
    time.format("%Y-%m-%d %H:%M:%S UTC").to_string()
}

fn signature_again(looked: &Looked<SignatureVerdict>) -> Time {
    looked.at + growing(SIGNATURE, looked.count)
}

fn scan_again(looked: &Looked<ScanVerdict>, fresh: Duration) -> Time {
    match looked.verdict {
        // What a scanner knows changes: neither word is for ever.
        ScanVerdict::Allowed | ScanVerdict::Denied { .. } => looked.at + fresh,
        ScanVerdict::Later { .. } | ScanVerdict::Failed { .. } => looked.at + growing(SCAN, looked.count),
    }
}

fn growing(first: Duration, count: u32) -> Duration {
    first.saturating_mul(2_u32.saturating_pow(count.saturating_sub(1))).min(SELDOM)
}

#[cfg(test)]
mod tests;
