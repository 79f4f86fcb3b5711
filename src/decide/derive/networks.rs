//! Networks: what was asked for on each endpoint, without what the engine found out.
//!
//! An endpoint's hardware address is shown whether it was asked for or made. For the first network the engine shows
//! the wish apart (`Config.MacAddress`, up to API 1.51). Elsewhere one that is not locally administered was given, as
//! engines make none such, and so was the address of a container that is not running from API 1.44 on.

use serde_json::{Map, Value, json};

use super::derived::Notice;
use super::json::{Object, entries, is_empty, object, text, text_in};
use super::options::Sources;

/// The first version whose create call takes several networks, and a hardware address on each.
const SEVERAL: (u32, u32) = (1, 44);

/// The first version that refuses sysctls of an interface by its number.
const SYSCTLS_BY_ENDPOINT: (u32, u32) = (1, 48);
const ENDPOINT_SYSCTLS: &str = "com.docker.network.endpoint.sysctls";

/// What the engine writes into an endpoint by itself.
pub(super) const OPERATIONAL: [&str; 9] = [
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

/// The networks of a container, as two calls take them.
#[derive(Debug, Default)]
pub(super) struct Networks {
    /// For the create call.
    pub(super) endpoints: Object,
    /// For calls after it.
    pub(super) further: Vec<(String, Value)>,
    /// For the create call, by older versions.
    pub(super) mac: Option<String>,
    pub(super) notice: Option<Notice>,
}

/// Separates the networks, and sets `NetworkMode` and sysctls accordingly.
pub(super) fn networks(sources: &Sources<'_>, host: &mut Object) -> Networks {
    let mut networks = Networks::default();
    let mode = text_in(host, "NetworkMode").to_owned();
    if matches!(mode.as_str(), "host" | "none") || mode.starts_with("container:") {
        return networks;
    }
    let shown = &sources.container["NetworkSettings"]["Networks"];
    let primary = primary(&mode, shown, host, &mut networks.notice);
    let mut endpoints: Vec<(String, Object)> = entries(shown)
        .map(|(name, settings)| (name.clone(), endpoint(sources, name, settings, primary.as_deref() == Some(name))))
        .collect();
    if let Some(name) = &primary {
        if endpoints.is_empty() {
            endpoints.push((name.clone(), Object::new()));
        }
        endpoints.sort_by_key(|(other, _)| other != name);
        first(sources, host, name, &mut endpoints, &mut networks);
    }
    let several = sources.api >= SEVERAL;
    let sole = endpoints.len() == 1 || !several;
    for (index, (name, endpoint)) in endpoints.into_iter().enumerate() {
        if index > 0 && !several {
            networks.further.push((name, Value::Object(endpoint)));
        } else if !(sole && name == "bridge" && endpoint.is_empty()) {
            networks.endpoints.insert(name, Value::Object(endpoint));
        }
    }
    networks
}

/// The name of the network that `NetworkMode` means. It is rewritten where it is an id, or names a network that the
/// container was taken out of.
fn primary(mode: &str, shown: &Value, host: &mut Object, notice: &mut Option<Notice>) -> Option<String> {
    let wanted = if matches!(mode, "" | "default") { "bridge" } else { mode };
    if shown.get(wanted).is_some() || is_empty(shown) {
        return Some(wanted.to_owned());
    }
    let by_id = |(_, settings): &(&String, &Value)| {
        let id = text(settings, "NetworkID");
        wanted.len() >= 12 && id.starts_with(wanted)
    };
    let is_id = wanted.len() >= 12 && wanted.bytes().all(|b| b.is_ascii_hexdigit());
    let sole = shown.as_object().is_some_and(|shown| shown.len() == 1);
    let found = entries(shown).find(by_id).or_else(|| entries(shown).next().filter(|_| is_id && sole));
    let name = match found.or_else(|| entries(shown).next()) {
        Some((name, _)) => name.clone(),
        None => return Some(wanted.to_owned()),
    };
    if found.is_none() {
        *notice = Some(Notice::PrimaryMoved { from: wanted.to_owned(), to: name.clone() });
    }
    host.insert("NetworkMode".to_owned(), json!(name));
    Some(name)
}

/// What only the first endpoint has.
fn first(sources: &Sources<'_>, host: &mut Object, name: &str, all: &mut [(String, Object)], networks: &mut Networks) {
    let mut none = Object::new();
    let endpoint = all.first_mut().filter(|(n, _)| n == name).map_or(&mut none, |(_, endpoint)| endpoint);
    if let Some(mac) = asked_mac(sources, name) {
        if sources.api >= SEVERAL {
            endpoint.insert("MacAddress".to_owned(), json!(mac));
        } else {
            networks.mac = Some(mac);
        }
    }
    if sources.api >= SYSCTLS_BY_ENDPOINT {
        move_sysctls(host, endpoint);
    }
}

/// The endpoint as it was asked for.
fn endpoint(sources: &Sources<'_>, name: &str, settings: &Value, is_primary: bool) -> Object {
    let mut endpoint = object(settings);
    endpoint.retain(|field, value| !OPERATIONAL.contains(&field.as_str()) && !value.is_null());
    if let Some(aliases) = endpoint.get_mut("Aliases").and_then(Value::as_array_mut).filter(|all| !all.is_empty()) {
        own_aliases(sources, aliases);
        // The default network has no names.
        if aliases.is_empty() || name == "bridge" {
            endpoint.remove("Aliases");
        }
    }
    let mac = endpoint.remove("MacAddress");
    let mac =
        mac.filter(|mac| !is_primary && sources.api >= SEVERAL && is_given(sources, mac.as_str().unwrap_or_default()));
    endpoint.extend(mac.map(|mac| ("MacAddress".to_owned(), mac)));
    endpoint
}

/// Takes out what the engine added: the short id, and after it the hostname, if that was no alias already.
fn own_aliases(sources: &Sources<'_>, aliases: &mut Vec<Value>) {
    let id = text(sources.container, "Id");
    let is_id = |alias: &Value| id.get(..12) == alias.as_str() || alias == id;
    let hostname = text(sources.config(), "Hostname");
    let after = aliases.iter().position(is_id).map(|place| place + 1);
    if let Some(after) = after.filter(|after| aliases.get(*after).is_some_and(|alias| alias == hostname)) {
        aliases.remove(after);
    }
    aliases.retain(|alias| !is_id(alias));
}

/// The hardware address that was asked for on the first network.
fn asked_mac(sources: &Sources<'_>, primary: &str) -> Option<String> {
    let asked = text(sources.config(), "MacAddress");
    if !asked.is_empty() {
        return Some(asked.to_owned());
    }
    let shown = text(&sources.container["NetworkSettings"]["Networks"][primary], "MacAddress");
    let hidden = sources.api > (1, 51) || sources.options.keep.has("MacAddress");
    (hidden && is_given(sources, shown)).then(|| shown.to_owned())
}

/// An address that can't be the engine's own.
fn is_given(sources: &Sources<'_>, mac: &str) -> bool {
    let first = mac.split([':', '-']).next().and_then(|byte| u8::from_str_radix(byte, 16).ok());
    let Some(first) = first else { return false };
    let state = text(&sources.container["State"], "Status");
    let at_rest = matches!(state, "created" | "exited") && sources.api >= SEVERAL;
    sources.options.keep.has("MacAddress") || at_rest || first & 2 == 0
}

/// `net.ipv4.conf.eth0.forwarding` → an option of the first endpoint.
fn move_sysctls(host: &mut Object, endpoint: &mut Map<String, Value>) {
    let Some(sysctls) = host.get_mut("Sysctls").and_then(Value::as_object_mut) else { return };
    let mut moved = Vec::new();
    sysctls.retain(|name, value| {
        let parts: Vec<&str> = name.splitn(5, '.').collect();
        let ["net", family, kind, "eth0", rest] = parts.as_slice() else { return true };
        moved.push(format!("net.{family}.{kind}.IFNAME.{rest}={}", value.as_str().unwrap_or_default()));
        false
    });
    if moved.is_empty() {
        return;
    }
    let options = endpoint.entry("DriverOpts").or_insert(Value::Null);
    if !options.is_object() {
        *options = json!({});
    }
    let before = text(options, ENDPOINT_SYSCTLS);
    let all = moved.into_iter().chain(Some(before.to_owned()).filter(|before| !before.is_empty()));
    options[ENDPOINT_SYSCTLS] = json!(all.collect::<Vec<_>>().join(","));
}
