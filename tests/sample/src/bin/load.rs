//! Open-loop load over raw sockets: requests are due at a constant rate whatever the answers do, nothing is tried
//! again, and latency counts from the time a request was due. An idle kept connection that is found closed before
//! anything was written is replaced, as every HTTP client does; everything else that goes wrong is a failed request.
//!
//! `load --url http://127.0.0.1:8080 --rps 500 [--mode keepalive|close] [--conns 50] [--for SECONDS] [--slow F]
//! [--events F] [--ws F] [--upload F] [--patience SECONDS]` runs until the time is over or standard input ends, finishes what is under way,
//! and prints one JSON object.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tungstenite::protocol::{Role, WebSocket};

/// Steps of a stream, and the time between them.
const STEPS: (u64, u64) = (20, 100);
const UPLOAD: usize = 64 << 10;

struct Options {
    address: String,
    rps: f64,
    keep: bool,
    conns: usize,
    seconds: f64,
    patience: Duration,
    mix: [(Kind, f64); 4],
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    Plain,
    Slow,
    Events,
    Ws,
    Upload,
}

struct Outcome {
    due: Duration,
    took: Duration,
    kind: Kind,
    result: Result<String, String>,
}

fn options() -> Options {
    let args: Vec<String> = std::env::args().collect();
    let text = |name: &str, default: &str| -> String {
        let at = args.iter().position(|arg| arg == name);
        at.and_then(|at| args.get(at + 1)).map_or(default, String::as_str).to_owned()
    };
    let number = |name: &str, default: f64| text(name, &default.to_string()).parse().unwrap_or(default);
    let url = text("--url", "http://127.0.0.1:8080");
    Options {
        address: url.trim_start_matches("http://").trim_end_matches('/').to_owned(),
        rps: number("--rps", 100.0),
        keep: text("--mode", "keepalive") != "close",
        conns: number("--conns", 50.0) as usize,
        seconds: number("--for", f64::MAX),
        patience: Duration::from_secs_f64(number("--patience", 5.0)),
        mix: [
            (Kind::Slow, number("--slow", 0.0)),
            (Kind::Events, number("--events", 0.0)),
            (Kind::Ws, number("--ws", 0.0)),
            (Kind::Upload, number("--upload", 0.0)),
        ],
    }
}

fn main() {
    let options = Arc::new(options());
    let stop = Arc::new(AtomicBool::new(false));
    if options.seconds == f64::MAX {
        let stop = stop.clone();
        thread::spawn(move || {
            let _ = io::stdin().read_to_end(&mut Vec::new());
            stop.store(true, Ordering::SeqCst);
        });
    }
    let begun = (Instant::now(), SystemTime::now());
    let (results, outcomes) = mpsc::channel::<Outcome>();
    let (work, queue) = mpsc::channel::<(Duration, u64)>();
    let queue = Arc::new(Mutex::new(queue));
    let mut workers = Vec::new();
    for _ in 0..options.conns {
        let (queue, results, options) = (queue.clone(), results.clone(), options.clone());
        workers.push(thread::spawn(move || worker(&queue, &results, &options, begun.0)));
    }
    let late = Arc::new(AtomicU64::new(0));
    let collected = thread::spawn(move || outcomes.into_iter().collect::<Vec<_>>());
    let mut streams = Vec::new();
    let mut sent = 0_u64;
    while !stop.load(Ordering::SeqCst) {
        let due = Duration::from_secs_f64(sent as f64 / options.rps);
        if due.as_secs_f64() >= options.seconds {
            break;
        }
        if let Some(wait) = due.checked_sub(begun.0.elapsed()) {
            thread::sleep(wait);
        } else {
            late.fetch_max((begun.0.elapsed() - due).as_micros() as u64, Ordering::Relaxed);
        }
        match kind(sent, &options) {
            // Long ones have a thread of their own: they must not hold up what is due.
            kind @ (Kind::Events | Kind::Ws | Kind::Slow) => {
                let (results, options) = (results.clone(), options.clone());
                streams.push(thread::spawn(move || {
                    let result = match kind {
                        Kind::Events => events(&options),
                        Kind::Ws => websocket(&options),
                        _ => fresh(&options, sent, kind),
                    };
                    let _ = results.send(Outcome { due, took: begun.0.elapsed().saturating_sub(due), kind, result });
                }));
            }
            _ => drop(work.send((due, sent))),
        }
        sent += 1;
    }
    drop(work);
    for thread in workers.into_iter().chain(streams) {
        let _ = thread.join();
    }
    drop(results);
    let outcomes = collected.join().unwrap_or_default();
    println!("{}", report(&outcomes, begun.1, late.load(Ordering::Relaxed)));
}

/// Spread evenly and the same in every run.
fn kind(number: u64, options: &Options) -> Kind {
    let mut point = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40) as f64 / (1_u64 << 24) as f64;
    for (kind, share) in options.mix {
        if point < share {
            return kind;
        }
        point -= share;
    }
    Kind::Plain
}

