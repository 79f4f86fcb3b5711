//! What is carried: bodies, trailers, upgrades, event streams.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use http::Response;
use http_body_util::BodyExt;
use tagboat::model::InFlight;
use tagboat::ports::Traffic;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::tungstenite::Message;

use super::stage::{App, Stage, eventually, read_all, read_head, read_until};

#[tokio::test]
async fn requests_of_one_client_share_connections_on_both_sides() {
    let app = App::named("a").await;
    let stage = Stage::serving(&app).await;
    let probes = app.accepted();
    let mut stream = stage.connect().await;
    for _ in 0..50 {
        stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").await.unwrap();
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        assert_eq!(read_until(&mut stream, "a").await, "a");
    }
    assert_eq!(app.accepted() - probes, 1);
}

#[tokio::test]
async fn a_body_is_passed_on_piece_by_piece_in_both_directions() {
    let echo = App::http("echo", |request| std::future::ready(Response::new(request.into_body()))).await;
    let stage = Stage::serving(&echo).await;
    let mut stream = stage.connect().await;
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: shop.example\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        .await
        .unwrap();
    let head = read_head(&mut stream).await.to_ascii_lowercase();
    assert!(head.contains("transfer-encoding: chunked") && !head.contains("content-length"), "{head}");
    assert_eq!(read_until(&mut stream, "one\r\n").await, "3\r\none\r\n");
    stream.write_all(b"3\r\ntwo\r\n0\r\n\r\n").await.unwrap();
    assert_eq!(read_until(&mut stream, "0\r\n\r\n").await, "3\r\ntwo\r\n0\r\n\r\n");
}

