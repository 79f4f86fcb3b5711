//! One app of the file → `model::App`.

use std::collections::BTreeMap;

use crate::decide::schedule::parse_cron;
use crate::decide::strategy::{Said, behind_proxy};
use crate::model::{
    App, AppName, ContainerSpec, Env, HealthcheckSpec, ImageRef, ListenAddr, LogSpec, Origin, Probe, RedeployOn, Route,
    Schedule, Strategy, SwapTiming, Ulimit,
};

use super::app_file::{AppFile, HealthcheckFile, OverlapFile, RouteFile, StrategyFile, SwapFile};
use super::errors::Report;
use super::file::DefaultsFile;
use super::follow::{advise, follow};
use super::jobs::{hooks, jobs, watch};
use super::policy::gates;
use super::units::{duration, period, restart, size};
use super::words::{Scalar, Words};

/// Takes one app; `None` when something essential is wrong, which the report then says.
pub(super) fn app(name: &str, file: AppFile, defaults: &DefaultsFile, report: &mut Report) -> Option<App> {
    let path = format!("apps.{name}");
    let at = |key: &str| format!("{path}.{key}");
    let app_name: Option<AppName> = report.take(&path, name.parse());
    let image: Option<ImageRef> = match &file.image {
        Some(image) => report.take(&at("image"), image.parse()),
        None => {
            report.add(&path, "`image` is missing; an app is at least `image` and `listen`");
            None
        }
    };
    let production = file.production.unwrap_or_default();
    let text = file.image.as_deref().unwrap_or_default();
    let follow = image.as_ref().and_then(|image| follow(image, text, file.follow.as_ref(), &path, report));
    if let Some(follow) = &follow {
        advise(follow, production, &path, report);
    }
    let schedule = schedule(&file, defaults, &path, report);
    let worker = file.listen.as_deref() == Some(NOBODY);
    let routes = if worker { nobody(&file, &path, report) } else { routes(&file, defaults, &path, report) };
    let timing = timing(file.swap.as_ref(), defaults.swap.as_ref(), &at("swap"), report);
    let port = file.port.or(defaults.port).unwrap_or(8080);
    let keep = file.keep.or(defaults.keep).unwrap_or_default();
    let probe = match file.health.as_ref().and_then(|health| health.http.as_ref()) {
        Some(http) if http.starts_with('/') => Probe::Http(http.clone()),
        Some(_) => {
            report.add(&at("health.http"), "must begin with `/`");
            Probe::Tcp
        }
        None => Probe::Tcp,
    };
    let redeploy_on = match file.redeploy_on.as_deref() {
        None | Some("platform") => RedeployOn::Platform,
        Some("index") => RedeployOn::Index,
        Some(_) => {
            report.add(&at("redeploy_on"), "must be one of platform, index");
            RedeployOn::Platform
        }
    };
    let zone = file.timezone.as_deref().or(defaults.timezone.as_deref());
    let strategy = strategy(&file, &at("strategy"), report);
    let replicas = replicas(&file, defaults, strategy.as_ref().map(|(strategy, _)| *strategy), &path, report);
    let gates = gates(file.policy.as_ref(), defaults.policy.as_ref(), zone, &at("policy"), report);
    let jobs = jobs(&file, defaults, &at("jobs"), report);
    let hooks = hooks(&file, defaults, &at("hooks"), report);
    let watch = watch(&file, defaults, &path, report);
    let group = file.group.as_deref().and_then(|group| report.take(&at("group"), group.parse()));
    let container = container(file, defaults, &path, report);
    let (strategy, strategy_reason) = strategy?;
    if group.is_some() && strategy == Strategy::Hold {
        let message = "an app that must never run twice can't be of a group: nothing of it can be tried beside the old \
                       version before the others move; leave `group` or `overlap: never` out";
        report.add(&at("group"), message);
    }
    Some(App {
        name: app_name?,
        image: image?.repository,
        follow: follow?,
        origin: Origin::Declared,
        strategy,
        strategy_reason,
        schedule: schedule?,
        routes,
        port: (!worker).then_some(port),
        container,
        probe,
        replicas,
        timing: timing?,
        keep: keep as usize,
        production,
        redeploy_on,
        jobs: jobs?,
        hooks: hooks?,
        watch: watch?,
        gates: gates?,
        group,
    })
}

