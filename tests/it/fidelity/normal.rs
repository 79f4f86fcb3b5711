//! What two containers may differ in. Everything that is not named here must be equal.

use serde_json::{Value, json};
use tagboat::decide::derive::Derived;

use super::stage::World;

/// What is a container's own: who and when it is, and where the engine keeps it.
const OWN: [&str; 14] = [
    "Id",
    "Created",
    "Name",
    "State",
    "ResolvConfPath",
    "HostnamePath",
    "HostsPath",
    "LogPath",
    "GraphDriver",
    "Storage",
    "RestartCount",
    "ExecIDs",
    "ProcessLabel",
    "MountLabel",
];

/// What an engine finds out of an endpoint.
const FOUND_OUT: [&str; 9] = [
    "NetworkID",
    "EndpointID",
    "Gateway",
    "IPAddress",
    "IPPrefixLen",
    "IPv6Gateway",
    "GlobalIPv6Address",
    "GlobalIPv6PrefixLen",
    "DNSNames",
];

/// The container that docker made.
pub(super) fn expected(world: &World, inspect: &Value) -> Value {
    let mut normal = own(world, inspect);
    for mount in list(&mut normal["Mounts"]) {
        if volume(mount).is_some_and(|name| is_hash(&name)) {
            unnamed(mount);
        }
    }
    // A volume that the client left without a name keeps the one that it has got: that is what is wanted.
    for mount in list(&mut normal["HostConfig"]["Mounts"]) {
        if mount["Type"] == "volume" && mount.get("Source").is_none_or(|source| source == "") {
            mount["Source"] = json!("<anonymous>");
        }
    }
    for bind in list(&mut normal["HostConfig"]["Binds"]) {
        if let Some(path) = bind.as_str().filter(|bind| !bind.contains(':')) {
            *bind = json!(format!("<anonymous>:{path}"));
        }
    }
    normal
}

/// The candidate. Its anonymous volumes must be those of the old container: they are checked here and then taken for
/// what docker would have made anew.
pub(super) fn found(world: &World, inspect: &Value, old: &Value, derived: &Derived) -> Result<Value, String> {
    let mut normal = own(world, inspect);
    let of_old = |path: &Value| {
        let mounts = old["Mounts"].as_array().into_iter().flatten();
        mounts.clone().find(|mount| mount["Destination"] == *path).and_then(volume)
    };
    for mount in list(&mut normal["Mounts"]) {
        if let Some(found) = volume(mount).filter(|name| is_hash(name)) {
            if let Some(name) = of_old(&mount["Destination"]).filter(|name| *name != found) {
                return Err(format!("the data at {} is lost: it was in {name}", mount["Destination"]));
            }
            unnamed(mount);
        }
    }
    for volume in &derived.carried {
        if of_old(&json!(volume.path)).as_ref() != Some(&volume.volume) {
            return Err(format!("{volume:?} was not the old one's"));
        }
    }
    let host = &mut normal["HostConfig"];
    if let Some(mounts) = host["Mounts"].as_array_mut() {
        mounts.retain(|mount| mount["VolumeOptions"]["Labels"].get("tagboat.anonymous").is_none());
        if mounts.is_empty() {
            host.as_object_mut().unwrap().remove("Mounts");
        }
    }
    for mount in list(&mut host["Mounts"]) {
        if mount["Source"].as_str().is_some_and(is_hash) {
            mount["Source"] = json!("<anonymous>");
        }
    }
    for bind in list(&mut host["Binds"]) {
        if let Some((_, path)) = bind.as_str().and_then(|bind| bind.split_once(':')).filter(|(name, _)| is_hash(name)) {
            *bind = json!(format!("<anonymous>:{path}"));
        }
    }
    Ok(normal)
}

fn own(world: &World, inspect: &Value) -> Value {
    let mut normal = inspect.clone();
    let id = inspect["Id"].as_str().unwrap_or_default();
    let fields = normal.as_object_mut().unwrap();
    fields.retain(|field, _| !OWN.contains(&field.as_str()));
    if normal["Config"]["Hostname"].as_str() == id.get(..12) {
        normal["Config"]["Hostname"] = json!("<id>");
    }
    // The client keeps them in maps and sends them in any order.
    for (part, field) in [("Config", "Env"), ("HostConfig", "Binds"), ("HostConfig", "Ulimits")] {
        normal[part][field].as_array_mut().into_iter().for_each(|list| list.sort_by_key(Value::to_string));
    }
    // A network by its id is the network of that name.
    if let Some((name, _)) = world.networks.iter().find(|(_, id)| normal["HostConfig"]["NetworkMode"] == **id) {
        normal["HostConfig"]["NetworkMode"] = json!(name);
    }
    // Links name their owner.
    let name = inspect["Name"].as_str().unwrap_or_default();
    for link in list(&mut normal["HostConfig"]["Links"]) {
        *link = json!(link.as_str().unwrap_or_default().replace(name, "/<name>"));
    }
    if let Some(links) = normal["HostConfig"]["Links"].as_array_mut() {
        links.sort_by_key(Value::to_string);
    }
    // An image as a mount is unpacked for each container.
    list(&mut normal["Mounts"]).filter(|mount| mount["Type"] == "image").for_each(|mount| mount["Source"] = json!(""));
    if let Some(mounts) = normal["Mounts"].as_array_mut() {
        mounts.sort_by_key(|mount| mount["Destination"].to_string());
    }
    for (_, endpoint) in normal["NetworkSettings"]["Networks"].as_object_mut().into_iter().flatten() {
        endpoint.as_object_mut().into_iter().for_each(|e| e.retain(|field, _| !FOUND_OUT.contains(&field.as_str())));
        for alias in list(&mut endpoint["Aliases"]) {
            if alias.as_str() == id.get(..12) {
                *alias = json!("<id>");
            }
        }
    }
    normal
}

fn list(value: &mut Value) -> impl Iterator<Item = &mut Value> {
    value.as_array_mut().into_iter().flatten()
}

fn is_hash(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The name of a mounted volume; engines that do not say it say where it is.
fn volume(mount: &Value) -> Option<String> {
    let name = mount["Name"].as_str().map(str::to_owned);
    let source = mount["Source"].as_str().and_then(|source| source.strip_suffix("/_data")?.rsplit('/').next());
    name.or(source.map(str::to_owned)).filter(|_| mount["Type"] == "volume")
}

/// A volume whose name says nothing. Mounted by name it has the mode `z`, which only SELinux reads.
fn unnamed(mount: &mut Value) {
    mount["Name"] = json!("<anonymous>");
    mount["Source"] = json!("<anonymous>");
    mount["Mode"] = json!("");
}

/// Key by key.
pub(super) fn differences(expected: &Value, found: &Value) -> Vec<String> {
    let mut all = Vec::new();
    walk("", expected, found, &mut all);
    all
}

fn walk(path: &str, expected: &Value, found: &Value, all: &mut Vec<String>) {
    match (expected, found) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<&String> = a.keys().chain(b.keys()).collect();
            for key in keys {
                let absent = Value::String("<absent>".to_owned());
                walk(&format!("{path}.{key}"), a.get(key).unwrap_or(&absent), b.get(key).unwrap_or(&absent), all);
            }
        }
        (a, b) if a == b => {}
        (a, b) => all.push(format!("{path}: docker gives {a}, we give {b}")),
    }
}
