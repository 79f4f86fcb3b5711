//! `tagboat hook`: a new receiver with its secret and where to paste it, what became of deliveries, and a trial.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use clap::{Args, Subcommand};
use serde_json::json;
use url::Url;

use super::args::ConfigFile;
use super::client::Client;
use super::exit::{Exit, Failure};
use super::out::{Cell, Out, Row, Table, Tone, safe};
use super::words::ago;
use crate::config::Config;
use crate::http::webhooks::{HookReceiver, HookView, Proof, Reading, Sender, Subject};
use crate::model::{App, Digest, Follow, ListenAddr, Time};

/// A receiver answers within a second; one behind a slow proxy later.
const PATIENCE: Duration = Duration::from_secs(15);

/// What stands for this host's name as long as nobody has said it.
const THIS_HOST: &str = "THIS-HOST";

#[derive(Debug, Subcommand)]
pub(super) enum HookCommand {
    /// Print a new receiver: what to add to the configuration, its address, and where to paste it at the sender
    New(NewFlags),
    /// Show the receivers, and what became of each one's last delivery
    List,
    /// Send a receiver what its sender would send, with the configured secret
    Test(TestFlags),
}

#[derive(Debug, Args)]
pub(super) struct NewFlags {
    /// What sends to it, such as dockerhub, github or generic; without it, the senders are listed
    pub(super) sender: Option<String>,
    /// The receiver's id, a part of its address
    #[arg(long)]
    pub(super) id: Option<String>,
    /// How the sender reaches tagboat's hooks listener from where it is
    #[arg(long, value_name = "URL", default_value_t = format!("http://{THIS_HOST}:9394"))]
    pub(super) base: String,
}

#[derive(Debug, Args)]
pub(super) struct TestFlags {
    /// The receiver
    pub(super) id: String,
    /// Announce a push of this app's image, instead of the first one that the sender can announce
    #[arg(long)]
    pub(super) app: Option<String>,
    /// Reach the receiver so, instead of at its listener: the way that its sender goes
    #[arg(long, value_name = "URL")]
    pub(super) to: Option<Url>,
    #[command(flatten)]
    pub(super) config: ConfigFile,
}

pub(super) async fn hook(client: &Client, out: &mut Out, command: HookCommand, json: bool) -> Result<Exit, Failure> {
    match command {
        HookCommand::New(flags) => new(out, flags, json),
        HookCommand::List => list(client, out, json).await,
        HookCommand::Test(flags) => test(client, out, flags, json).await,
    }
}

fn new(out: &mut Out, flags: NewFlags, json: bool) -> Result<Exit, Failure> {
    let Some(sender) = flags.sender else { return senders(out, json) };
    let sender: Sender = sender.parse().map_err(Failure::usage)?;
    let id = flags.id.unwrap_or_else(|| sender.label().to_owned());
    if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b)) {
        return Err(Failure::usage("an id is part of an address: letters, digits, `-`, `_` and `.`"));
    }
    let secret = hex::encode(rand::random::<[u8; 24]>());
    let proof = sender.proofs().first().copied().unwrap_or(Proof::Url);
    let end = if proof == Proof::Url { format!("/{secret}") } else { String::new() };
    let base = base(&flags.base)?;
    let url = format!("{base}/hooks/{id}{end}");
    let config = snippet(sender, proof, &id, &secret, &url);
    let guide = sender.guide().replace("{url}", &url).replace("{secret}", &secret);
    if json {
        let secret = matches!(proof, Proof::Token | Proof::Hmac | Proof::Url).then_some(secret);
        out.json(&json!({
            "id": id, "sender": sender.label(), "proof": proof.label(), "url": url, "secret": secret,
            "config": config, "guide": guide,
        }))?;
        return Ok(Exit::Done);
    }
    out.line(Tone::Quiet, "Add this to tagboat's configuration, then `systemctl reload tagboat` or SIGHUP:")?;
    out.line(Tone::Plain, &format!("\n{config}"))?;
    out.line(Tone::Quiet, &format!("Its address, for {}:", sender.title()))?;
    out.line(Tone::Good, &format!("\n  {url}\n"))?;
    out.line(Tone::Plain, &guide)?;
    out.line(Tone::Quiet, &format!("\nTo try it: tagboat hook test {id}"))?;
    if proof == Proof::Url && base.starts_with("http:") && !base.contains(THIS_HOST) {
        let text = "\nOver http everybody on the way can read this address, and it is the secret: put TLS in front, and give \
                    --base with https.";
        out.line(Tone::Warning, text)?;
    }
    if base.contains(THIS_HOST) {
        let text = "\nTHIS-HOST is how the sender reaches this host; give it with --base and it is filled in.";
        out.line(Tone::Warning, text)?;
    }
    Ok(Exit::Done)
}

