//! What can be typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

/// Keeps containers at the image tags they follow, without dropping a request
#[derive(Debug, Parser)]
#[command(name = "tagboat", version, propagate_version = true, max_term_width = 100)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) place: Place,

    /// Print JSON, in the shapes of the API
    #[arg(long, global = true)]
    pub(super) json: bool,

    #[command(subcommand)]
    pub(super) command: Command,
}

/// Where the agent is.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The agent's socket
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "TAGBOAT_SOCKET",
        default_value = "/var/lib/tagboat/run/agent.sock"
    )]
    pub(super) socket: PathBuf,

    /// The API of an agent elsewhere; its token is taken from TAGBOAT_TOKEN
    #[arg(long, global = true, value_name = "URL", env = "TAGBOAT_URL")]
    pub(super) url: Option<url::Url>,
}

/// The configuration file.
#[derive(Debug, Args)]
pub(super) struct ConfigFile {
    /// The configuration
    #[arg(long, value_name = "FILE", env = "TAGBOAT_CONFIG", default_value = "/etc/tagboat/tagboat.yaml")]
    pub(super) config: PathBuf,
}

/// What takes over.
#[derive(Debug, Args)]
pub(super) struct UpgradeFlags {
    /// The new program; it is copied to the place of the one that runs, which is kept beside it
    #[arg(long, value_name = "FILE")]
    pub(super) binary: PathBuf,
    #[command(flatten)]
    pub(super) file: ConfigFile,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Run agent and proxy, and keep both alive
    Run(ConfigFile),
    /// Run only the agent: polling, deployments, API
    Agent(ConfigFile),
    /// Run only the proxy: the data plane
    Proxy(ProxyFlags),
    /// Stop tagboat's own container and start the next one in its place; tagboat runs this in a container of its own
    #[command(hide = true)]
    Relieve(RelieveFlags),
    #[command(flatten)]
    Ask(Question),
    /// Look at everything that tagboat needs and say what is missing; ends with 1 when something is
    Doctor(ConfigFile),
    /// Have another program take over from the one that runs, without dropping a request
    Upgrade(UpgradeFlags),
    /// Check the configuration, or show its defaults and its schema
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Log in to a registry, for docker and tagboat alike: asks it first, then keeps the password where docker does
    Login(LoginFlags),
    /// Forget the password for a registry
    Logout(LogoutFlags),
    /// Print the table of all metrics
    Metrics,
    /// Print a script that makes a shell complete tagboat's commands
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}

/// What is asked of the agent.
#[derive(Debug, Subcommand)]
pub(super) enum Question {
    /// Show what runs where since when, what is newer and what keeps it back
    Status {
        /// Only this app
        app: Option<String>,
    },
    /// Look at the registries now; ends with 2 when something newer is there
    Check(CheckFlags),
    /// Show what would be done about an app now, and why, without doing it
    Plan {
        /// The app
        app: String,
    },
    /// List the tags of an app's repository: which one it follows, and why not the others
    Tags {
        /// The app
        app: String,
        /// How many, the best first; 0 for all
        #[arg(long, short = 'n', default_value_t = 20)]
        limit: usize,
    },
    /// Remove the containers and images that nobody needs any more of what tagboat brought to the host
    Prune {
        /// Only say what would be removed
        #[arg(long, short = 'n')]
        dry_run: bool,
    },
    /// Deploy what an app follows, or another version of its image
    Deploy(DeployFlags),
    /// Go back to an earlier version and stay there until the tag moves
    Rollback(RollbackFlags),
    /// Show the deployments of an app, newest first
    History {
        /// The app
        app: String,
        /// How many
        #[arg(long, short = 'n', default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=200))]
        limit: u16,
    },
    /// Let digests that failed be tried again
    Unquarantine {
        /// The app
        app: String,
        /// Only this digest; its beginning is enough
        digest: Option<String>,
    },
    /// Approve of the version that waits, so that it may be deployed
    Approve {
        /// The app
        app: String,
        /// This version and no other; the beginning of the one that waits is enough
        #[arg(long)]
        digest: Option<String>,
        /// Who approves
        #[arg(long, value_name = "NAME", env = "USER", default_value = "somebody")]
        by: String,
    },
    /// Make, show and try webhook receivers
    #[command(subcommand)]
    Hook(super::hook::HookCommand),
    /// Let an app follow its tag again
    Unpin {
        /// The app
        app: String,
    },
}

