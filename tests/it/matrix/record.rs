//! The result, for docs/RELIABILITY.md.

use std::time::Duration;

use super::cell::{Harm, Verdict};
use super::outages::Struck;
use crate::support::written;

/// Writes the table, when `TAGBOAT_UPDATE` is set.
pub(super) fn write(verdicts: &[Verdict]) {
    written("matrix", || table(verdicts));
}

/// The same for engines that went away.
pub(super) fn write_outages(struck: &[Struck], live: bool) {
    written(if live { "outages live" } else { "outages" }, || outages(struck));
}

fn outages(struck: &[Struck]) -> String {
    let wrong = struck.iter().filter(|struck| !struck.verdict.problems.is_empty()).count();
    let mut text = format!(
        "{} times the engine went away; {wrong} left something wrong.\n\n\
         | strategy | the engine is | in the swap | failed requests | old version's last answer → new one's first | converged after its return | orphans |\n\
         |---|---|---|---|---|---|---|\n",
        struck.len()
    );
    for Struck { blow, place, verdict } in struck {
        let (failed, gap) = match verdict.strategy {
            "overlap" => ("no port".to_owned(), "no port".to_owned()),
            _ => (verdict.failed.to_string(), seconds(verdict.gap)),
        };
        let (converged, orphans) = (seconds(verdict.converged), verdict.orphans);
        let (strategy, blow) = (verdict.strategy, blow.label());
        text.push_str(&format!("| {strategy} | {blow} | {place} | {failed} | {gap} | {converged} | {orphans} |\n"));
    }
    text
}

pub(super) fn table(verdicts: &[Verdict]) -> String {
    let failed = verdicts.iter().filter(|verdict| !verdict.problems.is_empty()).count();
    let of = |harm: Harm| verdicts.iter().filter(|verdict| verdict.harm == harm).count();
    let mut text = format!(
        "{} kills: {} with the memory as it was, {} with it deleted, {} with it cut short; {failed} left something wrong. \
         The longest took {} to converge.\n\n\
         | strategy | side effect | kills | failed requests | longest gap | longest to converge | orphans |\n\
         |---|---|---|---|---|---|---|\n",
        verdicts.len(),
        of(Harm::Intact),
        of(Harm::Deleted),
        of(Harm::CutShort),
        seconds(verdicts.iter().map(|verdict| verdict.converged).max().unwrap_or_default()),
    );
    let mut rows: Vec<(&str, &str)> = verdicts.iter().map(|v| (v.strategy, v.effect.as_str())).collect();
    rows.dedup();
    for (strategy, effect) in rows {
        let of: Vec<&Verdict> =
            verdicts.iter().filter(|v| (v.strategy, v.effect.as_str()) == (strategy, effect)).collect();
        let longest = |pick: fn(&Verdict) -> Duration| seconds(of.iter().map(|v| pick(v)).max().unwrap_or_default());
        let failed: u64 = of.iter().map(|v| v.failed).sum();
        let (failed, gap) = match strategy {
            "proxy" | "replicas" => (failed.to_string(), "none".to_owned()),
            "hold" => (failed.to_string(), longest(|v| v.gap)),
            "overlap" => ("no port".to_owned(), "none".to_owned()),
            _ => ("its own gap".to_owned(), longest(|v| v.gap)),
        };
        let orphans: usize = of.iter().map(|v| v.orphans).sum();
        let converged = longest(|v| v.converged);
        text.push_str(&format!(
            "| {strategy} | {effect} | {} | {failed} | {gap} | {converged} | {orphans} |\n",
            of.len()
        ));
    }
    text
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
