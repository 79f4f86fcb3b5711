//! Values as the API has them.

use super::*;

/// A fixed moment.
pub(crate) fn at(seconds: i64) -> Time {
    chrono::Utc.timestamp_opt(1_790_000_000 + seconds, 0).unwrap()
}

pub(crate) fn digest(of: char) -> Digest {
    format!("sha256:{}", of.to_string().repeat(64)).parse().unwrap()
}

pub(crate) fn failure() -> Failure {
    Failure {
        stage: Stage::Gate,
        reason: FailureReason::Exited,
        message: "exited with code 3 after 0.4 s".into(),
        log_tail: vec!["starting".into(), "<b>panic</b>: no database & no hope".into()],
    }
}

pub(crate) fn app(name: &str) -> App {
    let second = Duration::from_secs(1);
    App {
        origin: Origin::Declared,
        strategy: Strategy::Proxy,
        strategy_reason: String::new(),
        name: name.parse().unwrap(),
        image: format!("ghcr.io/acme/{name}").parse().unwrap(),
        follow: Follow::Tag("latest".parse().unwrap()),
        schedule: Schedule::Every(second),
        routes: vec![Route { listen: ":80".parse().unwrap(), host: None, path: "/".into() }],
        port: Some(8080),
        container: ContainerSpec::default(),
        probe: Probe::Tcp,
        replicas: 1,
        timing: SwapTiming {
            probe_interval: second,
            probe_timeout: second,
            probe_successes: 3,
            min_healthy: second,
            healthy_deadline: second,
            bake: second,
            drain: second,
            drain_streams: second,
            pull_deadline: second,
            hold_wait: second,
            hold_drain: second,
            hold_requests: 1,
            hold_bytes: 1,
        },
        keep: 3,
        production: false,
        redeploy_on: RedeployOn::Platform,
        jobs: crate::model::Jobs::default(),
        hooks: crate::model::Hooks::default(),
        watch: second,
        gates: crate::model::Gates::default(),
        group: (name == "blog").then(|| "front".parse().unwrap()),
    }
}

pub(crate) fn status(name: &str) -> AppStatus {
    let deployed = Deployed {
        digest: digest('a'),
        generation: Generation(6),
        container: format!("{name}-6"),
        since: at(-260_000),
        state: "running".into(),
        replicas: None,
    };
    AppStatus {
        app: name.parse().unwrap(),
        strategy: "proxy".into(),
        strategy_reason: String::new(),
        group: None,
        state: AppState::UpToDate,
        image: format!("ghcr.io/acme/{name}:latest"),
        follows: "tag latest".into(),
        tag: Some("latest".parse().unwrap()),
        routes: app(name).routes,
        deployed: Some(deployed),
        newest: Some(digest('a')),
        newest_seen: Some(at(-260_030)),
        hold: None,
        deploying: None,
        last_check: Some((at(-12), CheckResult::Unchanged)),
        last_successful_check: Some(at(-12)),
        next_check: Some(at(48)),
        pin: None,
        quarantined: vec![],
        approval: None,
    }
}

/// Something newer is quarantined.
pub(crate) fn held(name: &str) -> AppStatus {
    let quarantine = Quarantine {
        digest: digest('b'),
        at: at(-600),
        failure: failure(),
        spec: None,
        swap: Some(SwapId("s7".into())),
    };
    AppStatus {
        state: AppState::Held,
        newest: Some(digest('b')),
        newest_seen: Some(at(-640)),
        hold: Some(Hold::Quarantined { digest: digest('b'), failure: failure() }),
        last_check: Some((at(-40), CheckResult::Changed)),
        quarantined: vec![quarantine],
        ..status(name)
    }
}

pub(crate) fn deployment(id: &str, result: DeploymentResult) -> Deployment {
    let step = |stage, millis| StepRecord {
        stage,
        started: at(-700),
        millis: Some(millis),
        note: String::new(),
        output: Vec::new(),
    };
    Deployment {
        id: SwapId(id.into()),
        generation: Generation(7),
        digest: digest('b'),
        previous: Some(digest('a')),
        source: SeenSource::Webhook,
        reason: "tag moved".into(),
        strategy: "proxy".into(),
        started: at(-700),
        finished: Some(at(-693)),
        result,
        steps: vec![step(Stage::Pull, 2100), step(Stage::Create, 80), step(Stage::Gate, 4300)],
        group: None,
    }
}