fn strategy(file: &AppFile, path: &str, report: &mut Report) -> Option<(Strategy, String)> {
    let said = match file.strategy {
        None | Some(StrategyFile::Auto) => Said::Auto,
        Some(StrategyFile::Proxy) => Said::Proxy,
        Some(StrategyFile::Hold) => Said::Hold,
    };
    let found = report.take(path, behind_proxy(said, file.overlap == Some(OverlapFile::Never)))?;
    if file.listen.as_deref() == Some(NOBODY) && found.0 == Strategy::Proxy {
        let why = "nothing reaches it; the proxy's table says which container of it is in service";
        return Some((Strategy::Proxy, why.to_owned()));
    }
    Some(found)
}

/// What must never run twice has one container, whatever the defaults say.
fn replicas(
    file: &AppFile,
    defaults: &DefaultsFile,
    strategy: Option<Strategy>,
    path: &str,
    report: &mut Report,
) -> u32 {
    let alone = strategy == Some(Strategy::Hold);
    let said = file.replicas.or(defaults.replicas.filter(|_| !alone)).unwrap_or(1);
    if alone && said > 1 {
        let message = "an app that must never run twice (`overlap: never`, `strategy: hold`) has one container; leave \
                       `replicas` out, or allow two versions to run at the same time";
        report.add(&format!("{path}.replicas"), message);
    }
    said
}

fn schedule(file: &AppFile, defaults: &DefaultsFile, path: &str, report: &mut Report) -> Option<Schedule> {
    if let Some(cron) = &file.cron {
        if file.every.is_some() {
            report.add(&format!("{path}.cron"), "an app has `every` or `cron`, not both");
        }
        let zone = file.timezone.as_deref().or(defaults.timezone.as_deref()).unwrap_or("UTC");
        let expression = report.take(&format!("{path}.cron"), parse_cron(cron));
        let unknown = |_| format!("{zone:?} is no time zone; write it like `Europe/Berlin`");
        let zone = report.take(&format!("{path}.timezone"), zone.parse().map_err(unknown));
        return Some(Schedule::Cron { expression: expression?, zone: zone? });
    }
    let every = file.every.as_deref().or(defaults.every.as_deref()).unwrap_or_default();
    report.take(&format!("{path}.every"), period(every)).map(Schedule::Every)
}

/// The `listen` of an app that nothing reaches.
const NOBODY: &str = "none";

/// What only an app can say that is reached is not for a worker.
fn nobody(file: &AppFile, path: &str, report: &mut Report) -> Vec<Route> {
    let hooks = file.hooks.iter().flat_map(|hooks| [&hooks.post_start, &hooks.pre_stop]).flatten();
    let hooks = hooks.into_iter().any(|hook| hook.http.is_some());
    let overlap = file.overlap == Some(OverlapFile::Never) || file.strategy == Some(StrategyFile::Hold);
    for (key, given) in [
        ("route", file.route.is_some()),
        ("routes", !file.routes.is_empty()),
        ("port", file.port.is_some()),
        ("health", file.health.is_some()),
        ("hooks", hooks),
    ] {
        if given {
            report
                .add(&format!("{path}.{key}"), "nothing reaches an app with `listen: none`; leave one of the two out");
        }
    }
    if overlap {
        let message = "a worker that must never run twice can't be declared: run it yourself, with the labels \
                       `tagboat.enable=true` and `tagboat.overlap=never`";
        report.add(&format!("{path}.overlap"), message);
    }
    Vec::new()
}

