//! The health check, which is inherited field by field.

use serde_json::Value;

use super::json::{Object, is_empty};
use super::options::Sources;

/// The fields that are inherited when they are empty.
pub(super) const FIELDS: [&str; 6] = ["Test", "Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"];

/// Takes out what the image put in. `["NONE"]` is a test like any other: it stays unless it is the image's.
pub(super) fn separate(sources: &Sources<'_>, config: &mut Object) {
    let old = &sources.old_config()["Healthcheck"];
    let Some(check) = config.get_mut("Healthcheck").and_then(Value::as_object_mut) else { return };
    check.retain(|field, value| {
        let inherited = FIELDS.contains(&field.as_str()) && (is_empty(value) || old.get(field) == Some(value));
        !inherited || (!is_empty(value) && sources.options.keep.has_entry("Healthcheck", field))
    });
    if check.is_empty() {
        config.remove("Healthcheck");
    }
}
