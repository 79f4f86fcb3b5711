//! A proxy between a client and apps that the test writes.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tagboat::model::{
    AppName, AppSwitch, ContainerId, Generation, InFlight, ListenAddr, Route, RouteSet, SwitchAck, Target,
    TargetCounters, TrafficStats,
};
use tagboat::ports::{Traffic, TrafficError};
use tagboat::proxy::{Client, Config, End, Error, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{AbortHandle, JoinHandle, JoinSet};
use tokio::time::Instant;

/// Whatever a test waits for comes within this time, on a busy machine too.
pub(crate) const SOON: Duration = Duration::from_secs(20);

/// One running proxy.
pub(crate) struct Proxy {
    pub(crate) addr: SocketAddr,
    pub(crate) listener: std::net::TcpListener,
    end: Option<oneshot::Sender<End>>,
    running: JoinHandle<Result<(), Error>>,
}

impl Proxy {
    /// Starts generation `number` in `dir`, on a listener that other generations may share.
    pub(crate) async fn start(dir: &Path, number: u64, listener: std::net::TcpListener) -> Self {
        let addr = listener.local_addr().unwrap();
        let control = dir.join(format!("proxy-{number}.sock"));
        let config = Config {
            state_dir: dir.to_owned(),
            control: control.clone(),
            listeners: vec![(name(addr), listener.try_clone().unwrap())],
            request_grace: Duration::from_secs(5),
            stream_grace: Duration::from_secs(10),
        };
        let (end, ended) = oneshot::channel();
        let running = tokio::spawn(run(config, async { ended.await.unwrap_or(End::Stop) }));
        eventually("the control socket", || async { control.exists() }).await;
        Self { addr, listener, end: Some(end), running }
    }

    pub(crate) fn ask_to_end(&mut self, how: End) {
        self.end.take().unwrap().send(how).unwrap();
    }

    /// Waits for its end.
    pub(crate) async fn ended(self) {
        tokio::time::timeout(SOON, self.running).await.expect("the proxy ends").unwrap().unwrap();
    }
}

/// The usual case: one proxy, one app `shop` that takes every request.
pub(crate) struct Stage {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) proxy: Proxy,
    pub(crate) client: Client,
}

impl Stage {
    pub(crate) async fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let proxy = Proxy::start(dir.path(), 1, listener()).await;
        let client = Client::new(dir.path().to_owned());
        client.set_routes(&[routes("shop", proxy.addr)]).await.unwrap();
        Self { dir, proxy, client }
    }

    /// With an app that serves already.
    pub(crate) async fn serving(app: &App) -> Self {
        let stage = Self::new().await;
        stage.switch(&[app]).await.unwrap();
        stage
    }

    /// Moves `shop` to these.
    pub(crate) async fn switch(&self, to: &[&App]) -> Result<SwitchAck, TrafficError> {
        let revision = self.client.table().await?.apps[&shop()].revision;
        self.client.switch(&[moved("shop", revision, to)]).await
    }

    pub(crate) async fn in_flight(&self, app: &App) -> InFlight {
        self.client.in_flight(&app.target.container).await.unwrap()
    }

    pub(crate) async fn idle(&self, app: &App) {
        eventually("nothing under way", || async { self.in_flight(app).await == InFlight::default() }).await;
    }

    pub(crate) async fn stats(&self) -> TrafficStats {
        self.client.stats().await.unwrap().remove(0)
    }

    pub(crate) async fn counted(&self, app: &App) -> TargetCounters {
        self.stats().await.targets[&app.target.container].clone()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Sends bytes on a connection of their own and reads all that comes back.
    pub(crate) async fn exchange(&self, request: &str) -> String {
        let mut stream = self.connect().await;
        stream.write_all(request.as_bytes()).await.unwrap();
        read_all(&mut stream).await
    }

    /// A GET on a connection of its own.
    pub(crate) async fn get(&self, path: &str) -> String {
        self.exchange(&format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\nConnection: close\r\n\r\n")).await
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.proxy.addr).await.unwrap();
        stream.set_nodelay(true).unwrap();
        stream
    }
}

