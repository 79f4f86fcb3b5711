//! `tagboat unquarantine` and `tagboat unpin`.

use super::client::Client;
use super::deploy::by_prefix;
use super::exit::{Exit, Failure};
use super::out::{Out, Tone};
use crate::http::LiftRequest;

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
