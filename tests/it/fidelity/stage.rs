//! The engine, with the images, networks and volumes that the configurations use.

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use tagboat::decide::derive::{DaemonDefaults, Peer};
use tagboat::ports::Engine;

use super::case::Case;
use super::judge::{Verdict, judge};
use crate::support::{Docker, docker, sample};

/// Everything of ours on the engine begins so.
const PREFIX: &str = "tgbfid";

/// Configurations at once.
const AT_ONCE: usize = 4;

/// What is on the engine.
pub(super) struct World {
    pub(super) docker: &'static Docker,
    pub(super) engine: tagboat::docker::Docker,
    pub(super) api: (u32, u32),
    pub(super) version: String,
    pub(super) daemon: DaemonDefaults,
    pub(super) peers: Vec<Peer>,
    /// Network name → id.
    pub(super) networks: Vec<(String, String)>,
    pub(super) dir: PathBuf,
    client: reqwest::Client,
    base: String,
    _dir: tempfile::TempDir,
}

pub(super) struct Stage {
    pub(super) world: Arc<World>,
}

impl World {
    /// A name of ours.
    pub(super) fn name(&self, name: &str) -> String {
        format!("{PREFIX}_{name}")
    }

    /// Names for `{n1}` and the like.
    pub(super) fn fill(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for name in ["n1", "n2", "n3", "inner", "six", "v1", "v2", "peer", "source"] {
            text = text.replace(&format!("{{{name}}}"), &self.name(name));
        }
        let n1 = self.networks.iter().find(|(name, _)| *name == self.name("n1"));
        text.replace("{n1id}", n1.map_or("", |(_, id)| id))
    }

    /// A call of the engine's API, of its newest version.
    pub(super) async fn call(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, String> {
        let url = format!("{}/v{}.{}{path}", self.base, self.api.0, self.api.1);
        let mut request = self.client.request(method, url);
        if let Some(body) = body {
            request = request.header("content-type", "application/json").body(body.to_string());
        }
        let answer = request.send().await.map_err(|error| error.to_string())?;
        let fine = answer.status().is_success();
        let bytes = answer.bytes().await.map_err(|error| error.to_string())?;
        let value = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        if fine { Ok(value) } else { Err(String::from_utf8_lossy(&bytes).into_owned()) }
    }

    pub(super) async fn inspect(&self, container: &str) -> Result<Value, String> {
        self.call(reqwest::Method::GET, &format!("/containers/{container}/json"), None).await
    }

    pub(super) async fn image(&self, image: &str) -> Result<Value, String> {
        self.call(reqwest::Method::GET, &format!("/images/{image}/json"), None).await
    }

    /// Runs the docker client; what it printed.
    pub(super) async fn cli(&self, args: Vec<String>) -> Result<String, String> {
        let docker = self.docker;
        let run = move || docker.cli(&args.iter().map(String::as_str).collect::<Vec<_>>());
        let output = tokio::task::spawn_blocking(run).await.unwrap();
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim().to_owned())
        }
    }
}

impl Stage {
    pub(super) async fn set() -> Self {
        let docker = docker();
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config = tagboat::docker::Config { host: Some(docker.host.clone()), ..Default::default() };
        let engine = tagboat::docker::Docker::new(config, "fidelity".to_owned()).unwrap();
        let about = engine.info().await.unwrap();
        let temp = tempfile::Builder::new().prefix("tagboat-fidelity-").tempdir().unwrap();
        let dir = temp.path().to_owned();
        std::fs::write(dir.join("file"), "x").unwrap();
        let builder = reqwest::Client::builder().no_proxy().tls_certs_only([]);
        let (builder, base) = match docker.host.strip_prefix("unix://") {
            Some(path) => (builder.unix_socket(path), "http://docker".to_owned()),
            None => (builder, docker.host.replace("tcp://", "http://")),
        };
        let mut world = World {
            docker,
            engine,
            api: about.api_version,
            version: about.version,
            daemon: DaemonDefaults::default(),
            peers: Vec::new(),
            networks: Vec::new(),
            dir,
            client: builder.build().unwrap(),
            base,
            _dir: temp,
        };
        let info = world.call(reqwest::Method::GET, "/info", None).await.unwrap();
        world.daemon = DaemonDefaults::from_info(&info);
        clear(&world).await;
        images(&world).await;
        furnish(&mut world).await;
        Self { world: Arc::new(world) }
    }

