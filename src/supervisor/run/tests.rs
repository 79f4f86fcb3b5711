//! The supervisor with shell scripts for children.

use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex};

use crate::supervisor::stub::{lines, stub, wait_for};

use super::*;

/// Says which role it has and where its control socket is to be, and runs until it is told to end.
const OBEDIENT: &str = r#"trap 'echo "$1 hup" >> "$log"' HUP
    trap 'echo "$1 term" >> "$log"; exit 0' TERM
    trap 'echo "$1 usr2" >> "$log"; exit 0' USR2
    echo "$1 start $LISTEN_FDNAMES ${5##*/}" >> "$log"
    while kill -0 "$PPID" 2>/dev/null; do sleep 0.02; done"#;

type Next = Arc<Mutex<Result<Listeners, String>>>;

struct Stage {
    dir: tempfile::TempDir,
    next: Next,
    supervisor: Supervisor,
}

impl Stage {
    async fn set(proxy: &[&str], agent: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listeners = listeners(proxy, agent);
        std::fs::create_dir_all(dir.path().join("run")).unwrap();
        let next: Next = Arc::new(Mutex::new(Ok(listeners.clone())));
        let config = config(dir.path(), listeners, next.clone(), None);
        let supervisor = Supervisor::start(config, Vec::new(), None, None).await.unwrap();
        let stage = Self { dir, next, supervisor };
        for role in ["proxy", "agent"] {
            let started = || (stage.count(&format!("{role} start")) > 0).then_some(());
            wait_for(role, started).await;
        }
        stage
    }

    /// The control socket of a proxy that is to come, made by us because a script can't.
    fn answer_for(&self, generation: u64) -> UnixListener {
        UnixListener::bind(control(&self.supervisor.config, generation)).unwrap()
    }

    async fn has(&self, wanted: &str) {
        wait_for(wanted, || lines(self.dir.path()).contains(&wanted.to_owned()).then_some(())).await;
    }

    fn count(&self, start: &str) -> usize {
        lines(self.dir.path()).iter().filter(|line| line.starts_with(start)).count()
    }
}

fn config(dir: &Path, listeners: Listeners, next: Next, container: Option<&str>) -> Config {
    Config {
        exe: stub(dir, OBEDIENT),
        config: dir.join("tagboat.yaml"),
        state_dir: dir.to_owned(),
        listeners,
        log: (false, "info".to_owned()),
        reload: Box::new(move || next.lock().unwrap().clone()),
        container: container.map(str::to_owned),
    }
}

fn listeners(proxy: &[&str], agent: &[(&str, &str)]) -> Listeners {
    Listeners {
        proxy: proxy.iter().map(|address| address.parse().unwrap()).collect(),
        agent: agent.iter().map(|(name, address)| ((*name).to_owned(), address.parse().unwrap())).collect(),
    }
}

fn free() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

#[tokio::test]
async fn both_children_get_their_sockets_and_the_agent_ends_before_the_proxy() {
    let mut stage = Stage::set(&["127.0.0.1:0"], &[("api", "127.0.0.1:0")]).await;
    stage.has("proxy start 127.0.0.1%3A0 proxy-1.sock").await;
    stage.has("agent start api ").await;
    stage.supervisor.stop().await;
    let told: Vec<_> = lines(stage.dir.path()).into_iter().filter(|line| line.ends_with("term")).collect();
    assert_eq!(told, ["agent term", "proxy term"]);
}

#[tokio::test]
async fn an_invalid_file_changes_nothing() {
    let mut stage = Stage::set(&["127.0.0.1:0"], &[]).await;
    stage.has("agent start  ").await;
    *stage.next.lock().unwrap() = Err("apps.shop.imgae: unknown key".to_owned());
    stage.supervisor.reload().await;
    *stage.next.lock().unwrap() = Ok(stage.supervisor.config.listeners.clone());
    stage.supervisor.reload().await;
    // The refused one was before it: had the agent been told of that too, there would be two.
    stage.has("agent hup").await;
    assert_eq!((stage.count("agent hup"), stage.count("agent start"), stage.count("proxy start")), (1, 1, 1));
    stage.supervisor.stop().await;
}

