//! Which strategy a container's real configuration allows, and why.

use serde_json::Value;

use crate::model::Strategy;

/// Chooses for a container that is reached without the proxy, from its inspect document.
pub fn choose(inspected: &Value) -> (Strategy, String) {
    match exclusive(inspected) {
        Some(why) => (Strategy::Recreate, why),
        None => (Strategy::Overlap, "nothing of it can be had by one container only".to_owned()),
    }
}

/// The container that tagboat itself runs in: the next one takes over while this one runs, whatever they share, unless they
/// can't run at the same time.
pub fn of_ourselves(inspected: &Value) -> (Strategy, String) {
    let host = &inspected["HostConfig"];
    // In the host's network the engine publishes nothing, whatever was asked for.
    let published = published(host).filter(|_| host["NetworkMode"] != "host");
    let taken = published.map(|port| format!("it publishes port {port}"));
    let taken = taken.or_else(|| fixed_address(inspected).map(|address| format!("its address {address} is fixed")));
    match taken {
        Some(what) => {
            let why = format!(
                "{what}, and tagboat runs in it: a relief container stops it and starts the next one, and nothing serves \
                 in between"
            );
            (Strategy::Recreate, why)
        }
        None => (Strategy::Overlap, "tagboat runs in it: the next one takes over from it".to_owned()),
    }
}

/// How an app behind the proxy is to be swapped, as its file or label says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Said {
    /// Nothing, or `auto`.
    #[default]
    Auto,
    /// `proxy`
    Proxy,
    /// `hold`
    Hold,
}

/// Chooses for an app whose requests come through the proxy; `exclusive`: it says that two of it must never overlap.
///
/// # Errors
/// What is said contradicts itself.
pub fn behind_proxy(said: Said, exclusive: bool) -> Result<(Strategy, String), &'static str> {
    let why = |text: &str| text.to_owned();
    match (said, exclusive) {
        (Said::Auto, true) => {
            Ok((Strategy::Hold, why("it must never run twice (`overlap: never`), and the proxy has its requests wait")))
        }
        (Said::Hold, _) => Ok((Strategy::Hold, why("the configuration says so (`strategy: hold`)"))),
        (Said::Auto, false) => Ok((Strategy::Proxy, why("requests reach it through the proxy"))),
        (Said::Proxy, false) => Ok((Strategy::Proxy, why("the configuration says so (`strategy: proxy`)"))),
        (Said::Proxy, true) => Err("`proxy` runs two versions side by side, and `overlap` says never; `hold` does not"),
    }
}

/// What of a container two can't have at once; `None` when they can run side by side.
pub fn exclusive(inspected: &Value) -> Option<String> {
    let host = &inspected["HostConfig"];
    if let Some(port) = published(host) {
        return Some(format!("it publishes port {port} of the host"));
    }
    if let Some(address) = fixed_address(inspected) {
        return Some(format!("its address {address} is fixed"));
    }
    let mode = |key: &str| host[key].as_str().unwrap_or_default();
    if mode("NetworkMode") == "host" {
        return Some("it uses the host's network".to_owned());
    }
    if let Some(joined) = mode("NetworkMode").strip_prefix("container:") {
        return Some(format!("it shares the network of container {}", joined.get(..12).unwrap_or(joined)));
    }
    if let Some(device) = host["Devices"].as_array().and_then(|devices| devices.first()) {
        return Some(format!("it uses device {}", device["PathOnHost"].as_str().unwrap_or("of the host")));
    }
    writable(inspected).map(|target| format!("it writes to {target}, which a second one would write to as well"))
}

/// The first host port that is asked for by number.
fn published(host: &Value) -> Option<&str> {
    let bindings = host["PortBindings"].as_object()?.values().filter_map(Value::as_array).flatten();
    bindings.filter_map(|binding| binding["HostPort"].as_str()).find(|port| !port.is_empty() && *port != "0")
}

/// An address in a network that was asked for.
fn fixed_address(inspected: &Value) -> Option<&str> {
    let endpoints = inspected.pointer("/NetworkSettings/Networks")?.as_object()?.values();
    let mut asked = endpoints.filter_map(|endpoint| endpoint.get("IPAMConfig")).filter(|config| config.is_object());
    asked.find_map(|config| ["IPv4Address", "IPv6Address"].iter().find_map(|key| config[*key].as_str()))
}

/// A mount that outlives the container and can be written to. The engine's own socket is none: it is spoken to.
fn writable(inspected: &Value) -> Option<&str> {
    let mounts = inspected["Mounts"].as_array()?.iter();
    let mut kept = mounts.filter(|mount| {
        let kind = mount["Type"].as_str();
        mount["RW"] == true
            && matches!(kind, Some("volume" | "bind"))
            && !mount["Source"].as_str().is_some_and(|source| source.ends_with(".sock"))
    });
    kept.find_map(|mount| mount["Destination"].as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn behind_the_proxy_what_must_never_run_twice_is_held() {
        for (said, exclusive, wanted) in [
            (Said::Auto, false, Some(Strategy::Proxy)),
            (Said::Auto, true, Some(Strategy::Hold)),
            (Said::Proxy, false, Some(Strategy::Proxy)),
            (Said::Proxy, true, None),
            (Said::Hold, false, Some(Strategy::Hold)),
            (Said::Hold, true, Some(Strategy::Hold)),
        ] {
            let chosen = behind_proxy(said, exclusive).ok();
            assert_eq!(chosen.as_ref().map(|(strategy, _)| *strategy), wanted, "{said:?} {exclusive}");
            assert!(chosen.is_none_or(|(_, why)| !why.is_empty()), "{said:?} {exclusive}");
        }
    }

    #[test]
    fn what_only_one_can_have_makes_them_take_turns() {
        for (label, inspected, wanted) in [
            ("nothing", json!({"HostConfig": {"NetworkMode": "default"}}), None),
            (
                "a published port",
                json!({"HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": "8080"}]}}}),
                Some("8080"),
            ),
            (
                "a port of the engine's choice",
                json!({"HostConfig": {"PortBindings": {"80/tcp": [{"HostPort": ""}]}}}),
                None,
            ),
            (
                "a fixed address",
                json!({"NetworkSettings": {"Networks": {"n": {"IPAMConfig": {"IPv4Address": "10.0.0.9"}}}}}),
                Some("10.0.0.9"),
            ),
            ("a network without wishes", json!({"NetworkSettings": {"Networks": {"n": {"IPAMConfig": null}}}}), None),
            ("the host's network", json!({"HostConfig": {"NetworkMode": "host"}}), Some("host's network")),
            ("another's network", json!({"HostConfig": {"NetworkMode": "container:abc"}}), Some("abc")),
            ("a device", json!({"HostConfig": {"Devices": [{"PathOnHost": "/dev/ttyUSB0"}]}}), Some("/dev/ttyUSB0")),
            ("a volume", json!({"Mounts": [{"Type": "volume", "RW": true, "Destination": "/data"}]}), Some("/data")),
            ("a volume to read", json!({"Mounts": [{"Type": "volume", "RW": false, "Destination": "/data"}]}), None),
            (
                "the engine's socket",
                json!({"Mounts": [{"Type": "bind", "RW": true, "Source": "/run/docker.sock", "Destination": "/d"}]}),
                None,
            ),
        ] {
            let (strategy, why) = choose(&inspected);
            let expected = if wanted.is_some() { Strategy::Recreate } else { Strategy::Overlap };
            assert_eq!(strategy, expected, "{label}: {why}");
            assert!(why.contains(wanted.unwrap_or_default()), "{label}: {why}");
        }
    }
}
