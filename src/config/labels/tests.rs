use super::*;
use crate::config::Config;
use crate::model::{Follow, Probe, Schedule};
use std::time::Duration;

fn read(labels: Value, more: Value) -> Result<App, Vec<String>> {
    let config = Config::parse("", "tagboat.yaml", &|_| None).unwrap();
    let mut inspected = json!({"Id": "abc", "Config": {"Image": "acme/shop:1.2", "Labels": labels}});
    inspected.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
    config.adopt.read(&inspected, "Shop_1", false)
}

#[test]
fn labels_say_what_the_file_would() {
    let labels = json!({"tagboat.enable": "true", "tagboat.every": "30s", "tagboat.port": "3000",
        "tagboat.health.http": "/up", "tagboat.swap.min_healthy": "1s", "tagboat.keep": "5", "other": "x"});
    let app = read(labels, json!({})).unwrap();
    assert_eq!((app.name.as_str(), app.port, app.keep), ("shop_1", Some(3000), 5));
    assert_eq!(app.origin, Origin::Adopted { container: "Shop_1".to_owned() });
    assert_eq!((app.probe, app.schedule), (Probe::Http("/up".into()), Schedule::Every(Duration::from_secs(30))));
    assert_eq!((app.timing.min_healthy, app.strategy), (Duration::from_secs(1), Strategy::Overlap));
    assert_eq!(app.follow, Follow::Tag("1.2".parse().unwrap()));
    assert_eq!(read(json!({"tagboat.enable": "true"}), json!({})).unwrap().port, None);
}

#[test]
fn every_wrong_label_is_named_with_the_way_out() {
    for (label, labels, more, wanted) in [
        (
            "a typo",
            json!({"tagboat.evry": "30s"}),
            json!({}),
            "label tagboat.evry: unknown; did you mean `tagboat.every`?",
        ),
        ("a bad value", json!({"tagboat.every": "soon"}), json!({}), "label tagboat.every: "),
        ("a bad type", json!({"tagboat.port": "web"}), json!({}), "label tagboat.port: "),
        ("not yes", json!({"tagboat.enable": "yes"}), json!({}), "label tagboat.enable: \"yes\" must be"),
        ("the container's own", json!({"tagboat.env.A": "1"}), json!({}), "label tagboat.env.A: not for labels"),
        ("nested typo", json!({"tagboat.swap.bke": "1s"}), json!({}), "label tagboat.swap.bke: "),
        ("hold without a proxy", json!({"tagboat.strategy": "hold"}), json!({}), "tagboat's proxy serves"),
        (
            "a contradiction",
            json!({"tagboat.strategy": "overlap", "tagboat.overlap": "never"}),
            json!({}),
            "which says never",
        ),
        ("no such overlap", json!({"tagboat.overlap": "sometimes"}), json!({}), "label tagboat.overlap"),
        ("no such strategy", json!({"tagboat.strategy": "magic"}), json!({}), "label tagboat.strategy: \"magic\""),
        (
            "impossible strategy",
            json!({"tagboat.strategy": "overlap"}),
            json!({"HostConfig": {"NetworkMode": "host"}}),
            "`overlap` is not possible, it uses the host's network",
        ),
        ("--rm", json!({}), json!({"HostConfig": {"NetworkMode": "host", "AutoRemove": true}}), "`--rm`"),
        ("probed nowhere", json!({"tagboat.health.http": "/up"}), json!({}), "`tagboat.port`"),
        ("two at once", json!({"tagboat.health": "x", "tagboat.health.http": "/"}), json!({}), "another label"),
    ] {
        let problems = read(labels, more).unwrap_err();
        assert!(problems.iter().any(|problem| problem.contains(wanted)), "{label}: {problems:#?}");
    }
}

