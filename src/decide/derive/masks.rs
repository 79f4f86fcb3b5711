//! The paths in `/proc` and `/sys` that the engine hides or write-protects.
//!
//! The lists are the engine's and grow with it; `docker run` can only empty them (`systempaths=unconfined`). One that
//! the engine made must not move along: it would keep the holes of an old engine open for ever.

use serde_json::Value;

use super::json::{Object, texts};

/// Hidden by every engine since 20.10.
const MASKED: [&str; 9] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/firmware",
];

/// Hidden by some.
const MASKED_BY_SOME: [&str; 3] = ["/proc/interrupts", "/proc/timer_stats", "/sys/devices/virtual/powercap"];

/// Write-protected by every engine.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// One for each processor.
const PROCESSOR: &str = "/sys/devices/system/cpu/cpu";

/// Drops the lists that an engine made.
pub(super) fn drop_defaults(host: &mut Object) {
    if host.get("MaskedPaths").is_some_and(is_default_mask) {
        host.remove("MaskedPaths");
    }
    if host.get("ReadonlyPaths").is_some_and(is_default_protection) {
        host.remove("ReadonlyPaths");
    }
}

/// A list of hidden paths as engines make it.
pub(super) fn is_default_mask(list: &Value) -> bool {
    let some = |path: &str| MASKED_BY_SOME.contains(&path) || path.starts_with(PROCESSOR);
    MASKED.iter().all(|path| texts(list).any(|p| p == *path)) && texts(list).all(|p| MASKED.contains(&p) || some(p))
}

/// A list of write-protected paths as engines make it.
pub(super) fn is_default_protection(list: &Value) -> bool {
    READ_ONLY.iter().all(|path| texts(list).any(|p| p == *path)) && texts(list).all(|p| READ_ONLY.contains(&p))
}
