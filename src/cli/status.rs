//! `tagboat status`: what runs where since when, what is newer, and what keeps it back.

use super::client::Client;
use super::exit::{Exit, Failure};
use super::out::{Cell, Out, Row, Table, Tone, safe};
use super::words::{ago, span, state};
use crate::http::AppView;
use crate::model::{AppState, AppStatus, Approval, CheckResult, Time};

pub(super) async fn status(client: &Client, out: &mut Out, app: Option<&str>, json: bool) -> Result<Exit, Failure> {
    let Some(app) = app else {
        let apps = client.apps().await?;
        if json {
            out.json(&apps)?;
        } else {
            print(out, &apps, chrono::Utc::now())?;
        }
        return Ok(Exit::Done);
    };
    let view = client.app(app).await?;
    if json {
        out.json(&view)?;
    } else {
        print(out, std::slice::from_ref(&view), chrono::Utc::now())?;
        strategy(out, &view.status)?;
    }
    Ok(Exit::Done)
}

/// How one app is swapped, and why so.
pub(super) fn strategy(out: &mut Out, app: &AppStatus) -> std::io::Result<()> {
    if app.strategy.is_empty() {
        return Ok(());
    }
    let why = Some(app.strategy_reason.as_str()).filter(|why| !why.is_empty());
    let why = why.map(|why| format!(": {why}")).unwrap_or_default();
    out.line(Tone::Plain, &safe(&format!("strategy {}{why}", app.strategy)))?;
    match &app.group {
        Some(group) => out.line(Tone::Plain, &format!("moves with group {group}")),
        None => Ok(()),
    }
}

pub(super) fn print(out: &mut Out, apps: &[AppView], now: Time) -> std::io::Result<()> {
    if apps.is_empty() {
        return out.line(Tone::Plain, "no apps are configured; add one to the configuration file");
    }
    let head = &["APP", "STATE", "SERVING", "SINCE", "NEWEST", "CHECKED", "IMAGE"];
    out.table(&Table { head, rows: apps.iter().map(|app| row(app, now)).collect() })
}

fn row(view: &AppView, now: Time) -> Row {
    let app = &view.status;
    let deployed = app.deployed.as_ref();
    let serving = deployed.map_or("nothing".to_owned(), |deployed| deployed.digest.short().to_owned());
    let since = deployed.map_or(String::new(), |deployed| span((now - deployed.since).num_seconds()));
    let newest = match (&app.newest, deployed) {
        (None, _) => "?".to_owned(),
        (Some(newest), Some(deployed)) if *newest == deployed.digest => "same".to_owned(),
        (Some(newest), _) => newest.short().to_owned(),
    };
    let checked = match app.last_check {
        None => "never".to_owned(),
        Some((at, CheckResult::Unknown)) => format!("no answer {}", ago(now, at)),
        Some((at, _)) => ago(now, at),
    };
    let tone = tone(app.state);
    let name = app.app.as_str();
    let cells = vec![
        name.into(),
        Cell(tone, state(app.state).to_owned()),
        serving.into(),
        since.into(),
        newest.into(),
        checked.into(),
        Cell(Tone::Quiet, app.image.clone()),
    ];
    Row { cells, below: remarks(view, now) }
}

fn remarks(view: &AppView, now: Time) -> Vec<(Tone, String)> {
    let app = &view.status;
    let mut remarks = Vec::new();
    if let Some((swap, stage)) = &app.deploying {
        remarks.push((Tone::Busy, format!("swap {swap} is at stage {}", stage.label())));
    }
    if let Some(deployed) = app.deployed.as_ref().filter(|deployed| deployed.state != "running") {
        remarks.push((Tone::Bad, format!("its container {} is {}", deployed.container, deployed.state)));
    }
    if let Some(replicas) = app.deployed.as_ref().and_then(|deployed| deployed.replicas.as_ref()) {
        let tone = if replicas.serving < replicas.wanted { Tone::Bad } else { Tone::Quiet };
        remarks.push((tone, format!("{} of {} replicas serve", replicas.serving, replicas.wanted)));
    }
    if let Some(explanation) = &view.explanation {
        remarks.push((Tone::Warning, safe(explanation)));
    } else if let Some(pin) = &app.pin {
        remarks.push((Tone::Quiet, safe(&format!("pinned to {} ({})", pin.digest.short(), pin.reason))));
    }
    if let Some(approval) = app.approval.as_ref().filter(|approval| waits(app, approval)) {
        remarks.push((Tone::Quiet, safe(&format!("approved by {} {}", approval.by, ago(now, approval.at)))));
    }
    remarks.extend(silence(app, now).map(|text| (Tone::Warning, text)));
    remarks
}

/// The version that was approved of does not serve yet.
fn waits(app: &AppStatus, approval: &Approval) -> bool {
    let serves = app.deployed.as_ref().is_some_and(|deployed| deployed.digest == approval.digest);
    app.waiting() == Some(&approval.digest) && !serves
}

/// When the registry does not answer, the last time that it did matters.
fn silence(app: &AppStatus, now: Time) -> Option<String> {
    let (_, CheckResult::Unknown) = app.last_check? else { return None };
    Some(match app.last_successful_check {
        Some(at) => format!("the registry's last answer came {}", ago(now, at)),
        None => "the registry has never answered".to_owned(),
    })
}

fn tone(state: AppState) -> Tone {
    match state {
        AppState::UpToDate => Tone::Good,
        AppState::Deploying => Tone::Busy,
        AppState::Held | AppState::Unknown => Tone::Warning,
        AppState::Down => Tone::Bad,
        AppState::Starting => Tone::Quiet,
    }
}
