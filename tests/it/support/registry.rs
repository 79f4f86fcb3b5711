//! A real registry with a port and a directory of its own.

use std::path::Path;
use std::time::Duration;

use super::make::{Make, Terms};
use super::relay::Relay;
use super::{Owned, free_port, wait_for};

/// A registry.
pub(crate) struct Registry {
    pub(crate) make: Make,
    terms: Terms,
    /// Where it listens itself.
    port: u16,
    /// What everybody else reaches it through, when it has one.
    relay: Option<Relay>,
    dir: tempfile::TempDir,
    process: Option<Owned>,
}

impl Registry {
    /// Starts one.
    pub(crate) async fn start(terms: Terms) -> Self {
        let (make, dir) = (Make::of_this_run(), tempfile::tempdir().unwrap());
        let mut registry = Self { make, terms, port: free_port(), relay: None, dir, process: None };
        registry.resume().await;
        registry
    }

    /// From now on everybody reaches it through a relay.
    pub(crate) async fn behind_a_relay(mut self) -> Self {
        self.relay = Some(Relay::to(self.port).await);
        self
    }

    /// Another way to it, for those who can't reach this machine's own address.
    pub(crate) async fn also_at(&self, address: &str) -> Relay {
        Relay::at(address, self.port).await
    }

    /// The relay.
    pub(crate) fn relay(&self) -> &Relay {
        self.relay.as_ref().expect("it was put behind one")
    }

    /// Starts it again after a `stop`.
    pub(crate) async fn resume(&mut self) {
        let mut command = self.make.command(self.dir.path(), self.port, &self.terms);
        self.process = Some(Owned::start(&mut command, &self.dir.path().join("log")));
        let (url, port, tls) = (format!("http://{}/v2/", self.host()), self.port, self.terms.tls.is_some());
        let answers = wait_for(Duration::from_secs(20), "the registry answers", || async {
            if tls {
                return tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok().map(drop);
            }
            let status = client().get(&url).send().await.ok()?.status();
            (status.is_success() || status == reqwest::StatusCode::UNAUTHORIZED).then_some(())
        });
        answers.await;
    }

    /// Ends it at once.
    pub(crate) fn stop(&mut self) {
        self.process = None;
    }

    /// The same again with other terms: what was pushed to it is there.
    pub(crate) async fn reopen(&mut self, terms: Terms) {
        self.stop();
        self.terms = terms;
        self.resume().await;
    }

    /// Where it keeps everything.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Loses a blob from its disk; the manifest that names it stays.
    pub(crate) fn lose(&self, digest: &tagboat::model::Digest) {
        let blobs = self.make.blobs(self.dir.path(), digest.as_str().trim_start_matches("sha256:"));
        assert!(!blobs.is_empty(), "there is no {digest}");
        blobs.iter().for_each(|blob| std::fs::remove_file(blob).unwrap());
    }

    /// `127.0.0.1:port`, where everybody reaches it.
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.relay.as_ref().map_or(self.port, |relay| relay.port))
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            let end = log.lines().rev().take(40).collect::<Vec<_>>();
            eprintln!("--- end of the registry's log\n{}", end.into_iter().rev().collect::<Vec<_>>().join("\n"));
        }
    }
}

/// A plain HTTP client.
pub(crate) fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().tls_certs_only([]).no_proxy().build().unwrap()
}
