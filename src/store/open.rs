//! Opens the database, or puts a broken one aside and begins anew.

use std::path::{Path, PathBuf};

use chrono::Utc;
use sled::Db;

use crate::ports::{Source, StoreError};

use super::trees::{FORMAT, TREES, VERSIONS};

/// The directory within the state directory.
const DIRECTORY: &str = "db";

/// Cache in memory: what is kept is a few hundred small values.
const CACHE: u64 = 1 << 20;

/// Opens the database below `state_dir`. One that is broken, or was written by a newer tagboat, is moved aside; when
/// nothing can be written there at all, an empty one in memory takes its place, so that a full disk does not keep
/// anything from being served or deployed.
pub(super) fn open(state_dir: &Path) -> Result<Db, StoreError> {
    let path = state_dir.join(DIRECTORY);
    let problem = match attempt(&path) {
        Ok(db) => return Ok(db),
        Err(problem) => problem,
    };
    let aside = aside(&path);
    match std::fs::rename(&path, &aside) {
        Ok(()) => tracing::error!(
            kept = %aside.display(),
            "the memory can't be used and is begun anew (history, quarantine and pins are lost): {problem}"
        ),
        Err(error) => tracing::error!("the memory can't be used ({problem}) nor moved aside: {error}"),
    }
    match attempt(&path) {
        Ok(db) => Ok(db),
        Err(problem) => {
            tracing::error!(
                path = %path.display(),
                "nothing can be kept on disk: everything goes on, but is forgotten at the next start: {problem}"
            );
            let temporary = sled::Config::new().temporary(true).cache_capacity(CACHE);
            let temporary =
                temporary.path(std::env::temp_dir().join(format!("tagboat-{:016x}", rand::random::<u64>())));
            temporary.open().map_err(|error| failed(Box::new(error)))
        }
    }
}

fn failed(source: Source) -> StoreError {
    StoreError { operation: "open the memory", source }
}

fn aside(path: &Path) -> PathBuf {
    path.with_file_name(format!("{DIRECTORY}.broken-{}", Utc::now().format("%Y%m%dT%H%M%S%.3f")))
}

/// Opens and reads everything once. Sled may panic over rubbish; that is only another way of saying so.
fn attempt(path: &Path) -> Result<Db, String> {
    let path = path.to_owned();
    let opened = std::thread::spawn(move || -> Result<Db, String> {
        let told = |error: sled::Error| error.to_string();
        let db = sled::Config::new().path(&path).cache_capacity(CACHE).open().map_err(told)?;
        let versions = db.open_tree(VERSIONS).map_err(told)?;
        for (name, _) in TREES {
            let tree = db.open_tree(name).map_err(told)?;
            for entry in &tree {
                entry.map_err(told)?;
            }
            match versions.get(name).map_err(told)? {
                None => drop(versions.insert(name, &FORMAT.to_be_bytes()).map_err(told)?),
                Some(version) if *version == FORMAT.to_be_bytes() => {}
                Some(version) => {
                    return Err(format!("tree {name} has format {version:?}, this tagboat knows {FORMAT}"));
                }
            }
        }
        db.flush().map_err(told)?;
        Ok(db)
    });
    opened.join().unwrap_or_else(|_| Err("it is corrupt".to_owned()))
}
