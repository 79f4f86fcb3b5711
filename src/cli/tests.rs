//! The tables that people see, and what is said of the commands.

mod commands;

use std::cell::RefCell;
use std::io::{self, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use clap::{CommandFactory, Parser};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::args::{Cli, Command, Place};
use super::client::Client;
use super::exit::{Exit, Failure};
use super::out::Out;
use super::{check, dispatch, history, plan, status as status_command};
use crate::engine::detached::Detached;
use crate::engine::{Answer, explain};
use crate::http::testing::{World, at, deployment, digest, engine, failure, held, status};
use crate::http::{Access, ApiState, AppView, api_router, bind_unix, serve};
use crate::model::*;

const DEADLINE: Duration = Duration::from_secs(20);

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

fn printed(color: bool, print: impl FnOnce(&mut Out) -> io::Result<()>) -> String {
    let paper = Paper::default();
    print(&mut Out::into(Box::new(paper.clone()), color)).unwrap();
    let bytes = paper.0.borrow().clone();
    String::from_utf8(bytes).unwrap()
}

#[track_caller]
fn assert_shown(shown: &str, wanted: &str) {
    let wanted = wanted.trim_start_matches('\n');
    assert_eq!(shown, wanted, "shown:\n{shown}\nwanted:\n{wanted}");
}

#[test]
fn the_command_line_is_consistent() {
    Cli::command().debug_assert();
}

#[test]
fn the_documentation_names_every_command_and_every_exit_code() {
    let document = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/CLI.md")).unwrap();
    for command in Cli::command().get_subcommands() {
        let name = command.get_name();
        assert!(document.contains(&format!("`tagboat {name}")), "{name}");
        for argument in command.get_arguments().filter_map(|argument| argument.get_long()) {
            assert!(document.contains(&format!("--{argument}")), "{name} --{argument}");
        }
    }
    for exit in [0, 1, 2, 3, 4, 5, 6] {
        assert!(document.contains(&format!("\n| {exit} | ")), "{exit}");
    }
}

#[test]
fn the_status_answers_at_a_glance() {
    let silent = AppStatus {
        state: AppState::Unknown,
        hold: Some(Hold::RegistryUnknown { message: "ghcr.io: HTTP 503\x1b[31m".into() }),
        last_check: Some((at(-5), CheckResult::Unknown)),
        last_successful_check: Some(at(-9_000)),
        ..status("mail")
    };
    let swapping = AppStatus {
        state: AppState::Deploying,
        newest: Some(digest('c')),
        deploying: Some((SwapId("web-1".into()), Stage::Gate)),
        ..status("web")
    };
    let down = AppStatus { state: AppState::Down, deployed: None, newest: None, last_check: None, ..status("api") };
    let apps = [status("shop"), held("blog"), silent, swapping, down].map(AppView::from);
    let shown = printed(false, |out| status_command::print(out, &apps, at(0)));
    assert_shown(&shown, "
APP   STATE       SERVING       SINCE   NEWEST        CHECKED            IMAGE
shop  up to date  aaaaaaaaaaaa  3 days  same          12 s ago           ghcr.io/acme/shop:latest
blog  held back   aaaaaaaaaaaa  3 days  bbbbbbbbbbbb  40 s ago           ghcr.io/acme/blog:latest
  bbbbbbbbbbbb failed before (gate: exited with code 3 after 0.4 s); push a new version, or let it be tried again with `tagboat unquarantine`
mail  not known   aaaaaaaaaaaa  3 days  same          no answer 5 s ago  ghcr.io/acme/mail:latest
  it could not be found out what the tag points to: ghcr.io: HTTP 503 [31m
  the registry's last answer came 3 h ago
web   deploying   aaaaaaaaaaaa  3 days  cccccccccccc  12 s ago           ghcr.io/acme/web:latest
  swap web-1 is at stage gate
api   down        nothing               ?             never              ghcr.io/acme/api:latest
");
}

#[test]
fn the_history_shows_where_the_time_went_and_what_went_wrong() {
    let failed = deployment("blog-7", DeploymentResult::Failed { failure: failure() });
    let running = Deployment { finished: None, steps: vec![], ..deployment("blog-8", DeploymentResult::Running) };
    let shown = printed(false, |out| history::print(out, &[running, failed], at(0)));
    assert_shown(
        &shown,
        "
WHEN        RESULT   DIGEST        GENERATION  TOOK   ID      WHY
12 min ago  running  bbbbbbbbbbbb  7                  blog-8  tag moved (webhook)
12 min ago  failed   bbbbbbbbbbbb  7           7.0 s  blog-7  tag moved (webhook)
  pull 2.1 s · create 80 ms · gate 4.3 s
  failed at gate: exited with code 3 after 0.4 s
  | starting
  | <b>panic</b>: no database & no hope
",
    );
}

#[test]
fn a_plan_says_what_and_why() {
    let plan = Plan {
        tag: None,
        swap: SwapId("s9".into()),
        reason: PlanReason::TagMoved,
        strategy: Strategy::Proxy,
        strategy_reason: String::new(),
        digest: digest('c'),
        generation: Generation(8),
        serving: vec![ContainerId("f".repeat(64))],
        fallback: Vec::new(),
        previous: Some(digest('a')),
        candidates: Vec::new(),
        missing: vec![1],
        stay: Vec::new(),
        watched: true,
        steps: vec![
            Step::Pull,
            Step::Switch { expect: 4 },
            Step::Stop { containers: vec![ContainerId("f".repeat(64))] },
        ],
    };
    let shown = printed(false, |out| plan::print(out, "shop", &Decision::Act(Box::new(plan))));
    assert_shown(
        &shown,
        "
shop: cccccccccccc in place of aaaaaaaaaaaa, generation 8, strategy proxy, because: tag moved
STEP  STAGE   WHAT
1     pull    fetch the image by its digest, unless the host has it
2     switch  move the traffic, if nobody else has since revision 4
3     stop    stop ffffffffffff
",
    );
}

#[test]
fn checking_a_configuration_tells_what_is_risky_and_is_content() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("tagboat.yaml");
    std::fs::write(&path, "apps: {shop: {image: shop, listen: ':80', production: true}}\n").unwrap();
    let file = path.display().to_string();
    for (flags, starts) in [("", "warning: "), ("--json", "{")] {
        let line = format!("tagboat {flags} config check --config {file}");
        let cli = Cli::try_parse_from(line.split_whitespace()).unwrap();
        let Command::Config(command) = &cli.command else { panic!("{line}") };
        let text = printed(false, |out| {
            assert_eq!(super::files::config(out, command, cli.json).unwrap(), Exit::Done);
            Ok(())
        });
        assert!(
            text.starts_with(starts) && text.contains("apps.shop.image: a production app follows `latest`"),
            "{text}"
        );
    }
}

#[test]
fn colour_is_only_for_terminals() {
    let apps = [AppView::from(status("shop"))];
    let plain = printed(false, |out| status_command::print(out, &apps, at(0)));
    assert!(!plain.contains('\x1b'), "{plain:?}");
    let colored = printed(true, |out| status_command::print(out, &apps, at(0)));
    assert!(colored.contains("\x1b[32mup to date\x1b[0m"), "{colored:?}");
    let passing = printed(false, |out| out.passing("gate …"));
    assert_eq!(passing, "", "a log file gets no passing lines");
}

#[test]
fn a_digest_may_be_cut_short_as_long_as_it_is_clear() {
    let known = || vec![digest('a'), digest('a'), digest('b'), format!("sha256:{}", "ab".repeat(32)).parse().unwrap()];
    for (given, wanted) in [
        ("bbbb", Ok(digest('b'))),
        ("sha256:bbbbb", Ok(digest('b'))),
        ("aaaa", Ok(digest('a'))),
        ("bbb", Err("too short")),
        ("cccc", Err("no digest")),
    ] {
        let found = super::deploy::by_prefix(known(), given);
        match wanted {
            Ok(digest) => assert_eq!(found.unwrap(), digest, "{given}"),
            Err(says) => assert!(found.unwrap_err().contains(says), "{given}"),
        }
    }
}
