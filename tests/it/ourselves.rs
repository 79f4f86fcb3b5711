//! tagboat in a container that it keeps up to date itself: the next one takes over from the one that runs.

mod published;

use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use tagboat::model::Digest;

use crate::support::{Docker, Image, Load, Program, Setup};

const LIMIT: Duration = Duration::from_secs(90);

/// A tagboat in a container on the host's network, which declares one app, and is adopted by itself.
struct Contained {
    program: Program,
    /// Of the container.
    name: String,
}

impl Contained {
    async fn serving(app: &'static str) -> Self {
        let contained = Self::prepared(app, None).await;
        contained.push("v1").await;
        contained.serves(&["--network", "host", "--stop-timeout", "30"]).await;
        contained
    }

    /// Everything but tagboat itself, and its image.
    async fn prepared(app: &'static str, engine: Option<&'static Docker>) -> Self {
        let program = Program::prepared(Setup {
            swap: "probe_interval: 50ms, min_healthy: 2s, healthy_deadline: 8s, bake: 700ms, drain: 10s, drain_streams: 5s",
            engine,
            ..Setup::new(app)
        })
        .await;
        let contained = Self { program, name: format!("{app}-tagboat") };
        contained.clear();
        Image::sample("v1").push(&contained.program.registry, app, "latest").await;
        contained
    }

    /// Runs it, and waits until it and its app are up to date.
    async fn serves(&self, options: &[&str]) {
        self.run(options);
        self.program.wait_for_version("v1").await;
        self.is("up_to_date").await;
    }

    /// Pushes a version of tagboat: an image that runs the program that is tested.
    async fn push(&self, version: &str) -> Digest {
        self.push_image(Image::sample(version).entrypoint(env!("CARGO_BIN_EXE_tagboat"))).await
    }

    async fn push_image(&self, image: Image) -> Digest {
        image.push(&self.program.registry, &self.name, "latest").await
    }

    /// `docker run`. What the program is linked to comes from the host, as the program itself does.
    fn run(&self, options: &[&str]) {
        let file = self.program.file();
        let socket = self.docker().host.trim_start_matches("unix://").to_owned();
        let places = [
            file.parent().unwrap().display().to_string(),
            Path::new(&socket).parent().unwrap().display().to_string(),
            Path::new(env!("CARGO_BIN_EXE_tagboat")).parent().unwrap().display().to_string(),
            "/lib".to_owned(),
            "/lib64".to_owned(),
            "/etc/ssl".to_owned(),
            "/usr".to_owned(),
        ];
        let scope = format!("tagboat.scope={}", self.program.setup.app);
        let image = format!("{}/{}:latest", self.program.registry.host(), self.name);
        let mut args = vec!["run", "-d", "--name", &self.name, "--restart", "always"];
        args.extend(["--label", "tagboat.enable=true", "--label", &scope]);
        args.extend(options);
        let mounts: Vec<String> = places.iter().map(|place| format!("{place}:{place}")).collect();
        mounts.iter().for_each(|mount| args.extend(["-v", mount]));
        args.extend([image.as_str(), "run", "--config", file.to_str().unwrap()]);
        self.docker().must(&args);
    }

    fn docker(&self) -> &'static Docker {
        self.program.docker()
    }

    async fn status(&self) -> Option<Value> {
        self.program.get(&format!("/apps/{}", self.name)).await
    }

    async fn is(&self, state: &str) -> Value {
        self.wait(&format!("tagboat itself is {state}"), || async {
            self.status().await.filter(|status| status["state"] == state)
        })
        .await
    }

    /// As `wait_for`, with what the containers have said when it fails.
    async fn wait<T, F: Future<Output = Option<T>>>(&self, what: &str, check: impl FnMut() -> F) -> T {
        match tokio::time::timeout(LIMIT, crate::support::wait_for(LIMIT * 2, what, check)).await {
            Ok(value) => value,
            Err(_) => panic!("not in time: {what}\n{:#?}\n{}", self.status().await, self.logs()),
        }
    }

    fn logs(&self) -> String {
        let all = self.docker().must(&["ps", "-a", "--format", "{{.Names}} {{.Status}}"]);
        let ours = all.lines().filter(|line| line.starts_with(&self.name));
        let one = |line: &str| {
            let said = self.docker().cli(&["logs", line.split(' ').next().unwrap()]);
            let text = [said.stdout, said.stderr].concat();
            format!("--- {line}\n{}\n", String::from_utf8_lossy(&text))
        };
        ours.map(one).collect()
    }

    /// Version of tagboat that has the name and runs, and its restart policy.
    fn serving_version(&self) -> Option<(String, String)> {
        let container = self.docker().named(&self.name)?;
        let env = container["Config"]["Env"].as_array()?;
        let version = env.iter().filter_map(Value::as_str).find_map(|entry| entry.strip_prefix("VERSION="))?.to_owned();
        let running = container["State"]["Running"] == true;
        running.then(|| (version, container["HostConfig"]["RestartPolicy"]["Name"].as_str().unwrap().to_owned()))
    }

    async fn is_version(&self, version: &str) {
        let wanted = (version.to_owned(), "always".to_owned());
        self.wait(&format!("{version} of tagboat has the name"), || async {
            self.serving_version().filter(|serving| *serving == wanted)
        })
        .await;
        self.is("up_to_date").await;
    }

    fn clear(&self) {
        // Whoever restarts itself goes first.
        for container in self.docker().containers(&self.name) {
            self.docker().cli(&["rm", "-f", "-v", container["Id"].as_str().unwrap()]);
        }
        self.docker().remove_all(&self.name);
    }
}

