//! Images made from nothing: one static program, pushed to a registry by its own API.

use serde_json::{Value, json};
use tagboat::model::Digest;

use super::registry::client;
use super::{Registry, sample};

/// An image to be.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    env: Vec<String>,
    entrypoint: Vec<String>,
    healthcheck: Option<Value>,
    architecture: &'static str,
    note: String,
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
        }
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
        let manifest = json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "size": config.len(), "digest": config_digest},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "size": layer.len(), "digest": layer_digest}],
        });
        let manifest = serde_json::to_vec(&manifest).unwrap();
        let url = format!("http://{}/v2/{repository}/manifests/{tag}", registry.host());
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let digest = Digest::of(&manifest);
        let put = client().put(url).header("content-type", kind).body(manifest).send().await.unwrap();
        assert!(put.status().is_success(), "{put:?}");
        digest
    }
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

pub(super) async fn blob(registry: &Registry, repository: &str, bytes: &[u8]) -> Digest {
    let digest = Digest::of(bytes);
    let base = format!("http://{}/v2/{repository}/blobs/uploads/", registry.host());
    let begun = client().post(base).send().await.unwrap();
    let location = begun.headers()["location"].to_str().unwrap().to_owned();
    let separator = if location.contains('?') { '&' } else { '?' };
    let put = client().put(format!("{location}{separator}digest={digest}")).body(bytes.to_vec()).send().await.unwrap();
    assert!(put.status().is_success(), "{put:?}");
    digest
}
