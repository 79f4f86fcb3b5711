//! What a look costs, counted by the registry.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use serde_json::json;

use super::fake::{Asked, Fake, Reply, bearer, client, digest, found, reply, resolve};
use crate::model::{Digest, Repository, Resolved};
use crate::ports::Registry;
use crate::registry::Client;

/// Documents by digest, and what `latest` is: an index in every other repository, a manifest with its config in the rest.
struct Shelf {
    documents: HashMap<Digest, String>,
    tags: [Digest; 2],
}

impl Shelf {
    fn new() -> Self {
        let config = r#"{"os":"linux","architecture":"amd64"}"#.to_owned();
        let oci = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({"schemaVersion": 2, "layers": [], "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest(&config), "size": config.len()}})
        .to_string();
        let entry = |digest: &Digest, arch: &str| json!({"mediaType": oci, "digest": digest, "size": 1, "platform": {"os": "linux", "architecture": arch}});
        let manifests = [entry(&digest(&manifest), "amd64"), entry(&digest("another"), "arm64")];
        let index = json!({"schemaVersion": 2, "manifests": manifests}).to_string();
        let tags = [digest(&index), digest(&manifest)];
        let documents = [config, manifest, index].into_iter().map(|text| (digest(&text), text)).collect();
        Self { documents, tags }
    }

    fn answer(&self, asked: &Asked) -> Reply {
        let (path, reference) = asked.line.rsplit_once('/').unwrap();
        if let Some(document) = reference.parse().ok().and_then(|digest: Digest| self.documents.get(&digest)) {
            return reply(200, &[], document.clone());
        }
        let number: usize = path.trim_end_matches("/manifests").rsplit_once("app-").unwrap().1.parse().unwrap();
        found(asked, &self.tags[number % 2])
    }
}

/// One look at each, and if something is new what it is.
async fn look(client: &Client, watched: &[Repository], last: Option<&[Resolved]>) -> Vec<Resolved> {
    let one = async |number: usize, repository: &Repository| {
        let resolved = resolve(client, repository, "latest", last.map(|last| &last[number])).await.unwrap();
        if !resolved.not_modified {
            let details = client.manifest(repository, &resolved.digest).await.unwrap();
            assert_eq!(details.platforms[0].0.as_ref().unwrap().to_string(), "linux/amd64");
        }
        resolved
    };
    join_all(watched.iter().enumerate().map(|(number, repository)| one(number, repository))).await
}

#[tokio::test]
async fn a_first_look_is_a_head_and_two_gets_at_most_and_any_other_is_one_head() {
    for n in [1, 100, 1000] {
        let tokens = Fake::new(|_| reply(200, &[], r#"{"token":"t","expires_in":300}"#)).await;
        let (challenge, shelf) = (bearer(tokens.addr), Shelf::new());
        let fake = Fake::new(move |asked| match asked.header("authorization") {
            Some("Bearer t") => shelf.answer(asked),
            _ => reply(401, &[("www-authenticate", &challenge)], ""),
        })
        .await;
        let client = client(&[]);
        let watched: Vec<Repository> = (0..n).map(|number| fake.repository(&format!("app-{number}"))).collect();
        let first = look(&client, &watched, None).await;
        let (lines, asked_for) = (fake.lines(), tokens.lines());
        let heads = lines.iter().filter(|line| line.starts_with("HEAD")).count();
        let gets = lines.len() - heads;
        // Those that were under way before it was known that a token is wanted were refused once: as many as at once.
        assert!(heads >= n && heads <= n + n.min(4), "{n}: {heads} HEADs");
        assert_eq!(gets, n.div_ceil(2) + n / 2 * 2, "{n}: an index is one GET, a manifest and its config are two");
        assert_eq!(asked_for.len(), n, "{n}: one token a repository");
        assert!(asked_for.iter().all(|line| line.len() < 200), "no address grows with what is watched");
        assert!(lines.iter().filter(|line| line.starts_with("GET")).all(|line| line.contains("sha256:")), "{n}");

        let second = look(&client, &watched, Some(&first)).await;
        assert!(second.iter().all(|resolved| resolved.not_modified));
        let lines = fake.lines();
        assert_eq!((lines.len(), tokens.lines().len()), (n, 0), "{n}");
        assert!(lines.iter().all(|line| line.starts_with("HEAD")), "{n}");
    }
}

#[tokio::test]
async fn a_manifest_is_read_once() {
    let broken = Arc::new(AtomicBool::new(false));
    let (shelf, switch) = (Shelf::new(), broken.clone());
    let index = shelf.tags[0].clone();
    let fake = Fake::new(move |asked| match switch.load(Ordering::Relaxed) {
        true => reply(500, &[], ""),
        false => shelf.answer(asked),
    })
    .await;
    let (client, repository) = (client(&[]), fake.repository("app-0"));
    let first = client.manifest(&repository, &index).await.unwrap();
    broken.store(true, Ordering::Relaxed);
    assert_eq!(client.manifest(&repository, &index).await.unwrap(), first);
    assert_eq!(fake.lines().len(), 1);
    client.manifest(&fake.repository("app-2"), &index).await.unwrap_err();
}