#[tokio::test]
async fn a_new_listener_gets_a_new_proxy_with_all_of_them_and_the_old_one_retires() {
    let (old, new) = (free(), free());
    let mut stage = Stage::set(&[&old], &[("api", "127.0.0.1:0")]).await;
    stage.has(&format!("proxy start {} proxy-1.sock", listeners::encoded(&old))).await;
    let _answers = stage.answer_for(2);
    *stage.next.lock().unwrap() = Ok(self::listeners(&[&old, &new], &[("api", "127.0.0.1:0")]));
    stage.supervisor.reload().await;
    let names = [&old, &new].map(|address| listeners::encoded(address)).join(":");
    stage.has(&format!("proxy start {names} proxy-2.sock")).await;
    stage.has("proxy usr2").await;
    stage.has("agent hup").await;
    for address in [old, new] {
        std::net::TcpStream::connect(address).unwrap();
    }
    stage.supervisor.stop().await;
}

#[tokio::test]
async fn changed_listeners_of_the_agent_restart_the_agent_alone() {
    let mut stage = Stage::set(&["127.0.0.1:0"], &[("api", "127.0.0.1:0")]).await;
    stage.has("agent start api ").await;
    let agent = [("api", "127.0.0.1:0"), ("hooks", &free())];
    *stage.next.lock().unwrap() = Ok(listeners(&["127.0.0.1:0"], &agent));
    stage.supervisor.reload().await;
    stage.has("agent start api:hooks ").await;
    assert_eq!((stage.count("agent term"), stage.count("proxy start")), (1, 1));
    stage.supervisor.stop().await;
}

#[tokio::test]
async fn an_address_that_is_taken_keeps_the_old_listeners() {
    let mut stage = Stage::set(&["127.0.0.1:0"], &[]).await;
    stage.has("agent start  ").await;
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    let before = stage.supervisor.config.listeners.clone();
    *stage.next.lock().unwrap() = Ok(listeners(&["127.0.0.1:0", &taken], &[]));
    stage.supervisor.reload().await;
    assert_eq!(stage.supervisor.config.listeners, before);
    stage.supervisor.stop().await;
    assert_eq!((stage.count("proxy start"), stage.count("agent hup")), (1, 0));
}

#[tokio::test]
async fn at_the_start_an_address_in_use_is_waited_for_and_then_named() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap().to_string();
    let start = async {
        let mut stage = Stage::set(&[&taken], &[]).await;
        stage.has("agent start  ").await;
        stage.supervisor.stop().await;
    };
    let leave = async {
        tokio::task::yield_now().await;
        drop(other);
    };
    tokio::join!(start, leave);

    let _other = TcpListener::bind(&taken).unwrap();
    tokio::time::pause();
    let refused = bind_when_free(proxy_names(&[taken.parse().unwrap()]), &mut Vec::new()).await.unwrap_err();
    assert!(refused.to_string().contains(&taken), "{refused}");
}

#[tokio::test]
async fn a_new_proxy_that_does_not_answer_leaves_everything_as_it_was_until_it_is_tried_again() {
    let (old, new) = (free(), free());
    let mut stage = Stage::set(&[&old], &[]).await;
    stage.has(&format!("proxy start {} proxy-1.sock", listeners::encoded(&old))).await;
    let wanted = self::listeners(&[&old, &new], &[]);
    *stage.next.lock().unwrap() = Ok(wanted.clone());
    tokio::time::pause();
    stage.supervisor.reload().await;
    tokio::time::resume();
    assert_eq!((stage.count("proxy usr2"), stage.count("agent hup")), (0, 0));
    // What the killed script had started holds the socket for a moment longer.
    wait_for("the address is free again", || TcpListener::bind(&new).ok()).await;
    let _answers = stage.answer_for(3);
    stage.supervisor.reload().await;
    assert_eq!(stage.supervisor.config.listeners, wanted);
    stage.has("proxy usr2").await;
    stage.supervisor.stop().await;
}

#[tokio::test]
async fn asked_twice_it_cuts_what_does_not_end() {
    let mut stage = Stage::set(&[], &[]).await;
    stage.has("agent start  ").await;
    stage.has("proxy start  proxy-1.sock").await;
    stub(
        stage.dir.path(),
        r#"trap '' TERM; echo "stubborn $1" >> "$log"; while kill -0 "$PPID" 2>/dev/null; do sleep 0.02; done"#,
    );
    stage.supervisor.agent.stop(Signal::TERM, AGENT_GRACE);
    stage.supervisor.agent.ended().await;
    stage.supervisor.agent = Child::start(agent_spec(&stage.supervisor.config, &[]));
    stage.has("stubborn agent").await;
    let first = tokio::time::timeout(Duration::from_millis(300), stage.supervisor.stop()).await;
    assert!(first.is_err(), "it waits for the agent");
    stage.supervisor.kill().await;
    assert!(stage.supervisor.agent.has_ended() && stage.supervisor.proxy.has_ended());
}

