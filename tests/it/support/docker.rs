//! A dockerd of our own, shared by all tests of a run, or the one that `TAGBOAT_TEST_DOCKER_HOST` names.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Mutex, OnceLock, mpsc};
use std::time::Duration;

use serde_json::Value;

/// What our daemons' bridges are called, before the process id: a daemon of an earlier run may still be ending.
const BRIDGE: &str = "tgbt";

/// An engine for tests.
#[derive(Debug)]
pub(crate) struct Docker {
    pub(crate) host: String,
}

/// The engine of this run: one that answers at `TAGBOAT_TEST_DOCKER_HOST`, or a private one, of the programs in the
/// directory `TAGBOAT_TEST_ENGINE` or of the system's.
pub(crate) fn docker() -> &'static Docker {
    static DOCKER: OnceLock<Docker> = OnceLock::new();
    DOCKER.get_or_init(|| match std::env::var("TAGBOAT_TEST_DOCKER_HOST") {
        Ok(host) => Docker { host },
        Err(_) => Docker::start(),
    })
}

/// Runs a daemon until it is told to end, and leaves nothing of it behind.
const KEEPER: &str = r#"
dir=$1 bridge=$2
shift 2
trap 'kill "$daemon"' TERM
"$@" & daemon=$!
wait "$daemon"
trap '' TERM
wait "$daemon"
grep -o " $dir/[^ ]*" /proc/mounts | sort -r | xargs -r umount -l
ip link delete "$bridge"
rm -rf "$dir"
"#;

/// Removes the bridges of runs that have ended without doing so.
fn clear_bridges(prefix: &str) {
    let links = run("ip", &["-o", "link", "show", "type", "bridge"]);
    let links = String::from_utf8_lossy(&links.stdout).into_owned();
    for name in links.lines().filter_map(|line| line.split(": ").nth(1)) {
        let pid = name.strip_prefix(prefix).map(|rest| rest.trim_end_matches(|c: char| !c.is_ascii_digit()));
        let dead = pid.is_some_and(|pid| !std::path::Path::new("/proc").join(pid).exists());
        if dead {
            run("ip", &["link", "delete", name]);
        }
    }
}

/// The bridge's address in a network that is not used by Docker's own pools, and by no other run.
fn free_network() -> String {
    let taken = run("ip", &["-o", "-4", "address", "show"]);
    let taken = String::from_utf8_lossy(&taken.stdout).into_owned();
    let addresses = (0..250).map(|step| format!("10.213.{}.1/24", (std::process::id() + step) % 250));
    let mut free = addresses.filter(|address| !taken.contains(&format!(" {address} ")));
    free.next().expect("one of 250 networks is free")
}

pub(super) fn run(program: &str, args: &[&str]) -> Output {
    Command::new(program).args(args).output().unwrap_or_else(|error| panic!("{program} {args:?}: {error}"))
}

/// Where a daemon lives: a directory and a bridge, both of its own.
#[derive(Debug)]
pub(super) struct Home {
    pub(super) dir: PathBuf,
    pub(super) bridge: String,
}

