//! A compose file with labels added, as a new user would: afterwards compose finds nothing to do.

use std::process::{Command, Output};
use std::time::Duration;

use crate::support::{Image, Program, Setup, free_port};

/// Debian's is the first docker-compose; `TAGBOAT_TEST_COMPOSE` names a newer one.
fn program_name() -> String {
    std::env::var("TAGBOAT_TEST_COMPOSE").unwrap_or_else(|_| "docker-compose".to_owned())
}

fn is_first_compose() -> bool {
    let version = Command::new(program_name()).args(["version", "--short"]).output().expect("it tells its version");
    String::from_utf8_lossy(&version.stdout).trim_start_matches('v').starts_with("1.")
}

/// Compose on the tests' engine.
fn compose(program: &Program, file: &std::path::Path, args: &[&str]) -> Output {
    let mut command = Command::new(program_name());
    command.args(["-p", "shop", "-f"]).arg(file).args(args).env("DOCKER_HOST", &program.docker().host);
    let output = command.output().expect("docker-compose is installed (package docker-compose)");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

/// Ids by service.
fn ids(program: &Program) -> Vec<(String, String)> {
    let format = "{{.Label \"com.docker.compose.service\"}} {{.ID}} {{.State}}";
    let filter = "label=com.docker.compose.project=shop";
    let list = program.docker().must(&["ps", "-a", "--no-trunc", "--filter", filter, "--format", format]);
    let mut ids: Vec<(String, String)> =
        list.lines().filter_map(|line| line.split_once(' ')).map(|(s, id)| (s.to_owned(), id.to_owned())).collect();
    ids.sort();
    ids
}

/// What shares the web server's network does so with the container that runs now.
fn joined(program: &Program) {
    let one = |service: &str| {
        let filter = format!("label=com.docker.compose.service={service}");
        program.docker().must(&["ps", "-q", "--no-trunc", "--filter", &filter])
    };
    let mode = program.docker().must(&["inspect", "-f", "{{.HostConfig.NetworkMode}}", &one("side")]);
    assert_eq!(mode, format!("container:{}", one("web")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compose_project_is_kept_up_to_date_and_compose_finds_nothing_to_do() {
    let mut program = Program::prepared(Setup { declared: false, ..Setup::new("compose") }).await;
    let registry = program.registry.host();
    for name in ["web", "worker", "db"] {
        Image::sample("v1").push(&program.registry, name, "latest").await;
    }
    let dir = tempfile::tempdir().unwrap();
    let (file, port) = (dir.path().join("docker-compose.yml"), free_port());
    let labels = "labels: {tagboat.enable: 'true', tagboat.scope: compose}";
    let text = format!(
        "version: '2.4'\n\
         services:\n\
         \x20 web:\n    image: {registry}/web\n    ports: ['127.0.0.1:{port}:8080']\n    restart: always\n    {labels}\n\
         \x20 worker:\n    image: {registry}/worker\n    environment: {{QUEUE: mail}}\n    {labels}\n\
         \x20 db:\n    image: {registry}/db\n    volumes: [/data]\n    {labels}\n\
         \x20 side:\n    image: {registry}/worker\n    network_mode: 'service:web'\n    environment: {{PORT: '8099'}}\n    {labels}\n"
    );
    std::fs::write(&file, text).unwrap();
    compose(&program, &file, &["up", "-d"]);
    program.start();
    let adopted = |count: usize| {
        let program = &program;
        async move {
            let statuses = program.get("/apps").await?;
            let all = statuses.as_array().cloned().or_else(|| statuses["apps"].as_array().cloned())?;
            (all.len() == count && all.iter().all(|status| status["state"] == "up_to_date")).then_some(())
        }
    };
    program.wait(Duration::from_secs(60), "all four are adopted", || adopted(4)).await;
    let volume = |program: &Program| {
        let db = program.docker().must(&["ps", "-q", "--filter", "label=com.docker.compose.service=db"]);
        program.docker().must(&["inspect", "-f", "{{range .Mounts}}{{.Name}} {{.Destination}}{{end}}", &db])
    };
    let (before, data) = (ids(&program), volume(&program));
    let db =
        |program: &Program| program.docker().must(&["ps", "-q", "--filter", "label=com.docker.compose.service=db"]);
    std::fs::write(dir.path().join("proof"), "written by version 1").unwrap();
    let proof = dir.path().join("proof").display().to_string();
    program.docker().must(&["cp", &proof, &format!("{}:/data/proof", db(&program))]);
    for name in ["web", "worker", "db"] {
        Image::sample("v2").push(&program.registry, name, "latest").await;
    }
    program
        .wait(Duration::from_secs(120), "all four run version 2", || async {
            let running = program.docker().must(&["ps", "-q", "--filter", "label=com.docker.compose.project=shop"]);
            let ids: Vec<&str> = running.lines().collect();
            let env = program.docker().must(&[["inspect", "-f", "{{.Config.Env}}"].as_slice(), &ids].concat());
            (ids.len() == 4 && env.matches("VERSION=v2").count() == 4).then_some(())
        })
        .await;
    program.wait(Duration::from_secs(60), "all four are settled", || adopted(4)).await;
    let after = ids(&program);
    assert_eq!(after.len(), 4, "nothing is left over: {after:?}");
    assert!(after.iter().zip(&before).all(|(new, old)| new.0 == old.0 && new.1 != old.1), "{before:?} {after:?}");
    assert_eq!(volume(&program), data, "the database has its volume");
    let kept = dir.path().join("kept");
    program.docker().must(&["cp", &format!("{}:/data/proof", db(&program)), &kept.display().to_string()]);
    assert_eq!(std::fs::read_to_string(kept).unwrap(), "written by version 1", "the database has its data");
    joined(&program);
    let web = crate::support::client().get(format!("http://127.0.0.1:{port}/id?x=0")).send().await.unwrap();
    assert!(web.text().await.unwrap().contains("v2"));
    if is_first_compose() {
        // Its own hash of a service contains the image's id: after any update, by whomever, it makes the container anew.
        compose(&program, &file, &["up", "-d", "--no-recreate"]);
    } else {
        compose(&program, &file, &["up", "-d"]);
    }
    // Later ones hash the id of the container whose network is shared, and make what shares it anew after every change of
    // that, whoever made it.
    let changed: Vec<(String, String)> = ids(&program).into_iter().filter(|now| !after.contains(now)).collect();
    let shares = changed.iter().all(|(service, _)| service == "side") && !is_first_compose();
    assert!(changed.is_empty() || shares, "compose finds nothing to do: {changed:?}");
    joined(&program);
    let settled = ids(&program);
    compose(&program, &file, if is_first_compose() { &["up", "-d", "--no-recreate"] } else { &["up", "-d"] });
    assert_eq!(ids(&program), settled, "compose finds nothing to do any more");
    compose(&program, &file, &["down", "-v"]);
}
