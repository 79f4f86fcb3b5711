//! The control socket and the table on disk, in good and in bad order.

use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use http::Response;
use proptest::prelude::*;
use tagboat::model::{InFlight, Probe};
use tagboat::ports::{Traffic, TrafficError};
use tagboat::proxy::{Client, decode_table};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use super::stage::{App, Proxy, Stage, listener, routes, shop};

#[tokio::test]
async fn a_table_that_can_t_be_written_refuses_the_switch_and_the_old_target_goes_on() {
    let (old, new) = (App::named("old").await, App::named("new").await);
    let stage = Stage::serving(&old).await;
    let before = stage.client.table().await.unwrap();
    let copies = ["routes.a", "routes.b"].map(|name| std::fs::read(stage.path(name)).unwrap());
    for (label, obstacle) in [("the first copy", "routes.a.new"), ("the second copy", "routes.b.new")] {
        std::fs::create_dir(stage.path(obstacle)).unwrap();
        let refused = stage.switch(&[&new]).await;
        assert!(matches!(&refused, Err(TrafficError::Refused { .. })), "{label}: {refused:?}");
        assert_eq!(stage.client.table().await.unwrap(), before, "{label}");
        let now = ["routes.a", "routes.b"].map(|name| std::fs::read(stage.path(name)).unwrap());
        assert_eq!(now, copies, "{label}: a restart would serve something else");
        assert!(stage.get("/").await.ends_with("old"), "{label}");
        std::fs::remove_dir(stage.path(obstacle)).unwrap();
    }
    stage.switch(&[&new]).await.unwrap();
    assert!(stage.get("/").await.ends_with("new"));
}

#[tokio::test]
async fn two_ruined_copies_are_kept_as_evidence_and_the_proxy_starts_empty() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["routes.a", "routes.b"] {
        std::fs::write(dir.path().join(name), b"not a table\n\xff\xfe").unwrap();
    }
    let _proxy = Proxy::start(dir.path(), 1, listener()).await;
    let client = Client::new(dir.path().to_owned());
    assert!(client.table().await.unwrap().apps.is_empty());
    assert!(dir.path().join("routes.a.damaged").exists() && dir.path().join("routes.b.damaged").exists());
}

#[tokio::test]
async fn routes_that_are_set_again_keep_the_targets_and_drop_what_is_not_named() {
    let app = App::named("a").await;
    let stage = Stage::serving(&app).await;
    let both = [routes("shop", stage.proxy.addr), routes("other", stage.proxy.addr)];
    stage.client.set_routes(&both).await.unwrap();
    let table = stage.client.table().await.unwrap();
    assert_eq!((table.apps.len(), table.apps[&shop()].revision, table.apps[&shop()].active.len()), (2, 1, 1));
    stage.client.set_routes(&both[1..]).await.unwrap();
    assert!(!stage.client.table().await.unwrap().apps.contains_key(&shop()));
}

#[tokio::test]
async fn a_probe_says_what_it_found() {
    let app = App::http("a", |request| async move {
        let agent = request.headers()["user-agent"] == "tagboat-probe";
        let status = request.uri().path().trim_start_matches('/').parse().unwrap_or(200);
        Response::builder()
            .status(if agent { status } else { 500 })
            .header("location", "/500")
            .body(String::new())
            .unwrap()
    })
    .await;
    let absent = App::absent("absent").await;
    let hangs = App::raw("hangs", |stream| async move {
        std::future::pending::<()>().await;
        drop(stream);
    })
    .await;
    let stage = Stage::new().await;
    let http = |path: &str| Probe::Http(path.to_owned());
    for (label, addr, probe, ok, detail) in [
        ("tcp", app.target.addr, Probe::Tcp, true, "accepts"),
        ("2xx", app.target.addr, http("/204"), true, "204"),
        ("3xx", app.target.addr, http("/302"), true, "302"),
        ("4xx", app.target.addr, http("/404"), false, "404"),
        ("5xx", app.target.addr, http("/503"), false, "503"),
        ("a bad path", app.target.addr, http("no path"), false, ""),
        ("nobody", absent.target.addr, Probe::Tcp, false, "refused"),
        ("silence", hangs.target.addr, http("/"), false, "no answer within 200 ms"),
    ] {
        let outcome = stage.client.probe(addr, &probe, Duration::from_millis(200)).await.unwrap();
        assert_eq!(outcome.ok, ok, "{label}: {}", outcome.detail);
        assert!(outcome.detail.contains(detail), "{label}: {}", outcome.detail);
    }
}

