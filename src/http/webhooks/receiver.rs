//! A configured receiver: its sender, how that proves itself, and how it names registries.

use std::collections::{BTreeMap, BTreeSet};

use axum::http::HeaderMap;

use super::auth::HookAuth;
use super::path::FieldPath;
use super::reading::{Misread, Reading};
use super::sender::Sender;
use crate::model::Repository;

/// A receiver as configured.
#[derive(Debug, Clone)]
pub struct HookReceiver {
    /// Its last path segment, and its label in metrics.
    pub id: String,
    /// What sends to it.
    pub sender: Sender,
    /// How a delivery shows that it is authentic.
    pub auth: HookAuth,
    /// The registry meant by a delivery that names none, or names one that only the pusher knows; may have a path.
    pub default_host: Option<String>,
    /// The sender's names of registries → the name in the apps' images, which may have a path.
    pub aliases: BTreeMap<String, String>,
    /// Where a generic delivery has its repository and its tag.
    pub fields: Fields,
}

/// Where a generic delivery has what.
#[derive(Debug, Clone, Default)]
pub struct Fields {
    /// The repository, with or without registry, tag and digest.
    pub repository: Option<FieldPath>,
    /// The tag.
    pub tag: Option<FieldPath>,
}

impl HookReceiver {
    /// Reads an authentic delivery. Pure; takes any bytes.
    ///
    /// # Errors
    /// When it can't be understood.
    pub fn read(&self, headers: &HeaderMap, body: &[u8]) -> Result<Reading, Misread> {
        (self.sender.facts().read)(self, headers, body)
    }

    /// The repositories that `path` on a registry can mean to us, given the sender's name of that registry.
    /// Repositories and hosts have no capitals (distribution-spec), whatever their owners' names have.
    pub(super) fn repositories(&self, host: Option<&str>, path: &str) -> Vec<Repository> {
        let host = host.map(str::trim).filter(|host| !host.is_empty()).map(str::to_ascii_lowercase);
        let named = host.map(|host| self.alias(&host).map_or(host, str::to_owned));
        let places: BTreeSet<String> = named.into_iter().chain(self.default_host.clone()).collect();
        let path = path.trim().trim_start_matches('/').to_ascii_lowercase();
        // A path with one of these would be read as more than a path.
        if path.contains([':', '@']) {
            return Vec::new();
        }
        let placed = places.iter().filter(|place| is_registry(place)).filter_map(|place| {
            let official = place == "docker.io" && !path.contains('/');
            format!("{place}/{}{path}", if official { "library/" } else { "" }).parse().ok()
        });
        placed.collect()
    }

    /// What the sender's name of a registry means, if that was configured.
    pub(super) fn alias(&self, host: &str) -> Option<&str> {
        let found = self.aliases.iter().find(|(name, _)| name.eq_ignore_ascii_case(host));
        found.map(|(_, place)| place.as_str())
    }
}

/// Whether a place begins with a registry's name; another first segment would be taken for a part of a Docker Hub
/// repository.
pub(super) fn is_registry(place: &str) -> bool {
    let host = place.split('/').next().unwrap_or_default();
    host.contains('.') || host.contains(':') || host == "localhost"
}
