//! The same in a container that publishes ports: two of it can't run side by side, so a relief container stops the one that
//! runs and starts the next one in its place.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tagboat::model::Digest;

use super::Contained;
use crate::support::{Daemon, Docker, Image, Relay, client, signal_pid, wait_for};

/// A tagboat that publishes everything that it listens on.
struct Published {
    contained: Contained,
    /// From its network the registry is reached through this.
    _relay: Relay,
}

impl Published {
    async fn serving(app: &'static str, stop_timeout: &str) -> Self {
        Self::serving_on(app, stop_timeout, None).await
    }

    /// On an engine of its own.
    async fn serving_on(app: &'static str, stop_timeout: &str, engine: Option<&'static Docker>) -> Self {
        let published = Self::prepared(app, engine).await;
        published.contained.push("v1").await;
        published.serves(stop_timeout).await;
        published
    }

    async fn prepared(app: &'static str, engine: Option<&'static Docker>) -> Self {
        let contained = Contained::prepared(app, engine).await;
        let gateway = "{{(index .IPAM.Config 0).Gateway}}";
        let gateway = contained.docker().must(&["network", "inspect", "bridge", "--format", gateway]);
        let registry = &contained.program.registry;
        let relay = registry.also_at(&gateway).await;
        let file = contained.program.file();
        let mut text = std::fs::read_to_string(&file).unwrap();
        for port in contained.program.listened() {
            text = text.replace(&format!("'127.0.0.1:{port}'"), &format!("':{port}'"));
        }
        let mirror = format!("{gateway}:{}", relay.port);
        let more =
            format!("registries: {{'{}': {{mirrors: ['{mirror}']}}, '{mirror}': {{http: true}}}}\n", registry.host());
        std::fs::write(file, text + &more).unwrap();
        Self { contained, _relay: relay }
    }

    async fn serves(&self, stop_timeout: &str) {
        let ports = self.contained.program.listened().map(|port| format!("127.0.0.1:{port}:{port}"));
        let mut options = vec!["--stop-timeout", stop_timeout];
        ports.iter().for_each(|port| options.extend(["-p", port]));
        self.contained.serves(&options).await;
        let status = self.contained.status().await.unwrap();
        assert_eq!(status["strategy"], "recreate", "{status:#}");
        assert!(status.to_string().contains("a relief container stops it"), "{status:#}");
    }

    /// `tagboat` in this version has the place, alone, and looks after its app.
    async fn is_version(&self, version: &str) {
        self.contained.is_version(version).await;
        self.is_alone().await;
    }

    async fn is_alone(&self) {
        let contained = &self.contained;
        contained
            .wait("one container is left, and no relief", || async {
                // The first one was made by a person and has no label of ours.
                let ours = contained.docker().containers(&contained.name);
                let others = ours.iter().filter(|one| name_of(one) != contained.name);
                let others: Vec<_> = others.filter(|one| !name_of(one).contains(".failed-")).collect();
                others.is_empty().then_some(())
            })
            .await;
    }

    async fn deploys(&self, version: &str) {
        let program = &self.contained.program;
        Image::sample(version).push(&program.registry, program.setup.app, "latest").await;
        program.wait_for_version(version).await;
        program.settled().await;
    }

    fn relief(&self) -> Option<Value> {
        self.contained.docker().named(&format!("{}.relief", self.contained.name))
    }

    /// Waits until the version is quarantined; its reason.
    async fn is_quarantined(&self, digest: &Digest) -> Value {
        let contained = &self.contained;
        contained
            .wait("it is quarantined", || async {
                let quarantined = contained.status().await?["quarantined"].as_array()?.clone();
                quarantined.into_iter().find(|entry| entry["digest"] == digest.as_str())
            })
            .await;
        contained.is("held").await["hold"]["failure"]["reason"].clone()
    }
}

fn name_of(container: &Value) -> &str {
    container["Name"].as_str().unwrap().trim_start_matches('/')
}

