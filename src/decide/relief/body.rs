//! The relief's own container, made from that of the next one.

use serde_json::{Map, Value, json};

use crate::model::{AppName, ContainerId, label};

/// What of a container decides whether it reaches the engine and may use what it mounts.
const KEPT: [&str; 12] = [
    "Privileged",
    "SecurityOpt",
    "GroupAdd",
    "CapAdd",
    "CapDrop",
    "UsernsMode",
    "Dns",
    "DnsOptions",
    "DnsSearch",
    "ExtraHosts",
    "Runtime",
    "LogConfig",
];

/// What the relief is sent for.
#[derive(Debug, Clone, Copy)]
pub struct Errand<'a> {
    /// The app that tagboat itself is.
    pub app: &'a AppName,
    /// The value of our owner label.
    pub owner: &'a str,
    /// The container that is to be stopped.
    pub old: &'a ContainerId,
    /// The one that is to be started in its place.
    pub next: &'a ContainerId,
    /// Our program's place, in every version of the image.
    pub program: &'a str,
    /// What follows it.
    pub arguments: &'a [String],
}

/// What the relief of the container called `name` is called: there is one at most.
pub fn relief_name(name: &str) -> String {
    format!("{name}.relief")
}

/// The body of `POST /containers/create`, and the networks that are to be connected after that, from the next one's inspect
/// document: its image, its user, its environment, its network and, by way of the old one, its mounts; no port. It comes
/// back by itself until it is done.
pub fn body(next: &Value, errand: &Errand<'_>) -> (Value, Vec<(String, Value)>) {
    let (config, from) = (&next["Config"], &next["HostConfig"]);
    let mut host = Map::new();
    for key in KEPT {
        if !from[key].is_null() {
            host.insert(key.to_owned(), from[key].clone());
        }
    }
    let mode = from["NetworkMode"].as_str().filter(|mode| !mode.is_empty()).unwrap_or("default");
    host.insert("NetworkMode".to_owned(), json!(mode));
    host.insert("VolumesFrom".to_owned(), json!([errand.old]));
    host.insert("RestartPolicy".to_owned(), json!({"Name": "always", "MaximumRetryCount": 0}));
    let mut command = errand.arguments.to_vec();
    command.extend([errand.old.0.clone(), errand.next.0.clone()]);
    let body = json!({
        "Image": next["Image"],
        "Entrypoint": [errand.program],
        "Cmd": command,
        "Env": config["Env"],
        "User": config["User"],
        "WorkingDir": config["WorkingDir"],
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": {
            label::OWNER: errand.owner,
            label::APP: errand.app,
            label::RELIEF: errand.next,
            label::REPLACES: errand.old,
            // What the image says of itself is not meant for this container.
            label::ENABLE: "false",
        },
        "HostConfig": host,
    });
    (body, further(next, mode))
}

/// The networks besides the first one. Nothing is asked for in them: a fixed address is the next one's.
fn further(next: &Value, mode: &str) -> Vec<(String, Value)> {
    let networks = next.pointer("/NetworkSettings/Networks").and_then(Value::as_object);
    let is_first = |name: &str, endpoint: &Value| {
        name == mode || endpoint["NetworkID"].as_str() == Some(mode) || (name == "bridge" && mode == "default")
    };
    let others = networks.into_iter().flatten().filter(|(name, endpoint)| !is_first(name, endpoint));
    others.map(|(name, _)| (name.clone(), json!({}))).collect()
}

/// Whether an inspect document is that of a relief of ours.
pub fn is_relief(document: &Value, owner: &str) -> bool {
    let labels = &document["Config"]["Labels"];
    labels[label::RELIEF].is_string() && labels[label::OWNER].as_str() == Some(owner)
}

/// Whether it was made for these two.
pub fn is_sent_for(document: &Value, old: &ContainerId, next: &ContainerId) -> bool {
    let labels = &document["Config"]["Labels"];
    labels[label::RELIEF].as_str() == Some(&next.0) && labels[label::REPLACES].as_str() == Some(&old.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(next: &Value) -> (Value, Vec<(String, Value)>) {
        let app = "tagboat".parse().unwrap();
        let (old, id) = (ContainerId("old".to_owned()), ContainerId("next".to_owned()));
        let arguments = ["relieve".to_owned()];
        let errand =
            Errand { app: &app, owner: "/state", old: &old, next: &id, program: "/tagboat", arguments: &arguments };
        let made = body(next, &errand);
        let document = json!({"Config": {"Labels": made.0["Labels"]}});
        assert!(is_relief(&document, "/state") && !is_relief(&document, "/other"));
        assert!(is_sent_for(&document, &old, &id) && !is_sent_for(&document, &id, &old));
        made
    }

    #[test]
    fn it_reaches_the_engine_as_the_next_one_would_and_has_nothing_that_two_can_t_have() {
        let next = json!({
            "Image": "sha256:1",
            "Config": {"Env": ["DOCKER_HOST=tcp://engine:2375"], "User": "1000", "WorkingDir": "/w",
                "Labels": {"tagboat.enable": "true"}, "ExposedPorts": {"80/tcp": {}}, "Healthcheck": {"Test": ["CMD", "/x"]}},
            "HostConfig": {"NetworkMode": "front", "PortBindings": {"80/tcp": [{"HostPort": "80"}]},
                "RestartPolicy": {"Name": "no"}, "GroupAdd": ["999"], "SecurityOpt": ["label=disable"], "CapAdd": null,
                "AutoRemove": false},
            "NetworkSettings": {"Networks": {
                "back": {"IPAMConfig": {"IPv4Address": "10.0.0.9"}}, "front": {"IPAMConfig": null}}},
        });
        let (body, networks) = made(&next);
        assert_eq!(body["Image"], "sha256:1");
        assert_eq!(body["Entrypoint"], json!(["/tagboat"]));
        assert_eq!(body["Cmd"], json!(["relieve", "old", "next"]));
        assert_eq!((&body["User"], &body["Env"]), (&json!("1000"), &json!(["DOCKER_HOST=tcp://engine:2375"])));
        assert_eq!(body["Healthcheck"], json!({"Test": ["NONE"]}));
        assert_eq!(body["Labels"]["tagboat.enable"], "false");
        let host = json!({"NetworkMode": "front", "GroupAdd": ["999"], "SecurityOpt": ["label=disable"],
            "VolumesFrom": ["old"], "RestartPolicy": {"Name": "always", "MaximumRetryCount": 0}});
        assert_eq!(body["HostConfig"], host);
        assert!(body.get("ExposedPorts").is_none());
        assert_eq!(networks, [("back".to_owned(), json!({}))]);
    }

    #[test]
    fn its_only_network_is_not_connected_twice() {
        for (mode, networks) in [
            ("default", json!({"bridge": {}})),
            ("bridge", json!({"bridge": {}})),
            ("1a2b", json!({"front": {"NetworkID": "1a2b"}})),
            ("host", json!({"host": {}})),
        ] {
            let next = json!({"HostConfig": {"NetworkMode": mode}, "NetworkSettings": {"Networks": networks}});
            assert_eq!(made(&next).1, [], "{mode}");
        }
    }
}
