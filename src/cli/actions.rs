//! `tagboat unquarantine`, `tagboat approve` and `tagboat unpin`.

use super::client::Client;
use super::deploy::by_prefix;
use super::exit::{Exit, Failure};
use super::out::{Out, Tone, safe};
use crate::http::{ApproveRequest, LiftRequest};
use crate::model::{Approval, Digest};

pub(super) async fn unquarantine(
    client: &Client,
    out: &mut Out,
    app: &str,
    digest: Option<&str>,
    json: bool,
) -> Result<Exit, Failure> {
    let digest = match digest {
        None => None,
        Some(given) => {
            let known = client.app(app).await?.status.quarantined.into_iter().map(|entry| entry.digest).collect();
            Some(by_prefix(known, given).map_err(Failure::usage)?)
        }
    };
    let answer = client.unquarantine(app, &LiftRequest { digest }).await?;
    if json {
        out.json(&answer)?;
    } else if answer.lifted == 0 {
        out.line(Tone::Plain, &format!("{app} had nothing in quarantine"))?;
    } else {
        out.line(Tone::Good, &format!("{app}: {} lifted; what its tag points to is tried again now", answer.lifted))?;
    }
    Ok(Exit::Done)
}

pub(super) async fn unpin(client: &Client, out: &mut Out, app: &str, json: bool) -> Result<Exit, Failure> {
    let answer = client.unpin(app).await?;
    if json {
        out.json(&answer)?;
    } else if answer.unpinned {
        out.line(Tone::Good, &format!("{app} follows its tag again"))?;
    } else {
        out.line(Tone::Plain, &format!("{app} was not pinned"))?;
    }
    Ok(Exit::Done)
}

/// Approves of the version that is shown as waiting, and of no other that may come meanwhile.
pub(super) async fn approve(
    client: &Client,
    out: &mut Out,
    app: &str,
    (digest, by): (Option<&str>, String),
    json: bool,
) -> Result<Exit, Failure> {
    let status = client.app(app).await?.status;
    let digest = match digest {
        Some(whole) if whole.parse::<Digest>().is_ok() => whole.parse().ok(),
        Some(given) => Some(by_prefix(status.waiting().cloned().into_iter().collect(), given).map_err(Failure::usage)?),
        None => status.waiting().cloned(),
    };
    let answer = client.approve(app, &ApproveRequest { digest, by: Some(by) }).await?;
    let Approval { digest, by, .. } = &answer.approval;
    if json {
        out.json(&answer)?;
    } else if answer.asked_for {
        out.line(Tone::Good, &safe(&format!("{app}: {} is approved by {by}", digest.short())))?;
    } else {
        let text = format!("{app}: {} is approved, though its policy does not ask for it", digest.short());
        out.line(Tone::Plain, &text)?;
    }
    Ok(Exit::Done)
}
