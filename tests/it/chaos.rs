//! The randomised long run: three apps, one of each strategy, and all the time somebody pushes good and bad images, kills
//! the agent or the proxy, takes the registry away, or removes, stops, renames and updates containers by hand.
//!
//! It goes in rounds. After each, one good version is pushed to every app, and within half a minute exactly that has to
//! be there. `TAGBOAT_SEED` replays (the seed is printed), `TAGBOAT_CHAOS_SECONDS` says how long: 180 by itself, 1800 in
//! the nightly run.

use std::time::Duration;

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use serde_json::Value;
use tokio::time::Instant;

use crate::support::{Image, Load, Program, Setup, free_port};

const NAMES: [&str; 3] = ["chaos", "chaos-port", "chaos-work"];
const POLICIES: [&str; 3] = ["unless-stopped", "always", "on-failure"];

/// What was asked for is there within so long after the last disturbance.
const LIMIT: Duration = Duration::from_secs(60);

struct Chaos {
    program: Program,
    random: StdRng,
    /// The port that the second app publishes.
    port: u16,
    version: usize,
    bad: Vec<String>,
    /// What was done, for a message.
    done: Vec<String>,
    /// The proxy was killed or a person took away what it sent requests to: some may have failed.
    excused: bool,
}

impl Chaos {
    async fn begun(seed: u64) -> Self {
        let mut setup = Setup::new("chaos");
        setup.swap =
            "probe_interval: 50ms, min_healthy: 300ms, healthy_deadline: 5s, bake: 700ms, drain: 5s, drain_streams: 5s";
        setup.every = "5s";
        let mut program = Program::prepared(setup).await;
        for name in NAMES {
            program.docker().remove_all(name);
            Image::sample("v1").push(&program.registry, name, "latest").await;
        }
        program.start();
        let random = StdRng::seed_from_u64(seed);
        let (bad, done) = (Vec::new(), Vec::new());
        let chaos = Self { program, random, port: free_port(), version: 1, bad, done, excused: false };
        for name in &NAMES[1..] {
            chaos.run(name);
        }
        chaos
    }

    /// `docker run` as a person would.
    fn run(&self, name: &str) {
        let publish = format!("127.0.0.1:{}:8080", self.port);
        let image = format!("{}/{name}:latest", self.program.registry.host());
        let policy = POLICIES[NAMES.iter().position(|known| *known == name).unwrap()];
        let mut args = vec!["run", "-d", "--name", name, "--restart", policy, "--stop-timeout", "2"];
        args.extend([
            "--label",
            "tagboat.enable=true",
            "--label",
            "tagboat.every=5s",
            "--label",
            "tagboat.scope=chaos",
        ]);
        if name == "chaos-port" {
            args.extend(["-p", &publish]);
        }
        args.push(&image);
        // Whoever has the port or the name then is in the way; the next round tries again.
        self.program.docker().cli(&args);
    }

    /// Everything that belongs to an app, in any state.
    fn family(&self, name: &str) -> Vec<Value> {
        let docker = self.program.docker();
        let filter = if name == "chaos" { "label=tagboat.app=chaos" } else { "label=tagboat.scope=chaos" };
        let ids = docker.cli(&["ps", "-aq", "--filter", filter]);
        let ids = String::from_utf8_lossy(&ids.stdout).into_owned();
        let ids: Vec<&str> = ids.split_whitespace().collect();
        if ids.is_empty() {
            return Vec::new();
        }
        let inspected = docker.cli(&[["inspect"].as_slice(), ids.as_slice()].concat());
        let all: Vec<Value> = serde_json::from_slice(&inspected.stdout).unwrap_or_default();
        let of = |c: &Value| {
            name == "chaos" || c["Name"].as_str().is_some_and(|n| n.trim_start_matches('/').starts_with(name))
        };
        all.into_iter().filter(of).collect()
    }

    async fn push(&mut self, name: &str, good: bool) -> String {
        self.version += 1;
        let version = format!("v{}", self.version);
        let image = Image::sample(&version);
        let image = match (good, name, self.random.random_range(0..3)) {
            (true, ..) => image,
            (false, "chaos", 0) => image.env("NEVER_HEALTHY", "1"),
            (false, _, 1) => image.entrypoint("/nothing"),
            (false, ..) => image.env("EXIT_AT_START", "3"),
        };
        if !good {
            self.bad.push(version.clone());
        }
        self.done.push(format!("push {name} {version} good={good}"));
        image.push(&self.program.registry, name, "latest").await;
        version
    }

    async fn disturb(&mut self) {
        let name = *NAMES.choose(&mut self.random).unwrap();
        match self.random.random_range(0..12) {
            0..=2 => drop(self.push(name, true).await),
            3..=4 => drop(self.push(name, false).await),
            5..=7 => self.kill("agent"),
            8 => {
                self.excused = true;
                self.kill("proxy");
            }
            9 => {
                self.done.push("the registry is away".to_owned());
                self.program.registry.stop();
                tokio::time::sleep(Duration::from_millis(self.random.random_range(200..3000))).await;
                self.program.registry.resume().await;
            }
            _ => self.meddle(name),
        }
    }

    fn kill(&mut self, role: &str) {
        self.done.push(format!("kill {role}"));
        if self.program.child(role).is_some() {
            self.program.kill(role);
        }
    }

