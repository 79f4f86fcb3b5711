//! Apps of a group, workers, processes, and what must never run twice.

use super::*;

#[test]
fn apps_of_a_group_name_it_and_none_that_must_never_run_twice_is_of_one() {
    let app = |more: &str| format!("apps: {{shop: {{image: acme/shop, listen: ':80', {more}}}}}");
    let group = parse(&app("group: front")).unwrap().apps[0].group.clone();
    assert_eq!(group.map(|group| group.to_string()).as_deref(), Some("front"));
    assert_eq!(parse(&app("every: 1m")).unwrap().apps[0].group, None);
    for (more, wanted) in [
        ("group: Front", "apps.shop.group: group name \"Front\" may hold only lower-case"),
        ("group: front, overlap: never", "apps.shop.group: an app that must never run twice"),
        ("group: [a, b]", "apps.shop.group: must be text"),
    ] {
        let told = errors(&app(more));
        assert!(told.contains(wanted), "{more}: {told}");
    }
}

#[test]
fn a_worker_is_reached_by_nothing_and_says_so() {
    let app = |more: &str| format!("apps: {{jobs: {{image: acme/shop, listen: none, {more}}}}}");
    let config = parse(&app("command: work")).unwrap();
    let jobs = &config.apps[0];
    assert!(jobs.is_worker() && jobs.routes.is_empty() && jobs.port.is_none());
    assert!(jobs.strategy_reason.contains("nothing reaches it"), "{}", jobs.strategy_reason);
    assert!(config.proxy_listeners().is_empty());
    for (more, wanted) in [
        ("port: 80", "apps.jobs.port: nothing reaches an app with `listen: none`"),
        ("route: {host: a.b}", "apps.jobs.route: nothing reaches"),
        ("health: {http: /up}", "apps.jobs.health: nothing reaches"),
        ("hooks: {pre_stop: {http: POST /x}}", "apps.jobs.hooks: nothing reaches"),
        ("overlap: never", "apps.jobs.overlap: a worker that must never run twice can't be declared"),
    ] {
        let told = errors(&app(more));
        assert!(told.contains(wanted), "{more}: {told}");
    }
    assert!(errors("apps: {jobs: {image: acme/shop}}").contains("`listen: none`"));
}

#[test]
fn processes_are_apps_of_their_own_in_a_group_with_theirs() {
    let app = |more: &str| {
        format!(
            "apps: {{shop: {{image: acme/shop, listen: ':80', env: {{A: 1, B: 1}}, jobs: {{pre_deploy: migrate}}, \
             volumes: ['data:/data'], processes: {{worker: {{command: bin/jobs, env: {{B: 2}}}}}}, {more}}}}}"
        )
    };
    let config = parse(&app("health: {http: /up}")).unwrap();
    let [shop, worker] = config.apps.as_slice() else { panic!("{:#?}", config.apps) };
    assert_eq!((shop.name.as_str(), worker.name.as_str()), ("shop", "shop-worker"));
    assert_eq!(shop.group.as_ref().map(|group| group.as_str()), Some("shop"));
    assert_eq!((&worker.group, &worker.image, &worker.follow), (&shop.group, &shop.image, &shop.follow));
    assert!(worker.is_worker() && !shop.is_worker());
    assert!(worker.jobs.pre_deploy.is_none() && shop.jobs.pre_deploy.is_some(), "jobs are run once");
    assert_eq!(worker.container.command.as_deref(), Some(["bin/jobs".to_owned()].as_slice()));
    assert_eq!(worker.container.volumes, shop.container.volumes);
    let env = |app: &crate::model::App| app.container.env.0.values().cloned().collect::<Vec<_>>().join(" ");
    assert_eq!((env(shop), env(worker)), ("1 1".to_owned(), "1 2".to_owned()));
    let grouped = parse(&app("group: front")).unwrap();
    assert!(grouped.apps.iter().all(|app| app.group.as_ref().is_some_and(|group| group.as_str() == "front")));
    let same = "apps: {a: {image: a, listen: ':80', processes: {b: {command: x}}}, a-b: {image: b, listen: ':81'}}";
    assert!(errors(same).contains("another app or process is called a-b already"), "{}", errors(same));
    let empty = "apps: {a: {image: a, listen: ':80', processes: {b: {}}}}";
    assert!(errors(empty).contains("apps.a.processes.b: it would do what the app does"), "{}", errors(empty));
}

#[test]
fn what_must_never_run_twice_is_held_and_says_why() {
    let app = |more: &str| format!("apps: {{shop: {{image: acme/shop, listen: ':80', {more}}}}}");
    for (more, wanted, why) in [
        ("every: 1m", Strategy::Proxy, "through the proxy"),
        ("overlap: allowed", Strategy::Proxy, "through the proxy"),
        ("overlap: never", Strategy::Hold, "overlap: never"),
        ("strategy: hold", Strategy::Hold, "strategy: hold"),
        ("strategy: auto, overlap: never", Strategy::Hold, "overlap: never"),
        ("strategy: proxy", Strategy::Proxy, "strategy: proxy"),
    ] {
        let config = parse(&app(more)).unwrap();
        assert_eq!(config.apps[0].strategy, wanted, "{more}");
        assert!(config.apps[0].strategy_reason.contains(why), "{more}: {}", config.apps[0].strategy_reason);
    }
    let said = parse(&app("swap: {hold_wait: 7s, hold_bytes: 1MB}")).unwrap().apps[0].timing.clone();
    let second = std::time::Duration::from_secs(1);
    assert_eq!((said.hold_wait, said.hold_drain, said.hold_bytes), (second * 7, second * 5, 1 << 20));
    assert_eq!(said.hold_requests, 10_000);
    for (more, wanted) in [
        ("strategy: proxy, overlap: never", "apps.shop.strategy: `proxy` runs two versions side by side"),
        ("swap: {hold_wait: 0s}", "apps.shop.swap.hold_wait"),
        ("swap: {hold_requests: 0}", "apps.shop.swap.hold_requests"),
        ("swap: {hold_bytes: much}", "apps.shop.swap.hold_bytes"),
        ("overlap: sometimes", "apps.shop.overlap"),
    ] {
        let told = errors(&app(more));
        assert!(told.contains(wanted), "{more}: {told}");
    }
}
