//! Deliveries over real connections, and parsers that take anything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use proptest::prelude::*;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::receiver::Ignored;
use super::*;
use crate::engine::Hint;
use crate::http::hooks_router;
use crate::http::testing::{Served, digest};
use crate::metrics::Metrics;

const DEADLINE: Duration = Duration::from_secs(10);

fn receiver(kind: HookKind, auth: HookAuth) -> HookReceiver {
    let aliases = BTreeMap::from([("registry:5000".to_owned(), "registry.example.com".to_owned())]);
    HookReceiver { id: "ci".into(), kind, auth, default_host: None, aliases }
}

fn header() -> HookAuth {
    HookAuth::Header(SecretString::from("s3cret"))
}

fn plain(kind: HookKind) -> HookReceiver {
    receiver(kind, header())
}

fn shown(hints: &[Hint]) -> Vec<String> {
    let tag = |hint: &Hint| hint.tag.as_ref().map_or("*", |tag| tag.as_str()).to_owned();
    hints.iter().map(|hint| format!("{}:{}", hint.repository, tag(hint))).collect()
}

fn push(host: &str, repository: &str, tag: Option<&str>) -> Value {
    json!({
        "id": "320678d8", "timestamp": "2016-03-09T14:44:26.402973972-08:00", "action": "push",
        "target": {
            "mediaType": "application/vnd.oci.image.index.v1+json", "digest": digest('c'), "size": 708.0,
            "repository": repository, "tag": tag,
        },
        "request": {"host": host, "method": "PUT", "addr": null}, "actor": {}, "unheard": ["of"],
    })
}

#[test]
fn only_a_pushed_tag_is_a_hint() {
    let referrer = format!("sha256-{}", "a".repeat(64));
    let signature = format!("{referrer}.sig");
    let pull = {
        let mut event = push("r.example.com", "shop", Some("latest"));
        event["action"] = "pull".into();
        event
    };
    for (what, event, hints) in [
        ("a tag", push("r.example.com", "acme/shop", Some("v1")), vec!["r.example.com/acme/shop:v1"]),
        ("a port", push("localhost:5000", "shop", Some("42")), vec!["localhost:5000/shop:42"]),
        ("an alias", push("registry:5000", "shop", Some("v1")), vec!["registry.example.com/shop:v1"]),
        ("an alias in capitals", push("REGISTRY:5000", "shop", Some("v1")), vec!["registry.example.com/shop:v1"]),
        ("a layer or a child", push("r.example.com", "shop", None), vec![]),
        ("a pull", pull, vec![]),
        ("a digest as tag", push("r.example.com", "shop", Some(digest('a').as_str())), vec![]),
        ("referrers", push("r.example.com", "shop", Some(&referrer)), vec![]),
        ("a signature", push("r.example.com", "shop", Some(&signature)), vec![]),
        ("an empty tag", push("r.example.com", "shop", Some("")), vec![]),
        ("a bare name", push("registry", "shop", Some("v1")), vec![]),
        ("no repository", json!({"action": "push", "target": {"tag": "v1"}, "request": {"host": "a.b"}}), vec![]),
        ("nulls", json!({"action": null, "target": null, "request": null}), vec![]),
        ("not an object", json!(7), vec![]),
    ] {
        let body = json!({"events": [event]}).to_string();
        let found = plain(HookKind::Distribution).hints(body.as_bytes()).unwrap_or_default();
        assert_eq!(shown(&found), hints, "{what}");
    }
}

#[test]
fn one_envelope_may_hold_many_events_and_names_each_image_once() {
    let events = [
        push("r.example.com", "shop", None),
        push("r.example.com", "shop", Some("v1")),
        push("r.example.com", "shop", Some("v1")),
        push("r.example.com", "blog", Some("v1")),
    ];
    let body = json!({ "events": events }).to_string();
    let found = plain(HookKind::Distribution).hints(body.as_bytes()).unwrap();
    assert_eq!(shown(&found), ["r.example.com/shop:v1", "r.example.com/blog:v1"]);
    assert_eq!(found[0].digest, Some(digest('c')));
}

