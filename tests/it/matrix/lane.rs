//! One app of one strategy, swapped again and again.

mod events;
mod outage;
mod rest;

use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use tokio::time::Instant;

use crate::support::{Docker, Image, Load, Program, Setup, free_port, signal_pid, wait_for};

use super::cell::{Harm, Point, Verdict};
use events::Watch;
pub(super) use outage::Blow;

/// Nothing may take longer from the kill to the end.
const LIMIT: Duration = Duration::from_secs(30);

/// The longest time without service that is a recreation's own: one container stops, the other starts and, where the
/// agent was killed in between, the agent starts.
const GAP: Duration = Duration::from_secs(8);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Strategy {
    Proxy,
    /// Three containers of a version at a time.
    Replicas,
    Hold,
    Overlap,
    /// By name, and its requests come through the proxy.
    Routed,
    Recreate,
}

impl Strategy {
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Proxy => "proxy",
            Self::Replicas => "replicas",
            Self::Hold => "hold",
            Self::Overlap => "overlap",
            Self::Routed => "overlap, proxied",
            Self::Recreate => "recreate",
        }
    }

    /// Behind tagboat's proxy, from its file.
    fn is_declared(self) -> bool {
        matches!(self, Self::Proxy | Self::Replicas | Self::Hold)
    }

    /// Its requests come through tagboat's proxy: none fails.
    fn is_proxied(self) -> bool {
        self.is_declared() || self == Self::Routed
    }

    /// Further lines of its app. What is held locks a file on a volume that both versions have, and a second one ends.
    fn more(self, app: &str) -> &'static str {
        match self {
            Self::Hold => format!(
                "keep: 1\n    health: {{http: /healthz}}\n    overlap: never\n    volumes: ['{app}:/data']\n    \
                 env: {{EXCLUSIVE: /data/lock}}"
            )
            .leak(),
            Self::Replicas => "keep: 1\n    health: {http: /healthz}\n    replicas: 3",
            _ => "keep: 1\n    health: {http: /healthz}",
        }
    }

    /// So many containers serve at rest.
    fn count(self) -> usize {
        if self == Self::Replicas { 3 } else { 1 }
    }

    fn app(self) -> &'static str {
        match self {
            Self::Proxy => "matrix-proxy",
            Self::Replicas => "matrix-replicas",
            Self::Hold => "matrix-hold",
            Self::Overlap => "matrix-overlap",
            Self::Routed => "matrix-routed",
            Self::Recreate => "matrix-recreate",
        }
    }

    /// The restart policy of its containers.
    fn policy(self, outage: bool) -> &'static str {
        match self {
            Self::Proxy | Self::Replicas | Self::Hold => "unless-stopped",
            Self::Overlap | Self::Routed => "always",
            // An engine that is restarted does not start what ended without a failure, and Docker 20.10, killed and
            // started anew without live-restore, takes what it then stops itself for stopped by a person.
            Self::Recreate if outage => "always",
            Self::Recreate => "on-failure",
        }
    }
}

pub(super) struct Lane {
    strategy: Strategy,
    program: Program,
    /// Where users reach it; a worker has none.
    port: Option<u16>,
    version: usize,
    kills: usize,
}

impl Lane {
    pub(super) async fn prepared(strategy: Strategy) -> Self {
        Self::named(strategy, strategy.app()).await
    }

    /// On the engine that all tests share.
    pub(super) async fn named(strategy: Strategy, app: &'static str) -> Self {
        Self::begun(strategy, Setup::new(app)).await
    }

    /// On an engine of its own.
    pub(super) async fn on(engine: &'static Docker, strategy: Strategy) -> Self {
        Self::begun(strategy, Setup { engine: Some(engine), ..Setup::new(strategy.app()) }).await
    }

