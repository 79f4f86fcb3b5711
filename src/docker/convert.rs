//! The daemon's documents → our nouns.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

use serde_json::Value;

use crate::decide::by_name::serving_name;
use crate::model::{
    Container, ContainerId, ContainerState, Digest, Generation, Health, ImageDetails, ImageRef, InvalidName,
    JobContainer, JobKind, Owned, Platform, StoredImage, SwapId, Time, Version, label,
};

/// A health check's output is cut to this.
const OUTPUT: usize = 4096;

/// A container that carries our labels, or that a person has labelled, from its inspect document. The error says what is wrong with it.
pub(crate) fn container(doc: &Value) -> Result<Container, String> {
    let text = |pointer: &str| doc.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let id = text("/Id").to_owned();
    if id.is_empty() {
        return Err("it has no id".to_owned());
    }
    let created = time(text("/Created")).ok_or("it has no creation time")?;
    Ok(Container {
        id: ContainerId(id),
        name: text("/Name").trim_start_matches('/').to_owned(),
        owned: match doc.pointer("/Config/Labels").filter(|labels| labels.get(label::APP).is_some()) {
            Some(labels) => owned(labels)?,
            None => made_by_a_person(text("/Name"), text("/Image"))?,
        },
        state: state(text("/State/Status"), doc.pointer("/State/Paused").and_then(Value::as_bool) == Some(true))?,
        health: health(text("/State/Health/Status")),
        health_output: last_output(doc),
        restart_count: doc.pointer("/RestartCount").and_then(Value::as_u64).unwrap_or_default(),
        exit_code: doc.pointer("/State/ExitCode").and_then(Value::as_i64).unwrap_or_default(),
        oom_killed: doc.pointer("/State/OOMKilled").and_then(Value::as_bool).unwrap_or_default(),
        created,
        started: time(text("/State/StartedAt")),
        finished: time(text("/State/FinishedAt")),
        restart_policy: match text("/HostConfig/RestartPolicy/Name") {
            "" => "no".to_owned(),
            name => name.to_owned(),
        },
        image_id: text("/Image").to_owned(),
        addresses: addresses(doc),
    })
}

fn owned(labels: &Value) -> Result<Owned, String> {
    let get = |name: &str| labels.get(name).and_then(Value::as_str);
    let need = |name: &str| get(name).ok_or_else(|| format!("it has no label {name}"));
    let bad = |name: &str| format!("its label {name} makes no sense");
    Ok(Owned {
        app: need(label::APP)?.parse().map_err(|_| bad(label::APP))?,
        generation: Generation(need(label::GENERATION)?.parse().map_err(|_| bad(label::GENERATION))?),
        swap: SwapId(need(label::SWAP)?.to_owned()),
        replaces: get(label::REPLACES).map(|id| ContainerId(id.to_owned())),
        digest: need(label::DIGEST)?.parse().map_err(|_| bad(label::DIGEST))?,
        spec: need(label::SPEC)?.to_owned(),
        restart: get(label::RESTART).map(str::to_owned),
        watched: get(label::WATCHED) == Some("true"),
        replica: get(label::REPLICA).and_then(|number| number.parse().ok()),
    })
}

/// The container of a job.
pub(crate) fn job(doc: &Value) -> Result<JobContainer, String> {
    let get = |name: &str| doc.pointer("/Config/Labels")?.get(name)?.as_str();
    let bad = |name: &str| format!("its label {name} makes no sense");
    let kind = get(label::JOB).and_then(JobKind::named).ok_or_else(|| bad(label::JOB))?;
    let seconds = get(label::JOB_TIMEOUT).and_then(|text| text.parse().ok()).ok_or_else(|| bad(label::JOB_TIMEOUT))?;
    Ok(JobContainer { kind, timeout: Duration::from_secs(seconds), container: container(doc)? })
}

/// True for what is no version of its app: the container of a job, or the relief of ours.
pub(crate) fn is_no_version(doc: &Value) -> bool {
    let has = |name: &str| doc.pointer("/Config/Labels").is_some_and(|labels| labels.get(name).is_some());
    has(label::JOB) || has(label::RELIEF)
}

/// What there is to say about a container without our labels, until its image's digest is known.
fn made_by_a_person(name: &str, image_id: &str) -> Result<Owned, String> {
    let name = serving_name(name.trim_start_matches('/'));
    Ok(Owned {
        app: name.to_ascii_lowercase().parse().map_err(|error: InvalidName| error.to_string())?,
        generation: Generation(0),
        swap: SwapId(String::new()),
        replaces: None,
        digest: image_id.parse().map_err(|_| format!("its image {image_id:?} is no digest"))?,
        spec: String::new(),
        restart: None,
        watched: false,
        replica: None,
    })
}

/// The digest by which an image was pulled under the name that a container was made with; `None` when it was not
/// pulled under that name.
pub(crate) fn digest_of(image: &ImageDetails, written: &str) -> Option<Digest> {
    let wanted: ImageRef = written.parse().ok()?;
    let names = image.repo_digests.iter().filter_map(|name| name.parse::<ImageRef>().ok());
    names.filter(|name| name.repository == wanted.repository).find_map(|name| match name.version {
        Version::Digest(digest) => Some(digest),
        Version::Tag(_) => None,
    })
}

fn state(status: &str, paused: bool) -> Result<ContainerState, String> {
    Ok(match status {
        _ if paused => ContainerState::Paused,
        "created" => ContainerState::Created,
        "running" => ContainerState::Running,
        "paused" => ContainerState::Paused,
        "restarting" => ContainerState::Restarting,
        "exited" => ContainerState::Exited,
        "removing" => ContainerState::Removing,
        "dead" => ContainerState::Dead,
        other => return Err(format!("its state {other:?} is unknown")),
    })
}

