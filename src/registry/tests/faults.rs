//! What registries do wrong or differently, one request at a time.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::fake::{Fake, client, client_with, digest, found, reply, resolve, user};
use crate::ports::{Registry, RegistryErrorKind};
use crate::registry::{Limits, RegistryConfig};

#[tokio::test]
async fn an_unchanged_tag_costs_one_request_and_no_body() {
    let fake = Fake::new(|asked| found(asked, &digest("one"))).await;
    let (client, repository) = (client(&[]), fake.repository("a/b"));
    let first = resolve(&client, &repository, "latest", None).await.unwrap();
    assert_eq!((&first.digest, first.not_modified), (&digest("one"), false));
    let accept: Vec<_> = fake.asked()[0].headers.get_all("accept").iter().cloned().collect();
    assert_eq!(accept.len(), 1);
    assert_eq!(accept[0].to_str().unwrap().split(", ").count(), 4);
    let second = resolve(&client, &repository, "latest", Some(&first)).await.unwrap();
    assert_eq!((&second.digest, second.not_modified, &second.cached), (&digest("one"), true, &first.cached));
    assert_eq!(fake.lines(), ["HEAD /v2/a/b/manifests/latest"; 2]);
}

#[tokio::test]
async fn an_etag_that_is_not_the_quoted_digest_is_not_sent() {
    let d = digest("one");
    for etag in ["\"abc\"".to_owned(), d.to_string(), format!("W/\"{d}\"")] {
        let (wanted, etag_sent) = (d.clone(), etag.clone());
        let fake =
            Fake::new(move |_| reply(200, &[("docker-content-digest", wanted.as_str()), ("etag", &etag_sent)], ""))
                .await;
        let (client, repository) = (client(&[]), fake.repository("a"));
        let mut first = resolve(&client, &repository, "1", None).await.unwrap();
        assert_eq!(first.cached.etag, None, "{etag}");
        // One from a memory that is not ours to trust.
        first.cached.etag = Some(etag.clone());
        resolve(&client, &repository, "1", Some(&first)).await.unwrap();
        assert!(fake.asked().iter().all(|asked| asked.header("if-none-match").is_none()), "{etag}");
    }
}

#[tokio::test]
async fn a_304_that_was_not_asked_for_says_nothing() {
    let fake = Fake::new(|_| reply(304, &[], "")).await;
    let error = resolve(&client(&[]), &fake.repository("a"), "1", None).await.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::Protocol);
    assert_eq!(fake.lines().len(), 1);
}

#[tokio::test]
async fn without_a_digest_header_the_body_is_hashed() {
    let fake = Fake::new(|asked| reply(200, &[], if asked.line.starts_with("GET") { "body" } else { "" })).await;
    let client = client(&[]);
    let resolved = resolve(&client, &fake.repository("a"), "1", None).await.unwrap();
    assert_eq!(resolved.digest, digest("body"));
    assert_eq!(fake.lines(), ["HEAD /v2/a/manifests/1", "GET /v2/a/manifests/1"]);
}

#[tokio::test]
async fn artifactorys_checksum_is_enough_to_see_that_nothing_moved() {
    let fake = Fake::new(|asked| {
        let sum = digest("body").as_str().trim_start_matches("sha256:").to_owned();
        reply(200, &[("x-checksum-sha256", &sum)], if asked.line.starts_with("GET") { "body" } else { "" })
    })
    .await;
    let (client, repository) = (client(&[]), fake.repository("a"));
    let first = resolve(&client, &repository, "1", None).await.unwrap();
    assert_eq!(first.digest, digest("body"));
    assert_eq!(fake.lines().len(), 2);
    let second = resolve(&client, &repository, "1", Some(&first)).await.unwrap();
    assert_eq!((second.digest, fake.lines().len()), (digest("body"), 1));
}

#[tokio::test]
async fn where_head_is_unknown_get_takes_its_place_for_good() {
    for (status, heads) in [(405, 1), (501, 1), (400, 2), (404, 2)] {
        let fake = Fake::new(move |asked| match asked.line.starts_with("HEAD") {
            true => reply(status, &[], ""),
            false => reply(200, &[], "body"),
        })
        .await;
        let (client, repository) = (client(&[]), fake.repository("a"));
        for tag in ["1", "2", "3", "4"] {
            assert_eq!(resolve(&client, &repository, tag, None).await.unwrap().digest, digest("body"), "{status}");
        }
        let lines = fake.lines();
        assert_eq!(lines.iter().filter(|line| line.starts_with("HEAD")).count(), heads, "{status}: {lines:?}");
        assert_eq!(lines.len(), heads + 4, "{status}: {lines:?}");
    }
}

