//! One check of a thousand watched tags, beside `curl --parallel --parallel-max 16` asking the same in the same run.
//!
//! `cargo bench --bench check` prints wall time, CPU time and peak memory of both, and their ratios. The registry, the
//! checker and curl are processes of their own, so that the cost of one is not counted to another; the checker's
//! figures contain the start of its process and runtime, as curl's do, a freshly opened store, and the pattern that references
//! are parsed with, which is most of the memory.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and ends when it can't go on")]

use std::io::Write;
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;

use axum::http::{HeaderMap, Uri};
use futures_util::future::join_all;
use tagboat::metrics::Metrics;
use tagboat::model::{Cached, Digest, Repository, Tag};
use tagboat::ports::Registry;
use tagboat::registry::{Client, Config, RegistryConfig};
use tagboat::store::SledStore;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Duration, Instant, sleep};

const TAGS: usize = 1000;
const ROUNDS: u32 = 5;
/// curl's, and ours for the comparison; by default a registry gets 4 of our requests at once.
const PARALLEL: usize = 16;

#[derive(Clone, Copy, Default)]
struct Cost {
    wall: Duration,
    cpu: Duration,
    peak_kib: u64,
}

fn main() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve", latency] => runtime.block_on(serve(Duration::from_millis(latency.parse().unwrap()), None)),
        ["serve", latency, dir] => {
            runtime.block_on(serve(Duration::from_millis(latency.parse().unwrap()), Some(dir.as_ref())));
        }
        ["check", name, parallel, last] => {
            runtime.block_on(check(name, parallel.parse().unwrap(), last == "again", None))
        }
        ["check", name, parallel, last, dir] => {
            let ca = std::path::Path::new(dir).join("ca.pem");
            runtime.block_on(check(name, parallel.parse().unwrap(), last == "again", Some(ca)));
        }
        // What `cargo bench` passes; `cargo test --benches` does not, and a timed test is none.
        _ if args.iter().any(|arg| arg == "--bench") => runtime.block_on(compare()),
        _ => println!("run with `cargo bench --bench check`"),
    }
}

fn path(n: usize) -> String {
    format!("bench/app-{n}")
}

/// A registry that knows every tag; with TLS and HTTP/2 if there is a directory for its certificate.
async fn serve(latency: Duration, tls: Option<&std::path::Path>) {
    let answer = move |uri: Uri, headers: HeaderMap| async move {
        if !latency.is_zero() {
            sleep(latency).await;
        }
        let etag = format!("\"{}\"", Digest::of(uri.path().as_bytes()));
        let same = headers.get("if-none-match").is_some_and(|sent| sent.as_bytes() == etag.as_bytes());
        let status = if same { 304 } else { 200 };
        axum::response::Response::builder()
            .status(status)
            .header("docker-content-digest", etag.trim_matches('"'))
            .header("content-type", "application/vnd.oci.image.index.v1+json")
            .header("etag", etag)
            .body(axum::body::Body::empty())
            .unwrap()
    };
    let acceptor = tls.map(acceptor);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    std::io::stdout().flush().unwrap();
    let router = axum::Router::new().fallback(answer);
    match tls {
        None => axum::serve(listener, router).await.unwrap(),
        Some(_) => axum::serve(Tls { tcp: listener, acceptor: acceptor.unwrap() }, router).await.unwrap(),
    }
}

/// Writes the certificate to `ca.pem`.
fn acceptor(dir: &std::path::Path) -> tokio_rustls::TlsAcceptor {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    std::fs::write(dir.join("ca.pem"), made.cert.pem()).unwrap();
    let key = rustls_pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut tls = tls.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Arc::new(tls).into()
}

struct Tls {
    tcp: tokio::net::TcpListener,
    acceptor: tokio_rustls::TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = tokio_rustls::server::TlsStream<tokio::net::TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, addr) = self.tcp.accept().await.unwrap();
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, addr);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}

