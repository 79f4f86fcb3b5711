//! Every metric of the agent, declared once: the doc comment is the help text and the row of the table in
//! `docs/METRICS.md`. Labels are bounded: apps and registries are those of the configuration, everything else
//! is a closed set.
//!
//! Rooms count here and decide nothing by it. What the proxy counts is merged in at the moment of a scrape, by
//! `http::metrics`.

use prometheus::{HistogramOpts, HistogramVec, IntCounterVec, IntGaugeVec, Opts, Registry, TextEncoder};

/// A metric as the documentation shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Full name.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Label names.
    pub labels: &'static [&'static str],
    /// Help text.
    pub help: String,
}

trait Make: Sized + Clone + prometheus::core::Collector + 'static {
    const KIND: &'static str;
    fn make(name: String, help: String, labels: &[&str]) -> Self;
}

impl Make for IntCounterVec {
    const KIND: &'static str = "counter";
    fn make(name: String, help: String, labels: &[&str]) -> Self {
        Self::new(Opts::new(name, help), labels).expect("the declared name and labels are valid")
    }
}

impl Make for IntGaugeVec {
    const KIND: &'static str = "gauge";
    fn make(name: String, help: String, labels: &[&str]) -> Self {
        Self::new(Opts::new(name, help), labels).expect("the declared name and labels are valid")
    }
}

impl Make for HistogramVec {
    const KIND: &'static str = "histogram";
    fn make(name: String, help: String, labels: &[&str]) -> Self {
        // Checks take milliseconds, gates and pulls up to minutes: one scale for both.
        let buckets = vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];
        Self::new(HistogramOpts::new(name, help).buckets(buckets), labels)
            .expect("the declared name and labels are valid")
    }
}

/// The doc comment as one line.
fn help(lines: &[&str]) -> String {
    lines.iter().map(|l| l.trim()).collect::<Vec<_>>().join(" ")
}

