//! `tagboat upgrade`: another program takes over from the one that runs.

use super::args::UpgradeFlags;
use super::exit::{Exit, Failure};
use super::out::{Out, Tone, safe};
use crate::app::{UpgradeError, upgrade as take_over};

pub(super) async fn upgrade(flags: &UpgradeFlags, out: &mut Out, json: bool) -> Result<Exit, Failure> {
    let mut lost = None;
    let mut tell = |text: &str| {
        if !json {
            lost = lost.take().or(out.line(Tone::Quiet, &safe(text)).err());
        }
    };
    let upgraded = take_over(&flags.file.config, &flags.binary, &mut tell).await.map_err(|error| {
        let wrong = matches!(error, UpgradeError::Config(_) | UpgradeError::Unfit { .. });
        Failure::new(if wrong { Exit::Usage } else { Exit::Failed }, error)
    })?;
    if json {
        out.json(&upgraded)?;
    } else {
        let text = format!("tagboat {} has taken over from {}, without dropping a request", upgraded.to, upgraded.from);
        out.line(Tone::Good, &safe(&text))?;
    }
    Ok(Exit::Done)
}
