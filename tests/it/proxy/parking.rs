//! Requests that wait while their app is held.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::Response;
use http_body_util::BodyExt;
use tagboat::model::{AppHold, HoldLimits, InFlight, Parking};
use tagboat::ports::{Traffic, TrafficError};
use tagboat::proxy::End;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;

use super::stage::{App, Proxy, Stage, eventually, read_all, read_head, read_until, shop};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n";

fn held(expect: u64) -> AppHold {
    let limits = HoldLimits { wait_ms: 20_000, requests: 1000, bytes: 1 << 20 };
    AppHold { app: shop(), expect, lease_ms: 20_000, limits }
}

impl Stage {
    async fn parked(&self) -> Parking {
        self.stats().await.apps[&shop()].parked.clone()
    }

    async fn are_parked(&self, count: u64) {
        eventually(&format!("{count} to wait"), || async { self.parked().await.now == count }).await;
    }

    /// A request on a connection of its own.
    async fn asks(&self) -> TcpStream {
        let mut stream = self.connect().await;
        stream.write_all(GET).await.unwrap();
        stream
    }
}

#[tokio::test]
async fn a_request_waits_and_follows_the_switch_and_its_connection_stays_open() {
    let (old, new) = (App::named("old").await, App::named("new").await);
    let stage = Stage::serving(&old).await;
    let mut kept = stage.asks().await;
    read_until(&mut kept, "old").await;
    let before = old.accepted();
    stage.client.hold(&held(1)).await.unwrap();
    let mut fresh = stage.asks().await;
    kept.write_all(GET).await.unwrap();
    stage.are_parked(2).await;
    assert_eq!(stage.in_flight(&old).await, InFlight::default());
    drop(old);
    stage.switch(&[&new]).await.unwrap();
    for stream in [&mut kept, &mut fresh] {
        read_until(stream, "new").await;
        stream.write_all(GET).await.unwrap();
        read_until(stream, "new").await;
    }
    let parked = stage.parked().await;
    assert_eq!((parked.now, parked.ended["released"]), (0, 2));
    assert_eq!(parked.waited.buckets.iter().sum::<u64>(), 2);
    assert!(before > 0);
}

#[tokio::test]
async fn a_hold_that_is_released_sends_what_waits_to_the_old_target() {
    let old = App::named("old").await;
    let stage = Stage::serving(&old).await;
    stage.client.hold(&held(1)).await.unwrap();
    let mut waiting = stage.asks().await;
    stage.are_parked(1).await;
    stage.client.release(&shop(), 1).await.unwrap();
    read_until(&mut waiting, "old").await;
    assert!(stage.get("/").await.ends_with("old"));
    // Releasing again what is not held changes nothing.
    stage.client.release(&shop(), 1).await.unwrap();
}

#[tokio::test]
async fn what_was_under_way_is_all_that_the_old_target_still_gets() {
    let (release, released) = tokio::sync::watch::channel(false);
    let old = App::http("old", move |_| {
        let mut released = released.clone();
        async move {
            released.wait_for(|released| *released).await.unwrap();
            Response::new(String::from("old"))
        }
    })
    .await;
    let stage = Stage::serving(&old).await;
    let mut slow = stage.asks().await;
    eventually("it to be under way", || async { stage.in_flight(&old).await.requests == 1 }).await;
    stage.client.hold(&held(1)).await.unwrap();
    let mut waiting = stage.asks().await;
    stage.are_parked(1).await;
    assert_eq!(stage.in_flight(&old).await.requests, 1);
    release.send(true).unwrap();
    read_until(&mut slow, "old").await;
    stage.idle(&old).await;
    let new = App::named("new").await;
    stage.switch(&[&new]).await.unwrap();
    read_until(&mut waiting, "new").await;
    assert_eq!(stage.counted(&old).await.requests, 1);
}

