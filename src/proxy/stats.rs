//! Counters of the hot path: atomics, read out when somebody asks.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::model::{AppCounters, Histogram, InFlight, LATENCY_BUCKETS_MS, Parking, TargetCounters};

/// How a request ended, as its app's counter shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Class {
    Informational,
    Success,
    Redirect,
    ClientError,
    ServerError,
    Unavailable,
    BadGateway,
    Aborted,
}

const CLASSES: [(Class, &str); 8] = [
    (Class::Informational, "1xx"),
    (Class::Success, "2xx"),
    (Class::Redirect, "3xx"),
    (Class::ClientError, "4xx"),
    (Class::ServerError, "5xx"),
    (Class::Unavailable, "unavailable"),
    (Class::BadGateway, "bad_gateway"),
    (Class::Aborted, "aborted"),
];

impl Class {
    /// Of an answer that a target gave.
    pub(super) fn of(status: http::StatusCode) -> Self {
        match status.as_u16() {
            100..=199 => Self::Informational,
            200..=299 => Self::Success,
            300..=399 => Self::Redirect,
            400..=499 => Self::ClientError,
            _ => Self::ServerError,
        }
    }
}

/// A histogram in the making.
#[derive(Debug, Default)]
pub(super) struct Times {
    buckets: [AtomicU64; LATENCY_BUCKETS_MS.len() + 1],
    sum_us: AtomicU64,
}

impl Times {
    pub(super) fn add(&self, elapsed: Duration) {
        let ms = elapsed.as_secs_f64() * 1000.0;
        let bucket = LATENCY_BUCKETS_MS.partition_point(|bound| *bound < ms);
        if let Some(counter) = self.buckets.get(bucket) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        self.sum_us.fetch_add(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    #[expect(clippy::cast_precision_loss, reason = "a sum of microseconds; the last digits don't matter")]
    pub(super) fn read(&self) -> Histogram {
        let buckets = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect();
        Histogram { buckets, sum_ms: self.sum_us.load(Ordering::Relaxed) as f64 / 1000.0 }
    }
}

/// An app's counters.
#[derive(Debug, Default)]
pub(super) struct AppStats {
    classes: [AtomicU64; CLASSES.len()],
    times: Times,
}

impl AppStats {
    pub(super) fn count(&self, class: Class) {
        if let Some(counter) = self.classes.get(class as usize) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn latency(&self, elapsed: Duration) {
        self.times.add(elapsed);
    }

    pub(super) fn read(&self, in_flight: InFlight, parked: Parking) -> AppCounters {
        let requests = CLASSES
            .iter()
            .zip(&self.classes)
            .map(|((_, name), counter)| ((*name).to_owned(), counter.load(Ordering::Relaxed)))
            .collect();
        AppCounters { requests, latency: self.times.read(), in_flight, parked }
    }
}

/// A target's counters.
#[derive(Debug, Default)]
pub(super) struct TargetStats {
    pub(super) requests: AtomicU64,
    pub(super) server_errors: AtomicU64,
    pub(super) transport_errors: AtomicU64,
}

impl TargetStats {
    pub(super) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self, in_flight: InFlight) -> TargetCounters {
        TargetCounters {
            requests: self.requests.load(Ordering::Relaxed),
            server_errors: self.server_errors.load(Ordering::Relaxed),
            transport_errors: self.transport_errors.load(Ordering::Relaxed),
            in_flight,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_falls_into_the_first_bucket_that_holds_it() {
        let stats = AppStats::default();
        for micros in [500, 501, 20_000_000] {
            stats.latency(Duration::from_micros(micros));
        }
        let buckets = stats.read(InFlight::default(), Parking::default()).latency.buckets;
        assert_eq!((buckets[0], buckets[1], buckets.last()), (1, 1, Some(&1)));
        assert_eq!(buckets.len(), LATENCY_BUCKETS_MS.len() + 1);
    }

    #[test]
    fn classes_are_counted_under_their_names() {
        let stats = AppStats::default();
        CLASSES.iter().for_each(|(class, _)| stats.count(*class));
        let requests = stats.read(InFlight::default(), Parking::default()).requests;
        assert!(CLASSES.iter().all(|(_, name)| requests.get(*name) == Some(&1)), "{requests:?}");
    }
}
