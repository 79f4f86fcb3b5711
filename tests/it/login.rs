//! `tagboat login` and what is done with what it keeps, against a real registry with a password file.
#![expect(clippy::unwrap_used, reason = "a test that can't go on has failed")]

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tagboat::metrics::Metrics;
use tagboat::model::{Digest, Repository};
use tagboat::ports::{Registry as _, RegistryErrorKind};
use tagboat::registry::{Client, Config, RegistryConfig};
use tagboat::store::SledStore;
use tempfile::TempDir;

use crate::support::{Image, Registry, Terms, client as http, wait_for};

/// Two passwords with their bcrypt hashes, from the test vectors of Openwall's crypt_blowfish.
const ONE: (&str, &str) = ("U*U", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW");
const TWO: (&str, &str) = ("U*U*", "$2a$05$CCCCCCCCCCCCCCCCCCCCC.VGOzA784oUp/Z0DY336zx7pLYAy0lwK");

/// A registry that lets in `bot` alone.
struct Locked(Registry);

fn only(hash: &str) -> Terms {
    Terms { passwords: Some(format!("bot:{hash}\n")), ..Terms::default() }
}

impl Locked {
    async fn start() -> Self {
        let locked = Self(Registry::start(only(ONE.1)).await);
        locked.lets_in(ONE.0).await;
        locked
    }

    /// Starts it with an image in it, of this digest.
    async fn with_an_image() -> (Self, Digest) {
        let mut registry = Registry::start(Terms::default()).await;
        let digest = Image::sample("v1").push(&registry, "shop", "latest").await;
        registry.reopen(only(ONE.1)).await;
        (Self(registry), digest)
    }

    fn host(&self) -> String {
        self.0.host()
    }

    async fn lets_in(&self, password: &str) {
        let url = format!("http://{}/v2/", self.host());
        wait_for(Duration::from_secs(20), "the registry lets bot in", || async {
            let answer = http().get(&url).basic_auth("bot", Some(password)).send().await.ok()?;
            answer.status().is_success().then_some(())
        })
        .await;
    }

    async fn change_password(&self, (password, hash): (&str, &str)) {
        std::fs::write(self.0.dir().join("htpasswd"), format!("bot:{hash}\n")).unwrap();
        self.lets_in(password).await;
    }
}

/// A user's home with docker's directory in it.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("docker/config.json")
    }

    fn tagboat(&self, program: &Path, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args).env("DOCKER_CONFIG", self.0.path().join("docker")).env("HOME", self.0.path());
        command.env("TAGBOAT_CONFIG", self.0.path().join("none.yaml")).env("NO_COLOR", "1");
        command
    }

    fn run(&self, args: &[&str], input: &str) -> Output {
        let mut command = self.tagboat(Path::new(env!("CARGO_BIN_EXE_tagboat")), args);
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = piped.spawn().unwrap();
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    }

    fn watcher(&self, registries: &[(String, RegistryConfig)]) -> Client {
        let config = Config {
            registries: registries.iter().cloned().collect(),
            docker_config: Some(self.file()),
            ..Config::default()
        };
        let store = SledStore::open(&tempfile::tempdir_in(self.0.path()).unwrap().keep()).unwrap();
        Client::new(config, Metrics::new(), Arc::new(store))
    }
}

