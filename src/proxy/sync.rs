//! The atomics that `claim` is written against. The model check (`tests/loom`) puts loom's in their place.

pub(super) use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
