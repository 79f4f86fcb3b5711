//! Manifests and indexes: what platforms an image has.

use oci_distribution::manifest::{OciImageIndex, OciImageManifest};
use serde::Deserialize;

use crate::model::{Digest, ManifestDetails, Platform};

/// Marks the entries of an index that describe other entries (buildx attestations).
const REFERENCE: &str = "vnd.docker.reference.type";

/// What a document is, once its digest was verified.
pub(super) enum Document {
    /// The platforms are in it.
    Index(ManifestDetails),
    /// The platform is in its config, which has this digest.
    Manifest(Digest),
}

#[derive(Deserialize)]
struct Kind {
    #[serde(default)]
    manifests: Option<serde_json::Value>,
    #[serde(default)]
    config: Option<serde_json::Value>,
}

/// The bytes are what the digest names.
pub(super) fn matches(digest: &Digest, bytes: &[u8]) -> bool {
    use sha2::Digest as _;
    match digest.as_str().split_once(':') {
        Some(("sha512", wanted)) => hex::encode(sha2::Sha512::digest(bytes)) == wanted,
        _ => Digest::of(bytes) == *digest,
    }
}

/// Reads a document. The error is a fragment that says what is wrong with it.
pub(super) fn read(digest: &Digest, body: &[u8]) -> Result<Document, String> {
    let kind: Kind = serde_json::from_slice(body).map_err(|error| format!("{digest} is no manifest ({error})"))?;
    if kind.manifests.is_some() {
        let index: OciImageIndex =
            serde_json::from_slice(body).map_err(|error| format!("{digest} is no index ({error})"))?;
        return Ok(Document::Index(ManifestDetails { digest: digest.clone(), platforms: platforms(index) }));
    }
    if kind.config.is_none() {
        return Err(format!("{digest} is neither an index nor a manifest (schema 1 images are not supported)"));
    }
    let manifest: OciImageManifest =
        serde_json::from_slice(body).map_err(|error| format!("{digest} is no manifest ({error})"))?;
    manifest
        .config
        .digest
        .parse()
        .map(Document::Manifest)
        .map_err(|_| format!("{digest} has a config without a digest"))
}

fn platforms(index: OciImageIndex) -> Vec<(Option<Platform>, Digest)> {
    let described = |entry: &oci_distribution::manifest::ImageIndexEntry| {
        entry.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(REFERENCE))
    };
    let entries = index.manifests.into_iter().filter(|entry| !described(entry));
    entries
        .filter_map(|entry| {
            let platform = entry.platform.map(|p| Platform {
                os: p.os.to_string(),
                architecture: p.architecture.to_string(),
                variant: p.variant,
            });
            if platform.as_ref().is_some_and(|p| p.os == "unknown") {
                return None;
            }
            Some((platform, entry.digest.parse().ok()?))
        })
        .collect()
}

/// An image's config, as far as its platform.
#[derive(Deserialize)]
struct ImageConfig {
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
}

/// The platform that a config names; artifacts have none.
pub(super) fn config_platform(body: &[u8]) -> Option<Platform> {
    let config: ImageConfig = serde_json::from_slice(body).ok()?;
    Some(Platform {
        os: config.os.filter(|os| !os.is_empty())?,
        architecture: config.architecture.filter(|a| !a.is_empty())?,
        variant: config.variant.filter(|v| !v.is_empty()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn attestations_are_no_platforms() {
        let digest = Digest::of(b"x");
        let entry = |os: &str, arch: &str, variant: Option<&str>| {
            json!({"mediaType": "application/vnd.oci.image.manifest.v1+json", "size": 1, "digest": digest,
                "platform": {"os": os, "architecture": arch, "variant": variant}})
        };
        let index = json!({"schemaVersion": 2, "manifests": [
            entry("linux", "amd64", None), entry("linux", "arm", Some("v7")), entry("unknown", "unknown", None)]});
        let Ok(Document::Index(details)) = read(&digest, index.to_string().as_bytes()) else { panic!() };
        let names: Vec<String> = details.platforms.iter().map(|(p, _)| p.as_ref().unwrap().to_string()).collect();
        assert_eq!(names, ["linux/amd64", "linux/arm/v7"]);
    }

    #[test]
    fn a_digest_of_either_kind_is_checked() {
        let sha512: Digest = "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a\
             2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f"
            .parse()
            .unwrap();
        for digest in [Digest::of(b"abc"), sha512] {
            assert!(matches(&digest, b"abc") && !matches(&digest, b"abd"), "{digest}");
        }
    }

    #[test]
    fn a_config_names_the_platform_and_an_artifact_none() {
        assert_eq!(config_platform(br#"{"os":"linux","architecture":"arm64"}"#).unwrap().to_string(), "linux/arm64");
        assert!(config_platform(b"{}").is_none() && config_platform(b"rubbish").is_none());
    }

    proptest! {
        #[test]
        fn rubbish_is_no_manifest(body in prop::collection::vec(any::<u8>(), 0..100)) {
            prop_assert!(read(&Digest::of(b"x"), &body).is_err());
        }
    }
}
