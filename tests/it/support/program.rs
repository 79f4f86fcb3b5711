//! The tagboat program under test, with a directory, ports and a registry of its own.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use super::registry::client;
use super::{Docker, Image, Owned, Registry, Terms, docker, free_port, signal_pid, wait_for};

/// What a test wants.
#[derive(Debug, Clone)]
pub(crate) struct Setup {
    /// The app's name, unlike any other test's.
    pub(crate) app: &'static str,
    /// Time between two looks at the registry.
    pub(crate) every: &'static str,
    /// Further lines of the app.
    pub(crate) more: &'static str,
    /// The times of a swap.
    pub(crate) swap: &'static str,
    /// Whether the registry is reached through a relay.
    pub(crate) relayed: bool,
    /// Whether the configuration declares the app.
    pub(crate) declared: bool,
    /// Whether the agent can be made to stand still at a side effect (`tagboat::engine::failpoint`).
    pub(crate) failpoints: bool,
    /// The engine, where it is not the one that all tests share.
    pub(crate) engine: Option<&'static Docker>,
}

impl Setup {
    /// An app that is told by webhook, with times that suit a test.
    pub(crate) fn new(app: &'static str) -> Self {
        Self {
            app,
            every: "1h",
            more: "health: {http: /healthz}",
            swap: "probe_interval: 50ms, min_healthy: 300ms, healthy_deadline: 8s, bake: 700ms, drain: 10s, drain_streams: 5s",
            relayed: false,
            declared: true,
            failpoints: false,
            engine: None,
        }
    }

    fn docker(&self) -> &'static Docker {
        self.engine.unwrap_or_else(docker)
    }
}

/// A running tagboat and everything around it.
pub(crate) struct Program {
    pub(crate) setup: Setup,
    pub(crate) registry: Registry,
    pub(crate) port: u16,
    hooks: u16,
    api: u16,
    metrics: u16,
    dir: tempfile::TempDir,
    exe: PathBuf,
    process: Option<Owned>,
}

impl Program {
    /// Starts registry and tagboat, with version `v1` of the sample app pushed, and waits until it serves.
    pub(crate) async fn serving(setup: Setup) -> Self {
        let mut program = Self::prepared(setup).await;
        Image::sample("v1").push(&program.registry, program.setup.app, "latest").await;
        program.start();
        program.wait_for_version("v1").await;
        program.settled().await;
        program
    }

    /// Everything but tagboat itself.
    pub(crate) async fn prepared(setup: Setup) -> Self {
        setup.docker().remove_all(setup.app);
        let hooks = free_port();
        let url = format!("http://127.0.0.1:{hooks}/hooks/registry");
        let registry = Registry::start(Terms { notify: Some(url), ..Terms::default() }).await;
        let registry = if setup.relayed { registry.behind_a_relay().await } else { registry };
        let dir = tempfile::Builder::new().prefix("tagboat-test-").tempdir().unwrap();
        let program = Self {
            setup,
            registry,
            port: free_port(),
            hooks,
            api: free_port(),
            metrics: free_port(),
            dir,
            exe: PathBuf::from(env!("CARGO_BIN_EXE_tagboat")),
            process: None,
        };
        program.write_config("");
        program
    }

    /// Runs a copy of the program from now on, which can be replaced.
    pub(crate) fn install(&mut self) -> PathBuf {
        let copy = self.dir.path().join("tagboat");
        std::fs::copy(env!("CARGO_BIN_EXE_tagboat"), &copy).unwrap();
        self.exe.clone_from(&copy);
        copy
    }

    /// The configuration file.
    pub(crate) fn file(&self) -> PathBuf {
        self.dir.path().join("tagboat.yaml")
    }

    /// Writes the configuration; `more` is added to it.
    pub(crate) fn write_config(&self, more: &str) {
        let Setup { app, every, more: app_more, swap, declared, .. } = &self.setup;
        let (registry, port) = (self.registry.host(), self.port);
        let own = if *declared {
            format!("  {app}:\n    image: {registry}/{app}\n    listen: '127.0.0.1:{port}'\n    {app_more}\n")
        } else {
            String::new()
        };
        // Tests share an engine: each adopts what is its own.
        let scope = app;
        let apps = if own.is_empty() && more.is_empty() { "{}".to_owned() } else { format!("\n{own}{more}") };
        let text = format!(
            "state_dir: {state}\n\
             docker: {{host: '{docker}'}}\n\
             api: {{listen: '127.0.0.1:{api}'}}\n\
             metrics: {{listen: '127.0.0.1:{metrics}'}}\n\
             hooks: {{listen: '127.0.0.1:{hooks}', receivers: {{registry: {receiver}}}}}\n\
             defaults: {{every: {every}, swap: {{{swap}}}}}\n\
             log: {{level: debug}}\n\
             adopt: {{scope: {scope}, listen: ['127.0.0.1:{port}']}}\n\
             apps: {apps}\n",
            state = self.state().display(),
            docker = self.docker().host,
            api = self.api,
            metrics = self.metrics,
            hooks = self.hooks,
            receiver = self.registry.make.receiver(&registry),
        );
        std::fs::write(self.file(), text).unwrap();
    }

