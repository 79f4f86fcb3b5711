//! `processes` of an app: further containers of the same image that do something else, as apps of their own.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;

use super::app_file::{AppFile, ResourcesFile};
use super::errors::Report;
use super::words::{Scalar, Words};

/// A further process of an app's image. Nothing reaches it; everything else is as the app has it.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ProcessFile {
    /// Replaces the image's command. A text is split as a shell would.
    pub(super) command: Option<Words>,
    /// Replaces the image's entrypoint.
    pub(super) entrypoint: Option<Words>,
    /// Set over the app's environment variables.
    pub(super) env: BTreeMap<String, Scalar>,
    /// Memory and CPUs; those of the app are not its own.
    pub(super) resources: Option<ResourcesFile>,
}

/// Makes an app `shop-worker` of each process `worker` of `shop`, in a group with it.
pub(super) fn expanded(apps: BTreeMap<String, AppFile>, report: &mut Report) -> BTreeMap<String, AppFile> {
    let mut all = BTreeMap::new();
    for (name, mut app) in apps {
        let processes = std::mem::take(&mut app.processes);
        if !processes.is_empty() && app.group.is_none() {
            app.group = Some(name.clone());
        }
        for (process, file) in processes {
            let at = format!("apps.{name}.processes.{process}");
            if file.command.is_none() && file.entrypoint.is_none() {
                report.add(&at, "it would do what the app does: give it a `command`");
            }
            add(&mut all, format!("{name}-{process}"), worker(&app, file), &at, report);
        }
        add(&mut all, name.clone(), app, &format!("apps.{name}"), report);
    }
    all
}

fn add(all: &mut BTreeMap<String, AppFile>, name: String, app: AppFile, at: &str, report: &mut Report) {
    if all.contains_key(&name) {
        report.add(at, format!("another app or process is called {name} already"));
    }
    all.insert(name, app);
}

/// Jobs are run once, by the app itself; what is asked by request belongs to who is reached.
fn worker(app: &AppFile, process: ProcessFile) -> AppFile {
    let mut worker = app.clone();
    worker.listen = Some("none".to_owned());
    (worker.route, worker.port, worker.health, worker.hooks, worker.jobs) = (None, None, None, None, None);
    worker.routes.clear();
    (worker.command, worker.entrypoint) = (process.command, process.entrypoint.or(worker.entrypoint));
    worker.resources = process.resources;
    worker.env.extend(process.env);
    worker
}
