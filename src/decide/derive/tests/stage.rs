//! A container and two images, and the engine as far as a derivation sees it.

use serde_json::{Value, json};

use crate::decide::derive::json::object;
use crate::decide::derive::merge::merged;
use crate::decide::derive::{Derived, Options, Sources, derive};

pub(super) const ID: &str = "28df0326656b5358723070b5bf310d62346d03a0eb6b3fccd505350df242255c";

/// The old image.
pub(super) fn old() -> Value {
    image(
        "sha256:old",
        json!({
            "Env": ["PATH=/bin", "A=1", "OLD=x"], "Entrypoint": ["/app"], "Cmd": ["serve"], "User": "1000", "WorkingDir": "/work",
            "Labels": {"a": "1", "old": "1"}, "StopSignal": "SIGINT", "Volumes": {"/data": {}}, "ExposedPorts": {"80/tcp": {}},
            "Healthcheck": {"Test": ["CMD", "x"], "Interval": 5},
        }),
    )
}

/// The new one: everything is otherwise.
pub(super) fn new() -> Value {
    image(
        "sha256:new",
        json!({
            "Env": ["PATH=/usr/bin", "A=2", "NEW=y"], "Entrypoint": ["/new"], "Cmd": ["go"], "User": "2000", "WorkingDir": "/new",
            "Labels": {"a": "2"}, "StopSignal": "SIGTERM", "Volumes": {"/data": {}, "/fresh": {}}, "ExposedPorts": {"81/tcp": {}},
            "Healthcheck": {"Test": ["CMD", "y"], "Interval": 7},
        }),
    )
}

pub(super) fn image(id: &str, config: Value) -> Value {
    json!({"Id": id, "Os": "linux", "Architecture": "arm64", "Variant": "v8", "Config": config})
}

/// The container that the engine makes of a body: `docker inspect` of it.
pub(super) fn made(body: &Value, image: &Value) -> Value {
    let mut host = object(&body["HostConfig"]);
    host.entry("NetworkMode").or_insert(json!("default"));
    let mut config = merged(body, &image["Config"]);
    config.entry("Hostname").or_insert(json!(ID[..12]));
    config.entry("Image").or_insert(json!("repo:tag"));
    config.entry("Entrypoint").or_insert(Value::Null);
    let mut networks = object(&body["NetworkingConfig"]["EndpointsConfig"]);
    if networks.is_empty() {
        let mode = host["NetworkMode"].as_str().unwrap().replace("default", "bridge");
        if !mode.starts_with("container:") {
            networks.insert(mode, json!({"Aliases": null}));
        }
    }
    json!({
        "Id": ID, "Name": "/shop", "Image": image["Id"], "State": {"Status": "running"}, "HostConfig": host, "Mounts": [],
        "Config": config, "NetworkSettings": {"Networks": networks},
    })
}

/// The container of a body on the old image, with changes to its inspect document.
pub(super) fn container(body: Value, change: impl FnOnce(&mut Value)) -> Value {
    let mut container = made(&body, &old());
    change(&mut container);
    container
}

pub(super) fn derived(container: &Value) -> Derived {
    derived_with(container, (1, 41), &Options::default())
}

pub(super) fn derived_with(container: &Value, api: (u32, u32), options: &Options) -> Derived {
    let (old_image, new_image) = (old(), new());
    derive(&Sources { container, old_image: Some(&old_image), new_image: &new_image, api, options }).unwrap()
}

/// With the label `tagboat.keep_config`.
pub(super) fn keeping(fields: &str) -> Options {
    Options { keep: fields.parse().unwrap(), ..Options::default() }
}