impl Home {
    /// Makes the place; `prefix` is that of its bridge, which the process id and `suffix` follow.
    pub(super) fn make(prefix: &str, suffix: &str) -> Self {
        // Two at once would find the same network free.
        static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
        let _turn = ONE_AT_A_TIME.lock().unwrap();
        let name = format!("tagboat-dockerd-{}{suffix}", std::process::id());
        let home =
            Self { dir: std::env::temp_dir().join(name), bridge: format!("{prefix}{}{suffix}", std::process::id()) };
        std::fs::create_dir_all(&home.dir).unwrap();
        clear_bridges(prefix);
        let address = free_network();
        // An address of its own: otherwise the bridge takes that of one of its containers, and when that container goes,
        // the others send to nobody for seconds.
        run("ip", &["link", "add", &home.bridge, "address", "02:42:0a:d5:00:01", "type", "bridge"]);
        run("ip", &["addr", "replace", &address, "dev", &home.bridge]);
        run("ip", &["link", "set", &home.bridge, "up"]);
        home
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    pub(super) fn host(&self) -> String {
        format!("unix://{}", self.path("docker.sock"))
    }

    /// Has a command run a daemon here.
    pub(super) fn dockerd(&self, command: &mut Command) {
        let (host, data, exec, pid) = (self.host(), self.path("data"), self.path("exec"), self.path("pid"));
        command.args(["dockerd", "-H", &host, "--data-root", &data, "--exec-root", &exec, "--pidfile", &pid]);
        command.args(["--bridge", &self.bridge, "--iptables=false", "--ip-masq=false", "--log-level", "warn"]);
        if let Ok(engine) = std::env::var("TAGBOAT_TEST_ENGINE") {
            // Built without seccomp, and asked by a client of Debian's.
            let path = format!("{engine}:{}", std::env::var("PATH").unwrap_or_default());
            command.args(["--seccomp-profile", "unconfined", "--ip6tables=false"]);
            command.env("PATH", path).env("DOCKER_MIN_API_VERSION", "1.24");
        }
    }

    /// Waits until the daemon answers.
    pub(super) fn answers(&self, docker: &Docker) {
        for _ in 0..600 {
            if docker.cli(&["version"]).status.success() {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        panic!("dockerd does not answer:\n{}", std::fs::read_to_string(self.dir.join("log")).unwrap_or_default());
    }
}

impl Docker {
    /// Starts a daemon that ends with this process.
    fn start() -> Self {
        let home = Home::make(BRIDGE, "");
        let docker = Self { host: home.host() };
        let log = std::fs::File::create(home.dir.join("log")).unwrap();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "sh", "-c", KEEPER, "keeper"]).arg(&home.dir).arg(&home.bridge);
        home.dockerd(&mut command);
        let (started, ready) = mpsc::channel();
        // The signal comes at the end of the thread that started the program: one that lives as long as we do.
        std::thread::spawn(move || {
            command.stdout(log.try_clone().unwrap()).stderr(log);
            let mut child =
                command.spawn().expect("setpriv and dockerd are installed (packages util-linux, docker.io)");
            let _ = started.send(());
            let _ = child.wait();
        });
        ready.recv().unwrap();
        home.answers(&docker);
        docker
    }

    /// Runs the docker client.
    pub(crate) fn cli(&self, args: &[&str]) -> Output {
        let mut all = vec!["-H", &self.host];
        all.extend(args);
        run("docker", &all)
    }

    /// The inspect documents of an app's containers.
    pub(crate) fn containers(&self, app: &str) -> Vec<Value> {
        let filter = format!("label=tagboat.app={app}");
        let list = self.cli(&["ps", "-aq", "--filter", &filter]);
        let ids = String::from_utf8(list.stdout).unwrap();
        let ids: Vec<&str> = ids.split_whitespace().collect();
        if ids.is_empty() {
            return Vec::new();
        }
        let inspected = self.cli(&[["inspect"].as_slice(), ids.as_slice()].concat());
        serde_json::from_slice(&inspected.stdout).unwrap_or_default()
    }

    /// Names and states of an app's containers, sorted.
    pub(crate) fn states(&self, app: &str) -> Vec<String> {
        let one = |c: &Value| {
            let name = c["Name"].as_str().unwrap_or_default().trim_start_matches('/');
            format!("{name} {}", c["State"]["Status"].as_str().unwrap_or_default())
        };
        let mut states: Vec<String> = self.containers(app).iter().map(one).collect();
        states.sort();
        states
    }

    /// Runs a client command that must succeed, and returns what it prints.
    pub(crate) fn must(&self, args: &[&str]) -> String {
        let output = self.cli(args);
        assert!(output.status.success(), "docker {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// The inspect document of a container by its name.
    pub(crate) fn named(&self, name: &str) -> Option<Value> {
        let output = self.cli(&["container", "inspect", name]);
        let documents: Vec<Value> = serde_json::from_slice(&output.stdout).ok()?;
        documents.into_iter().next()
    }

    /// Removes an app's containers, and those of an adopted one by name.
    pub(crate) fn remove_all(&self, app: &str) {
        let ids = self.containers(app).into_iter().filter_map(|c| Some(c["Id"].as_str()?.to_owned()));
        let ids: Vec<String> = ids.chain([app.to_owned()]).collect();
        for id in ids {
            self.cli(&["rm", "-f", "-v", &id]);
        }
    }
}