#[tokio::test]
async fn too_many_are_turned_away_at_once_and_told_when_to_come_back() {
    let (old, new) = (App::named("old").await, App::named("new").await);
    let stage = Stage::serving(&old).await;
    let limits = HoldLimits { wait_ms: 20_000, requests: 2, bytes: 1 << 20 };
    stage.client.hold(&AppHold { limits, ..held(1) }).await.unwrap();
    let (mut first, mut second) = (stage.asks().await, stage.asks().await);
    stage.are_parked(2).await;
    let mut third = stage.asks().await;
    let head = read_head(&mut third).await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 503") && head.contains("retry-after: 1\r\n"), "{head}");
    assert!(!head.contains("connection: close"), "it may ask again on its connection: {head}");
    assert_eq!(stage.parked().await.ended["refused"], 1);
    // One whose body is still to come can't.
    let mut upload = stage.connect().await;
    upload.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nbegin").await.unwrap();
    let answer = read_all(&mut upload).await.to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 503") && answer.contains("connection: close"), "{answer}");
    stage.switch(&[&new]).await.unwrap();
    for stream in [&mut first, &mut second] {
        read_until(stream, "new").await;
    }
    let unavailable = stage.stats().await.apps[&shop()].requests["unavailable"];
    assert_eq!(unavailable, 2);
}

#[tokio::test]
async fn heads_that_are_too_large_together_are_turned_away() {
    let old = App::named("old").await;
    let stage = Stage::serving(&old).await;
    let limits = HoldLimits { wait_ms: 20_000, requests: 1000, bytes: 50_000 };
    stage.client.hold(&AppHold { limits, ..held(1) }).await.unwrap();
    let request = format!("GET / HTTP/1.1\r\nHost: a\r\nX-Large: {}\r\n\r\n", "x".repeat(30_000));
    let mut first = stage.connect().await;
    first.write_all(request.as_bytes()).await.unwrap();
    stage.are_parked(1).await;
    let mut second = stage.connect().await;
    second.write_all(request.as_bytes()).await.unwrap();
    assert!(read_head(&mut second).await.starts_with("HTTP/1.1 503"));
    drop(first);
    stage.are_parked(0).await;
    assert_eq!(stage.parked().await.ended["left"], 1, "the first client went away");
}

#[tokio::test]
async fn nobody_waits_longer_than_the_limit_and_the_connection_can_be_used_again() {
    let old = App::named("old").await;
    let stage = Stage::serving(&old).await;
    let limits = HoldLimits { wait_ms: 300, requests: 1000, bytes: 1 << 20 };
    stage.client.hold(&AppHold { limits, ..held(1) }).await.unwrap();
    let begun = Instant::now();
    let mut waiting = stage.asks().await;
    let head = read_head(&mut waiting).await;
    assert!(head.starts_with("HTTP/1.1 503") && begun.elapsed() >= Duration::from_millis(300), "{head}");
    read_until(&mut waiting, "in a moment.\n").await;
    stage.client.release(&shop(), 1).await.unwrap();
    waiting.write_all(GET).await.unwrap();
    read_until(&mut waiting, "old").await;
    assert_eq!(stage.parked().await.ended["overdue"], 1);
}

#[tokio::test]
async fn a_hold_that_nobody_prolongs_ends_and_its_requests_go_where_the_table_says() {
    let old = App::named("old").await;
    let stage = Stage::serving(&old).await;
    stage.client.hold(&AppHold { lease_ms: 200, ..held(1) }).await.unwrap();
    let mut waiting = stage.asks().await;
    read_until(&mut waiting, "old").await;
    // And when nobody is there any more, they are asked to come back.
    stage.client.hold(&AppHold { lease_ms: 200, ..held(1) }).await.unwrap();
    let mut waiting = stage.asks().await;
    stage.are_parked(1).await;
    drop(old);
    let head = read_head(&mut waiting).await.to_ascii_lowercase();
    assert!(head.starts_with("http/1.1 503") && head.contains("retry-after"), "{head}");
}