#[test]
fn a_default_host_is_where_a_registry_is_watched_whatever_its_pushers_call_it() {
    let receiver = HookReceiver { default_host: Some("registry.example.com".into()), ..plain(HookKind::Distribution) };
    let hints = |host: &str| {
        let body = json!({"events": [push(host, "shop", Some("v1"))]}).to_string();
        shown(&receiver.hints(body.as_bytes()).unwrap())
    };
    assert_eq!(hints("registry"), ["registry.example.com/shop:v1"]);
    assert_eq!(hints(""), ["registry.example.com/shop:v1"]);
    assert_eq!(hints("10.0.0.7:5000"), ["10.0.0.7:5000/shop:v1", "registry.example.com/shop:v1"]);
}

#[test]
fn a_job_may_name_its_image_in_several_ways() {
    let at_home = || HookReceiver { default_host: Some("registry.example.com".into()), ..plain(HookKind::Generic) };
    let pinned = format!("ghcr.io/acme/shop:v1@{}", digest('d'));
    for (what, receiver, body, wanted) in [
        ("an image", plain(HookKind::Generic), json!({"image": "ghcr.io/acme/shop:v1"}), "ghcr.io/acme/shop:v1"),
        ("all tags", plain(HookKind::Generic), json!({"image": "ghcr.io/acme/shop"}), "ghcr.io/acme/shop:*"),
        (
            "a port and no tag",
            plain(HookKind::Generic),
            json!({"image": "localhost:5000/shop"}),
            "localhost:5000/shop:*",
        ),
        ("a number", plain(HookKind::Generic), json!({"image": "app:42"}), "docker.io/library/app:42"),
        (
            "name and tag",
            plain(HookKind::Generic),
            json!({"name": "gcr.io/v2/hello", "tag": "1.1.1"}),
            "gcr.io/v2/hello:1.1.1",
        ),
        (
            "a tag as number",
            plain(HookKind::Generic),
            json!({"name": "gcr.io/v2/hello", "tag": 42}),
            "gcr.io/v2/hello:42",
        ),
        ("nulls", plain(HookKind::Generic), json!({"name": "gcr.io/a/b", "tag": null, "digest": null}), "gcr.io/a/b:*"),
        ("a host", plain(HookKind::Generic), json!({"name": "a/b", "host": "quay.io", "tag": "x"}), "quay.io/a/b:x"),
        (
            "an alias",
            plain(HookKind::Generic),
            json!({"image": "registry:5000/shop:v1"}),
            "registry.example.com/shop:v1",
        ),
        ("the default", at_home(), json!({"name": "acme/shop", "tag": "v1"}), "registry.example.com/acme/shop:v1"),
        ("Docker Hub", plain(HookKind::Generic), json!({"image": "acme/shop:v1"}), "docker.io/acme/shop:v1"),
        ("a digest", plain(HookKind::Generic), json!({"image": pinned}), "ghcr.io/acme/shop:v1"),
    ] {
        let hints = receiver.hints(body.to_string().as_bytes()).unwrap_or_else(|e| panic!("{what}: {e:?}"));
        assert_eq!(shown(&hints), [wanted], "{what}");
    }
    for body in
        ["", "[]", "{}", "{\"image\": 7.5e300}", "{\"image\": \"\"}", "{\"image\": \"a b\"}", "{\"image\":\"a:b c\"}"]
    {
        let ignored = plain(HookKind::Generic).hints(body.as_bytes()).unwrap_err();
        assert!(matches!(ignored, Ignored::Strange(_)), "{body}");
    }
}

fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let bodies = [
        json!({"events": [push("registry:5000", "a/b", Some("v1")), push("r.example.com:5000", "c", None)]}),
        json!({"image": "ghcr.io/acme/shop:v1@sha256:aa", "tag": "x", "host": "h.example.com", "digest": "sha256:1"}),
        json!({"name": "registry:5000/shop", "tag": 1}),
    ];
    let bodies = bodies.map(|body| body.to_string().into_bytes());
    let changes = prop::collection::vec((any::<prop::sample::Index>(), any::<u8>(), 0..3_u8), 0..12);
    (prop::sample::select(bodies.to_vec()), changes).prop_map(|(mut body, changes)| {
        for (place, byte, change) in changes {
            let place = place.index(body.len().max(1));
            match change {
                0 if place < body.len() => body[place] = byte,
                1 if place < body.len() => drop(body.remove(place)),
                _ => body.insert(place.min(body.len()), byte),
            }
        }
        body
    })
}

