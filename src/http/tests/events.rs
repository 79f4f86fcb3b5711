//! Event streams.

use super::*;

fn event(app: &str) -> Event {
    Event { at: at(0), app: app.parse().unwrap(), kind: EventKind::Activated { source: SeenSource::Poll } }
}

/// Reads the stream until `count` events (not comments) have come.
async fn read_events(body: &mut hyper::body::Incoming, count: usize) -> String {
    let mut text = String::new();
    while text.matches("data:").count() < count {
        let frame = timeout(DEADLINE, body.frame()).await.unwrap_or_else(|_| panic!("only {text:?} came"));
        text.push_str(std::str::from_utf8(frame.unwrap().unwrap().data_ref().unwrap()).unwrap());
    }
    text
}

async fn open_events(server: &mut Served, path: &str) -> hyper::body::Incoming {
    let request = http::Request::get(path).header("host", "localhost").body(bytes::Bytes::new()).unwrap();
    let response = server.open(request).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    response.into_body()
}

#[tokio::test]
async fn events_are_told_as_they_happen_to_those_who_asked_for_the_app() {
    let mut api = api(guarded(None)).await;
    let mut all = open_events(&mut api.server, "/api/v1/events").await;
    let mut shop = open_events(&mut api.server, "/api/v1/events?app=shop").await;
    let mut same = open_events(&mut api.server, "/api/v1/apps/shop/events").await;
    for app in ["blog", "shop", "blog", "shop"] {
        api.engine.emit(event(app));
    }
    let told = read_events(&mut all, 4).await;
    assert_eq!(told.matches("event: activated\n").count(), 4, "{told}");
    assert!(told.contains(r#""app":"blog","event":"activated","source":"poll""#), "{told}");
    for body in [&mut shop, &mut same] {
        let told = read_events(body, 2).await;
        assert!(!told.contains("blog"), "{told}");
    }
}

#[tokio::test]
async fn a_slow_reader_is_told_how_much_it_has_missed() {
    let mut api = api(guarded(None)).await;
    let mut body = open_events(&mut api.server, "/api/v1/events").await;
    // More at once than the channel holds: the stream had no chance to read any of it.
    for _ in 0..100 {
        api.engine.emit(event("shop"));
    }
    let told = read_events(&mut body, 2).await;
    assert!(told.contains("event: lagged\ndata: {\"missed\":36}"), "{told}");
}

#[tokio::test]
async fn event_streams_are_bounded_and_end_with_the_agent() {
    let mut api = api(guarded(None)).await;
    let mut open = Vec::new();
    for _ in 0..64 {
        open.push(open_events(&mut api.server, "/api/v1/events").await);
    }
    assert_eq!(api.engine.readers(), 64);
    let refused = api.server.get("/api/v1/events").await;
    assert_eq!((refused.status, refused.headers["retry-after"].as_str()), (503, "5"));
    api.server.shutdown.cancel();
    for body in open {
        assert!(timeout(DEADLINE, body.collect()).await.expect("the stream ends").is_ok(), "and ends properly");
    }
    timeout(DEADLINE, async { while api.server.tasks.join_next().await.is_some() {} })
        .await
        .expect("so does the server");
}