#[tokio::test]
async fn a_hold_that_is_prolonged_goes_on() {
    let old = App::named("old").await;
    let stage = Stage::serving(&old).await;
    stage.client.hold(&AppHold { lease_ms: 1000, ..held(1) }).await.unwrap();
    let _waiting = stage.asks().await;
    stage.are_parked(1).await;
    // Longer than the lease, and than two rounds of the proxy's housekeeping.
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        stage.client.hold(&AppHold { lease_ms: 1000, ..held(1) }).await.unwrap();
        assert_eq!(stage.parked().await.now, 1);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn a_hold_expects_a_revision_and_a_change_of_another_app_leaves_it_alone() {
    let (old, other) = (App::named("old").await, App::named("other").await);
    let stage = Stage::serving(&old).await;
    let refused = stage.client.hold(&held(0)).await;
    assert!(matches!(refused, Err(TrafficError::Conflict { expected: 0, found: 1, .. })), "{refused:?}");
    assert!(stage.get("/").await.ends_with("old"));
    stage.client.hold(&held(1)).await.unwrap();
    let _waiting = stage.asks().await;
    stage.are_parked(1).await;
    stage.client.switch(&[super::stage::moved("other", 0, &[&other])]).await.unwrap();
    let _another = stage.asks().await;
    stage.are_parked(2).await;
    assert_eq!(stage.in_flight(&old).await, InFlight::default());
    let late = stage.client.release(&shop(), 0).await;
    assert!(matches!(late, Err(TrafficError::Conflict { .. })), "{late:?}");
    assert_eq!(stage.parked().await.now, 2);
}

#[tokio::test]
async fn a_container_that_serves_another_app_too_is_not_held() {
    let both = App::named("both").await;
    let stage = Stage::serving(&both).await;
    stage.client.switch(&[super::stage::moved("other", 0, &[&both])]).await.unwrap();
    let refused = stage.client.hold(&held(1)).await;
    assert!(matches!(refused, Err(TrafficError::Refused { .. })), "{refused:?}");
    assert!(stage.get("/").await.ends_with("both"));
}

#[tokio::test]
async fn they_reach_the_new_target_in_the_order_in_which_they_came() {
    let old = App::named("old").await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = seen.clone();
    let new = App::http("new", move |request| {
        keep.lock().unwrap().push(request.uri().path().to_owned());
        std::future::ready(Response::new(String::from("new")))
    })
    .await;
    let stage = Stage::serving(&old).await;
    stage.client.hold(&held(1)).await.unwrap();
    let mut waiting = Vec::new();
    for number in 0..20 {
        let mut stream = stage.connect().await;
        let request = format!("GET /{number} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        waiting.push(stream);
        stage.are_parked(number + 1).await;
    }
    stage.switch(&[&new]).await.unwrap();
    for mut stream in waiting {
        assert!(read_all(&mut stream).await.ends_with("new"));
    }
    let wanted: Vec<String> = (0..20).map(|number| format!("/{number}")).collect();
    assert_eq!(*seen.lock().unwrap(), wanted);
}

#[tokio::test]
async fn a_web_socket_that_is_asked_for_meanwhile_is_opened_to_the_new_target() {
    let old = App::named("old").await;
    let new = App::raw("new", |stream| async move {
        let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() && socket.send(message).await.is_err() {
                return;
            }
        }
    })
    .await;
    let stage = Stage::serving(&old).await;
    stage.client.hold(&held(1)).await.unwrap();
    let opening = tokio::spawn(tokio_tungstenite::connect_async(format!("ws://{}/live", stage.proxy.addr)));
    stage.are_parked(1).await;
    stage.switch(&[&new]).await.unwrap();
    let (mut socket, _) = opening.await.unwrap().unwrap();
    socket.send(Message::text("hello")).await.unwrap();
    assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hello"));
}

#[tokio::test]
async fn an_upload_stays_with_its_client_while_it_waits_and_arrives_whole() {
    let old = App::named("old").await;
    let new = App::http("new", |request| async move {
        let body = request.into_body().collect().await.unwrap().to_bytes();
        Response::new(format!("{} bytes", body.len()))
    })
    .await;
    let stage = Stage::serving(&old).await;
    stage.client.hold(&held(1)).await.unwrap();
    let mut stream = stage.connect().await;
    const SIZE: usize = 64 << 20;
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {SIZE}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stage.are_parked(1).await;
    let (mut reader, mut writer) = stream.into_split();
    let sent = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let count = sent.clone();
    let upload = tokio::spawn(async move {
        let piece = vec![b'x'; 64 << 10];
        for _ in 0..SIZE / piece.len() {
            writer.write_all(&piece).await.unwrap();
            count.fetch_add(piece.len(), std::sync::atomic::Ordering::SeqCst);
        }
        writer
    });
    // What the sockets hold, and no more: it stands still.
    let mut last = usize::MAX;
    eventually("the client to be held back", || {
        let now = sent.load(std::sync::atomic::Ordering::SeqCst);
        let still = std::mem::replace(&mut last, now) == now && now > 0;
        async move {
            tokio::time::sleep(Duration::from_millis(200)).await;
            still
        }
    })
    .await;
    assert!(last < SIZE / 2, "{last} bytes were taken");
    stage.switch(&[&new]).await.unwrap();
    let _writer = upload.await.unwrap();
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut reader, &mut answer).await.unwrap();
    assert!(answer.ends_with(&format!("{SIZE} bytes")), "{answer}");
}