fn routes(file: &AppFile, defaults: &DefaultsFile, path: &str, report: &mut Report) -> Vec<Route> {
    let mut given: Vec<(String, RouteFile)> =
        file.routes.iter().enumerate().map(|(i, route)| (format!("{path}.routes[{i}]"), route.clone())).collect();
    given.extend(file.route.clone().map(|route| (format!("{path}.route"), route)));
    if given.is_empty() {
        if file.listen.is_none() {
            let message = "the app is reached by nothing: give it `listen: \":80\"` or a `route`, or say so of a worker with \
                           `listen: none`";
            report.add(path, message);
            return Vec::new();
        }
        given.push((format!("{path}.listen"), RouteFile::default()));
    }
    let mut routes = Vec::new();
    for (at, route) in given {
        let listen = route.listen.as_deref().or(file.listen.as_deref()).or(defaults.listen.as_deref());
        let listen: Option<ListenAddr> = report.take(&at, listen.unwrap_or_default().parse());
        let host = route.host.map(|host| host.to_ascii_lowercase());
        if host.as_ref().is_some_and(|host| host.is_empty() || host.contains(['/', ' ', ':', '*'])) {
            report.add(&format!("{at}.host"), "must be a host name alone, such as `shop.example.com`");
        }
        let prefix = route.path.unwrap_or_else(|| "/".to_owned());
        if !prefix.starts_with('/') {
            report.add(&format!("{at}.path"), "must begin with `/`");
        }
        routes.extend(listen.map(|listen| Route { listen, host, path: prefix }));
    }
    routes
}

fn timing(own: Option<&SwapFile>, defaults: Option<&SwapFile>, path: &str, report: &mut Report) -> Option<SwapTiming> {
    let mut time = |key: &str, of: fn(&SwapFile) -> Option<&String>, zero: bool| {
        let text = own.and_then(of).or(defaults.and_then(of)).map(String::as_str).unwrap_or_default();
        report.take(&format!("{path}.{key}"), if zero { duration(text) } else { period(text) })
    };
    let probe_interval = time("probe_interval", |s| s.probe_interval.as_ref(), false);
    let probe_timeout = time("probe_timeout", |s| s.probe_timeout.as_ref(), false);
    let min_healthy = time("min_healthy", |s| s.min_healthy.as_ref(), true);
    let healthy_deadline = time("healthy_deadline", |s| s.healthy_deadline.as_ref(), false);
    let bake = time("bake", |s| s.bake.as_ref(), true);
    let drain = time("drain", |s| s.drain.as_ref(), true);
    let drain_streams = time("drain_streams", |s| s.drain_streams.as_ref(), true);
    let pull_deadline = time("pull_deadline", |s| s.pull_deadline.as_ref(), false);
    let hold_wait = time("hold_wait", |s| s.hold_wait.as_ref(), false);
    let hold_drain = time("hold_drain", |s| s.hold_drain.as_ref(), true);
    let successes = |s: &SwapFile| s.probe_successes;
    let hold_requests = |s: &SwapFile| s.hold_requests;
    let bytes = own.and_then(|s| s.hold_bytes.as_ref()).or(defaults.and_then(|s| s.hold_bytes.as_ref()));
    let hold_bytes = report.take(&format!("{path}.hold_bytes"), size(bytes.map(|b| b.0.as_str()).unwrap_or_default()));
    let timing = SwapTiming {
        probe_interval: probe_interval?,
        probe_timeout: probe_timeout?,
        probe_successes: own.and_then(successes).or(defaults.and_then(successes)).unwrap_or(1),
        min_healthy: min_healthy?,
        healthy_deadline: healthy_deadline?,
        bake: bake?,
        drain: drain?,
        drain_streams: drain_streams?,
        pull_deadline: pull_deadline?,
        hold_wait: hold_wait?,
        hold_drain: hold_drain?,
        hold_requests: own.and_then(hold_requests).or(defaults.and_then(hold_requests)).unwrap_or(1),
        hold_bytes: hold_bytes?,
    };
    if timing.min_healthy >= timing.healthy_deadline {
        report.add(path, "`healthy_deadline` must be longer than `min_healthy`, or no version ever passes");
    }
    Some(timing)
}

