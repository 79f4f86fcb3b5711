//! Deliveries over real connections: what is let in, and what is answered.

mod sent;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::super::receive::MAX_BODY;
use super::signed::{Net, claims, header, notification, sns, token};
use super::*;
use crate::engine::detached::Detached;
use crate::http::hooks_router;
use crate::http::testing::{Disk, Reply, Served, World, app, engine_of, status, store};
use crate::metrics::Metrics;
use crate::model::{App, AppStatus, Gate, Hold};
use sent::{Sent, all, wrong};

pub(super) const DEADLINE: Duration = Duration::from_secs(10);

/// A door with one receiver, and one app that follows `image`.
pub(super) struct Door {
    pub(super) server: Served,
    pub(super) engine: Detached,
    pub(super) world: Arc<World>,
    pub(super) net: Arc<Net>,
    pub(super) board: HookBoard,
    pub(super) shutdown: CancellationToken,
    metrics: Metrics,
    idle: Option<HookWorker>,
}

impl Door {
    pub(super) async fn new(receiver: HookReceiver, image: &str) -> Self {
        Self::with(receiver, image, &Arc::new(World::default()), true).await
    }

    /// `worked`: whether anyone acts on deliveries.
    pub(super) async fn with(receiver: HookReceiver, image: &str, world: &Arc<World>, worked: bool) -> Self {
        let shop = App { image: image.parse().unwrap(), ..app("shop") };
        let engine = engine_of(world, vec![(shop, status("shop"))]);
        let (metrics, net) = (Metrics::new(), Arc::new(Net::default()));
        let (handle, fetch) = (engine.handle.hinter(), Arc::clone(&net));
        let (state, worker) = build(vec![receiver], handle, store(world), fetch, metrics.clone()).unwrap();
        let (board, shutdown) = (state.board(), CancellationToken::new());
        let mut server = Served::new(hooks_router(state), shutdown.clone()).await;
        let mut idle = Some(worker);
        if worked {
            server.tasks.spawn(idle.take().unwrap().run(shutdown.clone()));
        }
        Self { server, engine, world: Arc::clone(world), net, board, shutdown, metrics, idle }
    }