#[tokio::test]
async fn rubbish_on_the_control_socket_is_answered_and_harms_nobody() {
    let app = App::named("a").await;
    let stage = Stage::serving(&app).await;
    let mode = std::fs::metadata(stage.path("proxy-1.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let long = vec![b'x'; 5 << 20];
    for (label, line) in [
        ("text", &b"hello\n"[..]),
        ("not UTF-8", b"\xff\xfe\n"),
        ("no end", b"{\"version\":1"),
        ("an unknown request", b"{\"version\":1,\"request\":{\"op\":\"explode\"}}\n"),
        ("another version", b"{\"version\":2,\"request\":{\"op\":\"table\"}}\n"),
        ("a line without end", &long),
    ] {
        let mut stream = UnixStream::connect(stage.path("proxy-1.sock")).await.unwrap();
        // It may stop reading before we stop writing.
        let _ = stream.write_all(line).await;
        let _ = stream.shutdown().await;
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        assert!(answer.starts_with("{\"answer\":\"malformed\""), "{label}: {answer}");
    }
    assert!(stage.get("/").await.ends_with("\r\n\r\na"));
}

#[tokio::test]
async fn without_a_proxy_the_client_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let client = Client::new(dir.path().to_owned());
    assert!(matches!(client.table().await, Err(TrafficError::Unreachable { .. })));
    assert!(matches!(client.stats().await, Err(TrafficError::Unreachable { .. })));
    // A socket that a dead proxy left: the current one is known to be gone.
    drop(std::os::unix::net::UnixListener::bind(dir.path().join("proxy-3.sock")).unwrap());
    assert!(matches!(client.table().await, Err(TrafficError::Unreachable { .. })));
}

#[tokio::test]
async fn an_older_proxy_counts_as_idle_only_when_it_is_gone() {
    let app = App::named("a").await;
    let stage = Stage::new().await;
    drop(std::os::unix::net::UnixListener::bind(stage.path("proxy-0.sock")).unwrap());
    stage.switch(&[&app]).await.unwrap();
    assert_eq!(stage.in_flight(&app).await, InFlight::default());
    std::fs::remove_file(stage.path("proxy-0.sock")).unwrap();
    let _silent = std::os::unix::net::UnixListener::bind(stage.path("proxy-0.sock")).unwrap();
    let unknown = stage.client.in_flight(&app.target.container).await;
    assert!(matches!(unknown, Err(TrafficError::Unreachable { .. })), "{unknown:?}");
}

#[tokio::test]
async fn an_app_survives_any_damage_to_the_others_in_its_file() {
    let app = App::named("a").await;
    let stage = Stage::serving(&app).await;
    stage.client.set_routes(&[routes("shop", stage.proxy.addr), routes("zoo", stage.proxy.addr)]).await.unwrap();
    let bytes = std::fs::read(stage.path("routes.a")).unwrap();
    let zoo = bytes.iter().rposition(|b| *b == b'\n').unwrap();
    let begin = bytes[..zoo].iter().rposition(|b| *b == b'\n').unwrap() + 1;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let damage = (begin..zoo, prop::collection::vec(any::<u8>(), 0..40), 0..40_usize);
    runner
        .run(&damage, |(at, put, cut)| {
            let mut damaged = bytes.clone();
            damaged.splice(at..(at + cut).min(zoo), put);
            let decoded = decode_table(&damaged);
            prop_assert_eq!(decoded.apps.get(&shop()).map(|entry| entry.revision), Some(1));
            Ok(())
        })
        .unwrap();
}
