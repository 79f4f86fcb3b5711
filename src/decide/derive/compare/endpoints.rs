//! Networks and what was asked for on each.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::decide::compare::Difference;
use crate::decide::derive::json::{NOTHING, entries, is_empty, keys, text, texts};
use crate::decide::derive::networks::OPERATIONAL;

use super::difference;

pub(super) fn compare(body: &Value, further: &[(String, Value)], inspected: &Value, found: &mut Vec<Difference>) {
    let asked = entries(&body["NetworkingConfig"]["EndpointsConfig"]).map(|(name, endpoint)| (name.as_str(), endpoint));
    let mut asked: Vec<(&str, &Value)> =
        asked.chain(further.iter().map(|(name, endpoint)| (name.as_str(), endpoint))).collect();
    let mode = text(&body["HostConfig"], "NetworkMode");
    let first = if matches!(mode, "" | "default") { "bridge" } else { mode };
    let joined = mode.starts_with("container:");
    let is_id = first.len() == 64 && first.bytes().all(|b| b.is_ascii_hexdigit());
    let off = body["NetworkDisabled"] == true;
    if !joined && !is_id && !off && !asked.iter().any(|(name, _)| *name == first) {
        asked.push((first, NOTHING));
    }
    let made = &inspected["NetworkSettings"]["Networks"];
    let names: BTreeSet<&str> = asked.iter().map(|(name, _)| *name).collect();
    for name in keys(made).difference(&names) {
        found.push(difference(&format!("Networks.{name}"), NOTHING, &"connected".into()));
    }
    for (name, endpoint) in asked {
        match made.get(name) {
            None => found.push(difference(&format!("Networks.{name}"), &"connected".into(), NOTHING)),
            Some(made) => one(name, endpoint, made, inspected, found),
        }
    }
    address(body, first, inspected, found);
}

/// One endpoint, both ways.
fn one(name: &str, asked: &Value, made: &Value, inspected: &Value, found: &mut Vec<Difference>) {
    let fields: BTreeSet<&str> = keys(asked).union(&keys(made)).copied().collect();
    let skipped = |field: &str| OPERATIONAL.contains(&field) || field == "MacAddress";
    for field in fields.into_iter().filter(|field| !skipped(field)) {
        let (wanted, is) = (asked.get(field).unwrap_or(NOTHING), made.get(field).unwrap_or(NOTHING));
        let same = match field {
            "Aliases" => aliases(wanted, is, inspected),
            _ => wanted == is || (is_empty(wanted) && is_empty(is)),
        };
        if !same {
            found.push(difference(&format!("Networks.{name}.{field}"), wanted, is));
        }
    }
    let (wanted, is) = (text(asked, "MacAddress"), text(made, "MacAddress"));
    if !wanted.is_empty() && !is.is_empty() && !wanted.eq_ignore_ascii_case(is) {
        found.push(difference(&format!("Networks.{name}.MacAddress"), &wanted.into(), &is.into()));
    }
}

/// The engine adds the short id and, by its version, the hostname.
fn aliases(wanted: &Value, made: &Value, inspected: &Value) -> bool {
    let id = text(inspected, "Id").get(..12).unwrap_or_default();
    let added = [id, text(&inspected["Config"], "Hostname")];
    let is_wanted = |alias: &str| texts(wanted).any(|wanted| wanted == alias);
    texts(wanted).all(|alias| texts(made).any(|made| made == alias))
        && texts(made).all(|alias| is_wanted(alias) || added.contains(&alias))
}

/// The hardware address of the first network, as far as the engine shows the wish.
fn address(body: &Value, first: &str, inspected: &Value, found: &mut Vec<Difference>) {
    let on_endpoint = text(&body["NetworkingConfig"]["EndpointsConfig"][first], "MacAddress");
    let wanted = if on_endpoint.is_empty() { text(body, "MacAddress") } else { on_endpoint };
    let made = text(&inspected["Config"], "MacAddress");
    let endpoint = text(&inspected["NetworkSettings"]["Networks"][first], "MacAddress");
    let shown = if made.is_empty() { endpoint } else { made };
    if (!wanted.is_empty() || !made.is_empty()) && !wanted.eq_ignore_ascii_case(shown) {
        found.push(difference("MacAddress", &wanted.into(), &shown.into()));
    }
}
