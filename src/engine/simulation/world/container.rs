//! Images and the containers that were made of them.

use super::*;

#[derive(Debug, Clone)]
pub(in crate::engine::simulation) struct Image {
    pub(in crate::engine::simulation) digest: Digest,
    pub(in crate::engine::simulation) nature: Nature,
    /// The engine has it, under these names.
    pub(in crate::engine::simulation) names: Vec<String>,
}

impl Image {
    pub(in crate::engine::simulation) fn id(&self) -> String {
        Digest::of(self.digest.as_str().as_bytes()).to_string()
    }

    pub(in crate::engine::simulation) fn document(&self) -> Value {
        let tagged = |name: &&String| !name.contains('@');
        json!({
            "Id": self.id(), "Os": "linux", "Architecture": "amd64", "Size": 1,
            "RepoDigests": self.names.iter().filter(|name| !tagged(name)).collect::<Vec<_>>(),
            "RepoTags": self.names.iter().filter(tagged).collect::<Vec<_>>(),
            "Config": {"Env": ["PATH=/bin", format!("VERSION={}", self.digest.short())], "Entrypoint": ["/app"]},
        })
    }

    pub(in crate::engine::simulation) fn details(&self) -> ImageDetails {
        crate::docker::image_of(self.document())
    }
}

#[derive(Debug, Clone)]
pub(in crate::engine::simulation) struct Made {
    pub(in crate::engine::simulation) id: ContainerId,
    pub(in crate::engine::simulation) name: String,
    pub(in crate::engine::simulation) body: Value,
    pub(in crate::engine::simulation) image: Digest,
    pub(in crate::engine::simulation) nature: Nature,
    pub(in crate::engine::simulation) state: ContainerState,
    pub(in crate::engine::simulation) policy: Value,
    pub(in crate::engine::simulation) restarts: u64,
    pub(in crate::engine::simulation) created: Time,
    pub(in crate::engine::simulation) started: Option<Time>,
    pub(in crate::engine::simulation) finished: Option<Time>,
    /// The exit code of its last end, and that of one by itself.
    pub(in crate::engine::simulation) code: i64,
    pub(in crate::engine::simulation) own_code: i64,
    pub(in crate::engine::simulation) again: Option<Time>,
    /// It is the engine that was restarted: that counts as no restart of its own.
    pub(in crate::engine::simulation) booting: bool,
    pub(in crate::engine::simulation) address: u8,
    /// Probes that it has answered since somebody started it.
    pub(in crate::engine::simulation) answered: u32,
    /// It was looked at after it was made.
    pub(in crate::engine::simulation) inspected: bool,
}

impl Made {
    pub(in crate::engine::simulation) fn label(&self, name: &str) -> Option<&str> {
        self.body["Labels"][name].as_str()
    }

    pub(in crate::engine::simulation) fn policy_name(&self) -> &str {
        self.policy["Name"].as_str().unwrap_or("no")
    }

    pub(in crate::engine::simulation) fn runs(&self) -> bool {
        self.state == ContainerState::Running
    }

    pub(in crate::engine::simulation) fn answers(&self) -> bool {
        self.runs() && self.nature != Nature::Deaf
    }

    /// The host port that only one can have.
    pub(in crate::engine::simulation) fn port(&self) -> Option<&str> {
        self.body.pointer("/HostConfig/PortBindings/8080~1tcp/0/HostPort")?.as_str()
    }

    pub(in crate::engine::simulation) fn document(&self, image: &Image) -> Value {
        let time = |at: Option<Time>| {
            at.map_or_else(
                || "0001-01-01T00:00:00Z".to_owned(),
                |at| at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true),
            )
        };
        let mut config = self.body.clone();
        let own = config.as_object_mut().expect("a body is an object");
        let mut host = own.remove("HostConfig").unwrap_or_else(|| json!({}));
        let networks = own.remove("NetworkingConfig").map_or(Value::Null, |mut c| c["EndpointsConfig"].take());
        host["RestartPolicy"] = self.policy.clone();
        if host["NetworkMode"].is_null() {
            host["NetworkMode"] = json!("default");
        }
        let made = image.document();
        let mut env: Vec<Value> = own.get("Env").and_then(Value::as_array).cloned().unwrap_or_default();
        let key = |entry: &Value| entry.as_str().unwrap_or_default().split('=').next().unwrap_or_default().to_owned();
        for entry in made["Config"]["Env"].as_array().expect("an image has an environment") {
            if !env.iter().any(|own| key(own) == key(entry)) {
                env.push(entry.clone());
            }
        }
        own.insert("Env".to_owned(), json!(env));
        if own.get("Entrypoint").is_none_or(Value::is_null) {
            own.insert("Entrypoint".to_owned(), made["Config"]["Entrypoint"].clone());
        }
        if own.get("Hostname").is_none_or(Value::is_null) {
            own.insert("Hostname".to_owned(), json!(self.id.short()));
        }
        let mut networks = if networks.is_object() { networks } else { json!({}) };
        if networks.as_object().is_some_and(serde_json::Map::is_empty) {
            networks["bridge"] = json!({});
        }
        if let Some(endpoints) = networks.as_object_mut() {
            for endpoint in endpoints.values_mut() {
                endpoint["IPAddress"] = if self.runs() { json!(format!("10.0.0.{}", self.address)) } else { json!("") };
            }
        }
        json!({
            "Id": self.id, "Name": format!("/{}", self.name), "Created": time(Some(self.created)), "Image": image.id(),
            "RestartCount": self.restarts, "Config": config, "HostConfig": host, "Mounts": [],
            "State": {"Status": self.state.label(), "ExitCode": self.code,
                "StartedAt": time(self.started), "FinishedAt": time(self.finished)},
            "NetworkSettings": {"Networks": networks},
        })
    }
}
