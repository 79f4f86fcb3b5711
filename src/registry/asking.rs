//! Sending a request to a registry that may be waiting, and learning from what becomes of it.

use chrono::Utc;
use http::{HeaderMap, Method, StatusCode};

use crate::model::{Quota, Repository};
use crate::ports::RegistryError;

use super::backoff::Standing;
use super::client::Client;
use super::host::{Answer, Ask, Host};
use super::quota::quota;
use super::refusal::{chain, trouble};

fn note_key(host: &Host) -> String {
    format!("registry/{}", super::client::key(&host.name, host.ns.as_deref()))
}

impl Client {
    /// What the last run knew of a registry.
    pub(super) fn restore(&self, host: &Host) {
        let note = self.store.note(&note_key(host)).unwrap_or_else(|error| {
            tracing::debug!(registry = host.name, %error, "an earlier wait is not known");
            None
        });
        let Some(standing) = note.and_then(|bytes| serde_json::from_slice::<Standing>(&bytes).ok()) else { return };
        self.show(host, &standing);
        if let Some(quota) = &standing.quota {
            self.show_quota(host, quota);
        }
        *host.standing.lock().expect("no holder panics") = standing;
    }

    /// An error at once while the registry or the repository is not to be asked.
    fn waiting(&self, host: &Host, repository: &Repository) -> Result<(), RegistryError> {
        let now = Utc::now();
        let standing = host.standing.lock().expect("no holder panics");
        let Some((until, kind, why)) = standing.waits(repository.path(), now) else { return Ok(()) };
        // It says of itself already what it is about, mostly the same.
        let why = why.strip_prefix(&format!("registry {}, ", host.name)).unwrap_or(why);
        let why = why.strip_prefix(&format!("{}: ", repository.path())).unwrap_or(why);
        let words = format!("not asked before {} because of this: {why}", until.format("%H:%M:%S UTC"));
        Err(RegistryError { retry_after: (until - now).to_std().ok(), ..host.error(kind, repository, &words, None) })
    }

    /// Sends, and learns from the answer or the lack of one. `fine` are answers that are no failures to the caller.
    pub(super) async fn ask(&self, host: &Host, ask: &Ask<'_>, fine: &[StatusCode]) -> Result<Answer, RegistryError> {
        // Turn and slot come first: whoever queued for them must see the wait that those before ran into.
        let _turn = host.lanes.turn(ask.repository.path()).await;
        let _slot = host.slots.acquire().await.expect("the semaphore is never closed");
        self.waiting(host, ask.repository)?;
        let answered = match host.send(ask).await {
            Ok(answer) => {
                self.read_quota(host, &answer.headers, &ask.method);
                if answer.status.is_success() || fine.contains(&answer.status) {
                    Ok(answer)
                } else {
                    let what = format!("{} is answered with", ask.path);
                    Err(host.failed_answer(ask.repository, &what, &answer).await)
                }
            }
            Err(error) => Err(error),
        };
        let path = ask.repository.path();
        let (changed, wait) = {
            let mut standing = host.standing.lock().expect("no holder panics");
            let changed = match answered.as_ref().map_err(|error| (error, trouble(error))) {
                Err((error, Some(trouble))) => {
                    let cause = error.source.as_deref().map(|source| chain(source)).filter(|cause| !cause.is_empty());
                    let cause = cause.map(|cause| format!(": {cause}")).unwrap_or_default();
                    let why = format!("{}{cause}", error.message);
                    standing.failed(path, trouble, &why, error.retry_after, Utc::now(), rand::random())
                }
                _ => standing.well(path, Utc::now()),
            };
            let now = Utc::now();
            (changed, standing.waits(path, now).and_then(|(until, ..)| (until - now).to_std().ok()))
        };
        if changed {
            self.keep(host);
        }
        // Whoever asked should know when it is worth asking again, though the registry did not say.
        answered.map_err(|error| RegistryError { retry_after: error.retry_after.or(wait), ..error })
    }

    fn show_quota(&self, host: &Host, quota: &Quota) {
        let gauge = |value: Option<u64>, gauge: &prometheus::IntGaugeVec| {
            if let Some(value) = value.and_then(|v| i64::try_from(v).ok()) {
                gauge.with_label_values(&[&host.name]).set(value);
            }
        };
        gauge(quota.remaining, &self.metrics.registry_quota_remaining);
        gauge(quota.limit, &self.metrics.registry_quota_limit);
    }

    fn read_quota(&self, host: &Host, headers: &HeaderMap, method: &Method) {
        let Some(quota) = quota(headers, Utc::now()) else { return };
        self.show_quota(host, &quota);
        let now = quota.at;
        let polls_by_get = host.habits.head_is_useless();
        let (kept, counted) = {
            let mut standing = host.standing.lock().expect("no holder panics");
            let counted = standing.take_quota(quota, *method == Method::HEAD, polls_by_get);
            (standing.quota_is_kept(now), counted)
        };
        if counted {
            tracing::info!(
                registry = host.name,
                "looks count against the rate limit: they are made as often as it lasts"
            );
        }
        if !kept {
            self.keep(host);
        }
    }

    /// Writes down what must survive a restart.
    fn keep(&self, host: &Host) {
        let standing: Standing = host.standing.lock().expect("no holder panics").clone();
        self.show(host, &standing);
        let bytes = serde_json::to_vec(&standing).expect("a standing can be written as JSON");
        if let Err(error) = self.store.put_note(&note_key(host), &bytes) {
            tracing::debug!(registry = host.name, %error, "the wait is forgotten at a restart");
        }
    }

    fn show(&self, host: &Host, standing: &Standing) {
        let until = standing.whole(Utc::now()).map_or(0, |(until, _)| until.timestamp());
        self.metrics.registry_backoff_until_timestamp_seconds.with_label_values(&[&host.name]).set(until);
    }
}
