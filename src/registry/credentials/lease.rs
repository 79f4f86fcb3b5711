//! A credential with an end, and when to ask for the next.

use std::fmt;

use async_trait::async_trait;
use tokio::sync::Mutex;
use tokio::time::{Duration, Instant, timeout};

use crate::model::Credentials;

/// What a source said without an end is used so long.
const UNTOLD: Duration = Duration::from_secs(300);

/// The next one is asked for when this part of a life is over: the rest is for a service that does not answer.
const USED: f64 = 0.8;

/// A source may take so long, with everything that it asks in turn.
const PATIENCE: Duration = Duration::from_secs(30);

/// A source that failed is not asked again before.
const PAUSE: Duration = Duration::from_secs(15);

/// A source whose answers are refused again and again is asked anew only so often.
const DOUBT: Duration = Duration::from_secs(60);

/// A credential, and how long it lasts if that was said.
#[derive(Debug, Clone)]
pub(super) struct Lease {
    pub(super) credentials: Credentials,
    pub(super) life: Option<Duration>,
}

/// Where a credential comes from that changes by itself.
#[async_trait]
pub(super) trait Source: fmt::Debug + Send + Sync {
    /// A fresh one. The error is a fragment for a person that never holds a secret.
    async fn ask(&self) -> Result<Lease, String>;
}

/// A source with its last answer.
#[derive(Debug)]
pub(super) struct Renewed {
    source: Box<dyn Source>,
    pause: Duration,
    /// The lock makes one question of many.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    held: Option<Held>,
    failed: Option<(String, Instant)>,
    doubted: Option<Instant>,
}

#[derive(Debug)]
struct Held {
    credentials: Credentials,
    renew: Instant,
    end: Instant,
}

impl State {
    fn usable(&self) -> Option<Credentials> {
        self.held.as_ref().filter(|held| Instant::now() < held.end).map(|held| held.credentials.clone())
    }
}

impl Renewed {
    pub(super) fn new(source: Box<dyn Source>) -> Self {
        Self { source, pause: PAUSE, state: Mutex::default() }
    }

    /// After a failure it is left alone for so long.
    pub(super) fn with_pause(self, pause: Duration) -> Self {
        Self { pause, ..self }
    }

    /// What it said last while that is fresh, else what it says now. When it fails, what it said last serves on to its
    /// end.
    pub(super) async fn get(&self) -> Result<Credentials, String> {
        let mut state = self.state.lock().await;
        if let Some(held) = &state.held
            && Instant::now() < held.renew
        {
            return Ok(held.credentials.clone());
        }
        if let Some((problem, until)) = &state.failed
            && Instant::now() < *until
        {
            return state.usable().ok_or_else(|| problem.clone());
        }
        let asked = Instant::now();
        let answer = timeout(PATIENCE, self.source.ask()).await;
        let answer = answer.unwrap_or_else(|_| Err(format!("it took longer than {} s", PATIENCE.as_secs())));
        match answer {
            Ok(lease) => {
                let life = lease.life.unwrap_or(UNTOLD);
                let credentials = lease.credentials;
                // The part is of what is told, also when that was nothing: such sources are asked as often as that.
                let renew = asked + if lease.life.is_some() { life.mul_f64(USED) } else { life };
                state.held = Some(Held { credentials: credentials.clone(), renew, end: asked + life });
                state.failed = None;
                Ok(credentials)
            }
            Err(problem) => {
                state.failed = Some((problem.clone(), Instant::now() + self.pause));
                let usable = state.usable();
                if let Some(held) = &usable {
                    tracing::warn!(
                        source = held.origin,
                        problem,
                        "new credentials can't be had; the old ones serve on"
                    );
                }
                usable.ok_or(problem)
            }
        }
    }

