//! Commands, whole, against a real API over a real socket.

use super::*;

#[tokio::test]
async fn the_documentation_shows_the_tags_as_they_are() {
    let agent = Agent::new();
    let (text, _) = agent.run("tags blog").await;
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CLI.md")).unwrap();
    let text = text.replace("acme/blog", "acme/shop").replace("blog follows", "shop follows");
    assert!(document.contains(&text), "{text}");
    let nothing = TagReport {
        app: "shop".parse().unwrap(),
        repository: "ghcr.io/acme/shop".into(),
        follows: "semver ^3".into(),
        winner: None,
        message: Some("none of the 2 tags is followed; the nearest: 2.0.0 (outside ^3)".into()),
        listed: 2,
        artifacts: 0,
        candidates: vec![],
    };
    let shown = printed(false, |out| crate::cli::tags::print(out, &nothing, 20));
    assert_shown(
        &shown,
        "
shop follows semver ^3: nothing
none of the 2 tags is followed; the nearest: 2.0.0 (outside ^3)
",
    );
}

/// An agent on a Unix socket.
struct Agent {
    world: Arc<World>,
    engine: Arc<Detached>,
    socket: PathBuf,
    _place: tempfile::TempDir,
    tasks: JoinSet<()>,
}

impl Agent {
    fn new() -> Self {
        let place = tempfile::tempdir().unwrap();
        let socket = place.path().join("agent.sock");
        let world = Arc::new(World::default());
        let engine = Arc::new(engine(&world));
        let stop = CancellationToken::new();
        let router = api_router(ApiState::new(engine.handle.clone(), Access::Full, stop.clone()));
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(bind_unix(&socket).unwrap(), router, stop));
        Self { world, engine, socket, _place: place, tasks }
    }

    /// Runs a command line; what it printed and how it ended.
    async fn run(&self, line: &str) -> (String, Result<Exit, Failure>) {
        run_at(&Place { socket: self.socket.clone(), url: None }, line).await
    }

    fn emit(&self, app: &str, kind: EventKind) {
        self.engine.emit(Event { at: at(0), app: app.parse().unwrap(), kind });
    }
}

async fn run_at(place: &Place, line: &str) -> (String, Result<Exit, Failure>) {
    let cli = Cli::try_parse_from(std::iter::once("tagboat").chain(line.split_whitespace())).unwrap();
    let Command::Ask(question) = cli.command else { panic!("{line} asks nothing") };
    let paper = Paper::default();
    let mut out = Out::into(Box::new(paper.clone()), false);
    let client = Client::new(place).unwrap();
    let ended = timeout(DEADLINE, dispatch::ask(question, &client, &mut out, cli.json)).await;
    let text = String::from_utf8(paper.0.borrow().clone()).unwrap();
    (text, ended.unwrap_or_else(|_| panic!("{line} hangs")))
}

#[tokio::test]
async fn each_command_prints_for_people_and_for_programs() {
    let agent = Agent::new();
    for (line, says, exit) in [
        ("status", "blog    held back", Exit::Done),
        ("status shop", "shop  up to date", Exit::Done),
        ("status --json", "\"explanation\": \"bbbbbbbbbbbb failed before", Exit::Done),
        ("plan shop", "in place of aaaaaaaaaaaa", Exit::Done),
        ("plan shop --json", "\"decision\": \"act\"", Exit::Done),
        ("tags shop", "latest      winner", Exit::Done),
        ("prune --dry-run", "2 would be removed, 12.3 MB of images; `tagboat prune` does it", Exit::Done),
        ("prune", "2 removed, 12.3 MB of images (layers that others share stay)", Exit::Done),
        ("prune -n --json", "\"reference\": \"shop.failed-7\"", Exit::Done),
        ("tags blog --limit 1", "and 5 more tags (`--limit 0` shows them), 1 signatures and the like", Exit::Done),
        ("tags blog --json", "\"verdict\": \"out_of_range\"", Exit::Done),
        ("history shop", "| starting", Exit::Done),
        ("history shop -n 1 --json", "\"result\": \"failed\"", Exit::Done),
        ("deploy shop", "deploying cccccccccccc as s8", Exit::Done),
        ("deploy shop --tag v2 --reason why --json", "\"answer\": \"started\"", Exit::Done),
        ("deploy shop --digest bbbb", "deploying", Exit::Done),
        ("rollback shop", "deploying", Exit::Done),
        ("rollback shop --to 4", "deploying", Exit::Done),
        ("rollback shop --to aaaa", "deploying", Exit::Done),
        ("unquarantine blog", "blog: 2 lifted", Exit::Done),
        ("unquarantine blog bbbb --json", "\"lifted\": 2", Exit::Done),
        ("unpin shop", "follows its tag again", Exit::Done),
        ("approve shop --by ada", "aaaaaaaaaaaa is approved, though its policy does not ask for it", Exit::Done),
        ("approve blog --digest bbbb --by ada --json", "\"by\": \"ada\"", Exit::Done),
        ("check --dry-run", "shop: would deploy cccccccccccc", Exit::UpdatesAvailable),
    ] {
        let (text, ended) = agent.run(line).await;
        assert_eq!(ended.unwrap_or_else(|failure| panic!("{line}: {failure:?}")), exit, "{line}");
        assert!(text.contains(says), "{line}:\n{text}");
        if line.contains("--json") {
            serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|error| panic!("{line}: {error}\n{text}"));
        }
    }
    let (_, ended) = agent.run("rollback shop --to aaaa").await;
    ended.unwrap();
    assert_eq!(agent.world.last(), format!("Digest({:?})", digest('a')));
    assert!(!agent.tasks.is_empty());
}

