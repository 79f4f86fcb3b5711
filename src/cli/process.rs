//! `tagboat run`, `agent` and `proxy`, the long-running processes, and `doctor`, which looks at what they need.

use std::path::Path;
use std::time::Duration;

use super::args::{ProxyFlags, RelieveFlags};
use super::exit::{Exit, Failure};
use super::out::{Out, Tone};
use crate::app::{self, Ended, Error, ProxyArgs, RelieveArgs};

pub(super) fn run(config: &Path) -> Result<Exit, Failure> {
    app::run(config).map_err(failed)?;
    Ok(Exit::Done)
}

pub(super) fn agent(config: &Path) -> Result<Exit, Failure> {
    Ok(match app::agent(config).map_err(failed)? {
        Ended::Stopped => Exit::Done,
        Ended::Restart => Exit::Restart,
        Ended::GaveUp => Exit::GaveUp,
    })
}

pub(super) fn proxy(flags: ProxyFlags) -> Result<Exit, Failure> {
    let ProxyFlags { state_dir, control, config } = flags;
    app::proxy(ProxyArgs { state_dir, control, config }).map_err(failed)?;
    Ok(Exit::Done)
}

pub(super) fn relieve(flags: RelieveFlags) -> Result<Exit, Failure> {
    let RelieveFlags { file, within, old, next } = flags;
    let done = app::relieve(RelieveArgs { config: file.config, within: Duration::from_secs(within), old, next });
    // One that was told to end before it was done has to come back.
    Ok(if done.map_err(failed)? { Exit::Done } else { Exit::Restart })
}

pub(super) fn doctor(out: &mut Out, config: &Path, json: bool) -> Result<Exit, Failure> {
    let findings = app::doctor(config).map_err(failed)?;
    if json {
        out.json(&findings)?;
    } else {
        let width = findings.iter().map(|finding| finding.what.len()).max().unwrap_or_default();
        for finding in &findings {
            let (tone, mark) = if finding.ok { (Tone::Good, "ok     ") } else { (Tone::Bad, "missing") };
            out.line(tone, &format!("{mark}  {:width$}  {}", finding.what, finding.detail))?;
        }
    }
    Ok(if findings.iter().all(|finding| finding.ok) { Exit::Done } else { Exit::Failed })
}

/// A configuration that is wrong is the user's to mend; starting again does not help.
fn failed(error: Error) -> Failure {
    let exit = if matches!(error, Error::Config(_)) { Exit::Usage } else { Exit::Failed };
    Failure::new(exit, error)
}