fn worker(
    queue: &Mutex<mpsc::Receiver<(Duration, u64)>>,
    results: &mpsc::Sender<Outcome>,
    options: &Options,
    begun: Instant,
) {
    let mut kept: Option<BufReader<TcpStream>> = None;
    // RFC 9112 9.6: after an answer that says so nothing more is sent on the connection.
    let mut last;
    loop {
        let next = queue.lock().map(|queue| queue.recv());
        let Ok(Ok((due, number))) = next else { return };
        let kind = kind(number, options);
        let connection = kept.take().filter(open).map_or_else(|| connect(options), Ok);
        last = !options.keep;
        let result = connection.and_then(|mut connection| {
            let result = exchange(&mut connection, options, number, kind, &mut last);
            if !last && result.is_ok() {
                kept = Some(connection);
            }
            result
        });
        let took = begun.elapsed().saturating_sub(due);
        let _ = results.send(Outcome { due, took, kind, result });
    }
}

/// False when the other end has closed the idle connection.
fn open(connection: &BufReader<TcpStream>) -> bool {
    let stream = connection.get_ref();
    let _ = stream.set_nonblocking(true);
    let idle = matches!(stream.peek(&mut [0]), Err(error) if error.kind() == io::ErrorKind::WouldBlock);
    let _ = stream.set_nonblocking(false);
    idle
}

fn connect(options: &Options) -> Result<BufReader<TcpStream>, String> {
    let address = options.address.parse().map_err(|_| "bad address".to_owned())?;
    let stream =
        TcpStream::connect_timeout(&address, options.patience).map_err(|e| format!("connect: {:?}", e.kind()))?;
    let _ = stream.set_nodelay(true);
    let _ = stream.set_read_timeout(Some(options.patience));
    let _ = stream.set_write_timeout(Some(options.patience));
    Ok(BufReader::new(stream))
}

fn fresh(options: &Options, number: u64, kind: Kind) -> Result<String, String> {
    exchange(&mut connect(options)?, options, number, kind, &mut true)
}

/// One request; the version that answered. `last` says that the connection is to be closed after it, and is set when
/// the answer says so.
fn exchange(
    connection: &mut BufReader<TcpStream>,
    options: &Options,
    number: u64,
    kind: Kind,
    last: &mut bool,
) -> Result<String, String> {
    let host = &options.address;
    let end = if *last { "Connection: close\r\n" } else { "" };
    let (request, payload) = match kind {
        Kind::Upload => {
            let payload: Vec<u8> = (0..UPLOAD).map(|i| (i as u64 ^ number) as u8).collect();
            (format!("POST /upload HTTP/1.1\r\nHost: {host}\r\nContent-Length: {UPLOAD}\r\n{end}\r\n"), payload)
        }
        Kind::Slow => (format!("GET /slow?ms=300&x={number} HTTP/1.1\r\nHost: {host}\r\n{end}\r\n"), vec![]),
        _ => (format!("GET /id?x={number} HTTP/1.1\r\nHost: {host}\r\n{end}\r\n"), vec![]),
    };
    let io = |what: &'static str| move |error: io::Error| format!("{what}: {:?}", error.kind());
    connection.get_mut().write_all(request.as_bytes()).map_err(io("write"))?;
    connection.get_mut().write_all(&payload).map_err(io("write"))?;
    let body = answer(connection, last)?;
    let body: Value = serde_json::from_slice(&body).map_err(|_| "no JSON".to_owned())?;
    let version = body["version"].as_str().unwrap_or_default().to_owned();
    let right = if kind == Kind::Upload {
        body["length"] == UPLOAD && body["sum"] == format!("{:016x}", fnv(&payload))
    } else {
        body["id"] == number.to_string()
            && body["sum"] == format!("{:016x}", fnv(format!("{version}{number}").as_bytes()))
    };
    if right { Ok(version) } else { Err("wrong body".to_owned()) }
}