#[tokio::test]
async fn mistakes_end_with_their_code_and_a_way_out() {
    let agent = Agent::new();
    for (line, exit, says) in [
        ("status shpo", Exit::Usage, "blog, broken, shop"),
        ("deploy shop --tag .x", Exit::Usage, "tag \".x\" is not valid"),
        ("deploy shop --digest ff", Exit::Usage, "too short"),
        ("rollback shop --to yesterday", Exit::Usage, "no digest that is known"),
        ("unquarantine shop bbbb", Exit::Usage, "no digest that is known"),
        ("history ../x", Exit::Usage, "there is no app"),
        ("approve shop --digest bbbb", Exit::Usage, "no digest that is known"),
    ] {
        let failure = agent.run(line).await.1.unwrap_err();
        assert_eq!(failure.exit, exit, "{line}: {failure:?}");
        assert!(failure.error.to_string().contains(says), "{line}: {failure:?}");
    }
    let hold = Hold::Quarantined { digest: digest('b'), failure: failure() };
    *agent.world.answer.lock().unwrap() = Some(Ok(Answer::Held { hold: hold.clone() }));
    let (text, ended) = agent.run("deploy shop").await;
    assert_eq!(ended.unwrap(), Exit::Held);
    assert!(text.contains(&explain(&hold)), "{text}");
    let gone = Place { socket: "/nonexistent/agent.sock".into(), url: None };
    let failure = run_at(&gone, "status").await.1.unwrap_err();
    assert_eq!(failure.exit, Exit::Unreachable);
    assert!(failure.error.to_string().contains("/nonexistent/agent.sock; is `tagboat run` running?"), "{failure:?}");
}

