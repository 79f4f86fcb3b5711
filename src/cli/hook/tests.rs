use std::cell::RefCell;
use std::io::{self, Write};
use std::rc::Rc;
use std::sync::Arc;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::super::args::{Cli, Command, Place, Question};
use super::*;
use crate::http::testing::{Served, World, at, engine, store};
use crate::http::webhooks::{self, Fetch, LastDelivery, Unfetched};
use crate::http::{Access, ApiState, api_router, bind_unix, hooks_router, serve};
use crate::metrics::Metrics;
use clap::Parser;

#[derive(Clone, Default)]
struct Paper(Rc<RefCell<Vec<u8>>>);

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.borrow_mut().write(bytes)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

struct NoNet;

#[async_trait]
impl Fetch for NoNet {
    async fn get(&self, url: &Url) -> Result<bytes::Bytes, Unfetched> {
        Err(Unfetched { host: url.to_string(), problem: "not part of this test".into() })
    }
}

async fn run(socket: &std::path::Path, line: &str) -> (String, Result<Exit, Failure>) {
    let cli = Cli::try_parse_from(std::iter::once("tagboat").chain(line.split_whitespace())).unwrap();
    let Command::Ask(Question::Hook(command)) = cli.command else { panic!("{line} is no hook") };
    let paper = Paper::default();
    let client = Client::new(&Place { socket: socket.to_owned(), url: None }).unwrap();
    let ended = hook(&client, &mut Out::into(Box::new(paper.clone()), false), command, cli.json).await;
    let text = String::from_utf8(paper.0.borrow().clone()).unwrap();
    (text, ended)
}

#[tokio::test]
async fn a_new_receiver_of_every_sender_is_complete_and_says_where_to_paste_what() {
    let nowhere = std::path::Path::new("/nowhere");
    let mut secrets = std::collections::BTreeSet::new();
    for sender in Sender::ALL {
        let label = sender.label();
        let line = format!("hook new {label} --id mine --base https://hooks.example.com/ --json");
        let (text, ended) = run(nowhere, &line).await;
        assert_eq!(ended.unwrap(), Exit::Done);
        let made: serde_json::Value = serde_json::from_str(&text).unwrap();
        let url = made["url"].as_str().unwrap();
        assert!(url.starts_with("https://hooks.example.com/hooks/mine"), "{label}: {url}");
        let guide = made["guide"].as_str().unwrap();
        assert!(guide.contains(url) && !guide.contains("{url}") && !guide.contains("{secret}"), "{label}: {guide}");
        if let Some(secret) = made["secret"].as_str() {
            assert!(secret.len() == 48 && guide.contains(secret), "{label}: {guide}");
            assert!(secrets.insert(secret.to_owned()), "{label}: a secret twice");
        }
        let config = made["config"].as_str().unwrap();
        let config = config.replace("REGION:ACCOUNT:TOPIC", "eu-west-1:1:t");
        let read = Config::parse(&config, label, &|_| None).unwrap_or_else(|errors| panic!("{errors}\n{config}"));
        let receivers = read.hooks.unwrap().receivers;
        assert_eq!((receivers[0].id.as_str(), receivers[0].sender), ("mine", sender));
        assert_eq!(receivers[0].auth.proof(), sender.proofs()[0]);
    }
    let (text, _) = run(nowhere, "hook new dockerhub").await;
    for wanted in
        ["      sender: dockerhub\n", "http://THIS-HOST:9394/hooks/dockerhub/", "Webhooks > New webhook", "--base"]
    {
        assert!(text.contains(wanted), "{wanted}: {text}");
    }
    let (text, _) = run(nowhere, "hook new").await;
    assert!(Sender::ALL.iter().all(|sender| text.contains(&format!("\n{} ", sender.label()))), "{text}");
    let failure = run(nowhere, "hook new dokcerhub").await.1.unwrap_err();
    assert_eq!((failure.exit, failure.error.to_string().contains("`dockerhub`?")), (Exit::Usage, true), "{failure:?}");
    assert!(run(nowhere, "hook new github --id a/b").await.1.is_err());
    for base in ["hooks.example.com", "ftp://hooks.example.com", "https://", "https://hooks.example.com/?a=b"] {
        let failure = run(nowhere, &format!("hook new github --base {base}")).await.1.unwrap_err();
        assert_eq!(failure.exit, Exit::Usage, "{base}: {failure:?}");
    }
    for (sender, base, warned) in [("quay", "http", true), ("quay", "https", false), ("github", "http", false)] {
        let (text, _) = run(nowhere, &format!("hook new {sender} --base {base}://hooks.example.com")).await;
        assert_eq!(text.contains("put TLS in front"), warned, "{sender}: {text}");
        assert!(text.contains(&format!("tagboat hook test {sender}")), "{text}");
    }
    assert_eq!(run(nowhere, "hook list").await.1.unwrap_err().exit, Exit::Unreachable);
}