    fn meddle(&mut self, name: &str) {
        let family = self.family(name);
        let Some(chosen) = family.choose(&mut self.random) else { return };
        let (id, label) = (chosen["Id"].as_str().unwrap().to_owned(), chosen["Name"].as_str().unwrap().to_owned());
        let args = match self.random.random_range(0..4) {
            0 => vec!["rm", "-f", &id],
            1 => vec!["stop", "-t", "1", &id],
            2 => vec!["restart", "-t", "1", &id],
            _ => vec!["update", "--restart", "on-failure:4", &id],
        };
        self.excused |= args[0] != "update";
        self.done.push(format!("docker {} {label}", args[..args.len() - 1].join(" ")));
        self.program.docker().cli(&args);
    }

    /// Ends a round: one good version for each, and nothing else is left.
    async fn settle(&mut self) {
        self.program
            .wait(LIMIT, "the supervisor has both children", || async {
                (self.program.child("agent").is_some() && self.program.child("proxy").is_some()).then_some(())
            })
            .await;
        for name in &NAMES[1..] {
            // What a person has removed or stopped stays so; a person brings it back.
            if self.program.docker().named(name).is_none_or(|c| c["State"]["Running"] != true) {
                let waiting = tokio::time::timeout(Duration::from_secs(15), async {
                    while self.program.docker().named(name).is_none_or(|c| c["State"]["Running"] != true) {
                        tokio::time::sleep(Duration::from_millis(500)).await;
                    }
                });
                if waiting.await.is_err() {
                    self.done.push(format!("docker rm and run {name}"));
                    for left in self.family(name) {
                        self.program.docker().cli(&["rm", "-f", left["Id"].as_str().unwrap()]);
                    }
                    self.run(name);
                }
            }
        }
        for name in NAMES {
            let version = self.push(name, true).await;
            let deadline = Instant::now() + LIMIT;
            while let Some(problem) = self.problem(name, &version) {
                let done = self.done.join("\n");
                assert!(Instant::now() < deadline, "{name}: {problem}\nafter:\n{done}\n{}", self.program.log());
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
    }

    /// What is not as it should be.
    fn problem(&self, name: &str, version: &str) -> Option<String> {
        let family = self.family(name);
        let all: Vec<String> = family.iter().map(|c| format!("{} {}", c["Name"], c["State"]["Status"])).collect();
        let (failed, others): (Vec<&Value>, Vec<&Value>) =
            family.iter().partition(|c| c["Name"].as_str().is_some_and(|n| n.contains(".failed-")));
        let [serving] = others.as_slice() else { return Some(format!("there are {all:?}")) };
        let env = format!("VERSION={version}");
        let runs = serving["Config"]["Env"].as_array().is_some_and(|all| all.iter().any(|e| *e == env.as_str()));
        if !runs || serving["State"]["Running"] != true || failed.len() > 1 {
            return Some(format!("{version} should run alone; there are {all:?}"));
        }
        let named = name == "chaos" || serving["Name"] == format!("/{name}");
        let policy = &serving["HostConfig"]["RestartPolicy"]["Name"];
        let own = POLICIES[NAMES.iter().position(|known| *known == name).unwrap()];
        let known = *policy == own || *policy == "on-failure";
        (!named || !known).then(|| format!("{} has policy {policy}", serving["Name"]))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_happens_a_good_version_ends_up_serving() {
    let seed: u64 = std::env::var("TAGBOAT_SEED").ok().map_or_else(rand::random, |seed| seed.parse().unwrap());
    let seconds = std::env::var("TAGBOAT_CHAOS_SECONDS").map_or(180, |seconds| seconds.parse().unwrap());
    eprintln!("TAGBOAT_SEED={seed}");
    let mut chaos = Chaos::begun(seed).await;
    chaos.program.wait_for_version("v1").await;
    let end = Instant::now() + Duration::from_secs(seconds);
    let (mut rounds, mut sent) = (0, 0);
    while Instant::now() < end {
        chaos.excused = false;
        let load = Load::start(chaos.program.port, &["--rps", "100", "--slow", "0.02"]);
        for _ in 0..chaos.random.random_range(2..7) {
            chaos.disturb().await;
            let pause = chaos.random.random_range(0..2500);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
        chaos.settle().await;
        let report = load.finish();
        let told = || format!("TAGBOAT_SEED={seed}\n{}\n{:#}", chaos.done.join("\n"), report.0);
        let answered = report.0["versions"].as_object().unwrap();
        let let_in = answered.keys().find(|version| chaos.bad.contains(version));
        assert!(let_in.is_none(), "a bad version got requests: {let_in:?}\n{}", told());
        assert!(chaos.excused || report.failed() == 0, "{}", told());
        (rounds, sent) = (rounds + 1, sent + report.sent());
    }
    eprintln!("{rounds} rounds, {} disturbances, {sent} requests, TAGBOAT_SEED={seed}", chaos.done.len());
    for name in &NAMES[1..] {
        chaos.program.signal(rustix::process::Signal::STOP);
        for left in chaos.family(name) {
            chaos.program.docker().cli(&["rm", "-f", left["Id"].as_str().unwrap()]);
        }
        chaos.program.signal(rustix::process::Signal::CONT);
    }
}