macro_rules! metrics {
    ($( $(#[doc = $help:literal])+ $field:ident: $kind:ident [$($label:literal),*], )+) => {
        /// The agent's metrics; cheap to clone, every clone counts into the same registry.
        #[derive(Clone, Debug)]
        pub struct Metrics {
            registry: Registry,
            $( $(#[doc = $help])+ pub $field: $kind, )+
        }

        impl Metrics {
            /// A fresh set, with the metrics of the process itself.
            pub fn new() -> Self {
                let registry = Registry::new();
                $(
                    let $field = <$kind as Make>::make(
                        concat!("tagboat_", stringify!($field)).to_owned(), help(&[$($help),+]), &[$($label),*]);
                    registry.register(Box::new($field.clone())).expect("each name is declared once");
                )+
                let process = prometheus::process_collector::ProcessCollector::for_self();
                registry.register(Box::new(process)).expect("no other metric is named process_*");
                Self { registry, $($field),+ }
            }

            /// Every declared metric, in order of declaration.
            pub fn described() -> Vec<Described> {
                vec![$( Described {
                    name: concat!("tagboat_", stringify!($field)).to_owned(),
                    kind: <$kind as Make>::KIND,
                    labels: &[$($label),*],
                    help: help(&[$($help),+]),
                } ),+]
            }
        }
    };
}

metrics! {
    /// Looks at a registry for a watched tag, by result: unchanged, changed, unknown.
    checks_total: IntCounterVec ["registry", "result"],
    /// Time from asking the registry for a tag's digest to its answer, in seconds.
    check_duration_seconds: HistogramVec ["registry"],
    /// Requests sent to registries and their token services; status is the HTTP status, or the kind of failure.
    registry_requests_total: IntCounterVec ["registry", "method", "status"],
    /// Requests left of the registry's rate limit, when it announces one.
    registry_quota_remaining: IntGaugeVec ["registry"],
    /// Requests that the registry's rate limit allows in its window, when it announces one.
    registry_quota_limit: IntGaugeVec ["registry"],
    /// Seconds that lie at least between two looks at a tag so that the registry's rate limit lasts; 0 when looks are free.
    registry_check_spacing_seconds: IntGaugeVec ["registry"],
    /// Unix time until which the registry is not asked because of its errors; 0 when it is.
    registry_backoff_until_timestamp_seconds: IntGaugeVec ["registry"],
    /// Image pulls by result: success, failure, present (the host had the image).
    pulls_total: IntCounterVec ["app", "result"],
    /// Duration of image pulls in seconds.
    pull_duration_seconds: HistogramVec ["app"],
    /// Bytes that image pulls transferred.
    pull_bytes_total: IntCounterVec ["app"],
    /// Failed swaps by the stage and the reason of the failure.
    failures_total: IntCounterVec ["app", "stage", "reason"],
    /// Unix time of the last look at the registry that got an answer.
    last_successful_check_timestamp_seconds: IntGaugeVec ["app"],
    /// Unix time at which what serves was last changed.
    last_change_timestamp_seconds: IntGaugeVec ["app"],
    /// 1 for the digest that serves.
    deployed_info: IntGaugeVec ["app", "image", "digest"],
    /// Containers of an app that should serve side by side, and that do, by kind: wanted, serving.
    replicas: IntGaugeVec ["app", "kind"],
    /// 1 when the tag points to something that does not serve.
    update_available: IntGaugeVec ["app"],
    /// The app's condition: 1 for the state it is in, 0 for the others (starting, up_to_date, deploying, held, unknown, down).
    app_state: IntGaugeVec ["app", "state"],
    /// Ended swaps by result: succeeded, failed, rolled_back.
    swaps_total: IntCounterVec ["app", "strategy", "result"],
    /// Duration of the stages of swaps in seconds.
    swap_stage_duration_seconds: HistogramVec ["app", "stage"],
    /// Ended jobs (pre_deploy, post_deploy, failed_deploy) by result: succeeded, failed.
    jobs_total: IntCounterVec ["app", "job", "result"],
    /// Duration of jobs in seconds.
    job_duration_seconds: HistogramVec ["app", "job"],
    /// Hooks (post_start, pre_stop) that were run in containers, by result: succeeded, failed.
    hooks_total: IntCounterVec ["app", "hook", "result"],
    /// Versions that failed while they were watched after their deployment, and were rolled back.
    watch_rollbacks_total: IntCounterVec ["app"],
    /// Seconds for which an app did not serve because of a swap; always 0 for the proxy strategy. With hold, requests waited
    /// for so long and did not fail.
    swap_downtime_seconds: HistogramVec ["app", "strategy"],
    /// Digests that failed and are not tried again by themselves.
    quarantined_digests: IntGaugeVec ["app"],
    /// 1 for what keeps something newer from being deployed, by its name in the status; 0 once it no longer does.
    held: IntGaugeVec ["app", "hold"],
    /// Unix time at which what holds something newer back ends by itself or is looked at again; 0 when that is not known.
    held_until_timestamp_seconds: IntGaugeVec ["app"],
    /// What gates found out by check (signature, scan) and result: verified, missing, invalid, unreachable, allowed, denied, later, failed.
    gate_checks_total: IntCounterVec ["check", "result"],
    /// Webhook deliveries by result: accepted (an app looks), ignored, duplicate, handshake, unauthorized, unverifiable
    /// (a certificate or key could not be fetched), too_large, queue_full.
    webhooks_total: IntCounterVec ["hook", "sender", "result"],
    /// 1, with what is running.
    build_info: IntGaugeVec ["version", "role"],
    /// 1 while the proxy answers on its control socket.
    proxy_up: IntGaugeVec [],
    /// 1 while the container engine answers.
    engine_up: IntGaugeVec [],
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// The metrics in the text exposition format.
    pub fn render(&self) -> String {
        TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_has_a_help_text_and_a_unit_where_it_measures_one() {
        for metric in Metrics::described() {
            assert!(metric.help.ends_with('.'), "{}: {}", metric.name, metric.help);
            let counter = metric.kind == "counter";
            assert_eq!(counter, metric.name.ends_with("_total"), "{}", metric.name);
        }
    }

    #[test]
    fn a_count_appears_in_the_text_with_its_help() {
        let metrics = Metrics::new();
        metrics.checks_total.with_label_values(&["ghcr.io", "unchanged"]).inc();
        let text = metrics.render();
        assert!(text.contains("# HELP tagboat_checks_total Looks at a registry"), "{text}");
        assert!(text.contains("tagboat_checks_total{registry=\"ghcr.io\",result=\"unchanged\"} 1"), "{text}");
    }
}
