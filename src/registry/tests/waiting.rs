//! Who is left in peace, and who is not held up by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use tokio::time::{Duration, Instant};

use super::fake::{Fake, Notes, client, client_with, config, digest, found, reply, resolve, user};
use crate::ports::{Registry, RegistryErrorKind};
use crate::registry::{Limits, RegistryConfig};

#[tokio::test]
async fn a_429_stops_everyone_who_is_still_in_the_queue() {
    let fake = Fake::new(|_| reply(429, &[("retry-after", "60")], "toomanyrequests")).await;
    let notes = Arc::new(Notes::default());
    let client = client_with(&[], notes.clone(), Limits::default());
    let repositories: Vec<_> = (0..100).map(|n| fake.repository(&format!("r{n}"))).collect();
    let results = join_all(repositories.iter().map(|repository| resolve(&client, repository, "1", None))).await;
    for error in results.into_iter().map(Result::unwrap_err) {
        assert_eq!(error.kind, RegistryErrorKind::RateLimited, "{error}");
        assert!(error.retry_after.is_some_and(|wait| wait > Duration::from_secs(50)), "{error}");
    }
    let lines = fake.lines();
    assert!(lines.len() <= 4 && lines.iter().all(|line| line.starts_with("HEAD")), "{lines:?}");

    let (until, why) = client.status().remove(0).backing_off.unwrap();
    assert!(until > chrono::Utc::now() && why.contains("429"), "{why}");
    // Neither a restart nor other settings make us forget.
    let again = client_with(&[], notes, Limits::default());
    client.reconfigure(config(&[(&fake, user("s3cret"))]));
    for client in [&again, &client] {
        let error = resolve(client, &repositories[0], "1", None).await.unwrap_err();
        assert_eq!(error.kind, RegistryErrorKind::RateLimited);
        assert_eq!(client.status()[0].backing_off.as_ref().unwrap().0, until);
    }
    let gauge = &again.metrics.registry_backoff_until_timestamp_seconds;
    assert_eq!(gauge.with_label_values(&[&fake.addr.to_string()]).get(), until.timestamp());
    assert!(fake.lines().is_empty());
}

#[tokio::test]
async fn github_hides_its_limit_in_words() {
    for (label, status, body, shortest) in [
        ("a delay", 429, "toomanyrequests: retry-after: 880.092µs, allowed: 44000/minute", 0.4),
        ("a longer one", 429, "toomanyrequests: retry-after: 9s, allowed: 44000/minute", 8.0),
        ("a 403", 403, "You have exceeded a secondary rate limit", 0.4),
    ] {
        // HEAD has no body: what is tested is a document.
        let fake = Fake::new(move |_| reply(status, &[], body)).await;
        let client = client(&[]);
        let error = client.manifest(&fake.repository("a"), &digest("x")).await.unwrap_err();
        assert_eq!(error.kind, RegistryErrorKind::RateLimited, "{label}");
        let error = resolve(&client, &fake.repository("b"), "1", None).await.unwrap_err();
        let wait = error.retry_after.unwrap().as_secs_f64();
        assert!((shortest..=9.0).contains(&wait), "{label}: {wait}");
        assert_eq!(fake.lines().len(), 1, "{label}");
    }
}

#[tokio::test]
async fn a_broken_repository_waits_alone_and_is_never_asked_more_dearly() {
    let fake = Fake::new(|asked| match asked.line.contains("/bad/") {
        true => reply(500, &[], ""),
        false => found(asked, &digest("one")),
    })
    .await;
    let client = client(&[]);
    for _ in 0..3 {
        let error = resolve(&client, &fake.repository("bad"), "1", None).await.unwrap_err();
        assert_eq!(error.kind, RegistryErrorKind::Server);
        resolve(&client, &fake.repository("good"), "1", None).await.unwrap();
    }
    let lines = fake.lines();
    assert_eq!(lines.iter().filter(|line| *line == "HEAD /v2/bad/manifests/1").count(), 1, "{lines:?}");
    assert_eq!(lines.iter().filter(|line| *line == "HEAD /v2/good/manifests/1").count(), 3, "{lines:?}");
    assert_eq!(lines.len(), 4);
    assert_eq!(client.status()[0].backing_off, None);
}

