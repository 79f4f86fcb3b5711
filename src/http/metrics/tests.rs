use super::*;

fn stats(instance: &str, ok: u64) -> TrafficStats {
    let mut buckets = vec![0; LATENCY_BUCKETS_MS.len() + 1];
    buckets[1] = ok;
    let counters = AppCounters {
        requests: BTreeMap::from([("2xx".to_owned(), ok)]),
        latency: Histogram { buckets, sum_ms: 0.75 * f64::from(u32::try_from(ok).unwrap()) },
        in_flight: InFlight { requests: 2, streams: 1 },
        parked: Parking { now: 4, ended: BTreeMap::from([("released".to_owned(), ok)]), waited: Histogram::default() },
    };
    TrafficStats {
        instance: instance.to_owned(),
        connections: 3,
        unrouted: 1,
        apps: BTreeMap::from([("shop".parse().unwrap(), counters)]),
        ..TrafficStats::default()
    }
}

fn value(counters: &ProxyCounters, series: &str) -> String {
    let mut text = String::new();
    counters.render(&mut text);
    let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ').map(str::to_owned));
    found.unwrap_or_else(|| panic!("no {series} in\n{text}"))
}

const OK: &str = "tagboat_proxy_requests_total{app=\"shop\",class=\"2xx\"}";

#[test]
fn counters_never_go_back_over_restarts_and_upgrades_of_the_proxy() {
    let mut counters = ProxyCounters::default();
    for (what, answer, total) in [
        ("one proxy", vec![stats("a", 10)], "10"),
        ("it counts on", vec![stats("a", 25)], "25"),
        ("an answer that was overtaken", vec![stats("a", 20)], "25"),
        ("a second one beside it", vec![stats("a", 30), stats("b", 5)], "35"),
        ("the first one has ended", vec![stats("b", 7)], "37"),
        ("a restart", vec![stats("c", 1)], "38"),
    ] {
        counters.take(&answer);
        assert_eq!(value(&counters, OK), total, "{what}");
    }
    assert_eq!(value(&counters, "tagboat_proxy_requests_in_flight{app=\"shop\"}"), "2", "only living ones");
    assert_eq!(value(&counters, "tagboat_proxy_connections"), "3");
    assert_eq!(value(&counters, "tagboat_proxy_unrouted_requests_total"), "3");
    assert_eq!(value(&counters, "tagboat_proxy_parked_requests{app=\"shop\"}"), "4", "only living ones");
    assert_eq!(value(&counters, "tagboat_proxy_parked_requests_total{app=\"shop\",end=\"released\"}"), "38");
}

#[test]
fn a_thousand_restarts_cost_no_memory_and_lose_no_count() {
    let mut counters = ProxyCounters::default();
    for n in 0..1000 {
        counters.take(&[stats(&format!("p{n}"), 3)]);
    }
    assert_eq!(counters.instances.len(), MAX_INSTANCES);
    assert_eq!(value(&counters, OK), "3000");
}

#[test]
fn the_histogram_is_cumulative_and_in_seconds() {
    let mut counters = ProxyCounters::default();
    counters.take(&[stats("a", 4)]);
    let series = |rest: &str| value(&counters, &format!("tagboat_proxy_request_duration_seconds{rest}"));
    assert_eq!(series("_bucket{app=\"shop\",le=\"0.0005\"}"), "0");
    assert_eq!(series("_bucket{app=\"shop\",le=\"0.001\"}"), "4");
    assert_eq!(series("_bucket{app=\"shop\",le=\"10\"}"), "4");
    assert_eq!(series("_bucket{app=\"shop\",le=\"+Inf\"}"), "4");
    assert_eq!(series("_sum{app=\"shop\"}"), "0.003");
    assert_eq!(series("_count{app=\"shop\"}"), "4");
}

#[test]
fn labels_of_another_proxy_version_can_not_break_the_format() {
    let mut strange = stats("a", 1);
    let requests = &mut strange.apps.values_mut().next().unwrap().requests;
    requests.insert("x\"} 1\nevil".to_owned(), 9);
    let mut counters = ProxyCounters::default();
    counters.take(&[strange]);
    let mut text = String::new();
    counters.render(&mut text);
    assert!(!text.contains("evil"), "{text}");
}

#[test]
fn the_documented_table_is_the_one_that_the_code_declares() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/METRICS.md");
    let document = std::fs::read_to_string(path).unwrap();
    let (before, rest) = document.split_once("| metric |").expect("the table's first line");
    let after = rest.split_once("\n\n").map_or("", |(_, after)| after);
    let wanted = format!("{before}{}\n{after}", metrics_table());
    if std::env::var_os("TAGBOAT_BLESS").is_some() {
        std::fs::write(path, &wanted).unwrap();
    } else {
        assert_eq!(document, wanted, "docs/METRICS.md is stale: run this test with TAGBOAT_BLESS=1");
    }
}
