//! `tagboat check`: have the registries asked now, and wait for what they say.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use super::args::CheckFlags;
use super::client::{Client, Told};
use super::exit::{Exit, Failure};
use super::out::{Cell, Out, Row, Table, Tone, safe};
use super::plan::summary;
use crate::engine::explain;
use crate::http::AppView;
use crate::model::{AppName, Decision, Digest, EventKind};

/// What a look at one app found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Found {
    /// The app.
    pub(super) app: AppName,
    /// `unchanged`, `changed`, `unknown`, `pinned` (never asked) or `no_answer` (the agent was busy).
    pub(super) result: String,
    /// Something newer than what serves is there.
    pub(super) update_available: bool,
    /// What serves.
    pub(super) serving: Option<Digest>,
    /// What the tag points to.
    pub(super) newest: Option<Digest>,
    /// Why it is not known.
    pub(super) message: Option<String>,
}

/// What would be done about one app.
#[derive(Debug, Serialize)]
struct Intention {
    app: AppName,
    #[serde(flatten)]
    decision: Decision,
}

pub(super) async fn check(client: &Client, out: &mut Out, flags: &CheckFlags, json: bool) -> Result<Exit, Failure> {
    let apps = match &flags.app {
        Some(app) => vec![client.app(app).await?],
        None => client.apps().await?,
    };
    if flags.dry_run {
        return dry_run(client, out, &apps, json).await;
    }
    let found = look(client, apps, flags.timeout).await?;
    if json {
        out.json(&found)?;
    } else {
        print(out, &found)?;
    }
    Ok(verdict(found.iter().map(|f| (f.update_available, matches!(f.result.as_str(), "unknown" | "no_answer")))))
}

/// News count more than silence, silence more than peace.
fn verdict(found: impl Iterator<Item = (bool, bool)>) -> Exit {
    let (news, silence) = found.fold((false, false), |sum, one| (sum.0 | one.0, sum.1 | one.1));
    match (news, silence) {
        (true, _) => Exit::UpdatesAvailable,
        (false, true) => Exit::Failed,
        (false, false) => Exit::Done,
    }
}

async fn look(client: &Client, apps: Vec<AppView>, patience: Duration) -> Result<Vec<Found>, Failure> {
    let deadline = Instant::now() + patience;
    // First the ear, then the question: no answer can be missed.
    let mut events = client.events(None).await?;
    let mut found: BTreeMap<AppName, Found> =
        apps.into_iter().map(|app| (app.status.app.clone(), before(app))).collect();
    let mut waiting = 0_usize;
    for one in found.values().filter(|one| one.result == "no_answer") {
        client.check(one.app.as_str()).await?;
        waiting += 1;
    }
    while waiting > 0 {
        match timeout_at(deadline, events.next()).await {
            Ok(Some(Told::Event(event))) => {
                let one = found.get_mut(&event.app).filter(|one| one.result == "no_answer");
                if let (Some(one), EventKind::Checked { result, digest, message }) = (one, event.kind) {
                    after(one, result, digest, message);
                    waiting -= 1;
                }
            }
            Ok(Some(Told::Gap)) => {}
            Ok(None) | Err(_) => break,
        }
    }
    Ok(found.into_values().collect())
}

fn before(view: AppView) -> Found {
    let app = view.status;
    let serving = app.deployed.map(|deployed| deployed.digest);
    let never_asked = app.image.contains('@');
    Found {
        app: app.app,
        result: if never_asked { "pinned" } else { "no_answer" }.to_owned(),
        update_available: never_asked && app.newest.is_some() && app.newest != serving,
        serving,
        newest: app.newest,
        message: None,
    }
}

fn after(one: &mut Found, result: String, digest: Option<Digest>, message: Option<String>) {
    if result != "unknown" {
        one.newest = digest;
        one.update_available = one.newest.is_some() && one.newest != one.serving;
    }
    one.result = result;
    one.message = message;
}

pub(super) fn print(out: &mut Out, found: &[Found]) -> std::io::Result<()> {
    let row = |one: &Found| {
        let (tone, says) = match one.result.as_str() {
            "unknown" => (Tone::Warning, "not known"),
            "no_answer" => (Tone::Warning, "no answer yet"),
            _ if one.update_available => (Tone::Busy, "update available"),
            "pinned" => (Tone::Quiet, "pinned by the configuration"),
            _ => (Tone::Good, "up to date"),
        };
        let short = |digest: &Option<Digest>| digest.as_ref().map_or("-", |digest| digest.short()).to_owned();
        let mut below = Vec::new();
        below.extend(one.message.iter().map(|message| (Tone::Warning, safe(message))));
        if one.result == "no_answer" {
            below
                .push((Tone::Warning, "the app is busy, perhaps with a swap; it looks when that has ended".to_owned()));
        }
        let app = one.app.as_str();
        Row {
            cells: vec![app.into(), Cell(tone, says.into()), short(&one.serving).into(), short(&one.newest).into()],
            below,
        }
    };
    out.table(&Table { head: &["APP", "RESULT", "SERVING", "NEWEST"], rows: found.iter().map(row).collect() })
}

async fn dry_run(client: &Client, out: &mut Out, apps: &[AppView], json: bool) -> Result<Exit, Failure> {
    let mut intentions = Vec::new();
    for view in apps {
        let app = view.status.app.clone();
        intentions.push(Intention { decision: client.plan(app.as_str()).await?, app });
    }
    if json {
        out.json(&intentions)?;
    } else {
        for Intention { app, decision } in &intentions {
            match decision {
                Decision::UpToDate => out.line(Tone::Good, &format!("{app}: up to date"))?,
                Decision::Hold(hold) => {
                    out.line(Tone::Warning, &safe(&format!("{app}: held back: {}", explain(hold))))?
                }
                Decision::Act(plan) => out.line(Tone::Busy, &format!("{app}: would deploy {}", summary(plan)))?,
            }
        }
    }
    let says = |decision: &Decision| match decision {
        Decision::UpToDate => (false, false),
        Decision::Act(plan) => (plan.previous.as_ref() != Some(&plan.digest), false),
        Decision::Hold(hold) => (false, hold.label().ends_with("_unknown") || hold.label() == "nothing_matches"),
    };
    Ok(verdict(intentions.iter().map(|intention| says(&intention.decision))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_is_never_peace() {
        for (what, found, exit) in [
            ("nothing", vec![], Exit::Done),
            ("peace", vec![(false, false)], Exit::Done),
            ("one silent", vec![(false, false), (false, true)], Exit::Failed),
            ("one newer", vec![(true, false), (false, true)], Exit::UpdatesAvailable),
        ] {
            assert_eq!(verdict(found.into_iter()), exit, "{what}");
        }
    }
}
