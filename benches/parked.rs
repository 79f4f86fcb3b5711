//! What a request costs in memory while its app is held. Clients and proxy are one process here, so that this is more
//! than the proxy's share. Needs 40,000 file descriptors and says what it can't have.
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "a benchmark prints, and ends when it can't go on")]

// What the tests use of it is more than what this needs.
#[allow(dead_code, reason = "the stage is the tests'")]
#[path = "../tests/it/proxy/stage.rs"]
mod stage;

use std::time::Duration;

use stage::{App, Stage, eventually, shop};
use tagboat::model::{AppHold, HoldLimits};
use tagboat::ports::Traffic;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::Instant;

const COUNT: usize = 9_500;

/// What the process holds in memory, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

/// Each connection has two ends here.
fn descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    let wanted = maximum.map_or(40_000, |most| most.min(40_000));
    assert!(wanted >= 2 * COUNT as u64 + 500, "only {wanted} file descriptors are allowed: raise `ulimit -Hn`");
    setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum }).unwrap();
}

async fn parked(stage: &Stage, count: usize) {
    let now = || async { stage.stats().await.apps[&shop()].parked.now == count as u64 };
    eventually(&format!("{count} to wait"), now).await;
}

#[tokio::main]
async fn main() {
    // `cargo test` asks every target for its tests: this one has none.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    descriptors();
    let (old, new) = (App::named("old").await, App::named("new").await);
    let stage = Stage::serving(&old).await;
    let limits = HoldLimits { wait_ms: 60_000, requests: COUNT as u64, bytes: 64 << 20 };
    // What one case leaves behind is used by the next: each is measured against the beginning.
    let before = resident();
    for (label, head, body) in [
        ("ordinary heads", 500, 0),
        ("ordinary heads and an upload each", 500, 256 << 10),
        ("heads of 6 KiB", 6 << 10, 0),
    ] {
        let revision = stage.client.table().await.unwrap().apps[&shop()].revision;
        let mut streams = Vec::new();
        for _ in 0..COUNT {
            streams.push(TcpStream::connect(stage.proxy.addr).await.unwrap());
        }
        eventually("all to be connected", || async { stage.stats().await.connections == COUNT as u64 }).await;
        let idle = resident();
        stage.client.hold(&AppHold { app: shop(), expect: revision, lease_ms: 60_000, limits }).await.unwrap();
        let filler = "x".repeat(head);
        let length = if body > 0 { format!("Content-Length: {body}\r\n") } else { String::new() };
        let request = format!("GET / HTTP/1.1\r\nHost: a\r\n{length}X-Filler: {filler}\r\n\r\n");
        let piece = vec![b'x'; body];
        for stream in &mut streams {
            stream.write_all(request.as_bytes()).await.unwrap();
            // As much as the sockets take.
            let _ = stream.try_write(&piece);
        }
        parked(&stage, COUNT).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        let waiting = resident();
        println!(
            "{label}: {} KiB a connection idle, {} KiB parked; {} MiB for all",
            (idle - before) / COUNT / 1024,
            (waiting - before) / COUNT / 1024,
            (waiting - before) >> 20
        );
        let begun = Instant::now();
        stage.switch(&[if revision % 2 == 1 { &new } else { &old }]).await.unwrap();
        parked(&stage, 0).await;
        println!("let go within {:?}", begun.elapsed());
        drop(streams);
        eventually("all to be gone", || async { stage.stats().await.connections == 0 }).await;
    }
}
