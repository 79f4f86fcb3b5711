//! Lists of tags: pages, links that lead astray, ends that are none.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::fake::{Asked, Fake, Reply, bearer, client, reply, user};
use crate::model::{CachedTags, TagList};
use crate::ports::{Registry, RegistryError, RegistryErrorKind};
use crate::registry::{Client, RegistryConfig};

fn page(tags: &[String]) -> String {
    json!({"name": "a", "tags": tags}).to_string()
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|n| format!("t{n:05}")).collect()
}

/// The value of a parameter of the query.
fn parameter(asked: &Asked, name: &str) -> Option<String> {
    let query = asked.line.split_once('?')?.1;
    url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

async fn listed(client: &Client, fake: &Fake) -> Result<Vec<String>, RegistryError> {
    match client.tags(&fake.repository("a"), None).await? {
        TagList::Listed { tags, .. } => Ok(tags.iter().map(ToString::to_string).collect()),
        TagList::Unchanged => panic!("a list that was not asked about is not unchanged"),
    }
}

#[tokio::test]
async fn a_list_is_sorted_and_what_is_no_tag_is_left_out() {
    for (body, wanted) in [
        (json!({"name": "a", "tags": ["1.9.0", "latest", "1.10.0", "1.9.0"]}), vec!["1.10.0", "1.9.0", "latest"]),
        (json!({"name": "a", "tags": null}), vec![]),
        (json!({"name": "a"}), vec![]),
        (json!({"tags": ["ok", "-bad", "", "a b", "x/y"]}), vec!["ok"]),
    ] {
        let text = body.to_string();
        // ECR says that it is text/plain.
        let fake = Fake::new(move |_| reply(200, &[("content-type", "text/plain")], text.clone())).await;
        assert_eq!(listed(&client(&[]), &fake).await.unwrap(), wanted, "{body}");
        assert_eq!(fake.lines(), ["GET /v2/a/tags/list?n=1000"]);
    }
}

#[tokio::test]
async fn every_page_is_read_by_its_link_whatever_host_and_path_it_names() {
    for link in [
        "</v2/a/tags/list?n=1000&last=LAST>; rel=\"next\"",
        "<https://elsewhere.example/v2/a/tags/list?last=LAST&n=1000>; rel=\"next\"",
        // Artifactory leaves out the prefix of a virtual repository.
        "</v2/other/tags/list?last=LAST>; rel=next",
    ] {
        let fake = Fake::new(move |asked| {
            let start = parameter(asked, "last").map_or(0, |last| last[1..].parse::<usize>().unwrap() + 1);
            let tags = numbers(start..start + 3);
            let link = link.replace("LAST", tags.last().unwrap());
            let headers = if start < 6 { vec![("link", link.as_str())] } else { vec![] };
            reply(200, &headers, page(&tags))
        })
        .await;
        assert_eq!(listed(&client(&[]), &fake).await.unwrap(), numbers(0..9), "{link}");
        let lines = fake.lines();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines.iter().all(|line| line.starts_with("GET /v2/a/tags/list?")), "{lines:?}");
    }
}