    /// Version 1 serves.
    async fn begun(strategy: Strategy, mut setup: Setup) -> Self {
        let app = setup.app;
        setup.swap =
            "probe_interval: 50ms, min_healthy: 200ms, healthy_deadline: 8s, bake: 300ms, drain: 5s, drain_streams: 5s";
        setup.failpoints = true;
        setup.declared = strategy.is_declared();
        setup.more = strategy.more(app);
        let mut program = Program::prepared(setup).await;
        Self::image("v1", app).push(&program.registry, app, "latest").await;
        let published = free_port();
        if !strategy.is_declared() {
            run(&program, strategy, published);
        }
        program.start();
        let port = match strategy {
            Strategy::Proxy | Strategy::Replicas | Strategy::Hold | Strategy::Routed => Some(program.port),
            Strategy::Overlap => None,
            Strategy::Recreate => Some(published),
        };
        let mut lane = Self { strategy, program, port, version: 1, kills: 0 };
        let problem = lane.converged("", Instant::now()).await.err();
        assert!(problem.is_none(), "{problem:?}\n{}", lane.program.log());
        // Some swaps first: from then on each is like the other, and removes as many old images.
        for _ in 0..3 {
            lane.swapped().await;
        }
        lane
    }

    /// Unlike that of any other lane: an image that several have has several names, and how many of them there are to
    /// remove depends on how far the others are.
    fn image(version: &str, app: &str) -> Image {
        Image::sample(version).note(app)
    }

    /// The next version under the tag.
    async fn push(&mut self) -> (String, String) {
        self.version += 1;
        let version = format!("v{}", self.version);
        let app = self.program.setup.app;
        let digest = Self::image(&version, app).push(&self.program.registry, app, "latest").await;
        (version, digest.to_string())
    }

    async fn swapped(&mut self) {
        let (_, digest) = self.push().await;
        let problem = self.converged(&digest, Instant::now()).await.err();
        assert!(problem.is_none(), "{problem:?}\n{}", self.program.log());
    }

    /// The side effects of an undisturbed swap, in order, each with its number among those of its name.
    pub(super) async fn watched(&mut self) -> Vec<(String, usize)> {
        let trace = self.program.failpoints().join("trace");
        std::fs::write(&trace, "").unwrap();
        self.swapped().await;
        let text = std::fs::read_to_string(&trace).unwrap();
        std::fs::remove_file(trace).unwrap();
        let names: Vec<&str> = text.lines().collect();
        let nth = |index: usize| names[..=index].iter().filter(|name| **name == names[index]).count();
        (0..names.len()).map(|index| (names[index].to_owned(), nth(index))).collect()
    }

    /// The supervisor waits longer each time that the agent dies: no user kills it twenty times a minute.
    async fn refreshed(&mut self) {
        self.kills += 1;
        if !self.kills.is_multiple_of(5) {
            return;
        }
        self.program.signal(Signal::TERM);
        let program = &self.program;
        program.wait(LIMIT, "tagboat ends", || async { program.child("proxy").is_none().then_some(()) }).await;
        self.program.start();
        let problem = self.converged("", Instant::now()).await.err();
        assert!(problem.is_none(), "{problem:?}\n{}", self.program.log());
    }

    /// A swap in which the agent is killed.
    pub(super) async fn killed(&mut self, point: Point, harm: Harm) -> Verdict {
        self.refreshed().await;
        let armed = self.program.failpoints().join("armed");
        let before = format!("v{}", self.version);
        std::fs::write(&armed, point.armed(&format!("v{}", self.version + 1))).unwrap();
        let conns = if self.strategy == Strategy::Hold { "400" } else { "20" };
        let load = self
            .port
            .map(|port| Load::start(port, &["--rps", "100", "--mode", "close", "--conns", conns, "--patience", "20"]));
        let watch = Watch::start(&self.program, self.strategy);
        let (version, digest) = self.push().await;
        let mut verdict = Verdict {
            strategy: self.strategy.label(),
            effect: format!("{} {}", point.name, point.nth),
            harm,
            failed: 0,
            gap: Duration::ZERO,
            converged: Duration::ZERO,
            orphans: 0,
            problems: Vec::new(),
        };
        let place = format!("{} {point:?} {harm:?} {version}", self.strategy.label());
        let program = &self.program;
        let halted =
            tokio::time::timeout(LIMIT, wait_for(LIMIT * 2, "the agent stands still", || async { program.halted() }));
        let Ok(agent) = halted.await else {
            let state = self.program.status().await;
            verdict.problems.push(format!("{place}: the side effect never came\n{state:#?}\n{}", tail(&self.program)));
            let _ = std::fs::remove_file(armed);
            return verdict;
        };
        std::fs::remove_file(armed).unwrap();
        self.strike(agent, harm).await;
        let killed = Instant::now();
        match self.converged(&digest, killed).await {
            Ok(()) => {}
            Err(problem) => verdict.problems.push(format!("{place}: {problem}\n{}", tail(&self.program))),
        }
        verdict.converged = killed.elapsed();
        verdict.orphans = self.containers().len().saturating_sub(self.strategy.count());
        let (least, most) = watch.finish().await;
        if self.strategy == Strategy::Hold && most > 1 {
            verdict.problems.push(format!("{place}: {most} ran at once"));
        }
        if let Some(load) = load {
            self.judge(&load.finish().0, (&before, &version), &mut verdict, &place);
        } else if least < 1 {
            verdict.problems.push(format!("{place}: for a while none ran"));
        }
        if let Err(problem) = self.history(&digest, harm).await {
            verdict.problems.push(format!("{place}: {problem}"));
        }
        eprintln!("{place}: {:?}, {} failed, {} problems", verdict.converged, verdict.failed, verdict.problems.len());
        verdict.problems.iter().for_each(|problem| eprintln!("{}", problem.chars().take(3000).collect::<String>()));
        verdict
    }

