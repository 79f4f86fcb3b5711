//! `tagboat tags`: the tags of an app's repository, which of them it follows, and why not the others.

use super::client::Client;
use super::exit::{Exit, Failure};
use super::out::{Cell, Out, Row, Table, Tone, safe};
use super::words::plain;
use crate::model::{TagReport, TagVerdict};

pub(super) async fn tags(client: &Client, out: &mut Out, app: &str, limit: usize, json: bool) -> Result<Exit, Failure> {
    let report = client.tags(app).await?;
    if json {
        out.json(&report)?;
    } else {
        print(out, &report, limit)?;
    }
    Ok(Exit::Done)
}

pub(super) fn print(out: &mut Out, report: &TagReport, limit: usize) -> std::io::Result<()> {
    let TagReport { app, repository, follows, listed, .. } = report;
    let text = match &report.winner {
        Some(winner) => format!("{app} follows {follows}: {repository}:{winner}, of {listed} tags"),
        None => format!("{app} follows {follows}: nothing"),
    };
    out.line(if report.winner.is_some() { Tone::Good } else { Tone::Warning }, &safe(&text))?;
    if let Some(message) = &report.message {
        out.line(Tone::Warning, &safe(message))?;
    }
    let shown = if limit == 0 { report.candidates.len() } else { limit };
    if !report.candidates.is_empty() {
        let rows = report.candidates.iter().take(shown).map(row).collect();
        out.table(&Table { head: &["TAG", "VERDICT", "WHY"], rows })?;
    }
    let mut left = Vec::new();
    if let Some(more) = report.candidates.len().checked_sub(shown).filter(|more| *more > 0) {
        left.push(format!("{more} more tags (`--limit 0` shows them)"));
    }
    if report.artifacts > 0 {
        left.push(format!("{} signatures and the like", report.artifacts));
    }
    if left.is_empty() { Ok(()) } else { out.line(Tone::Quiet, &format!("and {}", left.join(", "))) }
}

fn row(candidate: &TagVerdict) -> Row {
    let tone = if candidate.verdict == "winner" { Tone::Good } else { Tone::Plain };
    let cells = vec![
        Cell(tone, candidate.tag.to_string()),
        Cell(tone, plain(&candidate.verdict)),
        Cell(Tone::Quiet, safe(&candidate.why)),
    ];
    Row { cells, below: Vec::new() }
}
