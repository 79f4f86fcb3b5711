//! Reading documents whose shape nobody promises.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

pub(super) type Object = Map<String, Value>;

/// What is nowhere else.
pub(super) const NOTHING: &Value = &Value::Null;

/// The text under a key; empty when there is none.
pub(super) fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// As `text`, of a map.
pub(super) fn text_in<'a>(map: &'a Object, key: &str) -> &'a str {
    map.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// The texts of a list; none when it is none.
pub(super) fn texts(value: &Value) -> impl Iterator<Item = &str> {
    value.as_array().into_iter().flatten().filter_map(Value::as_str)
}

/// The entries of a map; none when it is none.
pub(super) fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// The keys of a map.
pub(super) fn keys(value: &Value) -> BTreeSet<&str> {
    entries(value).map(|(key, _)| key.as_str()).collect()
}

/// A copy of the map; an empty one when it is none.
pub(super) fn object(value: &Value) -> Object {
    value.as_object().cloned().unwrap_or_default()
}

/// What the engine reads like a missing field.
pub(super) fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(map) => map.is_empty(),
    }
}

/// The name of an environment entry.
pub(super) fn env_key(entry: &str) -> &str {
    entry.split_once('=').map_or(entry, |(key, _)| key)
}

/// A path inside a container without what does not count: `/data/` and `//data/.` are `/data`.
pub(super) fn clean(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}