fn container(file: AppFile, defaults: &DefaultsFile, path: &str, report: &mut Report) -> ContainerSpec {
    let at = |key: &str| format!("{path}.{key}");
    let texts = |map: BTreeMap<String, Scalar>| map.into_iter().map(|(key, value)| (key, value.0)).collect();
    let resources = file.resources.unwrap_or_default();
    let memory = resources.memory.and_then(|m| report.take(&at("resources.memory"), size(&m.0)));
    let nano_cpus = resources.cpus.and_then(|cpus| nano_cpus(cpus, &at("resources.cpus"), report));
    let policy = file.restart.as_deref().or(defaults.restart.as_deref()).unwrap_or_default();
    let command = file.command.and_then(|words| split(words, &at("command"), report));
    let entrypoint = file.entrypoint.and_then(|words| split(words, &at("entrypoint"), report));
    for volume in file.volumes.iter().filter(|volume| !volume.contains(":/")) {
        report.add(&at("volumes"), format!("{volume:?} must be `name:/path` or `/host/path:/path`"));
    }
    for key in file.labels.keys().filter(|key| key.starts_with("tagboat.")) {
        report.add(&format!("{path}.labels.{key}"), "labels that begin with `tagboat.` are tagboat's own");
    }
    ContainerSpec {
        command,
        entrypoint,
        env: Env(texts(file.env)),
        volumes: file.volumes,
        networks: file.networks,
        user: file.user,
        labels: texts(file.labels),
        memory,
        nano_cpus,
        restart: report.take(&at("restart"), restart(policy)).unwrap_or_default(),
        healthcheck: file.healthcheck.map(|check| healthcheck(check, &at("healthcheck"), report)),
        stop_signal: file.stop_signal,
        stop_timeout: file.stop_timeout.and_then(|t| report.take(&at("stop_timeout"), duration(&t))),
        extra_hosts: file.extra_hosts,
        cap_add: file.cap_add,
        cap_drop: file.cap_drop,
        ulimits: file.ulimits.iter().filter_map(|(name, value)| ulimit(name, &value.0, path, report)).collect(),
        sysctls: texts(file.sysctls),
        log: file.log.map(|log| LogSpec {
            driver: log.driver.unwrap_or_else(|| "json-file".to_owned()),
            options: texts(log.options),
        }),
        read_only: file.read_only.unwrap_or_default(),
        tmpfs: file.tmpfs,
        devices: file.devices,
        init: file.init,
        hostname: file.hostname,
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the range was checked")]
fn nano_cpus(cpus: f64, path: &str, report: &mut Report) -> Option<u64> {
    if cpus > 0.0 && cpus <= 10_000.0 {
        return Some((cpus * 1e9) as u64);
    }
    report.add(path, "must be more than 0, such as `0.5`");
    None
}

pub(super) fn split(words: Words, path: &str, report: &mut Report) -> Option<Vec<String>> {
    match words {
        Words::List(list) => Some(list),
        Words::Text(text) => {
            let open = || format!("{text:?} has a quote that is not closed");
            report.take(path, shlex::split(&text).ok_or_else(open))
        }
    }
}

fn healthcheck(file: HealthcheckFile, path: &str, report: &mut Report) -> HealthcheckSpec {
    let mut time =
        |key: &str, text: Option<String>| text.and_then(|text| report.take(&format!("{path}.{key}"), period(&text)));
    let test = match file.test {
        _ if file.disable == Some(true) => Some(vec!["NONE".to_owned()]),
        Some(Words::Text(text)) => Some(vec!["CMD-SHELL".to_owned(), text]),
        Some(Words::List(list)) if list.first().is_some_and(|w| w == "CMD" || w == "CMD-SHELL" || w == "NONE") => {
            Some(list)
        }
        Some(Words::List(list)) => Some([vec!["CMD".to_owned()], list].concat()),
        None => None,
    };
    HealthcheckSpec {
        test,
        interval: time("interval", file.interval),
        timeout: time("timeout", file.timeout),
        start_period: time("start_period", file.start_period),
        retries: file.retries,
    }
}

fn ulimit(name: &str, text: &str, path: &str, report: &mut Report) -> Option<Ulimit> {
    let (soft, hard) = text.split_once(':').unwrap_or((text, text));
    let wrong = |_| "must be a number, or `soft:hard`".to_owned();
    let at = format!("{path}.ulimits.{name}");
    let soft = report.take(&at, soft.parse().map_err(wrong))?;
    let hard = report.take(&at, hard.parse().map_err(wrong))?;
    Some(Ulimit { name: name.to_owned(), soft, hard })
}