/// Waits until somebody reads events and the question has been asked.
async fn asked(agent: &Agent) {
    let ready = async {
        while agent.engine.readers() == 0 || agent.world.last().is_empty() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(DEADLINE, ready).await.expect("the command asks");
}

fn stage(swap: &str, stage: Stage, millis: u64) -> EventKind {
    EventKind::StageFinished { swap: SwapId(swap.into()), stage, millis, note: String::new() }
}

#[tokio::test]
async fn waiting_shows_the_stages_and_ends_as_the_deployment_does() {
    for (swap, exit, says) in [
        ("s6", Exit::Done, "shop serves aaaaaaaaaaaa (7.0 s)\n"),
        (
            "s7",
            Exit::Failed,
            "bbbbbbbbbbbb failed at gate: exited with code 3 after 0.4 s; what served before still serves\n  | starting\n",
        ),
    ] {
        let agent = Agent::new();
        let started = Answer::Started { deployment: SwapId(swap.into()), digest: digest('b') };
        *agent.world.answer.lock().unwrap() = Some(Ok(started));
        let happens = async {
            asked(&agent).await;
            agent.emit("blog", stage("other", Stage::Pull, 1));
            agent.emit("shop", stage("other", Stage::Create, 1));
            agent.emit("shop", stage(swap, Stage::Pull, 2_050));
            agent.emit(
                "shop",
                EventKind::SwapSucceeded {
                    swap: SwapId(swap.into()),
                    reason: PlanReason::TagMoved,
                    digest: digest('b'),
                    millis: 7_000,
                    strategy: Strategy::Proxy,
                    gap_millis: 0,
                },
            );
        };
        let ((text, ended), ()) = tokio::join!(agent.run("deploy shop --wait"), happens);
        assert_eq!(ended.unwrap(), exit, "{text}");
        let stages = "deploying bbbbbbbbbbbb to shop\n  pull       2.0 s\n  create     80 ms\n  gate       4.3 s\n";
        assert!(text.starts_with(stages), "{text}");
        assert!(text.contains(says), "{text}");
    }
}

#[tokio::test]
async fn waiting_ends_even_when_every_event_is_lost() {
    let agent = Agent::new();
    let started = Answer::Started { deployment: SwapId("s6".into()), digest: digest('a') };
    *agent.world.answer.lock().unwrap() = Some(Ok(started));
    let (text, ended) = agent.run("deploy shop --wait --json").await;
    assert_eq!(ended.unwrap(), Exit::Done);
    assert_eq!(serde_json::from_str::<Deployment>(&text).unwrap().result, DeploymentResult::Succeeded);
    let never = Answer::Started { deployment: SwapId("s99".into()), digest: digest('a') };
    *agent.world.answer.lock().unwrap() = Some(Ok(never));
    let failure = agent.run("deploy shop --wait --timeout 1500ms").await.1.unwrap_err();
    assert_eq!(failure.exit, Exit::TimedOut, "{failure:?}");
}

#[tokio::test]
async fn a_queued_request_is_followed_once_its_swap_begins_or_turns_out_to_be_needless() {
    let agent = Agent::new();
    let busy = AppStatus {
        deploying: Some((SwapId("old".into()), Stage::Drain)),
        state: AppState::Deploying,
        ..status("shop")
    };
    agent.engine.set(busy);
    *agent.world.answer.lock().unwrap() = Some(Ok(Answer::Queued));
    let happens = async {
        asked(&agent).await;
        agent.emit("shop", stage("old", Stage::Drain, 5));
        let (swap, reason) = (SwapId("s6".into()), PlanReason::Forced);
        agent.emit(
            "shop",
            EventKind::SwapStarted { swap: swap.clone(), reason, digest: digest('a'), generation: Generation(7) },
        );
        agent.emit(
            "shop",
            EventKind::SwapSucceeded {
                swap,
                reason,
                digest: digest('a'),
                millis: 7_000,
                strategy: Strategy::Proxy,
                gap_millis: 0,
            },
        );
    };
    let ((text, ended), ()) = tokio::join!(agent.run("deploy shop --wait --force"), happens);
    assert_eq!(ended.unwrap(), Exit::Done);
    assert!(text.starts_with("shop is busy with a swap; yours is next\n"), "{text}");
    assert!(text.ends_with("shop serves aaaaaaaaaaaa (7.0 s)\n") && !text.contains("drain"), "{text}");
    agent.engine.set(status("shop"));
    *agent.world.answer.lock().unwrap() = Some(Ok(Answer::Queued));
    let (text, ended) = agent.run("deploy shop --wait").await;
    assert_eq!(ended.unwrap(), Exit::Done);
    assert!(text.ends_with("shop: nothing had to be done\n"), "{text}");
}

#[tokio::test]
async fn a_check_waits_for_every_registry_and_tells_news_by_its_code() {
    let agent = Agent::new();
    let checked = |result: &str, digest: Option<Digest>, message: Option<&str>| EventKind::Checked {
        result: result.into(),
        digest,
        message: message.map(str::to_owned),
    };
    let happens = async {
        for app in ["blog", "broken", "shop"] {
            assert_eq!(agent.engine.activated(app).await, SeenSource::Request);
        }
        agent.emit("blog", checked("unknown", Some(digest('a')), Some("HTTP 503")));
        agent.emit("shop", checked("unchanged", Some(digest('a')), None));
        agent.emit("broken", checked("changed", Some(digest('c')), None));
    };
    let ((text, ended), ()) = tokio::join!(agent.run("check"), happens);
    assert_eq!(ended.unwrap(), Exit::UpdatesAvailable);
    assert_shown(
        &text,
        "
APP     RESULT            SERVING       NEWEST
blog    not known         aaaaaaaaaaaa  bbbbbbbbbbbb
  HTTP 503
broken  update available  aaaaaaaaaaaa  cccccccccccc
shop    up to date        aaaaaaaaaaaa  aaaaaaaaaaaa
",
    );
    let pinned = AppStatus { image: format!("ghcr.io/acme/shop@{}", digest('a')), ..status("shop") };
    agent.engine.set(pinned);
    let (text, ended) = agent.run("check shop --json").await;
    assert_eq!(ended.unwrap(), Exit::Done, "{text}");
    assert!(text.contains("\"result\": \"pinned\""), "{text}");
    let (text, ended) = agent.run("check blog --timeout 50ms").await;
    assert_eq!(ended.unwrap(), Exit::Failed, "{text}");
    assert!(text.contains("no answer yet"), "{text}");
    let shown = printed(false, |out| check::print(out, &[]));
    assert_eq!(shown, "APP  RESULT  SERVING  NEWEST\n");
}

#[tokio::test]
async fn an_agent_elsewhere_is_reached_by_its_url() {
    let agent = Agent::new();
    let stop = CancellationToken::new();
    let access = Access::guarded(Some(&secrecy::SecretString::from("t")), []).unwrap();
    let router = api_router(ApiState::new(agent.engine.handle.clone(), access, stop.clone()));
    let server = crate::http::testing::Served::new(router, stop).await;
    let url: url::Url = format!("http://{}", server.addr).parse().unwrap();
    let place = Place { socket: PathBuf::new(), url: Some(url) };
    let failure = run_at(&place, "status").await.1.unwrap_err();
    assert!(failure.error.to_string().contains("Bearer"), "{failure:?}");
    let with_token = crate::cli::transport::Transport::url(place.url.unwrap(), Some("t".into())).unwrap();
    let reply = with_token.send(http::Method::GET, "/apps", None).await.unwrap();
    assert_eq!(reply.status, 200);
}
