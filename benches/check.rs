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
        ["serve", latency] => runtime.block_on(serve(Duration::from_millis(latency.parse().unwrap()))),
        ["check", addr, parallel, last] => {
            runtime.block_on(check(addr.parse().unwrap(), parallel.parse().unwrap(), last == "again"));
        }
        // What `cargo bench` passes; `cargo test --benches` does not, and a timed test is none.
        _ if args.iter().any(|arg| arg == "--bench") => runtime.block_on(compare()),
        _ => println!("run with `cargo bench --bench check`"),
    }
}

fn path(n: usize) -> String {
    format!("bench/app-{n}")
}

/// A registry that knows every tag.
async fn serve(latency: Duration) {
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
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    println!("{}", listener.local_addr().unwrap());
    std::io::stdout().flush().unwrap();
    axum::serve(listener, axum::Router::new().fallback(answer)).await.unwrap();
}

/// One check, or one that remembers an earlier one.
async fn check(addr: SocketAddr, parallel: usize, again: bool) {
    let dir = tempfile::tempdir().unwrap();
    let settings = RegistryConfig { max_concurrent: Some(parallel), ..RegistryConfig::default() };
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
        let mut server = this(&["serve", &latency.to_string()]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(server.stdout.take().unwrap()).read_line(&mut line).await.unwrap();
        let addr: SocketAddr = line.trim().parse().unwrap();
        let urls = urls(addr);
        let (mut curls, mut firsts, mut agains, mut polite) = (vec![], vec![], vec![], vec![]);
        for _ in 0..ROUNDS {
            curls.push(measure(curl(urls.path())).await);
            firsts.push(measure(this(&["check", line.trim(), &PARALLEL.to_string(), "first"])).await);
            agains.push(measure(this(&["check", line.trim(), &PARALLEL.to_string(), "again"])).await);
            polite.push(measure(this(&["check", line.trim(), "4", "again"])).await);
        }
        server.kill().await.unwrap();
        println!("\nlatency {latency} ms");
        let (floor, _) = row("curl, 16 at once", &curls, None, latency, PARALLEL);
        for (label, runs, parallel) in [
            ("tagboat, 16 at once, first check", &firsts, PARALLEL),
            ("tagboat, 16 at once, unchanged", &agains, PARALLEL),
            ("tagboat, 4 at once, unchanged", &polite, 4),
        ] {
            row(label, runs, Some(floor), latency, parallel);
        }
    }
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

fn urls(addr: SocketAddr) -> tempfile::NamedTempFile {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    for n in 0..TAGS {
        writeln!(file, "url = \"http://{addr}/v2/{}/manifests/latest\"", path(n)).unwrap();
    }
    file
}

fn curl(urls: &std::path::Path) -> Command {
    let mut command = Command::new("curl");
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
