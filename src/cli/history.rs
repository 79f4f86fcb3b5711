//! `tagboat history`: the deployments of an app, newest first.

use super::client::Client;
use super::exit::{Exit, Failure};
use super::out::{Cell, Out, Row, Table, Tone, safe};
use super::words::{ago, plain, took};
use crate::model::{Deployment, DeploymentResult, Time};

pub(super) async fn history(
    client: &Client,
    out: &mut Out,
    app: &str,
    limit: u16,
    json: bool,
) -> Result<Exit, Failure> {
    let deployments = client.deployments(app, limit).await?;
    if json {
        out.json(&deployments)?;
    } else if deployments.is_empty() {
        out.line(Tone::Plain, &format!("{app} has not been deployed yet"))?;
    } else {
        print(out, &deployments, chrono::Utc::now())?;
    }
    Ok(Exit::Done)
}

pub(super) fn print(out: &mut Out, deployments: &[Deployment], now: Time) -> std::io::Result<()> {
    let head = &["WHEN", "RESULT", "DIGEST", "GENERATION", "TOOK", "ID", "WHY"];
    out.table(&Table { head, rows: deployments.iter().map(|deployment| row(deployment, now)).collect() })
}

fn row(deployment: &Deployment, now: Time) -> Row {
    let millis = deployment.finished.map(|finished| (finished - deployment.started).num_milliseconds());
    let took_all = millis.map_or(String::new(), |millis| took(u64::try_from(millis).unwrap_or(0)));
    let tone = match deployment.result {
        DeploymentResult::Running => Tone::Busy,
        DeploymentResult::Succeeded => Tone::Good,
        DeploymentResult::Superseded => Tone::Quiet,
        DeploymentResult::Failed { .. } | DeploymentResult::RolledBack { .. } => Tone::Bad,
    };
    let cells = vec![
        ago(now, deployment.started).into(),
        Cell(tone, plain(deployment.result.label())),
        deployment.digest.short().into(),
        deployment.generation.to_string().into(),
        took_all.into(),
        deployment.id.to_string().into(),
        safe(&format!("{} ({})", deployment.reason, deployment.source.label())).into(),
    ];
    let mut below = Vec::new();
    let steps = deployment.steps.iter().filter_map(|step| Some((step.stage.label(), step.millis?)));
    let steps = steps.map(|(stage, millis)| format!("{stage} {}", took(millis))).collect::<Vec<_>>();
    if !steps.is_empty() {
        below.push((Tone::Quiet, steps.join(" · ")));
    }
    let jobs = deployment.steps.iter().filter(|step| !step.output.is_empty());
    below.extend(jobs.map(|step| (Tone::Quiet, safe(&format!("{}: {}", step.stage.label(), step.note)))));
    if let Some(part) = &deployment.group {
        let members = part.members.iter().map(|app| app.as_str()).collect::<Vec<_>>().join(", ");
        below.push((Tone::Quiet, safe(&format!("with group {} ({}): {members}", part.name, part.id))));
    }
    if let Some(failure) = deployment.result.failure() {
        below.push((Tone::Bad, safe(&format!("failed at {}: {}", failure.stage.label(), failure.message))));
        below.extend(failure.log_tail.iter().map(|line| (Tone::Quiet, format!("| {}", safe(line)))));
    }
    Row { cells, below }
}
