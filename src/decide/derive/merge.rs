//! What the engine makes of a body: the merge that a derivation undoes, done forward. It is the expectation that a
//! created container is compared with.

use serde_json::{Value, json};

use super::healthcheck::FIELDS;
use super::json::{NOTHING, Object, clean, entries, env_key, is_empty, object, text_in, texts};

/// `Config` as the engine shows it, from the body of a create call and the image's `Config`.
pub(super) fn merged(body: &Value, image: &Value) -> Object {
    let mut config = object(body);
    config.remove("HostConfig");
    config.remove("NetworkingConfig");
    for field in ["User", "WorkingDir", "StopSignal"] {
        if text_in(&config, field).is_empty() {
            set(&mut config, field, &image[field]);
        }
    }
    if let Some(dir) = Some(text_in(&config, "WorkingDir")).filter(|dir| !dir.is_empty()).map(clean) {
        config.insert("WorkingDir".to_owned(), json!(dir));
    }
    command(&mut config, image);
    for field in ["ExposedPorts", "Labels", "Volumes"] {
        let mut all = object(config.get(field).unwrap_or(NOTHING));
        for (key, value) in entries(&image[field]) {
            all.entry(key.clone()).or_insert_with(|| value.clone());
        }
        config.insert(field.to_owned(), Value::Object(all));
    }
    config.insert("Env".to_owned(), environment(config.get("Env").unwrap_or(NOTHING), &image["Env"]));
    healthcheck(&mut config, &image["Healthcheck"]);
    config
}

fn set(config: &mut Object, field: &str, value: &Value) {
    if is_empty(value) {
        config.remove(field);
    } else {
        config.insert(field.to_owned(), value.clone());
    }
}

fn command(config: &mut Object, image: &Value) {
    let entrypoint = config.get("Entrypoint").unwrap_or(NOTHING).clone();
    if is_empty(&entrypoint) {
        if config.get("Cmd").is_none_or(is_empty) {
            set(config, "Cmd", &image["Cmd"]);
        }
        if entrypoint.is_null() {
            set(config, "Entrypoint", &image["Entrypoint"]);
        }
    }
    if entrypoint == json!([""]) {
        config.remove("Entrypoint");
    }
}

fn environment(own: &Value, image: &Value) -> Value {
    let keys: Vec<&str> = texts(own).map(env_key).collect();
    let inherited = texts(image).filter(|entry| !keys.contains(&env_key(entry)));
    texts(own).chain(inherited).collect()
}

fn healthcheck(config: &mut Object, image: &Value) {
    if is_empty(image) {
        return;
    }
    let mut check = object(config.get("Healthcheck").unwrap_or(NOTHING));
    for field in FIELDS {
        if check.get(field).is_none_or(is_empty) {
            set(&mut check, field, &image[field]);
        }
    }
    config.insert("Healthcheck".to_owned(), Value::Object(check));
}
