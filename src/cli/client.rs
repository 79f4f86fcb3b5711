//! The API as the commands see it: typed questions, typed answers, events.

use std::collections::VecDeque;
use std::io;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use http::Method;
use percent::segment;
use secrecy::SecretString;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::args::Place;
use super::exit::Exit;
use super::transport::{Reply, Transport};
use crate::engine::Answer;
use crate::engine::Approved;
use crate::http::webhooks::HookView;
use crate::http::{
    AppView, ApproveRequest, DeployBody, LiftRequest, Lifted, Problem, ProblemKind, RollbackRequest, Unpinned,
};
use crate::model::{Decision, Deployment, Event, Pruned, SwapId, TagReport};

/// No answer of the API is larger; an endless one is cut off.
const LARGEST: usize = 64 * 1024 * 1024;
/// No event is larger.
const LARGEST_EVENT: usize = 4 * 1024 * 1024;

/// A request to the agent failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    /// Nobody answers.
    #[error("the agent does not answer at {place}; {advice}")]
    Unreachable { place: String, advice: &'static str, source: io::Error },
    /// It says no.
    #[error("{}", .0.detail)]
    Refused(Problem),
    /// It is not the API that answers, or another version of it.
    #[error("{place} gave an answer that makes no sense ({detail}); is it a tagboat API of this version?")]
    Strange { place: String, detail: String },
    /// The answer broke off.
    #[error("the agent's answer broke off; ask again")]
    BrokenOff(#[source] io::Error),
}

impl ClientError {
    pub(super) fn exit(&self) -> Exit {
        match self {
            Self::Unreachable { .. } | Self::BrokenOff(_) => Exit::Unreachable,
            Self::Refused(problem) if problem.is(ProblemKind::Held) => Exit::Held,
            Self::Refused(problem) if problem.is(ProblemKind::UnknownApp) || problem.is(ProblemKind::BadRequest) => {
                Exit::Usage
            }
            Self::Refused(_) | Self::Strange { .. } => Exit::Failed,
        }
    }
}

/// The agent's API.
pub(super) struct Client {
    transport: Transport,
}

impl Client {
    /// The agent that the command line means.
    pub(super) fn new(place: &Place) -> anyhow::Result<Self> {
        let transport = match &place.url {
            None => Transport::Socket(place.socket.clone()),
            Some(url) => {
                let token = std::env::var("TAGBOAT_TOKEN").ok().filter(|token| !token.is_empty());
                Transport::url(url.clone(), token.map(SecretString::from))?
            }
        };
        Ok(Self { transport })
    }

    pub(super) async fn apps(&self) -> Result<Vec<AppView>, ClientError> {
        self.ask(Method::GET, "/apps", None::<&()>).await
    }

    pub(super) async fn app(&self, app: &str) -> Result<AppView, ClientError> {
        self.ask(Method::GET, &format!("/apps/{}", segment(app)), None::<&()>).await
    }

    pub(super) async fn check(&self, app: &str) -> Result<crate::http::Checking, ClientError> {
        self.ask(Method::POST, &format!("/apps/{}/check", segment(app)), Some(&())).await
    }

    pub(super) async fn plan(&self, app: &str) -> Result<Decision, ClientError> {
        self.ask(Method::GET, &format!("/apps/{}/plan", segment(app)), None::<&()>).await
    }

    pub(super) async fn tags(&self, app: &str) -> Result<TagReport, ClientError> {
        self.ask(Method::GET, &format!("/apps/{}/tags", segment(app)), None::<&()>).await
    }

    pub(super) async fn deploy(&self, app: &str, body: &DeployBody) -> Result<Answer, ClientError> {
        held(self.ask(Method::POST, &format!("/apps/{}/deployments", segment(app)), Some(body)).await)
    }

    pub(super) async fn rollback(&self, app: &str, body: &RollbackRequest) -> Result<Answer, ClientError> {
        held(self.ask(Method::POST, &format!("/apps/{}/rollback", segment(app)), Some(body)).await)
    }

    pub(super) async fn deployments(&self, app: &str, limit: u16) -> Result<Vec<Deployment>, ClientError> {
        self.ask(Method::GET, &format!("/apps/{}/deployments?limit={limit}", segment(app)), None::<&()>).await
    }

    pub(super) async fn deployment(&self, app: &str, id: &SwapId) -> Result<Deployment, ClientError> {
        let path = format!("/apps/{}/deployments/{}", segment(app), segment(&id.0));
        self.ask(Method::GET, &path, None::<&()>).await
    }

    pub(super) async fn unquarantine(&self, app: &str, body: &LiftRequest) -> Result<Lifted, ClientError> {
        self.ask(Method::POST, &format!("/apps/{}/unquarantine", segment(app)), Some(body)).await
    }

    pub(super) async fn unpin(&self, app: &str) -> Result<Unpinned, ClientError> {
        self.ask(Method::POST, &format!("/apps/{}/unpin", segment(app)), Some(&())).await
    }

    pub(super) async fn approve(&self, app: &str, body: &ApproveRequest) -> Result<Approved, ClientError> {
        self.ask(Method::POST, &format!("/apps/{}/approve", segment(app)), Some(body)).await
    }

    pub(super) async fn prune(&self, dry_run: bool) -> Result<Pruned, ClientError> {
        let method = if dry_run { Method::GET } else { Method::POST };
        let body = (!dry_run).then_some(&());
        self.ask(method, "/prune", body).await
    }

    pub(super) async fn hooks(&self) -> Result<Vec<HookView>, ClientError> {
        self.ask(Method::GET, "/hooks", None::<&()>).await
    }

    /// What happens from now on, to one app or to all.
    pub(super) async fn events(&self, app: Option<&str>) -> Result<Events, ClientError> {
        let path = app.map_or("/events".to_owned(), |app| format!("/apps/{}/events", segment(app)));
        let reply = self.transport.send(Method::GET, &path, None).await?;
        if reply.status != 200 {
            return Err(self.refused(reply).await);
        }
        Ok(Events { body: reply.body, read: Vec::new(), ready: VecDeque::new() })
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, ClientError> {
        let body = body.map(|body| {
            // `()` stands for a request that says nothing.
            let text = serde_json::to_vec(body).expect("requests are plain data");
            if text == b"null" { b"{}".to_vec() } else { text }
        });
        let reply = self.transport.send(method, path, body).await?;
        if !(200..300).contains(&reply.status) {
            return Err(self.refused(reply).await);
        }
        let text = whole(reply).await?;
        serde_json::from_slice(&text).map_err(|error| self.strange(error.to_string()))
    }

    async fn refused(&self, reply: Reply) -> ClientError {
        let status = reply.status;
        match whole(reply).await.map(|text| serde_json::from_slice::<Problem>(&text)) {
            Ok(Ok(problem)) => ClientError::Refused(problem),
            Ok(Err(_)) => self.strange(format!("HTTP {status}")),
            Err(error) => error,
        }
    }

    fn strange(&self, detail: String) -> ClientError {
        ClientError::Strange { place: self.transport.place(), detail }
    }
}

/// Held is an answer like the others to those who asked for a deployment.
fn held(answer: Result<Answer, ClientError>) -> Result<Answer, ClientError> {
    match answer {
        Err(ClientError::Refused(Problem { hold: Some(hold), .. })) => Ok(Answer::Held { hold: *hold }),
        other => other,
    }
}

async fn whole(mut reply: Reply) -> Result<Vec<u8>, ClientError> {
    let mut text = Vec::new();
    while let Some(piece) = reply.body.next().await {
        text.extend_from_slice(&piece.map_err(ClientError::BrokenOff)?);
        if text.len() > LARGEST {
            return Err(ClientError::BrokenOff(io::Error::other("it is too large")));
        }
    }
    Ok(text)
}

/// One message of the event stream.
#[derive(Debug, PartialEq)]
pub(super) enum Told {
    /// Something happened.
    Event(Box<Event>),
    /// Something was missed, or is not known to this version.
    Gap,
}

/// The event stream.
pub(super) struct Events {
    body: BoxStream<'static, io::Result<bytes::Bytes>>,
    read: Vec<u8>,
    ready: VecDeque<Told>,
}

impl Events {
    /// The next message; `None` when the stream has ended for whatever reason.
    pub(super) async fn next(&mut self) -> Option<Told> {
        loop {
            if let Some(told) = self.ready.pop_front() {
                return Some(told);
            }
            let piece = self.body.next().await?.ok()?;
            self.read.extend_from_slice(&piece);
            while let Some(end) = self.read.windows(2).position(|pair| pair == b"\n\n") {
                let block = self.read.drain(..end + 2).collect::<Vec<_>>();
                self.ready.extend(told(&String::from_utf8_lossy(&block)));
            }
            if self.read.len() > LARGEST_EVENT {
                return None;
            }
        }
    }
}

/// A block of the stream; comments are nothing.
fn told(block: &str) -> Option<Told> {
    let data = block.lines().filter_map(|line| line.strip_prefix("data:")).collect::<String>();
    if data.is_empty() {
        return None;
    }
    Some(serde_json::from_str(&data).map_or(Told::Gap, |event| Told::Event(Box::new(event))))
}

/// What was typed, as a part of a path.
mod percent {
    /// Everything but unreserved characters (RFC 3986) is escaped.
    pub(super) fn segment(text: &str) -> String {
        let escape = |byte: u8| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
            byte => format!("%{byte:02X}"),
        };
        text.bytes().map(escape).collect()
    }
}