    /// What it said was refused: it is asked again, unless that was done a moment ago.
    pub(super) async fn doubt(&self) {
        let mut state = self.state.lock().await;
        if state.doubted.is_some_and(|at| at.elapsed() < DOUBT) {
            return;
        }
        state.doubted = Some(Instant::now());
        state.failed = None;
        if let Some(held) = &mut state.held {
            held.renew = Instant::now();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::SecretKind;
    use secrecy::ExposeSecret;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Numbers its answers; fails while told so.
    #[derive(Debug, Clone, Default)]
    struct Numbered {
        asked: Arc<AtomicUsize>,
        fails: Arc<std::sync::atomic::AtomicBool>,
        life: Option<Duration>,
    }

    #[async_trait]
    impl Source for Numbered {
        async fn ask(&self) -> Result<Lease, String> {
            let number = self.asked.fetch_add(1, Ordering::Relaxed) + 1;
            if self.fails.load(Ordering::Relaxed) {
                return Err("it is down".to_owned());
            }
            let (username, secret) = ("u".to_owned(), number.to_string().into());
            let credentials = Credentials { username, secret, kind: SecretKind::Password, origin: "test".to_owned() };
            Ok(Lease { credentials, life: self.life })
        }
    }

    async fn secret(renewed: &Renewed) -> Result<String, String> {
        Ok(renewed.get().await?.secret.expose_secret().to_owned())
    }

    #[tokio::test(start_paused = true)]
    async fn a_credential_is_renewed_at_four_fifths_of_its_life() {
        let hour = Duration::from_secs(3600);
        for (label, life, still, renewed) in [
            ("12 hours", Some(hour * 12), 34_559, 34_561),
            ("1 hour", Some(hour), 2879, 2881),
            ("untold", None, 299, 301),
        ] {
            let source = Numbered { life, ..Numbered::default() };
            let start = Instant::now();
            let kept = Renewed::new(Box::new(source.clone()));
            for (at, number) in [(0, "1"), (still, "1"), (renewed, "2")] {
                tokio::time::advance(Duration::from_secs(at).saturating_sub(start.elapsed())).await;
                assert_eq!(secret(&kept).await.unwrap(), number, "{label} after {at} s");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_credential_serves_to_its_end_while_the_source_is_down() {
        let source = Numbered { life: Some(Duration::from_secs(1000)), ..Numbered::default() };
        let kept = Renewed::new(Box::new(source.clone()));
        assert_eq!(secret(&kept).await.unwrap(), "1");
        source.fails.store(true, Ordering::Relaxed);
        tokio::time::advance(Duration::from_secs(900)).await;
        assert_eq!(secret(&kept).await.unwrap(), "1");
        assert_eq!(secret(&kept).await.unwrap(), "1");
        assert_eq!(source.asked.load(Ordering::Relaxed), 2, "a source that is down is left alone for a while");
        tokio::time::advance(Duration::from_secs(100)).await;
        assert_eq!(secret(&kept).await.unwrap_err(), "it is down");
        source.fails.store(false, Ordering::Relaxed);
        tokio::time::advance(PAUSE).await;
        assert_eq!(secret(&kept).await.unwrap(), "4");
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_refused_is_asked_for_again_once_a_minute() {
        let source = Numbered { life: Some(Duration::from_secs(36_000)), ..Numbered::default() };
        let kept = Renewed::new(Box::new(source.clone()));
        assert_eq!(secret(&kept).await.unwrap(), "1");
        for number in ["2", "2", "2"] {
            kept.doubt().await;
            assert_eq!(secret(&kept).await.unwrap(), number);
        }
        tokio::time::advance(DOUBT).await;
        kept.doubt().await;
        assert_eq!(secret(&kept).await.unwrap(), "3");
    }

    #[tokio::test(start_paused = true)]
    async fn a_source_that_hangs_is_given_up() {
        #[derive(Debug)]
        struct Hangs;
        #[async_trait]
        impl Source for Hangs {
            async fn ask(&self) -> Result<Lease, String> {
                std::future::pending().await
            }
        }
        assert!(Renewed::new(Box::new(Hangs)).get().await.unwrap_err().contains("30 s"));
    }

    #[tokio::test]
    async fn many_who_need_it_at_once_make_one_question() {
        let source = Numbered::default();
        let kept = Renewed::new(Box::new(source.clone()));
        let all = futures_util::future::join_all((0..50).map(|_| kept.get())).await;
        assert!(all.iter().all(Result::is_ok));
        assert_eq!(source.asked.load(Ordering::Relaxed), 1);
    }
}
