//! What goes over the wire: headers, framing, and the proxy's own answers.

use std::sync::{Arc, Mutex};

use http::Response;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::stage::{App, Stage, read_all, read_head, read_until};

/// An app that keeps what it was sent and answers with a fixed text.
async fn scripted(answer: &'static str) -> (App, Arc<Mutex<Vec<String>>>) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let keep = seen.clone();
    let app = App::raw("scripted", move |mut stream: TcpStream| {
        let keep = keep.clone();
        async move {
            let mut bytes = [0; 16384];
            while let Ok(read @ 1..) = tokio::io::AsyncReadExt::read(&mut stream, &mut bytes).await {
                keep.lock().unwrap().push(String::from_utf8_lossy(&bytes[..read]).into_owned());
                if stream.write_all(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await;
    (app, seen)
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn headers_of_the_connection_stay_behind_and_the_client_is_named() {
    let (app, seen) = scripted(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x-hop\r\nX-Hop: 1\r\nKeep-Alive: timeout=5\r\nX-End: 1\r\n\r\nok",
    )
    .await;
    let stage = Stage::serving(&app).await;
    let answer = stage
        .exchange(
            "GET /a?b=c HTTP/1.1\r\nHost: Shop.Example:81\r\nConnection: close, X-Secret\r\nX-Secret: 1\r\n\
             X-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nX-End: 1\r\n\r\n",
        )
        .await;
    let answer = answer.to_ascii_lowercase();
    assert!(answer.contains("x-end: 1") && !answer.contains("x-hop") && !answer.contains("keep-alive"), "{answer}");
    let sent = seen.lock().unwrap()[0].clone();
    assert!(sent.starts_with("GET /a?b=c HTTP/1.1\r\n"), "{sent}");
    assert!(sent.contains("host: Shop.Example:81\r\n") && sent.contains("x-end: 1\r\n"), "{sent}");
    let sent = sent.to_ascii_lowercase();
    for line in [
        "x-forwarded-for: 1.2.3.4, 127.0.0.1\r\n",
        "x-forwarded-proto: http\r\n",
        "x-forwarded-host: shop.example:81\r\n",
        "forwarded: for=1.2.3.4, for=127.0.0.1;proto=http;host=\"shop.example:81\"\r\n",
    ] {
        assert!(sent.contains(line), "{line:?} in {sent}");
    }
    assert!(!sent.contains("x-secret"), "{sent}");
}

#[tokio::test]
async fn a_request_that_two_readers_could_frame_differently_is_refused() {
    let (app, seen) = scripted(OK).await;
    let stage = Stage::serving(&app).await;
    for (label, lines, body) in [
        ("two lengths", "Content-Length: 5\r\nContent-Length: 6", "hello"),
        ("a list of lengths", "Content-Length: 5, 6", "hello"),
        ("a signed length", "Content-Length: +5", "hello"),
        ("a length in hex", "Content-Length: 0x5", "hello"),
        ("an unknown coding", "Transfer-Encoding: xchunked", "0\r\n\r\n"),
        ("chunked not last", "Transfer-Encoding: chunked, identity", "0\r\n\r\n"),
        ("a blank before the colon", "Transfer-Encoding : chunked", "0\r\n\r\n"),
        ("a folded line", "X-A: 1\r\n Transfer-Encoding: chunked", "0\r\n\r\n"),
        ("a bare CR in a value", "X-A: 1\rTransfer-Encoding: chunked", "0\r\n\r\n"),
        ("a NUL in a value", "X-A: 1\0", ""),
        ("a second host", "Host: other.example", ""),
    ] {
        let answer = stage.exchange(&format!("POST / HTTP/1.1\r\nHost: shop.example\r\n{lines}\r\n\r\n{body}")).await;
        assert!(answer.starts_with("HTTP/1.1 400"), "{label}: {answer}");
    }
    for (label, request) in [("no host", "GET / HTTP/1.1\r\nConnection: close\r\n\r\n"), ("HTTP/0.9", "GET /\r\n\r\n")]
    {
        let answer = stage.exchange(request).await;
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400"), "{label}: {answer}");
    }
    let tunnel =
        stage.exchange("CONNECT shop.example:22 HTTP/1.1\r\nHost: shop.example:22\r\nConnection: close\r\n\r\n").await;
    assert!(tunnel.starts_with("HTTP/1.1 405"), "{tunnel}");
    assert!(seen.lock().unwrap().is_empty(), "{seen:?}");
}

#[tokio::test]
async fn a_length_beside_a_transfer_coding_is_not_passed_on_and_hides_no_second_request() {
    for (label, lines) in [
        ("length first", "Content-Length: 4\r\nTransfer-Encoding: chunked"),
        ("coding first", "Transfer-Encoding: chunked\r\nContent-Length: 4"),
    ] {
        let (app, seen) = scripted(OK).await;
        let stage = Stage::serving(&app).await;
        let hidden = "0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n";
        let request = format!("POST /open HTTP/1.1\r\nHost: shop.example\r\n{lines}\r\n\r\n{hidden}");
        stage.exchange(&request).await;
        let seen = seen.lock().unwrap().concat();
        assert!(!seen.to_ascii_lowercase().contains("content-length"), "{label}: {seen}");
        // The second request is one of its own for the proxy too: it got the proxy's headers.
        assert_eq!(seen.matches("HTTP/1.1\r\n").count(), seen.to_ascii_lowercase().matches("x-forwarded-for:").count());
    }
}

#[tokio::test]
async fn an_old_client_without_a_host_is_served_and_its_connection_closed() {
    let echo = App::http("a", |_| async { Response::new(String::from("body")) }).await;
    let stage = Stage::serving(&echo).await;
    let answer = stage.exchange("GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200") && answer.ends_with("\r\n\r\nbody"), "{answer}");
}

#[tokio::test]
async fn answers_without_a_body_keep_their_length_and_the_connection() {
    let (app, _) = scripted("HTTP/1.1 200 OK\r\nContent-Length: 12345\r\n\r\n").await;
    let stage = Stage::serving(&app).await;
    let probes = app.accepted();
    let mut stream = stage.connect().await;
    for _ in 0..3 {
        stream.write_all(b"HEAD / HTTP/1.1\r\nHost: shop.example\r\n\r\n").await.unwrap();
        let head = read_head(&mut stream).await.to_ascii_lowercase();
        assert!(head.contains("content-length: 12345"), "{head}");
    }
    assert_eq!(app.accepted() - probes, 1);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_made_to_look_whole() {
    let (leave, left) = tokio::sync::watch::channel(false);
    let app = App::raw("breaks", move |mut stream| {
        let mut left = left.clone();
        async move {
            // A switch looks whether there is somebody, and says nothing.
            if stream.peek(&mut [0]).await.unwrap_or(0) == 0 {
                return;
            }
            stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n").await.unwrap();
            left.wait_for(|left| *left).await.unwrap();
        }
    })
    .await;
    let stage = Stage::serving(&app).await;
    let mut stream = stage.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    read_until(&mut stream, "hello\r\n").await;
    leave.send(true).unwrap();
    assert_eq!(read_all(&mut stream).await, "");
    assert_eq!(stage.counted(&app).await.transport_errors, 1);
}

#[tokio::test]
async fn a_change_of_protocol_that_nobody_asked_for_is_an_error() {
    let (app, _) = scripted("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").await;
    let stage = Stage::serving(&app).await;
    let answer = stage.get("/").await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    stage.idle(&app).await;
}

#[tokio::test]
async fn the_proxys_own_answers_say_what_is_wrong_in_the_clients_language() {
    let stage = Stage::new().await;
    let html = "GET / HTTP/1.1\r\nHost: a\r\nAccept: text/html,*/*\r\nConnection: close\r\n\r\n";
    let plain = "GET / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\nConnection: close\r\n\r\n";
    let answer = stage.exchange(html).await.to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 503") && answer.contains("retry-after: 1\r\n"), "{answer}");
    assert!(answer.contains("<!doctype html>"), "{answer}");
    let answer = stage.exchange(plain).await.to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 503") && answer.contains("content-type: text/plain"), "{answer}");
    tagboat::ports::Traffic::set_routes(&stage.client, &[]).await.unwrap();
    let answer = stage.exchange(plain).await;
    assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    let stats = stage.stats().await;
    assert_eq!((stats.unrouted, stats.apps.len()), (1, 0));
}
