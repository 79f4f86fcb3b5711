//! `/metrics`: what the agent counts, and what its proxies count, in one answer.
//!
//! A proxy process counts from zero and may be replaced at any time; the sums shown here never go back while
//! the agent lives.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;

use crate::engine::Handle;
use crate::metrics::{Described, Metrics};
use crate::model::{AppCounters, AppName, AppStatus, Histogram, InFlight, LATENCY_BUCKETS_MS, Parking, TrafficStats};

/// A scrape does not wait longer for the proxy.
const PROXY_PATIENCE: Duration = Duration::from_millis(500);

/// Proxy processes remembered one by one; older ones are only part of the sums. Two serve side by side during
/// an upgrade, so one that has fallen out of this many can't come back.
const MAX_INSTANCES: usize = 16;

/// What the metrics' handlers need; cheap to clone.
#[derive(Clone)]
pub struct MetricsState {
    handle: Handle,
    metrics: Metrics,
    proxies: Arc<Mutex<ProxyCounters>>,
}

impl MetricsState {
    /// The agent's own metrics, and where those of the proxy are asked for.
    pub fn new(handle: Handle, metrics: Metrics) -> Self {
        Self { handle, metrics, proxies: Arc::default() }
    }

    pub(super) fn statuses(&self) -> Vec<AppStatus> {
        self.handle.statuses()
    }

    async fn render(&self) -> String {
        let asked = tokio::time::timeout(PROXY_PATIENCE, self.handle.traffic_stats()).await;
        let answer = asked.ok().and_then(Result::ok);
        self.metrics.proxy_up.with_label_values::<&str>(&[]).set(i64::from(answer.is_some()));
        let mut text = self.metrics.render();
        let mut proxies = self.proxies.lock().expect("no holder panics");
        if let Some(stats) = &answer {
            proxies.take(stats);
        }
        proxies.render(&mut text);
        text
    }
}

pub(super) async fn show(State(state): State<MetricsState>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], state.render().await)
}

/// What is counted of one app over any number of proxies.
#[derive(Debug, Clone, Default)]
struct Sum {
    requests: BTreeMap<String, u64>,
    latency: Histogram,
    parked: BTreeMap<String, u64>,
    waited: Histogram,
}

/// The counters of every proxy process that has been seen, made monotonic.
#[derive(Debug, Default)]
pub struct ProxyCounters {
    /// Last values of each process, and the number of the answer that it was last part of.
    instances: BTreeMap<String, (u64, TrafficStats)>,
    /// The sums of those that are remembered no longer.
    gone: BTreeMap<AppName, Sum>,
    gone_unrouted: u64,
    /// Counts the answers.
    answers: u64,
}

