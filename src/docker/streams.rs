//! Pulls, logs and events: answers that go on.

use std::collections::{HashMap, VecDeque};

use bollard::auth::DockerCredentials;
use bollard::exec::{StartExecOptions, StartExecResults};
use bollard::models::EventMessage;
use bollard::query_parameters::{CreateImageOptionsBuilder, EventsOptionsBuilder, LogsOptionsBuilder};
use bollard::{ClientVersion, Docker as Bollard};
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, TryStreamExt};
use secrecy::ExposeSecret;
use tokio::time::{Duration, timeout};

use crate::model::{AppName, ContainerId, Credentials, ImageRef, PullProgress, SecretKind, label};
use crate::ports::{EngineError, EngineErrorKind, EngineEvent};

use super::error::of_stream;
use super::{CALL, Config};

/// A pull that makes no progress for so long is given up.
const STALLED: Duration = Duration::from_secs(60);

/// Reading the last lines of a log may take so long.
const LOGS: Duration = Duration::from_secs(5);

/// Opens a connection for streams, in the version that was negotiated.
pub(super) fn connect(config: &Config, host: &str, version: (u32, u32)) -> Result<Bollard, EngineError> {
    let version = ClientVersion { major_version: version.0 as usize, minor_version: version.1 as usize };
    let seconds = CALL.as_secs();
    let made = match (&config.cert_path, host.strip_prefix("unix://")) {
        (_, Some(path)) => Bollard::connect_with_unix(path, seconds, &version),
        (None, None) => Bollard::connect_with_http(host, seconds, &version),
        (Some(dir), None) => Bollard::connect_with_ssl(
            host,
            &dir.join("key.pem"),
            &dir.join("cert.pem"),
            &dir.join("ca.pem"),
            seconds,
            &version,
        ),
    };
    made.map_err(|error| of_stream("reach the container engine", host, error))
}

/// Pulls an image and reports the sum over its layers.
pub(super) async fn pull(
    docker: &Bollard,
    host: &str,
    image: &ImageRef,
    auth: Option<&Credentials>,
    progress: &(dyn Fn(PullProgress) + Send + Sync),
) -> Result<(), EngineError> {
    let what = format!("pull {image}");
    let options = CreateImageOptionsBuilder::new().from_image(&image.to_string()).build();
    let mut steps = docker.create_image(Some(options), None, auth.map(|auth| credentials(image, auth)));
    let mut layers: HashMap<String, (u64, u64)> = HashMap::new();
    loop {
        let step = match timeout(STALLED, steps.next()).await {
            Ok(Some(step)) => step.map_err(|error| undelivered(of_stream(&what, host, error)))?,
            Ok(None) => return Ok(()),
            Err(_) => {
                let message = format!("failed to {what}: no progress for {} s", STALLED.as_secs());
                return Err(EngineError { kind: EngineErrorKind::Pull, message, source: None });
            }
        };
        if let Some(detail) = step.error_detail {
            let words = detail.message.unwrap_or_else(|| "an error without words".to_owned());
            let message = format!("failed to {what}: the engine says: {words}");
            return Err(EngineError { kind: EngineErrorKind::Pull, message, source: None });
        }
        let downloading = step.status.as_deref() == Some("Downloading");
        if let (true, Some(layer), Some(detail)) = (downloading, step.id, step.progress_detail) {
            let number = |n: Option<i64>| u64::try_from(n.unwrap_or_default()).unwrap_or_default();
            layers.insert(layer, (number(detail.current), number(detail.total)));
            let done = layers.values().map(|(done, _)| done).sum();
            let total = layers.values().map(|(_, total)| total).sum();
            progress(PullProgress { done, total });
        }
    }
}

/// What the daemon answers to a pull is the registry's fault, unless the daemon itself could not be reached.
fn undelivered(error: EngineError) -> EngineError {
    match error.kind {
        EngineErrorKind::Unreachable => error,
        _ => EngineError { kind: EngineErrorKind::Pull, ..error },
    }
}

fn credentials(image: &ImageRef, auth: &Credentials) -> DockerCredentials {
    let secret = auth.secret.expose_secret().to_owned();
    let mut made = DockerCredentials {
        serveraddress: Some(image.repository.registry().to_owned()),
        ..DockerCredentials::default()
    };
    match auth.kind {
        SecretKind::IdentityToken => made.identitytoken = Some(secret),
        SecretKind::RegistryToken => made.registrytoken = Some(secret),
        SecretKind::Password => {
            made.username = Some(auth.username.clone());
            made.password = Some(secret);
        }
    }
    made
}

