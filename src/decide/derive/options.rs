//! What a derivation is made from.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use serde_json::Value;

use super::json::{clean, text};

/// Everything that is known.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// `docker inspect` of the old container.
    pub container: &'a Value,
    /// Inspect of the image that it was made from; `None` when that is gone. Then its defaults can't be told from the
    /// user's wishes, and all stay as they are.
    pub old_image: Option<&'a Value>,
    /// Inspect of the image that it shall be made from.
    pub new_image: &'a Value,
    /// The API version that is spoken with the engine.
    pub api: (u32, u32),
    /// Everything that is somebody's choice.
    pub options: &'a Options,
}

impl<'a> Sources<'a> {
    /// The old image's share of the configuration.
    pub(super) fn old_config(&self) -> &'a Value {
        self.old_image.map_or(super::json::NOTHING, |image| &image["Config"])
    }

    /// The new image's share.
    pub(super) fn new_config(&self) -> &'a Value {
        &self.new_image["Config"]
    }

    pub(super) fn config(&self) -> &'a Value {
        &self.container["Config"]
    }

    pub(super) fn host(&self) -> &'a Value {
        &self.container["HostConfig"]
    }
}

/// What the caller may decide or know.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Fields whose value equals the old image's default and that are the user's all the same.
    pub keep: Keep,
    /// The daemon's defaults; what is not known is kept as it is.
    pub daemon: DaemonDefaults,
    /// The containers that this one refers to (network, ipc, pid, volumes-from).
    pub peers: Vec<Peer>,
    /// What to write as `Image`; `None`: the old reference if that names the new image, else the new image's id.
    pub image: Option<String>,
}

/// Fields that stay although they equal the old image's default.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keep {
    all: bool,
    fields: BTreeSet<String>,
    entries: BTreeMap<String, BTreeSet<String>>,
}

/// What can be kept: every field that a container inherits, and hardware addresses, which the engine may have made.
const FIELDS: [&str; 11] = [
    "cmd",
    "entrypoint",
    "env",
    "exposedports",
    "healthcheck",
    "labels",
    "macaddress",
    "stopsignal",
    "user",
    "volumes",
    "workingdir",
];

impl FromStr for Keep {
    type Err = String;

    /// `user, env.PATH, volumes./data, healthcheck.interval` or `all`; the names of fields in any case, with or
    /// without underscores.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut keep = Self::default();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let (field, entry) = item.split_once('.').map_or((item, None), |(field, entry)| (field, Some(entry)));
            let field = normal(field);
            if field == "all" {
                keep.all = true;
            } else if !FIELDS.contains(&field.as_str()) {
                return Err(format!("{item:?} is not inherited from an image: use all, {}", FIELDS.join(", ")));
            } else if let Some(entry) = entry {
                keep.entries.entry(field).or_default().insert(entry.to_owned());
            } else {
                keep.fields.insert(field);
            }
        }
        Ok(keep)
    }
}

impl Keep {
    /// The whole field stays.
    pub(super) fn has(&self, field: &str) -> bool {
        self.all || self.fields.contains(&normal(field))
    }

    /// This entry of the field stays.
    pub(super) fn has_entry(&self, field: &str, entry: &str) -> bool {
        let named = self.entries.get(&normal(field));
        self.has(field) || named.is_some_and(|named| named.iter().any(|n| n == entry || normal(n) == normal(entry)))
    }
}

fn normal(text: &str) -> String {
    text.chars().filter(|c| *c != '_').collect::<String>().to_lowercase()
}

/// What the daemon fills in when nobody asks for anything else.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DaemonDefaults {
    /// `runc`
    pub runtime: Option<String>,
    /// `json-file`
    pub log_driver: Option<String>,
    /// `host` or `private`
    pub cgroupns: Option<String>,
    /// The machine's name, which a container in its network has too.
    pub host_name: Option<String>,
}

impl DaemonDefaults {
    /// Reads them from the answer to `GET /info`.
    pub fn from_info(info: &Value) -> Self {
        let known = |key: &str| Some(text(info, key).to_owned()).filter(|text| !text.is_empty());
        let cgroupns = match text(info, "CgroupVersion") {
            "1" => Some("host".to_owned()),
            "2" => Some("private".to_owned()),
            _ => None,
        };
        let (runtime, log_driver) = (known("DefaultRuntime"), known("LoggingDriver"));
        Self { runtime, log_driver, cgroupns, host_name: known("Name") }
    }
}

/// A container that another one refers to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its id.
    pub id: String,
    /// Its name, without the slash.
    pub name: String,
    /// What to write in its place: its name, or the id of the container that takes its place.
    pub reference: String,
    /// Its mounts: place → volume name (empty for what is no volume).
    pub mounts: BTreeMap<String, String>,
}

impl Peer {
    /// From its inspect document; it is referred to by its name.
    pub fn from_inspect(inspect: &Value) -> Self {
        let name = text(inspect, "Name").trim_start_matches('/').to_owned();
        let mounts = inspect["Mounts"].as_array().into_iter().flatten();
        let mounts = mounts.map(|m| (clean(text(m, "Destination")), text(m, "Name").to_owned()));
        Self { id: text(inspect, "Id").to_owned(), reference: name.clone(), name, mounts: mounts.collect() }
    }

    /// Is it meant by this id, short id or name?
    pub(super) fn is(&self, reference: &str) -> bool {
        names(reference, &self.id, &self.name)
    }
}

/// Does a reference name the container with this id and name?
pub(super) fn names(reference: &str, id: &str, name: &str) -> bool {
    let reference = reference.trim_start_matches('/');
    let short = reference.len() >= 12 && reference.bytes().all(|b| b.is_ascii_hexdigit());
    !reference.is_empty() && (reference == id || reference == name || (short && id.starts_with(reference)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_to_keep_are_read_leniently_and_unknown_ones_refused() {
        let keep: Keep = "user, env.PATH,Working_Dir , healthcheck.start_period, volumes./data".parse().unwrap();
        assert!(keep.has("User") && keep.has("WorkingDir") && !keep.has("Env"));
        assert!(keep.has_entry("Env", "PATH") && !keep.has_entry("Env", "HOME"));
        assert!(keep.has_entry("Healthcheck", "StartPeriod") && keep.has_entry("Volumes", "/data"));
        assert!("all".parse::<Keep>().unwrap().has_entry("Labels", "a"));
        assert!("memory".parse::<Keep>().unwrap_err().contains("memory"));
        assert_eq!("".parse(), Ok(Keep::default()));
    }

    #[test]
    fn a_container_is_named_by_id_short_id_or_name_and_never_by_a_few_letters() {
        let id = "28df0326656b5358723070b5bf310d62346d03a0eb6b3fccd505350df242255c";
        for (reference, named) in
            [(id, true), (&id[..12], true), ("db", true), ("/db", true), (&id[..6], false), ("", false)]
        {
            assert_eq!(names(reference, id, "db"), named, "{reference}");
        }
    }
}
