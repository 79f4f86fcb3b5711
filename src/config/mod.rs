//! File → validated configuration: everything that is wrong with it at once, each with line, key path and a way out.
//!
//! Defaults stand in `config/default.yaml` and nowhere else: a file is laid over it. The file's form is the types in
//! `file`; the schema that people's editors use is generated from them, and a file is held against that same schema.

mod app;
mod app_file;
mod check;
mod convert;
mod errors;
mod file;
mod follow;
mod hooks;
mod jobs;
mod labels;
mod policy;
mod processes;
mod registry;
#[cfg(test)]
mod tests;
mod tree;
mod units;
mod words;

use std::path::{Path, PathBuf};

use secrecy::SecretString;
use serde::Deserialize;
use serde_json::Value;

use crate::http::webhooks::HookReceiver;
use crate::model::{App, Digest, ListenAddr};

pub use errors::{Errors, Problem};

use errors::Report;

/// The defaults, commented.
const DEFAULT: &str = include_str!("../../config/default.yaml");

/// A larger file is no configuration.
const LARGEST: u64 = 1 << 20;

/// A complete, checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where everything is kept.
    pub state_dir: PathBuf,
    /// The container engine.
    pub docker: Docker,
    /// The apps.
    pub apps: Vec<App>,
    /// The API.
    pub api: Api,
    /// Webhooks; `None` without a receiver.
    pub hooks: Option<Hooks>,
    /// Where the metrics page listens.
    pub metrics: ListenAddr,
    /// The log.
    pub log: Log,
    /// Registries by name.
    pub registries: convert::Registries,
    /// Swaps at once.
    pub parallel_swaps: usize,
    /// Containers that no file declares.
    pub adopt: Adopt,
    /// Changes when anything but the apps has changed; a running agent takes over new apps, and starts anew for the
    /// rest.
    pub fingerprint: String,
    /// What is allowed and yet risky.
    pub warnings: Vec<Problem>,
}

/// The container engine.
#[derive(Debug, Clone)]
pub struct Docker {
    /// Its address.
    pub host: Option<String>,
    /// Certificates for TLS.
    pub cert_path: Option<PathBuf>,
}

/// Which containers are adopted.
#[derive(Debug, Clone)]
pub struct Adopt {
    /// Whether any are.
    pub enabled: bool,
    /// All but those whose label says no.
    pub every: bool,
    /// Only those with this scope; empty: only those without one.
    pub scope: String,
    /// Where the proxy listens for them.
    pub listen: Vec<ListenAddr>,
    defaults: file::DefaultsFile,
}

/// The API.
#[derive(Debug, Clone)]
pub struct Api {
    /// Where it listens.
    pub listen: ListenAddr,
    /// What TCP clients must present.
    pub token: Option<SecretString>,
}

/// Webhooks.
#[derive(Debug, Clone)]
pub struct Hooks {
    /// Where they are received.
    pub listen: ListenAddr,
    /// Who receives them; never empty.
    pub receivers: Vec<HookReceiver>,
}

/// The log.
#[derive(Debug, Clone)]
pub struct Log {
    /// JSON lines.
    pub json: bool,
    /// The least level that is shown.
    pub level: String,
}

impl Config {
    /// Reads a file, with the variables of the environment.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn load(path: &Path) -> Result<Self, Errors> {
        let origin = path.display().to_string();
        let unread = |message: String| Errors {
            origin: origin.clone(),
            problems: vec![Problem { at: None, path: String::new(), message }],
        };
        let length = std::fs::metadata(path).map_err(|error| unread(format!("can't be read: {error}")))?.len();
        if length > LARGEST {
            return Err(unread(format!("has {length} bytes; a configuration has at most {LARGEST}")));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unread(format!("can't be read: {error}")))?;
        Self::parse(&text, &origin, &|name| std::env::var(name).ok())
    }

    /// Reads a text; `origin` is what errors call it.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn parse(text: &str, origin: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Errors> {
        let mut report = Report::default();
        let config = read(text, env, &mut report);
        match config {
            Some(config) if report.problems.is_empty() => Ok(config),
            _ => Err(report.into_errors(origin)),
        }
    }

    /// The proxy's listeners, each once.
    pub fn proxy_listeners(&self) -> Vec<ListenAddr> {
        let of_apps = self.apps.iter().flat_map(|app| &app.routes).map(|route| &route.listen);
        let mut listeners: Vec<ListenAddr> = of_apps.chain(&self.adopt.listen).cloned().collect();
        listeners.sort();
        listeners.dedup();
        listeners
    }
}

fn read(text: &str, env: &dyn Fn(&str) -> Option<String>, report: &mut Report) -> Option<Config> {
    let given = tree::read(text, env, report)?;
    if !given.is_object() {
        report.add("", "must be a map with `apps`");
        return None;
    }
    check::check(&schema(), &given, report);
    if !report.problems.is_empty() {
        return None;
    }
    let mut whole = tree::read(DEFAULT, &|_| None, &mut Report::default()).expect("default.yaml is tested");
    tree::merge(&mut whole, given);
    let file = report.take("", file::File::deserialize(&whole))?;
    let config = convert::convert(file, fingerprint(whole), report)?;
    Some(Config { warnings: report.take_warnings(), ..config })
}

fn fingerprint(mut whole: Value) -> String {
    if let Some(map) = whole.as_object_mut() {
        map.remove("apps");
        map.remove("defaults");
    }
    Digest::of(whole.to_string().as_bytes()).to_string()
}

/// The defaults as the commented file they are.
pub fn default_yaml() -> &'static str {
    DEFAULT
}

/// The JSON Schema of the file.
pub fn schema() -> Value {
    schemars::schema_for!(file::File).to_value()
}