#[test]
fn the_list_shows_what_the_sender_is_not_told() {
    let view = |id: &str, last: Option<(&str, &str)>| HookView {
        id: id.into(),
        sender: "acr".into(),
        path: format!("/hooks/{id}"),
        proof: "token".into(),
        last: last.map(|(result, detail)| LastDelivery { at: at(-5), result: result.into(), detail: detail.into() }),
        last_accepted: last.filter(|(result, _)| *result == "accepted").map(|_| at(-5)),
    };
    let views = [
        view("a", Some(("accepted", "r.example.com/shop:v1"))),
        view("b", Some(("unauthorized", "the signature is not the body's\x1b[31m"))),
        view("c", None),
    ];
    let paper = Paper::default();
    print(&mut Out::into(Box::new(paper.clone()), false), &views, at(0)).unwrap();
    let shown = String::from_utf8(paper.0.borrow().clone()).unwrap();
    let wanted = "\
RECEIVER  SENDER  PATH      PROOF  ACCEPTED  LAST     RESULT
a         acr     /hooks/a  token  5 s ago   5 s ago  accepted
  r.example.com/shop:v1
b         acr     /hooks/b  token  never     5 s ago  unauthorized
  the signature is not the body's [31m
c         acr     /hooks/c  token  never     never    \n";
    assert_eq!(shown, wanted, "{shown}");
}

#[tokio::test]
async fn a_trial_goes_through_the_real_door_with_the_configured_secret() {
    let place = tempfile::tempdir().unwrap();
    let (socket, file) = (place.path().join("agent.sock"), place.path().join("tagboat.yaml"));
    let config = "\
apps: {shop: {image: ghcr.io/acme/shop, listen: ':80'}, blog: {image: registry.example.com/blog, listen: ':81'}}
hooks:
  receivers:
    ci: {sender: generic, hmac_secret: key}
    hub: {sender: dockerhub, url_secret: 0123456789abcdef}
    gar: {sender: google, id_token: {audience: a, email: a@b.example}}
    pkg: {sender: github, hmac_secret: key}
    zot: {sender: zot, token: t, default_host: registry.example.com}
";
    std::fs::write(&file, config).unwrap();
    let receivers = Config::load(&file).unwrap().hooks.unwrap().receivers;
    let world = Arc::new(World::default());
    let engine = engine(&world);
    let (handle, fetch) = (engine.handle.hinter(), Arc::new(NoNet));
    let (state, worker) = webhooks::build(receivers, handle, store(&world), fetch, Metrics::new()).unwrap();
    let stop = CancellationToken::new();
    let api = ApiState::new(engine.handle.clone(), Access::Full, stop.clone()).with_hooks(Some(state.board()));
    let mut server = Served::new(hooks_router(state), stop.clone()).await;
    server.tasks.spawn(serve(bind_unix(&socket).unwrap(), api_router(api), stop.clone()));
    server.tasks.spawn(worker.run(stop));
    let test = |id: &str| format!("hook test {id} --config {} --to http://{}", file.display(), server.addr);
    for (id, says, exit) in [
        ("ci --app shop", "generic announced ghcr.io/acme/shop at", Exit::Done),
        ("ci --app shop --json", "\"result\": \"accepted\"", Exit::Done),
        ("pkg", "github announced ghcr.io/acme/shop at", Exit::Done),
        ("zot", "zot announced registry.example.com/blog at", Exit::Failed),
        ("ci", "generic announced registry.example.com/blog at", Exit::Failed),
        ("ci --app blog", "ignored: no app follows what was pushed: registry.example.com/blog:latest", Exit::Failed),
        ("hub", "ignored: no app follows what was pushed: docker.io/", Exit::Failed),
        ("gar", "it is reached; only its sender can make a proof", Exit::Done),
    ] {
        let (text, ended) = run(&socket, &test(id)).await;
        assert_eq!(ended.unwrap(), exit, "{id}: {text}");
        assert!(text.contains(says), "{id}: {text}");
        assert!(!text.contains("0123456789abcdef"), "{text}");
    }
    for (id, says) in
        [("other", "the receivers are: ci, gar, hub, pkg, zot"), ("ci --app x", "the apps are: blog, shop")]
    {
        let failure = run(&socket, &test(id)).await.1.unwrap_err();
        assert!(failure.exit == Exit::Usage && failure.error.to_string().contains(says), "{failure:?}");
    }
    let (text, ended) = run(&socket, "hook list").await;
    assert_eq!(ended.unwrap(), Exit::Done);
    assert!(text.contains("hub       dockerhub  /hooks/hub/…  url_secret"), "{text}");
    let line = format!("hook test hub --config {} --to http://127.0.0.1:1", file.display());
    let failure = run(&socket, &line).await.1.unwrap_err();
    assert_eq!(failure.exit, Exit::Unreachable);
    assert!(!format!("{:#}", failure.error).contains("0123456789abcdef"), "{failure:?}");
}
