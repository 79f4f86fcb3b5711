//! Load by the sample package's generator.

use std::io::Read;
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::sample;

/// A generator at work.
pub(crate) struct Load {
    process: Child,
}

impl Load {
    /// Starts requests to a port; `args` as the generator takes them.
    pub(crate) fn start(port: u16, args: &[&str]) -> Self {
        let mut command = Command::new(sample("load"));
        command.args(["--url", &format!("http://127.0.0.1:{port}")]).args(args);
        Self { process: command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap() }
    }

    /// Ends it, lets what is under way finish, and takes its report.
    pub(crate) fn finish(mut self) -> Report {
        drop(self.process.stdin.take());
        let mut text = String::new();
        self.process.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        self.process.wait().unwrap();
        Report(serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a generator saw.
#[derive(Debug)]
pub(crate) struct Report(pub(crate) Value);

impl Report {
    pub(crate) fn sent(&self) -> u64 {
        self.0["sent"].as_u64().unwrap()
    }

    pub(crate) fn failed(&self) -> u64 {
        self.0["failed"].as_u64().unwrap()
    }

    /// No request failed, and there were at least so many.
    pub(crate) fn assert_clean(&self, least: u64) {
        assert_eq!(self.failed(), 0, "{:#}", self.0);
        assert!(self.sent() >= least, "{:#}", self.0);
    }
}
