//! `tagboat doctor`: looks at everything that tagboat needs, and says of each whether it is there and what to do.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use crate::config::Config;
use crate::decide::platform::runs_on;
use crate::decide::policy::Policy;
use crate::docker::Docker;
use crate::metrics::Metrics;
use crate::model::{App, Follow, Platform, Tag, TagList, TagPolicy};
use crate::ports::{Engine, Registry, Traffic};
use crate::store::SledStore;
use crate::{docker, proxy, registry};

use super::{Error, run_dir, system};

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What: "container engine", "registry of shop", …
    pub what: String,
    /// Whether it is in order.
    pub ok: bool,
    /// What was found, and what to do when it is not in order.
    pub detail: String,
}

fn finding(what: impl Into<String>, result: Result<String, String>) -> Finding {
    let (ok, detail) = result.map_or_else(|problem| (false, problem), |found| (true, found));
    Finding { what: what.into(), ok, detail }
}

/// An error with what lies beneath it, in one line.
fn whole(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |cause| cause.source());
    let mut words: Vec<String> = causes.map(ToString::to_string).collect();
    words.dedup();
    words.join(": ")
}

/// Looks. Nothing is changed anywhere, and a running tagboat is not disturbed.
///
/// # Errors
/// When the configuration is wrong: then there is nothing to look at.
pub fn doctor(path: &Path) -> Result<Vec<Finding>, Error> {
    let config = Config::load(path).map_err(Error::Config)?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(system("start a thread"))?;
    runtime.block_on(async {
        let mut findings =
            vec![finding("configuration", Ok(format!("{} apps in {}", config.apps.len(), path.display())))];
        findings.push(finding("state directory", state(&config.state_dir)));
        let (engine, platform) = engine(&config).await;
        findings.push(engine);
        let table = proxy::Client::new(run_dir(&config.state_dir)).table().await;
        let running = table.map(|table| format!("serves {} apps", table.apps.len()));
        findings.push(finding("proxy", running.map_err(|error| format!("{error}; is `tagboat run` running?"))));
        findings.extend(registries(&config, platform.as_ref()).await);
        Ok(findings)
    })
}

fn state(dir: &Path) -> Result<String, String> {
    let place = dir.display();
    let probe = dir.join(".doctor");
    let write = || {
        std::fs::create_dir_all(dir)
            .and_then(|()| std::fs::write(&probe, b"x"))
            .and_then(|()| std::fs::remove_file(&probe))
    };
    write().map(|()| format!("{place} can be written")).map_err(|error| format!("{place} can't be written: {error}"))
}

async fn engine(config: &Config) -> (Finding, Option<Platform>) {
    let docker_config = docker::Config { host: config.docker.host.clone(), cert_path: config.docker.cert_path.clone() };
    let asked = async { Docker::new(docker_config, String::new())?.info().await }.await;
    match asked {
        Ok(info) => {
            let (major, minor) = info.api_version;
            let detail = format!("version {}, API {major}.{minor}, {}", info.version, info.platform);
            (finding("container engine", Ok(detail)), Some(info.platform))
        }
        Err(error) => {
            let advice = "is it running, and may this user use its socket?";
            (finding("container engine", Err(format!("{}; {advice}", whole(&error)))), None)
        }
    }
}

/// Asks for each app's tag as a check would, and for its platforms as a pull would.
async fn registries(config: &Config, host: Option<&Platform>) -> Vec<Finding> {
    let scratch = std::env::temp_dir().join(format!("tagboat-doctor-{}", std::process::id()));
    let store = match SledStore::open(&scratch) {
        Ok(store) => Arc::new(store),
        Err(error) => return vec![finding("memory", Err(error.to_string()))],
    };
    let registries = config.registries.clone();
    let client =
        registry::Client::new(registry::Config { registries, ..registry::Config::default() }, Metrics::new(), store);
    let mut findings = Vec::new();
    for app in &config.apps {
        findings.push(finding(format!("image of {}", app.name), image(&client, app, host).await));
    }
    // Nothing of it is needed again; what can't be removed is in the system's temporary directory.
    let _ = std::fs::remove_dir_all(scratch);
    findings
}

/// The tag that a policy would follow.
async fn best(client: &registry::Client, app: &App, policy: &TagPolicy) -> Result<Tag, String> {
    let listed = client.tags(&app.image, None).await.map_err(|error| whole(&error))?;
    let TagList::Listed { tags, .. } = listed else { return Err("the registry gave no list of tags".to_owned()) };
    let policy = Policy::new(policy)?;
    let choice = policy.choose(&tags, None);
    choice.winner.cloned().ok_or_else(|| policy.unmatched(&choice, &app.image, None))
}

async fn image(client: &registry::Client, app: &App, host: Option<&Platform>) -> Result<String, String> {
    let digest = match &app.follow {
        Follow::Pinned(digest) => digest.clone(),
        Follow::Tag(tag) => client.resolve(&app.image, tag, None).await.map_err(|error| whole(&error))?.digest,
        Follow::Policy(policy) => {
            let tag = best(client, app, policy).await?;
            client.resolve(&app.image, &tag, None).await.map_err(|error| whole(&error))?.digest
        }
    };
    let manifest = client.manifest(&app.image, &digest).await.map_err(|error| whole(&error))?;
    let platforms: Vec<&Platform> = manifest.platforms.iter().filter_map(|(platform, _)| platform.as_ref()).collect();
    let names: Vec<String> = platforms.iter().map(ToString::to_string).collect();
    if let Some(host) = host
        && !platforms.is_empty()
        && !platforms.iter().any(|platform| runs_on(platform, host))
    {
        return Err(format!("{} has {}, this host is {host}; push it for this platform", app.image, names.join(", ")));
    }
    Ok(format!("{} is at {} ({})", app.image, digest.short(), names.join(", ")))
}
