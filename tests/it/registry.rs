//! The registry client against a real registry: Debian's `docker-registry`. Without that program these tests fail, and
//! say what to install.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use serde_json::json;
use tagboat::metrics::Metrics;
use tagboat::model::{Digest, Repository, Tag};
use tagboat::ports::{Registry, RegistryErrorKind};
use tagboat::registry::{Client, Config};
use tagboat::store::SledStore;
use tempfile::TempDir;
use tokio::time::Duration;

use crate::support::free_port;

/// It starts in a fraction of this.
const START: Duration = Duration::from_secs(20);

/// A registry of our own, which ends with the test.
struct Real {
    addr: SocketAddr,
    child: Child,
    _dir: TempDir,
}

impl Drop for Real {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Real {
    /// It can't take port 0, so a free port may be gone by the time it starts: then another is tried.
    fn start() -> Self {
        (0..5).find_map(|_| Self::try_start()).expect("docker-registry does not start")
    }

    fn try_start() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let addr = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let config = json!({
            "version": "0.1",
            "log": {"level": "info"},
            "storage": {"filesystem": {"rootdirectory": dir.path().join("data")}, "delete": {"enabled": true}},
            "http": {"addr": addr.to_string()},
        });
        let path = dir.path().join("config.yml");
        std::fs::write(&path, config.to_string()).unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("these tests need Debian's package docker-registry");
        let log = child.stderr.take().unwrap();
        let real = Self { addr, child, _dir: dir };
        // It says so when it listens, and ends when the port is taken. A full pipe would stop it, so the thread reads on
        // until the registry ends.
        let (tell, listens) = std::sync::mpsc::sync_channel(1);
        std::thread::spawn(move || {
            let mut lines = BufReader::new(log).lines().map_while(Result::ok);
            let _ = tell.send(lines.any(|line| line.contains("listening on")));
            lines.for_each(drop);
        });
        listens.recv_timeout(START).unwrap_or(false).then_some(real)
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}/v2/shop/{path}", self.addr)
    }

    fn repository(&self) -> Repository {
        format!("{}/shop", self.addr).parse().unwrap()
    }

    async fn push_blob(&self, http: &reqwest::Client, bytes: &str) -> Digest {
        let digest = Digest::of(bytes.as_bytes());
        let begun = http.post(self.url("blobs/uploads/")).send().await.unwrap().error_for_status().unwrap();
        let mut place: url::Url = begun.headers()["location"].to_str().unwrap().parse().unwrap();
        place.query_pairs_mut().append_pair("digest", digest.as_str());
        let put = http.put(place).header("content-type", "application/octet-stream").body(bytes.to_owned());
        put.send().await.unwrap().error_for_status().unwrap();
        digest
    }

    async fn push_manifest(&self, http: &reqwest::Client, reference: &str, manifest: &serde_json::Value) -> Digest {
        let kind = manifest["mediaType"].as_str().unwrap();
        let put = http.put(self.url(&format!("manifests/{reference}"))).header("content-type", kind);
        put.body(manifest.to_string()).send().await.unwrap().error_for_status().unwrap();
        Digest::of(manifest.to_string().as_bytes())
    }

    /// An image without layers. Returns the digest of its manifest.
    async fn push(&self, reference: &str, label: &str) -> Digest {
        let http = http();
        let config = json!({"os": "linux", "architecture": "arm", "variant": "v7", "rootfs": {"type": "layers",
            "diff_ids": []}, "config": {"Labels": {"test": label}}})
        .to_string();
        let digest = self.push_blob(&http, &config).await;
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
            "config": {"mediaType": "application/vnd.docker.container.image.v1+json", "size": config.len(),
                "digest": digest},
            "layers": [],
        });
        self.push_manifest(&http, reference, &manifest).await
    }
}

fn http() -> reqwest::Client {
    // The client under test has set the provider of cryptography; without one reqwest does not start.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().timeout(START).build().unwrap()
}

struct Watcher {
    client: Client,
    metrics: Metrics,
    _dir: TempDir,
}

