//! Mounts keep the form that they had; anonymous volumes get their name.
//!
//! A volume that only an image's `VOLUME` or a bare `-v /path` asked for appears nowhere but in the top-level `Mounts`.
//! Made anew it would be empty: it is mounted by name instead, marked as anonymous, so that a later derivation knows
//! that nobody asked for this very volume.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::config::is_own_volume;
use super::derived::Carried;
use super::json::{Object, clean, entries, object, text, texts};
use super::options::{Sources, names};

/// The mark, a label in the options of the mount. The engine ignores it, as the volume exists.
const ANONYMOUS: &str = "tagboat.anonymous";

/// Options and the only type of mount that may have them: newer engines refuse what older ones let pass.
const OPTIONS: [(&str, &str); 4] =
    [("VolumeOptions", "volume"), ("BindOptions", "bind"), ("TmpfsOptions", "tmpfs"), ("ImageOptions", "image")];

/// A volume without a name of its own, and what is to become of it.
#[derive(Debug)]
pub(super) struct Anonymous {
    pub(super) path: String,
    pub(super) volume: String,
    driver: String,
    writable: bool,
    /// The new image, or the user, still wants a volume there.
    pub(super) wanted: bool,
}

/// Sets the mounts of the create call.
pub(super) fn separate(sources: &Sources<'_>, host: &mut Object) {
    let volumes = anonymous(sources);
    if let Some(mounts) = host.get_mut("Mounts").and_then(Value::as_array_mut) {
        mounts.retain(|mount| !is_carried(mount));
        mounts.iter_mut().for_each(|mount| named(sources, mount));
    }
    for bind in host.get_mut("Binds").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(path) = bind.as_str().filter(|bind| !bind.contains(':')) else { continue };
        if let Some(volume) = mounted(sources, path).map(volume_name).filter(|name| !name.is_empty()) {
            *bind = json!(format!("{volume}:{path}"));
        }
    }
    let carried: Vec<Value> = volumes.iter().filter(|volume| volume.wanted).map(Anonymous::mount).collect();
    if !carried.is_empty() {
        let mounts = host.entry("Mounts").or_insert(Value::Null);
        if !mounts.is_array() {
            *mounts = json!([]);
        }
        mounts.as_array_mut().into_iter().for_each(|mounts| mounts.extend(carried.iter().cloned()));
    }
}

impl Anonymous {
    fn mount(&self) -> Value {
        let mut options = json!({"Labels": {ANONYMOUS: "true"}});
        if !["", "local"].contains(&self.driver.as_str()) {
            options["DriverConfig"] = json!({"Name": self.driver});
        }
        let mut mount = json!({"Type": "volume", "Source": self.volume, "Target": self.path, "VolumeOptions": options});
        if !self.writable {
            mount["ReadOnly"] = json!(true);
        }
        mount
    }
}

/// The volumes that moved or will move to the new container.
pub(super) fn carried(sources: &Sources<'_>) -> Vec<Carried> {
    let volumes = anonymous(sources).into_iter().filter(|volume| volume.wanted);
    volumes.map(|volume| Carried { path: volume.path, volume: volume.volume }).collect()
}

