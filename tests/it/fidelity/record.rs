//! The result, for docs/RELIABILITY.md.

use super::judge::Verdict;
use super::stage::World;
use crate::support::written;

/// Writes the table, when `TAGBOAT_UPDATE` is set.
pub(super) fn write(verdicts: &[Verdict], world: &World) {
    written("fidelity", || table(verdicts, world));
}

fn table(verdicts: &[Verdict], world: &World) -> String {
    let ran: Vec<&Verdict> = verdicts.iter().filter(|verdict| verdict.skipped.is_none()).collect();
    let equal = |verdict: &&&Verdict| verdict.problems.is_empty();
    let tampered: usize = ran.iter().map(|verdict| verdict.tampered).sum();
    // An engine that was built with `go install` does not know its version.
    let version = if world.version.starts_with(|c: char| c.is_ascii_digit()) { &world.version } else { "from source" };
    let mut text = format!(
        "Docker {version}, API {}.{}: of {} configurations {} are equal to what docker makes, {} differ; {} are not known to \
         this API. Of {} tampered bodies compare-before-stop found {tampered}.\n\n\
         | what | configurations | equal | which |\n|---|---|---|---|\n",
        world.api.0,
        world.api.1,
        ran.len(),
        ran.iter().filter(equal).count(),
        ran.iter().filter(|verdict| !verdict.problems.is_empty()).count(),
        verdicts.len() - ran.len(),
        ran.len() * super::judge::TAMPERS,
    );
    let mut groups: Vec<&str> = ran.iter().map(|verdict| verdict.group).collect();
    groups.dedup();
    for group in groups {
        let of: Vec<&&Verdict> = ran.iter().filter(|verdict| verdict.group == group).collect();
        let which: Vec<&str> = of.iter().map(|verdict| verdict.label.trim_end_matches(" [full]")).collect();
        let fine = of.iter().filter(|verdict| equal(verdict)).count();
        text.push_str(&format!("| {group} | {} | {fine} | {} |\n", of.len(), which.join("; ")));
    }
    text
}