    /// Tries every configuration, some at once.
    pub(super) async fn judge(&self, cases: Vec<Case>) -> Vec<Verdict> {
        use futures_util::StreamExt;
        let one = |(index, case): (usize, Case)| {
            let world = Arc::clone(&self.world);
            async move { tokio::spawn(async move { judge(&world, index, case).await }).await.unwrap() }
        };
        let verdicts = futures_util::stream::iter(cases.into_iter().enumerate()).map(one).buffered(AT_ONCE);
        let verdicts = verdicts.collect().await;
        clear(&self.world).await;
        verdicts
    }
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

/// Removes what an earlier run, or this one, left.
async fn clear(world: &World) {
    for (list, remove) in [
        (format!("ps -aq --filter name=^{PREFIX}"), "rm -fv"),
        (format!("network ls -q --filter name=^{PREFIX}"), "network rm"),
        (format!("volume ls -q --filter name=^{PREFIX}"), "volume rm"),
    ] {
        let left = world.cli(words(&list)).await.unwrap_or_default();
        if !left.is_empty() {
            let _ = world.cli([words(remove), words(&left)].concat()).await;
        }
    }
}

async fn furnish(world: &mut World) {
    let networks = [
        ("n1", "--subnet 10.231.1.0/24"),
        ("n2", "--subnet 10.231.2.0/24"),
        ("n3", ""),
        ("inner", "--internal"),
        ("six", "--ipv6 --subnet 10.231.6.0/24 --subnet fd00:231::/64"),
    ];
    for (name, args) in networks {
        let name = world.name(name);
        let id = world.cli([words("network create"), words(args), vec![name.clone()]].concat()).await;
        world.networks.push((name, id.unwrap()));
    }
    let (peer, source, v1, v2) = (world.name("peer"), world.name("source"), world.name("v1"), world.name("v2"));
    for args in [
        format!("volume create {v1}"),
        format!("volume create {v2}"),
        format!("run -d --name {peer} --ipc shareable --env PORT=0 -v /peer bare:v1"),
        format!("run -d --name {source} --env PORT=0 -v {v2}:/data -v {v2}:/more bare:v1"),
        // Makes the part of the volume that a configuration mounts.
        format!("run --rm --entrypoint /app --workdir /v/sub -v {v1}:/v bare:v1 -healthcheck"),
    ] {
        let made = world.cli(words(&args)).await;
        assert!(made.is_ok() || args.contains("-healthcheck"), "{args}: {made:?}");
    }
    for name in [peer, source] {
        world.peers.push(Peer::from_inspect(&world.inspect(&name).await.unwrap()));
    }
}

/// The families of images: what they set by default before and after.
fn families() -> Vec<(&'static str, Value, Value)> {
    let second = 1_000_000_000_u64;
    let full = json!({
        "Env": ["PATH=/", "CHANGED=old", "DROPPED=x"], "Entrypoint": ["/app"], "Cmd": ["serve"],
        "Labels": {"changed": "old", "dropped": "1"}, "WorkingDir": "/work", "User": "1000", "StopSignal": "SIGINT",
        "Healthcheck": {"Test": ["CMD", "/app", "-healthcheck"], "Interval": 5 * second, "Retries": 2},
        "Volumes": {"/data": {}, "/gone": {}}, "ExposedPorts": {"8080/tcp": {}, "7070/tcp": {}},
        "Shell": ["/bin/ash", "-c"],
    });
    let next = json!({
        "Env": ["PATH=/:/usr/bin", "CHANGED=new", "ADDED=y"], "Entrypoint": ["/app", "-v2"], "Cmd": ["serve", "-2"],
        "Labels": {"changed": "new", "added": "1"}, "WorkingDir": "/work2", "User": "2000", "StopSignal": "SIGTERM",
        "Healthcheck": {"Test": ["CMD-SHELL", "/app -healthcheck"], "Interval": 7 * second, "Timeout": 3 * second},
        "Volumes": {"/data": {}, "/fresh": {}}, "ExposedPorts": {"8080/tcp": {}, "9090/tcp": {}},
    });
    let least = json!({"Cmd": ["/app"]});
    vec![
        ("bare", json!({"Cmd": ["/app", "one"]}), json!({"Entrypoint": ["/app"], "Cmd": ["two"]})),
        ("entry", json!({"Entrypoint": ["/app"]}), json!({"Entrypoint": ["/app", "b"]})),
        ("same", full.clone(), full.clone()),
        ("loses", full.clone(), least.clone()),
        ("gains", least, full.clone()),
        ("full", full, next),
    ]
}

/// Loads every image into the engine, without a registry.
async fn images(world: &World) {
    let program = std::fs::read(sample("sample-app")).unwrap();
    for (family, old, new) in families() {
        for (tag, config) in [("v1", old), ("v2", new)] {
            let archive = archive(&format!("{family}:{tag}"), &config, &program);
            let file = world.dir.join("image.tar");
            std::fs::write(&file, archive).unwrap();
            world.cli(vec!["load".into(), "-q".into(), "-i".into(), file.display().to_string()]).await.unwrap();
        }
    }
}

fn archive(name: &str, config: &Value, program: &[u8]) -> Vec<u8> {
    let digest = |bytes: &[u8]| tagboat::model::Digest::of(bytes).as_str().to_owned();
    let layer = tar_of(&[
        ("app", program),
        ("seed/file", name.as_bytes()),
        ("etc/passwd", b"root:x:0:0:root:/:/app\n"),
        ("etc/group", b"root:x:0:\n"),
    ]);
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let document = json!({
        "architecture": architecture, "os": "linux", "created": "2026-01-01T00:00:00Z", "config": config,
        "rootfs": {"type": "layers", "diff_ids": [digest(&layer)]}, "history": [{"created_by": "test"}],
    });
    let document = document.to_string().into_bytes();
    let file = format!("{}.json", digest(&document).trim_start_matches("sha256:"));
    let manifest = json!([{"Config": file, "RepoTags": [name], "Layers": ["layer.tar"]}]).to_string();
    tar_of(&[(&file, &document), ("layer.tar", &layer), ("manifest.json", manifest.as_bytes())])
}

fn tar_of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, name, *bytes).unwrap();
    }
    tar.into_inner().unwrap()
}
