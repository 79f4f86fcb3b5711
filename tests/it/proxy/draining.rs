//! When something is over, and how a proxy ends.

use std::time::Duration;

use http::Response;
use tagboat::model::InFlight;
use tagboat::ports::Traffic;
use tagboat::proxy::{Client, End};
use tokio::io::AsyncWriteExt;
use tokio::sync::mpsc;

use super::stage::{App, Proxy, Stage, eventually, listener, read_all, read_head, read_until, routes, shop};

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n";

/// Answers with what the test puts in, and ends when the test lets go.
async fn slow(name: &str) -> (App, mpsc::Sender<&'static str>) {
    let (sender, receiver) = mpsc::channel::<&'static str>(8);
    let receiver = std::sync::Mutex::new(Some(receiver));
    let app = App::http(name, move |_| {
        let receiver = receiver.lock().unwrap().take().expect("one request");
        let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
            let text = receiver.recv().await?;
            let frame = http_body::Frame::data(bytes::Bytes::from_static(text.as_bytes()));
            Some((Ok::<_, std::convert::Infallible>(frame), receiver))
        });
        std::future::ready(Response::new(http_body_util::StreamBody::new(stream)))
    })
    .await;
    (app, sender)
}

#[tokio::test]
async fn a_target_is_busy_until_the_last_byte_has_been_passed_on() {
    let (old, sender) = slow("old").await;
    let stage = Stage::serving(&old).await;
    let mut stream = stage.connect().await;
    stream.write_all(GET).await.unwrap();
    read_head(&mut stream).await;
    let new = App::named("new").await;
    stage.switch(&[&new]).await.unwrap();
    assert!(stage.get("/").await.ends_with("new"));
    sender.send("almost").await.unwrap();
    read_until(&mut stream, "almost\r\n").await;
    assert_eq!(stage.in_flight(&old).await, InFlight { requests: 1, streams: 0 });
    drop(sender);
    read_until(&mut stream, "0\r\n\r\n").await;
    stage.idle(&old).await;
}

#[tokio::test]
async fn a_request_that_is_cut_is_broken_off_whether_it_has_an_answer_or_not() {
    let (old, sender) = slow("old").await;
    let stage = Stage::serving(&old).await;
    let mut answered = stage.connect().await;
    answered.write_all(GET).await.unwrap();
    read_head(&mut answered).await;
    let silent = App::raw("silent", |mut stream| async move {
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    })
    .await;
    stage.switch(&[&silent]).await.unwrap();
    let mut waiting = stage.connect().await;
    waiting.write_all(GET).await.unwrap();
    eventually("both", || async { stage.in_flight(&silent).await.requests == 1 }).await;
    for app in [&old, &silent] {
        stage.client.cut(&app.target.container, Duration::ZERO).await.unwrap();
    }
    assert_eq!(read_all(&mut answered).await, "");
    let head = read_head(&mut waiting).await;
    assert!(head.starts_with("HTTP/1.1 502"), "{head}");
    stage.idle(&old).await;
    stage.idle(&silent).await;
    drop(sender);
}

#[tokio::test]
async fn a_proxy_that_ends_finishes_what_is_under_way_and_closes_the_rest() {
    let (app, sender) = slow("slow").await;
    let mut stage = Stage::serving(&app).await;
    let (mut busy, mut idle) = (stage.connect().await, stage.connect().await);
    busy.write_all(GET).await.unwrap();
    read_head(&mut busy).await;
    stage.proxy.ask_to_end(End::Stop);
    assert_eq!(read_all(&mut idle).await, "");
    assert!(stage.stats().await.retiring);
    sender.send("the end").await.unwrap();
    drop(sender);
    assert!(read_all(&mut busy).await.contains("the end"));
    stage.proxy.ended().await;
    assert!(!stage.dir.path().join("proxy-1.sock").exists());
}

#[tokio::test]
async fn a_large_answer_is_written_to_its_last_byte_before_the_proxy_ends() {
    let app = App::http("large", |_| async { Response::new("x".repeat(8 << 20)) }).await;
    let mut stage = Stage::serving(&app).await;
    let mut stream = stage.connect().await;
    stream.write_all(GET).await.unwrap();
    read_head(&mut stream).await;
    stage.proxy.ask_to_end(End::Stop);
    // The client takes its time: the proxy has long got everything from the app.
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(read_all(&mut stream).await.len(), 8 << 20);
    stage.proxy.ended().await;
}

