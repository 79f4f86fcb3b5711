//! The holds on disk: a proxy that is killed or replaced while an app's requests wait has them wait again before it takes
//! the first one. Without this they would be sent to a container that was stopped, until the agent holds them anew.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::model::AppHold;

use super::table::{checked, line, replace};

const NAME: &str = "holds";

/// Where the holds are kept, and what stands there.
#[derive(Debug)]
pub(super) struct HoldsFile {
    dir: PathBuf,
    kept: Vec<AppHold>,
}

impl HoldsFile {
    /// Reads the holds. A damaged line is told and left out: its app is held again as soon as the agent prolongs it.
    pub(super) fn load(dir: &Path) -> Self {
        let path = dir.join(NAME);
        let bytes = fs::read(&path).unwrap_or_else(|error| {
            if error.kind() != io::ErrorKind::NotFound {
                tracing::warn!(path = %path.display(), %error, "what was held can't be read");
            }
            Vec::new()
        });
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let read = |line| checked(line).and_then(|json| serde_json::from_slice(json).ok());
        let (whole, damaged): (Vec<_>, Vec<_>) = lines.map(read).partition(Option::is_some);
        if !damaged.is_empty() {
            tracing::warn!(path = %path.display(), damaged_lines = damaged.len(), "what was held is damaged");
        }
        Self { dir: dir.to_owned(), kept: whole.into_iter().flatten().collect() }
    }

    pub(super) fn kept(&self) -> &[AppHold] {
        &self.kept
    }

    /// Has exactly these on disk when it returns. That it could not be done is told, and costs something only if the
    /// proxy ends as well.
    pub(super) async fn keep(&mut self, holds: Vec<AppHold>) {
        if self.kept == holds {
            return;
        }
        let dir = self.dir.clone();
        let bytes = holds.iter().map(line).collect::<String>().into_bytes();
        let written = tokio::task::spawn_blocking(move || replace(&dir, &[NAME], &bytes));
        match written.await.map_err(io::Error::other).flatten() {
            Ok(()) => self.kept = holds,
            Err(error) => tracing::warn!(dir = %self.dir.display(), %error, "what is held is not kept"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::HoldLimits;

    fn hold(app: &str) -> AppHold {
        let limits = HoldLimits { wait_ms: 1, requests: 2, bytes: 3 };
        AppHold { app: app.parse().unwrap(), expect: 4, lease_ms: 5, limits }
    }

    #[tokio::test]
    async fn what_was_kept_is_read_as_far_as_it_is_whole() {
        let dir = tempfile::tempdir().unwrap();
        let mut file = HoldsFile::load(dir.path());
        assert_eq!(file.kept(), []);
        file.keep(vec![hold("blog"), hold("shop")]).await;
        assert_eq!(HoldsFile::load(dir.path()).kept(), [hold("blog"), hold("shop")]);
        let path = dir.path().join(NAME);
        let text = fs::read_to_string(&path).unwrap().replace("blog", "blob");
        fs::write(&path, text).unwrap();
        assert_eq!(HoldsFile::load(dir.path()).kept(), [hold("shop")]);
        file.keep(Vec::new()).await;
        assert_eq!(fs::read(&path).unwrap(), b"");
    }

    #[tokio::test]
    async fn what_could_not_be_written_is_written_the_next_time() {
        let dir = tempfile::tempdir().unwrap();
        let absent = dir.path().join("absent");
        let mut file = HoldsFile::load(&absent);
        file.keep(vec![hold("shop")]).await;
        assert_eq!(file.kept(), []);
        fs::create_dir(&absent).unwrap();
        file.keep(vec![hold("shop")]).await;
        assert_eq!(HoldsFile::load(&absent).kept(), [hold("shop")]);
    }
}