#[test]
fn an_image_can_ask_for_more_than_the_defaults_and_never_for_less() {
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/cosign/p256.pub");
    let strict = format!(
        "defaults: {{policy: {{soak: 10m, approve: true, window: '09:00-17:00', verify: {{cosign: [{key}]}}}}}}"
    );
    let adopt = |file: &str, labels: Value| {
        let config = Config::parse(file, "tagboat.yaml", &|_| None).unwrap();
        config.adopt.read(&json!({"Id": "abc", "Config": {"Image": "acme/shop:1.2", "Labels": labels}}), "shop", false)
    };
    let app = adopt(
        "",
        json!({"tagboat.policy.soak": "10m", "tagboat.policy.window": "Mon-Fri 09:00-17:00",
        "tagboat.policy.approve": "true", "tagboat.policy.verify.cosign.keys": format!("[{key}]")}),
    );
    let gates = app.unwrap().gates;
    assert_eq!((gates.soak, gates.approve, gates.windows.len()), (Duration::from_secs(600), true, 1));
    assert_eq!(gates.signatures.unwrap().keys.len(), 1);
    assert_eq!(adopt(&strict, json!({"tagboat.policy.soak": "1h"})).unwrap().gates.soak, Duration::from_secs(3600));
    for (label, value) in [
        ("tagboat.policy.soak", "1m"),
        ("tagboat.policy.approve", "false"),
        ("tagboat.policy.window", "always"),
        ("tagboat.policy.verify", "none"),
        ("tagboat.policy.scan", "none"),
        ("tagboat.policy.scan.exec.command", "[sh]"),
        ("tagboat.policy.soak", "soon"),
    ] {
        let problems = adopt(&strict, json!({label: value})).unwrap_err();
        let named = label.trim_end_matches(".exec.command");
        assert!(problems.iter().any(|problem| problem.contains(named)), "{label}: {problems:#?}");
    }
}

#[test]
fn jobs_hooks_and_the_watch_can_be_said_by_label() {
    let app = read(
        json!({"tagboat.jobs.pre_deploy": "bin/migrate --all", "tagboat.jobs.post_deploy.command": "[bin/warm]",
            "tagboat.jobs.post_deploy.timeout": "90s", "tagboat.hooks.pre_stop.exec": "bin/leave", "tagboat.watch": "0s",
            "tagboat.job": "not a person's", "tagboat.watched": "true"}),
        json!({}),
    );
    let app = app.unwrap();
    let (pre, post) = (app.jobs.pre_deploy.unwrap(), app.jobs.post_deploy.unwrap());
    assert_eq!((pre.command, pre.timeout), (vec!["bin/migrate".into(), "--all".into()], Duration::from_secs(600)));
    assert_eq!((post.command, post.timeout), (vec!["bin/warm".into()], Duration::from_secs(90)));
    assert_eq!(app.hooks.pre_stop.unwrap().act, HookAct::Exec(vec!["bin/leave".into()]));
    assert_eq!(app.watch, Duration::ZERO);
    let told = read(json!({"tagboat.hooks.post_start.http": "POST /warm"}), json!({})).unwrap_err();
    assert!(told[0].contains("needs `tagboat.port`"), "{told:#?}");
}

#[test]
fn our_own_container_is_taken_over_from_and_nothing_else() {
    let config = Config::parse("", "tagboat.yaml", &|_| None).unwrap();
    let read = |labels: Value, host: Value| {
        let inspected = json!({"Config": {"Image": "acme/tagboat:1", "Labels": labels}, "HostConfig": host,
            "Mounts": [{"Type": "volume", "RW": true, "Source": "/v", "Destination": "/var/lib/tagboat"}]});
        config.adopt.read(&inspected, "tagboat", true)
    };
    let host = json!({"NetworkMode": "host"});
    assert_eq!(read(json!({}), host.clone()).unwrap().strategy, Strategy::Overlap);
    assert_eq!(read(json!({}), json!({"NetworkMode": "bridge"})).unwrap().strategy, Strategy::Overlap);
    let published = json!({"PortBindings": {"80/tcp": [{"HostPort": "80"}]}});
    for labels in [json!({}), json!({"tagboat.strategy": "recreate"}), json!({"tagboat.overlap": "allowed"})] {
        let app = read(labels, published.clone()).unwrap();
        assert_eq!(app.strategy, Strategy::Recreate);
        assert!(app.strategy_reason.contains("it publishes port 80"), "{}", app.strategy_reason);
        assert!(app.strategy_reason.contains("a relief container"), "{}", app.strategy_reason);
    }
    let gone = json!({"PortBindings": {"80/tcp": [{"HostPort": "80"}]}, "AutoRemove": true});
    for (labels, host, wanted) in [
        (json!({}), gone, "it was started with `--rm`"),
        (json!({"tagboat.strategy": "overlap"}), published, "label tagboat.strategy: `overlap` is not possible"),
        (json!({"tagboat.strategy": "recreate"}), host.clone(), "label tagboat.strategy: tagboat runs in it"),
        (json!({"tagboat.overlap": "never"}), host, "label tagboat.overlap: tagboat runs in it"),
        (json!({"tagboat.listen": ":80", "tagboat.port": "80"}), json!({}), "label tagboat.listen: tagboat runs in it"),
    ] {
        let problems = read(labels, host).unwrap_err();
        assert!(problems.iter().any(|problem| problem.contains(wanted)), "{problems:#?}");
    }
}

