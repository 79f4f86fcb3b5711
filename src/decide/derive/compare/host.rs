//! `HostConfig` and mounts.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::decide::compare::Difference;
use crate::decide::derive::json::{NOTHING, clean, entries, is_empty, keys, text, texts};
use crate::decide::derive::masks::{is_default_mask, is_default_protection};

use super::{difference, map};

/// How a field may differ from what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rule {
    /// The daemon's default where nothing was asked for.
    Default,
    /// The engine may add entries.
    Grows,
    /// The engine writes the id of a container for its name.
    Reference,
    /// The engine does not show it, or as something else.
    Unseen,
}

/// Every field that is not simply shown as it was given, and why.
pub(super) const RULES: [(&str, Rule); 15] = [
    // `default-runtime`, `log-driver` and `log-opts`, `default-shm-size`, `default-ipc-mode`,
    // `default-cgroupns-mode`: the daemon's configuration, followed on purpose.
    ("Runtime", Rule::Default),
    ("LogConfig", Rule::Default),
    ("ShmSize", Rule::Default),
    ("CgroupnsMode", Rule::Default),
    ("Isolation", Rule::Default),
    // `default-ulimits` are merged in when it is shown.
    ("Ulimits", Rule::Grows),
    // `label=disable` beside the host's namespaces, or the labels of a joined container.
    ("SecurityOpt", Rule::Grows),
    // `container:name` → `container:id`; the default mode of `IpcMode` is the daemon's.
    ("NetworkMode", Rule::Reference),
    ("IpcMode", Rule::Reference),
    ("PidMode", Rule::Reference),
    // Shown from the other end, and for user-defined networks with the endpoint.
    ("Links", Rule::Unseen),
    // The terminal of whoever made the old one; reset by API < 1.42.
    ("ConsoleSize", Rule::Unseen),
    // Taken away by engines that do not have them (cgroup v2, Engine 23), with a warning at the create.
    ("KernelMemory", Rule::Unseen),
    ("KernelMemoryTCP", Rule::Unseen),
    // The engine fills in options; each mount is compared by what it is.
    ("Mounts", Rule::Unseen),
];

pub(super) fn compare(wanted: &Value, made: &Value, found: &mut Vec<Difference>) {
    let fields: BTreeSet<&str> = keys(wanted).union(&keys(made)).copied().collect();
    for field in fields {
        let (asked, is) = (wanted.get(field).unwrap_or(NOTHING), made.get(field).unwrap_or(NOTHING));
        if !explained(field, asked, is, wanted) {
            let path = format!("HostConfig.{field}");
            if asked.is_object() && is.is_object() {
                map(&path, asked, is, found);
            } else {
                found.push(difference(&path, asked, is));
            }
        }
    }
}

fn explained(field: &str, asked: &Value, made: &Value, wanted: &Value) -> bool {
    if asked == made || (is_empty(asked) && is_empty(made)) {
        return true;
    }
    let rule = RULES.iter().find(|(name, _)| *name == field).map(|(_, rule)| *rule);
    match (field, rule) {
        (_, Some(Rule::Default)) => is_empty(asked),
        (_, Some(Rule::Unseen)) => true,
        (_, Some(Rule::Grows)) => grown(field, asked, made),
        (_, Some(Rule::Reference)) => referred(asked, made),
        // Twice the memory, by default.
        ("MemorySwap", _) => asked.is_null() && made.as_i64() == wanted["Memory"].as_i64().map(|m| m.saturating_mul(2)),
        ("MaskedPaths", _) => asked.is_null() && is_default_mask(made),
        ("ReadonlyPaths", _) => asked.is_null() && is_default_protection(made),
        ("RestartPolicy", _) => policy(asked) == policy(made),
        ("CapAdd" | "CapDrop", _) => capabilities(asked) == capabilities(made),
        ("PortBindings", _) => bindings(asked) == bindings(made),
        // Not on cgroup v2; a warning at the create.
        ("OomKillDisable" | "MemorySwappiness", _) => is_empty(made),
        _ => false,
    }
}

/// All that was asked for, and beside it only what the engine adds.
fn grown(field: &str, asked: &Value, made: &Value) -> bool {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let (asked, made) = (list(asked), list(made));
    let label = |value: &Value| value.as_str().is_some_and(|option| option.starts_with("label="));
    let mut added = made.iter().filter(|value| !asked.contains(value));
    asked.iter().all(|value| made.contains(value)) && (field == "Ulimits" || added.all(label))
}