#[tokio::test]
async fn a_repository_that_hangs_delays_no_other() {
    let fake = Fake::new(|asked| match asked.line.contains("/hangs/") {
        true => None,
        false => found(asked, &digest("one")),
    })
    .await;
    let limits = Limits { short: Duration::from_millis(300), ..Limits::default() };
    let client = client_with(&[], Arc::default(), limits);
    let (hangs, good) = (fake.repository("hangs"), fake.repository("good"));
    let others = async {
        for _ in 0..50 {
            resolve(&client, &good, "1", None).await.unwrap();
        }
        Instant::now()
    };
    let hanging = async { (resolve(&client, &hangs, "1", None).await.unwrap_err(), Instant::now()) };
    let (done, (error, gave_up)) = tokio::join!(others, hanging);
    assert!(done < gave_up, "the others were done before the one that hangs was given up");
    assert_eq!(error.kind, RegistryErrorKind::Unreachable);
    assert!(error.message.contains("did not answer in time"), "{error}");
    fake.lines();
    let error = resolve(&client, &hangs, "1", None).await.unwrap_err();
    assert!(error.retry_after.is_some() && fake.lines().is_empty(), "{error}");
}

#[tokio::test]
async fn a_repository_that_hangs_holds_one_slot_however_many_of_its_tags_are_watched() {
    let fake = Fake::new(|asked| match asked.line.contains("/hangs/") {
        true => None,
        false => found(asked, &digest("one")),
    })
    .await;
    let limits = Limits { short: Duration::from_millis(500), ..Limits::default() };
    let client = client_with(&[], Arc::default(), limits);
    let (hangs, names) = (fake.repository("hangs"), (0..20).map(|n| format!("v{n}")).collect::<Vec<_>>());
    let hanging = join_all(names.iter().map(|tag| resolve(&client, &hangs, tag, None)));
    let others = async {
        while fake.asked().is_empty() {
            tokio::task::yield_now().await;
        }
        let good: Vec<_> = (0..50).map(|n| fake.repository(&format!("good{n}"))).collect();
        let results = join_all(good.iter().map(|repository| resolve(&client, repository, "1", None))).await;
        assert!(results.iter().all(Result::is_ok), "{results:?}");
        Instant::now()
    };
    let (results, done) = tokio::join!(async { (hanging.await, Instant::now()) }, others);
    let (results, gave_up) = results;
    assert!(done < gave_up, "the others did not wait for it");
    assert!(results.iter().all(|result| result.as_ref().is_err_and(|error| error.retry_after.is_some())));
    let asked = fake.lines().iter().filter(|line| line.contains("/hangs/")).count();
    assert_eq!(asked, 1, "those behind the first were told to wait");
}

/// A registry whose every answer leaves one less, GET or HEAD.
#[tokio::test]
async fn looks_that_count_are_spaced_so_that_the_rate_limit_lasts() {
    let left = std::sync::atomic::AtomicU64::new(50);
    let fake = Fake::new(move |asked| {
        let mut response = found(asked, &digest("one")).unwrap();
        let left = format!("{};w=3600", left.fetch_sub(1, Ordering::Relaxed));
        response.headers_mut().insert("ratelimit-limit", "100;w=3600".parse().unwrap());
        response.headers_mut().insert("ratelimit-remaining", left.parse().unwrap());
        Some(response)
    })
    .await;
    let notes = Arc::new(Notes::default());
    let client = client_with(&[], notes.clone(), Limits::default());
    let repository = fake.repository("a");
    for tag in ["1", "2", "1", "2"] {
        assert_eq!(client.spacing(&repository), None);
        resolve(&client, &repository, tag, None).await.unwrap();
    }
    // 47 are left for an hour, of which 10 are for pulls: 37 looks at two tags.
    let seconds = client.spacing(&repository).unwrap().as_secs();
    assert!((190..=195).contains(&seconds), "{seconds}");
    let gauge = &client.metrics.registry_check_spacing_seconds;
    assert_eq!(gauge.with_label_values(&[&fake.addr.to_string()]).get(), i64::try_from(seconds).unwrap());
}

