//! From the command line to the command, and from its result to the exit code.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Parser;

use super::args::{Cli, Command, Question};
use super::client::Client;
use super::exit::{Exit, Failure};
use super::out::Out;
use super::{actions, check, deploy, files, history, hook, login, plan, process, status, tags};

/// The program.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let exit = if error.use_stderr() { Exit::Usage } else { Exit::Done };
            // Where even that can't be printed, the code still tells.
            let _ = error.print();
            return exit.into();
        }
    };
    match run(cli, &mut Out::stdout()) {
        Ok(exit) => exit.into(),
        Err(failure) if is_broken_pipe(&failure.error) => Exit::Done.into(),
        Err(failure) => {
            complain(&failure.error);
            failure.exit.into()
        }
    }
}

/// Whoever read our output has seen enough, as in `tagboat history shop | head`.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn complain(error: &anyhow::Error) {
    let mut text = format!("tagboat: {error}");
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !text.contains(&cause) {
            text = format!("{text}\n  caused by: {cause}");
        }
    }
    // There is nowhere left to say that this failed.
    let _ = writeln!(io::stderr(), "{text}");
}

fn run(cli: Cli, out: &mut Out) -> Result<Exit, Failure> {
    match cli.command {
        Command::Run(file) => process::run(&file.config),
        Command::Agent(file) => process::agent(&file.config),
        Command::Proxy(flags) => process::proxy(flags),
        Command::Relieve(flags) => process::relieve(flags),
        Command::Doctor(file) => process::doctor(out, &file.config, cli.json),
        Command::Upgrade(flags) => {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(super::upgrade::upgrade(&flags, out, cli.json))
        }
        Command::Config(command) => files::config(out, &command, cli.json),
        Command::Login(flags) => login::login(out, &flags, cli.json),
        Command::Logout(flags) => login::logout(out, &flags, cli.json),
        Command::Metrics => files::metrics(out),
        Command::Completions { shell } => files::completions(out, shell),
        Command::Ask(question) => {
            let client = Client::new(&cli.place)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(ask(question, &client, out, cli.json))
        }
    }
}

/// The commands that ask the agent.
pub(super) async fn ask(question: Question, client: &Client, out: &mut Out, json: bool) -> Result<Exit, Failure> {
    match question {
        Question::Status { app } => status::status(client, out, app.as_deref(), json).await,
        Question::Check(flags) => check::check(client, out, &flags, json).await,
        Question::Plan { app } => plan::plan(client, out, &app, json).await,
        Question::Tags { app, limit } => tags::tags(client, out, &app, limit, json).await,
        Question::Deploy(flags) => deploy::deploy(client, out, flags, json).await,
        Question::Rollback(flags) => deploy::rollback(client, out, flags, json).await,
        Question::History { app, limit } => history::history(client, out, &app, limit, json).await,
        Question::Unquarantine { app, digest } => {
            actions::unquarantine(client, out, &app, digest.as_deref(), json).await
        }
        Question::Approve { app, digest, by } => {
            actions::approve(client, out, &app, (digest.as_deref(), by), json).await
        }
        Question::Prune { dry_run } => super::prune::prune(client, out, dry_run, json).await,
        Question::Hook(command) => hook::hook(client, out, command, json).await,
        Question::Unpin { app } => actions::unpin(client, out, &app, json).await,
    }
}