proptest! {
    #[test]
    fn no_body_can_make_a_parser_panic(body in prop_oneof![mutated(), prop::collection::vec(any::<u8>(), 0..400)]) {
        for kind in [HookKind::Distribution, HookKind::Generic] {
            for hint in plain(kind).hints(&body).unwrap_or_default() {
                prop_assert!(hint.repository.to_string().parse::<crate::model::Repository>().is_ok());
            }
        }
    }
}

struct Hooks {
    server: Served,
    metrics: Metrics,
    hints: Arc<Mutex<Vec<String>>>,
}

impl Hooks {
    /// `worked`: whether anyone takes deliveries from the queue.
    async fn new(receiver: HookReceiver, worked: bool) -> (Self, Option<HookWorker>) {
        let metrics = Metrics::new();
        let hints = Arc::new(Mutex::new(Vec::new()));
        let told = Arc::clone(&hints);
        let sink: HintSink = Box::new(move |hint| {
            told.lock().unwrap().extend(shown(std::slice::from_ref(hint)));
            usize::from(hint.repository.path() != "acme/unknown")
        });
        let (state, worker) = build(vec![receiver], sink, metrics.clone()).unwrap();
        let shutdown = CancellationToken::new();
        let mut server = Served::new(hooks_router(state), shutdown.clone()).await;
        let idle = if worked {
            server.tasks.spawn(worker.run(shutdown));
            None
        } else {
            Some(worker)
        };
        (Self { server, metrics, hints }, idle)
    }

    fn count(&self, sender: &str, result: &str) -> u64 {
        self.metrics.webhooks_total.with_label_values(&["ci", sender, result]).get()
    }