fn health(status: &str) -> Option<Health> {
    match status {
        "starting" => Some(Health::Starting),
        "healthy" => Some(Health::Healthy),
        "unhealthy" => Some(Health::Unhealthy),
        _ => None,
    }
}

fn last_output(doc: &Value) -> String {
    let log = doc.pointer("/State/Health/Log").and_then(Value::as_array);
    let output = log.and_then(|log| log.last()?.get("Output")?.as_str()).unwrap_or_default();
    output.chars().take(OUTPUT).collect()
}

fn addresses(doc: &Value) -> BTreeMap<String, IpAddr> {
    let networks = doc.pointer("/NetworkSettings/Networks").and_then(Value::as_object);
    let address = |endpoint: &Value| -> Option<IpAddr> {
        let of = |key: &str| endpoint.get(key)?.as_str()?.parse().ok();
        of("IPAddress").or_else(|| of("GlobalIPv6Address"))
    };
    networks.into_iter().flatten().filter_map(|(name, endpoint)| Some((name.clone(), address(endpoint)?))).collect()
}

/// The daemon writes the year 1 for "never".
fn time(text: &str) -> Option<Time> {
    let at: Time = text.parse().ok()?;
    (at.timestamp() > 0).then_some(at)
}

/// An image, from its inspect document.
pub(crate) fn image(doc: Value) -> ImageDetails {
    let text = |key: &str| doc.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let list = |key: &str| -> Vec<String> {
        let list = doc.get(key).and_then(Value::as_array);
        list.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let test = doc.pointer("/Config/Healthcheck/Test").and_then(Value::as_array);
    ImageDetails {
        id: text("Id"),
        platform: Platform {
            os: text("Os"),
            architecture: text("Architecture"),
            variant: Some(text("Variant")).filter(|variant| !variant.is_empty()),
        },
        repo_digests: list("RepoDigests"),
        repo_tags: list("RepoTags"),
        size: doc.get("Size").and_then(Value::as_u64).unwrap_or_default(),
        has_healthcheck: test.is_some_and(|test| test.first().is_some_and(|kind| kind != "NONE")),
        raw: doc,
    }
}

/// An entry of `GET /images/json`; an image without a name has `<none>` there, or nothing.
pub(crate) fn stored_image(entry: &Value) -> StoredImage {
    let names = |key: &str| -> Vec<String> {
        let names = entry[key].as_array().into_iter().flatten().filter_map(Value::as_str);
        names.filter(|name| !name.starts_with("<none>")).map(str::to_owned).collect()
    };
    StoredImage {
        id: entry["Id"].as_str().unwrap_or_default().to_owned(),
        tags: names("RepoTags"),
        digests: names("RepoDigests"),
        size: entry["Size"].as_u64().unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn document() -> Value {
        json!({
            "Id": "abc", "Name": "/shop.3", "Created": "2026-01-01T00:00:00.5Z", "RestartCount": 2, "Image": "sha256:1",
            "State": {"Status": "running", "StartedAt": "2026-01-01T00:00:01Z", "FinishedAt": "0001-01-01T00:00:00Z",
                "Health": {"Status": "unhealthy", "Log": [{"Output": "old"}, {"Output": "x".repeat(9000)}]}},
            "Config": {"Labels": {"tagboat.app": "shop", "tagboat.generation": "3", "tagboat.swap": "s",
                "tagboat.digest": format!("sha256:{}", "a".repeat(64)), "tagboat.spec": "f00"}},
            "HostConfig": {"RestartPolicy": {"Name": "", "MaximumRetryCount": 0}},
            "NetworkSettings": {"Networks": {"bridge": {"IPAddress": "172.17.0.2"}, "other": {"IPAddress": ""}}}
        })
    }

    #[test]
    fn an_inspect_document_becomes_a_container() {
        let container = container(&document()).unwrap();
        assert_eq!((container.name.as_str(), container.owned.generation.0), ("shop.3", 3));
        assert_eq!((container.restart_policy.as_str(), container.finished), ("no", None));
        assert_eq!((container.health, container.health_output.len()), (Some(Health::Unhealthy), OUTPUT));
        assert_eq!(container.addresses.len(), 1);
    }

    #[test]
    fn labels_that_make_no_sense_are_named() {
        let mut broken = document();
        broken["Config"]["Labels"]["tagboat.generation"] = json!("x");
        assert_eq!(container(&broken).unwrap_err(), "its label tagboat.generation makes no sense");
        assert!(container(&json!({})).is_err());
    }

    #[test]
    fn a_container_that_a_person_made_is_known_by_its_name_and_its_image() {
        let mut doc = document();
        doc["Config"]["Labels"] = json!({"tagboat.enable": "true"});
        doc["Name"] = json!("/Shop_web.prev-3");
        doc["Image"] = json!(format!("sha256:{}", "1".repeat(64)));
        let container = container(&doc).unwrap();
        assert_eq!((container.owned.app.as_str(), container.owned.generation.0), ("shop_web", 0));
        let digest = format!("sha256:{}", "d".repeat(64));
        let pulled = image(json!({"RepoDigests": [format!("other/shop@{digest}"), format!("acme/shop@{digest}")]}));
        assert_eq!(digest_of(&pulled, "acme/shop:1").unwrap().as_str(), digest);
        assert_eq!(digest_of(&pulled, "acme/shop2:1"), None);
    }
}