pub(crate) fn listener() -> std::net::TcpListener {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap()
}

fn name(addr: SocketAddr) -> ListenAddr {
    addr.to_string().parse().unwrap()
}

pub(crate) fn shop() -> AppName {
    "shop".parse().unwrap()
}

pub(crate) fn routes(app: &str, addr: SocketAddr) -> RouteSet {
    RouteSet { app: app.parse().unwrap(), routes: vec![Route { listen: name(addr), host: None, path: "/".to_owned() }] }
}

pub(crate) fn moved(app: &str, expect: u64, to: &[&App]) -> AppSwitch {
    AppSwitch { app: app.parse().unwrap(), expect, to: to.iter().map(|app| app.target.clone()).collect() }
}

/// An app. When it is dropped it is gone at once, with all of its connections, as after a SIGKILL.
pub(crate) struct App {
    pub(crate) target: Target,
    accepted: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Drop for App {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl App {
    /// One that does with each connection what the test says.
    pub(crate) async fn raw<F: Future<Output = ()> + Send + 'static>(
        name: &str,
        serve: impl Fn(TcpStream) -> F + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = Target {
            container: ContainerId(name.to_owned()),
            addr: listener.local_addr().unwrap(),
            generation: Generation(1),
        };
        let accepted = Arc::new(AtomicUsize::new(0));
        let count = accepted.clone();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                count.fetch_add(1, Ordering::SeqCst);
                connections.spawn(serve(stream));
                while connections.try_join_next().is_some() {}
            }
        });
        Self { target, accepted, task: task.abort_handle() }
    }

    /// One that answers each request by a function.
    pub(crate) async fn http<F, B>(name: &str, answer: impl Fn(Request<Incoming>) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Response<B>> + Send + 'static,
        B: http_body::Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>> + Send + 'static,
    {
        let answer = Arc::new(answer);
        Self::raw(name, move |stream| {
            let answer = answer.clone();
            let service = service_fn(move |request| {
                let answered = answer(request);
                async move { Ok::<_, std::convert::Infallible>(answered.await) }
            });
            async move {
                // A connection that breaks is what many tests are about.
                let _ =
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
            }
        })
        .await
    }

    /// One that says its name.
    pub(crate) async fn named(name: &str) -> Self {
        let text = Bytes::from(name.to_owned());
        Self::http(name, move |_| std::future::ready(Response::new(Full::new(text.clone())))).await
    }

    /// An address at which nothing listens.
    pub(crate) async fn absent(name: &str) -> Self {
        let app = Self::named(name).await;
        app.task.abort();
        let addr = app.target.addr;
        eventually("the app to be gone", || async move { TcpStream::connect(addr).await.is_err() }).await;
        app
    }

    /// Connections that it has accepted.
    pub(crate) fn accepted(&self) -> usize {
        self.accepted.load(Ordering::SeqCst)
    }
}

/// Waits for something to become true.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let deadline = Instant::now() + SOON;
    while !holds().await {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Reads until the other side closes, or breaks off.
pub(crate) async fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(SOON, stream.read_to_end(&mut bytes)).await.expect("the connection is closed");
    // What came before a reset is what counts.
    drop(read);
    String::from_utf8(bytes).unwrap()
}

/// Reads until what was read ends with `end`.
pub(crate) async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut bytes = Vec::new();
    let read = async {
        while !bytes.ends_with(end.as_bytes()) {
            match stream.read_u8().await {
                Ok(byte) => bytes.push(byte),
                Err(error) => panic!("{error} after {:?}, before {end:?}", String::from_utf8_lossy(&bytes)),
            }
        }
    };
    if tokio::time::timeout(SOON, read).await.is_err() {
        panic!("no {end:?} in {:?}", String::from_utf8_lossy(&bytes));
    }
    String::from_utf8(bytes).unwrap()
}

/// The head of a message.
pub(crate) async fn read_head(stream: &mut TcpStream) -> String {
    read_until(stream, "\r\n\r\n").await
}
