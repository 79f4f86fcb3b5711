//! Is the created candidate what was intended? Asked while the old one still serves.
//!
//! `docker inspect` shows the intention merged with the image's and the daemon's defaults, so what was asked for is
//! looked up in what was made, and not the other way round: a value that nobody asked for is a default. What the
//! engine rewrites on the way is listed in [`REWRITTEN`].

use std::fmt;

use serde_json::Value;

/// Fields that the engine rewrites, and why their difference says nothing.
const REWRITTEN: [&str; 2] = [
    // The engine keeps the reference under Config.Image; which image it is, is compared by its id elsewhere.
    "Image",
    // Endpoints are only made at the start; names are compared by NetworkMode and after the start by address.
    "NetworkingConfig",
];

/// One thing that is not as intended. Values of environment variables are never in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Where in the create body: `HostConfig.Memory`.
    pub path: String,
    /// What was asked for.
    pub intended: String,
    /// What was made.
    pub found: String,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} should be {} and is {}", self.path, self.intended, self.found)
    }
}

/// What the inspected container lacks of, or has otherwise than, the body that it was created from. `image` is the
/// image's inspect document: the environment and labels that the body does not set must be the image's.
pub fn differences(intended: &Value, inspected: &Value, image: &Value) -> Vec<Difference> {
    let mut found = Vec::new();
    let nothing = Value::Null;
    for (key, value) in entries(intended).filter(|(key, _)| !REWRITTEN.contains(&key.as_str())) {
        if key == "HostConfig" {
            for (key, value) in entries(value) {
                let made = inspected["HostConfig"].get(key).unwrap_or(&nothing);
                compare(&format!("HostConfig.{key}"), value, made, &mut found);
            }
        } else {
            let made = inspected["Config"].get(key).unwrap_or(&nothing);
            compare(key, value, made, &mut found);
        }
    }
    strangers(intended, inspected, image, &mut found);
    found
}

/// Environment variables that neither the body nor the image has.
fn strangers(intended: &Value, inspected: &Value, image: &Value, found: &mut Vec<Difference>) {
    let known: Vec<&str> = [&intended["Env"], &image["Config"]["Env"]].into_iter().flat_map(keys_of).collect();
    for key in keys_of(&inspected["Config"]["Env"]).filter(|key| !known.contains(key) && *key != "PATH") {
        found.push(Difference { path: format!("Env.{key}"), intended: "absent".into(), found: "set".into() });
    }
}

fn compare(path: &str, intended: &Value, made: &Value, found: &mut Vec<Difference>) {
    if path == "Env" {
        return environment(intended, made, found);
    }
    match (intended, made) {
        // Of a map (labels, exposed ports, sysctls, log options, …) every entry asked for must be there.
        (Value::Object(intended), _) => {
            let nothing = Value::Null;
            for (key, value) in intended {
                compare(&format!("{path}.{key}"), value, made.get(key).unwrap_or(&nothing), found);
            }
        }
        (Value::Array(intended), Value::Array(made)) if path != "Cmd" && path != "Entrypoint" => {
            for value in intended.iter().filter(|value| !made.iter().any(|m| alike(path, value, m))) {
                found.push(Difference {
                    path: path.to_owned(),
                    intended: value.to_string(),
                    found: Value::Array(made.clone()).to_string(),
                });
            }
        }
        _ if alike(path, intended, made) => {}
        _ => found.push(Difference {
            path: path.to_owned(),
            intended: intended.to_string(),
            found: if made.is_null() { "absent".to_owned() } else { made.to_string() },
        }),
    }
}

/// Equal but for spellings that the engine normalises: `CAP_` prefixes, an empty list for none, and the network
/// `default` for `bridge`.
fn alike(path: &str, intended: &Value, made: &Value) -> bool {
    if intended == made {
        return true;
    }
    match (intended, made) {
        (Value::String(a), Value::String(b)) if path.starts_with("HostConfig.Cap") => {
            a.to_uppercase().trim_start_matches("CAP_") == b.to_uppercase().trim_start_matches("CAP_")
        }
        (Value::String(a), Value::String(b)) if path == "HostConfig.NetworkMode" => a == "bridge" && b == "default",
        (Value::Object(a), Value::Object(b)) => a.iter().all(|(key, value)| b.get(key) == Some(value)),
        (Value::Array(a), Value::Null) => a.is_empty(),
        (Value::Number(a), Value::Null) => a.as_u64() == Some(0),
        _ => false,
    }
}