#[tokio::test]
async fn what_was_left_is_known_and_shown_after_a_restart() {
    let fake = Fake::new(|asked| {
        let mut response = found(asked, &digest("one")).unwrap();
        response.headers_mut().insert("ratelimit-remaining", "20;w=21600".parse().unwrap());
        Some(response)
    })
    .await;
    let notes = Arc::new(Notes::default());
    let before = client_with(&[], notes.clone(), Limits::default());
    resolve(&before, &fake.repository("a"), "1", None).await.unwrap();
    let after = client_with(&[], notes, Limits::default());
    assert_eq!(after.spacing(&fake.repository("a")), None, "HEAD left as much as before");
    assert_eq!(after.status()[0].quota.as_ref().unwrap().remaining, Some(20));
    let gauge = &after.metrics.registry_quota_remaining;
    assert_eq!(gauge.with_label_values(&[&fake.addr.to_string()]).get(), 20);
}

#[tokio::test]
async fn a_registry_that_can_not_be_reached_is_left_alone_after_the_third_try() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let repository = format!("{}/a", listener.local_addr().unwrap()).parse().unwrap();
    drop(listener);
    let client = client(&[]);
    for told in [false, false, true, true] {
        let error = resolve(&client, &repository, "1", None).await.unwrap_err();
        assert_eq!((error.kind, error.retry_after.is_some()), (RegistryErrorKind::Unreachable, told), "{error}");
    }
    assert!(client.status()[0].backing_off.as_ref().unwrap().1.contains("can't be reached"));
}

#[tokio::test]
async fn other_settings_of_one_registry_leave_the_tokens_of_another() {
    let counted = || {
        Fake::new(|asked| match (asked.is_token(), asked.header("authorization")) {
            (true, _) => reply(200, &[], r#"{"token":"t"}"#),
            (_, Some("Bearer t")) => found(asked, &digest("one")),
            _ => {
                let challenge = format!(r#"Bearer realm="http://{}/token""#, asked.header("host").unwrap());
                reply(401, &[("www-authenticate", &challenge)], "")
            }
        })
    };
    let (kept, changed) = (counted().await, counted().await);
    let client = client(&[(&kept, user("one")), (&changed, user("one"))]);
    for fake in [&kept, &changed] {
        resolve(&client, &fake.repository("a"), "1", None).await.unwrap();
        assert_eq!(fake.lines().len(), 3);
    }
    client.reconfigure(config(&[(&kept, user("one")), (&changed, user("two"))]));
    for (fake, requests) in [(&kept, 1), (&changed, 3)] {
        resolve(&client, &fake.repository("a"), "1", None).await.unwrap();
        assert_eq!(fake.lines().len(), requests);
    }
}

#[tokio::test]
async fn the_quota_is_shown_and_survives() {
    let dry = Arc::new(AtomicBool::new(false));
    let switch = dry.clone();
    let fake = Fake::new(move |asked| {
        let mut response = found(asked, &digest("one")).unwrap();
        let left = if switch.load(Ordering::Relaxed) { "0;w=21600" } else { "20;w=21600" };
        response.headers_mut().insert("ratelimit-limit", "100;w=21600".parse().unwrap());
        response.headers_mut().insert("ratelimit-remaining", left.parse().unwrap());
        Some(response)
    })
    .await;
    let notes = Arc::new(Notes::default());
    let client = client_with(&[(&fake, RegistryConfig::default())], notes.clone(), Limits::default());
    resolve(&client, &fake.repository("a"), "1", None).await.unwrap();
    let quota = client.status()[0].quota.clone().unwrap();
    assert_eq!((quota.limit, quota.remaining, quota.window_seconds), (Some(100), Some(20), Some(21600)));
    dry.store(true, Ordering::Relaxed);
    resolve(&client, &fake.repository("a"), "1", None).await.unwrap();
    let name = fake.addr.to_string();
    assert_eq!(client.status()[0].quota.as_ref().unwrap().remaining, Some(0));
    assert_eq!(client.metrics.registry_quota_remaining.with_label_values(&[&name]).get(), 0);
    assert_eq!(client.metrics.registry_requests_total.with_label_values(&[&name, "head", "200"]).get(), 2);
    let note: serde_json::Value = serde_json::from_slice(&notes_of(&notes, &name)).unwrap();
    assert_eq!(note["quota"]["remaining"], 20, "a change within the minute is not written down");
}

fn notes_of(notes: &Notes, name: &str) -> Vec<u8> {
    use crate::ports::Store;
    notes.note(&format!("registry/{name}")).unwrap().unwrap()
}
