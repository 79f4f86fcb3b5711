//! Moving traffic while there is some.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tagboat::model::InFlight;
use tagboat::ports::{Traffic, TrafficError};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::stage::{App, SOON, Stage, eventually, listener, moved, read_head, read_until, shop};

/// Clients that ask without a pause and never try again.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    clients: tokio::task::JoinSet<Vec<String>>,
}

impl Load {
    /// Half of the clients keep their connection, half make a new one for each request.
    fn start(addr: std::net::SocketAddr, clients: usize) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let mut set = tokio::task::JoinSet::new();
        for number in 0..clients {
            let (stop, answered) = (stop.clone(), answered.clone());
            set.spawn(async move {
                let (mut failures, mut kept) = (Vec::new(), None);
                while !stop.load(Ordering::SeqCst) {
                    match ask(addr, &mut kept).await {
                        Ok(()) => _ = answered.fetch_add(1, Ordering::SeqCst),
                        Err(error) => failures.push(error),
                    }
                    if number % 2 == 0 {
                        kept = None;
                    }
                }
                failures
            });
        }
        Self { stop, answered, clients: set }
    }

    /// How many were answered, and why the others were not.
    async fn end(self) -> (usize, Vec<String>) {
        self.stop.store(true, Ordering::SeqCst);
        let failures = self.clients.join_all().await.concat();
        (self.answered.load(Ordering::SeqCst), failures)
    }
}

async fn ask(addr: std::net::SocketAddr, kept: &mut Option<http1::SendRequest<Empty<Bytes>>>) -> Result<(), String> {
    if kept.is_none() {
        let stream = TcpStream::connect(addr).await.map_err(|e| format!("connect: {e}"))?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
        tokio::spawn(connection);
        *kept = Some(sender);
    }
    let sender = kept.as_mut().unwrap();
    let asked = async {
        sender.ready().await.map_err(|e| format!("ready: {e}"))?;
        let request = Request::get("/").header("host", "shop.example").body(Empty::new()).unwrap();
        let response = sender.send_request(request).await.map_err(|e| format!("send: {e:?}"))?;
        let status = response.status();
        let body = response.into_body().collect().await.map_err(|e| format!("body: {e:?}"))?.to_bytes();
        if status != 200 { Err(format!("{status} {body:?}")) } else { Ok(()) }
    };
    tokio::time::timeout(SOON, asked).await.map_err(|_| "no answer".to_owned())?
}

async fn serves_without_a_failure_while_versions_come_and_go() {
    let mut old = App::named("v0").await;
    let stage = Stage::serving(&old).await;
    let load = Load::start(stage.proxy.addr, 16);
    for number in 1..=60 {
        let new = App::named(&format!("v{number}")).await;
        stage.switch(&[&new]).await.unwrap();
        let answered = load.answered.load(Ordering::SeqCst);
        stage.idle(&old).await;
        // As after SIGKILL: an old version that is idle is not missed by anyone.
        old = new;
        eventually("some requests", || async { load.answered.load(Ordering::SeqCst) > answered + 50 }).await;
    }
    let (answered, failures) = load.end().await;
    assert!(answered > 3000, "{answered}");
    assert_eq!(failures, Vec::<String>::new(), "of {answered}");
    let counted = stage.stats().await.apps[&shop()].clone();
    assert_eq!((counted.requests["2xx"], counted.in_flight), (answered as u64, InFlight::default()));
}

#[tokio::test]
async fn no_request_fails_while_versions_come_and_go_on_one_thread() {
    serves_without_a_failure_while_versions_come_and_go().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_fails_while_versions_come_and_go_on_two_threads() {
    serves_without_a_failure_while_versions_come_and_go().await;
}

#[tokio::test]
async fn a_connection_that_the_app_closed_while_idle_costs_nobody_a_request() {
    // Closes each connection after its second answer, without having said so.
    let app = App::raw("closes", |mut stream| async move {
        for _ in 0..2 {
            let mut byte = [0];
            if stream.peek(&mut byte).await.unwrap_or(0) == 0 {
                return;
            }
            read_head(&mut stream).await;
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        }
    })
    .await;
    let stage = Stage::serving(&app).await;
    let probes = app.accepted();
    let mut stream = stage.connect().await;
    for _ in 0..20 {
        stream.write_all(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nhi").await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        read_until(&mut stream, "ok").await;
    }
    assert!(app.accepted() - probes >= 10, "{}", app.accepted());
}

#[tokio::test]
async fn a_request_that_can_be_repeated_survives_an_app_that_closes_as_it_is_sent() {
    // Takes a second request on a connection and closes instead of answering it, as an app does whose idle time is
    // over at this very moment.
    let app = App::raw("closes", |mut stream| async move {
        let mut byte = [0];
        if stream.peek(&mut byte).await.unwrap_or(0) == 0 {
            return;
        }
        read_head(&mut stream).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.unwrap();
        read_head(&mut stream).await;
    })
    .await;
    let stage = Stage::serving(&app).await;
    for (method, wanted) in [("GET", "200"), ("POST", "502")] {
        assert!(stage.get("/").await.starts_with("HTTP/1.1 200"));
        tokio::time::sleep(Duration::from_millis(300)).await;
        let request = format!("{method} / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        let answer = stage.exchange(&request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {wanted}")), "{method}: {answer}");
        // What the last one left in the pool is used up, so that the next round begins with a new connection.
        stage.switch(&[]).await.unwrap();
        stage.switch(&[&app]).await.unwrap();
    }
}

