//! Seen through Prometheus: every rule and every panel works on a live tagboat.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::support::{Load, Owned, Program, Setup, client, free_port, wait_for};

const RULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/prometheus/tagboat.rules.yaml");
const DASHBOARD: &str = include_str!("../../deploy/grafana/tagboat.json");

/// Every expression of rules and dashboard, with Grafana's variables filled in.
fn expressions() -> Vec<String> {
    let rules: Value = serde_saphyr::from_str(&std::fs::read_to_string(RULES).unwrap()).unwrap();
    let dashboard: Value = serde_json::from_str(DASHBOARD).unwrap();
    let groups = rules["groups"].as_array().unwrap().iter();
    let alerts = groups.flat_map(|group| group["rules"].as_array().unwrap()).map(|rule| rule["expr"].clone());
    let panels = dashboard["panels"].as_array().unwrap().iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().unwrap()).map(|target| target["expr"].clone());
    let text = |expr: Value| expr.as_str().unwrap().replace("$app", ".*").replace("$__rate_interval", "1m");
    alerts.chain(targets).map(text).collect()
}

/// Names of our metrics in an expression.
fn names(expression: &str) -> Vec<&str> {
    let words = expression.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("tagboat_")).collect()
}

#[test]
fn promtool_accepts_the_rules_and_they_name_only_metrics_that_there_are() {
    let checked = Command::new("promtool").args(["check", "rules", RULES]).output().unwrap();
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let known = include_str!("../../docs/METRICS.md");
    for expression in expressions() {
        for name in names(&expression) {
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
            assert!(known.contains(&format!("`{base}`")), "{base} of {expression}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn prometheus_evaluates_every_expression_on_a_live_tagboat() {
    let program = Program::serving(Setup::new("watched")).await;
    let load = Load::start(program.port, &["--rps", "50"]);
    let dir = tempfile::tempdir().unwrap();
    let port = free_port();
    let config = format!(
        "global: {{scrape_interval: 1s, evaluation_interval: 1s}}\nrule_files: ['{RULES}']\n\
         scrape_configs: [{{job_name: tagboat, static_configs: [{{targets: ['127.0.0.1:{}']}}]}}]\n",
        program.metrics_port()
    );
    std::fs::write(dir.path().join("prometheus.yml"), config).unwrap();
    let mut command = Command::new("prometheus");
    command
        .arg(format!("--config.file={}", dir.path().join("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"));
    let _prometheus = Owned::start(&mut command, &dir.path().join("log"));
    let query = async |expression: &str| -> Option<Value> {
        let query: String = url::form_urlencoded::byte_serialize(expression.as_bytes()).collect();
        let answer = client().get(format!("http://127.0.0.1:{port}/api/v1/query?query={query}")).send().await.ok()?;
        serde_json::from_slice(&answer.bytes().await.ok()?).ok()
    };
    // Two scrapes and more, so that rates have something to say.
    wait_for(Duration::from_secs(60), "Prometheus has scraped tagboat", || async {
        let rate = query("rate(tagboat_proxy_requests_total{class=\"2xx\"}[1m]) > 0").await?;
        (!rate["data"]["result"].as_array()?.is_empty()).then_some(())
    })
    .await;
    for expression in expressions() {
        let answer = query(&expression).await.unwrap();
        assert_eq!(answer["status"], "success", "{expression}: {answer:#}");
    }
    for (expression, value) in [
        ("tagboat_app_state{app=\"watched\",state=\"up_to_date\"}", "1"),
        ("tagboat_swaps_total{app=\"watched\",result=\"succeeded\"}", "1"),
        ("tagboat_proxy_up", "1"),
        ("sum(tagboat_deployed_info{app=\"watched\"})", "1"),
    ] {
        let answer = query(expression).await.unwrap();
        assert_eq!(answer["data"]["result"][0]["value"][1], value, "{expression}: {answer:#}");
    }
    let firing = query("ALERTS{alertstate=\"firing\",severity=\"critical\"}").await.unwrap();
    assert_eq!(firing["data"]["result"].as_array().unwrap().len(), 0, "{firing:#}");
    load.finish().assert_clean(10);
}