/// Every anonymous volume that an image or a bare path asked for.
pub(super) fn anonymous(sources: &Sources<'_>) -> Vec<Anonymous> {
    let taken = places(sources);
    let declared: BTreeSet<String> = entries(&sources.config()["Volumes"]).map(|(path, _)| clean(path)).collect();
    let by_new: BTreeSet<String> = entries(&sources.new_config()["Volumes"]).map(|(path, _)| clean(path)).collect();
    let mounts = sources.container["Mounts"].as_array().into_iter().flatten();
    let volumes = mounts.filter(|mount| text(mount, "Type") == "volume" && !volume_name(mount).is_empty());
    let mut found = Vec::new();
    for mount in volumes {
        let path = clean(text(mount, "Destination"));
        let carried_before = own_mounts(sources).any(|own| is_carried(own) && clean(text(own, "Target")) == path);
        if taken.contains(&path) || !(declared.contains(&path) || carried_before) {
            continue;
        }
        let own = declared.contains(&path) && is_own_volume(sources, &path);
        found.push(Anonymous {
            volume: volume_name(mount).to_owned(),
            driver: text(mount, "Driver").to_owned(),
            writable: mount["RW"] != false,
            wanted: own || by_new.contains(&path),
            path,
        });
    }
    // The engine shows them in any order.
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

/// Places where the user asked for something else, or where another container's volume comes in.
fn places(sources: &Sources<'_>) -> BTreeSet<String> {
    let host = sources.host();
    let binds = texts(&host["Binds"]).map(|bind| {
        let parts: Vec<&str> = bind.split(':').collect();
        clean(parts.get(1).or(parts.first()).copied().unwrap_or_default())
    });
    let mounts = own_mounts(sources).filter(|mount| !is_carried(mount)).map(|mount| clean(text(mount, "Target")));
    let tmpfs = entries(&host["Tmpfs"]).map(|(path, _)| clean(path));
    binds.chain(mounts).chain(tmpfs).chain(from_others(sources)).collect()
}

/// Places that volumes-from fills, as far as the other containers are known.
fn from_others(sources: &Sources<'_>) -> Vec<String> {
    let from = texts(&sources.host()["VolumesFrom"]).map(|from| from.split(':').next().unwrap_or(from));
    let from: Vec<&str> = from.collect();
    let peers = sources.options.peers.iter();
    let used = peers.filter(|peer| from.iter().any(|from| names(from, &peer.id, &peer.name)));
    used.flat_map(|peer| &peer.mounts)
        .filter(|(path, volume)| is_theirs(sources, path, volume))
        .map(|(p, _)| p.clone())
        .collect()
}

/// The other container's volume is the one that is mounted here.
fn is_theirs(sources: &Sources<'_>, path: &str, volume: &str) -> bool {
    mounted(sources, path).is_none_or(|mount| text(mount, "Name") == volume)
}

fn own_mounts<'a>(sources: &Sources<'a>) -> impl Iterator<Item = &'a Value> + use<'a> {
    sources.host()["Mounts"].as_array().into_iter().flatten()
}

fn mounted<'a>(sources: &Sources<'a>, path: &str) -> Option<&'a Value> {
    let mut mounts = sources.container["Mounts"].as_array().into_iter().flatten();
    mounts.find(|mount| clean(text(mount, "Destination")) == clean(path))
}

/// The name of a mounted volume. Newer engines do not say it of a bare path among the binds, only where its data is.
fn volume_name(mount: &Value) -> &str {
    let name = text(mount, "Name");
    if !name.is_empty() || text(mount, "Type") != "volume" {
        return name;
    }
    let of_data = text(mount, "Source").strip_suffix("/_data").and_then(|dir| dir.rsplit_once("/volumes/"));
    of_data.map_or("", |(_, name)| name)
}

fn is_carried(mount: &Value) -> bool {
    mount["VolumeOptions"]["Labels"].get(ANONYMOUS).is_some()
}

/// A mount of the user's: options of other types are taken off, and a volume without a name gets the one it has.
fn named(sources: &Sources<'_>, mount: &mut Value) {
    let kind = text(mount, "Type").to_owned();
    let Some(fields) = mount.as_object_mut() else { return };
    for (options, of) in OPTIONS {
        if of != kind {
            fields.remove(options);
        }
    }
    let anonymous = kind == "volume" && object(mount).get("Source").is_none_or(|source| source == "");
    let place = text(mount, "Target").to_owned();
    let Some(volume) = mounted(sources, &place).map(volume_name).filter(|name| !name.is_empty()) else {
        return;
    };
    if anonymous {
        mount["Source"] = json!(volume);
    }
}
