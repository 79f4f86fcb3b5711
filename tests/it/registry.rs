//! The registry client against a real registry.

use std::sync::Arc;

use serde_json::json;
use tagboat::metrics::Metrics;
use tagboat::model::{Digest, Repository, Tag, TagList};
use tagboat::ports::{Registry as _, RegistryErrorKind};
use tagboat::registry::{Client, Config};
use tagboat::store::SledStore;
use tempfile::TempDir;

use crate::support::{Registry, Terms, client as http, put_blob};

const DOCKER: [&str; 3] = [
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.container.image.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
const OCI: [&str; 3] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.oci.image.index.v1+json",
];

async fn open() -> Registry {
    Registry::start(Terms::default()).await
}

fn repository(registry: &Registry) -> Repository {
    format!("{}/shop", registry.host()).parse().unwrap()
}

async fn push_manifest(registry: &Registry, reference: &str, manifest: &serde_json::Value) -> Digest {
    let kind = manifest["mediaType"].as_str().unwrap();
    let put = http().put(format!("http://{}/v2/shop/manifests/{reference}", registry.host()));
    let put = put.header("content-type", kind).body(manifest.to_string()).send().await.unwrap();
    assert!(put.status().is_success(), "{put:?}");
    Digest::of(manifest.to_string().as_bytes())
}

/// An image without layers. The digest and the size of its manifest.
async fn push_as([kind, config_kind, _]: [&str; 3], registry: &Registry, tag: &str, label: &str) -> (Digest, usize) {
    let config = json!({"os": "linux", "architecture": "arm", "variant": "v7", "rootfs": {"type": "layers",
        "diff_ids": []}, "config": {"Labels": {"test": label}}})
    .to_string();
    let digest = put_blob(registry, "shop", config.as_bytes()).await;
    let manifest = json!({"schemaVersion": 2, "mediaType": kind, "layers": [],
        "config": {"mediaType": config_kind, "size": config.len(), "digest": digest}});
    (push_manifest(registry, tag, &manifest).await, manifest.to_string().len())
}

async fn push(registry: &Registry, tag: &str, label: &str) -> Digest {
    push_as(DOCKER, registry, tag, label).await.0
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
    fn requests(&self, registry: &Registry, method: &str, status: &str) -> u64 {
        self.metrics.registry_requests_total.with_label_values(&[registry.host().as_str(), method, status]).get()
    }
}

fn tag(text: &str) -> Tag {
    text.parse().unwrap()
}

#[tokio::test]
async fn a_tag_is_resolved_and_then_only_asked_whether_it_moved() {
    let (real, w) = (open().await, watcher());
    // New ones, and answers about what was known: by a 304 where the registry knows it.
    let knows = real.make.knows_304();
    let heads = |new: u64, known: u64| if knows { (new, known) } else { (new + known, 0) };
    let said = || (w.requests(&real, "head", "200"), w.requests(&real, "head", "304"));
    let (one, repository) = (push(&real, "latest", "one").await, repository(&real));
    let first = w.client.resolve(&repository, &tag("latest"), None).await.unwrap();
    assert_eq!((&first.digest, first.not_modified), (&one, false));
    let second = w.client.resolve(&repository, &tag("latest"), Some(&first.cached)).await.unwrap();
    assert_eq!((&second.digest, second.not_modified), (&one, knows));
    assert_eq!(said(), heads(1, 1));

    let two = push(&real, "latest", "two").await;
    assert_ne!(one, two);
    let moved = w.client.resolve(&repository, &tag("latest"), Some(&second.cached)).await.unwrap();
    assert_eq!((&moved.digest, moved.not_modified), (&two, false));
    let still = w.client.resolve(&repository, &tag("latest"), Some(&moved.cached)).await.unwrap();
    assert_eq!((&still.digest, still.not_modified), (&two, knows));
    assert_eq!(said(), heads(2, 2));
    assert_eq!(w.requests(&real, "get", "200"), 0);
}

#[tokio::test]
async fn a_missing_tag_or_repository_is_not_found_and_found_once_it_is_pushed() {
    let (real, w) = (open().await, watcher());
    let repository = repository(&real);
    for (label, requests) in [("no repository, confirmed by GET", 2), ("again", 3)] {
        let error = w.client.resolve(&repository, &tag("latest"), None).await.unwrap_err();
        assert_eq!(error.kind, RegistryErrorKind::NotFound, "{label}: {error}");
        let sent = w.requests(&real, "head", "404") + w.requests(&real, "get", "404");
        assert_eq!(sent, requests, "{label}");
    }
    let one = push(&real, "latest", "one").await;
    assert_eq!(w.client.resolve(&repository, &tag("latest"), None).await.unwrap().digest, one);
    let error = w.client.resolve(&repository, &tag("other"), None).await.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::NotFound);
    assert!(error.message.contains("manifest unknown"), "{error}");
}

#[tokio::test]
async fn a_manifest_tells_its_platform_and_an_index_its_children() {
    let (real, w) = (open().await, watcher());
    let repository = repository(&real);
    for (label, kinds @ [kind, _, index_kind]) in [("docker", DOCKER), ("oci", OCI)] {
        let (child, size) = push_as(kinds, &real, &format!("child-{label}"), label).await;
        let details = w.client.manifest(&repository, &child).await.unwrap();
        let platforms: Vec<_> = details.platforms.iter().map(|(p, d)| (p.as_ref().unwrap().to_string(), d)).collect();
        assert_eq!(platforms, [("linux/arm/v7".to_owned(), &child)], "{label}");

        let list = json!({"schemaVersion": 2, "mediaType": index_kind, "manifests": [{"mediaType": kind, "digest": child,
            "size": size, "platform": {"os": "linux", "architecture": "arm", "variant": "v7"}}]});
        let index = push_manifest(&real, label, &list).await;
        // Without the list types among the accepted ones, distribution gives a child instead.
        assert_eq!(w.client.resolve(&repository, &tag(label), None).await.unwrap().digest, index, "{label}");
        let details = w.client.manifest(&repository, &index).await.unwrap();
        assert_eq!((&details.digest, details.platforms.len()), (&index, 1), "{label}");
        assert_eq!(details.platforms[0].1, child, "{label}");
    }
}

#[tokio::test]
async fn a_list_of_tags_is_read_whole_whatever_the_registry_says_at_once() {
    let (real, w) = (open().await, watcher());
    let config = json!({"os": "linux", "architecture": "arm"}).to_string();
    let digest = put_blob(&real, "shop", config.as_bytes()).await;
    let manifest = json!({"schemaVersion": 2, "mediaType": OCI[0], "layers": [],
        "config": {"mediaType": OCI[1], "size": config.len(), "digest": digest}});
    // More than are asked for at once.
    let mut pushed: Vec<String> = (0..1100).map(|n| format!("v{n}")).collect();
    for tag in &pushed {
        push_manifest(&real, tag, &manifest).await;
    }
    let listed = w.client.tags(&repository(&real), None).await.unwrap();
    pushed.sort();
    let TagList::Listed { tags, .. } = listed else { panic!("nothing was known before") };
    assert_eq!(tags.iter().map(ToString::to_string).collect::<Vec<_>>(), pushed);
    let error = w.client.tags(&format!("{}/none", real.host()).parse().unwrap(), None).await.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::NotFound, "{error}");
}
