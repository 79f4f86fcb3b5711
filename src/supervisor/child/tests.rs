//! Children that are shell scripts.

use std::os::fd::AsRawFd;
use std::path::Path;

use crate::supervisor::stub::{lines, stub, wait_for};

use super::*;

fn child(dir: &Path, script: &str, sockets: Vec<(String, TcpListener)>) -> Child {
    let exe = stub(dir, script);
    Child::start(Spec { role: "agent", exe, args: vec!["agent".into()], env: vec![], sockets: Arc::new(sockets) })
}

#[test]
fn the_first_restart_is_immediate_and_the_waits_double_to_ten_seconds() {
    let millis = |failures| back_off(failures).as_millis();
    assert_eq!([0, 1, 2, 3, 7, 8, 60].map(millis), [0, 100, 200, 400, 6_400, 10_000, 10_000]);
}

#[tokio::test]
async fn a_child_inherits_each_socket_by_name_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let listen = || TcpListener::bind("127.0.0.1:0").unwrap();
    let (shop, api, private) = (listen(), listen(), listen());
    let inode = |socket: &TcpListener| {
        std::fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap().display().to_string()
    };
    let expected = format!("2 %3A80:api {} {}", inode(&shop), inode(&api));
    let script = r#"echo "$LISTEN_FDS $LISTEN_FDNAMES $(readlink /proc/$$/fd/3) $(readlink /proc/$$/fd/4)" >> "$log"
        ls -l /proc/$$/fd >> "$log"; exec sleep 20"#;
    let sockets = vec![(":80".to_owned(), shop), ("api".to_owned(), api)];
    let mut child = child(dir.path(), script, sockets);
    let seen = wait_for("the child tells its sockets", || Some(lines(dir.path())).filter(|l| l.len() > 5)).await;
    assert_eq!(seen[0], expected);
    assert!(!seen.iter().any(|line| line.contains(&inode(&private))), "{seen:#?}");
    child.kill();
    child.ended().await;
}

#[tokio::test]
async fn a_child_that_is_killed_is_started_again_and_nobody_is_refused_meanwhile() {
    let dir = tempfile::tempdir().unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let sockets = vec![("api".to_owned(), socket)];
    let mut child = child(dir.path(), r#"echo $$ >> "$log"; exec sleep 20"#, sockets);
    for started in 1..=3 {
        let pids = wait_for("it runs", || Some(lines(dir.path())).filter(|l| l.len() == started)).await;
        send(pids[started - 1].parse().unwrap(), Signal::KILL);
        std::net::TcpStream::connect(address).unwrap();
    }
    wait_for("it runs once more", || (lines(dir.path()).len() == 4).then_some(())).await;
    child.kill();
    child.ended().await;
}

#[tokio::test]
async fn a_child_that_wants_to_start_anew_does_not_wait_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let begun = Instant::now();
    let script = format!(r#"echo x >> "$log"; [ $(wc -l < "$log") -lt 12 ] && exit {RESTART}; exec sleep 20"#);
    let mut child = child(dir.path(), &script, vec![]);
    wait_for("the twelfth runs", || (lines(dir.path()).len() == 12).then_some(())).await;
    // Eleven failures would have cost 0.1 + 0.2 + … + 10 + 10 s.
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    child.kill();
    child.ended().await;
}

#[tokio::test]
async fn a_child_that_ignores_being_stopped_is_killed_after_its_grace() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = child(
        dir.path(),
        r#"trap '' TERM; echo $$ >> "$log"; while kill -0 "$PPID" 2>/dev/null; do sleep 0.1; done"#,
        vec![],
    );
    let pid = wait_for("it runs", || lines(dir.path()).pop()).await;
    child.stop(Signal::TERM, Duration::from_millis(100));
    child.ended().await;
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[tokio::test]
async fn a_child_can_be_stopped_while_it_waits_to_be_started_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = child(dir.path(), r#"echo x >> "$log"; exit 1"#, vec![]);
    wait_for("it failed five times", || (lines(dir.path()).len() == 5).then_some(())).await;
    child.stop(Signal::TERM, Duration::from_secs(60));
    child.ended().await;
}

#[tokio::test]
async fn a_child_whose_owner_is_gone_sees_the_end_of_its_input() {
    let dir = tempfile::tempdir().unwrap();
    let spec = Spec {
        role: "agent",
        exe: stub(dir.path(), r#"[ "$TAGBOAT_LIFELINE" = stdin ] && cat >/dev/null; echo eof >> "$log""#),
        args: vec!["agent".into()],
        env: vec![],
        sockets: Arc::default(),
    };
    let mut process = spawn(&spec).unwrap();
    assert!(lines(dir.path()).is_empty());
    drop(process.stdin.take());
    assert!(process.wait().await.unwrap().success());
    assert_eq!(lines(dir.path()), ["eof"]);
}

#[tokio::test]
async fn a_process_of_the_program_before_is_waited_for_and_killed_after_its_grace() {
    let dir = tempfile::tempdir().unwrap();
    let exe = stub(dir.path(), r#"trap '' TERM; echo $$ >> "$log"; while :; do sleep 0.02; done"#);
    let mut started = std::process::Command::new(exe).spawn().unwrap();
    wait_for("it runs", || (!lines(dir.path()).is_empty()).then_some(())).await;
    let mut child = Child::adopt("proxy", started.id());
    assert_eq!(child.pid(), Some(started.id()));
    child.stop(Signal::TERM, Duration::from_millis(100));
    child.ended().await;
    assert_eq!(child.pid(), None);
    assert!(started.wait().is_err(), "its end has been taken note of");

    // What is no child of ours is left alone.
    let mut stranger = Child::adopt("proxy", 1);
    stranger.ended().await;
    assert_eq!(stranger.pid(), None);
}
