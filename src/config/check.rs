//! Holds a file against the schema: unknown keys and wrong types, all of them, with the key that was probably meant.

use serde_json::Value;

use super::errors::Report;

/// Keys that are this similar (Jaro-Winkler) are probably the same key misspelt.
const SIMILAR: f64 = 0.75;

/// Notes everything in `value` that `schema` does not allow.
pub(super) fn check(schema: &Value, value: &Value, report: &mut Report) {
    Checker { root: schema }.check(schema, value, "", report);
}

struct Checker<'a> {
    root: &'a Value,
}

impl Checker<'_> {
    fn check(&self, schema: &Value, value: &Value, path: &str, report: &mut Report) {
        let schema = self.resolve(schema);
        if let Some(choices) = schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array) {
            return self.choice(choices, value, path, report);
        }
        if let Some(allowed) = schema.get("enum").and_then(Value::as_array) {
            if !allowed.contains(value) {
                let names: Vec<String> = allowed.iter().filter_map(Value::as_str).map(str::to_owned).collect();
                report.add(path, format!("must be one of {}", names.join(", ")));
            }
            return;
        }
        let types = types(schema);
        if !types.is_empty() && !types.iter().any(|name| is(name, value)) {
            report.add(path, format!("must be {}, not {}", describe(&types), kind(value)));
            return;
        }
        match value {
            Value::Object(map) => self.object(schema, map, path, report),
            Value::Array(list) => {
                let Some(items) = schema.get("items") else { return };
                for (index, item) in list.iter().enumerate() {
                    self.check(items, item, &format!("{path}[{index}]"), report);
                }
            }
            _ => self.number(schema, value, path, report),
        }
    }

    fn object(&self, schema: &Value, map: &serde_json::Map<String, Value>, path: &str, report: &mut Report) {
        let empty = serde_json::Map::new();
        let properties = schema.get("properties").and_then(Value::as_object).unwrap_or(&empty);
        for (key, value) in map {
            let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            match (properties.get(key), schema.get("additionalProperties")) {
                (Some(schema), _) => self.check(schema, value, &below, report),
                (None, Some(Value::Bool(false))) => report.add(&below, unknown(&below, key, properties.keys())),
                (None, Some(schema)) => self.check(schema, value, &below, report),
                (None, None) => {}
            }
        }
        for key in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if !map.contains_key(key) {
                report.add(path, format!("`{key}` is missing"));
            }
        }
    }

    /// One of several forms: the one whose type fits is checked, so that its errors are told and not those of all.
    fn choice(&self, choices: &[Value], value: &Value, path: &str, report: &mut Report) {
        let fits = |choice: &&Value| {
            let choice = self.resolve(choice);
            let types = types(choice);
            match choice.get("const") {
                Some(constant) => constant == value,
                None => types.is_empty() || types.iter().any(|name| is(name, value)),
            }
        };
        if let Some(choice) = choices.iter().find(fits) {
            return self.check(choice, value, path, report);
        }
        let constants: Vec<&str> = choices.iter().filter_map(|c| self.resolve(c).get("const")?.as_str()).collect();
        if !constants.is_empty() && value.is_string() {
            return report.add(path, format!("must be one of {}", constants.join(", ")));
        }
        let all: Vec<&str> = choices.iter().flat_map(|choice| types(self.resolve(choice))).collect();
        report.add(path, format!("must be {}, not {}", describe(&all), kind(value)));
    }

    fn number(&self, schema: &Value, value: &Value, path: &str, report: &mut Report) {
        let Some(number) = value.as_f64() else { return };
        let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
        if bound("minimum").is_some_and(|least| number < least) || bound("maximum").is_some_and(|most| number > most) {
            let least = bound("minimum").unwrap_or(f64::NEG_INFINITY);
            match bound("maximum") {
                Some(most) => report.add(path, format!("must be from {least} to {most}")),
                None => report.add(path, format!("must be at least {least}")),
            }
        }
    }

    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let target =
            schema.get("$ref").and_then(Value::as_str).and_then(|name| self.root.pointer(name.strip_prefix('#')?));
        target.unwrap_or(schema)
    }
}

fn types(schema: &Value) -> Vec<&str> {
    match schema.get("type") {
        Some(Value::String(name)) => vec![name],
        Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn is(name: &str, value: &Value) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    }
}

fn name(kind: &str) -> &'static str {
    match kind {
        "boolean" => "true or false",
        "integer" => "a whole number",
        "number" => "a number",
        "string" => "text",
        "array" => "a list",
        "object" => "a map",
        _ => "nothing",
    }
}

fn describe(types: &[&str]) -> String {
    let mut names: Vec<&str> = types.iter().filter(|kind| **kind != "null").map(|kind| name(kind)).collect();
    names.dedup();
    names.join(" or ")
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "nothing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a map",
    }
}

/// Keys that people look for where signatures are configured, and that would have to mean more than tagboat can do.
const KEYLESS: [&str; 9] = [
    "keyless",
    "identity",
    "issuer",
    "subject",
    "certificate_identity",
    "certificate_oidc_issuer",
    "fulcio",
    "rekor",
    "trusted_root",
];

fn unknown<'a>(path: &str, key: &str, known: impl Iterator<Item = &'a String>) -> String {
    if KEYLESS.contains(&key) && path.contains(".verify") {
        return format!(
            "`{key}` belongs to keyless signatures, and keyless signatures can't be verified: tagboat knows no \
             certificates and no transparency log; sign with a key, and give its public key in `keys`"
        );
    }
    let known: Vec<&String> = known.collect();
    let similar = known
        .iter()
        .map(|candidate| (strsim::jaro_winkler(key, candidate), candidate))
        .filter(|(score, _)| *score >= SIMILAR)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match similar {
        Some((_, candidate)) => format!("unknown key `{key}`; did you mean `{candidate}`?"),
        None => {
            let names: Vec<&str> = known.iter().map(|name| name.as_str()).collect();
            format!("unknown key `{key}`; the keys here are {}", names.join(", "))
        }
    }
}