    /// Kills what is to be killed.
    async fn strike(&mut self, agent: u32, harm: Harm) {
        match harm {
            Harm::Proxy => {
                self.program.kill("proxy");
                signal_pid(agent, Signal::KILL);
            }
            Harm::Power => {
                let proxy = self.program.child("proxy");
                signal_pid(self.program.supervisor(), Signal::KILL);
                signal_pid(agent, Signal::KILL);
                proxy.into_iter().for_each(|pid| signal_pid(pid, Signal::KILL));
                self.program.start();
            }
            Harm::Intact | Harm::Deleted | Harm::CutShort => {
                harm.apply(&self.program.state().join("db"));
                signal_pid(agent, Signal::KILL);
            }
        }
    }

    fn judge(&self, report: &Value, (before, version): (&str, &str), verdict: &mut Verdict, place: &str) {
        verdict.failed = report["failed"].as_u64().unwrap();
        let moment = |version: &str, key: &str| report["versions"][version][key].as_u64();
        if let (Some(last), Some(first)) = (moment(before, "last_unix_ms"), moment(version, "first_unix_ms")) {
            verdict.gap = Duration::from_millis(first.saturating_sub(last));
        }
        let reasons = &report["reasons"];
        if self.strategy.is_proxied() && !verdict.harm.costs_requests() && verdict.failed > 0 {
            let log = self.program.log();
            let told: Vec<&str> = log.lines().filter(|line| line.contains("a request failed")).collect();
            verdict.problems.push(format!("{place}: {} requests failed: {reasons} {told:?}", verdict.failed));
        }
        if verdict.harm == Harm::Proxy && reasons.to_string().contains("connect:") {
            verdict.problems.push(format!("{place}: connections were refused: {reasons}"));
        }
        if verdict.gap > GAP {
            verdict.problems.push(format!("{place}: nothing served for {:?}", verdict.gap));
        }
    }
}

/// What all containers of an app and of its swaps have.
fn label(app: &str, strategy: Strategy) -> String {
    if strategy.is_declared() { format!("label=tagboat.app={app}") } else { format!("label=tagboat.scope={app}") }
}

/// `docker run` as a person would.
fn run(program: &Program, strategy: Strategy, port: u16) {
    let app = program.setup.app;
    let scope = format!("tagboat.scope={app}");
    let publish = format!("127.0.0.1:{port}:8080");
    let image = format!("{}/{app}:latest", program.registry.host());
    let policy = strategy.policy(program.setup.engine.is_some());
    let mut args = vec!["run", "-d", "--name", app, "--restart", policy, "--stop-timeout", "2"];
    args.extend(["--label", "tagboat.enable=true", "--label", "tagboat.keep=1", "--label", &scope]);
    let listen = format!("tagboat.listen=127.0.0.1:{}", program.port);
    match strategy {
        Strategy::Recreate => args.extend(["-p", &publish]),
        Strategy::Routed => {
            let labels = [listen.as_str(), "tagboat.port=8080", "tagboat.health.http=/healthz"];
            labels.iter().for_each(|label| args.extend(["--label", label]));
        }
        _ => {}
    }
    args.push(&image);
    program.docker().must(&args);
}

fn tail(program: &Program) -> String {
    last_lines(&program.log(), 60)
}

fn last_lines(log: &str, count: usize) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
