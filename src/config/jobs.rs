//! `jobs`, `hooks` and `watch` of an app, over those of the defaults.

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::{Hook, HookAct, Hooks, Job, Jobs};

use super::app::split;
use super::app_file::AppFile;
use super::errors::Report;
use super::file::DefaultsFile;
use super::units::{duration, period};
use super::words::Words;

/// What runs before and after an app's deployments.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct JobsFile {
    /// With the new image, before anything else moves; when it fails, nothing is deployed.
    pub(super) pre_deploy: Option<JobFile>,
    /// With the new image, when it serves alone.
    pub(super) post_deploy: Option<JobFile>,
    /// With the image that serves, when a new one has failed.
    pub(super) failed_deploy: Option<JobFile>,
}

/// A command, as `command` of an app is written, or more than that.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(untagged)]
pub(super) enum JobFile {
    /// The command, split as a shell would.
    Text(String),
    /// Its words.
    List(Vec<String>),
    /// The command and more.
    Rules(JobRules),
}

/// A job in full.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct JobRules {
    /// Takes the place of the container's command. A text is split as a shell would.
    pub(super) command: Option<Words>,
    /// Takes the place of the entrypoint, which otherwise is as the container has it.
    pub(super) entrypoint: Option<Words>,
    /// It may take so long.
    pub(super) timeout: Option<String>,
}

/// What holds for every job, or for every hook.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct LimitFile {
    /// It may take so long.
    pub(super) timeout: Option<String>,
}

/// What is done to an app's containers when they come and go.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AppHooksFile {
    /// In the new container, when its probes have passed; when it fails, the version has failed.
    pub(super) post_start: Option<HookFile>,
    /// In the old container, after its last request and before it is stopped.
    pub(super) pre_stop: Option<HookFile>,
}

/// A hook: `exec` or `http`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HookFile {
    /// A command in the container. A text is split as a shell would.
    pub(super) exec: Option<Words>,
    /// A request to the container: `POST /path`.
    pub(super) http: Option<String>,
    /// It may take so long.
    pub(super) timeout: Option<String>,
}

/// An app's jobs.
pub(super) fn jobs(file: &AppFile, defaults: &DefaultsFile, path: &str, report: &mut Report) -> Option<Jobs> {
    let usual = limit(defaults.jobs.as_ref(), "defaults.jobs.timeout", report)?;
    let own = file.jobs.clone().unwrap_or_default();
    let mut one =
        |key: &str, job: Option<JobFile>| job.and_then(|it| job_of(it, usual, &format!("{path}.{key}"), report));
    Some(Jobs {
        pre_deploy: one("pre_deploy", own.pre_deploy),
        post_deploy: one("post_deploy", own.post_deploy),
        failed_deploy: one("failed_deploy", own.failed_deploy),
    })
}

/// An app's hooks.
pub(super) fn hooks(file: &AppFile, defaults: &DefaultsFile, path: &str, report: &mut Report) -> Option<Hooks> {
    let usual = limit(defaults.hooks.as_ref(), "defaults.hooks.timeout", report)?;
    let own = file.hooks.clone().unwrap_or_default();
    let mut one =
        |key: &str, hook: Option<HookFile>| hook.and_then(|it| hook_of(it, usual, &format!("{path}.{key}"), report));
    Some(Hooks { post_start: one("post_start", own.post_start), pre_stop: one("pre_stop", own.pre_stop) })
}

/// How long an app's versions are watched.
pub(super) fn watch(file: &AppFile, defaults: &DefaultsFile, path: &str, report: &mut Report) -> Option<Duration> {
    let text = file.watch.as_deref().or(defaults.watch.as_deref()).unwrap_or_default();
    report.take(&format!("{path}.watch"), duration(text))
}

fn limit(file: Option<&LimitFile>, path: &str, report: &mut Report) -> Option<Duration> {
    report.take(path, period(file.and_then(|file| file.timeout.as_deref()).unwrap_or_default()))
}

fn own_limit(text: Option<&str>, usual: Duration, path: &str, report: &mut Report) -> Option<Duration> {
    text.map_or(Some(usual), |text| report.take(&format!("{path}.timeout"), period(text)))
}

fn words(given: Words, path: &str, report: &mut Report) -> Option<Vec<String>> {
    let words = split(given, path, report)?;
    if words.is_empty() {
        report.add(path, "must name a command, such as `bin/migrate`");
        return None;
    }
    Some(words)
}

fn job_of(file: JobFile, usual: Duration, path: &str, report: &mut Report) -> Option<Job> {
    let rules = match file {
        JobFile::Text(text) => JobRules { command: Some(Words::Text(text)), ..JobRules::default() },
        JobFile::List(list) => JobRules { command: Some(Words::List(list)), ..JobRules::default() },
        JobFile::Rules(rules) => rules,
    };
    let Some(command) = rules.command else {
        report.add(path, "`command` is missing");
        return None;
    };
    let command = words(command, path, report);
    let entrypoint = rules.entrypoint.map(|given| split(given, &format!("{path}.entrypoint"), report));
    let timeout = own_limit(rules.timeout.as_deref(), usual, path, report)?;
    Some(Job { command: command?, entrypoint: entrypoint.flatten(), timeout })
}

fn hook_of(file: HookFile, usual: Duration, path: &str, report: &mut Report) -> Option<Hook> {
    let act = match (file.exec, file.http) {
        (Some(exec), None) => HookAct::Exec(words(exec, &format!("{path}.exec"), report)?),
        (None, Some(http)) => request(&http, &format!("{path}.http"), report)?,
        _ => {
            report
                .add(path, "a hook has `exec` or `http`, one of them: `{exec: [bin/warm]}`, `{http: \"POST /warm\"}`");
            return None;
        }
    };
    Some(Hook { act, timeout: own_limit(file.timeout.as_deref(), usual, path, report)? })
}

/// `POST /path`, or `/path`, which is asked for by POST.
fn request(text: &str, path: &str, report: &mut Report) -> Option<HookAct> {
    let (method, target) = text.trim().split_once(' ').unwrap_or(("POST", text.trim()));
    let (method, target) = (method.to_ascii_uppercase(), target.trim());
    let known = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"].contains(&method.as_str());
    let plain = target.starts_with('/') && target.parse::<http::Uri>().is_ok();
    if !known || !plain {
        report.add(path, format!("{text:?} must be a method and a path, such as `POST /warm`"));
        return None;
    }
    Some(HookAct::Http { method, path: target.to_owned() })
}