#[tokio::test]
async fn a_proxy_that_is_replaced_during_a_hold_lets_go_what_waits_at_it() {
    let (old, new) = (App::named("old").await, App::named("new").await);
    let mut stage = Stage::serving(&old).await;
    stage.client.hold(&held(1)).await.unwrap();
    let mut waiting = stage.asks().await;
    stage.are_parked(1).await;
    let second = Proxy::start(stage.dir.path(), 2, stage.proxy.listener.try_clone().unwrap()).await;
    stage.proxy.ask_to_end(End::Retire);
    eventually("the old one to retire", || async {
        stage.client.stats().await.unwrap().iter().any(|stats| stats.retiring)
    })
    .await;
    let mut at_the_new_one = stage.asks().await;
    stage.are_parked(1).await;
    stage.switch(&[&new]).await.unwrap();
    read_until(&mut at_the_new_one, "new").await;
    assert!(read_all(&mut waiting).await.ends_with("new"), "and its connection is closed, so that the proxy can end");
    stage.proxy.ended().await;
    assert_eq!(second.addr, second.listener.local_addr().unwrap());
}

/// Ends the stage's proxy and starts another in its place.
async fn restart(stage: &mut Stage) {
    stage.proxy.ask_to_end(End::Stop);
    let listener = stage.proxy.listener.try_clone().unwrap();
    let proxy = std::mem::replace(&mut stage.proxy, Proxy::start(stage.dir.path(), 2, listener).await);
    proxy.ended().await;
}

#[tokio::test]
async fn a_proxy_that_is_restarted_during_a_hold_goes_on_with_it() {
    let (old, new) = (App::named("old").await, App::named("new").await);
    let mut stage = Stage::serving(&old).await;
    stage.client.hold(&held(1)).await.unwrap();
    restart(&mut stage).await;
    let mut waiting = stage.asks().await;
    stage.are_parked(1).await;
    stage.switch(&[&new]).await.unwrap();
    read_until(&mut waiting, "new").await;
    restart(&mut stage).await;
    assert!(stage.get("/").await.ends_with("new"), "what is over stays so");
}

#[tokio::test]
async fn a_hold_that_was_kept_ends_with_its_lease_when_there_is_no_agent() {
    let old = App::named("old").await;
    let mut stage = Stage::serving(&old).await;
    stage.client.hold(&AppHold { lease_ms: 500, ..held(1) }).await.unwrap();
    restart(&mut stage).await;
    assert!(stage.get("/").await.ends_with("old"));
}

#[tokio::test]
async fn what_still_waits_when_the_proxy_ends_is_asked_to_come_back() {
    let old = App::named("old").await;
    let mut stage = Stage::serving(&old).await;
    stage.client.hold(&held(1)).await.unwrap();
    let mut waiting = stage.asks().await;
    stage.are_parked(1).await;
    stage.proxy.ask_to_end(End::Stop);
    assert!(read_head(&mut waiting).await.starts_with("HTTP/1.1 503"));
    stage.proxy.ended().await;
}
