//! What that tagboat has brought to the host is of no more use?
//!
//! A container or an image is named only when it is ours or in our own history, and never while anything still refers
//! to it: a container, a pin, a watched tag, a swap under way, the images kept for a rollback.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::{AppName, Container, Digest, Leftover, LeftoverKind, StoredImage};

use super::reconcile::is_failed;

/// Everything that is looked at.
#[derive(Debug, Clone)]
pub struct Shelf<'a> {
    /// The apps that are watched.
    pub apps: &'a BTreeMap<AppName, Watched>,
    /// Every container of ours, of apps that are watched and of others.
    pub containers: &'a [Container],
    /// Every image of the engine.
    pub images: &'a [StoredImage],
    /// The digests that the history of any app names: what was ever pulled.
    pub brought: &'a BTreeSet<Digest>,
    /// The apps that have a history. Another tagboat on the same engine has others.
    pub deployed: &'a BTreeSet<AppName>,
    /// The names that images of ours are kept under begin with this: `tagboat.local/`.
    pub shelf: &'a str,
}

/// What a watched app still needs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Watched {
    /// Earlier images that stay for a rollback.
    pub keep: usize,
    /// What it runs, wants, is pinned to, waits for, or is being swapped to.
    pub needed: BTreeSet<Digest>,
    /// What is in quarantine: its failure is remembered.
    pub quarantined: BTreeSet<Digest>,
    /// A swap is under way, or may begin at any moment.
    pub busy: bool,
}

/// What can go, in the order in which it can: a container before the image that it uses.
pub fn leftovers(shelf: &Shelf<'_>) -> Vec<Leftover> {
    let mut found: Vec<Leftover> = shelf.containers.iter().filter_map(|each| shelf.container(each)).collect();
    let leaving: BTreeSet<&str> = found.iter().map(|each| each.reference.as_str()).collect();
    let staying = |container: &&Container| !leaving.contains(container.name.as_str());
    let used: BTreeSet<&str> =
        shelf.containers.iter().filter(staying).map(|container| container.image_id.as_str()).collect();
    let found_images: Vec<Leftover> = shelf.images.iter().flat_map(|image| shelf.image(image, &used)).collect();
    found.extend(found_images);
    found
}

impl Shelf<'_> {
    fn container(&self, container: &Container) -> Option<Leftover> {
        if container.is_running() || container.state == crate::model::ContainerState::Paused {
            return None;
        }
        let (app, version) = (&container.owned.app, container.owned.generation);
        let failed = is_failed(container);
        let why = match self.apps.get(app) {
            Some(watched) if watched.busy => return None,
            Some(watched) if failed && watched.quarantined.contains(&container.owned.digest) => {
                format!("version {version} failed; why is in the history")
            }
            Some(_) => return None,
            None if failed => format!("version {version} failed, and {app} is no longer watched"),
            // What was made from a person's container stays the person's, also when it has stopped.
            None if container.owned.restart.is_none() => format!("it has stopped, and {app} is no longer watched"),
            None => return None,
        };
        let (kind, reference) = (LeftoverKind::Container, container.name.clone());
        Some(Leftover { kind, reference, app: Some(app.clone()), why, bytes: None })
    }

    /// The names of an image that can go. Its bytes are said with the last of them, when none of its names stays.
    fn image(&self, image: &StoredImage, used: &BTreeSet<&str>) -> Vec<Leftover> {
        let unused = !used.contains(image.id.as_str());
        let mut gone: Vec<Leftover> = image.tags.iter().filter_map(|tag| self.kept(tag)).collect();
        let tags_left = image.tags.len() - gone.len();
        if unused && tags_left == 0 {
            gone.extend(image.digests.iter().filter_map(|name| self.pulled(name)));
        }
        let all = unused && gone.len() == image.tags.len() + image.digests.len();
        if let Some(last) = gone.last_mut().filter(|_| all) {
            last.bytes = Some(image.size);
        }
        gone
    }

    /// `tagboat.local/shop:gen-6`, beyond what its app keeps.
    fn kept(&self, name: &str) -> Option<Leftover> {
        let (app, generation) = self.generation(name)?;
        let why = match self.apps.get(&app) {
            None if !self.deployed.contains(&app) => return None,
            None if self.containers.iter().any(|container| container.owned.app == app && container.is_running()) => {
                return None;
            }
            None => format!("{app} is no longer watched"),
            Some(watched) => {
                let newer = self.images.iter().flat_map(|image| &image.tags).filter_map(|tag| self.generation(tag));
                let newer = newer.filter(|(of, number)| *of == app && *number > generation).count();
                if watched.busy || newer <= watched.keep {
                    return None;
                }
                format!("{newer} newer versions are kept (`keep: {}`)", watched.keep)
            }
        };
        Some(Leftover { kind: LeftoverKind::Image, reference: name.to_owned(), app: Some(app), why, bytes: None })
    }

    fn generation(&self, name: &str) -> Option<(AppName, u64)> {
        let (app, tag) = name.strip_prefix(self.shelf)?.rsplit_once(':')?;
        Some((app.parse().ok()?, tag.strip_prefix("gen-")?.parse().ok()?))
    }

    /// `ghcr.io/acme/shop@sha256:…`, which we have pulled and nobody needs.
    fn pulled(&self, name: &str) -> Option<Leftover> {
        let digest: Digest = name.rsplit_once('@')?.1.parse().ok()?;
        let needed = self.apps.values().any(|app| app.busy || app.needed.contains(&digest));
        if needed || !self.brought.contains(&digest) {
            return None;
        }
        let why = "pulled for a version that nothing refers to any more".to_owned();
        Some(Leftover { kind: LeftoverKind::Image, reference: name.to_owned(), app: None, why, bytes: None })
    }
}

#[cfg(test)]
mod tests;