fn referred(asked: &Value, made: &Value) -> bool {
    let (asked, made) = (asked.as_str().unwrap_or_default(), made.as_str().unwrap_or_default());
    match (asked.strip_prefix("container:"), made.strip_prefix("container:")) {
        (Some(asked), Some(made)) => {
            let is_id = asked.len() >= 12 && asked.bytes().all(|b| b.is_ascii_hexdigit());
            !is_id || made.starts_with(asked)
        }
        (None, None) => {
            let default = |mode: &str| matches!(mode, "" | "default" | "bridge");
            (default(asked) && default(made)) || (asked.is_empty() && matches!(made, "private" | "shareable"))
        }
        _ => false,
    }
}

fn policy(value: &Value) -> (&str, i64) {
    let name = text(value, "Name");
    (if name.is_empty() { "no" } else { name }, value["MaximumRetryCount"].as_i64().unwrap_or_default())
}

fn capabilities(value: &Value) -> BTreeSet<String> {
    texts(value).map(|name| name.to_uppercase().trim_start_matches("CAP_").to_owned()).collect()
}

/// No binding at all means one that the engine chooses.
fn bindings(value: &Value) -> Vec<(&str, Vec<(&str, &str)>)> {
    entries(value)
        .map(|(port, list)| {
            let mut all: Vec<(&str, &str)> =
                list.as_array().into_iter().flatten().map(|b| (text(b, "HostIp"), text(b, "HostPort"))).collect();
            if all.is_empty() {
                all.push(("", ""));
            }
            (port.as_str(), all)
        })
        .collect()
}

/// Every mount that was asked for is there, and none that nobody explains.
pub(super) fn mounts(body: &Value, inspected: &Value, image: &Value, found: &mut Vec<Difference>) {
    let host = &body["HostConfig"];
    let made: Vec<&Value> = inspected["Mounts"].as_array().into_iter().flatten().collect();
    let at = |path: &str| made.iter().find(|mount| clean(text(mount, "Destination")) == clean(path));
    let asked = asked(host);
    for (path, source, writable) in &asked {
        let Some(mount) = at(path) else {
            found.push(difference(&format!("Mounts.{path}"), &source.as_str().into(), NOTHING));
            continue;
        };
        let is = if text(mount, "Type") == "volume" { text(mount, "Name") } else { text(mount, "Source") };
        if !source.is_empty() && is != source && text(mount, "Type") != "image" {
            found.push(difference(&format!("Mounts.{path}"), &source.as_str().into(), &is.into()));
        }
        if mount["RW"].as_bool().is_some_and(|rw| rw != *writable) && text(mount, "Type") != "image" {
            found.push(difference(&format!("Mounts.{path}.RW"), &(*writable).into(), &mount["RW"]));
        }
    }
    if !is_empty(&host["VolumesFrom"]) {
        return;
    }
    let declared = keys(&body["Volumes"]).into_iter().chain(keys(&image["Config"]["Volumes"]));
    let mut known: BTreeSet<String> = declared.map(clean).collect();
    known.extend(asked.iter().map(|(path, ..)| clean(path)));
    for mount in made.iter().filter(|mount| !known.contains(&clean(text(mount, "Destination")))) {
        found.push(difference(&format!("Mounts.{}", text(mount, "Destination")), NOTHING, &mount["Source"]));
    }
}

/// Place, source (empty: whatever the engine makes) and whether it can be written, of every mount that is asked for.
fn asked(host: &Value) -> Vec<(String, String, bool)> {
    let binds = texts(&host["Binds"]).map(|bind| {
        let parts: Vec<&str> = bind.split(':').collect();
        match parts.as_slice() {
            [path] => ((*path).to_owned(), String::new(), true),
            [source, path, rest @ ..] => {
                let read_only = rest.iter().any(|options| options.split(',').any(|option| option == "ro"));
                let source = if source.starts_with('/') { clean(source) } else { (*source).to_owned() };
                ((*path).to_owned(), source, !read_only)
            }
            [] => (String::new(), String::new(), true),
        }
    });
    let mounts = host["Mounts"].as_array().into_iter().flatten().map(|mount| {
        let source = text(mount, "Source");
        let source = if source.starts_with('/') { clean(source) } else { source.to_owned() };
        (text(mount, "Target").to_owned(), source, mount["ReadOnly"] != true)
    });
    binds.chain(mounts).collect()
}
