//! `tagboat prune`: removes what is of no more use, or says what that is.

use super::client::Client;
use super::exit::{Exit, Failure};
use super::out::{Cell, Out, Row, Table, Tone, safe};
use super::words::bytes;
use crate::model::{Leftover, Pruned};

pub(super) async fn prune(client: &Client, out: &mut Out, dry_run: bool, json: bool) -> Result<Exit, Failure> {
    let pruned = client.prune(dry_run).await?;
    if json {
        out.json(&pruned)?;
    } else {
        print(out, &pruned)?;
    }
    Ok(if pruned.remains.is_empty() { Exit::Done } else { Exit::Failed })
}

pub(super) fn print(out: &mut Out, pruned: &Pruned) -> std::io::Result<()> {
    if pruned.removed.is_empty() && pruned.remains.is_empty() {
        return out.line(Tone::Good, "there is nothing to remove: everything that tagboat brought is needed");
    }
    if !pruned.removed.is_empty() {
        let rows = pruned.removed.iter().map(row).collect();
        out.table(&Table { head: &["KIND", "NAME", "SIZE", "WHY"], rows })?;
        let size: u64 = pruned.removed.iter().filter_map(|leftover| leftover.bytes).sum();
        let count = pruned.removed.len();
        let text = match pruned.dry_run {
            true => format!("{count} would be removed, {} of images; `tagboat prune` does it", bytes(size)),
            false => format!("{count} removed, {} of images (layers that others share stay)", bytes(size)),
        };
        out.line(Tone::Good, &text)?;
    }
    for remains in &pruned.remains {
        let text = format!("{} is still there: {}", remains.leftover.reference, remains.problem);
        out.line(Tone::Warning, &safe(&text))?;
    }
    Ok(())
}

fn row(leftover: &Leftover) -> Row {
    let size = leftover.bytes.map(bytes).unwrap_or_default();
    let cells = vec![
        Cell(Tone::Plain, leftover.kind.label().to_owned()),
        Cell(Tone::Plain, safe(&leftover.reference)),
        Cell(Tone::Plain, size),
        Cell(Tone::Quiet, safe(&leftover.why)),
    ];
    Row { cells, below: Vec::new() }
}