#[derive(Debug, Args)]
pub(super) struct RelieveFlags {
    #[command(flatten)]
    pub(super) file: ConfigFile,
    /// Seconds from its start in which the next one has to have the name
    #[arg(long, value_name = "SECONDS")]
    pub(super) within: u64,
    /// The id of the container that runs
    pub(super) old: String,
    /// That of the one which is to run in its place
    pub(super) next: String,
}

#[derive(Debug, Args)]
pub(super) struct ProxyFlags {
    /// Where the route table is kept
    #[arg(long, value_name = "DIR", default_value = "/var/lib/tagboat")]
    pub(super) state_dir: PathBuf,
    /// The socket that the agent speaks to
    #[arg(long, value_name = "PATH", default_value = "/var/lib/tagboat/run/proxy.sock")]
    pub(super) control: PathBuf,
    /// Take the listeners from this configuration, when none are inherited
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(super) struct LoginFlags {
    /// `ghcr.io`, `docker.io`, `registry.example.com:5000`; `ghcr.io/acme` for what is below that alone
    pub(super) registry: String,
    /// The user; asked for when it is not given
    #[arg(long, short)]
    pub(super) username: Option<String>,
    /// Take the password or token from the standard input; it is never an argument, which others could read
    #[arg(long)]
    pub(super) password_stdin: bool,
    /// It is an access token: no user is asked for where the registry takes any
    #[arg(long)]
    pub(super) token: bool,
    #[command(flatten)]
    pub(super) file: ConfigFile,
}

#[derive(Debug, Args)]
pub(super) struct LogoutFlags {
    /// As at `login`
    pub(super) registry: String,
}

#[derive(Debug, Args)]
pub(super) struct CheckFlags {
    /// Only this app
    pub(super) app: Option<String>,
    /// Only show what would be done by what the last look found; ask and change nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// Wait so long for the registries' answers
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    pub(super) timeout: Duration,
}

/// Staying until the end.
#[derive(Debug, Args)]
pub(super) struct Waiting {
    /// Show the stages and stay until the end
    #[arg(long, short)]
    pub(super) wait: bool,
    /// Stay at most so long
    #[arg(long, value_name = "TIME", default_value = "30m", value_parser = humantime::parse_duration, requires = "wait")]
    pub(super) timeout: Duration,
}

#[derive(Debug, Args)]
pub(super) struct DeployFlags {
    /// The app
    pub(super) app: String,
    /// This tag of its repository; the app then stays at it until the tag it follows moves
    #[arg(long, conflicts_with = "digest")]
    pub(super) tag: Option<String>,
    /// This digest; the beginning of one that has served is enough
    #[arg(long)]
    pub(super) digest: Option<String>,
    /// Even if nothing has changed
    #[arg(long)]
    pub(super) force: bool,
    /// This app and no other of its group
    #[arg(long)]
    pub(super) only: bool,
    /// Why, for the history
    #[arg(long)]
    pub(super) reason: Option<String>,
    #[command(flatten)]
    pub(super) waiting: Waiting,
}

#[derive(Debug, Args)]
pub(super) struct RollbackFlags {
    /// The app
    pub(super) app: String,
    /// "previous", a generation's number, or a digest or its beginning
    #[arg(long, default_value = "previous")]
    pub(super) to: String,
    /// This app and no other of its group
    #[arg(long)]
    pub(super) only: bool,
    #[command(flatten)]
    pub(super) waiting: Waiting,
}

#[derive(Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Say everything that is wrong with a configuration
    Check(ConfigFile),
    /// Print the defaults, with their reasons
    Default,
    /// Print the JSON Schema, for editors
    Schema,
}