#[test]
fn a_container_that_names_no_tag_can_t_be_followed() {
    let made = json!({"Config": {"Image": format!("sha256:{}", "1".repeat(64)), "Labels": {}}});
    assert!(read(json!({}), made).unwrap_err()[0].contains("run it by a tag"));
}

#[test]
fn requests_come_through_the_proxy_where_the_file_has_it_listen() {
    let config = Config::parse("adopt: {listen: [':80']}\n", "x", &|_| None).unwrap();
    assert_eq!(config.proxy_listeners(), [":80".parse().unwrap()]);
    let read = |labels: Value, mode: &str| {
        let inspected = json!({
            "Id": "abc", "Config": {"Image": "acme/shop:1.2", "Labels": labels}, "HostConfig": {"NetworkMode": mode},
            "NetworkSettings": {"Networks": {"front": {}, "back": {}}},
        });
        config.adopt.read(&inspected, "shop", false)
    };
    let labels = json!({"tagboat.listen": ":80", "tagboat.route.host": "Shop.example", "tagboat.port": "3000"});
    let app = read(labels, "front").unwrap();
    let [route] = app.routes.as_slice() else { panic!("{:?}", app.routes) };
    assert_eq!((route.host.as_deref(), route.path.as_str(), app.port), (Some("shop.example"), "/", Some(3000)));
    assert_eq!((app.container.networks.as_slice(), app.strategy), (["front".to_owned()].as_slice(), Strategy::Overlap));
    let back = json!({"tagboat.listen": ":80", "tagboat.port": "3000", "tagboat.network": "back"});
    assert_eq!(read(back, "front").unwrap().container.networks, ["back"]);
    assert!(read(json!({"tagboat.port": "3000"}), "front").unwrap().routes.is_empty());
    for (labels, mode, wanted) in [
        (json!({"tagboat.listen": ":81", "tagboat.port": "1"}), "front", "`adopt: {listen: [\":81\"]}`"),
        (json!({"tagboat.listen": ":80"}), "front", "needs `tagboat.port`"),
        (json!({"tagboat.listen": "none", "tagboat.port": "1"}), "front", "label tagboat.port: nothing reaches"),
        (
            json!({"tagboat.route.path": "shop", "tagboat.listen": ":80", "tagboat.port": "1"}),
            "front",
            "tagboat.route.path",
        ),
        (json!({"tagboat.listen": ":80", "tagboat.port": "1"}), "host", "no address of its own"),
        (json!({"tagboat.listen": ":80", "tagboat.port": "1"}), "container:abc", "no address of its own"),
        (
            json!({"tagboat.listen": ":80", "tagboat.port": "1", "tagboat.network": "x"}),
            "front",
            "not in network x, but in",
        ),
        (json!({"tagboat.network": "front"}), "front", "label tagboat.network: only the proxy needs it"),
    ] {
        let problems = read(labels, mode).unwrap_err();
        assert!(problems.iter().any(|problem| problem.contains(wanted)), "{wanted}: {problems:#?}");
    }
}
