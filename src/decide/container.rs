//! App + image → the body of `POST /containers/create`.

use serde_json::{Map, Value, json};

use crate::model::{
    App, ContainerSpec, Digest, Generation, HealthcheckSpec, ImageRef, Origin, Owned, RestartPolicy, label,
};

use super::by_name;
use super::reconcile::FAILED;

/// The first API version whose create call takes several networks at once (Docker 25).
const SEVERAL_NETWORKS: (u32, u32) = (1, 44);

/// The candidate's name: `shop.7`, or `shop.7-2` where it is one of several.
pub fn container_name(app: &App, generation: Generation, replica: Option<u32>) -> String {
    let number = replica.map(|number| format!("-{number}")).unwrap_or_default();
    format!("{}.{generation}{number}", app.name)
}

/// The name of a candidate that failed: `shop.failed-7`.
pub fn failed_name(app: &App, generation: Generation) -> String {
    match &app.origin {
        Origin::Declared => format!("{}{FAILED}{generation}", app.name),
        Origin::Adopted { container } => by_name::failed_name(container, generation),
    }
}

/// The networks that have to be connected after the create call, before the start, each with its endpoint's
/// configuration: from API 1.44 on none.
pub fn further_networks(app: &App, api: (u32, u32)) -> Vec<(String, Value)> {
    if api >= SEVERAL_NETWORKS {
        return Vec::new();
    }
    app.container.networks.iter().skip(1).map(|name| (name.clone(), json!({}))).collect()
}

/// The restart policy as the API takes it.
pub fn restart_policy(app: &App) -> Value {
    let retries = match app.container.restart {
        RestartPolicy::OnFailure(retries) => retries,
        _ => 0,
    };
    json!({"Name": app.container.restart.label(), "MaximumRetryCount": retries})
}

/// A short hash of everything in the configuration that a container is made of, its image excepted. It changes
/// when the configuration does and only then.
pub fn spec_hash(app: &App) -> String {
    let mut body = body(app);
    body.insert("Restart".to_owned(), restart_policy(app));
    let text = serde_json::to_string(&body).expect("a JSON value can be written");
    Digest::of(text.as_bytes()).short().to_owned()
}

/// The whole body: the app's wishes, the image by digest, and our labels. The candidate gets no restart policy and
/// no published port: it must not come back by itself before it has proved itself, and traffic reaches it only
/// through the proxy.
pub fn create_body(app: &App, image: &ImageRef, owned: &Owned, owner: &str, api: (u32, u32)) -> Value {
    let mut body = body(app);
    body.insert("Image".to_owned(), json!(image.to_string()));
    sign(&mut body, owned, owner);
    let first = if api >= SEVERAL_NETWORKS { usize::MAX } else { 1 };
    let endpoints: Map<String, Value> =
        app.container.networks.iter().take(first).map(|name| (name.clone(), json!({}))).collect();
    if !endpoints.is_empty() {
        body.insert("NetworkingConfig".to_owned(), json!({"EndpointsConfig": endpoints}));
    }
    Value::Object(body)
}

/// Writes our labels into a create body, in the place of those of an earlier version.
pub fn sign(body: &mut Map<String, Value>, owned: &Owned, owner: &str) {
    let labels = body.entry("Labels").or_insert_with(|| json!({}));
    if !labels.is_object() {
        *labels = json!({});
    }
    let Some(labels) = labels.as_object_mut() else { return };
    let written = [
        (label::APP, Some(json!(owned.app))),
        (label::GENERATION, Some(json!(owned.generation.to_string()))),
        (label::SWAP, Some(json!(owned.swap))),
        (label::DIGEST, Some(json!(owned.digest))),
        (label::SPEC, Some(json!(owned.spec))),
        (label::OWNER, Some(json!(owner))),
        (label::REPLACES, owned.replaces.as_ref().map(|id| json!(id))),
        (label::RESTART, owned.restart.as_ref().map(|policy| json!(policy))),
        (label::WATCHED, owned.watched.then(|| json!("true"))),
        (label::REPLICA, owned.replica.map(|number| json!(number.to_string()))),
    ];
    for (name, value) in written {
        match value {
            Some(value) => labels.insert(name.to_owned(), value),
            None => labels.remove(name),
        };
    }
}

/// What comes from the configuration alone.
fn body(app: &App) -> Map<String, Value> {
    let spec = &app.container;
    let mut body = Map::new();
    set(&mut body, "Cmd", spec.command.as_ref().map(|c| json!(c)));
    set(&mut body, "Entrypoint", spec.entrypoint.as_ref().map(|e| json!(e)));
    body.insert("Env".to_owned(), json!(environment(app)));
    set(&mut body, "User", spec.user.as_ref().map(|u| json!(u)));
    set(&mut body, "Hostname", spec.hostname.as_ref().map(|h| json!(h)));
    set(&mut body, "StopSignal", spec.stop_signal.as_ref().map(|s| json!(s)));
    set(&mut body, "StopTimeout", spec.stop_timeout.map(|t| json!(t.as_secs())));
    set(&mut body, "Healthcheck", spec.healthcheck.as_ref().map(healthcheck));
    set(&mut body, "ExposedPorts", app.port.map(|port| json!({format!("{port}/tcp"): {}})));
    body.insert("Labels".to_owned(), json!(spec.labels));
    body.insert("HostConfig".to_owned(), Value::Object(host_config(spec)));
    body
}

