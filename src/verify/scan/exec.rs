//! A program that scans: told by its arguments and environment, and answering by its exit code.
//!
//! 0 allows, the codes in `deny` deny, 75 (`EX_TEMPFAIL` of sysexits.h) asks for patience; every other end is a failure.
//! A program that ends with 0 may say otherwise in JSON on its standard output, but no output makes another code allow.

use std::process::Stdio;

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};

use crate::model::{Env, ScanSubject, ScanVerdict};

use super::verdict::{Said, shown};
use super::{OUTPUT, reference};

const LATER: i32 = 75;

/// What of our environment a scanner gets: enough to find itself, its cache and its way out. Everything else may hold
/// secrets of ours.
const PASSED: [&str; 16] = [
    "PATH",
    "HOME",
    "USER",
    "LANG",
    "TZ",
    "TMPDIR",
    "XDG_CACHE_HOME",
    "DOCKER_CONFIG",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];

/// A scanner and what it has started: killed, all of it, unless it has ended.
struct Group {
    child: Child,
    leader: Option<Pid>,
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(leader) = self.leader {
            // That nothing is left of it is fine.
            let _ = kill_process_group(leader, Signal::KILL);
        }
    }
}

pub(super) async fn ask(subject: &ScanSubject, command: &[String], env: &Env, deny: &[i32]) -> ScanVerdict {
    let Some((program, arguments)) = command.split_first() else {
        return ScanVerdict::Failed { message: "no program is configured".to_owned() };
    };
    let failed = |error: std::io::Error| ScanVerdict::Failed { message: format!("{program} can't be run: {error}") };
    let mut group = match start(subject, program, arguments, env) {
        Ok(group) => group,
        Err(error) => return failed(error),
    };
    let (out, err) = (group.child.stdout.take(), group.child.stderr.take());
    let (out, err, ended) = tokio::join!(gather(out), gather(err), group.child.wait());
    match ended {
        // What it left running must not go on.
        Ok(status) => read(status.code(), &out, &err, deny),
        Err(error) => failed(error),
    }
}

fn start(subject: &ScanSubject, program: &str, arguments: &[String], env: &Env) -> std::io::Result<Group> {
    let facts = facts(subject);
    let mut command = Command::new(program);
    command.args(arguments.iter().map(|argument| fill(argument, &facts)));
    command.env_clear().envs(PASSED.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
    command.envs(facts.iter().map(|(name, value)| (format!("TAGBOAT_{}", name.to_ascii_uppercase()), value)));
    command.envs(&env.0).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let child = command.process_group(0).kill_on_drop(true).spawn()?;
    let leader = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
    Ok(Group { child, leader })
}

/// What a scanner is told, as `{name}` in its arguments and `TAGBOAT_NAME` in its environment.
fn facts(subject: &ScanSubject) -> [(&'static str, String); 6] {
    [
        ("app", subject.app.to_string()),
        ("reference", reference(subject)),
        ("repository", subject.repository.to_string()),
        ("digest", subject.digest.to_string()),
        ("tag", subject.tag.as_ref().map(ToString::to_string).unwrap_or_default()),
        ("platform", subject.platform.to_string()),
    ]
}

fn fill(argument: &str, facts: &[(&'static str, String)]) -> String {
    facts.iter().fold(argument.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
}

/// Reads to the end, so that the program is never stuck, and keeps the last part.
async fn gather(pipe: Option<impl AsyncRead + Unpin>) -> Vec<u8> {
    let (mut kept, mut piece) = (Vec::new(), [0; 8 << 10]);
    let Some(mut pipe) = pipe else { return kept };
    while let Ok(length @ 1..) = pipe.read(&mut piece).await {
        kept.extend_from_slice(piece.get(..length).unwrap_or_default());
        if let Some(more) = kept.len().checked_sub(OUTPUT) {
            kept.drain(..more);
        }
    }
    kept
}

fn read(code: Option<i32>, out: &[u8], err: &[u8], deny: &[i32]) -> ScanVerdict {
    let words = || {
        let said = Said::read(out).map(Said::verdict);
        if let Some(ScanVerdict::Denied { reason } | ScanVerdict::Later { reason }) = said {
            return reason;
        }
        let words = if out.trim_ascii().is_empty() { shown(err) } else { shown(out) };
        if words.is_empty() { "without a reason".to_owned() } else { words }
    };
    match code {
        Some(0) => Said::read(out).map_or(ScanVerdict::Allowed, Said::verdict),
        Some(LATER) => ScanVerdict::Later { reason: words() },
        Some(code) if deny.contains(&code) => ScanVerdict::Denied { reason: words() },
        Some(code) => ScanVerdict::Failed { message: format!("exit code {code}: {}", words()) },
        None => ScanVerdict::Failed { message: format!("it was killed: {}", words()) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_exit_code_of_0_allows_and_the_output_can_only_take_that_back() {
        let allow: &[u8] = br#"{"decision": "allow"}"#;
        for (label, code, out, wanted) in [
            ("allowed", Some(0), b"".as_slice(), "allowed"),
            ("allowed, talkative", Some(0), b"no problems found", "allowed"),
            ("allowed in JSON", Some(0), allow, "allowed"),
            ("denied in JSON", Some(0), br#"{"decision": "deny", "reason": "CVE-1"}"#, "denied"),
            ("later in JSON", Some(0), br#"{"decision": "later"}"#, "later"),
            ("denied", Some(3), b"CVE-1", "denied"),
            ("denied, whatever it says", Some(3), allow, "denied"),
            ("later", Some(75), allow, "later"),
            ("failed", Some(2), allow, "failed"),
            ("killed", None, allow, "failed"),
        ] {
            assert_eq!(read(code, out, b"", &[3]).label(), wanted, "{label}");
        }
    }

    #[test]
    fn the_reason_is_what_was_said_last_in_one_clean_line() {
        let out = format!("{}\n\u{1b}[31mCVE-1\u{7}\nis  bad\n", "x ".repeat(1000));
        let ScanVerdict::Denied { reason } = read(Some(1), out.as_bytes(), b"", &[1]) else { panic!() };
        assert!(reason.starts_with("… ") && reason.ends_with("[31mCVE-1 is bad"), "{reason}");
        assert!(reason.chars().count() <= 502 && !reason.contains('\u{1b}'));
        let ScanVerdict::Failed { message } = read(Some(9), b" \n", b"no network", &[1]) else { panic!() };
        assert_eq!(message, "exit code 9: no network");
    }
}
