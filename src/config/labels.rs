//! A container's labels → an app. The keys are those of the file, `tagboat.health.http` for `health: {http: …}`, and
//! the values are read as YAML, as they would be there.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::decide::derive::unfit;
use crate::decide::strategy::{choose, exclusive};
use crate::model::{App, HookAct, Origin, Strategy, label};

use super::app::app;
use super::app_file::AppFile;
use super::errors::Report;
use super::policy::loosened;
use super::{Adopt, check, schema, tree};

const PREFIX: &str = "tagboat.";

/// Keys of an app that a container can't say about itself by labels: they are its own configuration.
const FILE_ONLY: [&str; 2] = ["image", "listen"];

/// Keys that may be given by label, besides those of the file: read elsewhere or by other means.
const OTHERS: [&str; 5] = ["enable", "scope", "strategy", "overlap", "keep_config"];

/// Keys of the file that may be given by label.
const KEYS: [&str; 15] = [
    "every",
    "cron",
    "timezone",
    "follow",
    "production",
    "port",
    "keep",
    "health",
    "swap",
    "redeploy_on",
    "policy",
    "jobs",
    "hooks",
    "watch",
    "group",
];

impl Adopt {
    /// Reads a container's labels; `name` is that of the container that serves.
    ///
    /// # Errors
    /// Everything that is wrong, each naming the label.
    pub fn read(&self, inspected: &Value, name: &str) -> Result<App, Vec<String>> {
        let mut problems = Vec::new();
        let said = |key: &str| inspected["Config"]["Labels"][key].as_str();
        if let Some(other) = said(label::ENABLE).filter(|said| *said != "true") {
            problems.push(format!("label {}: {other:?} must be `true` or `false`", label::ENABLE));
        }
        if let Some(why) = unfit(inspected) {
            problems.push(why.to_owned());
        }
        if self.own.as_deref().is_some_and(|own| inspected["Id"].as_str() == Some(own)) {
            problems.push("it is tagboat itself, which does not swap itself".to_owned());
        }
        let strategy = strategy(inspected, said("tagboat.strategy"), said("tagboat.overlap"))
            .map_err(|problem| problems.push(problem));
        let app = self.app(inspected, name, &mut problems);
        match (app, strategy) {
            (Some(app), Ok((strategy, strategy_reason))) if problems.is_empty() => {
                let origin = Origin::Adopted { container: name.to_owned() };
                Ok(App { origin, strategy, strategy_reason, routes: Vec::new(), ..app })
            }
            _ => Err(problems),
        }
    }

    fn app(&self, inspected: &Value, name: &str, problems: &mut Vec<String>) -> Option<App> {
        let app_name = name.to_ascii_lowercase();
        let mut file = tree_of(&inspected["Config"]["Labels"], problems);
        let has_port = file.contains_key("port");
        if file.contains_key("health") && !has_port {
            problems.push("label tagboat.health: what is probed needs `tagboat.port` as well".to_owned());
        }
        let labels = &inspected["Config"]["Labels"];
        let image = labels[label::IMAGE].as_str().or_else(|| inspected["Config"]["Image"].as_str()).unwrap_or_default();
        if image.is_empty() || image.starts_with("sha256:") {
            problems.push(format!("it was made from {image:?}: run it by a tag, such as `acme/shop:latest`"));
            return None;
        }
        file.insert("image".to_owned(), json!(image));
        file.insert("listen".to_owned(), json!(":1"));
        let document = json!({"apps": {app_name.clone(): file}});
        let mut report = Report::default();
        check::check(&schema(), &document, &mut report);
        let read = if report.problems.is_empty() {
            report.take("", AppFile::deserialize(&document["apps"][&app_name]))
        } else {
            None
        };
        let place = format!("apps.{app_name}");
        let own = read.as_ref().and_then(|read| read.policy.as_ref());
        let defaults = self.defaults.policy.clone().unwrap_or_default();
        for (key, message) in own.map(|own| loosened(own, &defaults)).unwrap_or_default() {
            report.add(&format!("{place}.{key}"), message);
        }
        let made = read.and_then(|read| app(&app_name, read, &self.defaults, &mut report));
        for problem in report.problems {
            let key = problem.path.strip_prefix(&place).unwrap_or(&problem.path).trim_start_matches('.');
            let at = match key {
                "" => String::new(),
                "image" => "its image: ".to_owned(),
                key => format!("label {PREFIX}{key}: "),
            };
            problems.push(format!("{at}{}", problem.message));
        }
        if !has_port && made.as_ref().is_some_and(asks) {
            problems.push("label tagboat.hooks: what is asked by `http` needs `tagboat.port` as well".to_owned());
        }
        made.map(|app| App { port: app.port.filter(|_| has_port), ..app })
    }
}

/// One of its hooks is a request.
fn asks(app: &App) -> bool {
    let hooks = [&app.hooks.post_start, &app.hooks.pre_stop].into_iter().flatten();
    hooks.into_iter().any(|hook| matches!(hook.act, HookAct::Http { .. }))
}

