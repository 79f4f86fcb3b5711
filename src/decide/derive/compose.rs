//! The label by which docker compose knows the image.
//!
//! `docker compose up` recreates a container whose `com.docker.compose.image` is not the digest that it computes for
//! the image. Up to 5.4 that is the image's id; from 5.5 on the digest of the platform's manifest where the engine
//! tells it, else the id. The old value shows which form it is; where it does not, the version label does.

use serde_json::{Map, Value, json};

use super::json::text;
use super::options::Sources;

const IMAGE: &str = "com.docker.compose.image";
const VERSION: &str = "com.docker.compose.version";

/// The first version that writes the manifest's digest.
const BY_MANIFEST: (u32, u32) = (5, 5);

/// Rewrites the label to the new image.
pub(super) fn relabel(sources: &Sources<'_>, labels: &mut Map<String, Value>) {
    let Some(old) = labels.get(IMAGE).and_then(Value::as_str) else { return };
    let by_id = is_id(sources, old);
    let by_manifest = manifests_of_old(sources).iter().any(|digest| digest == old);
    let version = labels.get(VERSION).and_then(Value::as_str).and_then(version);
    let form = match (by_id, by_manifest) {
        (true, false) => Some(false),
        (false, true) => Some(true),
        // Both forms agree, or neither fits: a label that was stale already.
        _ => version.map(|version| version >= BY_MANIFEST).or(by_id.then_some(false)),
    };
    let Some(manifest_form) = form else { return };
    let id = text(sources.new_image, "Id").to_owned();
    let value = if manifest_form { manifest(sources.new_image, platform(sources)).unwrap_or(id) } else { id };
    labels.insert(IMAGE.to_owned(), json!(value));
}

/// The label of the old container names something else than the image it ran.
pub(super) fn is_stale(sources: &Sources<'_>) -> bool {
    let label = text(&sources.config()["Labels"], IMAGE);
    !label.is_empty() && !is_id(sources, label) && !manifests_of_old(sources).iter().any(|digest| digest == label)
}

fn is_id(sources: &Sources<'_>, value: &str) -> bool {
    value == text(sources.container, "Image") || sources.old_image.is_some_and(|image| value == text(image, "Id"))
}

/// The digests of the old image's manifest for the container's platform, as far as the engine tells them.
fn manifests_of_old(sources: &Sources<'_>) -> Vec<String> {
    let of_container = text(&sources.container["ImageManifestDescriptor"], "digest").to_owned();
    let of_image = sources.old_image.and_then(|image| manifest(image, platform(sources)));
    [of_container].into_iter().chain(of_image).filter(|digest| !digest.is_empty()).collect()
}

fn platform<'a>(sources: &Sources<'a>) -> &'a Value {
    &sources.container["ImageManifestDescriptor"]["platform"]
}

/// The digest of the manifest of one platform, from an inspect with `manifests=1`; of the only image manifest where
/// the platform is not known.
fn manifest(image: &Value, platform: &Value) -> Option<String> {
    let all = image["Manifests"].as_array()?;
    let images: Vec<&Value> = all.iter().filter(|manifest| text(manifest, "Kind") == "image").collect();
    let is = |manifest: &&&Value| {
        let own = &manifest["ImageData"]["Platform"];
        ["os", "architecture", "variant"].iter().all(|key| text(own, key) == text(platform, key))
    };
    let available = |manifest: &&&Value| manifest["Available"] == true;
    let found = images.iter().find(is).or_else(|| images.iter().find(available)).or(images.first())?;
    Some(text(found, "ID").to_owned()).filter(|digest| !digest.is_empty())
}

fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.trim_start_matches('v').split(['.', '-']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}