fn told(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

#[tokio::test]
async fn a_login_is_verified_kept_used_rotated_and_erased() {
    let ((registry, digest), home) = (Locked::with_an_image().await, Home::new());
    let host = registry.host();
    let login = ["login", host.as_str(), "--username", "bot", "--password-stdin"];

    let refused = home.run(&login, "wr0ng");
    assert_eq!(refused.status.code(), Some(1), "{}", told(&refused));
    for words in ["401", "\"bot\"", "are the user and the password right"] {
        assert!(told(&refused).contains(words), "{words}: {}", told(&refused));
    }
    assert!(!told(&refused).contains("wr0ng") && !home.file().exists(), "nothing is kept of what is refused");

    let accepted = home.run(&login, &format!("{}\n", ONE.0));
    assert_eq!(accepted.status.code(), Some(0), "{}", told(&accepted));
    assert!(told(&accepted).contains(&home.file().display().to_string()) && !told(&accepted).contains(ONE.0));
    assert_eq!(std::fs::metadata(home.file()).unwrap().permissions().mode() & 0o777, 0o600);

    let repository: Repository = format!("{host}/shop").parse().unwrap();
    let latest = "latest".parse().unwrap();
    let secret = home.0.path().join("secret");
    std::fs::write(&secret, ONE.0).unwrap();
    let settings = RegistryConfig {
        username: Some("bot".to_owned()),
        password_file: Some(secret.clone()),
        ..RegistryConfig::default()
    };
    let (by_login, by_file) = (home.watcher(&[]), home.watcher(&[(host.clone(), settings)]));
    for watcher in [&by_login, &by_file] {
        assert_eq!(watcher.resolve(&repository, &latest, None).await.unwrap().digest, digest);
    }

    registry.change_password(TWO).await;
    for (watcher, source) in [(&by_login, home.file()), (&by_file, secret.clone())] {
        let error = watcher.resolve(&repository, &latest, None).await.unwrap_err();
        assert_eq!(error.kind, RegistryErrorKind::Unauthorized);
        for words in ["\"bot\"", "401", source.to_str().unwrap()] {
            assert!(error.message.contains(words) && !error.message.contains(ONE.0), "{words}: {error}");
        }
    }
    std::fs::write(&secret, TWO.0).unwrap();
    assert_eq!(home.run(&login, TWO.0).status.code(), Some(0));
    for watcher in [&by_login, &by_file] {
        assert_eq!(watcher.resolve(&repository, &latest, None).await.unwrap().digest, digest, "without a restart");
    }

    let erased = home.run(&["logout", &host], "");
    assert!(told(&erased).contains("erased") && told(&home.run(&["logout", &host], "")).contains("nothing was kept"));
    let error = by_login.resolve(&repository, &latest, None).await.unwrap_err();
    assert!(error.message.contains("no credentials were used") && error.message.contains("tagboat login"), "{error}");
}

#[tokio::test]
async fn the_doctor_says_whether_an_image_can_be_read_and_what_to_do() {
    let ((registry, digest), home) = (Locked::with_an_image().await, Home::new());
    let (host, file) = (registry.host(), home.0.path().join("tagboat.yaml"));
    let engine = home.0.path().join("no.sock");
    let text = format!(
        "state_dir: {}\ndocker: {{host: 'unix://{}'}}\napps: {{shop: {{image: '{host}/shop', route: {{host: a.test}}}}}}\n",
        home.0.path().join("state").display(),
        engine.display()
    );
    std::fs::write(&file, text).unwrap();
    let doctor = || home.run(&["doctor", "--config", file.to_str().unwrap()], "");
    let before = told(&doctor());
    for words in ["container engine", engine.to_str().unwrap(), "401", &format!("tagboat login {host}")] {
        assert!(before.contains(words), "{words}: {before}");
    }
    let login = ["login", host.as_str(), "--username", "bot", "--password-stdin"];
    assert_eq!(home.run(&login, ONE.0).status.code(), Some(0));
    let after = doctor();
    assert!(told(&after).contains(&format!("is at {}", digest.short())), "{}", told(&after));
    // There is no engine, and no tagboat.
    assert_eq!(after.status.code(), Some(1), "{}", told(&after));
}

/// Reads on until a text has come.
fn until(from: &mut impl Read, text: &str) -> String {
    let mut seen = String::new();
    let mut byte = [0];
    while !seen.contains(text) && from.read(&mut byte).unwrap() == 1 {
        seen.push(char::from(byte[0]));
    }
    assert!(seen.contains(text), "{text:?} never came: {seen}");
    seen
}

#[tokio::test]
async fn a_password_that_is_typed_is_not_shown() {
    let (registry, home) = (Locked::start().await, Home::new());
    let line = format!("{} login {}", env!("CARGO_BIN_EXE_tagboat"), registry.host());
    // `script` makes a terminal and puts the program at it.
    let mut command = home.tagboat(Path::new("script"), &["-qec", &line, "/dev/null"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("this test needs bsdutils");
    let (mut keys, mut screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut seen = until(&mut screen, "user at");
    keys.write_all(b"bot\n").unwrap();
    seen.push_str(&until(&mut screen, "password: "));
    // A wrong beginning is taken back.
    keys.write_all(format!("wrong\x15{}\n", ONE.0).as_bytes()).unwrap();
    seen.push_str(&until(&mut screen, "kept in"));
    assert!(seen.contains("bot") && seen.contains("lets bot in"), "{seen}");
    assert!(!seen.contains(ONE.0) && !seen.contains("wrong"), "{seen}");
    drop(keys);
    assert!(child.wait().unwrap().success());
    assert!(home.file().exists());
}

#[test]
fn what_is_typed_wrongly_is_told_before_anyone_is_asked() {
    let home = Home::new();
    for (args, words) in [
        (&["login", "not a name"][..], "is no name of a registry"),
        (&["login", "acme/shop", "--token"], "is no name of a registry"),
        (&["login", "ghcr.io", "--password-stdin"], "--password-stdin needs --username"),
        (&["login", "docker.io", "--token", "--password-stdin"], "--username"),
        (&["login", "ghcr.io", "--username", "bot"], "--password-stdin"),
        (&["login", "ghcr.io", "--username", "bot", "--password-stdin"], "is empty"),
        (&["logout", "not a name"], "is no name of a registry"),
    ] {
        let output = home.run(args, "");
        assert_eq!(output.status.code(), Some(3), "{args:?}: {}", told(&output));
        assert!(told(&output).contains(words), "{args:?}: {}", told(&output));
    }
    assert!(!home.file().exists());
}
