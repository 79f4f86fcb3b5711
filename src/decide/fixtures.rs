//! Values for the tests of this room and of those above.

use std::time::Duration;

use crate::model::{
    App, Container, ContainerId, ContainerSpec, ContainerState, Digest, Follow, Gates, Generation, Hooks, Jobs, Origin,
    Owned, Probe, RedeployOn, Route, Schedule, Strategy, SwapId, SwapTiming, Time,
};

/// An app with nothing special about it.
pub fn app(name: &str) -> App {
    App {
        name: name.parse().expect("a valid name"),
        image: "registry.test/acme/shop".parse().expect("a valid repository"),
        follow: Follow::Tag("latest".parse().expect("a valid tag")),
        origin: Origin::Declared,
        strategy: Strategy::Proxy,
        strategy_reason: String::new(),
        schedule: Schedule::Every(Duration::from_secs(60)),
        routes: vec![Route { listen: ":80".parse().expect("a valid address"), host: None, path: "/".to_owned() }],
        port: Some(8080),
        container: ContainerSpec::default(),
        probe: Probe::Tcp,
        replicas: 1,
        timing: SwapTiming {
            probe_interval: Duration::from_millis(500),
            probe_timeout: Duration::from_secs(2),
            probe_successes: 3,
            min_healthy: Duration::from_secs(5),
            healthy_deadline: Duration::from_secs(120),
            bake: Duration::from_secs(10),
            drain: Duration::from_secs(30),
            drain_streams: Duration::from_secs(300),
            pull_deadline: Duration::from_secs(600),
            hold_wait: Duration::from_secs(20),
            hold_drain: Duration::from_secs(5),
            hold_requests: 10_000,
            hold_bytes: 64 << 20,
        },
        keep: 3,
        production: false,
        redeploy_on: RedeployOn::Platform,
        jobs: Jobs::default(),
        hooks: Hooks::default(),
        watch: Duration::from_secs(600),
        gates: Gates::default(),
        group: None,
    }
}

/// A container in a state, made and started then.
pub fn running(name: &str, generation: u64, digest: &Digest, state: ContainerState, made: Time) -> Container {
    let base = container(name, generation, 0);
    Container {
        owned: Owned { digest: digest.clone(), spec: "spec".to_owned(), ..base.owned },
        state,
        created: made,
        started: Some(made),
        restart_policy: "unless-stopped".to_owned(),
        image_id: String::new(),
        ..base
    }
}

/// A stopped container of app `shop` that runs `Digest::of(&[version])` from the image `image-VERSION`.
pub fn container(name: &str, generation: u64, version: u8) -> Container {
    Container {
        id: ContainerId(format!("id-{name}")),
        name: name.to_owned(),
        owned: Owned {
            app: "shop".parse().expect("a valid name"),
            generation: Generation(generation),
            swap: SwapId(format!("swap-{generation}")),
            replaces: None,
            digest: Digest::of(&[version]),
            spec: String::new(),
            restart: None,
            watched: false,
            replica: None,
        },
        state: ContainerState::Exited,
        health: None,
        health_output: String::new(),
        restart_count: 0,
        exit_code: 0,
        oom_killed: false,
        created: Time::UNIX_EPOCH,
        started: None,
        finished: None,
        restart_policy: "no".to_owned(),
        image_id: format!("image-{version}"),
        addresses: std::collections::BTreeMap::new(),
    }
}
