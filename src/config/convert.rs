//! The whole file → `Config`: what no schema can say.

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;

use secrecy::SecretString;

use crate::model::{App, ListenAddr, Route};
use crate::registry::RegistryConfig;

use super::app::app;
use super::errors::Report;
use super::file::{AdoptFile, DefaultsFile, File};
use super::hooks::hooks;
use super::processes::expanded;
use super::registry::registry;
use super::{Adopt, Api, Config, Docker, Log};

/// Takes a file that fits the schema.
pub(super) fn convert(file: File, fingerprint: String, report: &mut Report) -> Option<Config> {
    let defaults = file.defaults.unwrap_or_default();
    let listen = |path: &str, text: Option<String>, report: &mut Report| -> Option<ListenAddr> {
        report.take(path, text.unwrap_or_default().parse())
    };
    let apps = expanded(file.apps, report);
    let apps: Vec<App> = apps.into_iter().filter_map(|(name, one)| app(&name, one, &defaults, report)).collect();
    distinct_routes(&apps, report);
    let api = file.api.unwrap_or_default();
    let token = secret("api", "token", api.token, api.token_file, report);
    let api = listen("api.listen", api.listen, report).map(|listen| Api { listen, token });
    let hooks = hooks(file.hooks.unwrap_or_default(), report);
    let metrics = listen("metrics.listen", file.metrics.unwrap_or_default().listen, report);
    let log = file.log.unwrap_or_default();
    let json = one_of("log.format", log.format.as_deref(), &["text", "json"], report) == Some("json");
    let level = one_of("log.level", log.level.as_deref(), &["error", "warn", "info", "debug", "trace"], report);
    let level = level.unwrap_or("info").to_owned();
    let registries = file.registries.into_iter();
    let registries = registries.map(|(name, one)| (name.clone(), registry(&name, one, report))).collect();
    let docker = file.docker.unwrap_or_default();
    let adopt = adopt(file.adopt.unwrap_or_default(), defaults, report);
    Some(Config {
        state_dir: PathBuf::from(file.state_dir.unwrap_or_default()),
        docker: Docker { host: docker.host, cert_path: docker.cert_path.map(PathBuf::from) },
        apps,
        api: api?,
        hooks,
        metrics: metrics?,
        log: Log { json, level },
        registries,
        parallel_swaps: file.parallel_swaps.unwrap_or(1) as usize,
        adopt,
        fingerprint,
        warnings: Vec::new(),
    })
}

fn adopt(file: AdoptFile, defaults: DefaultsFile, report: &mut Report) -> Adopt {
    let read = |(index, text): (usize, String)| report.take(&format!("adopt.listen[{index}]"), text.parse());
    Adopt {
        listen: file.listen.into_iter().enumerate().filter_map(read).collect(),
        enabled: file.enabled.unwrap_or_default(),
        every: file.watch_all.unwrap_or_default(),
        scope: file.scope.unwrap_or_default(),
        defaults,
    }
}

/// Two apps at the same address would each get some other's requests.
fn distinct_routes(apps: &[App], report: &mut Report) {
    let mut taken: HashMap<&Route, &App> = HashMap::new();
    for app in apps {
        for route in &app.routes {
            if let Some(other) = taken.insert(route, app) {
                let host = route.host.as_deref().unwrap_or("every host");
                let message = format!(
                    "{} {host} {} is app {}'s already; tell them apart by `route.host` or `route.path`",
                    route.listen, route.path, other.name
                );
                report.add(&format!("apps.{}", app.name), message);
            }
        }
    }
}

/// A secret given here or in a file; an empty one is an error, because anyone knows it.
pub(super) fn secret(
    path: &str,
    key: &str,
    text: Option<String>,
    file: Option<String>,
    report: &mut Report,
) -> Option<SecretString> {
    let (at, text) = match (text, file) {
        (Some(_), Some(_)) => {
            report.add(&format!("{path}.{key}"), format!("give `{key}` or `{key}_file`, not both"));
            return None;
        }
        (Some(text), None) => (format!("{path}.{key}"), text),
        (None, Some(file)) => {
            let at = format!("{path}.{key}_file");
            let unread = |error: std::io::Error| format!("{file} can't be read: {error}");
            let read = report.take(&at, std::fs::read_to_string(&file).map_err(unread))?;
            (at, read.trim_end_matches(['\r', '\n']).to_owned())
        }
        (None, None) => return None,
    };
    if text.trim().is_empty() {
        report.add(&at, "must not be empty");
        return None;
    }
    Some(SecretString::from(text))
}

fn one_of<'a>(path: &str, text: Option<&str>, allowed: &[&'a str], report: &mut Report) -> Option<&'a str> {
    let found = text.and_then(|text| allowed.iter().find(|name| **name == text));
    if found.is_none() {
        report.add(path, format!("must be one of {}", allowed.join(", ")));
    }
    found.copied()
}

/// The registries' settings by name.
pub(super) type Registries = BTreeMap<String, RegistryConfig>;
