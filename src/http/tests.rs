//! The three routers over real connections.

mod events;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http_body_util::BodyExt;
use secrecy::SecretString;
use serde_json::json;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::testing::{Served, World, at, digest, engine, held, status};
use super::*;
use crate::engine::detached::Detached;
use crate::engine::{Answer, RequestError};
use crate::metrics::Metrics;
use crate::model::{AppState, Event, EventKind, Hold, SeenSource, TrafficStats};

const DEADLINE: Duration = Duration::from_secs(10);
const JSON: (&str, &str) = ("content-type", "application/json");

struct Api {
    world: Arc<World>,
    engine: Detached,
    server: Served,
}

async fn api(access: Access) -> Api {
    let world = Arc::new(World::default());
    let engine = engine(&world);
    let shutdown = CancellationToken::new();
    let router = api_router(ApiState::new(engine.handle.clone(), access, shutdown.clone()));
    Api { server: Served::new(router, shutdown).await, engine, world }
}

fn guarded(token: Option<&str>) -> Access {
    Access::guarded(token.map(SecretString::from).as_ref(), ["boat.example.com".to_owned()]).unwrap()
}

#[tokio::test]
async fn an_app_is_shown_with_what_serves_and_why_nothing_newer_does() {
    let mut api = api(Access::Full).await;
    let apps = api.server.get("/api/v1/apps").await;
    assert_eq!(apps.status, 200, "{apps:?}");
    assert_eq!(apps.headers["cache-control"], "no-store");
    let names = apps.json().as_array().unwrap().iter().map(|app| app["app"].clone()).collect::<Vec<_>>();
    assert_eq!(names, ["blog", "broken", "shop"]);
    let blog = api.server.get("/api/v1/apps/blog").await;
    let view: AppView = serde_json::from_str(&blog.body).unwrap();
    assert_eq!(view.status, held("blog"));
    assert!(view.explanation.unwrap().contains("tagboat unquarantine"));
    let registries = api.server.get("/api/v1/registries").await.json();
    assert_eq!(registries[0]["quota"]["remaining"], 42);
}

#[tokio::test]
async fn an_unknown_app_is_answered_with_the_known_ones() {
    let mut api = api(Access::Full).await;
    for (method, path) in [
        ("GET", "/api/v1/apps/shpo"),
        ("GET", "/api/v1/apps/shpo/deployments"),
        ("GET", "/api/v1/apps/shpo/deployments/s7"),
        ("POST", "/api/v1/apps/shpo/deployments"),
        ("POST", "/api/v1/apps/shpo/check"),
        ("POST", "/api/v1/apps/shpo/rollback"),
        ("GET", "/api/v1/apps/shpo/plan"),
        ("GET", "/api/v1/apps/shpo/tags"),
        ("POST", "/api/v1/apps/shpo/unquarantine"),
        ("POST", "/api/v1/apps/shpo/unpin"),
        ("POST", "/api/v1/apps/shpo/approve"),
        ("GET", "/api/v1/apps/shpo/events"),
        ("GET", "/api/v1/events?app=shpo"),
        ("GET", "/api/v1/apps/Not%20a%20name"),
    ] {
        let reply = api.server.send(method, path, &[], b"").await;
        assert_eq!(reply.status, 404, "{path}: {reply:?}");
        assert_eq!(reply.headers["content-type"], "application/problem+json", "{path}");
        let problem: Problem = serde_json::from_str(&reply.body).unwrap();
        assert!(problem.is(ProblemKind::UnknownApp), "{path}: {problem:?}");
        assert!(problem.detail.contains("blog, broken, shop"), "{path}: {problem:?}");
    }
}

#[tokio::test]
async fn the_history_of_a_group_is_shown_and_an_unknown_one_is_named() {
    let mut api = api(Access::Full).await;
    let reply = api.server.get("/api/v1/groups/nobody/deployments").await;
    assert_eq!(reply.status, 404, "{reply:?}");
    assert!(reply.body.contains("there is no group \\\"nobody\\\"; the groups are: front"), "{}", reply.body);
    let reply = api.server.get("/api/v1/groups/front/deployments?limit=5").await;
    assert_eq!((reply.status, reply.body.as_str()), (200, "[]"), "nothing was deployed yet");
}