fn environment(intended: &Value, made: &Value, found: &mut Vec<Difference>) {
    let made: Vec<&str> = made.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for entry in intended.as_array().into_iter().flatten().filter_map(Value::as_str) {
        if !made.contains(&entry) {
            let key = entry.split('=').next().unwrap_or_default();
            let other = made.iter().any(|m| m.split('=').next() == Some(key));
            found.push(Difference {
                path: format!("Env.{key}"),
                intended: "as configured".into(),
                found: if other { "another value".into() } else { "absent".into() },
            });
        }
    }
}

fn keys_of(env: &Value) -> impl Iterator<Item = &str> {
    env.as_array().into_iter().flatten().filter_map(Value::as_str).map(|entry| entry.split('=').next().unwrap_or(entry))
}

fn entries(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::container::create_body;
    use crate::decide::fixtures::app;
    use crate::model::{Digest, Generation, ImageRef, Owned, SwapId};
    use proptest::prelude::*;
    use serde_json::json;

    fn intention() -> Value {
        let mut shop = app("shop");
        shop.container.env.0.insert("SECRET".into(), "hunter2".into());
        shop.container.memory = Some(1 << 28);
        shop.container.cap_add = vec!["NET_ADMIN".into()];
        shop.container.volumes = vec!["data:/data".into()];
        shop.container.labels.insert("a".into(), "b".into());
        let digest = Digest::of(b"x");
        let image = ImageRef::by_digest(&shop.image, &digest);
        let owned = Owned {
            app: shop.name.clone(),
            generation: Generation(3),
            swap: SwapId("s".into()),
            replaces: None,
            digest,
            spec: "spec".into(),
            restart: None,
            watched: false,
            replica: None,
        };
        create_body(&shop, &image, &owned, "me", (1, 41))
    }

    fn merged(body: &Value) -> Value {
        let mut config = body.clone();
        let host = config.as_object_mut().unwrap().remove("HostConfig").unwrap();
        config["Env"].as_array_mut().unwrap().push(json!("FROM_IMAGE=1"));
        config["Labels"]["image"] = json!("label");
        let mut host = host;
        host["ShmSize"] = json!(67_108_864);
        host["CapAdd"] = json!(["CAP_NET_ADMIN"]);
        json!({"Config": config, "HostConfig": host})
    }

    #[test]
    fn what_image_and_daemon_add_is_no_difference() {
        let body = intention();
        let image = json!({"Config": {"Env": ["FROM_IMAGE=1"]}});
        assert_eq!(differences(&body, &merged(&body), &image), []);
    }

    #[test]
    fn a_changed_or_added_variable_is_named_without_its_value() {
        let body = intention();
        let mut made = merged(&body);
        made["Config"]["Env"] = json!(["SECRET=other", "PORT=8080", "INJECTED=1"]);
        let found = differences(&body, &made, &json!({}));
        let text = format!("{found:?}");
        assert!(text.contains("Env.SECRET") && text.contains("Env.INJECTED"), "{text}");
        assert!(!text.contains("hunter2") && !text.contains("other\""), "{text}");
    }

    proptest! {
        #[test]
        fn any_field_that_is_lost_is_found(index in any::<prop::sample::Index>()) {
            let body = intention();
            let mut made = merged(&body);
            let host: Vec<String> = body["HostConfig"].as_object().unwrap().keys().cloned().collect();
            let key = &host[index.index(host.len())];
            made["HostConfig"].as_object_mut().unwrap().remove(key);
            let image = json!({"Config": {"Env": ["FROM_IMAGE=1"]}});
            let found = differences(&body, &made, &image);
            prop_assert!(found.iter().any(|d| d.path.contains(key.as_str())), "{key}: {found:?}");
        }
    }
}
