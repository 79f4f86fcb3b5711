//! Values that may be written in more than one way.

use schemars::JsonSchema;
use serde::Deserialize;

/// A text, number or truth value, used as text.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "serde_json::Value")]
pub(super) struct Scalar(pub(super) String);

impl TryFrom<serde_json::Value> for Scalar {
    type Error = &'static str;
    fn try_from(value: serde_json::Value) -> Result<Self, &'static str> {
        match value {
            serde_json::Value::String(text) => Ok(Self(text)),
            serde_json::Value::Number(number) => Ok(Self(number.to_string())),
            serde_json::Value::Bool(truth) => Ok(Self(truth.to_string())),
            _ => Err("must be text, a number, or true or false"),
        }
    }
}

impl JsonSchema for Scalar {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Scalar".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"type": ["string", "number", "boolean"]})
    }
}

/// A list of words, or a text.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "serde_json::Value")]
pub(super) enum Words {
    Text(String),
    List(Vec<String>),
}

impl TryFrom<serde_json::Value> for Words {
    type Error = &'static str;
    fn try_from(value: serde_json::Value) -> Result<Self, &'static str> {
        match value {
            serde_json::Value::String(text) => Ok(Self::Text(text)),
            serde_json::Value::Array(list) => {
                let words = list.into_iter().map(|word| word.as_str().map(str::to_owned)).collect::<Option<_>>();
                words.map(Self::List).ok_or("must be a list of texts")
            }
            _ => Err("must be text or a list of texts"),
        }
    }
}

impl JsonSchema for Words {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Words".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}}]})
    }
}
