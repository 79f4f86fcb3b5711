//! Images made from nothing: one static program, pushed to a registry by its own API.

use serde_json::{Value, json};
use tagboat::model::Digest;

use super::registry::client;
use super::{Registry, sample};

/// Media types of a manifest, a config and a layer.
const OCI: [&str; 3] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.oci.image.layer.v1.tar",
];
const DOCKER: [&str; 3] = [
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.docker.image.rootfs.diff.tar",
];
const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// An image to be.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    env: Vec<String>,
    entrypoint: Vec<String>,
    healthcheck: Option<Value>,
    architecture: &'static str,
    note: String,
    docker: bool,
}

impl Image {
    /// The sample app in this version.
    pub(crate) fn sample(version: &str) -> Self {
        let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
        Self {
            env: vec![format!("VERSION={version}"), "PATH=/".to_owned()],
            entrypoint: vec!["/app".to_owned()],
            healthcheck: None,
            architecture,
            note: String::new(),
            docker: false,
        }
    }

    /// With Docker's media types, not OCI's.
    pub(crate) fn docker(mut self) -> Self {
        self.docker = true;
        self
    }

    /// A layer unlike that of any other version.
    pub(crate) fn note(mut self, text: &str) -> Self {
        text.clone_into(&mut self.note);
        self
    }

    /// The digest of its layer.
    pub(crate) fn layer(&self) -> Digest {
        Digest::of(&layer(&self.note))
    }

    pub(crate) fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push(format!("{key}={value}"));
        self
    }

    pub(crate) fn entrypoint(mut self, program: &str) -> Self {
        self.entrypoint = vec![program.to_owned()];
        self
    }

    pub(crate) fn healthcheck(mut self) -> Self {
        let second = 1_000_000_000_u64;
        self.healthcheck = Some(
            json!({"Test": ["CMD", "/app", "-healthcheck"], "Interval": second / 2, "Timeout": second, "Retries": 2}),
        );
        self
    }

    pub(crate) fn architecture(mut self, architecture: &'static str) -> Self {
        self.architecture = architecture;
        self
    }

    /// Pushes it under a tag; the digest that the tag then has.
    pub(crate) async fn push(&self, registry: &Registry, repository: &str, tag: &str) -> Digest {
        let layer = layer(&self.note);
        let layer_digest = blob(registry, repository, &layer).await;
        let config = json!({
            "architecture": self.architecture, "os": "linux", "created": "2026-01-01T00:00:00Z",
            "config": {"Env": self.env, "Entrypoint": self.entrypoint, "Healthcheck": self.healthcheck},
            "rootfs": {"type": "layers", "diff_ids": [layer_digest]}, "history": [{"created_by": "test"}],
        });
        let config = serde_json::to_vec(&config).unwrap();
        let config_digest = blob(registry, repository, &config).await;
        let [manifest_type, config_type, layer_type] = if self.docker { DOCKER } else { OCI };
        let manifest = json!({
            "schemaVersion": 2, "mediaType": manifest_type,
            "config": {"mediaType": config_type, "size": config.len(), "digest": config_digest},
            "layers": [{"mediaType": layer_type, "size": layer.len(), "digest": layer_digest}],
        });
        put(registry, repository, tag, &manifest).await
    }

    /// Pushes it as the only one of an index, as buildx does: by digest first, and then the index under the tag. The
    /// digest that the tag then has.
    pub(crate) async fn push_index(&self, registry: &Registry, repository: &str, tag: &str) -> Digest {
        let child = self.push(registry, repository, "").await;
        let size = self.manifest_size(registry, repository, &child).await;
        let ([manifest_type, ..], index_type) = if self.docker { (DOCKER, DOCKER_LIST) } else { (OCI, OCI_INDEX) };
        let index = json!({"schemaVersion": 2, "mediaType": index_type, "manifests": [{"mediaType": manifest_type,
            "digest": child, "size": size, "platform": {"os": "linux", "architecture": self.architecture}}]});
        put(registry, repository, tag, &index).await
    }

    async fn manifest_size(&self, registry: &Registry, repository: &str, digest: &Digest) -> usize {
        let [accept, ..] = if self.docker { DOCKER } else { OCI };
        let url = format!("http://{}/v2/{repository}/manifests/{digest}", registry.host());
        let answer = client().get(url).header("accept", accept).send().await.unwrap().error_for_status().unwrap();
        answer.bytes().await.unwrap().len()
    }
}

/// Puts a manifest under a tag, or under its digest when that is empty.
async fn put(registry: &Registry, repository: &str, tag: &str, manifest: &Value) -> Digest {
    let kind = manifest["mediaType"].as_str().unwrap().to_owned();
    let manifest = serde_json::to_vec(&manifest).unwrap();
    let digest = Digest::of(&manifest);
    let reference = if tag.is_empty() { digest.as_str() } else { tag };
    let url = format!("http://{}/v2/{repository}/manifests/{reference}", registry.host());
    let put = client().put(url).header("content-type", kind).body(manifest).send().await.unwrap();
    assert!(put.status().is_success(), "{put:?}");
    digest
}

/// A layer with the sample app as `/app`, and a note.
fn layer(note: &str) -> Vec<u8> {
    let program = std::fs::read(sample("sample-app")).unwrap();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(program.len() as u64);
    header.set_mode(0o755);
    tar.append_data(&mut header, "app", program.as_slice()).unwrap();
    if !note.is_empty() {
        let mut header = tar::Header::new_gnu();
        header.set_size(note.len() as u64);
        header.set_mode(0o644);
        tar.append_data(&mut header, "note", note.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap()
}

pub(crate) async fn blob(registry: &Registry, repository: &str, bytes: &[u8]) -> Digest {
    let digest = Digest::of(bytes);
    let base = format!("http://{}/v2/{repository}/blobs/uploads/", registry.host());
    let begun = client().post(base).send().await.unwrap();
    let begun = begun.error_for_status().unwrap();
    // A registry may give the path alone.
    let mut place = begun.url().join(begun.headers()["location"].to_str().unwrap()).unwrap();
    place.query_pairs_mut().append_pair("digest", digest.as_str());
    let put = client().put(place).header("content-type", "application/octet-stream").body(bytes.to_vec());
    let put = put.send().await.unwrap();
    assert!(put.status().is_success(), "{put:?}");
    digest
}