/// Reads an answer with a length; its body.
fn answer(connection: &mut BufReader<TcpStream>, last: &mut bool) -> Result<Vec<u8>, String> {
    let mut status = String::new();
    let mut length = 0_usize;
    loop {
        let mut line = String::new();
        let read = connection.read_line(&mut line).map_err(|error| format!("read: {:?}", error.kind()))?;
        if read == 0 {
            return Err("read: end of connection".to_owned());
        }
        if status.is_empty() {
            status = line.split_whitespace().nth(1).unwrap_or_default().to_owned();
        }
        let lower = line.to_ascii_lowercase();
        if let Some(value) = lower.strip_prefix("content-length:") {
            length = value.trim().parse().unwrap_or(0);
        }
        *last |= lower.strip_prefix("connection:").is_some_and(|value| value.trim() == "close");
        if line == "\r\n" {
            break;
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body).map_err(|error| format!("read: {:?}", error.kind()))?;
    if status.starts_with('2') { Ok(body) } else { Err(format!("status {status}")) }
}

/// A stream of events must come whole, from one version.
fn events(options: &Options) -> Result<String, String> {
    let mut connection = connect(options)?;
    let (n, ms) = STEPS;
    let request = format!("GET /events?n={n}&ms={ms} HTTP/1.1\r\nHost: {}\r\n\r\n", options.address);
    connection.get_mut().write_all(request.as_bytes()).map_err(|error| format!("write: {:?}", error.kind()))?;
    let mut version = String::new();
    let mut seen = 0;
    loop {
        let mut line = String::new();
        let read = connection.read_line(&mut line).map_err(|error| format!("stream: {:?}", error.kind()))?;
        if read == 0 {
            return Err("stream: end of connection".to_owned());
        }
        if let Some(data) = line.strip_prefix("data: ") {
            version = data.split_whitespace().next().unwrap_or_default().to_owned();
            seen += 1;
        }
        if line == "0\r\n" {
            return if seen == n { Ok(version) } else { Err(format!("stream: {seen} events")) };
        }
    }
}

fn websocket(options: &Options) -> Result<String, String> {
    let mut connection = connect(options)?;
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        options.address
    );
    connection.get_mut().write_all(request.as_bytes()).map_err(|error| format!("write: {:?}", error.kind()))?;
    let mut status = String::new();
    loop {
        let mut line = String::new();
        let read = connection.read_line(&mut line).map_err(|error| format!("upgrade: {:?}", error.kind()))?;
        if status.is_empty() {
            line.trim_end().clone_into(&mut status);
        }
        if read == 0 || line == "\r\n" {
            break;
        }
    }
    if !status.contains("101") {
        return Err(format!("upgrade: {status}"));
    }
    let mut socket = WebSocket::from_raw_socket(connection.into_inner(), Role::Client, None);
    let mut version = String::new();
    for step in 0..STEPS.0 {
        socket.send(format!("m{step}").into()).map_err(|error| format!("ws send: {error}"))?;
        let back = socket.read().map_err(|error| format!("ws read: {error}"))?;
        let text = back.to_text().unwrap_or_default().to_owned();
        let (from, rest) = text.split_once(' ').unwrap_or_default();
        if rest != format!("m{step}") {
            return Err("ws: wrong echo".to_owned());
        }
        from.clone_into(&mut version);
        thread::sleep(Duration::from_millis(STEPS.1));
    }
    let _ = socket.close(None);
    Ok(version)
}

fn report(outcomes: &[Outcome], begun: SystemTime, late_us: u64) -> Value {
    let unix = begun.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64;
    let mut kinds: BTreeMap<String, [u64; 2]> = BTreeMap::new();
    let mut reasons: BTreeMap<&str, u64> = BTreeMap::new();
    let mut versions: BTreeMap<&str, (u64, u64, u64)> = BTreeMap::new();
    let mut latencies: Vec<u64> = Vec::new();
    for outcome in outcomes {
        let count = kinds.entry(format!("{:?}", outcome.kind).to_lowercase()).or_default();
        count[0] += 1;
        let answered = (outcome.due + outcome.took).as_millis() as u64 + unix;
        match &outcome.result {
            Ok(version) => {
                let seen = versions.entry(version).or_insert((0, answered, answered));
                *seen = (seen.0 + 1, seen.1.min(answered), seen.2.max(answered));
                if matches!(outcome.kind, Kind::Plain | Kind::Upload) {
                    latencies.push(outcome.took.as_micros() as u64);
                }
            }
            Err(reason) => {
                count[1] += 1;
                *reasons.entry(reason).or_default() += 1;
            }
        }
    }
    latencies.sort_unstable();
    let at = |share: f64| {
        let index = (latencies.len() as f64 * share) as usize;
        latencies.get(index.min(latencies.len().saturating_sub(1))).map(|us| *us as f64 / 1000.0)
    };
    let failed: u64 = kinds.values().map(|count| count[1]).sum();
    json!({
        "sent": outcomes.len(),
        "failed": failed,
        "kinds": kinds.iter().map(|(kind, c)| (kind.clone(), json!({"sent": c[0], "failed": c[1]}))).collect::<serde_json::Map<_, _>>(),
        "reasons": reasons,
        "versions": versions.iter().map(|(v, s)| ((*v).to_owned(), json!({"answers": s.0, "first_unix_ms": s.1, "last_unix_ms": s.2}))).collect::<serde_json::Map<_, _>>(),
        "latency_ms": {"p50": at(0.5), "p99": at(0.99), "p999": at(0.999), "max": at(1.0)},
        "generator_late_ms": late_us as f64 / 1000.0,
    })
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}