    pub(super) async fn post(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Reply {
        self.server.send("POST", path, headers, body).await
    }

    fn count(&self, result: &str) -> u64 {
        let view = &self.board.views()[0];
        self.metrics.webhooks_total.with_label_values(&["ci", &view.sender, result]).get()
    }

    pub(super) fn last(&self) -> (String, String) {
        let last = self.board.views().remove(0).last.unwrap();
        (last.result, last.detail)
    }

    /// The app has been made to look.
    pub(super) async fn activated(&self) {
        timeout(DEADLINE, self.engine.activated("shop")).await.expect("the app looks");
    }
}

#[tokio::test]
async fn every_sender_is_let_in_by_its_proof_and_by_no_other() {
    for (sender, receiver, subject) in all() {
        let proof = receiver.auth.proof();
        let what = format!("{} by {}", sender.label(), proof.label());
        let mut door = Door::new(receiver.clone(), &subject.repository.to_string()).await;
        let sent = Sent::by(&receiver, &subject);
        let mut refusals = std::collections::BTreeSet::new();
        for (wrong, sent) in wrong(&sent, proof) {
            let reply = sent.to(&mut door).await;
            assert_eq!(reply.status, 401, "{what}: {wrong}");
            refusals.insert(reply.body);
        }
        assert_eq!(refusals.len(), 1, "{what}: every refusal reads the same: {refusals:?}");
        assert!(door.count("unauthorized") >= 2 && door.count("accepted") == 0, "{what}");
        let reply = sent.to(&mut door).await;
        assert_eq!((reply.status, reply.body.as_str()), (202, ""), "{what}: {:?}", door.last());
        door.activated().await;
        assert_eq!(door.last().0, "accepted", "{what}: {}", door.last().1);

        let again = sent.to(&mut door).await;
        assert_eq!(again.status, 202, "{what}: again");
        let has_id =
            matches!(receiver.read(&headers_of(&sent), sent.body.as_bytes()), Ok(Reading::Pushed { id: Some(_), .. }));
        assert_eq!(door.last().0, if has_id { "duplicate" } else { "accepted" }, "{what}: again");
    }
}

fn headers_of(sent: &Sent) -> HeaderMap {
    let pair =
        |(name, value): &(String, String)| (name.parse::<HeaderName>().unwrap(), HeaderValue::from_str(value).unwrap());
    sent.headers.iter().map(pair).collect()
}

#[tokio::test]
async fn ten_megabytes_are_refused_from_every_sender_before_they_are_read() {
    let large = vec![b' '; 10_000_000];
    for (sender, receiver, subject) in all() {
        let mut door = Door::new(receiver.clone(), &subject.repository.to_string()).await;
        let path = receiver.trial(&subject).path;
        // The server closes the connection on a body that it does not want; the announcement is enough.
        let request = http::Request::post(&path).header("host", "h").header("content-length", large.len());
        let reply = door.server.open(request.body(bytes::Bytes::new()).unwrap());
        let status = match timeout(DEADLINE, reply).await {
            Ok(reply) => reply.status(),
            Err(_) => panic!("{}: no answer", sender.label()),
        };
        assert_eq!(status, 413, "{}", sender.label());
    }
    let mut door = Door::new(receiver(Sender::Generic), "ghcr.io/acme/shop").await;
    let chunked = http::Request::post("/hooks/ci").header("host", "h").header("authorization", SECRET);
    let body = bytes::Bytes::from(vec![b' '; MAX_BODY + 1]);
    let chunked = chunked.header("transfer-encoding", "chunked").body(body).unwrap();
    assert_eq!(door.server.open(chunked).await.status(), 413, "nor does a hidden length help");
    assert_eq!(door.count("too_large"), 1);
    let fits = vec![b' '; MAX_BODY];
    assert_eq!(door.post("/hooks/ci", &[("authorization", SECRET)], &fits).await.status, 202);
}

#[tokio::test]
async fn a_signature_wakes_an_app_that_waits_for_it_and_leads_to_nothing_else() {
    let mut door = Door::new(receiver(Sender::Distribution), "registry.example.com/acme/shop").await;
    let auth = ("authorization", "Bearer s3cret-of-the-tests");
    let body =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/payloads/distribution_push_signature.json"))
            .unwrap();
    assert_eq!(door.post("/hooks/ci", &[auth], &body).await.status, 202);
    assert_eq!(
        door.last(),
        ("ignored".to_owned(), "what was pushed has no tag, or holds a signature, and no app waits for one".to_owned())
    );
    let hold =
        Hold::Gated { digest: digest('c'), gate: Gate::SignaturePending, message: "unsigned".into(), until: None };
    door.engine.set(AppStatus { hold: Some(hold), ..status("shop") });
    let body = String::from_utf8(body).unwrap().replace("\"id\": \"", "\"id\": \"2-");
    assert_eq!(door.post("/hooks/ci", &[auth], body.as_bytes()).await.status, 202);
    timeout(DEADLINE, door.engine.signed("shop")).await.expect("the app looks for its signature");
    assert_eq!(door.last().0, "accepted", "{:?}", door.last());
    let looks = timeout(Duration::from_millis(200), door.engine.activated("shop")).await;
    assert!(looks.is_err(), "and at no tag");
}

#[tokio::test]
async fn an_address_that_is_no_receiver_s_is_told_nothing() {
    let mut door = Door::new(receiver(Sender::Generic), "ghcr.io/acme/shop").await;
    let auth = ("authorization", "Bearer s3cret-of-the-tests");
    for path in ["/hooks/other", "/hooks/ci/more", "/hooks/other/s3cret-of-the-tests", "/hooks/ci/a/b", "/hooks"] {
        assert_eq!(door.post(path, &[auth], b"{}").await.status, 404, "{path}");
    }
    assert_eq!(door.server.get("/hooks/ci").await.status, 405);
    let basic = "Basic YW55b25lOnMzY3JldC1vZi10aGUtdGVzdHM=";
    for (given, status) in [(SECRET, 202), (basic, 202), ("basic YW55b25lOnMzY3JldA==", 401), ("Basic ***", 401)] {
        assert_eq!(door.post("/hooks/ci", &[("authorization", given)], b"{}").await.status, status, "{given}");
    }
}

#[tokio::test]
async fn a_token_may_be_in_a_header_of_another_name() {
    let header = Some(HeaderName::from_static("x-api-key"));
    let auth = HookAuth::Token { secret: SECRET.into(), header };
    let mut door = Door::new(HookReceiver { auth, ..receiver(Sender::Ecr) }, "ghcr.io/acme/shop").await;
    assert_eq!(door.post("/hooks/ci", &[("x-api-key", SECRET)], b"{}").await.status, 202);
    assert_eq!(door.post("/hooks/ci", &[("authorization", SECRET)], b"{}").await.status, 401);
}

#[tokio::test]
async fn whatever_is_inside_an_authentic_delivery_is_answered_the_same() {
    let mut door = Door::new(receiver(Sender::Generic), "ghcr.io/acme/shop").await;
    let auth = ("authorization", "Bearer s3cret-of-the-tests");
    let deep = "[".repeat(100_000);
    for (body, result, detail) in [
        (&b"\xff\xfe"[..], "ignored", "not JSON"),
        (b"", "ignored", "not JSON"),
        (b"{}", "ignored", "no `image`"),
        (deep.as_bytes(), "ignored", "not JSON"),
        (
            br#"{"image": "ghcr.io/acme/unknown:v1"}"#,
            "ignored",
            "no app follows what was pushed: ghcr.io/acme/unknown:v1",
        ),
        (br#"{"image": "ghcr.io/acme/shop:other"}"#, "ignored", "no app follows"),
        (br#"{"image": "ghcr.io/acme/shop:LATEST"}"#, "accepted", "ghcr.io/acme/shop:LATEST"),
        (br#"{"image": "ghcr.io/Acme/Shop"}"#, "accepted", "ghcr.io/acme/shop"),
    ] {
        let reply = door.post("/hooks/ci", &[auth], body).await;
        assert_eq!((reply.status, reply.body.as_str()), (202, ""), "{detail}");
        let last = door.last();
        assert!(last.0 == result && last.1.contains(detail), "{last:?} is not {result}, {detail}");
    }
    assert_eq!((door.count("ignored"), door.count("accepted")), (6, 2));
}

#[tokio::test]
async fn a_full_queue_asks_the_sender_to_come_again_and_then_knows_nothing_of_the_first_time() {
    let world = Arc::new(World::default());
    let mut door = Door::with(receiver(Sender::Acr), "registry.example.com/acme/shop", &world, false).await;
    let auth = ("authorization", SECRET);
    let body = |id: usize| {
        let target = json!({"repository": "acme/shop", "tag": "latest"});
        json!({"id": id.to_string(), "action": "push", "target": target, "request": {"host": "registry.example.com"}})
    };
    for id in 0..super::super::queue::QUEUE {
        assert_eq!(door.post("/hooks/ci", &[auth], body(id).to_string().as_bytes()).await.status, 202);
    }
    let reply = door.post("/hooks/ci", &[auth], body(999).to_string().as_bytes()).await;
    assert_eq!((reply.status, reply.headers["retry-after"].as_str()), (503, "5"));
    assert_eq!(door.count("queue_full"), 1);
    let (worker, shutdown) = (door.idle.take().unwrap(), door.shutdown.clone());
    door.server.tasks.spawn(worker.run(shutdown));
    door.activated().await;
    let again =
        async { while door.post("/hooks/ci", &[auth], body(999).to_string().as_bytes()).await.status != 202 {} };
    timeout(DEADLINE, again).await.unwrap();
    assert_eq!((door.last().0.as_str(), door.count("duplicate")), ("accepted", 0));
}

#[tokio::test]
async fn event_grid_s_validation_is_answered_with_its_code() {
    let path = format!("/hooks/ci/{SECRET}");
    let body =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/payloads/azure_eventgrid_validation.json"));
    let body = body.unwrap();
    let mut door = Door::new(receiver(Sender::EventGrid), "ghcr.io/acme/shop").await;
    assert_eq!(door.post("/hooks/ci", &[], &body).await.status, 401);
    let reply = door.post(&path, &[("aeg-event-type", "SubscriptionValidation")], &body).await;
    assert_eq!(
        (reply.status, reply.json()),
        (200, json!({"validationResponse": "512d38b6-c7b8-40c8-89fe-f46f9e9622b6"}))
    );
    assert_eq!(door.last().0, "handshake");
    assert!(door.net.asked().is_empty(), "the address in it is not called");
    let asks = [("webhook-request-origin", "eventgrid.azure.net"), ("webhook-request-rate", "120")];
    let reply = door.server.send("OPTIONS", &path, &asks, b"").await;
    assert_eq!((reply.status, reply.headers["webhook-allowed-origin"].as_str()), (200, "eventgrid.azure.net"));
    assert_eq!(door.server.send("OPTIONS", "/hooks/ci", &asks, b"").await.status, 401);
}

#[tokio::test]
async fn a_subscription_of_our_topic_is_confirmed_and_no_other() {
    let message = |topic: &str, url: &str| {
        sns(json!({
            "Type": "SubscriptionConfirmation", "MessageId": "s-1", "Token": "t0ken", "TopicArn": topic,
            "Message": "You have chosen to subscribe", "SubscribeURL": url, "SignatureVersion": "2",
            "Timestamp": "2024-05-02T00:54:06.655Z", "SigningCertURL": super::signed::CERTIFICATE_URL,
        }))
        .to_string()
    };
    let own = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&TopicArn=x&Token=t0ken";
    let mut door = Door::new(receiver(Sender::Sns), "ghcr.io/acme/shop").await;
    let foreign = message("arn:aws:sns:eu-west-1:666666666666:x", own);
    assert_eq!(door.post("/hooks/ci", &[], foreign.as_bytes()).await.status, 401);
    let forged = message(TOPIC, own).replace("t0ken", "other");
    assert_eq!(door.post("/hooks/ci", &[], forged.as_bytes()).await.status, 401);
    assert!(!door.net.asked().iter().any(|url| url.contains("Confirm")), "{:?}", door.net.asked());
    let misleading = message(TOPIC, "https://evil.example/?Action=ConfirmSubscription");
    assert_eq!(door.post("/hooks/ci", &[], misleading.as_bytes()).await.status, 202);
    assert_eq!(door.last().0, "handshake");
    let asked = door.net.asked();
    assert!(asked.iter().all(|url| url.starts_with("https://sns.eu-west-1.amazonaws.com/")), "{asked:?}");
    assert!(asked.last().unwrap().ends_with("&Token=t0ken"), "{asked:?}");
    door.net.down.store(1, Ordering::Relaxed);
    let reply = door.post("/hooks/ci", &[], message(TOPIC, own).as_bytes()).await;
    assert_eq!((reply.status, door.last().0.as_str()), (503, "unverifiable"), "SNS asks again");
}

#[tokio::test]
async fn keys_that_can_t_be_fetched_are_not_the_sender_s_fault() {
    let receiver = HookReceiver { auth: auth(Proof::IdToken), ..receiver(Sender::Generic) };
    let mut door = Door::new(receiver.clone(), "registry.example.com/acme/shop").await;
    door.net.down.store(1, Ordering::Relaxed);
    let reply = Sent::by(&receiver, &subject(Sender::Generic)).to(&mut door).await;
    assert_eq!((reply.status, reply.headers["retry-after"].as_str()), (503, "5"));
    assert!(!reply.body.contains("issuer"), "{}", reply.body);
    assert_eq!(door.count("unverifiable"), 1);
}

#[tokio::test]
async fn a_store_that_fails_or_hangs_costs_no_delivery() {
    for disk in [Disk::Fails, Disk::Hangs] {
        let mut door = Door::new(receiver(Sender::Generic), "registry.example.com/acme/shop").await;
        *door.world.disk.lock().unwrap() = disk;
        let sent = Sent::by(&receiver(Sender::Generic), &subject(Sender::Generic));
        let reply = timeout(Duration::from_secs(2), sent.to(&mut door)).await;
        assert_eq!(reply.expect("it is answered in time").status, 202, "{disk:?}");
        door.activated().await;
    }
}
