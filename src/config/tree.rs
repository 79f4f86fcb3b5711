//! YAML → JSON, with the place of every key, and with `${VARIABLES}` replaced.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

use super::errors::Report;

/// A node of the file with its place.
struct Node(Spanned<Kind>);

enum Kind {
    Scalar(Value),
    List(Vec<Node>),
    Map(Vec<(Spanned<String>, Node)>),
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::<Kind>::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value, a list or a map")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Scalar(value.into()))
    }

    fn visit_unit<E>(self) -> Result<Kind, E> {
        Ok(Kind::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Kind, E> {
        Ok(Kind::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        Kind::deserialize(deserializer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Kind, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Kind::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Kind, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = map.next_entry()? {
            entries.push(entry);
        }
        Ok(Kind::Map(entries))
    }
}

/// Reads YAML. Places and problems go into the report; a file that is no YAML has one problem and no value.
pub(super) fn read(text: &str, env: &dyn Fn(&str) -> Option<String>, report: &mut Report) -> Option<Value> {
    match serde_saphyr::from_str::<Option<Node>>(text) {
        Ok(None) => Some(Value::Object(Map::new())),
        Ok(Some(node)) => Some(convert(node, "", env, report)),
        Err(error) => {
            let place = error.location().map(|at| (at.line(), at.column()));
            let message = error.to_string();
            let first = message.lines().next().unwrap_or_default().trim();
            let first = first.strip_prefix("error: ").unwrap_or(first).to_owned();
            report.problems.push(super::Problem {
                at: place,
                path: String::new(),
                message: format!("no valid YAML: {first}"),
            });
            None
        }
    }
}

fn convert(node: Node, path: &str, env: &dyn Fn(&str) -> Option<String>, report: &mut Report) -> Value {
    let place = (node.0.referenced.line(), node.0.referenced.column());
    report.places.entry(path.to_owned()).or_insert(place);
    match node.0.value {
        Kind::Scalar(Value::String(text)) => interpolated(&text, path, env, report),
        Kind::Scalar(value) => value,
        Kind::List(nodes) => {
            let nodes = nodes.into_iter().enumerate();
            Value::Array(nodes.map(|(index, node)| convert(node, &format!("{path}[{index}]"), env, report)).collect())
        }
        Kind::Map(entries) => {
            let mut map = Map::new();
            for (key, node) in entries {
                let below = if path.is_empty() { key.value.clone() } else { format!("{path}.{}", key.value) };
                report.places.insert(below.clone(), (key.referenced.line(), key.referenced.column()));
                let value = convert(node, &below, env, report);
                map.insert(key.value, value);
            }
            Value::Object(map)
        }
    }
}

/// Replaces `${NAME}` and `${NAME:-default}`; `$$` is a dollar sign. A value that is one variable and nothing else has
/// the type that its text has.
fn interpolated(text: &str, path: &str, env: &dyn Fn(&str) -> Option<String>, report: &mut Report) -> Value {
    if !text.contains('$') {
        return text.into();
    }
    let whole = text.starts_with("${") && text.find('}') == Some(text.len() - 1);
    match substitute(text, env) {
        Ok(result) if whole => match result.parse::<i64>() {
            Ok(number) if number.to_string() == result => number.into(),
            _ => match result.as_str() {
                "true" => true.into(),
                "false" => false.into(),
                _ => result.into(),
            },
        },
        Ok(result) => result.into(),
        Err(problem) => {
            report.add(path, problem);
            Value::Null
        }
    }
}

fn substitute(text: &str, env: &dyn Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut result = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        result.push_str(before);
        if let Some(after) = after.strip_prefix('$') {
            result.push('$');
            rest = after;
        } else if let Some((inside, after)) = after.strip_prefix('{').and_then(|after| after.split_once('}')) {
            let (name, default) = match inside.split_once(":-") {
                Some((name, default)) => (name, Some(default)),
                None => (inside, None),
            };
            let value = env(name).filter(|value| default.is_none() || !value.is_empty());
            let value = value.or_else(|| default.map(str::to_owned));
            let missing =
                || format!("the environment variable {name} is not set; set it, or write ${{{name}:-default}}");
            result.push_str(&value.ok_or_else(missing)?);
            rest = after;
        } else {
            // A dollar sign that begins no variable is one.
            result.push('$');
            rest = after;
        }
    }
    result.push_str(rest);
    Ok(result)
}

/// Lays `over` over `base`, map by map.
pub(super) fn merge(base: &mut Value, over: Value) {
    match (base, over) {
        (Value::Object(base), Value::Object(over)) => {
            for (key, value) in over {
                match base.get_mut(&key) {
                    Some(below) => merge(below, value),
                    None => drop(base.insert(key, value)),
                }
            }
        }
        (base, over) => *base = over,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> (Option<Value>, Report) {
        let mut report = Report::default();
        let env = |name: &str| match name {
            "PORT" => Some("80".to_owned()),
            "TOKEN" => Some("s3cret".to_owned()),
            _ => None,
        };
        (read(text, &env, &mut report), report)
    }

    #[test]
    fn every_key_has_its_place() {
        let (value, report) = parse("apps:\n  shop:\n    image: x\n    volumes: [a, b]\n");
        assert_eq!(value.unwrap()["apps"]["shop"]["volumes"][1], "b");
        assert_eq!(report.places["apps.shop.image"], (3, 5));
        assert_eq!(report.places["apps.shop.volumes[1]"].0, 4);
    }

    #[test]
    fn variables_are_replaced_and_missing_ones_are_named() {
        let (value, report) = parse("a: ${PORT}\nb: \"x-${TOKEN}-$$\"\nc: ${NOPE}\nd: ${NOPE:-5}\ne: cost 5$\n");
        let value = value.unwrap();
        assert_eq!(
            (&value["a"], &value["b"], &value["d"], &value["e"]),
            (&80.into(), &"x-s3cret-$".into(), &5.into(), &"cost 5$".into())
        );
        assert_eq!(report.problems.len(), 1);
        assert!(report.problems[0].message.contains("NOPE") && report.problems[0].at == Some((3, 1)));
    }

    #[test]
    fn what_is_no_yaml_has_a_line() {
        let (value, report) = parse("a: [1\nb: 2\n");
        assert!(value.is_none());
        assert!(report.problems[0].at.is_some(), "{:?}", report.problems);
    }

    #[test]
    fn a_key_given_twice_is_an_error() {
        let (value, report) = parse("a: 1\na: 2\n");
        assert!(value.is_none() && report.problems[0].message.contains("duplicate"), "{:?}", report.problems);
    }
}
