//! `tagboat plan`: what would be done about an app now, and why.

use super::client::Client;
use super::exit::{Exit, Failure};
use super::out::{Out, Row, Table, Tone, safe};
use super::words::plain;
use crate::engine::explain;
use crate::model::{ContainerId, Decision, Plan, Step};

pub(super) async fn plan(client: &Client, out: &mut Out, app: &str, json: bool) -> Result<Exit, Failure> {
    let decision = client.plan(app).await?;
    if json {
        out.json(&decision)?;
    } else {
        print(out, app, &decision)?;
    }
    Ok(Exit::Done)
}

pub(super) fn print(out: &mut Out, app: &str, decision: &Decision) -> std::io::Result<()> {
    match decision {
        Decision::UpToDate => out.line(Tone::Good, &format!("{app}: nothing to do, what is wanted serves")),
        Decision::Hold(hold) => out.line(Tone::Warning, &safe(&format!("{app}: held back: {}", explain(hold)))),
        Decision::Act(plan) => {
            out.line(Tone::Busy, &format!("{app}: {}", summary(plan)))?;
            let step = |(index, step): (usize, &Step)| Row {
                cells: vec![(index + 1).to_string().into(), step.stage().label().into(), describe(plan, step).into()],
                below: Vec::new(),
            };
            let rows = plan.steps.iter().enumerate().map(step).collect();
            out.table(&Table { head: &["STEP", "STAGE", "WHAT"], rows })
        }
    }
}

/// What a plan comes to, in one line.
pub(super) fn summary(plan: &Plan) -> String {
    let before = match &plan.previous {
        Some(previous) if *previous == plan.digest => "again".to_owned(),
        Some(previous) => format!("in place of {}", previous.short()),
        None => "as the first".to_owned(),
    };
    let why = Some(plan.strategy_reason.as_str()).filter(|why| !why.is_empty());
    format!(
        "{} {before}, generation {}, strategy {}{}, because: {}",
        plan.digest.short(),
        plan.generation,
        plan.strategy.label(),
        why.map(|why| format!(" ({why})")).unwrap_or_default(),
        plain(plan.reason.label())
    )
}

fn describe(plan: &Plan, step: &Step) -> String {
    let several = plan.candidates.len() + plan.missing.len() > 1;
    let candidate = if several { "the candidates" } else { "the candidate" };
    let named =
        |containers: &[ContainerId]| containers.iter().map(|id| id.short().to_owned()).collect::<Vec<_>>().join(", ");
    match step {
        Step::Condemn { digest, .. } => format!("remember that {} failed in service", digest.short()),
        Step::Job { job } => format!("run the {} job and wait for its end", job.label()),
        Step::Prepare { job } => format!("make the container of the {} job, to be run later", job.label()),
        Step::Pull => "fetch the image by its digest, unless the host has it".to_owned(),
        Step::Create if plan.missing.len() > 1 => {
            format!("create {} candidates beside what serves", plan.missing.len())
        }
        Step::Create => "create the candidate beside what serves".to_owned(),
        Step::Compare => format!("compare {candidate} with what was intended"),
        Step::Hold { .. } => "have new requests wait at the proxy".to_owned(),
        Step::Park { container } => format!("stop {} to make room; it is kept", container.short()),
        Step::Start => format!("start {candidate}"),
        Step::Gate if several => "wait until each candidate has proved that it can serve".to_owned(),
        Step::Gate => "wait until the candidate has proved that it can serve".to_owned(),
        Step::Arm if several => "set the candidates' restart policy".to_owned(),
        Step::Arm => "set the candidate's restart policy".to_owned(),
        Step::Take { .. } => "give the candidate the name of what serves".to_owned(),
        Step::Follow { container } => format!("recreate what shares namespaces with {}", container.short()),
        Step::Switch { expect } if several || !plan.stay.is_empty() => {
            let count = plan.candidates.len() + plan.missing.len() + plan.stay.len();
            format!("send the traffic to {count} at once, if nobody else has moved it since revision {expect}")
        }
        Step::Switch { expect } => format!("move the traffic, if nobody else has since revision {expect}"),
        Step::Bake { .. } => "watch the new version; the old one stays warm".to_owned(),
        Step::Drain { containers } => format!("let the requests on {} end", named(containers)),
        Step::Stop { containers } => format!("stop {}", named(containers)),
        Step::Retire { containers } => format!("remove {}", named(containers)),
        Step::Restore { container, .. } => format!("start {} again", container.short()),
    }
}
