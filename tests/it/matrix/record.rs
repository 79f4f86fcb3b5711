//! The result, for docs/RELIABILITY.md.

use std::time::Duration;

use super::cell::{Harm, Verdict};

/// Writes the table between its marks, when `TAGBOAT_UPDATE` is set.
pub(super) fn write(verdicts: &[Verdict]) {
    if std::env::var_os("TAGBOAT_UPDATE").is_none() {
        return;
    }
    let given = std::env::var_os("TAGBOAT_TEST_DOCKER_HOST").is_some();
    let mark = if given { "matrix newest" } else { "matrix" };
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/RELIABILITY.md");
    let text = std::fs::read_to_string(path).unwrap();
    let (begin, end) = (format!("<!-- {mark} -->"), format!("<!-- /{mark} -->"));
    let (before, rest) = text.split_once(&begin).unwrap_or_else(|| panic!("{path} has no {begin}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("{path} has no {end}"));
    std::fs::write(path, format!("{before}{begin}\n{}{end}{after}", table(verdicts))).unwrap();
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