#[tokio::test]
async fn trailers_arrive_in_both_directions() {
    let echo = App::http("echo", |request| async move {
        let body = request.into_body().collect().await.unwrap();
        let sent = body.trailers().and_then(|t| t.get("x-sum")).unwrap().clone();
        let frames = [
            Ok::<_, std::io::Error>(http_body::Frame::data(body.to_bytes())),
            Ok(http_body::Frame::trailers([("x-back".parse().unwrap(), sent)].into_iter().collect())),
        ];
        let mut response = Response::new(http_body_util::StreamBody::new(futures_util::stream::iter(frames)));
        response.headers_mut().insert("trailer", "x-back".parse().unwrap());
        response
    })
    .await;
    let stage = Stage::serving(&echo).await;
    let answer = stage
        .exchange(
            "POST / HTTP/1.1\r\nHost: shop.example\r\nConnection: close, TE\r\nTE: trailers\r\nTrailer: x-sum\r\n\
             Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nx-sum: 42\r\n\r\n",
        )
        .await;
    assert!(answer.to_ascii_lowercase().ends_with("2\r\nhi\r\n0\r\nx-back: 42\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn a_client_that_expects_100_continue_gets_it_and_then_its_answer() {
    let echo = App::http("echo", |request| std::future::ready(Response::new(request.into_body()))).await;
    let stage = Stage::serving(&echo).await;
    let mut stream = stage.connect().await;
    let head = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\nConnection: close\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    assert_eq!(read_head(&mut stream).await, "HTTP/1.1 100 Continue\r\n\r\n");
    stream.write_all(b"hello").await.unwrap();
    let answer = read_all(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer}");
}

#[tokio::test]
async fn a_web_socket_carries_messages_and_counts_as_a_stream_until_it_is_closed() {
    let echo = App::raw("echo", |stream| async move {
        // The first connection is the one that a switch makes to see whether there is somebody.
        let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else { return };
        while let Some(Ok(message)) = socket.next().await {
            if message.is_text() && socket.send(message).await.is_err() {
                return;
            }
        }
    })
    .await;
    let stage = Stage::serving(&echo).await;
    let url = format!("ws://{}/live", stage.proxy.addr);
    let (mut socket, _) = tokio_tungstenite::connect_async(url).await.unwrap();
    for text in ["one", "two", &"x".repeat(300_000)] {
        socket.send(Message::text(text)).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text(text));
    }
    assert_eq!(stage.in_flight(&echo).await, InFlight { requests: 0, streams: 1 });
    socket.close(None).await.unwrap();
    while socket.next().await.is_some() {}
    stage.idle(&echo).await;
    assert_eq!(stage.stats().await.apps[&super::stage::shop()].requests["1xx"], 1);
}

/// Sends an event for each message that the test puts in, and ends when the test does.
async fn events() -> (App, tokio::sync::broadcast::Sender<&'static str>) {
    let (sender, _) = tokio::sync::broadcast::channel::<&'static str>(8);
    let source = sender.clone();
    let app = App::http("events", move |_| {
        let receiver = source.subscribe();
        let stream = futures_util::stream::unfold(receiver, |mut receiver| async move {
            let frame = http_body::Frame::data(bytes::Bytes::from_static(receiver.recv().await.ok()?.as_bytes()));
            Some((Ok::<_, std::convert::Infallible>(frame), receiver))
        });
        let response = Response::builder().header("content-type", "text/event-stream; charset=utf-8");
        std::future::ready(response.body(http_body_util::StreamBody::new(stream)).unwrap())
    })
    .await;
    (app, sender)
}

#[tokio::test]
async fn an_event_arrives_when_it_is_sent_and_the_stream_ends_in_good_order_when_it_is_cut() {
    let (app, sender) = events().await;
    let stage = Stage::serving(&app).await;
    let mut stream = stage.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").await.unwrap();
    read_head(&mut stream).await;
    for event in ["data: 1\n\n", "data: 2\n\n"] {
        sender.send(event).unwrap();
        assert!(read_until(&mut stream, "\n\n\r\n").await.contains(event));
    }
    assert_eq!(stage.in_flight(&app).await, InFlight { requests: 0, streams: 1 });
    stage.client.cut(&app.target.container, Duration::from_millis(10)).await.unwrap();
    assert_eq!(read_until(&mut stream, "0\r\n\r\n").await, "0\r\n\r\n");
    stage.idle(&app).await;
}

#[tokio::test]
async fn a_target_that_was_cut_once_serves_streams_again_afterwards() {
    let (app, sender) = events().await;
    let stage = Stage::serving(&app).await;
    stage.client.cut(&app.target.container, Duration::ZERO).await.unwrap();
    let mut stream = stage.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").await.unwrap();
    read_head(&mut stream).await;
    sender.send("data: 1\n\n").unwrap();
    assert!(read_until(&mut stream, "\n\n\r\n").await.contains("data: 1"));
}

#[tokio::test]
async fn a_client_that_goes_away_is_nobodys_error_and_leaves_nothing_under_way() {
    let (app, sender) = events().await;
    let stage = Stage::serving(&app).await;
    let mut stream = stage.connect().await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.example\r\n\r\n").await.unwrap();
    read_head(&mut stream).await;
    drop(stream);
    stage.idle(&app).await;
    eventually("the app to see it", || async { sender.receiver_count() == 0 }).await;

    // Half an upload, which the app waits for.
    let mut stream = stage.connect().await;
    let half = b"POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 10\r\n\r\nhalf";
    stream.write_all(half).await.unwrap();
    eventually("the upload to begin", || async { stage.in_flight(&app).await != InFlight::default() }).await;
    drop(stream);
    stage.idle(&app).await;
    assert_eq!(stage.counted(&app).await.transport_errors, 0);
}

#[tokio::test]
async fn an_answer_that_comes_before_the_end_of_the_upload_is_passed_on_and_nothing_stays_under_way() {
    let app = App::http("strict", |_| {
        std::future::ready(Response::builder().status(413).body(String::from("too much")).unwrap())
    })
    .await;
    let stage = Stage::serving(&app).await;
    let mut stream = stage.connect().await;
    stream
        .write_all(b"POST / HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 1000000\r\n\r\nthe beginning")
        .await
        .unwrap();
    let head = read_head(&mut stream).await;
    assert!(head.starts_with("HTTP/1.1 413"), "{head}");
    assert_eq!(read_until(&mut stream, "too much").await, "too much");
    stage.idle(&app).await;
}
