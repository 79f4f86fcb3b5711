//! `POST /hooks/<id>`: bound, authenticate, read, write down, answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use chrono::Utc;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;

use super::auth::{Checker, HookAuth, Verdict};
use super::board::{HookBoard, Outcome};
use super::fetch::Library;
use super::pending::Pending;
use super::reading::{NO_TAG, Reading};
use super::receiver::HookReceiver;
use super::recent::Recent;
use super::sender::Sender;
use super::senders::eventgrid;
use super::sns_proof;
use crate::engine::{Hint, Hinter, SignatureHint};
use crate::http::{Problem, ProblemKind, body};

/// The largest delivery of a known sender is some tens of kilobytes.
pub(super) const MAX_BODY: usize = 1024 * 1024;

/// CloudEvents' question whether its sender may send, and the answer (HTTP Webhooks for event delivery, section 4).
const REQUEST_ORIGIN: HeaderName = HeaderName::from_static("webhook-request-origin");
const ALLOWED_ORIGIN: HeaderName = HeaderName::from_static("webhook-allowed-origin");
const ALLOWED_RATE: HeaderName = HeaderName::from_static("webhook-allowed-rate");

/// One receiver, ready.
pub(super) struct Entry {
    pub(super) receiver: HookReceiver,
    pub(super) checker: Checker,
}

/// What the receivers need; cheap to clone.
#[derive(Clone)]
pub struct HooksState {
    pub(super) entries: Arc<BTreeMap<String, Entry>>,
    pub(super) queue: mpsc::Sender<Vec<Hint>>,
    /// Bodies that may be read at the same time.
    pub(super) readers: Arc<Semaphore>,
    pub(super) library: Arc<Library>,
    pub(super) pending: Arc<Pending>,
    pub(super) recent: Arc<Mutex<Recent>>,
    pub(super) engine: Hinter,
    pub(super) board: HookBoard,
}

/// What a delivery is answered with, and what is noted about it.
struct Answer {
    response: Response,
    outcome: Outcome,
    detail: String,
    worth_telling: bool,
}

impl Answer {
    /// An authentic delivery gets the same answer whatever is in it.
    fn taken(outcome: Outcome, detail: impl Into<String>, worth_telling: bool) -> Self {
        let response = StatusCode::ACCEPTED.into_response();
        Self { response, outcome, detail: detail.into(), worth_telling }
    }

    fn problem(kind: ProblemKind, said: &str, outcome: Outcome, detail: impl Into<String>) -> Self {
        let response = Problem::new(kind, said).into_response();
        Self { response, outcome, detail: detail.into(), worth_telling: false }
    }

    /// No word about what is wrong with it: that would help only those who guess.
    fn refused(reason: &str) -> Self {
        Self::problem(ProblemKind::Unauthorized, "the delivery is not authentic", Outcome::Unauthorized, reason)
    }

    fn full() -> Self {
        let said = "too many deliveries wait; send it again";
        Self::problem(ProblemKind::Full, said, Outcome::QueueFull, "too many deliveries wait")
    }

    fn undecided(reason: String) -> Self {
        let said = "whether the delivery is authentic can't be found out now; send it again";
        Self::problem(ProblemKind::Full, said, Outcome::Unverifiable, reason)
    }

    fn too_large() -> Self {
        let said = format!("at most {MAX_BODY} bytes are accepted");
        Self::problem(ProblemKind::TooLarge, &said, Outcome::TooLarge, &*said)
    }
}

impl HooksState {
    /// What became of each receiver's deliveries.
    pub fn board(&self) -> HookBoard {
        self.board.clone()
    }

    /// The receiver of this id, if the address has the form that its proof needs.
    fn entry(&self, id: &str, in_url: Option<&str>) -> Result<&Entry, Problem> {
        let found = self.entries.get(id).filter(|entry| in_url.is_none() || entry.checker.is_in_url());
        found.ok_or_else(|| Problem::new(ProblemKind::UnknownPath, "there is no such hook"))
    }
}

/// `POST /hooks/<id>`.
pub(in crate::http) async fn receive(
    State(state): State<HooksState>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    answer(&state, &id, None, request).await
}

/// `POST /hooks/<id>/<secret>`.
pub(in crate::http) async fn receive_by_url(
    State(state): State<HooksState>,
    Path((id, secret)): Path<(String, String)>,
    request: Request,
) -> Response {
    answer(&state, &id, Some(&secret), request).await
}

async fn answer(state: &HooksState, id: &str, in_url: Option<&str>, request: Request) -> Response {
    let entry = match state.entry(id, in_url) {
        Ok(entry) => entry,
        Err(problem) => return problem.into_response(),
    };
    let given = if request.method() == Method::OPTIONS {
        consent(state, entry, in_url, request.headers()).await
    } else {
        take(state, entry, in_url, request).await.unwrap_or_else(|answer| answer)
    };
    let Answer { response, outcome, detail, worth_telling } = given;
    state.board.note(&entry.receiver, outcome, &detail, worth_telling, Utc::now());
    response
}