/// One check, or one that remembers an earlier one.
async fn check(addr: &str, parallel: usize, again: bool, ca_file: Option<std::path::PathBuf>) {
    let dir = tempfile::tempdir().unwrap();
    let settings = RegistryConfig { max_concurrent: Some(parallel), ca_file, ..RegistryConfig::default() };
    let registries = [(addr.to_string(), settings)].into();
    let config = Config { registries, docker_config: Some("/nowhere".into()), ..Config::default() };
    let store = Arc::new(SledStore::open(dir.path()).unwrap());
    let client = Client::new(config, Metrics::new(), store);
    let tag: Tag = "latest".parse().unwrap();
    let watched: Vec<(Repository, Cached)> = (0..TAGS)
        .map(|n| {
            let digest = Digest::of(format!("/v2/{}/manifests/latest", path(n)).as_bytes());
            let etag = Some(format!("\"{digest}\""));
            (format!("{addr}/{}", path(n)).parse().unwrap(), Cached { digest, etag })
        })
        .collect();
    let begun = Instant::now();
    let checks = watched.iter().map(|(repository, cached)| client.resolve(repository, &tag, again.then_some(cached)));
    for (resolved, (_, cached)) in join_all(checks).await.into_iter().zip(&watched) {
        let resolved = resolved.unwrap();
        assert_eq!((&resolved.digest, resolved.not_modified), (&cached.digest, again));
    }
    println!("{}", begun.elapsed().as_micros());
}

async fn compare() {
    println!("{TAGS} tags, {ROUNDS} rounds each in turn, medians of wall time, means of CPU time, worst peak");
    for latency in [0, 30] {
        let dir = tempfile::tempdir().unwrap();
        let tls = dir.path().to_str().unwrap();
        let (mut plain, addr) = server(&["serve", &latency.to_string()]).await;
        let (mut secure, secure_addr) = server(&["serve", &latency.to_string(), tls]).await;
        let (urls, secure_name) = (urls(&format!("http://{addr}")), format!("localhost:{}", secure_addr.port()));
        let secure_urls = self::urls(&format!("https://{secure_name}"));
        let ca = dir.path().join("ca.pem");
        let addr = addr.to_string();
        type Make<'a> = Box<dyn Fn() -> Command + 'a>;
        let rows: [(&str, usize, Make<'_>); 8] = [
            ("curl, 16 at once", PARALLEL, Box::new(|| curl(urls.path(), None))),
            ("tagboat, 16 at once, first check", PARALLEL, Box::new(|| this(&["check", &addr, "16", "first"]))),
            ("tagboat, 16 at once, unchanged", PARALLEL, Box::new(|| this(&["check", &addr, "16", "again"]))),
            ("tagboat, 4 at once, unchanged", 4, Box::new(|| this(&["check", &addr, "4", "again"]))),
            ("tagboat, 256 at once, unchanged", 256, Box::new(|| this(&["check", &addr, "256", "again"]))),
            ("curl, HTTP/2, 16 at once", PARALLEL, Box::new(|| curl(secure_urls.path(), Some(&ca)))),
            ("tagboat, HTTP/2, 16 at once", PARALLEL, Box::new(|| this(&["check", &secure_name, "16", "again", tls]))),
            ("tagboat, HTTP/2, 256 at once", 256, Box::new(|| this(&["check", &secure_name, "256", "again", tls]))),
        ];
        let mut runs = vec![Vec::new(); rows.len()];
        for _ in 0..ROUNDS {
            for ((_, _, command), runs) in rows.iter().zip(&mut runs) {
                runs.push(measure(command()).await);
            }
        }
        plain.kill().await.unwrap();
        secure.kill().await.unwrap();
        println!("\nlatency {latency} ms");
        let mut floor = None;
        for ((label, parallel, _), runs) in rows.iter().zip(&runs) {
            let is_floor = label.starts_with("curl");
            let (cost, _) = row(label, runs, floor.filter(|_| !is_floor), latency, *parallel);
            if is_floor {
                floor = Some(cost);
            }
        }
    }
}

async fn server(args: &[&str]) -> (Child, SocketAddr) {
    let mut server = this(args).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
    (server, line.trim().parse().unwrap())
}

/// Prints a line. `runs` are the costs of the process and, of ours, the time of the check alone.
fn row(
    label: &str,
    runs: &[(Cost, Option<Duration>)],
    floor: Option<Cost>,
    latency: u64,
    parallel: usize,
) -> (Cost, Option<Duration>) {
    let median = |mut times: Vec<Duration>| {
        times.sort();
        times.get(times.len() / 2).copied()
    };
    let cost = Cost {
        wall: median(runs.iter().map(|(cost, _)| cost.wall).collect()).unwrap(),
        cpu: runs.iter().map(|(cost, _)| cost.cpu).sum::<Duration>() / ROUNDS,
        peak_kib: runs.iter().map(|(cost, _)| cost.peak_kib).max().unwrap(),
    };
    let alone = median(runs.iter().filter_map(|(_, alone)| *alone).collect());
    let mib = |kib: u64| f64::from(u32::try_from(kib).unwrap()) / 1024.0;
    print!(
        "{label:34} wall {:6.3} s  cpu {:6.3} s  peak {:5.1} MiB",
        seconds(cost.wall),
        seconds(cost.cpu),
        mib(cost.peak_kib)
    );
    if let Some(floor) = floor {
        let ratio = |one: f64, other: f64| one / other.max(f64::EPSILON);
        print!(
            "  ratios {:4.2} {:4.2} {:4.2}",
            ratio(seconds(cost.wall), seconds(floor.wall)),
            ratio(seconds(cost.cpu), seconds(floor.cpu)),
            ratio(mib(cost.peak_kib), mib(floor.peak_kib)),
        );
    }
    if let (Some(alone), 1..) = (alone, latency) {
        let tags = f64::from(u32::try_from(TAGS).unwrap());
        let bound = tags * seconds(Duration::from_millis(latency)) / f64::from(u32::try_from(parallel).unwrap());
        print!("  check alone {:.3} s, {:.0} % of limit / latency", seconds(alone), 100.0 * bound / seconds(alone));
    }
    println!();
    (cost, alone)
}

fn seconds(time: Duration) -> f64 {
    time.as_secs_f64()
}

fn this(args: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(args).kill_on_drop(true);
    command
}

fn urls(base: &str) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for n in 0..TAGS {
        writeln!(file, "url = \"{base}/v2/{}/manifests/latest\"", path(n)).unwrap();
    }
    file
}