#[test]
fn a_second_tagboat_on_the_same_directory_is_told_who_was_first() {
    let dir = tempfile::tempdir().unwrap();
    let first = lock(dir.path()).unwrap();
    let refused = lock(dir.path()).unwrap_err().to_string();
    assert!(refused.contains(&format!("pid {}", std::process::id())), "{refused}");
    drop(first);
    assert!(lock(dir.path()).is_ok());
}

#[test]
fn the_generation_is_above_every_living_socket_and_the_dead_are_cleared_away() {
    let dir = tempfile::tempdir().unwrap();
    let path = |n: u64| dir.path().join(format!("proxy-{n}.sock"));
    let living = UnixListener::bind(path(3)).unwrap();
    drop(UnixListener::bind(path(7)).unwrap());
    assert_eq!(next_generation(dir.path()), 4);
    assert!(path(3).exists() && !path(7).exists());
    drop(living);
    assert_eq!(next_generation(dir.path()), 1);
}

#[tokio::test]
async fn the_next_one_takes_over_and_when_it_ends_everything_is_taken_back() {
    let dir = tempfile::tempdir().unwrap();
    let (path, address) = (dir.path().to_owned(), free());
    let wanted = listeners(&[&address], &[("api", "127.0.0.1:0")]);
    let next: Next = Arc::new(Mutex::new(Ok(wanted.clone())));
    let contained = |id: &str| config(&path, wanted.clone(), next.clone(), Some(id));
    let count = |start: &str| lines(&path).iter().filter(|line| line.starts_with(start)).count();
    let mut old = Supervisor::take_place(contained("old")).await.unwrap();
    wait_for("the old one", || (count("agent start") == 1 && count("proxy start") == 1).then_some(())).await;
    let mut signals = Signals::new().unwrap();
    let story = async {
        let stranger = Supervisor::take_place(contained("next")).await;
        assert!(matches!(stranger.map(|_| ()), Err(Error::Locked { .. })), "it was not announced");
        std::fs::write(crate::supervisor::successor_file(&path), "next").unwrap();
        let mut next = Supervisor::take_place(contained("next")).await.unwrap();
        assert_eq!(count("agent term"), 1, "the old agent has ended before the next one started");
        assert_eq!(count("proxy usr2"), 0, "the old proxy serves until the next one answers");
        let _answers = [control(&next.config, next.generation), path.join("run/agent.sock")]
            .map(|place| UnixListener::bind(place).unwrap());
        next.prove().await.unwrap();
        wait_for("the old proxy retires", || (count("proxy usr2") == 1).then_some(())).await;
        std::net::TcpStream::connect(&address).unwrap();
        drop(next);
        wait_for("the old one is back", || (count("agent start") == 3 && count("proxy start") == 3).then_some(()))
            .await;
        let note = crate::supervisor::NotTaken::take(&path).unwrap();
        assert_eq!((note.container.as_str(), note.why.as_str()), ("next", "it has given up or ended"));
        assert!(matches!(lock(&path), Err(Error::Locked { .. })));
    };
    tokio::select! {
        ended = old.work(&mut signals) => panic!("{ended:?}"),
        () = story => {}
    }
    old.stop().await;
}

#[tokio::test]
async fn a_next_one_that_is_told_to_end_gives_the_place_back_before_it_does() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().to_owned();
    let wanted = listeners(&["127.0.0.1:0"], &[]);
    let next: Next = Arc::new(Mutex::new(Ok(wanted.clone())));
    let contained = |id: &str| config(&path, wanted.clone(), next.clone(), Some(id));
    let count = |start: &str| lines(&path).iter().filter(|line| line.starts_with(start)).count();
    let mut old = Supervisor::take_place(contained("old")).await.unwrap();
    wait_for("the old one", || (count("agent start") == 1 && count("proxy start") == 1).then_some(())).await;
    std::fs::write(crate::supervisor::successor_file(&path), "next").unwrap();
    let mut signals = Signals::new().unwrap();
    let story = async {
        let mut next = Supervisor::take_place(contained("next")).await.unwrap();
        wait_for("the next one", || (count("agent start") == 2 && count("proxy start") == 2).then_some(())).await;
        // Nothing answers: it is not proved, and stopped.
        next.stop().await;
        wait_for("the old one is back", || (count("agent start") == 3).then_some(())).await;
        assert_eq!(count("proxy start"), 2, "the old proxy had not been given up");
    };
    tokio::select! {
        ended = old.work(&mut signals) => panic!("{ended:?}"),
        () = story => {}
    }
    old.stop().await;
}
