//! From the arrival of a webhook to the moment at which the app knows of the new digest, when the tag is readable.
//!
//! `cargo bench --bench activation` starts the engine with its webhooks and a registry in this process, moves a tag, announces
//! it, and waits until the app has seen it, a thousand times. In between lie: the delivery by HTTP and its check, the queue,
//! the app's task, one HEAD, the memory on disk. No engine answers: what follows an activation is `benches/run deploy`.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and ends when it can't go on")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use axum::http::Uri;
use tagboat::config::Config;
use tagboat::engine::{Fleet, Ports, Settings};
use tagboat::http::webhooks::{self, HttpsFetch};
use tagboat::metrics::Metrics;
use tagboat::model::{Digest, EventKind};
use tagboat::store::SledStore;
use tagboat::verify::Verifier;
use tagboat::{docker, http, proxy, registry};
use tokio::time::{Duration, Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;

const APPS: usize = 300;
const PUSHES: usize = 1000;
/// So that an app is not announced again within the half second in which announcements count as one.
const PACE: Duration = Duration::from_millis(5);

/// What tags point to: repository → version.
type Tags = Arc<Mutex<HashMap<String, usize>>>;

fn digest(path: &str, version: usize) -> Digest {
    Digest::of(format!("{path} {version}").as_bytes())
}

async fn serve(tags: Tags) -> std::net::SocketAddr {
    let answer = move |uri: Uri| async move {
        let path = uri.path().split('/').nth(2).unwrap().to_owned();
        let version = tags.lock().unwrap().get(&path).copied().unwrap_or_default();
        axum::response::Response::builder()
            .header("docker-content-digest", digest(&path, version).as_str())
            .body(axum::body::Body::empty())
            .unwrap()
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(answer)).await.unwrap() });
    addr
}

fn config(addr: std::net::SocketAddr, state: &std::path::Path) -> Config {
    let apps: String = (0..APPS)
        .map(|n| format!("  app-{n}: {{image: '{addr}/app-{n}', route: {{host: app-{n}.test}}, every: 1h}}\n"))
        .collect();
    let text = format!(
        "state_dir: {}\nhooks: {{receivers: {{ci: {{sender: generic, token: secret}}}}}}\napps:\n{apps}",
        state.display()
    );
    Config::parse(&text, "bench", &|_| None).unwrap()
}

fn main() {
    if !std::env::args().any(|arg| arg == "--bench") {
        println!("run with `cargo bench --bench activation`");
        return;
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap().block_on(measure());
}

async fn measure() {
    let dir = tempfile::tempdir().unwrap();
    let (tags, metrics, shutdown) = (Tags::default(), Metrics::new(), CancellationToken::new());
    let addr = serve(tags.clone()).await;
    let config = config(addr, dir.path());
    let store = Arc::new(SledStore::open(dir.path()).unwrap());
    let settings = registry::Config { docker_config: Some("/nowhere".into()), ..registry::Config::default() };
    let nowhere = docker::Config { host: Some("unix:///nowhere.sock".to_owned()), cert_path: None };
    let registry = Arc::new(registry::Client::new(settings, metrics.clone(), store.clone()));
    let ports = Ports {
        gatekeeper: Arc::new(Verifier::new(registry.clone(), metrics.clone())),
        registry,
        engine: Arc::new(docker::Docker::new(nowhere, "bench".to_owned()).unwrap()),
        traffic: Arc::new(proxy::Client::new(dir.path().to_owned())),
        store: store.clone(),
        metrics: metrics.clone(),
    };
    let settings = Settings {
        owner: "bench".to_owned(),
        parallel_swaps: 1,
        ties: Arc::default(),
        pulls: Arc::default(),
        own: None,
        adopts: false,
    };
    let fleet = Fleet::start(ports, settings, config.apps.clone(), shutdown.clone());
    let handle = fleet.handle();
    let receivers = config.hooks.unwrap().receivers;
    let fetch = Arc::new(HttpsFetch::default());
    let (state, worker) = webhooks::build(receivers, handle.hinter(), store, fetch, metrics).unwrap();
    tokio::spawn(worker.run(shutdown.clone()));
    let door = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let hook = format!("http://{}/hooks/ci", door.local_addr().unwrap());
    let listener = http::Listener::try_from(door).unwrap();
    tokio::spawn(http::serve(listener, http::hooks_router(state), shutdown.clone()));
    while handle.statuses().iter().any(|app| app.newest.is_none() && app.last_check.is_none()) {
        sleep(PACE).await;
    }
    let mut events = handle.subscribe();
    let sender = reqwest::Client::builder().no_proxy().tls_certs_only([]).build().unwrap();
    let mut took: Vec<Duration> = Vec::new();
    for push in 0..PUSHES {
        let (name, version) = (format!("app-{}", push % APPS), push / APPS + 1);
        tags.lock().unwrap().insert(name.clone(), version);
        let body = format!("{{\"image\": \"{addr}/{name}:latest\"}}");
        let wanted = digest(&name, version);
        let begun = Instant::now();
        let delivery = sender.post(&hook).header("authorization", "Bearer secret").body(body).send();
        let (answer, ()) = tokio::join!(delivery, async {
            let seen = async {
                loop {
                    // A reader that lags behind loses what it has not read, which is not what it waits for.
                    if let Ok(event) = events.recv().await
                        && matches!(&event.kind, EventKind::DigestChanged { to, .. } if *to == wanted)
                    {
                        return;
                    }
                }
            };
            timeout(Duration::from_secs(30), seen).await.expect("a push was missed");
            took.push(begun.elapsed());
        });
        assert_eq!(answer.unwrap().status(), 202);
        sleep(PACE).await;
    }
    shutdown.cancel();
    fleet.join().await;
    took.sort();
    let at = |percent: usize| took[took.len() * percent / 100];
    println!(
        "{PUSHES} pushes to {APPS} apps, webhook sent to digest known: median {:?}, p90 {:?}, p99 {:?}, worst {:?}; 0 missed",
        at(50),
        at(90),
        at(99),
        took.last().unwrap()
    );
}
