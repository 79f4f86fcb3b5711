//! `HostConfig`, which no image touches: it moves along as it is, but for what the daemon filled in and for references
//! to other containers.

use serde_json::{Value, json};

use super::json::{Object, is_empty, object, text_in};
use super::options::Sources;
use super::{masks, mounts};

/// 64 MiB.
const SHM_SIZE: u64 = 64 << 20;

/// What a container has of the one whose network it is in, and what the engine refuses beside it.
const OF_THE_NETWORK: [&str; 7] =
    ["PortBindings", "PublishAllPorts", "Dns", "DnsOptions", "DnsSearch", "ExtraHosts", "Links"];

/// The whole `HostConfig` of the create call.
pub(super) fn host_config(sources: &Sources<'_>) -> Object {
    let mut host = object(sources.host());
    defaults(sources, &mut host);
    masks::drop_defaults(&mut host);
    security(&mut host);
    resources(sources, &mut host);
    references(sources, &mut host);
    links(&mut host);
    ports(&mut host);
    mounts::separate(sources, &mut host);
    if text_in(&host, "NetworkMode").starts_with("container:") {
        host.retain(|field, value| !OF_THE_NETWORK.contains(&field.as_str()) || is_empty(value));
    }
    host
}

/// Drops what equals the daemon's default, so that the new container follows it.
fn defaults(sources: &Sources<'_>, host: &mut Object) {
    let daemon = &sources.options.daemon;
    let is = |host: &Object, field: &str, default: Option<&str>| default == Some(text_in(host, field));
    if is(host, "Runtime", daemon.runtime.as_deref()) {
        host.remove("Runtime");
    }
    // A privileged container gets the host's on cgroup v1 by default, and there that is the default of all.
    if is(host, "CgroupnsMode", daemon.cgroupns.as_deref()) {
        host.remove("CgroupnsMode");
    }
    if is(host, "IpcMode", Some("private")) {
        host.remove("IpcMode");
    }
    let log = object(host.get("LogConfig").unwrap_or(&Value::Null));
    let plain = log.get("Config").is_none_or(is_empty);
    if plain && is(&log, "Type", daemon.log_driver.as_deref()) {
        host.remove("LogConfig");
    }
    if host.get("ShmSize").and_then(Value::as_u64) == Some(SHM_SIZE) {
        host.remove("ShmSize");
    }
}

/// Labels that the engine derives from the namespaces: they are not the user's, and those of another container's
/// process are stale when that was recreated.
fn security(host: &mut Object) {
    let joined = ["IpcMode", "PidMode"].iter().any(|mode| text_in(host, mode).starts_with("container:"));
    let open = ["IpcMode", "PidMode"].iter().any(|mode| text_in(host, mode) == "host");
    let open = open || host.get("Privileged").and_then(Value::as_bool) == Some(true);
    let Some(options) = host.get_mut("SecurityOpt").and_then(Value::as_array_mut) else { return };
    let is = |option: &Value, start: &str| option.as_str().is_some_and(|option| option.starts_with(start));
    let made = ["label=user:", "label=role:", "label=type:", "label=level:"];
    let labels: Vec<&Value> = options.iter().filter(|option| is(option, "label")).collect();
    let of_process = joined && labels.len() == made.len() && made.iter().all(|m| labels.iter().any(|l| is(l, m)));
    let disabled = open && labels.len() == 1 && labels.iter().all(|label| is(label, "label=disable"));
    if of_process || disabled {
        options.retain(|option| !is(option, "label"));
        if options.is_empty() {
            host.insert("SecurityOpt".to_owned(), Value::Null);
        }
    }
}

/// Limits that follow from others, and those that one engine shows and another refuses.
fn resources(sources: &Sources<'_>, host: &mut Object) {
    let number = |host: &Object, field: &str| host.get(field).and_then(Value::as_i64).unwrap_or_default();
    let memory = number(host, "Memory");
    if memory > 0 && number(host, "MemorySwap") == memory.saturating_mul(2) {
        host.remove("MemorySwap");
    }
    // Podman shows the quota that it computed, and no engine takes both.
    if number(host, "NanoCpus") > 0 {
        for field in ["CpuPeriod", "CpuQuota"] {
            host.remove(field);
        }
    }
    // There is no such thing on cgroup v2; Podman shows it all the same.
    let v2 = sources.options.daemon.cgroupns.as_deref() == Some("private");
    if v2 && number(host, "MemorySwappiness") <= 0 {
        host.remove("MemorySwappiness");
    }
    if host.get("PidsLimit").and_then(Value::as_i64).is_some_and(|limit| limit <= 0) {
        host.insert("PidsLimit".to_owned(), Value::Null);
    }
    for device in host.get_mut("Devices").and_then(Value::as_array_mut).into_iter().flatten() {
        if device.get("CgroupPermissions").is_some_and(|permissions| permissions == "") {
            device["CgroupPermissions"] = json!("rwm");
        }
    }
}

/// Writes other containers as the caller wants them written: the engine keeps ids, and an id dies with its container.
fn references(sources: &Sources<'_>, host: &mut Object) {
    for mode in ["NetworkMode", "IpcMode", "PidMode"] {
        let Some(old) = text_in(host, mode).strip_prefix("container:") else { continue };
        if let Some(peer) = sources.options.peers.iter().find(|peer| peer.is(old)) {
            host.insert(mode.to_owned(), json!(format!("container:{}", peer.reference)));
        }
    }
    for from in host.get_mut("VolumesFrom").and_then(Value::as_array_mut).into_iter().flatten() {
        let Some(text) = from.as_str() else { continue };
        let (old, access) = text.split_once(':').map_or((text, None), |(old, access)| (old, Some(access)));
        if let Some(peer) = sources.options.peers.iter().find(|peer| peer.is(old)) {
            let access = access.map(|access| format!(":{access}")).unwrap_or_default();
            *from = json!(format!("{}{access}", peer.reference));
        }
    }
}

/// `/other:/me/alias`, as the engine shows a link, → `other:alias`. It shows them in any order.
fn links(host: &mut Object) {
    let Some(links) = host.get_mut("Links").and_then(Value::as_array_mut) else { return };
    for link in links.iter_mut() {
        let Some(text) = link.as_str() else { continue };
        let (other, alias) = text.split_once(':').unwrap_or((text, text));
        let alias = alias.rsplit('/').next().unwrap_or(alias);
        *link = json!(format!("{}:{alias}", other.trim_start_matches('/')));
    }
    links.sort_by_key(Value::to_string);
}

/// Bindings of no port at all, which old clients wrote and new engines refuse.
fn ports(host: &mut Object) {
    if let Some(bindings) = host.get_mut("PortBindings").and_then(Value::as_object_mut) {
        bindings.retain(|port, _| !port.is_empty() && !port.starts_with('/'));
    }
}