/// Where the hooks' listener is reached, without a slash at its end.
fn base(given: &str) -> Result<&str, Failure> {
    let is_web = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
    match given.parse::<Url>().ok().filter(is_web) {
        Some(url) if url.query().is_none() && url.fragment().is_none() => Ok(given.trim_end_matches('/')),
        _ => Err(Failure::usage(format!("--base {given:?} is no address such as https://hooks.example.com"))),
    }
}

/// What to add to the configuration. What only the person knows is in capitals.
fn snippet(sender: Sender, proof: Proof, id: &str, secret: &str, url: &str) -> String {
    let proof = match proof {
        Proof::Token | Proof::Hmac | Proof::Url => format!("{}: \"{secret}\"", proof.label()),
        Proof::IdToken => {
            format!("id_token: {{audience: \"{url}\", email: \"tagboat-push@PROJECT.iam.gserviceaccount.com\"}}")
        }
        Proof::Sns => "topic_arn: \"arn:aws:sns:REGION:ACCOUNT:TOPIC\"".to_owned(),
    };
    let host = if sender.names_registry() {
        String::new()
    } else {
        "\n      default_host: registry.example.com   # what stands before the repository in your apps' images"
            .to_owned()
    };
    let sender = sender.label();
    format!("hooks:\n  receivers:\n    {id}:\n      sender: {sender}\n      {proof}{host}\n")
}

fn senders(out: &mut Out, json: bool) -> Result<Exit, Failure> {
    if json {
        let one = |sender: Sender| {
            let proofs: Vec<_> = sender.proofs().iter().map(|proof| proof.label()).collect();
            json!({"sender": sender.label(), "title": sender.title(), "proofs": proofs})
        };
        out.json(&Sender::ALL.map(one))?;
        return Ok(Exit::Done);
    }
    let row = |sender: Sender| {
        let proofs = sender.proofs().iter().map(|proof| proof.label()).collect::<Vec<_>>().join(", ");
        Row { cells: vec![sender.label().into(), sender.title().into(), proofs.into()], below: Vec::new() }
    };
    out.table(&Table { head: &["SENDER", "WHAT IT IS", "PROOFS"], rows: Sender::ALL.map(row).into() })?;
    Ok(Exit::Done)
}

async fn list(client: &Client, out: &mut Out, json: bool) -> Result<Exit, Failure> {
    let hooks = client.hooks().await?;
    if json {
        out.json(&hooks)?;
    } else if hooks.is_empty() {
        out.line(Tone::Plain, "there is no receiver; `tagboat hook new SENDER` makes one")?;
    } else {
        print(out, &hooks, chrono::Utc::now())?;
    }
    Ok(Exit::Done)
}

pub(super) fn print(out: &mut Out, hooks: &[HookView], now: Time) -> std::io::Result<()> {
    let row = |hook: &HookView| {
        let (when, result) = match &hook.last {
            None => ("never".to_owned(), Cell(Tone::Quiet, String::new())),
            Some(last) => (ago(now, last.at), Cell(tone(&last.result), last.result.replace('_', " "))),
        };
        let accepted = hook.last_accepted.map_or("never".to_owned(), |at| ago(now, at));
        let cells = [hook.id.clone(), hook.sender.clone(), hook.path.clone(), hook.proof.clone(), accepted, when]
            .map(Cell::from);
        let below = hook.last.iter().map(|last| (Tone::Quiet, safe(&last.detail))).filter(|(_, text)| !text.is_empty());
        Row { cells: cells.into_iter().chain([result]).collect(), below: below.collect() }
    };
    let head = &["RECEIVER", "SENDER", "PATH", "PROOF", "ACCEPTED", "LAST", "RESULT"];
    out.table(&Table { head, rows: hooks.iter().map(row).collect() })
}

fn tone(result: &str) -> Tone {
    match result {
        "accepted" | "handshake" => Tone::Good,
        "unauthorized" | "unverifiable" => Tone::Bad,
        "too_large" | "queue_full" => Tone::Warning,
        _ => Tone::Quiet,
    }
}