#[tokio::test(flavor = "multi_thread")]
async fn with_published_ports_it_is_relieved_twice_in_a_row() {
    let published = Published::serving("relieved", "30").await;
    let contained = &published.contained;
    let counted = format!("tagboat_swap_downtime_seconds_count{{app=\"{}\",strategy=\"recreate\"}} 1", contained.name);
    for version in ["v2", "v3"] {
        let digest = contained.push(version).await;
        published.is_version(version).await;
        let status = contained.status().await.unwrap();
        assert_eq!(status["deployed"]["digest"], digest.as_str());
        let metrics = contained.program.metrics().await;
        assert!(metrics.contains(&counted), "{metrics}");
        let sum = metrics.lines().find(|line| line.starts_with("tagboat_swap_downtime_seconds_sum")).unwrap();
        let gap: f64 = sum.rsplit(' ').next().unwrap().parse().unwrap();
        assert!(gap > 0.0 && gap < 30.0, "{sum}");
        assert!(contained.logs().contains("the relief container is done and removed"), "it is told");
    }
    published.deploys("v2").await;
    let history = contained.program.get(&format!("/apps/{}/deployments", contained.name)).await.unwrap();
    let results: Vec<_> = history.as_array().unwrap().iter().map(|entry| &entry["result"]).collect();
    assert!(results.len() == 2 && results.iter().all(|result| *result == "succeeded"), "{history:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_next_tagboat_that_is_no_good_makes_room_for_the_one_before() {
    let published = Published::serving("relieved-bad", "30").await;
    let contained = &published.contained;
    let tagboat = env!("CARGO_BIN_EXE_tagboat");
    let before = contained.docker().named(&contained.name).unwrap();
    for (image, reason) in [
        (Image::sample("v2").env("EXIT_AT_START", "7"), "exited"),
        // It finds itself that its container is no good.
        (Image::sample("v3").entrypoint(tagboat).healthcheck(), "unhealthy"),
        // No tagboat at all.
        (Image::sample("v4").env("PORT", "0"), "unhealthy"),
    ] {
        let digest = contained.push_image(image).await;
        assert_eq!(published.is_quarantined(&digest).await, reason);
        assert_eq!(contained.serving_version(), Some(("v1".to_owned(), "always".to_owned())));
        assert_eq!(contained.docker().named(&contained.name).unwrap()["Id"], before["Id"]);
        published.is_alone().await;
    }
    published.deploys("v2").await;
    contained.push("v5").await;
    published.is_version("v5").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relief_that_is_killed_goes_on_where_it_was() {
    let published = Published::serving("relieved-kill", "4").await;
    let contained = &published.contained;
    for (version, after_the_stop) in [("v2", false), ("v3", true)] {
        let old = contained.docker().named(&contained.name).unwrap()["Id"].as_str().unwrap().to_owned();
        // Whoever reads this has the old one take its whole time to stop.
        let url = format!("http://127.0.0.1:{}/events?n=1000&ms=100", contained.program.port);
        let stream = client().get(url).send().await.unwrap();
        assert!(stream.status().is_success(), "{stream:?}");
        contained.push(version).await;
        let relief = contained
            .wait("the relief stops the old one", || async {
                let said = contained.docker().cli(&["logs", &format!("{}.relief", contained.name)]);
                let said = String::from_utf8_lossy(&[said.stdout, said.stderr].concat()).into_owned();
                published.relief().filter(|_| said.contains("stopping the container that runs"))
            })
            .await;
        let pid = u32::try_from(relief["State"]["Pid"].as_u64().unwrap()).unwrap();
        if after_the_stop {
            signal_pid(pid, Signal::STOP);
            wait_for(Duration::from_secs(20), "the old one has stopped", || async {
                let old = contained.docker().must(&["inspect", "--format", "{{.State.Status}}", &old]);
                (old == "exited").then_some(())
            })
            .await;
            let all = contained.docker().containers(&contained.name);
            let next = all.iter().find(|one| name_of(one).contains(".next-")).unwrap();
            assert_eq!(next["State"]["Status"], "created");
        }
        signal_pid(pid, Signal::KILL);
        drop(stream);
        published.is_version(version).await;
    }
    published.deploys("v2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_tagboat_needs_no_relief_once_it_runs() {
    let published = Published::serving("relieved-alone", "30").await;
    let contained = &published.contained;
    contained.push("v2").await;
    contained
        .wait("the next one runs", || async {
            let all = contained.docker().containers(&contained.name);
            all.into_iter().find(|one| name_of(one).contains(".next-") && one["State"]["Running"] == true)
        })
        .await;
    // The engine does not start again what a person has killed.
    contained.docker().must(&["kill", &format!("{}.relief", contained.name)]);
    published.is_version("v2").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_next_tagboat_whose_relief_can_t_be_started_changes_nothing() {
    let mut published = Published::prepared("relieved-gone", None).await;
    let program = published.contained.program.install();
    let image = |version: &str| Image::sample(version).entrypoint(program.to_str().unwrap());
    published.contained.push_image(image("v1")).await;
    published.serves("30").await;
    let contained = &published.contained;
    let before = contained.docker().named(&contained.name).unwrap();
    // As in an image that has it elsewhere.
    std::fs::remove_file(&program).unwrap();
    let digest = contained.push_image(image("v2")).await;
    assert_eq!(published.is_quarantined(&digest).await, "cannot_start");
    let after = contained.docker().named(&contained.name).unwrap();
    assert_eq!(after["State"]["StartedAt"], before["State"]["StartedAt"], "it was never stopped");
    assert_eq!(contained.serving_version(), Some(("v1".to_owned(), "always".to_owned())));
    assert!(published.relief().is_none());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_power_cut_in_the_middle_is_no_fault_of_the_next_one() {
    let mut engine = Daemon::start("s", false);
    let published = Published::serving_on("relieved-cut", "30", Some(engine.docker)).await;
    let contained = &published.contained;
    contained.push("v2").await;
    contained
        .wait("the next one proves itself", || async {
            let all = contained.docker().containers(&contained.name);
            all.into_iter().find(|one| name_of(one).contains(".next-") && one["State"]["Running"] == true)
        })
        .await;
    engine.cut();
    engine.resume();
    // The relief is what comes back by itself: it starts the old one, which begins anew.
    published.is_version("v2").await;
    let status = contained.status().await.unwrap();
    assert_eq!(status["quarantined"], serde_json::json!([]), "{status:#}");
    published.deploys("v2").await;
}