    /// Waits until this many deliveries with this result were counted.
    async fn counted(&self, sender: &str, result: &str, count: u64) {
        let reached = async {
            while self.count(sender, result) != count {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(DEADLINE, reached).await.unwrap_or_else(|_| panic!("{result}: {}", self.count(sender, result)));
    }
}

#[tokio::test]
async fn only_authentic_deliveries_are_taken_and_the_others_learn_nothing() {
    let (mut hooks, _) = Hooks::new(plain(HookKind::Generic), true).await;
    let body = br#"{"image": "ghcr.io/acme/shop:v1"}"#;
    let mut refusals = std::collections::BTreeSet::new();
    for (what, path, header, status) in [
        ("unknown", "/hooks/other", Some("Bearer s3cret"), 404),
        ("no secret", "/hooks/ci", None, 401),
        ("a wrong one", "/hooks/ci", Some("Bearer s3cre"), 401),
        ("a bearer token", "/hooks/ci", Some("Bearer s3cret"), 202),
        ("the exact value", "/hooks/ci", Some("s3cret"), 202),
    ] {
        let headers = header.map(|value| ("authorization", value));
        let reply = hooks.server.send("POST", path, headers.as_slice(), body).await;
        assert_eq!(reply.status, status, "{what}");
        if status == 401 {
            refusals.insert(reply.body);
        }
    }
    assert_eq!(refusals.len(), 1, "every refusal reads the same: {refusals:?}");
    hooks.counted("generic", "accepted", 2).await;
    assert_eq!(hooks.count("generic", "unauthorized"), 2);
    assert_eq!(*hooks.hints.lock().unwrap(), ["ghcr.io/acme/shop:v1"; 2]);
    assert_eq!(hooks.server.get("/hooks/ci").await.status, 405);
}

#[tokio::test]
async fn a_signature_is_checked_over_the_raw_body() {
    let key = SecretString::from("key");
    let (mut hooks, _) = Hooks::new(receiver(HookKind::Generic, HookAuth::Hmac(key)), true).await;
    let body = br#"{ "image" : "ghcr.io/acme/shop:v1" }"#;
    let sign = |key: &str, body: &[u8]| {
        let mac = Hmac::<sha2::Sha256>::new_from_slice(key.as_bytes()).unwrap().chain_update(body);
        format!("sha256={}", hex::encode(mac.finalize().into_bytes()))
    };
    let right = sign("key", body);
    let bare = right.trim_start_matches("sha256=").to_owned();
    for (what, header, value, status) in [
        ("its own name", "x-signature", right.clone(), 202),
        ("GitHub's name", "x-hub-signature-256", right.clone(), 202),
        ("upper case", "x-signature", right.to_uppercase().replace("SHA256", "sha256"), 202),
        ("another key", "x-signature", sign("no", body), 401),
        ("another body", "x-signature", sign("key", b"{}"), 401),
        ("an empty one", "x-hub-signature-256", "sha256=".to_owned(), 401),
        ("cut short", "x-signature", right[..20].to_owned(), 401),
        ("no algorithm", "x-signature", bare, 401),
        ("the key itself", "authorization", "Bearer key".to_owned(), 401),
    ] {
        let reply = hooks.server.send("POST", "/hooks/ci", &[(header, &value)], body).await;
        assert_eq!(reply.status, status, "{what}");
    }
    let sink: HintSink = Box::new(|_| 0);
    let empty = receiver(HookKind::Generic, HookAuth::Hmac(SecretString::from("")));
    assert_eq!(build(vec![empty], sink, Metrics::new()).err().unwrap().0, "ci");
}

#[tokio::test]
async fn whatever_is_inside_an_authentic_delivery_is_answered_the_same() {
    let (mut hooks, _) = Hooks::new(plain(HookKind::Distribution), true).await;
    let auth = ("authorization", "Bearer s3cret");
    let known = json!({"events": [push("ghcr.io", "acme/shop", Some("v1"))]}).to_string();
    let unknown = json!({"events": [push("ghcr.io", "acme/unknown", Some("v1"))]}).to_string();
    let bodies = [&b"\xff\xfe"[..], b"", b"{}", b"[[[[", known.as_bytes(), unknown.as_bytes()];
    for body in bodies {
        let kind = ("content-type", "application/vnd.docker.distribution.events.v2+json");
        let reply = hooks.server.send("POST", "/hooks/ci", &[auth, kind], body).await;
        assert_eq!((reply.status, reply.body.as_str()), (202, ""), "{body:?}");
    }
    hooks.counted("distribution", "ignored", 5).await;
    hooks.counted("distribution", "accepted", 1).await;
}

#[tokio::test]
async fn too_much_is_refused_before_it_is_read() {
    let (mut hooks, _) = Hooks::new(plain(HookKind::Generic), true).await;
    let large = vec![b' '; receive::MAX_BODY + 1];
    let reply = hooks.server.send("POST", "/hooks/ci", &[], &large).await;
    assert_eq!(reply.status, 413, "the announced length is enough, whoever sends it");
    let chunked = http::Request::post("/hooks/ci").header("host", "h").header("authorization", "s3cret");
    let chunked = chunked.header("transfer-encoding", "chunked").body(bytes::Bytes::from(large)).unwrap();
    assert_eq!(hooks.server.open(chunked).await.status(), 413, "nor does a hidden length help");
    assert_eq!(hooks.count("generic", "too_large"), 2);
    let fits = vec![b' '; receive::MAX_BODY];
    assert_eq!(hooks.server.send("POST", "/hooks/ci", &[("authorization", "s3cret")], &fits).await.status, 202);
}

#[tokio::test]
async fn a_full_queue_asks_the_sender_to_come_again() {
    let (mut hooks, worker) = Hooks::new(plain(HookKind::Generic), false).await;
    let auth = ("authorization", "Bearer s3cret");
    let body = br#"{"image": "ghcr.io/acme/shop:v1"}"#;
    for _ in 0..256 {
        assert_eq!(hooks.server.send("POST", "/hooks/ci", &[auth], body).await.status, 202);
    }
    let reply = hooks.server.send("POST", "/hooks/ci", &[auth], body).await;
    assert_eq!((reply.status, reply.headers["retry-after"].as_str()), (503, "5"));
    assert_eq!(hooks.count("generic", "queue_full"), 1);
    let shutdown = hooks.server.shutdown.clone();
    hooks.server.tasks.spawn(worker.unwrap().run(shutdown));
    hooks.counted("generic", "accepted", 256).await;
    assert_eq!(hooks.server.send("POST", "/hooks/ci", &[auth], body).await.status, 202);
}

#[tokio::test]
async fn large_deliveries_fill_the_queue_by_their_bytes() {
    let (mut hooks, _worker) = Hooks::new(plain(HookKind::Generic), false).await;
    let large = vec![b' '; receive::MAX_BODY];
    let mut answers = Vec::new();
    for _ in 0..9 {
        answers.push(hooks.server.send("POST", "/hooks/ci", &[("authorization", "s3cret")], &large).await.status);
    }
    assert_eq!(answers, [202, 202, 202, 202, 202, 202, 202, 202, 503]);
}
