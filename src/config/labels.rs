//! A container's labels → an app. The keys are those of the file, `tagboat.health.http` for `health: {http: …}`, and
//! the values are read as YAML, as they would be there.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::decide::derive::unfit;
use crate::decide::strategy::{choose, exclusive, of_ourselves};
use crate::model::{App, HookAct, Origin, Route, Strategy, label};

use super::app::app;
use super::app_file::AppFile;
use super::errors::Report;
use super::policy::loosened;
use super::{Adopt, check, schema, tree};

const PREFIX: &str = "tagboat.";

/// Keys of an app that a container can't say about itself by labels: they are its own configuration.
const FILE_ONLY: [&str; 1] = ["image"];

/// Keys that may be given by label, besides those of the file: read elsewhere or by other means.
const OTHERS: [&str; 6] = ["enable", "scope", "strategy", "overlap", "keep_config", "network"];

/// Keys of the file that may be given by label.
const KEYS: [&str; 17] = [
    "listen",
    "route",
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
    /// Reads a container's labels; `name` is that of the container that serves, `own` says that tagboat runs in it.
    ///
    /// # Errors
    /// Everything that is wrong, each naming the label.
    pub fn read(&self, inspected: &Value, name: &str, own: bool) -> Result<App, Vec<String>> {
        let mut problems = Vec::new();
        let said = |key: &str| inspected["Config"]["Labels"][key].as_str();
        if let Some(other) = said(label::ENABLE).filter(|said| *said != "true") {
            problems.push(format!("label {}: {other:?} must be `true` or `false`", label::ENABLE));
        }
        if let Some(why) = unfit(inspected) {
            problems.push(why.to_owned());
        }
        let strategy = match own {
            true => ours(inspected, said("tagboat.strategy"), said("tagboat.overlap")),
            false => strategy(inspected, said("tagboat.strategy"), said("tagboat.overlap")),
        };
        let strategy = strategy.map_err(|problem| problems.push(problem));
        let app = self.app(inspected, name, &mut problems);
        if own && app.as_ref().is_some_and(|app| !app.routes.is_empty()) {
            problems.push(
                "label tagboat.listen: tagboat runs in it, and its proxy can't be before itself; leave it out".into(),
            );
        }
        match (app, strategy) {
            (Some(app), Ok((strategy, strategy_reason))) if problems.is_empty() => {
                let origin = Origin::Adopted { container: name.to_owned() };
                Ok(App { origin, strategy, strategy_reason, replicas: 1, ..app })
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
        let routed = ["listen", "route"].iter().any(|key| file.contains_key(*key));
        if !routed {
            // Nothing in the file's form is reached by nothing.
            file.insert("listen".to_owned(), json!(":1"));
        }
        let network = network(inspected, routed, problems);
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
        let mut app = App { port: made.as_ref()?.port.filter(|_| has_port), ..made? };
        if routed {
            self.is_reachable(&app, problems);
        } else {
            app.routes.clear();
        }
        app.container.networks.extend(network);
        Some(app)
    }

    /// Only where the supervisor has opened a socket can there be requests.
    fn is_reachable(&self, app: &App, problems: &mut Vec<String>) {
        if app.port.is_none() {
            problems.push("label tagboat.listen: where the requests go needs `tagboat.port` as well".to_owned());
        }
        for Route { listen, .. } in app.routes.iter().filter(|route| !self.listen.contains(&route.listen)) {
            problems.push(format!(
                "label tagboat.listen: the proxy does not listen on {listen} for adopted containers; say so in the \
                 configuration: `adopt: {{listen: [\"{listen}\"]}}`"
            ));
        }
    }
}

/// The network by which the proxy reaches it: the one that its label names, else its first.
fn network(inspected: &Value, routed: bool, problems: &mut Vec<String>) -> Option<String> {
    const LABEL: &str = "tagboat.network";
    let said = inspected["Config"]["Labels"][LABEL].as_str();
    if !routed {
        if said.is_some() {
            problems
                .push(format!("label {LABEL}: only the proxy needs it, which `tagboat.listen` puts before the app"));
        }
        return None;
    }
    let mode = inspected["HostConfig"]["NetworkMode"].as_str().unwrap_or_default();
    if mode == "host" || mode == "none" || mode.starts_with("container:") {
        problems.push(format!("label tagboat.listen: it has no address of its own (network {mode:?})"));
        return None;
    }
    let attached = inspected["NetworkSettings"]["Networks"].as_object();
    let names: Vec<&str> = attached.into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    match said {
        Some(said) if !names.contains(&said) => {
            problems.push(format!("label {LABEL}: it is not in network {said}, but in {}", names.join(", ")));
            None
        }
        Some(said) => Some(said.to_owned()),
        None => Some(if mode == "default" { "bridge" } else { mode }.to_owned()),
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
        label::REPLICA,
        label::JOB,
        label::JOB_TIMEOUT,
        label::RELIEF,
    ]
    .contains(&name)
}

fn unknown(name: &str, key: &str) -> String {
    if key == "replicas" {
        return format!(
            "label {name}: a container that is adopted is one; declare the app in the file to have several"
        );
    }
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

/// The container that tagboat runs in: the next one takes over from it, or is started in its place.
fn ours(inspected: &Value, said: Option<&str>, overlap: Option<&str>) -> Result<(Strategy, String), String> {
    let (strategy, why) = of_ourselves(inspected);
    match (said, overlap) {
        (_, Some(_)) if overlap != Some("allowed") => {
            let why = "tagboat runs in it, and knows whether the next one can run beside it; leave the label out";
            return Err(format!("label tagboat.overlap: {why}"));
        }
        (Some("overlap"), _) if strategy == Strategy::Recreate => {
            return Err(format!("label tagboat.strategy: `overlap` is not possible, {why}; leave the label out"));
        }
        (None | Some("auto" | "overlap"), _) => {}
        (Some("recreate"), _) if strategy == Strategy::Recreate => {}
        (Some(other), _) => {
            return Err(format!(
                "label tagboat.strategy: tagboat runs in it, and {other:?} would end it in the middle; leave the label out"
            ));
        }
    }
    kept_when_stopped(inspected, strategy, &why)?;
    Ok((strategy, why))
}

/// One that was started with `--rm` is gone once it is stopped.
fn kept_when_stopped(inspected: &Value, strategy: Strategy, why: &str) -> Result<(), String> {
    if strategy != Strategy::Recreate || inspected.pointer("/HostConfig/AutoRemove") != Some(&json!(true)) {
        return Ok(());
    }
    Err(format!(
        "it was started with `--rm`, so it could not be put back if the new version failed ({why}); start it without"
    ))
}

fn strategy(inspected: &Value, said: Option<&str>, overlap: Option<&str>) -> Result<(Strategy, String), String> {
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
    kept_when_stopped(inspected, chosen.0, &chosen.1)?;
    Ok(chosen)
}

#[cfg(test)]
mod tests;
