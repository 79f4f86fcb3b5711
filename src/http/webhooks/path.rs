//! Where in a JSON body a value is: `$.image.repository`, `images[0].tag`, `$.pushes[*].name`.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

/// A path to one or more values: the part of JSONPath (RFC 9535) that names members, indices and all elements.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldPath {
    text: String,
    steps: Vec<Step>,
}

/// A sample's lists are no longer, whatever index is configured.
const LONGEST: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Step {
    Member(String),
    Index(usize),
    All,
}

/// A path that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no path to a field; write it like `$.image.repository`, `images[0].tag` or `pushes[*].name`")]
pub struct InvalidPath(String);

impl FromStr for FieldPath {
    type Err = InvalidPath;

    fn from_str(text: &str) -> Result<Self, InvalidPath> {
        let invalid = || InvalidPath(text.to_owned());
        let rest = text.trim().strip_prefix('$').unwrap_or(text.trim());
        let mut steps = Vec::new();
        for part in rest.strip_prefix('.').unwrap_or(rest).split('.') {
            let (name, brackets) = part.split_at(part.find('[').unwrap_or(part.len()));
            if name.is_empty() && (brackets.is_empty() || !steps.is_empty()) {
                return Err(invalid());
            }
            if !name.is_empty() {
                steps.push(Step::Member(name.to_owned()));
            }
            let mut brackets = brackets;
            while !brackets.is_empty() {
                let inside = brackets.strip_prefix('[').and_then(|rest| rest.split_once(']'));
                let (inside, rest) = inside.ok_or_else(invalid)?;
                steps.push(match inside {
                    "*" => Step::All,
                    index => Step::Index(index.parse().map_err(|_| invalid())?),
                });
                brackets = rest;
            }
        }
        Ok(Self { text: text.to_owned(), steps })
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FieldPath {
    /// The texts there; numbers are texts too, because YAML-minded senders make numbers of tags.
    pub(super) fn find(&self, value: &Value) -> Vec<String> {
        let mut found = vec![value];
        for step in &self.steps {
            found = found.into_iter().flat_map(|value| step.take(value)).collect();
        }
        found.into_iter().filter_map(scalar).collect()
    }
}

impl FieldPath {
    /// Makes `body` one in which this path finds `text`.
    pub(super) fn put(&self, body: &mut Value, text: &str) {
        let mut place = body;
        for step in &self.steps {
            place = step.make(place);
        }
        *place = text.into();
    }
}

impl Step {
    /// The place below, made if it is not there.
    fn make<'a>(&self, place: &'a mut Value) -> &'a mut Value {
        let index = match self {
            Self::Member(name) => {
                if !place.is_object() {
                    *place = serde_json::json!({});
                }
                return place.as_object_mut().expect("it was just made").entry(name.clone()).or_insert(Value::Null);
            }
            Self::Index(index) => (*index).min(LONGEST),
            Self::All => 0,
        };
        if !place.is_array() {
            *place = serde_json::json!([]);
        }
        let list = place.as_array_mut().expect("it was just made");
        if list.len() <= index {
            list.resize(index + 1, Value::Null);
        }
        list.get_mut(index).expect("it is that long now")
    }

    fn take<'a>(&self, value: &'a Value) -> Vec<&'a Value> {
        match self {
            Self::Member(name) => value.get(name).into_iter().collect(),
            Self::Index(index) => value.get(*index).into_iter().collect(),
            Self::All => value.as_array().map(|list| list.iter().collect()).unwrap_or_default(),
        }
    }
}

/// A text or a number as text.
pub(super) fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.trim().to_owned()).filter(|text| !text.is_empty()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_path_finds_members_indices_and_every_element() {
        let body =
            json!({"image": {"repo": "a/b", "tag": 42}, "pushes": [{"n": "x"}, {"n": "y"}, {"m": 1}], "l": [["z"]]});
        for (path, wanted) in [
            ("$.image.repo", vec!["a/b"]),
            ("image.tag", vec!["42"]),
            ("$.pushes[1].n", vec!["y"]),
            ("pushes[*].n", vec!["x", "y"]),
            ("l[0][0]", vec!["z"]),
            ("image", vec![]),
            ("pushes.n", vec![]),
            ("image[0]", vec![]),
            ("pushes[7].n", vec![]),
        ] {
            assert_eq!(path.parse::<FieldPath>().unwrap().find(&body), wanted, "{path}");
        }
        let list = json!(["a", "b"]);
        assert_eq!("$[*]".parse::<FieldPath>().unwrap().find(&list), ["a", "b"]);
        for path in ["", "$", "$.", "a..b", "a[", "a[x]", "a[1]b", "a.[0]", "a[-1]", "."] {
            assert!(path.parse::<FieldPath>().is_err(), "{path}");
        }
    }
}
