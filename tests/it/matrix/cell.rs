//! One kill and what came of it.

use std::time::Duration;

/// Which side of a side effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Before,
    After,
}

/// Where the agent is killed.
#[derive(Debug, Clone)]
pub(super) struct Point {
    pub(super) name: String,
    /// Which call of that name in the swap, from 1.
    pub(super) nth: usize,
    pub(super) when: When,
}

impl Point {
    /// As the failpoints read it.
    pub(super) fn armed(&self, version: &str) -> String {
        let when = if self.when == When::Before { "before" } else { "after" };
        format!("{when} {} {} {version}", self.name, self.nth)
    }
}

/// What happens while the agent is dead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Harm {
    /// Nothing.
    Intact,
    /// The memory is deleted.
    Deleted,
    /// Each file of the memory is cut to a third.
    CutShort,
    /// The proxy is killed as well.
    Proxy,
    /// All of tagboat is killed, and started again by somebody else.
    Power,
}

impl Harm {
    pub(super) const ALL: [Self; 3] = [Self::Intact, Self::Deleted, Self::CutShort];

    /// Whether requests may fail whatever the strategy.
    pub(super) fn costs_requests(self) -> bool {
        matches!(self, Self::Proxy | Self::Power)
    }

    pub(super) fn apply(self, db: &std::path::Path) {
        match self {
            Self::Deleted => std::fs::remove_dir_all(db).unwrap(),
            Self::CutShort => {
                for entry in std::fs::read_dir(db).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_file() {
                        let length = std::fs::metadata(&path).unwrap().len();
                        std::fs::File::options().write(true).open(path).unwrap().set_len(length / 3).unwrap();
                    }
                }
            }
            Self::Intact | Self::Proxy | Self::Power => {}
        }
    }
}

/// What came of it.
#[derive(Debug, Clone)]
pub(super) struct Verdict {
    pub(super) strategy: &'static str,
    pub(super) effect: String,
    pub(super) harm: Harm,
    pub(super) failed: u64,
    /// From the old version's last answer or breath to the new one's first.
    pub(super) gap: Duration,
    /// From the kill until what was wanted was there and nothing else.
    pub(super) converged: Duration,
    pub(super) orphans: usize,
    pub(super) problems: Vec<String>,
}
