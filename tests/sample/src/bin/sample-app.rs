//! A small web app whose behaviour at start, under load and at SIGTERM is chosen by environment variables, so that an
//! image can be good or bad in every way that matters to a deployment.
//!
//! `VERSION`, `PORT` (8080), `START_DELAY_MS`, `EXIT_AT_START` (code), `NEVER_HEALTHY=1`, `CRASH_AFTER_MS` (exit 3),
//! `ERRORS_AFTER_MS` (answers 500), `EXCLUSIVE` (a file that it locks; it ends with code 9 when another has it). It ends at once on SIGTERM, whatever
//! is under way.
//! `UNHEALTHY_AFTER_MS` (`/healthz` answers 503 from then on), `NEVER_WARM=1` (`POST /warm` answers 500).
//! `sample-app -job WORD` is a job: it writes `WORD begin`, waits `-ms N`, writes `WORD end` to the file `-to FILE`, each
//! with the variables that tagboat gives, and ends with `-code N`; `JOB_MS` and `JOB_CODE` of the image come first.
//! `sample-app -healthcheck` asks `/healthz` and exits 0 or 1.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use signal_hook::consts::SIGTERM;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::{Role, WebSocket};

static ERRORS: AtomicBool = AtomicBool::new(false);
static SICK: AtomicBool = AtomicBool::new(false);

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn millis(name: &str) -> Option<Duration> {
    env(name)?.parse().ok().map(Duration::from_millis)
}

fn port() -> String {
    env("PORT").unwrap_or_else(|| "8080".to_owned())
}

fn version() -> String {
    env("VERSION").unwrap_or_else(|| "v0".to_owned())
}

fn main() -> io::Result<()> {
    if std::env::args().any(|arg| arg == "-healthcheck") {
        std::process::exit(i32::from(!healthy()));
    }
    if std::env::args().any(|arg| arg == "-job") {
        std::process::exit(job()?);
    }
    println!("sample-app {} starts", version());
    // As process 1 of a container it would otherwise not end at all.
    signal_hook::flag::register_conditional_shutdown(SIGTERM, 0, Arc::new(AtomicBool::new(true)))?;
    if let Some(code) = env("EXIT_AT_START") {
        eprintln!("configuration missing: DATABASE_URL is not set");
        std::process::exit(code.parse().unwrap_or(1));
    }
    let _lock = env("EXCLUSIVE").map(|path| lock(&path)).transpose()?;
    if let Some(delay) = millis("START_DELAY_MS") {
        thread::sleep(delay);
    }
    after("CRASH_AFTER_MS", || {
        eprintln!("panic: index out of range");
        std::process::exit(3);
    });
    after("UNHEALTHY_AFTER_MS", || SICK.store(true, Ordering::Relaxed));
    after("ERRORS_AFTER_MS", || ERRORS.store(true, Ordering::Relaxed));
    let listener = TcpListener::bind(format!("0.0.0.0:{}", port()))?;
    println!("listening on {}", listener.local_addr()?);
    for stream in listener.incoming() {
        let Ok(stream) = stream else { continue };
        thread::Builder::new().stack_size(128 << 10).spawn(move || drop(connection(stream)))?;
    }
    Ok(())
}

/// The word after another one on the command line.
fn argument(name: &str) -> Option<String> {
    std::env::args().skip_while(|arg| arg != name).nth(1)
}

fn job() -> io::Result<i32> {
    let word = argument("-job").unwrap_or_default();
    let note = |what: &str| -> io::Result<()> {
        let told: Vec<String> = std::env::vars()
            .filter(|(key, _)| key.starts_with("TAGBOAT_"))
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        let line = format!("{word} {what} {} {}\n", version(), told.join(" "));
        print!("{line}");
        match argument("-to") {
            Some(path) => std::fs::File::options().create(true).append(true).open(path)?.write_all(line.as_bytes()),
            None => Ok(()),
        }
    };
    note("begin")?;
    let wait = env("JOB_MS").or_else(|| argument("-ms")).and_then(|text| text.parse().ok()).unwrap_or(0);
    thread::sleep(Duration::from_millis(wait));
    note("end")?;
    let code = env("JOB_CODE").or_else(|| argument("-code")).and_then(|text| text.parse().ok()).unwrap_or(0);
    if code != 0 {
        eprintln!("relation \"orders\" already exists");
    }
    Ok(code)
}

/// As a database does that must never be opened twice.
fn lock(path: &str) -> io::Result<std::fs::File> {
    let file = std::fs::File::options().create(true).append(true).open(path)?;
    if file.try_lock().is_err() {
        eprintln!("{path} is locked by another process");
        std::process::exit(9);
    }
    Ok(file)
}

fn after(name: &str, action: impl FnOnce() + Send + 'static) {
    if let Some(delay) = millis(name) {
        thread::spawn(move || {
            thread::sleep(delay);
            action();
        });
    }
}

