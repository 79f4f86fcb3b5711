//! Writes with a limit.
//!
//! After an error of the disk sled's next write never returns (0.34). So writes are made by a thread of their own and
//! waited for only so long; after the first that fails, nothing is written any more, and what would have been written is
//! kept in memory until the next start.

use std::collections::BTreeMap;
use std::sync::{Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use sled::Db;

/// A write and its flush may take so long; a healthy disk takes milliseconds.
const LIMIT: Duration = Duration::from_secs(2);

/// A tree's name and a key in it.
type Place = (&'static str, Vec<u8>);

struct Job {
    place: Place,
    value: Option<Vec<u8>>,
    done: mpsc::SyncSender<sled::Result<()>>,
}

/// Writes to a database as long as that works.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Mutex<Option<mpsc::Sender<Job>>>,
    kept: Mutex<BTreeMap<Place, Option<Vec<u8>>>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Writer {
    /// The database can be opened again as soon as the thread has let go of it; one that hangs is not waited for.
    fn drop(&mut self) {
        let working = self.jobs.lock().expect("no holder panics").take().is_some();
        if let Some(thread) = self.thread.take().filter(|_| working) {
            // A panic in there has been told as "its thread is gone".
            let _ = thread.join();
        }
    }
}

impl Writer {
    pub(super) fn new(db: Db) -> Self {
        let (jobs, inbox) = mpsc::channel::<Job>();
        // It ends with the sender; one that hangs in a write is given up with the process.
        let thread = std::thread::spawn(move || {
            for Job { place: (tree, key), value, done } in inbox {
                let written = db.open_tree(tree).and_then(|tree| {
                    match value {
                        Some(value) => tree.insert(key, value)?,
                        None => tree.remove(key)?,
                    };
                    db.flush().map(drop)
                });
                // Nobody waits any more after a time-out.
                let _ = done.try_send(written);
            }
        });
        Self { jobs: Mutex::new(Some(jobs)), kept: Mutex::default(), thread: Some(thread) }
    }

    /// Writes or removes a value; on disk when it returns, or in memory once the disk has failed.
    pub(super) fn write(&self, tree: &'static str, key: &[u8], value: Option<Vec<u8>>) {
        let place = (tree, key.to_vec());
        let mut jobs = self.jobs.lock().expect("no holder panics");
        if let Some(sender) = jobs.as_ref() {
            let (done, answer) = mpsc::sync_channel(1);
            let sent = sender.send(Job { place: place.clone(), value: value.clone(), done });
            let problem = match sent.map(|()| answer.recv_timeout(LIMIT)) {
                Ok(Ok(Ok(()))) => return,
                Ok(Ok(Err(error))) => error.to_string(),
                Ok(Err(_)) => format!("no answer within {} s", LIMIT.as_secs()),
                Err(_) => "its thread is gone".to_owned(),
            };
            tracing::error!(
                "nothing can be written to the memory any more ({problem}): everything goes on and is kept in memory; \
                 restart tagboat when the disk is in order, which costs no request"
            );
            *jobs = None;
        }
        self.kept.lock().expect("no holder panics").insert(place, value);
    }

    /// What stands in memory for a key: `None` when nothing does, `Some(None)` when it was removed.
    pub(super) fn kept(&self, tree: &'static str, key: &[u8]) -> Option<Option<Vec<u8>>> {
        self.kept.lock().expect("no holder panics").get(&(tree, key.to_vec())).cloned()
    }

    /// Everything that stands in memory under a prefix.
    pub(super) fn kept_under(&self, tree: &'static str, prefix: &[u8]) -> Vec<(Vec<u8>, Option<Vec<u8>>)> {
        let kept = self.kept.lock().expect("no holder panics");
        let ours = kept.iter().filter(|((name, key), _)| *name == tree && key.starts_with(prefix));
        ours.map(|((_, key), value)| (key.clone(), value.clone())).collect()
    }

    /// As if the disk had failed.
    #[cfg(test)]
    pub(super) fn fail(&self) {
        *self.jobs.lock().expect("no holder panics") = None;
    }
}