#[tokio::test]
async fn a_link_takes_no_secret_elsewhere() {
    let elsewhere = Fake::new(|_| reply(200, &[], page(&numbers(0..1)))).await;
    let link = format!("<http://{}/v2/a/tags/list?last=x>; rel=\"next\"", elsewhere.addr);
    let tokens = Fake::new(|_| reply(200, &[], r#"{"token":"t1"}"#)).await;
    let challenge = bearer(tokens.addr);
    let fake = Fake::new(move |asked| match asked.header("authorization") {
        None => reply(401, &[("www-authenticate", &challenge)], ""),
        Some(_) if asked.line.contains("last=x") => reply(200, &[], page(&numbers(5..6))),
        Some(_) => reply(200, &[("link", &link)], page(&numbers(0..1))),
    })
    .await;
    let client = client(&[(&fake, user("s3cret"))]);
    assert_eq!(listed(&client, &fake).await.unwrap(), ["t00000", "t00005"]);
    assert!(elsewhere.asked().is_empty());
    assert_eq!((tokens.lines().len(), fake.lines().len()), (1, 3), "one token for all pages");
}

/// A registry that knows `last` and says nothing of it.
fn without_links(asked: &Asked, count: usize) -> Reply {
    let all = numbers(0..count);
    let last = parameter(asked, "last").unwrap_or_default();
    let rest: Vec<String> = all.into_iter().filter(|tag| *tag > last).take(1000).collect();
    reply(200, &[], page(&rest))
}

#[tokio::test]
async fn without_links_a_full_page_is_followed_by_the_next() {
    for (count, requests) in [(999, 1), (1000, 2), (2500, 3)] {
        let fake = Fake::new(move |asked| without_links(asked, count)).await;
        assert_eq!(listed(&client(&[]), &fake).await.unwrap().len(), count);
        assert_eq!(fake.lines().len(), requests, "{count}");
    }
}

#[tokio::test]
async fn a_registry_that_ignores_the_count_or_the_last_has_said_everything() {
    // distribution 2.8 gives all at once.
    for (count, requests) in [(3000, 1), (1000, 2)] {
        let fake = Fake::new(move |_| reply(200, &[], page(&numbers(0..count)))).await;
        assert_eq!(listed(&client(&[]), &fake).await.unwrap().len(), count);
        assert_eq!(fake.lines().len(), requests, "{count}");
    }
}

#[tokio::test]
async fn a_registry_that_refuses_the_count_is_asked_without() {
    for status in [400, 405] {
        let fake = Fake::new(move |asked| match parameter(asked, "n") {
            Some(_) => reply(status, &[], ""),
            None => reply(200, &[], page(&numbers(0..2))),
        })
        .await;
        assert_eq!(listed(&client(&[]), &fake).await.unwrap(), numbers(0..2));
        assert_eq!(fake.lines(), ["GET /v2/a/tags/list?n=1000", "GET /v2/a/tags/list"]);
        let never = Fake::new(move |_| reply(status, &[], "")).await;
        assert_eq!(listed(&client(&[]), &never).await.unwrap_err().kind, RegistryErrorKind::Protocol);
        assert_eq!(never.lines().len(), 2);
    }
}

#[tokio::test]
async fn a_list_without_end_is_refused_and_not_used_in_part() {
    let count = Arc::new(AtomicUsize::new(0));
    let endless = Fake::new(move |_| {
        let at = count.fetch_add(1000, Ordering::Relaxed);
        let link = format!("</v2/a/tags/list?page={at}>; rel=\"next\"");
        reply(200, &[("link", &link)], page(&numbers(at..at + 1000)))
    })
    .await;
    let error = listed(&client(&[]), &endless).await.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::Protocol);
    assert!(error.message.contains("after 50000 tags on 50 pages"), "{}", error.message);
    assert!(error.message.contains("follow one tag by its name"), "{}", error.message);

    let circle = Fake::new(|_| reply(200, &[("link", "</v2/a/tags/list?p=1>; rel=next")], page(&numbers(0..1)))).await;
    let error = listed(&client(&[]), &circle).await.unwrap_err();
    assert!(error.message.contains("circle"), "{}", error.message);
    assert_eq!(circle.lines().len(), 2);

    let nowhere = Fake::new(|_| reply(200, &[("link", "</v2/a/tags/list>; rel=next")], page(&numbers(0..1)))).await;
    let error = listed(&client(&[]), &nowhere).await.unwrap_err();
    assert!(error.message.contains("has no query"), "{}", error.message);
}

#[tokio::test]
async fn an_unchanged_list_is_not_sent_again() {
    let fake = Fake::new(|asked| match asked.header("if-none-match") {
        Some("\"e1\"") => reply(304, &[], ""),
        _ => reply(200, &[("etag", "\"e1\"")], page(&numbers(0..2))),
    })
    .await;
    let (client, repository) = (client(&[]), fake.repository("a"));
    let TagList::Listed { cached: Some(cached), .. } = client.tags(&repository, None).await.unwrap() else { panic!() };
    assert_eq!(client.tags(&repository, Some(&cached)).await.unwrap(), TagList::Unchanged);
    let old = CachedTags { etag: "\"e0\"".to_owned() };
    assert!(matches!(client.tags(&repository, Some(&old)).await.unwrap(), TagList::Listed { .. }));
    assert_eq!(fake.lines().len(), 3);

    let unasked = Fake::new(|_| reply(304, &[], "")).await;
    let error = client.tags(&unasked.repository("a"), None).await.unwrap_err();
    assert_eq!(error.kind, RegistryErrorKind::Protocol, "{}", error.message);
}

#[tokio::test]
async fn the_etag_of_one_page_of_several_is_not_kept() {
    let fake = Fake::new(|asked| match parameter(asked, "last") {
        None => reply(200, &[("etag", "\"e1\""), ("link", "</x?last=a>; rel=next")], page(&numbers(0..2))),
        Some(_) => reply(200, &[("etag", "\"e2\"")], page(&numbers(2..3))),
    })
    .await;
    let answer = client(&[]).tags(&fake.repository("a"), None).await.unwrap();
    assert!(matches!(&answer, TagList::Listed { tags, cached: None } if tags.len() == 3), "{answer:?}");
}

#[tokio::test]
async fn a_page_that_fails_fails_the_list_and_the_wait_is_kept_for_all_requests() {
    for (status, kind) in [(429, RegistryErrorKind::RateLimited), (500, RegistryErrorKind::Server)] {
        let fake = Fake::new(move |asked| match parameter(asked, "last") {
            None => reply(200, &[("link", "</x?last=a>; rel=next")], page(&numbers(0..2))),
            Some(_) => reply(status, &[("retry-after", "60")], ""),
        })
        .await;
        let client = client(&[]);
        assert_eq!(listed(&client, &fake).await.unwrap_err().kind, kind);
        assert_eq!(fake.lines().len(), 2);
        let tag = "latest".parse().unwrap();
        let error = client.resolve(&fake.repository("a"), &tag, None).await.unwrap_err();
        assert!(error.message.contains("not asked before"), "{}", error.message);
        assert!(listed(&client, &fake).await.is_err() && fake.lines().is_empty(), "nobody is asked during the wait");
    }
}

#[tokio::test]
async fn a_list_that_makes_no_sense_is_an_error() {
    for body in ["", "[]", r#"{"tags": [1]}"#, r#"{"tags": "latest"}"#, "<html>"] {
        let fake = Fake::new(move |_| reply(200, &[], body)).await;
        assert_eq!(listed(&client(&[]), &fake).await.unwrap_err().kind, RegistryErrorKind::Protocol, "{body}");
    }
    let missing = Fake::new(|_| reply(404, &[], r#"{"errors":[{"code":"NAME_UNKNOWN","message":"no"}]}"#)).await;
    assert_eq!(listed(&client(&[]), &missing).await.unwrap_err().kind, RegistryErrorKind::NotFound);
}

#[tokio::test]
async fn lists_keep_to_the_limit_of_requests_at_once() {
    let under_way = Arc::new((AtomicUsize::new(0), AtomicUsize::new(0)));
    let seen = under_way.clone();
    let fake = Fake::new(move |asked| {
        let now = seen.0.fetch_add(1, Ordering::SeqCst) + 1;
        seen.1.fetch_max(now, Ordering::SeqCst);
        let body = page(&numbers(0..1));
        let last = parameter(asked, "last");
        let counter = seen.clone();
        let chunk = async move {
            tokio::time::sleep(tokio::time::Duration::from_millis(20)).await;
            counter.0.fetch_sub(1, Ordering::SeqCst);
            Ok::<_, std::io::Error>(body)
        };
        let body = axum::body::Body::from_stream(futures_util::stream::once(chunk));
        let headers = if last.is_none() { vec![("link", "</x?last=a>; rel=next")] } else { vec![] };
        reply(200, &headers, body)
    })
    .await;
    let settings = RegistryConfig { max_concurrent: Some(2), ..RegistryConfig::default() };
    let client = client(&[(&fake, settings)]);
    let all = futures_util::future::join_all((0..8).map(|_| listed(&client, &fake))).await;
    assert!(all.iter().all(Result::is_ok));
    assert!(under_way.1.load(Ordering::SeqCst) <= 2, "{:?}", under_way.1);
}