#[tokio::test]
async fn what_does_not_end_in_time_is_broken_off() {
    let (app, _sender) = slow("slow").await;
    let mut stage = Stage::serving(&app).await;
    let mut stream = stage.connect().await;
    stream.write_all(GET).await.unwrap();
    read_head(&mut stream).await;
    stage.proxy.ask_to_end(End::Stop);
    assert_eq!(read_all(&mut stream).await, "");
    stage.proxy.ended().await;
}

#[tokio::test]
async fn a_proxy_that_retires_asks_its_clients_to_leave_and_follows_switches_without_writing_them() {
    let (old, new) = (App::named("old").await, App::named("new").await);
    let mut stage = Stage::serving(&old).await;
    let mut stream = stage.connect().await;
    stream.write_all(GET).await.unwrap();
    read_until(&mut stream, "old").await;
    stage.proxy.ask_to_end(End::Retire);
    eventually("it to retire", || async { stage.stats().await.retiring }).await;
    let on_disk = std::fs::read(stage.path("routes.a")).unwrap();
    stage.switch(&[&new]).await.unwrap();
    assert_eq!(std::fs::read(stage.path("routes.a")).unwrap(), on_disk);
    stream.write_all(GET).await.unwrap();
    let answer = read_all(&mut stream).await.to_ascii_lowercase();
    assert!(answer.contains("connection: close") && answer.ends_with("new"), "{answer}");
    stage.proxy.ended().await;
}

#[tokio::test]
async fn two_generations_serve_as_one_until_the_old_one_is_idle() {
    let (old, sender) = slow("old").await;
    let mut stage = Stage::serving(&old).await;
    let mut first = stage.connect().await;
    first.write_all(GET).await.unwrap();
    read_head(&mut first).await;
    let second = Proxy::start(stage.dir.path(), 2, stage.proxy.listener.try_clone().unwrap()).await;
    stage.proxy.ask_to_end(End::Retire);
    eventually("the old one to retire", || async {
        stage.client.stats().await.unwrap().iter().any(|stats| stats.retiring)
    })
    .await;
    assert_eq!(stage.in_flight(&old).await, InFlight { requests: 1, streams: 0 });
    let new = App::named("new").await;
    stage.switch(&[&new]).await.unwrap();
    assert!(stage.get("/").await.ends_with("new"));
    // The switch reached both: a second one is no conflict in either.
    let newer = App::named("newer").await;
    stage.switch(&[&newer]).await.unwrap();
    assert_eq!(stage.client.stats().await.unwrap().len(), 2);
    assert_eq!(stage.in_flight(&old).await.requests, 1);
    drop(sender);
    read_until(&mut first, "0\r\n\r\n").await;
    drop(first);
    stage.idle(&old).await;
    stage.proxy.ended().await;
    assert_eq!(stage.client.stats().await.unwrap().len(), 1);
    assert_eq!(second.addr, second.listener.local_addr().unwrap());
}

#[tokio::test]
async fn a_proxy_that_starts_serves_the_last_known_targets_at_once() {
    let app = App::named("a").await;
    let dir = tempfile::tempdir().unwrap();
    let client = Client::new(dir.path().to_owned());
    let mut proxy = Proxy::start(dir.path(), 1, listener()).await;
    client.set_routes(&[routes("shop", proxy.addr)]).await.unwrap();
    client.switch(&[super::stage::moved("shop", 0, &[&app])]).await.unwrap();
    let table = client.table().await.unwrap();
    proxy.ask_to_end(End::Stop);
    let socket = proxy.listener.try_clone().unwrap();
    proxy.ended().await;
    // A client that comes while there is no proxy waits in the queue.
    let mut early = tokio::net::TcpStream::connect(socket.local_addr().unwrap()).await.unwrap();
    early.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    let _proxy = Proxy::start(dir.path(), 2, socket).await;
    assert!(read_all(&mut early).await.ends_with("\r\n\r\na"));
    assert_eq!(client.table().await.unwrap(), table);
    assert_eq!(table.apps[&shop()].active, vec![app.target.clone()]);
}