impl ProxyCounters {
    /// Takes the proxies' answer into account. A process that is missing from it has ended and keeps its part of
    /// the sums. Answers may come out of order: a counter of a process never goes back.
    pub fn take(&mut self, answer: &[TrafficStats]) {
        self.answers += 1;
        for stats in answer {
            let entry = self.instances.entry(stats.instance.clone()).or_default();
            *entry = (self.answers, newer(&entry.1, stats));
        }
        while self.instances.len() > MAX_INSTANCES {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let oldest = self.instances.iter().min_by_key(|(_, (seen, _))| *seen).map(|(name, _)| name.clone());
        let Some((_, stats)) = oldest.and_then(|name| self.instances.remove(&name)) else { return };
        self.gone_unrouted += stats.unrouted;
        for (app, counters) in &stats.apps {
            add(self.gone.entry(app.clone()).or_default(), counters);
        }
    }

    /// The processes that were part of the last answer.
    fn living(&self) -> impl Iterator<Item = &TrafficStats> {
        self.instances.values().filter(|(seen, _)| *seen == self.answers).map(|(_, stats)| stats)
    }

    fn sums(&self) -> BTreeMap<AppName, Sum> {
        let mut sums = self.gone.clone();
        for (_, stats) in self.instances.values() {
            for (app, counters) in &stats.apps {
                add(sums.entry(app.clone()).or_default(), counters);
            }
        }
        sums
    }

    /// Appends the proxies' metrics in the text exposition format.
    pub fn render(&self, text: &mut String) {
        let [requests, duration, in_flight, streams, connections, unrouted, parked, ended, waited] = &proxy_described();
        let sums = self.sums();
        head(text, requests);
        for (app, sum) in &sums {
            for (class, count) in &sum.requests {
                line(text, &requests.name, &format!("app=\"{app}\",class=\"{class}\""), *count);
            }
        }
        head(text, duration);
        for (app, sum) in &sums {
            histogram(text, &duration.name, app, &sum.latency);
        }
        let under_way = self.under_way();
        head(text, in_flight);
        for (app, now) in &under_way {
            line(text, &in_flight.name, &format!("app=\"{app}\""), now.requests);
        }
        head(text, streams);
        for (app, now) in &under_way {
            line(text, &streams.name, &format!("app=\"{app}\""), now.streams);
        }
        head(text, connections);
        line(text, &connections.name, "", self.living().map(|stats| stats.connections).sum());
        head(text, unrouted);
        let lost = self.instances.values().map(|(_, stats)| stats.unrouted).sum::<u64>();
        line(text, &unrouted.name, "", self.gone_unrouted + lost);
        head(text, parked);
        for (app, now) in self.parked() {
            line(text, &parked.name, &format!("app=\"{app}\""), now);
        }
        head(text, ended);
        for (app, sum) in &sums {
            for (end, count) in &sum.parked {
                line(text, &ended.name, &format!("app=\"{app}\",end=\"{end}\""), *count);
            }
        }
        head(text, waited);
        for (app, sum) in &sums {
            histogram(text, &waited.name, app, &sum.waited);
        }
    }

    fn parked(&self) -> BTreeMap<&AppName, u64> {
        let mut sums = BTreeMap::<_, u64>::new();
        for (app, counters) in self.living().flat_map(|stats| &stats.apps) {
            *sums.entry(app).or_default() += counters.parked.now;
        }
        sums
    }

    fn under_way(&self) -> BTreeMap<&AppName, InFlight> {
        let mut sums = BTreeMap::<_, InFlight>::new();
        for (app, counters) in self.living().flat_map(|stats| &stats.apps) {
            let sum = sums.entry(app).or_default();
            sum.requests += counters.in_flight.requests;
            sum.streams += counters.in_flight.streams;
        }
        sums
    }
}

/// Every metric of the agent and of the proxies as a table for people; `docs/METRICS.md` holds it.
pub fn metrics_table() -> String {
    let mut table = String::from("| metric | type | labels | meaning |\n|---|---|---|---|\n");
    for metric in Metrics::described().into_iter().chain(proxy_described()) {
        let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        writeln!(table, "| `{}` | {} | {labels} | {} |", metric.name, metric.kind, metric.help)
            .expect("a string takes everything");
    }
    table
}

fn proxy_described() -> [Described; 9] {
    let described = |name: &str, kind, labels, help: &str| Described {
        name: format!("tagboat_proxy_{name}"),
        kind,
        labels,
        help: help.to_owned(),
    };
    [
        described(
            "requests_total",
            "counter",
            &["app", "class"],
            "Requests by answer: 1xx to 5xx as the app gave them, unavailable (503 of the proxy), bad_gateway (502 of the proxy), aborted (the client went away).",
        ),
        described(
            "request_duration_seconds",
            "histogram",
            &["app"],
            "Time from a request's arrival at the proxy to the first byte of its answer, in seconds.",
        ),
        described("requests_in_flight", "gauge", &["app"], "Requests whose answer has not ended."),
        described("streams_in_flight", "gauge", &["app"], "Upgraded connections and event streams that are open."),
        described("connections", "gauge", &[], "Client connections that are open."),
        described("unrouted_requests_total", "counter", &[], "Requests that no app's route took."),
        described(
            "parked_requests",
            "gauge",
            &["app"],
            "Requests that wait because their app is held: its old version makes room for the new one.",
        ),
        described(
            "parked_requests_total",
            "counter",
            &["app", "end"],
            "Requests that had to wait, by end: released (to the version that then served), overdue (503 after hold_wait), refused (503 at once, too many waited), left (the client went away).",
        ),
        described(
            "parked_seconds",
            "histogram",
            &["app"],
            "How long requests waited while their app was held, whatever became of them, in seconds.",
        ),
    ]
}

/// Takes the larger of every counter of the same process, and the later of everything else.
fn newer(last: &TrafficStats, now: &TrafficStats) -> TrafficStats {
    let mut merged = now.clone();
    merged.unrouted = merged.unrouted.max(last.unrouted);
    for (app, before) in &last.apps {
        let after = merged.apps.entry(app.clone()).or_default();
        for (class, count) in &before.requests {
            let now = after.requests.entry(class.clone()).or_default();
            *now = (*now).max(*count);
        }
        if observations(&before.latency) > observations(&after.latency) {
            after.latency = before.latency.clone();
        }
        let Parking { ended, waited, .. } = &before.parked;
        for (end, count) in ended {
            let now = after.parked.ended.entry(end.clone()).or_default();
            *now = (*now).max(*count);
        }
        if observations(waited) > observations(&after.parked.waited) {
            after.parked.waited = waited.clone();
        }
    }
    merged
}

fn observations(histogram: &Histogram) -> u64 {
    histogram.buckets.iter().sum()
}

fn add(sum: &mut Sum, counters: &AppCounters) {
    for (class, count) in counters.requests.iter().filter(|(class, _)| is_class(class)) {
        *sum.requests.entry(class.clone()).or_default() += count;
    }
    for (end, count) in counters.parked.ended.iter().filter(|(end, _)| is_class(end)) {
        *sum.parked.entry(end.clone()).or_default() += count;
    }
    add_times(&mut sum.latency, &counters.latency);
    add_times(&mut sum.waited, &counters.parked.waited);
}

fn add_times(sum: &mut Histogram, counted: &Histogram) {
    sum.buckets.resize(LATENCY_BUCKETS_MS.len() + 1, 0);
    for (total, count) in sum.buckets.iter_mut().zip(&counted.buckets) {
        *total += count;
    }
    sum.sum_ms += counted.sum_ms;
}

/// The proxy is another process, maybe another version: what it calls a class must still be a label.
fn is_class(class: &str) -> bool {
    (1..=20).contains(&class.len()) && class.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn head(text: &mut String, metric: &Described) {
    writeln!(text, "# HELP {} {}\n# TYPE {} {}", metric.name, metric.help, metric.name, metric.kind)
        .expect("a string takes everything");
}

fn line(text: &mut String, name: &str, labels: &str, value: u64) {
    let written =
        if labels.is_empty() { writeln!(text, "{name} {value}") } else { writeln!(text, "{name}{{{labels}}} {value}") };
    written.expect("a string takes everything");
}

fn histogram(text: &mut String, name: &str, app: &AppName, latency: &Histogram) {
    let mut cumulated = 0;
    let bounds = LATENCY_BUCKETS_MS.iter().map(|ms| (ms / 1000.0).to_string()).chain(["+Inf".to_owned()]);
    for (bound, count) in bounds.zip(&latency.buckets) {
        cumulated += count;
        line(text, &format!("{name}_bucket"), &format!("app=\"{app}\",le=\"{bound}\""), cumulated);
    }
    writeln!(text, "{name}_sum{{app=\"{app}\"}} {}", latency.sum_ms / 1000.0).expect("a string takes everything");
    line(text, &format!("{name}_count"), &format!("app=\"{app}\""), cumulated);
}

#[cfg(test)]
mod tests;