/// CloudEvents' abuse protection: the sender asks, and is allowed if it has the secret. A proof over a body can't be
/// had here; then the consent is to an address that anyone may know anyway.
async fn consent(state: &HooksState, entry: &Entry, in_url: Option<&str>, headers: &HeaderMap) -> Answer {
    let needs_body = matches!(entry.checker, Checker::Hmac(..) | Checker::Sns(_));
    let verdict = match needs_body {
        true => Verdict::Authentic,
        false => entry.checker.check(in_url, headers, b"", &state.library).await,
    };
    match verdict {
        Verdict::Authentic => {}
        Verdict::Refused(reason) => return Answer::refused(reason),
        Verdict::Undecided(reason) => return Answer::undecided(reason),
    }
    let mut answer = Answer::taken(Outcome::Handshake, "the sender asked whether it may send", false);
    let mut response = StatusCode::OK.into_response();
    if let Some(origin) = headers.get(REQUEST_ORIGIN) {
        response.headers_mut().insert(ALLOWED_ORIGIN, origin.clone());
        response.headers_mut().insert(ALLOWED_RATE, HeaderValue::from_static("*"));
    }
    answer.response = response;
    answer
}

/// Takes a delivery; every way out is an answer.
async fn take(state: &HooksState, entry: &Entry, in_url: Option<&str>, request: Request) -> Result<Answer, Answer> {
    let (head, body) = request.into_parts();
    let headers = &head.headers;
    if body::announces_more_than(headers, MAX_BODY) {
        return Err(Answer::too_large());
    }
    if let Some(Verdict::Refused(reason)) = entry.checker.by_head(in_url, headers) {
        return Err(Answer::refused(reason));
    }
    let _reader = state.readers.try_acquire().map_err(|_| Answer::full())?;
    let body = body::read(body, MAX_BODY).await.map_err(unread)?;
    match entry.checker.check(in_url, headers, &body, &state.library).await {
        Verdict::Authentic => {}
        Verdict::Refused(reason) => return Err(Answer::refused(reason)),
        Verdict::Undecided(reason) => return Err(Answer::undecided(reason)),
    }
    if let Some(answer) = introduced(state, &entry.receiver, &body).await {
        return Ok(answer);
    }
    match entry.receiver.read(headers, &body) {
        Ok(Reading::Pushed { id, hints, beside }) => {
            pushed(state, &entry.receiver, id, Announced { hints, beside }).await
        }
        Ok(Reading::Nothing(why)) => Ok(Answer::taken(Outcome::Ignored, why, false)),
        Err(misread) => Ok(Answer::taken(Outcome::Ignored, misread.to_string(), true)),
    }
}

fn unread(problem: Problem) -> Answer {
    if problem.is(ProblemKind::TooLarge) {
        return Answer::too_large();
    }
    let detail = problem.detail.clone();
    Answer { response: problem.into_response(), outcome: Outcome::Ignored, detail, worth_telling: false }
}

/// What an authentic sender says to introduce itself, and wants a certain answer to.
async fn introduced(state: &HooksState, receiver: &HookReceiver, body: &Bytes) -> Option<Answer> {
    match (receiver.sender, &receiver.auth) {
        (Sender::EventGrid, _) => {
            let mut answer = Answer::taken(Outcome::Handshake, "the subscription was validated", false);
            answer.response = Json(eventgrid::validation(body)?).into_response();
            Some(answer)
        }
        (Sender::Sns, HookAuth::Sns(topics)) => Some(match sns_proof::confirm(topics, body, &state.library).await? {
            Ok(()) => Answer::taken(Outcome::Handshake, "the subscription was confirmed", false),
            Err(error) => Answer::undecided(format!("the subscription can't be confirmed: {error}")),
        }),
        _ => None,
    }
}

/// What a delivery announces.
struct Announced {
    hints: Vec<Hint>,
    beside: Vec<SignatureHint>,
}

impl Announced {
    /// For people.
    fn shown(&self) -> String {
        let mut images: Vec<String> = self.hints.iter().map(shown).collect();
        images.extend(self.beside.iter().map(|hint| {
            let tag = hint.tag.as_ref().map_or(String::new(), |tag| format!(":{tag}"));
            format!("what may be a signature at {}{tag}", hint.repository)
        }));
        images.dedup();
        images.truncate(5);
        images.join(", ")
    }
}

/// Queues what concerns an app, and writes it down before the answer. Of signatures there is nothing to write down: an app
/// that waits for one looks for it after a start anyway.
async fn pushed(
    state: &HooksState,
    receiver: &HookReceiver,
    id: Option<String>,
    announced: Announced,
) -> Result<Answer, Answer> {
    let images = announced.shown();
    let Announced { mut hints, beside } = announced;
    let recent = || state.recent.lock().expect("no holder panics");
    if id.as_ref().is_some_and(|id| recent().has(&receiver.id, id, Instant::now())) {
        return Ok(Answer::taken(Outcome::Duplicate, images, false));
    }
    let none_is_image = hints.is_empty();
    hints.retain(|hint| !state.engine.concerned(hint).is_empty());
    let woken: usize = beside.iter().map(|hint| state.engine.signed(hint)).sum();
    if hints.is_empty() {
        return Ok(match (woken, none_is_image) {
            (1.., _) => Answer::taken(Outcome::Accepted, images, false),
            (0, true) => Answer::taken(Outcome::Ignored, format!("{NO_TAG}, and no app waits for one"), false),
            (0, false) => Answer::taken(Outcome::Ignored, format!("no app follows what was pushed: {images}"), true),
        });
    }
    let Ok(place) = state.queue.try_reserve() else { return Err(Answer::full()) };
    let now = Utc::now();
    hints.iter().for_each(|hint| state.pending.add(hint, now));
    place.send(hints);
    if let Some(id) = id {
        recent().add(&receiver.id, &id, Instant::now());
    }
    state.pending.write().await;
    Ok(Answer::taken(Outcome::Accepted, images, false))
}

fn shown(hint: &Hint) -> String {
    let tag = hint.tag.as_ref().map_or(String::new(), |tag| format!(":{tag}"));
    format!("{}{tag}", hint.repository)
}