async fn test(client: &Client, out: &mut Out, flags: TestFlags, json: bool) -> Result<Exit, Failure> {
    let config = Config::load(&flags.config.config).map_err(|errors| Failure::new(Exit::Usage, errors))?;
    let known = |hooks: &crate::config::Hooks| hooks.receivers.iter().map(|one| one.id.clone()).collect::<Vec<_>>();
    let hooks = config.hooks.as_ref();
    let Some((receiver, listen)) =
        hooks.and_then(|hooks| Some((hooks.receivers.iter().find(|one| one.id == flags.id)?, &hooks.listen)))
    else {
        let known = hooks.map(known).unwrap_or_default().join(", ");
        return Err(Failure::usage(format!("there is no receiver {:?}; the receivers are: {known}", flags.id)));
    };
    let app = app(&config.apps, receiver, flags.app.as_deref())?;
    let newest = client.app(app.name.as_str()).await.ok().and_then(|view| view.status.newest);
    let trial = receiver.trial(&subject(app, newest));
    let base = flags.to.map_or_else(|| local(listen), |url| url.to_string());
    let status = send(&base, &trial).await?;
    let last = client.hooks().await.ok().and_then(|hooks| hooks.into_iter().find(|hook| hook.id == receiver.id)?.last);
    let right = match (trial.is_authentic, status) {
        (true, 200..=299) => last.as_ref().is_none_or(|last| last.result == "accepted"),
        (false, 401) => true,
        _ => false,
    };
    if json {
        out.json(&json!({"receiver": receiver.id, "app": app.name, "status": status, "last": last, "ok": right}))?;
    } else {
        let tone = if right { Tone::Good } else { Tone::Bad };
        let what = format!("{} announced {} at {base}: HTTP {status}", receiver.sender.label(), app.image);
        out.line(tone, &what)?;
        if !trial.is_authentic && status == 401 {
            let text = "it is reached; only its sender can make a proof that it accepts, so this one had to be refused";
            out.line(Tone::Plain, text)?;
        } else if let Some(last) = last {
            out.line(tone, &safe(&format!("the agent says: {}: {}", last.result.replace('_', " "), last.detail)))?;
        }
    }
    Ok(if right { Exit::Done } else { Exit::Failed })
}

fn subject(app: &App, newest: Option<Digest>) -> Subject {
    let tag = match &app.follow {
        Follow::Tag(tag) => tag.clone(),
        _ => "latest".parse().expect("it is a tag"),
    };
    let digest = newest.unwrap_or_else(|| Digest::of(b"a trial of a webhook"));
    let id = format!("tagboat-trial-{:016x}", rand::random::<u64>());
    Subject { repository: app.image.clone(), tag, digest, id }
}

/// The app that was named, or the first one whose image this receiver's sender can announce, if possible one of its own
/// registry.
fn app<'a>(apps: &'a [App], receiver: &HookReceiver, named: Option<&str>) -> Result<&'a App, Failure> {
    if let Some(named) = named {
        let known = || apps.iter().map(|app| app.name.as_str()).collect::<Vec<_>>().join(", ");
        let found = apps.iter().find(|app| app.name.as_str() == named);
        return found.ok_or_else(|| Failure::usage(format!("there is no app {named:?}; the apps are: {}", known())));
    }
    let announced = |app: &&App| {
        let trial = receiver.trial(&subject(app, None));
        let headers = trial.headers.iter().filter_map(|(name, value)| Some((name.clone(), value.parse().ok()?)));
        let read = receiver.read(&headers.collect(), trial.body.as_bytes());
        matches!(read, Ok(Reading::Pushed { hints, .. }) if hints.iter().any(|hint| hint.repository == app.image))
    };
    let host = receiver.default_host.as_deref().and_then(|host| host.split('/').next());
    let fits = |app: &&App| receiver.sender.is_for(app.image.registry());
    let announced: Vec<_> = apps.iter().filter(announced).collect();
    let best = announced.iter().copied().find(fits).or(announced.first().copied());
    // Then the answer says what is wrong.
    let nearest = || apps.iter().find(|app| host == Some(app.image.registry())).or(apps.iter().find(fits));
    best.or_else(nearest).or(apps.first()).ok_or_else(|| Failure::usage("there is no app to announce a push of"))
}

/// The listener, from this host.
fn local(listen: &ListenAddr) -> String {
    let mut address = listen.socket_addr();
    match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(ip) if ip.is_unspecified() => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    format!("http://{address}")
}

async fn send(base: &str, trial: &crate::http::webhooks::Trial) -> Result<u16, Failure> {
    // Another part of the program may have done it already, with the same provider.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().timeout(PATIENCE).redirect(reqwest::redirect::Policy::none()).build()?;
    let url = format!("{}{}", base.trim_end_matches('/'), trial.path);
    let mut request = client.post(url).body(trial.body.clone());
    for (name, value) in &trial.headers {
        request = request.header(name, value);
    }
    let sent = request.send().await.map_err(|error| {
        // The address may hold the receiver's secret.
        let error = anyhow::Error::new(error.without_url());
        Failure::new(
            Exit::Unreachable,
            error.context(format!("nothing answers at {base}; does the agent run with this receiver?")),
        )
    })?;
    Ok(sent.status().as_u16())
}

#[cfg(test)]
mod tests;
