//! Tokens, passwords and refusals.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::join_all;

use super::fake::{Asked, Fake, Reply, bearer, client, config, digest, found, reply, resolve, user};
use crate::metrics::Metrics;
use crate::ports::{Registry, RegistryErrorKind};
use crate::registry::{Client, RegistryConfig};

/// A token service that numbers its tokens.
async fn token_service() -> Fake {
    let count = AtomicUsize::new(0);
    Fake::new(move |_| {
        let number = count.fetch_add(1, Ordering::Relaxed) + 1;
        reply(200, &[], format!(r#"{{"token":"t{number}","expires_in":300}}"#))
    })
    .await
}

/// A registry that lets in who has a token of at least this number.
async fn registry(tokens: &Fake, least: Arc<AtomicUsize>) -> Fake {
    let challenge = bearer(tokens.addr);
    Fake::new(move |asked| {
        let number = asked.header("authorization").and_then(|text| text.strip_prefix("Bearer t")?.parse().ok());
        match number {
            Some(number) if least.load(Ordering::Relaxed) <= number => found(asked, &digest("one")),
            _ => reply(401, &[("www-authenticate", &challenge)], ""),
        }
    })
    .await
}

#[tokio::test]
async fn a_hundred_tags_share_one_token_and_the_first_request_is_no_ping() {
    let tokens = token_service().await;
    let fake = registry(&tokens, Arc::default()).await;
    let (client, repository) = (client(&[]), fake.repository("a/b"));
    let names: Vec<String> = (0..100).map(|n| format!("v{n}")).collect();
    for result in join_all(names.iter().map(|tag| resolve(&client, &repository, tag, None))).await {
        assert_eq!(result.unwrap().digest, digest("one"));
    }
    assert_eq!(tokens.lines(), ["GET /token?service=fake&scope=repository%3Aa%2Fb%3Apull"]);
    let lines = fake.lines();
    assert!(lines.iter().all(|line| line.starts_with("HEAD /v2/a/b/manifests/v")), "{lines:?}");
    assert!(lines.len() <= 104, "each of the four under way at first was refused once at most: {}", lines.len());
    resolve(&client, &repository, "v1", None).await.unwrap();
    assert_eq!((fake.lines().len(), tokens.lines().len()), (1, 0));
}

#[tokio::test]
async fn each_repository_has_a_token_of_its_own() {
    let tokens = token_service().await;
    let fake = registry(&tokens, Arc::default()).await;
    let client = client(&[]);
    for path in ["a", "b", "a"] {
        resolve(&client, &fake.repository(path), "1", None).await.unwrap();
    }
    let asked = (tokens.lines().len(), fake.lines().len());
    assert_eq!(asked, (2, 4), "once it is known that a token is wanted, it is there with the first request");
}

#[tokio::test]
async fn a_revoked_token_is_replaced_once_for_all_who_ran_into_it() {
    let tokens = token_service().await;
    let least = Arc::new(AtomicUsize::new(0));
    let fake = registry(&tokens, least.clone()).await;
    let (client, repository) = (client(&[]), fake.repository("a"));
    resolve(&client, &repository, "1", None).await.unwrap();
    least.store(2, Ordering::Relaxed);
    let results = join_all(["1", "2", "3", "4"].map(|tag| resolve(&client, &repository, tag, None))).await;
    assert!(results.iter().all(Result::is_ok));
    assert_eq!(tokens.lines().len(), 2);
}

/// zot refuses a token or password that it does not take without a word about what it wants.
#[tokio::test]
async fn a_refusal_without_a_word_is_followed_by_asking_as_nobody() {
    let tokens = token_service().await;
    let wants = Arc::new(std::sync::Mutex::new("Basic Ym90OnMzY3JldA=="));
    let (now, challenge) = (wants.clone(), bearer(tokens.addr));
    let fake = Fake::new(move |asked| {
        let wanted = *now.lock().unwrap();
        let challenge = if wanted.starts_with("Basic") { "Basic realm=x" } else { challenge.as_str() };
        match asked.header("authorization") {
            None => reply(401, &[("www-authenticate", challenge)], ""),
            Some(given) if given == wanted => found(asked, &digest("one")),
            Some(_) => reply(401, &[], ""),
        }
    })
    .await;
    let (client, repository) = (client(&[(&fake, user("s3cret"))]), fake.repository("a"));
    for (label, wanted, requests) in [
        ("a password", "Basic Ym90OnMzY3JldA==", 2),
        ("a token instead", "Bearer t1", 3),
        ("another token", "Bearer t2", 3),
        ("the same", "Bearer t2", 1),
    ] {
        *wants.lock().unwrap() = wanted;
        resolve(&client, &repository, "1", None).await.expect(label);
        assert_eq!(fake.lines().len(), requests, "{label}");
    }
    *wants.lock().unwrap() = "Bearer none";
    let error = resolve(&client, &repository, "1", None).await.unwrap_err();
    assert_eq!((error.kind, fake.lines().len()), (RegistryErrorKind::Unauthorized, 3), "{error}");
    let mute = Fake::new(|_| reply(401, &[], "")).await;
    let error = resolve(&client, &mute.repository("a"), "1", None).await.unwrap_err();
    assert!(error.message.contains("does not say what it asks for"), "{error}");
}

#[tokio::test]
async fn a_password_goes_to_the_token_service_alone() {
    let tokens = token_service().await;
    let fake = registry(&tokens, Arc::default()).await;
    let client = client(&[(&fake, user("s3cret"))]);
    resolve(&client, &fake.repository("a"), "1", None).await.unwrap();
    // "bot:s3cret"
    assert_eq!(tokens.asked()[0].header("authorization"), Some("Basic Ym90OnMzY3JldA=="));
    let seen: Vec<_> = fake.asked().iter().map(|asked| asked.header("authorization").map(str::to_owned)).collect();
    assert_eq!(seen, [None, Some("Bearer t1".to_owned())]);
}

#[tokio::test]
async fn a_wrong_password_is_named_but_for_the_secret_and_not_tried_at_once_again() {
    let tokens = Fake::new(|_| reply(401, &[], r#"{"errors":[{"code":"UNAUTHORIZED","message":"bad login"}]}"#)).await;
    let fake = registry(&tokens, Arc::default()).await;
    let client = client(&[(&fake, user("s3cret"))]);
    for (path, requests, words) in [("a", 1, "bad login"), ("b", 0, "a moment ago")] {
        let error = resolve(&client, &fake.repository(path), "1", None).await.unwrap_err();
        assert_eq!((error.kind, tokens.lines().len()), (RegistryErrorKind::Unauthorized, requests));
        let text = format!("{error} {error:?}");
        assert!(text.contains("\"bot\"") || text.contains("\\\"bot\\\""), "{text}");
        assert!(text.contains("the configuration") && text.contains(words) && !text.contains("s3cret"), "{text}");
    }
    // Another password is another matter.
    client.reconfigure(config(&[(&fake, user("0ther"))]));
    resolve(&client, &fake.repository("a"), "1", None).await.unwrap_err();
    assert_eq!(tokens.lines().len(), 1);
}

#[tokio::test]
async fn a_private_repository_without_credentials_says_what_to_do() {
    let tokens = token_service().await;
    let fake = registry(&tokens, Arc::new(AtomicUsize::new(usize::MAX))).await;
    let error = resolve(&client(&[]), &fake.repository("a"), "1", None).await.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::Unauthorized);
    assert!(error.message.contains("tagboat login") && error.message.contains("401"), "{}", error.message);
    assert_eq!(fake.lines().len(), 2);
}

#[tokio::test]
async fn a_registry_that_wants_basic_gets_it_at_once_from_then_on() {
    fn script(asked: &Asked) -> Reply {
        match asked.header("authorization") {
            Some("Basic Ym90OnMzY3JldA==") => found(asked, &digest("one")),
            _ => reply(401, &[("www-authenticate", r#"Basic realm="https://ecr/""#)], ""),
        }
    }
    let fake = Fake::new(script).await;
    let right = client(&[(&fake, user("s3cret"))]);
    for requests in [2, 1] {
        resolve(&right, &fake.repository("a"), "1", None).await.unwrap();
        assert_eq!(fake.lines().len(), requests);
    }
    for settings in [user("wr0ng"), RegistryConfig::default()] {
        let wrong = client(&[(&fake, settings)]);
        let error = resolve(&wrong, &fake.repository("a"), "1", None).await.unwrap_err();
        assert_eq!(error.kind, RegistryErrorKind::Unauthorized, "{}", error.message);
        assert!(fake.lines().len() <= 2);
    }
}

#[tokio::test]
async fn two_challenges_in_two_headers_are_both_read() {
    let tokens = token_service().await;
    let challenge = bearer(tokens.addr);
    let fake = Fake::new(move |asked| match asked.header("authorization") {
        Some("Bearer t1") => found(asked, &digest("one")),
        _ => {
            let lines = [("www-authenticate", "Basic realm=\"a, b\""), ("www-authenticate", challenge.as_str())];
            reply(401, &lines, "")
        }
    })
    .await;
    resolve(&client(&[]), &fake.repository("a"), "1", None).await.unwrap();
    let unknown = Fake::new(|_| reply(401, &[("www-authenticate", "Negotiate")], "")).await;
    let error = resolve(&client(&[]), &unknown.repository("a"), "1", None).await.unwrap_err();
    assert!(error.message.contains("negotiate"), "{}", error.message);
}

/// Docker's file with an identity token for a registry.
fn with_identity_token(fake: &Fake) -> (tempfile::TempDir, Client) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.json");
    let auths = serde_json::json!({"auths": {fake.addr.to_string(): {"identitytoken": "refresh"}}});
    std::fs::write(&path, auths.to_string()).unwrap();
    let config = crate::registry::Config { docker_config: Some(path), ..Default::default() };
    (dir, Client::new(config, Metrics::new(), Arc::new(super::fake::Notes::default())))
}

#[tokio::test]
async fn an_identity_token_is_exchanged_and_never_follows_a_redirect() {
    let tokens = token_service().await;
    let fake = registry(&tokens, Arc::default()).await;
    let (_dir, client) = with_identity_token(&fake);
    resolve(&client, &fake.repository("a"), "1", None).await.unwrap();
    let asked = &tokens.asked()[0];
    assert_eq!(asked.line, "POST /token");
    let form = String::from_utf8_lossy(&asked.body).into_owned();
    assert!(form.contains("grant_type=refresh_token") && form.contains("refresh_token=refresh"), "{form}");
    let pull = client.pull_auth(&fake.repository("a")).await.unwrap().unwrap();
    assert!(pull.kind == crate::model::SecretKind::IdentityToken && !format!("{pull:?}").contains("\"refresh\""));

    let elsewhere = token_service().await;
    let target = format!("http://{}/token", elsewhere.addr);
    let moved = Fake::new(move |_| reply(307, &[("location", &target)], "")).await;
    let fake = registry(&moved, Arc::default()).await;
    let (_dir, client) = with_identity_token(&fake);
    let error = resolve(&client, &fake.repository("a"), "1", None).await.unwrap_err();
    assert!(error.message.contains("307"), "{}", error.message);
    assert!(elsewhere.asked().is_empty());
}

#[tokio::test]
async fn an_expired_token_is_replaced_before_it_is_refused() {
    // The shortest life that is believed is a second, of which nine tenths are used.
    let tokens = Fake::new(|_| reply(200, &[], r#"{"token":"t1","expires_in":1}"#)).await;
    let fake = registry(&tokens, Arc::default()).await;
    let (client, repository) = (client(&[]), fake.repository("a"));
    let deadline = tokio::time::Instant::now() + tokio::time::Duration::from_secs(10);
    while tokens.asked().len() < 2 {
        resolve(&client, &repository, "1", None).await.unwrap();
        assert!(tokio::time::Instant::now() < deadline, "the token was never replaced");
    }
    let refused = fake.asked().iter().filter(|asked| asked.header("authorization").is_none()).count();
    assert_eq!(refused, 1, "only the very first request went without a token");
}