#[tokio::test]
async fn the_tags_are_shown_with_the_winner_and_why_the_others_lost() {
    let mut api = api(Access::Full).await;
    let reply = api.server.get("/api/v1/apps/blog/tags").await;
    assert_eq!(reply.status, 200, "{reply:?}");
    let report = reply.json();
    assert_eq!((&report["winner"], &report["follows"]), (&json!("1.4.2"), &json!("semver ^1.4")));
    assert_eq!((&report["listed"], &report["artifacts"]), (&json!(7), &json!(1)));
    let verdicts = report["candidates"].as_array().unwrap().iter().map(|c| c["verdict"].as_str().unwrap());
    let wanted = ["winner", "older", "out_of_range", "out_of_range", "prerelease", "no_version"];
    assert_eq!(verdicts.collect::<Vec<_>>(), wanted);
}

#[tokio::test]
async fn a_push_of_any_tag_makes_an_app_with_a_policy_look() {
    let api = api(Access::Full).await;
    let hint = |repository: &str, tag: Option<&str>| {
        let (repository, tag) = (repository.parse().unwrap(), tag.map(|tag| tag.parse().unwrap()));
        api.engine.handle.hint(&crate::engine::Hint { repository, tag, digest: None, early: false })
    };
    for (repository, tag, concerned) in [
        ("ghcr.io/acme/blog", Some("1.9.0"), 1),
        ("ghcr.io/acme/blog", Some("anything"), 1),
        ("ghcr.io/acme/blog", None, 1),
        ("ghcr.io/acme/blog", Some("sha256-0.sig"), 0),
        ("ghcr.io/acme/shop", Some("1.9.0"), 0),
        ("ghcr.io/acme/shop", Some("latest"), 1),
        ("ghcr.io/acme/other", Some("1.9.0"), 0),
    ] {
        assert_eq!(hint(repository, tag), concerned, "{repository} {tag:?}");
    }
}

#[tokio::test]
async fn what_is_asked_reaches_the_engine_as_it_was_meant() {
    let mut api = api(Access::Full).await;
    let b = digest('b').to_string();
    for (path, body, asked) in [
        ("shop/deployments", json!({}), "version: None, force: false, reason: \"deployed by request\"".to_owned()),
        (
            "shop/deployments",
            json!({"version": {"tag": "v2"}, "force": true, "reason": "new\nlook", "author": "ann"}),
            "version: Some(Tag(Tag(\"v2\"))), force: true, reason: \"new look, by ann\"".to_owned(),
        ),
        (
            "shop/deployments",
            json!({"version": {"digest": b}, "title": "1.4", "reason": "release"}),
            format!("version: Some(Digest(Digest(\"{b}\"))), force: false, reason: \"1.4: release\""),
        ),
        ("shop/rollback", json!({}), "Previous".to_owned()),
        ("shop/rollback", json!({"to": "previous"}), "Previous".to_owned()),
        ("shop/rollback", json!({"to": 4}), "Generation(4)".to_owned()),
        ("shop/rollback", json!({"to": "4"}), "Generation(4)".to_owned()),
        ("shop/rollback", json!({"to": b}), format!("Digest(Digest(\"{b}\"))")),
        ("shop/unquarantine", json!({}), "lift shop all".to_owned()),
        ("shop/unquarantine", json!({"digest": b}), format!("lift shop {}", "b".repeat(12))),
        ("shop/unpin", json!({}), "unpin".to_owned()),
    ] {
        let reply =
            api.server.send("POST", &format!("/api/v1/apps/{path}"), &[JSON], body.to_string().as_bytes()).await;
        assert!(reply.status < 300, "{path} {body}: {reply:?}");
        assert!(api.world.last().contains(&asked), "{path} {body}: {}", api.world.last());
    }
    let reply = api.server.send("POST", "/api/v1/apps/shop/check", &[], b"").await;
    assert_eq!(reply.status, 202);
    assert_eq!(timeout(DEADLINE, api.engine.activated("shop")).await.unwrap(), SeenSource::Request);
}