#[tokio::test]
async fn a_missing_tag_is_confirmed_once_and_found_when_it_comes() {
    let there = Arc::new(AtomicBool::new(false));
    let switch = there.clone();
    let fake = Fake::new(move |asked| match switch.load(Ordering::Relaxed) {
        true => found(asked, &digest("one")),
        false => reply(404, &[], r#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}"#),
    })
    .await;
    let (client, repository) = (client(&[]), fake.repository("a"));
    for requests in [2, 1, 1] {
        let error = resolve(&client, &repository, "1", None).await.unwrap_err();
        assert_eq!(error.kind, RegistryErrorKind::NotFound);
        assert!(error.message.contains("manifests/1 is answered with: 404"), "{}", error.message);
        assert_eq!(fake.lines().len(), requests);
    }
    there.store(true, Ordering::Relaxed);
    resolve(&client, &repository, "1", None).await.unwrap();
    assert_eq!(fake.lines(), ["HEAD /v2/a/manifests/1"]);
}

#[tokio::test]
async fn an_index_is_read_whole_and_a_manifest_with_its_config() {
    let config = r#"{"os":"linux","architecture":"arm64"}"#;
    let config_digest = digest(config);
    let manifest = json!({"schemaVersion": 2, "layers": [],
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest, "size": 1}})
    .to_string();
    let index = json!({"schemaVersion": 2, "manifests": [
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest(&manifest), "size": 1,
            "platform": {"os": "linux", "architecture": "arm64"}},
        {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest("proof"), "size": 1,
            "platform": {"os": "unknown", "architecture": "unknown"},
            "annotations": {"vnd.docker.reference.type": "attestation-manifest"}}]})
    .to_string();
    let documents = [manifest.clone(), index.clone(), config.to_owned()];
    let fake = Fake::new(move |asked| match documents.iter().find(|d| asked.line.ends_with(digest(d).as_str())) {
        Some(document) => reply(200, &[], document.clone()),
        None => reply(200, &[], "something else"),
    })
    .await;
    let (client, repository) = (client(&[]), fake.repository("a"));
    for (document, requests) in [(&index, 1), (&manifest, 2)] {
        let details = client.manifest(&repository, &digest(document)).await.unwrap();
        let platforms: Vec<_> = details.platforms.iter().map(|(p, d)| (p.as_ref().unwrap().to_string(), d)).collect();
        assert_eq!(platforms, [("linux/arm64".to_owned(), &digest(&manifest))]);
        assert_eq!(fake.lines().len(), requests);
    }
    let error = client.manifest(&repository, &digest("what was asked for")).await.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::Protocol);
    assert!(error.message.contains("has another digest"), "{}", error.message);
}

#[tokio::test]
async fn a_document_without_end_is_not_read_to_its_end() {
    let fake = Fake::new(|_| {
        let chunk = || Ok::<_, std::io::Error>(vec![b'x'; 1 << 20]);
        let endless = futures_util::stream::repeat_with(chunk);
        reply(200, &[], axum::body::Body::from_stream(endless))
    })
    .await;
    let error = client(&[]).manifest(&fake.repository("a"), &digest("x")).await.unwrap_err();
    assert!(error.message.contains("larger than 4194304 bytes"), "{}", error.message);
}

#[tokio::test]
async fn a_redirect_to_another_host_carries_no_secret() {
    let elsewhere = Fake::new(|asked| found(asked, &digest("one"))).await;
    let target = format!("http://{}/there", elsewhere.addr);
    let fake = Fake::new(move |asked| match (asked.header("authorization"), asked.line.as_str()) {
        (None, _) => reply(401, &[("www-authenticate", "Basic realm=x")], ""),
        (_, "HEAD /here") => reply(302, &[("location", &target)], ""),
        _ => reply(307, &[("location", "/here")], ""),
    })
    .await;
    let client = client(&[(&fake, user("s3cret"))]);
    assert_eq!(resolve(&client, &fake.repository("a"), "1", None).await.unwrap().digest, digest("one"));
    let here = fake.asked();
    assert!(here[1..].iter().all(|asked| asked.header("authorization").is_some()) && here.len() == 3, "{here:?}");
    let there = elsewhere.asked();
    assert_eq!((there.len(), there[0].header("authorization")), (1, None));
}

#[tokio::test]
async fn a_redirect_in_a_circle_ends() {
    let fake = Fake::new(|_| reply(302, &[("location", "/again")], "")).await;
    let error = resolve(&client(&[]), &fake.repository("a"), "1", None).await.unwrap_err();
    assert!(error.message.contains("redirects too often"), "{}", error.message);
    assert_eq!(fake.lines().len(), 6);
}

#[tokio::test]
async fn only_the_named_certificate_is_trusted_and_the_error_names_the_way_out() {
    let (fake, certificate) = Fake::with_tls(|asked| found(asked, &digest("one"))).await;
    let (_other, foreign) = Fake::with_tls(|_| reply(200, &[], "")).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    let name = format!("localhost:{}", fake.addr.port());
    let repository = format!("{name}/a").parse().unwrap();
    let settings = RegistryConfig { ca_file: Some(path.clone()), ..RegistryConfig::default() };
    let config = || crate::registry::Config {
        registries: [(name.clone(), settings.clone())].into(),
        docker_config: Some("/nowhere".into()),
        ..Default::default()
    };
    let client = client(&[]);
    client.reconfigure(config());

    let error = resolve(&client, &repository, "1", None).await.unwrap_err();
    assert!(error.message.contains("ca.pem can't be read"), "{}", error.message);

    std::fs::write(&path, foreign).unwrap();
    let error = resolve(&client, &repository, "1", None).await.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::Tls);
    assert!(error.message.contains("ca_file") && error.message.contains("ca.pem"), "{}", error.message);

    std::fs::write(&path, certificate).unwrap();
    client.reconfigure(config());
    assert_eq!(resolve(&client, &repository, "1", None).await.unwrap().digest, digest("one"));
}

#[tokio::test]
async fn a_registry_without_tls_is_told_from_one_with_a_bad_certificate() {
    let fake = Fake::new(|asked| found(asked, &digest("one"))).await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ca.pem");
    std::fs::write(&path, rcgen::generate_simple_self_signed(vec!["x".to_owned()]).unwrap().cert.pem()).unwrap();
    let settings = RegistryConfig { ca_file: Some(path), ..RegistryConfig::default() };
    let client = client_with(&[(&fake, settings)], Arc::default(), Limits::default());
    let error = resolve(&client, &fake.repository("a"), "1", None).await.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::Tls);
    assert!(error.message.contains(".http"), "{}", error.message);
}