/// The labels as the file would have them.
fn tree_of(labels: &Value, problems: &mut Vec<String>) -> Map<String, Value> {
    let mut file = Map::new();
    let labels = labels.as_object().into_iter().flatten().filter_map(|(name, value)| Some((name, value.as_str()?)));
    for (name, text) in labels {
        let Some(path) = name.strip_prefix(PREFIX) else { continue };
        let key = path.split('.').next().unwrap_or_default();
        if OTHERS.contains(&path) || is_ours(name) {
            continue;
        }
        if FILE_ONLY.contains(&key) || !KEYS.contains(&key) {
            problems.push(unknown(name, key));
            continue;
        }
        let value = tree::read(text, &|_| None, &mut Report::default()).unwrap_or_else(|| json!(text));
        let value = if text.trim().is_empty() { json!("") } else { value };
        if !place(&mut file, path, value) {
            problems.push(format!("label {name}: another label says something else about `{PREFIX}{key}`"));
        }
    }
    file
}

/// Written by tagboat on what it makes.
fn is_ours(name: &str) -> bool {
    [
        label::APP,
        label::GENERATION,
        label::SWAP,
        label::REPLACES,
        label::DIGEST,
        label::SPEC,
        label::OWNER,
        label::RESTART,
        label::IMAGE,
        label::WATCHED,
        label::JOB,
        label::JOB_TIMEOUT,
    ]
    .contains(&name)
}

fn unknown(name: &str, key: &str) -> String {
    let all = KEYS.iter().chain(&OTHERS);
    let near = all.map(|known| (strsim::damerau_levenshtein(known, key), known)).min();
    match near {
        Some((distance, known)) if distance <= 2 => format!("label {name}: unknown; did you mean `{PREFIX}{known}`?"),
        _ => format!("label {name}: not for labels; what the container is made of is changed where it is made"),
    }
}

/// Puts a value at `a.b.c`; false when something else is there.
fn place(map: &mut Map<String, Value>, path: &str, value: Value) -> bool {
    match path.split_once('.') {
        None => map.insert(path.to_owned(), value).is_none(),
        Some((first, rest)) => {
            let inner = map.entry(first).or_insert_with(|| json!({}));
            inner.as_object_mut().is_some_and(|inner| place(inner, rest, value))
        }
    }
}

fn strategy(inspected: &Value, said: Option<&str>, overlap: Option<&str>) -> Result<(Strategy, String), String> {
    let removed = inspected.pointer("/HostConfig/AutoRemove") == Some(&json!(true));
    let never = match overlap {
        None | Some("allowed") => false,
        Some("never") => true,
        Some(other) => return Err(format!("label tagboat.overlap: {other:?} must be `never` or `allowed`")),
    };
    let chosen = match said {
        None | Some("auto") if never => (
            Strategy::Recreate,
            "it must never run twice (`overlap: never`), and no proxy has its requests wait".to_owned(),
        ),
        None | Some("auto") => choose(inspected),
        Some("hold") => {
            let message = "`hold` is for what tagboat's proxy serves: declare the app, or use `recreate`";
            return Err(format!("label tagboat.strategy: {message}"));
        }
        Some("overlap") if never => {
            return Err(
                "label tagboat.strategy: `overlap` contradicts the label tagboat.overlap, which says never".to_owned()
            );
        }
        Some("recreate") => (Strategy::Recreate, "its label says so".to_owned()),
        Some("overlap") => match exclusive(inspected).filter(|why| !why.contains("writes to")) {
            Some(why) => return Err(format!("label tagboat.strategy: `overlap` is not possible, {why}")),
            None => (Strategy::Overlap, "its label says so".to_owned()),
        },
        Some(other) => {
            return Err(format!("label tagboat.strategy: {other:?} must be `auto`, `overlap` or `recreate`"));
        }
    };
    if removed && chosen.0 == Strategy::Recreate {
        return Err(format!(
            "it was started with `--rm`, so it could not be put back if the new version failed ({}); start it without",
            chosen.1
        ));
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::model::{Follow, Probe, Schedule};
    use std::time::Duration;

    fn read(labels: Value, more: Value) -> Result<App, Vec<String>> {
        let config = Config::parse("", "tagboat.yaml", &|_| None).unwrap();
        let mut inspected = json!({"Id": "abc", "Config": {"Image": "acme/shop:1.2", "Labels": labels}});
        inspected.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        config.adopt.read(&inspected, "Shop_1")
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
            config.adopt.read(&json!({"Id": "abc", "Config": {"Image": "acme/shop:1.2", "Labels": labels}}), "shop")
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
    fn a_container_that_names_no_tag_can_t_be_followed() {
        let made = json!({"Config": {"Image": format!("sha256:{}", "1".repeat(64)), "Labels": {}}});
        assert!(read(json!({}), made).unwrap_err()[0].contains("run it by a tag"));
    }
}
