//! The user's share of `Config`: what the old image put in is taken out.

use serde_json::{Value, json};

use super::json::{Object, clean, entries, env_key, object, text, text_in, texts};
use super::options::Sources;
use super::{command, compose, healthcheck};

/// Everything of `Config` that goes into the body, in the form of the create call.
pub(super) fn config(sources: &Sources<'_>) -> Object {
    let mut config = object(sources.config());
    scalars(sources, &mut config);
    command::separate(sources, &mut config);
    environment(sources, &mut config);
    labels(sources, &mut config);
    ports(sources, &mut config);
    volumes(sources, &mut config);
    healthcheck::separate(sources, &mut config);
    identity(sources, &mut config);
    // It goes where the API version wants it: see `networks`.
    config.remove("MacAddress");
    config.insert("Image".to_owned(), json!(image(sources)));
    config
}

fn scalars(sources: &Sources<'_>, config: &mut Object) {
    for field in ["User", "WorkingDir", "StopSignal"] {
        let (own, default) = (text_in(config, field), text(sources.old_config(), field));
        // The engine cleans the directory.
        let same = own == default || (field == "WorkingDir" && !own.is_empty() && clean(own) == clean(default));
        if same && !sources.options.keep.has(field) {
            config.remove(field);
        }
    }
}

/// Variables in their order, without those that are exactly the old image's.
fn environment(sources: &Sources<'_>, config: &mut Object) {
    let old: Vec<&str> = texts(&sources.old_config()["Env"]).collect();
    if let Some(env) = config.get_mut("Env").and_then(Value::as_array_mut) {
        env.retain(|entry| {
            let entry = entry.as_str().unwrap_or_default();
            !old.contains(&entry) || sources.options.keep.has_entry("Env", env_key(entry))
        });
    }
}

fn labels(sources: &Sources<'_>, config: &mut Object) {
    let old = &sources.old_config()["Labels"];
    if let Some(labels) = config.get_mut("Labels").and_then(Value::as_object_mut) {
        labels.retain(|key, value| old.get(key) != Some(value) || sources.options.keep.has_entry("Labels", key));
        compose::relabel(sources, labels);
    }
}

/// A published port must be exposed too, whether or not the new image does it.
fn ports(sources: &Sources<'_>, config: &mut Object) {
    let old = &sources.old_config()["ExposedPorts"];
    let published = &sources.host()["PortBindings"];
    if let Some(ports) = config.get_mut("ExposedPorts").and_then(Value::as_object_mut) {
        ports.retain(|port, _| {
            let own = old.get(port).is_none() || published.get(port).is_some();
            !port.starts_with('/') && (own || sources.options.keep.has_entry("ExposedPorts", port))
        });
    }
}

fn volumes(sources: &Sources<'_>, config: &mut Object) {
    if let Some(volumes) = config.get_mut("Volumes").and_then(Value::as_object_mut) {
        volumes.retain(|path, _| is_own_volume(sources, path));
    }
}

/// Did the user ask for the anonymous volume at this place (`-v /path`)?
pub(super) fn is_own_volume(sources: &Sources<'_>, path: &str) -> bool {
    let old = entries(&sources.old_config()["Volumes"]).any(|(declared, _)| clean(declared) == clean(path));
    !old || sources.options.keep.has_entry("Volumes", path)
}

/// The hostname, unless the engine made it of the id or took it from elsewhere.
fn identity(sources: &Sources<'_>, config: &mut Object) {
    let host = sources.host();
    let (network, uts) = (text(host, "NetworkMode"), text(host, "UTSMode"));
    let name = text_in(config, "Hostname");
    let of_id = !name.is_empty() && text(sources.container, "Id").get(..12) == Some(name);
    let of_host = network == "host" && sources.options.daemon.host_name.as_deref() == Some(name);
    if of_id || of_host || uts == "host" {
        config.remove("Hostname");
    }
    if network.starts_with("container:") {
        // Both are the other container's; ports are refused, and were never this one's own.
        for field in ["Hostname", "Domainname", "ExposedPorts"] {
            config.remove(field);
        }
    }
}

/// The old reference if it names the new image, else its id.
fn image(sources: &Sources<'_>) -> String {
    if let Some(image) = &sources.options.image {
        return image.clone();
    }
    let old = text(sources.config(), "Image");
    let tagged = |name: &str| name == old || name.strip_suffix(":latest") == Some(old);
    let names = ["RepoTags", "RepoDigests"];
    let named = names.iter().any(|list| texts(&sources.new_image[*list]).any(tagged));
    if named { old.to_owned() } else { text(sources.new_image, "Id").to_owned() }
}