#[tokio::test]
async fn nonsense_is_refused_with_a_reason_and_reaches_nobody() {
    let mut api = api(Access::Full).await;
    let long = "x".repeat(70_000);
    for (path, body, status, says) in [
        ("shop/deployments", "{", 400, "the body is wrong"),
        ("shop/deployments", r#"{"tag": "v2"}"#, 400, "unknown field `tag`"),
        ("shop/deployments", r#"{"version": {"tag": "a b"}}"#, 400, "is not valid"),
        ("shop/deployments", r#"{"version": {"digest": "sha256:1"}}"#, 400, "is not valid"),
        ("shop/deployments", long.as_str(), 413, "at most"),
        ("shop/rollback", r#"{"to": "yesterday"}"#, 400, "previous"),
        ("shop/rollback", r#"{"to": -1}"#, 400, "previous"),
        ("shop/rollback", r#"{"to": [1]}"#, 400, "previous"),
    ] {
        let reply = api.server.send("POST", &format!("/api/v1/apps/{path}"), &[JSON], body.as_bytes()).await;
        assert_eq!(reply.status, status, "{path}: {reply:?}");
        assert!(reply.body.contains(says), "{path}: {reply:?}");
    }
    assert_eq!(api.world.last(), "");
    for (method, path, status) in [
        ("GET", "/api/v1/nothing", 404),
        ("GET", "/elsewhere", 404),
        ("DELETE", "/api/v1/apps/shop", 405),
        ("GET", "/api/v1/apps/shop/check", 405),
        ("GET", "/api/v1/apps/shop/deployments?limit=many", 400),
    ] {
        let reply = api.server.send(method, path, &[], b"").await;
        assert_eq!(reply.status, status, "{method} {path}: {reply:?}");
        assert_eq!(reply.headers["content-type"], "application/problem+json", "{method} {path}");
    }
}

#[tokio::test]
async fn each_answer_of_the_engine_has_its_status() {
    let mut api = api(Access::Full).await;
    let stop = || RequestError::Unresolved { message: "no tag v9 in ghcr.io/acme/shop".into() };
    let hold = Hold::RegistryUnknown { message: "HTTP 503".into() };
    let nothing = RequestError::NothingToRollBackTo { app: "shop".parse().unwrap(), detail: "first".into() };
    for (answer, status, says) in [
        (Ok(Answer::UpToDate { digest: digest('a') }), 200, "up_to_date"),
        (Ok(Answer::Started { deployment: crate::model::SwapId("s8".into()), digest: digest('b') }), 202, "s8"),
        (Ok(Answer::Queued), 202, "queued"),
        (Ok(Answer::Held { hold }), 409, "registry_unknown"),
        (Err(stop()), 422, "no tag v9"),
        (Err(nothing), 409, "nothing-to-roll-back-to"),
        (Err(RequestError::Busy { app: "shop".parse().unwrap() }), 429, "too many requests"),
        (Err(RequestError::Stopping), 503, "shutting down"),
    ] {
        *api.world.answer.lock().unwrap() = Some(answer);
        let reply = api.server.send("POST", "/api/v1/apps/shop/deployments", &[JSON], b"{}").await;
        assert_eq!(reply.status, status, "{says}: {reply:?}");
        assert!(reply.body.contains(says), "{says}: {reply:?}");
    }
}

#[tokio::test]
async fn the_history_is_limited_and_a_failing_disk_keeps_its_path_to_itself() {
    let mut api = api(Access::Full).await;
    let history = api.server.get("/api/v1/apps/shop/deployments?limit=1").await.json();
    assert_eq!(history.as_array().unwrap().len(), 1);
    assert_eq!(history[0]["result"], "failed");
    assert_eq!(history[0]["steps"][2]["stage"], "gate");
    assert_eq!(api.server.get("/api/v1/apps/shop/deployments/s6").await.json()["result"], "succeeded");
    assert_eq!(api.server.get("/api/v1/apps/shop/deployments/s9").await.status, 404);
    let broken = api.server.get("/api/v1/apps/broken/deployments").await;
    assert_eq!(broken.status, 500);
    assert!(broken.body.contains("read the history") && !broken.body.contains("secret-place"), "{broken:?}");
}

#[tokio::test]
async fn without_a_token_the_network_may_look_but_not_touch() {
    let mut api = api(guarded(None)).await;
    assert_eq!(api.server.get("/api/v1/apps").await.status, 200);
    let reply = api.server.send("POST", "/api/v1/apps/shop/deployments", &[JSON], b"{}").await;
    assert_eq!(reply.status, 403);
    assert!(reply.body.contains("api.token") && reply.body.contains("Unix socket"), "{reply:?}");
    assert_eq!(api.world.last(), "");
}

#[tokio::test]
async fn with_a_token_nothing_is_told_and_nothing_done_without_it() {
    let mut api = api(guarded(Some("correct horse"))).await;
    for (what, header, status) in [
        ("none", None, 401),
        ("wrong", Some("Bearer wrong"), 401),
        ("longer", Some("Bearer correct horse battery"), 401),
        ("empty", Some("Bearer "), 401),
        ("another scheme", Some("Basic correct horse"), 401),
        ("bare", Some("correct horse"), 401),
        ("right", Some("Bearer correct horse"), 200),
        ("right, in other letters", Some("bearer correct horse"), 200),
    ] {
        let headers = header.map(|value| ("authorization", value));
        let headers = headers.as_slice();
        assert_eq!(api.server.send("GET", "/api/v1/apps", headers, b"").await.status, status, "{what}");
        let reply = api.server.send("POST", "/api/v1/apps/shop/unpin", headers, b"").await;
        assert_eq!(reply.status, status, "{what}");
        assert!(!reply.body.contains("horse"), "{what}");
    }
    assert_eq!(api.server.get("/api/v1/nothing").await.status, 401, "what there is, is not told either");
    assert_eq!(api.server.get("/").await.status, 200, "the page holds no data and asks for the token");
    assert!(Access::guarded(Some(&SecretString::from(" ")), []).is_err(), "an empty token would be no token");
}

#[tokio::test]
async fn other_peoples_pages_can_neither_read_nor_change_anything() {
    let mut open = api(guarded(None)).await;
    let mut api = api(guarded(Some("t"))).await;
    let token = ("authorization", "Bearer t");
    for (host, status) in [
        ("127.0.0.1:9393", 200),
        ("[::1]:9393", 200),
        ("localhost:9393", 200),
        ("LOCALHOST", 200),
        ("tagboat.localhost", 200),
        ("boat.example.com", 200),
        ("evil.example.com", 403),
        ("localhost.evil.example.com", 403),
        ("127.0.0.1.evil.example.com", 403),
        ("user@evil", 403),
        ("", 403),
    ] {
        for path in ["/", "/api/v1/apps"] {
            assert_eq!(open.server.send("GET", path, &[("host", host)], b"").await.status, status, "{host:?} {path}");
            let known = api.server.send("GET", path, &[("host", host), token], b"").await.status;
            assert_eq!(known, 200, "{host:?} {path}: the token is what counts");
        }
    }
    let host = ("host", "localhost:9393");
    for (what, extra, status) in [
        ("a tool", vec![], 200),
        ("our own page", vec![("origin", "http://localhost:9393"), ("sec-fetch-site", "same-origin")], 200),
        ("another page", vec![("origin", "http://evil.example.com"), ("sec-fetch-site", "cross-site")], 403),
        ("another port", vec![("origin", "http://localhost:1"), ("sec-fetch-site", "same-site")], 403),
        ("an old browser", vec![("origin", "http://evil.example.com")], 403),
        ("a sandboxed frame", vec![("origin", "null")], 403),
        ("a form", vec![("content-type", "text/plain")], 415),
    ] {
        let headers = [host, token].into_iter().chain(extra).collect::<Vec<_>>();
        assert_eq!(api.server.send("POST", "/api/v1/apps/shop/unpin", &headers, b"").await.status, status, "{what}");
    }
}

#[tokio::test]
async fn the_page_may_run_its_own_script_and_nothing_else() {
    let mut api = api(guarded(None)).await;
    let page = api.server.get("/").await;
    assert_eq!(page.status, 200);
    let policy = &page.headers["content-security-policy"];
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    assert_eq!(page.headers["x-content-type-options"], "nosniff");
}

#[tokio::test]
async fn metrics_come_without_the_proxy_and_say_that_it_is_missing() {
    let world = Arc::new(World::default());
    let engine = engine(&world);
    let shutdown = CancellationToken::new();
    let router = metrics_router(MetricsState::new(engine.handle.clone(), Metrics::new()));
    let mut server = Served::new(router, shutdown).await;
    *world.traffic.lock().unwrap() =
        vec![TrafficStats { instance: "a".into(), unrouted: 5, ..TrafficStats::default() }];
    let text = server.get("/metrics").await;
    assert_eq!(text.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    assert!(text.body.contains("\ntagboat_proxy_up 1\n"), "{text:?}");
    assert!(text.body.contains("\ntagboat_proxy_unrouted_requests_total 5\n"), "{text:?}");
    assert!(text.body.contains("\n# HELP process_"), "{text:?}");
    world.proxy_hangs.store(true, Ordering::Relaxed);
    let text = timeout(Duration::from_secs(5), server.get("/metrics")).await.expect("a hanging proxy does not hang us");
    assert!(text.body.contains("\ntagboat_proxy_up 0\n"), "{text:?}");
    assert!(text.body.contains("\ntagboat_proxy_unrouted_requests_total 5\n"), "{text:?}");
}

#[tokio::test]
async fn ready_means_that_every_app_was_looked_at() {
    let world = Arc::new(World::default());
    let engine = engine(&world);
    engine.set(crate::model::AppStatus { state: AppState::Starting, ..status("shop") });
    let router = metrics_router(MetricsState::new(engine.handle.clone(), Metrics::new()));
    let mut server = Served::new(router, CancellationToken::new()).await;
    assert_eq!(server.get("/healthz").await.status, 200);
    let reply = server.get("/readyz").await;
    assert_eq!((reply.status, reply.body.as_str()), (503, "not looked at yet: shop\n"));
    engine.set(status("shop"));
    assert_eq!(server.get("/readyz").await.status, 200);
}

#[tokio::test]
async fn the_unix_socket_is_its_owners_alone_and_survives_a_dead_predecessor() {
    use std::os::unix::fs::PermissionsExt;
    let place = tempfile::tempdir().unwrap();
    let path = place.path().join("run/agent.sock");
    drop(bind_unix(&path).unwrap());
    let listener = bind_unix(&path).expect("nobody answers on the old one");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let taken = bind_unix(&path).unwrap_err();
    assert_eq!(taken.kind(), std::io::ErrorKind::AddrInUse);
    let file = place.path().join("precious");
    std::fs::write(&file, "x").unwrap();
    assert_eq!(bind_unix(&file).unwrap_err().kind(), std::io::ErrorKind::AlreadyExists);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "x");
    drop(listener);
}

#[tokio::test]
async fn a_question_to_an_engine_that_has_ended_is_answered_with_503() {
    let mut api = api(Access::Full).await;
    api.engine.stop().await;
    let stopped = api.server.get("/api/v1/apps/shop/plan").await;
    assert_eq!(stopped.status, 503, "{stopped:?}");
}
