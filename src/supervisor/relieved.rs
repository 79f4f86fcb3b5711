//! That a relief container looks after a container of ours: it starts the one before again when that one ends.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::model::Time;

/// What the relief writes down for the container that it starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Relieved {
    /// The id of the container that is to take the place.
    pub container: String,
    /// Since when nobody has it.
    pub away_since: Option<Time>,
}

impl Relieved {
    /// What was written last, if it is about this container.
    pub fn read(state_dir: &Path, container: &str) -> Option<Self> {
        let read = std::fs::read(Self::file(state_dir)).ok()?;
        serde_json::from_slice(&read).ok().filter(|written: &Self| written.container == container)
    }

    /// Written before anything is done, and `away_since` before the old one is stopped.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write(&self, state_dir: &Path) -> std::io::Result<()> {
        let text = serde_json::to_vec(self).expect("a text and a time can be written as JSON");
        let new = Self::file(state_dir).with_extension("new");
        std::fs::write(&new, text)?;
        std::fs::rename(new, Self::file(state_dir))
    }

    /// Nobody looks after it any more.
    pub fn forget(state_dir: &Path) {
        let _ = std::fs::remove_file(Self::file(state_dir));
    }

    fn file(state_dir: &Path) -> PathBuf {
        state_dir.join("run").join("relieved")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_about_one_container_until_it_is_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("run")).unwrap();
        assert_eq!(Relieved::read(dir.path(), "abc"), None);
        for away_since in [None, Some(Time::UNIX_EPOCH)] {
            let note = Relieved { container: "abc".to_owned(), away_since };
            note.write(dir.path()).unwrap();
            assert_eq!(Relieved::read(dir.path(), "abc"), Some(note));
            assert_eq!(Relieved::read(dir.path(), "abd"), None);
        }
        Relieved::forget(dir.path());
        assert_eq!(Relieved::read(dir.path(), "abc"), None);
    }
}