fn curl(urls: &std::path::Path, ca: Option<&std::path::Path>) -> Command {
    let mut command = Command::new("curl");
    if let Some(ca) = ca {
        command.arg("--http2").arg("--cacert").arg(ca);
    }
    command.args(["--silent", "--fail", "--head", "--noproxy", "*", "--parallel", "--parallel-max"]);
    command.arg(PARALLEL.to_string()).arg("--header").arg(
        "Accept: application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, \
         application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json",
    );
    // In parallel it shows its progress even when it is told to be silent.
    command.arg("--config").arg(urls).stderr(Stdio::null()).kill_on_drop(true);
    command
}

/// Runs a program to its end.
async fn measure(mut command: Command) -> (Cost, Option<Duration>) {
    let (before, begun) = (children_cpu(), Instant::now());
    let mut child: Child = command.stdout(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id().unwrap());
    let mut stdout = child.stdout.take().unwrap();
    let printed = tokio::spawn(async move {
        let mut text = String::new();
        stdout.read_to_string(&mut text).await.unwrap();
        text
    });
    let mut peak_kib = 0;
    let ended = loop {
        tokio::select! {
            ended = child.wait() => break ended.unwrap(),
            () = sleep(Duration::from_millis(2)) => peak_kib = peak_kib.max(peak(&status)),
        }
    };
    let wall = begun.elapsed();
    assert!(ended.success(), "{command:?}: {ended}");
    let alone = printed.await.unwrap().trim().parse().ok().map(Duration::from_micros);
    (Cost { wall, cpu: children_cpu() - before, peak_kib }, alone)
}

/// Peak resident memory so far; 0 when the process has just ended.
fn peak(status: &str) -> u64 {
    let text = std::fs::read_to_string(status).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}

/// CPU time of the children that have ended: fields 16 and 17 of `/proc/self/stat` (proc_pid_stat(5)), in ticks of a
/// hundredth of a second, on every Linux that this is built for.
fn children_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap();
    let (_, fields) = text.rsplit_once(')').unwrap();
    let ticks: u64 = fields.split_whitespace().skip(13).take(2).map(|field| field.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * 10)
}