fn healthy() -> bool {
    let ask = || -> io::Result<bool> {
        let mut stream = TcpStream::connect(format!("127.0.0.1:{}", port()))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer.starts_with("HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}

/// A request's head.
struct Head {
    method: String,
    path: String,
    query: String,
    headers: Vec<(String, String)>,
}

impl Head {
    fn read(reader: &mut impl BufRead) -> io::Result<Option<Self>> {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut parts = line.split_whitespace();
        let method = parts.next().unwrap_or_default().to_owned();
        let target = parts.next().unwrap_or("/");
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let (path, query) = (path.to_owned(), query.to_owned());
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let line = line.trim_end();
            if line.is_empty() {
                return Ok(Some(Self { method, path, query, headers }));
            }
            if let Some((name, value)) = line.split_once(':') {
                headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
            }
        }
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    fn parameter(&self, name: &str) -> Option<&str> {
        self.query.split('&').find_map(|pair| pair.split_once('=').filter(|(n, _)| *n == name)).map(|(_, value)| value)
    }

    fn number(&self, name: &str, default: u64) -> u64 {
        self.parameter(name).and_then(|value| value.parse().ok()).unwrap_or(default)
    }
}

fn connection(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    while let Some(head) = Head::read(&mut reader)? {
        let close = head.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        match (head.method.as_str(), head.path.as_str()) {
            (_, "/events") => return events(&mut stream, &head),
            (_, "/ws") if head.header("upgrade").is_some() => return echo(stream, &head),
            ("POST", "/warm") => {
                println!("warmed");
                let status = if env("NEVER_WARM").is_some() { 500 } else { 200 };
                answer(&mut stream, status, "text/plain", "warm\n", close)?;
            }
            ("POST" | "PUT", _) => {
                let (length, sum) = body(&mut reader, &head)?;
                let text = format!("{{\"version\":\"{}\",\"length\":{length},\"sum\":\"{sum:016x}\"}}", version());
                answer(&mut stream, 200, "application/json", &text, close)?;
            }
            (_, "/healthz") => {
                let sick = env("NEVER_HEALTHY").is_some() || SICK.load(Ordering::Relaxed);
                let status = if sick { 503 } else { 200 };
                answer(&mut stream, status, "text/plain", "health\n", close)?;
            }
            (_, path) => page(&mut stream, &head, path, close)?,
        }
        if close {
            return Ok(());
        }
    }
    Ok(())
}

fn page(stream: &mut TcpStream, head: &Head, path: &str, close: bool) -> io::Result<()> {
    if path == "/slow" {
        thread::sleep(Duration::from_millis(head.number("ms", 300)));
    }
    if ERRORS.load(Ordering::Relaxed) {
        return answer(stream, 500, "text/plain", "out of order\n", close);
    }
    match path {
        "/" => {
            let text = format!("<!doctype html><title>sample</title><h1>sample-app {}</h1>\n", version());
            answer(stream, 200, "text/html", &text, close)
        }
        "/id" | "/slow" => {
            let id = head.parameter("x").unwrap_or_default();
            let sum = fnv(format!("{}{id}", version()).as_bytes());
            let text = format!("{{\"version\":\"{}\",\"id\":\"{id}\",\"sum\":\"{sum:016x}\"}}", version());
            answer(stream, 200, "application/json", &text, close)
        }
        // By which container it was answered.
        "/host" => answer(stream, 200, "text/plain", &env("HOSTNAME").unwrap_or_default(), close),
        "/headers" => {
            let lines: Vec<String> = head.headers.iter().map(|(n, v)| format!("{n}: {v}\n")).collect();
            answer(stream, 200, "text/plain", &lines.concat(), close)
        }
        _ => answer(stream, 404, "text/plain", "no such page\n", close),
    }
}

fn answer(stream: &mut TcpStream, status: u16, kind: &str, text: &str, close: bool) -> io::Result<()> {
    let connection = if close { "close" } else { "keep-alive" };
    let length = text.len();
    let head = format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: {connection}\r\n\r\n"
    );
    stream.write_all([head.as_bytes(), text.as_bytes()].concat().as_slice())
}

/// Server-sent events: `n` of them, `ms` apart, chunked.
fn events(stream: &mut TcpStream, head: &Head) -> io::Result<()> {
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n")?;
    for number in 0..head.number("n", 20) {
        let event = format!("data: {} {number}\n\n", version());
        stream.write_all(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes())?;
        thread::sleep(Duration::from_millis(head.number("ms", 100)));
    }
    stream.write_all(b"0\r\n\r\n")
}

/// WebSocket: every message comes back with the version in front.
fn echo(mut stream: TcpStream, head: &Head) -> io::Result<()> {
    let key = derive_accept_key(head.header("sec-websocket-key").unwrap_or_default().as_bytes());
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {key}\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    let mut socket = WebSocket::from_raw_socket(stream, Role::Server, None);
    while let Ok(message) = socket.read() {
        if let Ok(text) = message.to_text()
            && message.is_text()
        {
            let back = format!("{} {text}", version());
            if socket.send(back.into()).is_err() {
                break;
            }
        }
    }
    Ok(())
}

/// Reads a body with a length or in chunks; its length and sum.
fn body(reader: &mut impl BufRead, head: &Head) -> io::Result<(usize, u64)> {
    let mut bytes = Vec::new();
    if let Some(length) = head.header("content-length").and_then(|value| value.parse().ok()) {
        reader.take(length).read_to_end(&mut bytes)?;
    } else if head.header("transfer-encoding").is_some() {
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let size = u64::from_str_radix(line.trim(), 16).map_err(io::Error::other)?;
            reader.by_ref().take(size).read_to_end(&mut bytes)?;
            reader.read_line(&mut String::new())?;
            if size == 0 {
                break;
            }
        }
    }
    Ok((bytes.len(), fnv(&bytes)))
}

/// FNV-1a: enough to see that a body is whole.
fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}