impl Drop for Contained {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        self.clear();
    }
}

fn load(contained: &Contained) -> [Load; 3] {
    let port = contained.program.port;
    [
        Load::start(port, &["--rps", "60", "--slow", "0.05", "--upload", "0.05"]),
        Load::start(port, &["--rps", "40", "--mode", "close"]),
        Load::start(port, &["--rps", "2", "--events", "0.5", "--ws", "0.5"]),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_tagboat_takes_over_without_a_failed_request() {
    let contained = Contained::serving("ourself").await;
    let status = contained.status().await.unwrap();
    assert_eq!(status["strategy"], "overlap", "{status:#}");
    let load = load(&contained);
    for version in ["v2", "v3"] {
        let digest = contained.push(version).await;
        contained.is_version(version).await;
        assert_eq!(contained.status().await.unwrap()["deployed"]["digest"], digest.as_str());
        contained
            .wait("one container is left", || async {
                (contained.docker().containers(&contained.name).len() == 1).then_some(())
            })
            .await;
    }
    // The new one does its work.
    Image::sample("v2").push(&contained.program.registry, "ourself", "latest").await;
    contained.program.wait_for_version("v2").await;
    contained.program.settled().await;
    for load in load {
        load.finish().assert_clean(10);
    }
    let history = contained.program.get(&format!("/apps/{}/deployments", contained.name)).await.unwrap();
    let results: Vec<_> = history.as_array().unwrap().iter().map(|entry| &entry["result"]).collect();
    assert!(results.iter().all(|result| *result == "succeeded"), "{history:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_next_tagboat_that_does_not_take_over_changes_nothing() {
    let contained = Contained::serving("ourself-bad").await;
    let load = load(&contained);
    for (image, reason) in
        [(Image::sample("v2").env("EXIT_AT_START", "7"), "exited"), (Image::sample("v3").env("PORT", "0"), "unhealthy")]
    {
        let digest = contained.push_image(image).await;
        contained
            .wait(&format!("it is quarantined as {reason}"), || async {
                let status = contained.status().await?;
                let quarantined = status["quarantined"].as_array()?.clone();
                quarantined.into_iter().find(|entry| entry["digest"] == digest.as_str())
            })
            .await;
        let status = contained.is("held").await;
        assert_eq!(status["hold"]["failure"]["reason"], reason, "{status:#}");
        assert_eq!(contained.serving_version(), Some(("v1".to_owned(), "always".to_owned())));
    }
    for load in load {
        load.finish().assert_clean(10);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_next_tagboat_that_ends_before_it_is_proved_gives_the_place_back() {
    let contained = Contained::serving("ourself-ends").await;
    let digest = contained.push("v2").await;
    let next = contained
        .wait("the next one has taken over", || async {
            let all = contained.docker().containers(&contained.name);
            let next = all.into_iter().find(|c| c["Name"].as_str().is_some_and(|name| name.contains(".next-")))?;
            contained.logs().contains("this one waits to be stopped").then_some(next)
        })
        .await;
    contained.docker().must(&["kill", next["Id"].as_str().unwrap()]);
    let status = contained.is("held").await;
    assert_eq!(status["quarantined"][0]["digest"], digest.as_str(), "{status:#}");
    assert_eq!(contained.serving_version(), Some(("v1".to_owned(), "always".to_owned())));
    // It serves again, and is replaced by one that works.
    let load = load(&contained);
    Image::sample("v2").push(&contained.program.registry, "ourself-ends", "latest").await;
    contained.program.wait_for_version("v2").await;
    contained.push("v3").await;
    contained.is_version("v3").await;
    for load in load {
        load.finish().assert_clean(10);
    }
}