/// The last lines of a container's output, without the terminal's control sequences.
pub(super) async fn logs(
    docker: &Bollard,
    host: &str,
    id: &ContainerId,
    lines: usize,
) -> Result<Vec<String>, EngineError> {
    let what = format!("read the output of {}", id.short());
    let options = LogsOptionsBuilder::new().stdout(true).stderr(true).tail(&lines.to_string()).build();
    let chunks = docker.logs(&id.0, Some(options)).map_ok(bollard::container::LogOutput::into_bytes);
    let read = timeout(LOGS, chunks.try_collect::<Vec<_>>()).await;
    let chunks = match read {
        Ok(read) => read.map_err(|error| of_stream(&what, host, error))?,
        Err(_) => return Ok(Vec::new()),
    };
    let text = String::from_utf8_lossy(&chunks.concat()).into_owned();
    let tail: Vec<String> = text.lines().map(plain).collect();
    Ok(tail.into_iter().rev().take(lines).rev().collect())
}

/// The lines of a container's output as they come.
pub(super) fn output(docker: &Bollard, id: &ContainerId) -> BoxStream<'static, String> {
    let options = LogsOptionsBuilder::new().stdout(true).stderr(true).follow(true).build();
    let chunks = docker.logs(&id.0, Some(options));
    let lines = chunks.take_while(|chunk| std::future::ready(chunk.is_ok())).map(|chunk| {
        let text = chunk.map(bollard::container::LogOutput::into_bytes).unwrap_or_default();
        plain(String::from_utf8_lossy(&text).trim_end())
    });
    lines.boxed()
}

/// Lines of a hook's output that are kept.
const EXEC_LINES: usize = 50;

/// Runs what was prepared, and gives its last lines; `None` when it does not end in time.
pub(super) async fn exec(
    docker: &Bollard,
    host: &str,
    what: &str,
    exec: &str,
    limit: Duration,
) -> Result<Option<Vec<String>>, EngineError> {
    let run = async {
        let started = docker.start_exec(exec, None::<StartExecOptions>).await?;
        let mut last: VecDeque<String> = VecDeque::new();
        if let StartExecResults::Attached { mut output, .. } = started {
            while let Some(chunk) = output.next().await {
                for line in String::from_utf8_lossy(&chunk?.into_bytes()).lines() {
                    last.push_back(plain(line));
                }
                while last.len() > EXEC_LINES {
                    last.pop_front();
                }
            }
        }
        Ok::<_, bollard::errors::Error>(last)
    };
    match timeout(limit, run).await {
        Ok(lines) => lines.map(|lines| Some(lines.into())).map_err(|error| of_stream(what, host, error)),
        Err(_) => Ok(None),
    }
}

/// A line without escape sequences and other control characters: it is shown in terminals and pages.
fn plain(line: &str) -> String {
    let mut text = String::with_capacity(line.len());
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            if chars.next() == Some('[') {
                chars.by_ref().find(|c| c.is_ascii_alphabetic());
            }
        } else if !c.is_control() || c == '\t' {
            text.push(c);
        }
    }
    text
}

/// Events of containers with our labels or a person's, until the connection is lost.
pub(super) fn events(docker: &Bollard, owner: &str) -> BoxStream<'static, EngineEvent> {
    let owner = owner.to_owned();
    let filters = HashMap::from([("type".to_owned(), vec!["container".to_owned()])]);
    let events = docker.events(Some(EventsOptionsBuilder::new().filters(&filters).build()));
    let known = events
        .take_while(|event| std::future::ready(event.is_ok()))
        .filter_map(move |event| std::future::ready(event.ok().and_then(|event| heard(event, &owner))));
    known.boxed()
}

/// What happens to a container as a whole.
const PRESENCE: [&str; 7] = ["create", "start", "die", "destroy", "rename", "pause", "unpause"];

fn heard(event: EventMessage, owner: &str) -> Option<EngineEvent> {
    let actor = event.actor?;
    let labels = actor.attributes?;
    let app: Option<AppName> = match labels.get(label::OWNER) {
        Some(whose) if whose == owner => Some(labels.get(label::APP)?.parse().ok()?),
        Some(_) => return None,
        None => None,
    };
    let action = event.action?;
    // Health checks run in the container all the time; only their results matter. Of what is not ours yet, only its
    // coming and going do.
    let noise =
        if app.is_some() { action.starts_with("exec_") || action == "top" } else { !PRESENCE.contains(&&*action) };
    let name = |key: &str| labels.get(key).map(|name| name.trim_start_matches('/').to_owned());
    let names = ["name", "oldName"].into_iter().filter_map(name).collect();
    (!noise).then(|| EngineEvent { app, container: ContainerId(actor.id.unwrap_or_default()), names, action })
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn a_log_line_can_t_move_the_cursor() {
        assert_eq!(plain("\u{1b}[31mred\u{1b}[0m\u{7} \u{1b}[2Kok\tx"), "red ok\tx");
    }
}