    /// Starts tagboat; the one before it has ended then.
    pub(crate) fn start(&mut self) {
        self.process = None;
        let mut command = Command::new(&self.exe);
        command.args(["run", "--config"]).arg(self.file()).env("NO_COLOR", "1");
        if self.setup.failpoints {
            std::fs::create_dir_all(self.failpoints()).unwrap();
            command.env("TAGBOAT_FAILPOINTS", self.failpoints());
        }
        self.process = Some(Owned::start(&mut command, &self.dir.path().join("log")));
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    /// Where side effects are written down and armed.
    pub(crate) fn failpoints(&self) -> PathBuf {
        self.dir.path().join("failpoints")
    }

    /// The agent, if it stands still.
    pub(crate) fn halted(&self) -> Option<u32> {
        let pid = self.child("agent")?;
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.trim_start().starts_with('T').then_some(pid)
    }

    /// The supervisor's process id.
    pub(crate) fn supervisor(&self) -> u32 {
        self.process.as_ref().unwrap().0.id()
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    pub(crate) fn docker(&self) -> &'static Docker {
        self.setup.docker()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.as_ref().unwrap().signal(signal);
    }

    /// The process id of the newest child with this role.
    pub(crate) fn child(&self, role: &str) -> Option<u32> {
        let parent = self.process.as_ref()?.0.id();
        let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children")).ok()?;
        let is = |pid: &&str| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.split(|byte| *byte == 0).nth(1) == Some(role.as_bytes())
        };
        children.split_whitespace().rfind(is)?.parse().ok()
    }

    /// `kill -9`.
    pub(crate) fn kill(&self, role: &str) {
        signal_pid(self.child(role).unwrap_or_else(|| panic!("there is no {role}")), Signal::KILL);
    }

    /// Runs the command line against it.
    pub(crate) fn cli(&self, args: &[&str]) -> std::process::Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tagboat"));
        command.arg("--socket").arg(self.state().join("run/agent.sock")).args(args).output().unwrap()
    }

    /// A document of the API.
    pub(crate) async fn get(&self, path: &str) -> Option<Value> {
        let url = format!("http://127.0.0.1:{}/api/v1{path}", self.api);
        let answer = client().get(url).timeout(Duration::from_secs(2)).send().await.ok()?;
        serde_json::from_slice(&answer.bytes().await.ok()?).ok()
    }

    /// The app's status.
    pub(crate) async fn status(&self) -> Option<Value> {
        self.get(&format!("/apps/{}", self.setup.app)).await
    }

    /// Every port that something of it listens on.
    pub(crate) fn listened(&self) -> [u16; 4] {
        [self.port, self.hooks, self.api, self.metrics]
    }

    pub(crate) fn metrics_port(&self) -> u16 {
        self.metrics
    }

    pub(crate) async fn metrics(&self) -> String {
        let url = format!("http://127.0.0.1:{}/metrics", self.metrics);
        client().get(url).send().await.unwrap().text().await.unwrap()
    }

    /// The version that answers now.
    pub(crate) async fn version(&self) -> Option<String> {
        let url = format!("http://127.0.0.1:{}/id?x=0", self.port);
        let answer = client().get(url).timeout(Duration::from_secs(2)).send().await.ok()?;
        let body: Value = serde_json::from_slice(&answer.bytes().await.ok()?).ok()?;
        body["version"].as_str().map(str::to_owned)
    }

    pub(crate) async fn wait_for_version(&self, version: &str) {
        let what = format!("{version} of {} answers", self.setup.app);
        self.wait(Duration::from_secs(60), &what, || async {
            self.version().await.filter(|answering| answering == version)
        })
        .await;
    }

    /// Waits until the app is up to date and one container is left.
    pub(crate) async fn settled(&self) {
        self.state_is("up_to_date").await;
        self.wait(Duration::from_secs(30), "one running container is left", || async {
            let states = self.docker().states(self.setup.app);
            (states.iter().filter(|state| state.ends_with(" running")).count() == 1).then_some(())
        })
        .await;
    }

    pub(crate) async fn state_is(&self, state: &str) {
        self.wait(Duration::from_secs(60), &format!("the app is {state}"), || async {
            self.status().await.filter(|status| status["state"] == state)
        })
        .await;
    }

    /// As `wait_for`, with the log when it fails.
    pub(crate) async fn wait<T, F: Future<Output = Option<T>>>(
        &self,
        limit: Duration,
        what: &str,
        check: impl FnMut() -> F,
    ) -> T {
        match tokio::time::timeout(limit, wait_for(limit * 2, what, check)).await {
            Ok(value) => value,
            Err(_) => {
                let status = self.status().await;
                panic!("not within {limit:?}: {what}\nstatus: {status:#?}\nlog:\n{}", self.log())
            }
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            process.signal(Signal::TERM);
            for _ in 0..100 {
                if !matches!(process.0.try_wait(), Ok(None)) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        }
        if std::thread::panicking() {
            eprintln!("--- log of {}\n{}", self.setup.app, self.log());
        }
        self.docker().remove_all(self.setup.app);
    }
}
