//! What is of no more use on the host, and what became of it.

use serde::{Deserialize, Serialize};

use super::AppName;

/// An image of the engine, by all of its names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StoredImage {
    /// The engine's id of it.
    pub id: String,
    /// `repository:tag` names, ours included.
    pub tags: Vec<String>,
    /// `repository@digest` names.
    pub digests: Vec<String>,
    /// Bytes on disk; layers that other images share are counted with each of them.
    pub size: u64,
}

/// What a leftover is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftoverKind {
    /// A container that has stopped.
    Container,
    /// A name of an image; the image goes with its last name.
    Image,
}

impl LeftoverKind {
    /// Stable name.
    pub fn label(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Image => "image",
        }
    }
}

/// Something that is of no more use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leftover {
    /// What it is.
    pub kind: LeftoverKind,
    /// The container's name, or the image's name with tag or digest.
    pub reference: String,
    /// Whose it was, when it was one app's.
    pub app: Option<AppName>,
    /// Why nobody needs it.
    pub why: String,
    /// Bytes on disk, with the last name of an image.
    pub bytes: Option<u64>,
}

/// A leftover that is still there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remains {
    /// It.
    #[serde(flatten)]
    pub leftover: Leftover,
    /// What was in the way.
    pub problem: String,
}

/// What a pruning found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// Nothing was removed: what would be is said.
    pub dry_run: bool,
    /// Removed, or to be removed.
    pub removed: Vec<Leftover>,
    /// What could not be removed.
    pub remains: Vec<Remains>,
}
