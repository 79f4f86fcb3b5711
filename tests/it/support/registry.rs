//! A real registry (`docker-registry` of Debian) with a port and a directory of its own.

use std::process::Command;
use std::time::Duration;

use super::relay::Relay;
use super::{Owned, free_port, wait_for};

/// A registry.
pub(crate) struct Registry {
    /// Where it listens itself.
    port: u16,
    /// What everybody else reaches it through, when it has one.
    relay: Option<Relay>,
    dir: tempfile::TempDir,
    process: Option<Owned>,
}

impl Registry {
    /// Starts one; `notify` is where it announces pushes, and the `Authorization` that it sends.
    pub(crate) async fn start(notify: Option<(&str, &str)>) -> Self {
        let mut registry = Self { port: free_port(), relay: None, dir: tempfile::tempdir().unwrap(), process: None };
        let root = registry.dir.path().display().to_string();
        let port = registry.port;
        let mut config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {root}/data}}, delete: {{enabled: true}}}}\n\
             http: {{addr: '127.0.0.1:{port}'}}\n"
        );
        if let Some((url, authorization)) = notify {
            config.push_str(&format!(
                "notifications: {{endpoints: [{{name: tagboat, url: '{url}', timeout: 1s, threshold: 5, backoff: 1s, \
                 headers: {{Authorization: ['{authorization}']}}}}]}}\n"
            ));
        }
        std::fs::write(registry.dir.path().join("config.yml"), config).unwrap();
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
        let mut command = Command::new("docker-registry");
        command.arg("serve").arg(self.dir.path().join("config.yml"));
        self.process = Some(Owned::start(&mut command, &self.dir.path().join("log")));
        let url = format!("http://{}/v2/", self.host());
        wait_for(Duration::from_secs(20), "the registry answers", || async {
            client().get(&url).send().await.ok().filter(|answer| answer.status().is_success())
        })
        .await;
    }

    /// Ends it at once.
    pub(crate) fn stop(&mut self) {
        self.process = None;
    }

    /// Loses a blob from its disk; the manifest that names it stays.
    pub(crate) fn lose(&self, digest: &tagboat::model::Digest) {
        let hex = digest.as_str().trim_start_matches("sha256:");
        let blobs = self.dir.path().join("data/docker/registry/v2/blobs/sha256");
        std::fs::remove_file(blobs.join(&hex[..2]).join(hex).join("data")).unwrap();
    }

    /// `127.0.0.1:port`, where everybody reaches it.
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.relay.as_ref().map_or(self.port, |relay| relay.port))
    }
}

/// A plain HTTP client.
pub(crate) fn client() -> reqwest::Client {
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().tls_certs_only([]).no_proxy().build().unwrap()
}