/// The user's variables in their order, and `PORT` unless the user set it.
fn environment(app: &App) -> Vec<String> {
    let user = &app.container.env.0;
    let port = app.port.filter(|_| !user.contains_key("PORT")).map(|port| format!("PORT={port}"));
    user.iter().map(|(key, value)| format!("{key}={value}")).chain(port).collect()
}

fn healthcheck(spec: &HealthcheckSpec) -> Value {
    let nanos = |d: std::time::Duration| json!(u64::try_from(d.as_nanos()).unwrap_or(u64::MAX));
    let mut check = Map::new();
    set(&mut check, "Test", spec.test.as_ref().map(|t| json!(t)));
    set(&mut check, "Interval", spec.interval.map(nanos));
    set(&mut check, "Timeout", spec.timeout.map(nanos));
    set(&mut check, "StartPeriod", spec.start_period.map(nanos));
    set(&mut check, "Retries", spec.retries.map(|r| json!(r)));
    Value::Object(check)
}

fn host_config(spec: &ContainerSpec) -> Map<String, Value> {
    let mut host = Map::new();
    host.insert("RestartPolicy".to_owned(), json!({"Name": "no", "MaximumRetryCount": 0}));
    let network = spec.networks.first().map_or("bridge", String::as_str);
    host.insert("NetworkMode".to_owned(), json!(network));
    let listed = |list: &[String]| (!list.is_empty()).then(|| json!(list));
    set(&mut host, "Binds", listed(&spec.volumes));
    set(&mut host, "ExtraHosts", listed(&spec.extra_hosts));
    set(&mut host, "CapAdd", listed(&spec.cap_add));
    set(&mut host, "CapDrop", listed(&spec.cap_drop));
    set(&mut host, "Memory", spec.memory.map(|m| json!(m)));
    set(&mut host, "NanoCpus", spec.nano_cpus.map(|n| json!(n)));
    set(&mut host, "Sysctls", (!spec.sysctls.is_empty()).then(|| json!(spec.sysctls)));
    set(&mut host, "Tmpfs", (!spec.tmpfs.is_empty()).then(|| json!(spec.tmpfs)));
    set(&mut host, "ReadonlyRootfs", spec.read_only.then(|| json!(true)));
    set(&mut host, "Init", spec.init.map(|i| json!(i)));
    set(&mut host, "LogConfig", spec.log.as_ref().map(|l| json!({"Type": l.driver, "Config": l.options})));
    let ulimit = |u: &crate::model::Ulimit| json!({"Name": u.name, "Soft": u.soft, "Hard": u.hard});
    let ulimits: Vec<Value> = spec.ulimits.iter().map(ulimit).collect();
    set(&mut host, "Ulimits", (!ulimits.is_empty()).then(|| json!(ulimits)));
    let devices: Vec<Value> = spec.devices.iter().map(|d| device(d)).collect();
    set(&mut host, "Devices", (!devices.is_empty()).then(|| json!(devices)));
    host
}

/// `/dev/x[:/dev/y[:rwm]]`
fn device(text: &str) -> Value {
    let mut parts = text.split(':');
    let on_host = parts.next().unwrap_or_default();
    let inside = parts.next().unwrap_or(on_host);
    let permissions = parts.next().unwrap_or("rwm");
    json!({"PathOnHost": on_host, "PathInContainer": inside, "CgroupPermissions": permissions})
}

fn set(map: &mut Map<String, Value>, key: &str, value: Option<Value>) {
    if let Some(value) = value {
        map.insert(key.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decide::fixtures::app;

    #[test]
    fn the_hash_changes_with_the_configuration_and_only_with_it() {
        let shop = app("shop");
        let same = spec_hash(&shop);
        assert_eq!(same, spec_hash(&app("shop")));
        let mut changed = app("shop");
        changed.container.env.0.insert("A".into(), "1".into());
        assert_ne!(same, spec_hash(&changed));
        let mut rewatched = app("shop");
        rewatched.keep = 9;
        assert_eq!(same, spec_hash(&rewatched));
        let mut restarted = app("shop");
        restarted.container.restart = RestartPolicy::Always;
        assert_ne!(same, spec_hash(&restarted));
    }

    #[test]
    fn a_port_that_the_user_sets_is_not_overwritten() {
        let mut shop = app("shop");
        assert!(environment(&shop).contains(&"PORT=8080".to_owned()));
        shop.container.env.0.insert("PORT".into(), "9".into());
        assert_eq!(environment(&shop), ["PORT=9"]);
    }

    #[test]
    fn older_engines_get_one_network_at_create_and_the_rest_later() {
        let mut shop = app("shop");
        shop.container.networks = vec!["front".into(), "back".into()];
        assert_eq!(further_networks(&shop, (1, 41)), [("back".to_owned(), json!({}))]);
        assert!(further_networks(&shop, (1, 44)).is_empty());
    }

    #[test]
    fn a_device_may_have_another_name_inside() {
        assert_eq!(device("/dev/a")["PathInContainer"], "/dev/a");
        assert_eq!(device("/dev/a:/dev/b:r")["CgroupPermissions"], "r");
    }
}