fn watcher() -> Watcher {
    let dir = tempfile::tempdir().unwrap();
    let metrics = Metrics::new();
    let store = Arc::new(SledStore::open(&dir.path().join("db")).unwrap());
    let config = Config { docker_config: Some("/nowhere/config.json".into()), ..Config::default() };
    Watcher { client: Client::new(config, metrics.clone(), store), metrics, _dir: dir }
}

impl Watcher {
    fn requests(&self, real: &Real, method: &str, status: &str) -> u64 {
        self.metrics.registry_requests_total.with_label_values(&[real.addr.to_string().as_str(), method, status]).get()
    }
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_tag_is_resolved_and_then_only_asked_whether_it_moved() {
    let (real, w) = (Real::start(), watcher());
    let (one, repository) = (real.push("latest", "one").await, real.repository());
    let first = w.client.resolve(&repository, &tag("latest"), None).await.unwrap();
    assert_eq!((&first.digest, first.not_modified), (&one, false));
    let second = w.client.resolve(&repository, &tag("latest"), Some(&first.cached)).await.unwrap();
    assert_eq!((&second.digest, second.not_modified), (&one, true));
    assert_eq!((w.requests(&real, "head", "200"), w.requests(&real, "head", "304")), (1, 1));

    let two = real.push("latest", "two").await;
    assert_ne!(one, two);
    let moved = w.client.resolve(&repository, &tag("latest"), Some(&second.cached)).await.unwrap();
    assert_eq!((&moved.digest, moved.not_modified), (&two, false));
    let still = w.client.resolve(&repository, &tag("latest"), Some(&moved.cached)).await.unwrap();
    assert_eq!((&still.digest, still.not_modified), (&two, true));
    assert_eq!((w.requests(&real, "head", "200"), w.requests(&real, "head", "304")), (2, 2));
    assert_eq!(w.requests(&real, "get", "200"), 0);
}

#[tokio::test]
async fn a_missing_tag_or_repository_is_not_found_and_found_once_it_is_pushed() {
    let (real, w) = (Real::start(), watcher());
    let repository = real.repository();
    for (label, requests) in [("no repository, confirmed by GET", 2), ("again", 3)] {
        let error = w.client.resolve(&repository, &tag("latest"), None).await.unwrap_err();
        assert_eq!(error.kind, RegistryErrorKind::NotFound, "{label}: {error}");
        let sent = w.requests(&real, "head", "404") + w.requests(&real, "get", "404");
        assert_eq!(sent, requests, "{label}");
    }
    let one = real.push("latest", "one").await;
    assert_eq!(w.client.resolve(&repository, &tag("latest"), None).await.unwrap().digest, one);
    let error = w.client.resolve(&repository, &tag("other"), None).await.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::NotFound);
    assert!(error.message.contains("manifest unknown"), "{error}");
}

#[tokio::test]
async fn a_manifest_tells_its_platform_and_an_index_its_children() {
    let (real, w) = (Real::start(), watcher());
    let (child, repository) = (real.push("child", "one").await, real.repository());
    let details = w.client.manifest(&repository, &child).await.unwrap();
    let platforms: Vec<_> = details.platforms.iter().map(|(p, d)| (p.as_ref().unwrap().to_string(), d)).collect();
    assert_eq!(platforms, [("linux/arm/v7".to_owned(), &child)]);

    let kind = "application/vnd.docker.distribution.manifest.v2+json";
    let list = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.docker.distribution.manifest.list.v2+json",
        "manifests": [{"mediaType": kind, "digest": child, "size": 500,
            "platform": {"os": "linux", "architecture": "arm", "variant": "v7"}}],
    });
    let index = real.push_manifest(&http(), "latest", &list).await;
    // Without the list types among the accepted ones, distribution gives a child instead.
    assert_eq!(w.client.resolve(&repository, &tag("latest"), None).await.unwrap().digest, index);
    let details = w.client.manifest(&repository, &index).await.unwrap();
    assert_eq!((details.digest, details.platforms.len()), (index, 1));
    assert_eq!(details.platforms[0].1, child);
}
