//! Did the engine make what was meant? Asked of the created candidate, while the old container still serves.
//!
//! Both ways: everything that was asked for must be there, and nothing may be there that neither the body nor the
//! image nor a known default of the daemon explains. What the engine rewrites or fills in is listed beside the field in
//! [`host`](host::RULES). Values of variables, labels and driver options are never in a difference.

mod endpoints;
mod host;

use std::collections::BTreeSet;

use serde_json::Value;

use crate::decide::compare::Difference;

use super::json::{NOTHING, env_key, is_empty, keys, text, texts};
use super::merge::merged;

/// Longer values are cut in a difference.
const SHOWN: usize = 200;

/// Entries whose values may be secrets.
const SECRET: [&str; 8] =
    ["Env", "Labels", "Annotations", "LogConfig.Config", "DriverOpts", "DriverConfig", "StorageOpt", "seccomp"];

/// Fields of `Config` that the engine writes itself.
const REWRITTEN: [&str; 4] = [
    // The reference as it was given; which image it is, is compared by its id elsewhere.
    "Image",
    // Windows only: the image's.
    "ArgsEscaped",
    // Shown for the first network's endpoint, with which it is compared.
    "MacAddress",
    // The engine's own, for a volume driver that no engine in use has any more.
    "VolumeDriver",
];

/// Every difference between what a body and its further networks ask for and what was made of it. `image` is the inspect
/// document of the image that it was made from.
pub fn compare(body: &Value, networks: &[(String, Value)], inspected: &Value, image: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    config(body, inspected, image, &mut found);
    host::compare(&body["HostConfig"], &inspected["HostConfig"], &mut found);
    host::mounts(body, inspected, image, &mut found);
    endpoints::compare(body, networks, inspected, &mut found);
    found
}

fn config(body: &Value, inspected: &Value, image: &Value, found: &mut Vec<Difference>) {
    let expected = Value::Object(merged(body, &image["Config"]));
    let made = &inspected["Config"];
    let joined = text(&body["HostConfig"], "NetworkMode").starts_with("container:");
    let fields: BTreeSet<&str> = keys(&expected).union(&keys(made)).copied().collect();
    for field in fields.into_iter().filter(|field| !REWRITTEN.contains(field)) {
        let (wanted, made) = (expected.get(field).unwrap_or(NOTHING), made.get(field).unwrap_or(NOTHING));
        match field {
            "Env" => environment(wanted, made, found),
            // The engine's, made of the id, the host's name or the other container's.
            "Hostname" if is_empty(wanted) => {}
            "Hostname" | "Domainname" if joined => {}
            "Labels" | "ExposedPorts" | "Volumes" => map(field, wanted, made, found),
            _ => field_differs(field, wanted, made, found),
        }
    }
}

fn field_differs(path: &str, wanted: &Value, made: &Value, found: &mut Vec<Difference>) {
    if wanted != made && !(is_empty(wanted) && is_empty(made)) {
        found.push(difference(path, wanted, made));
    }
}

/// Entry by entry, both ways.
fn map(path: &str, wanted: &Value, made: &Value, found: &mut Vec<Difference>) {
    for key in keys(wanted).union(&keys(made)) {
        let (wanted, made) = (wanted.get(key), made.get(key));
        if wanted != made {
            found.push(difference(&format!("{path}.{key}"), wanted.unwrap_or(NOTHING), made.unwrap_or(NOTHING)));
        }
    }
}

fn environment(wanted: &Value, made: &Value, found: &mut Vec<Difference>) {
    let mut report = |key: &str, intended: &str, is: &str| {
        found.push(Difference { path: format!("Env.{key}"), intended: intended.to_owned(), found: is.to_owned() });
    };
    for entry in texts(wanted).filter(|entry| !texts(made).any(|m| m == *entry)) {
        let other = texts(made).any(|m| env_key(m) == env_key(entry));
        report(env_key(entry), "as configured", if other { "another value" } else { "absent" });
    }
    for entry in texts(made).filter(|entry| !texts(wanted).any(|w| env_key(w) == env_key(entry))) {
        // Some engines add the path that they search to a container that has none.
        if env_key(entry) != "PATH" {
            report(env_key(entry), "absent", "set");
        }
    }
}

fn difference(path: &str, wanted: &Value, made: &Value) -> Difference {
    let secret = SECRET.iter().any(|secret| path.contains(secret));
    let shown = |value: &Value, word: &str| match value {
        value if value.is_null() => "absent".to_owned(),
        _ if secret => word.to_owned(),
        value => value.to_string().chars().take(SHOWN).collect(),
    };
    Difference { path: path.to_owned(), intended: shown(wanted, "as configured"), found: shown(made, "another value") }
}