#[tokio::test]
async fn a_request_that_finds_nobody_waits_and_follows_a_switch() {
    let (old, new) = (App::named("old").await, App::named("new").await);
    let stage = Stage::serving(&old).await;
    drop(old);
    eventually("the old one to be gone", || async {
        let asked = stage.connect().await;
        drop(asked);
        true
    })
    .await;
    let mut stream = stage.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    stage.switch(&[&new]).await.unwrap();
    let answer = super::stage::read_all(&mut stream).await;
    assert!(answer.ends_with("new"), "{answer}");
}

#[tokio::test]
async fn a_target_that_stays_away_is_an_error_after_a_second() {
    let app = App::named("gone").await;
    let stage = Stage::serving(&app).await;
    drop(app);
    let begun = Instant::now();
    eventually("the error", || async { stage.get("/").await.starts_with("HTTP/1.1 502") }).await;
    assert!(begun.elapsed() >= Duration::from_millis(700), "{:?}", begun.elapsed());
    assert_eq!(stage.stats().await.apps[&shop()].requests["bad_gateway"], 1);
}

#[tokio::test]
async fn several_dead_targets_do_not_hide_a_live_one() {
    let apps = [App::named("a").await, App::named("b").await, App::named("c").await, App::named("live").await];
    let stage = Stage::new().await;
    stage.switch(&[&apps[0], &apps[1], &apps[2], &apps[3]]).await.unwrap();
    let [a, b, c, _live] = apps;
    drop((a, b, c));
    let begun = Instant::now();
    for _ in 0..20 {
        let answer = stage.get("/").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    // Nobody had to wait for a dead one to come back.
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn requests_are_spread_over_the_targets_by_what_they_have_under_way() {
    let (a, b) = (App::named("a").await, App::named("b").await);
    let stage = Stage::new().await;
    stage.switch(&[&a, &b]).await.unwrap();
    for _ in 0..20 {
        stage.get("/").await;
    }
    assert_eq!((stage.counted(&a).await.requests, stage.counted(&b).await.requests), (10, 10));
}

#[tokio::test]
async fn a_switch_that_expects_another_revision_changes_nothing_in_any_app() {
    let (old, new) = (App::named("old").await, App::named("new").await);
    let stage = Stage::serving(&old).await;
    let before = stage.client.table().await.unwrap();
    let changes = [moved("other", 0, &[&new]), moved("shop", 0, &[&new])];
    let Err(TrafficError::Conflict { app, expected: 0, found: 1 }) = stage.client.switch(&changes).await else {
        panic!("no conflict")
    };
    assert_eq!(app, shop());
    assert_eq!(stage.client.table().await.unwrap(), before);
    assert!(stage.get("/").await.ends_with("old"));
}

#[tokio::test]
async fn a_switch_to_a_target_that_can_t_be_reached_is_refused() {
    let (old, absent) = (App::named("old").await, App::absent("absent").await);
    let stage = Stage::serving(&old).await;
    let refused = stage.switch(&[&absent]).await;
    assert!(matches!(&refused, Err(TrafficError::Refused { message }) if message.contains("absent")), "{refused:?}");
    assert!(stage.get("/").await.ends_with("old"));
}

#[tokio::test]
async fn a_container_at_a_new_address_is_the_same_target() {
    let (old, new) = (App::named("old").await, App::named("new").await);
    let stage = Stage::serving(&old).await;
    stage.client.readdress(&shop(), &old.target.container, new.target.addr).await.unwrap();
    assert!(stage.get("/").await.ends_with("new"));
    let entry = stage.client.table().await.unwrap().apps[&shop()].clone();
    assert_eq!((entry.revision, entry.active[0].addr), (1, new.target.addr));
}

#[tokio::test]
async fn an_app_that_is_dropped_takes_no_request_once_it_is_idle() {
    let (app, other) = (App::named("a").await, App::named("b").await);
    let stage = Stage::serving(&app).await;
    let load = Load::start(stage.proxy.addr, 4);
    eventually("some requests", || async { load.answered.load(Ordering::SeqCst) > 50 }).await;
    stage.client.set_routes(&[]).await.unwrap();
    stage.idle(&app).await;
    let counted = app.accepted();
    let (_, failures) = load.end().await;
    assert!(failures.iter().all(|failure| failure.starts_with("404")), "{:?}", failures.first());
    assert_eq!(app.accepted(), counted);
    drop((other, listener()));
}

#[tokio::test]
async fn a_container_that_serves_two_apps_serves_one_when_the_other_moves_on() {
    let (both, new) = (App::named("both").await, App::named("new").await);
    let stage = Stage::serving(&both).await;
    stage.client.switch(&[moved("other", 0, &[&both])]).await.unwrap();
    stage.client.switch(&[moved("other", 1, &[&new])]).await.unwrap();
    assert!(stage.get("/").await.ends_with("both"));
}

#[tokio::test]
async fn latency_and_classes_are_counted_per_app_and_target() {
    let app = App::http("a", |request| async move {
        let status = if request.uri().path() == "/bad" { 500 } else { 200 };
        Response::builder().status(status).body(String::new()).unwrap()
    })
    .await;
    let stage = Stage::serving(&app).await;
    for path in ["/", "/", "/bad"] {
        stage.get(path).await;
    }
    let counted = stage.stats().await.apps[&shop()].clone();
    assert_eq!((counted.requests["2xx"], counted.requests["5xx"]), (2, 1));
    assert_eq!(counted.latency.buckets.iter().sum::<u64>(), 3);
    let target = stage.counted(&app).await;
    assert_eq!((target.requests, target.server_errors, target.transport_errors), (3, 1, 0));
}
