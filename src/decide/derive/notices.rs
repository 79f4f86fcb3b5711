//! What changes in the image's own contract, and what could not be known.

use serde_json::Value;

use super::compose;
use super::derived::Notice;
use super::joins::namespace_joins;
use super::json::{Object, clean, entries, env_key, is_empty, keys, text, texts};
use super::mounts::anonymous;
use super::options::Sources;

/// Everything that a person should know of a derivation; `config` is what the new container is asked to be.
pub(super) fn notices(sources: &Sources<'_>, config: &Object) -> Vec<Notice> {
    let mut found = Vec::new();
    if sources.old_image.is_none() {
        found.push(Notice::OldImageGone);
    } else {
        follows(sources, config, &mut found);
        environment(sources, config, &mut found);
    }
    places(sources, &mut found);
    if compose::is_stale(sources) {
        found.push(Notice::ComposeImage);
    }
    for join in namespace_joins(sources.container) {
        if !sources.options.peers.iter().any(|peer| peer.is(&join.container)) {
            found.push(Notice::UnknownPeer { container: join.container });
        }
    }
    found
}

/// Fields that the image sets anew and the container does not.
fn follows(sources: &Sources<'_>, config: &Object, found: &mut Vec<Notice>) {
    let (old, new) = (sources.old_config(), sources.new_config());
    for field in ["User", "WorkingDir", "StopSignal", "Entrypoint", "Cmd"] {
        let (from, to) = (&old[field], &new[field]);
        // A list, even an empty one, is the user's, and a command is only inherited where no entrypoint is given.
        let own = config.get(field).is_some_and(|value| value.is_array() || !is_empty(value));
        let given = field == "Cmd" && config.get("Entrypoint").is_some_and(|entrypoint| !is_empty(entrypoint));
        let changed = from != to && !(is_empty(from) && is_empty(to));
        if changed && !own && !given {
            found.push(Notice::Follows { field: field.to_owned(), from: Some(shown(from)), to: Some(shown(to)) });
        }
    }
    let check = |config: &Value| !is_empty(&config["Healthcheck"]) && config["Healthcheck"]["Test"][0] != "NONE";
    if check(old) && !check(new) && !config.contains_key("Healthcheck") {
        found.push(Notice::HealthcheckDropped);
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::String(text) if !text.is_empty() => text.clone(),
        value if is_empty(value) => "none".to_owned(),
        value => value.to_string(),
    }
}

/// Variables that both images set, and differently.
fn environment(sources: &Sources<'_>, config: &Object, found: &mut Vec<Notice>) {
    let own: Vec<&str> = config.get("Env").into_iter().flat_map(texts).map(env_key).collect();
    let new: Vec<&str> = texts(&sources.new_config()["Env"]).collect();
    let inherited = texts(&sources.old_config()["Env"]).filter(|entry| !own.contains(&env_key(entry)));
    for entry in inherited.filter(|entry| !new.contains(entry)) {
        found.push(Notice::Follows { field: format!("Env.{}", env_key(entry)), from: None, to: None });
    }
}

/// Volumes and ports.
fn places(sources: &Sources<'_>, found: &mut Vec<Notice>) {
    let (old, new) = (sources.old_config(), sources.new_config());
    for volume in anonymous(sources).into_iter().filter(|volume| !volume.wanted) {
        found.push(Notice::VolumeDropped { path: volume.path, volume: volume.volume });
    }
    let mounts = sources.container["Mounts"].as_array().into_iter().flatten();
    let mounted: Vec<String> = mounts.map(|mount| clean(text(mount, "Destination"))).collect();
    let had: Vec<String> = entries(&old["Volumes"]).map(|(path, _)| clean(path)).collect();
    for (path, _) in entries(&new["Volumes"]) {
        if !mounted.contains(&clean(path)) && !had.contains(&clean(path)) {
            found.push(Notice::VolumeAdded { path: path.clone() });
        }
    }
    for port in keys(&old["ExposedPorts"]) {
        if new["ExposedPorts"].get(port).is_none() {
            found.push(Notice::PortDropped { port: port.to_owned() });
        }
    }
}
