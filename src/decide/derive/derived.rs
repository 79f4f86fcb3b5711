//! What a derivation gives.

use std::fmt;

use serde_json::Value;

use super::joins::Join;

/// The new container.
#[derive(Debug, Clone, PartialEq)]
pub struct Derived {
    /// `POST /containers/create`. Whatever the caller changes in it belongs to its intention from then on.
    pub body: Value,
    /// The old one's name.
    pub name: String,
    /// Networks to be connected after the create and before the start, with their endpoint's configuration. Empty
    /// from API 1.44 on: all are in the body.
    pub networks: Vec<(String, Value)>,
    /// Whom it refers to.
    pub joins: Vec<Join>,
    /// What a person should know.
    pub notices: Vec<Notice>,
    /// How the old one is, and the new one has to become.
    pub state: WantedState,
    /// `linux/arm64/v8`: what the old one ran on, as the query parameter `platform` of the create call. To be given
    /// when it is not the engine's own.
    pub platform: Option<String>,
    /// Anonymous volumes that the new one gets by name. While both containers run, both write to them.
    pub carried: Vec<Carried>,
}

/// An anonymous volume that moves along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Carried {
    /// Where it is mounted.
    pub path: String,
    /// Its name.
    pub volume: String,
}

/// The state that a container has to be brought to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WantedState {
    /// Started.
    Running,
    /// Left as it is made, with the old one ended: somebody stopped it, or it had done its work.
    Exited,
    /// Started and paused.
    Paused,
    /// Never started.
    Created,
}

/// Something that may bite, or that could not be known. Values of variables and labels are never in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The old image is not on the engine: its defaults were taken for the user's wishes.
    OldImageGone,
    /// A field that nobody seems to have set follows the image, and the image has changed it.
    Follows {
        /// `User`, `Env.PATH`
        field: String,
        /// What it was; `None` where it is not shown.
        from: Option<String>,
        /// What it becomes.
        to: Option<String>,
    },
    /// The new image does not declare a volume any more. Its data stays in the volume.
    VolumeDropped {
        /// Where it was.
        path: String,
        /// The volume's name.
        volume: String,
    },
    /// The new image declares a volume where the old one had none: what the container wrote there is not in it.
    VolumeAdded {
        /// Where.
        path: String,
    },
    /// The new image does not expose a port any more.
    PortDropped {
        /// `8080/tcp`
        port: String,
    },
    /// The new image has no health check any more.
    HealthcheckDropped,
    /// The label of compose names neither the old image's id nor its digest.
    ComposeImage,
    /// It refers to a container that is not known; if that was recreated since, the new one can't start.
    UnknownPeer {
        /// The id or name.
        container: String,
    },
    /// Its first network is not one of those that it is connected to; another one took its place.
    PrimaryMoved {
        /// The network that the container was created in.
        from: String,
        /// The first one now.
        to: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OldImageGone => f.write_str(
                "the image it was made from is gone: the image's defaults can't be told from its own configuration \
                 and all stay as they are",
            ),
            Self::Follows { field, from: Some(from), to: Some(to) } => {
                write!(f, "{field} follows the image, from {from} to {to} (label tagboat.keep_config={field} keeps it)")
            }
            Self::Follows { field, .. } => {
                write!(
                    f,
                    "{field} follows the image, which has changed it (label tagboat.keep_config={field} keeps it)"
                )
            }
            Self::VolumeDropped { path, volume } => {
                write!(f, "the new image declares no volume at {path}: the data stays in volume {volume}, unused")
            }
            Self::VolumeAdded { path } => {
                write!(f, "the new image declares a volume at {path}: what the container wrote there stays behind")
            }
            Self::PortDropped { port } => write!(f, "the new image does not expose {port} any more"),
            Self::HealthcheckDropped => f.write_str("the new image has no health check any more"),
            Self::ComposeImage => f.write_str(
                "the label com.docker.compose.image names another image than the one it ran: docker compose may \
                 recreate it",
            ),
            Self::UnknownPeer { container } => write!(f, "it refers to container {container}, which is not there"),
            Self::PrimaryMoved { from, to } => {
                write!(f, "it is not connected to {from}, in which it was created: {to} is its first network now")
            }
        }
    }
}

/// A container can't be derived.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeriveError {
    /// The document is not that of a container.
    #[error("the inspect document has no {0}")]
    NoContainer(&'static str),
    /// It belongs to something else that makes containers.
    #[error("container {name} is left alone: {reason}")]
    Unfit {
        /// Its name.
        name: String,
        /// Why.
        reason: &'static str,
    },
    /// Containers that join each other in a circle can't be recreated one after the other.
    #[error("containers join each other in a circle: {}", .0.join(" → "))]
    Circle(Vec<String>),
}
