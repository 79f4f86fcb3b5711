//! How a registry answers to HEAD. Old Nexus and some storage behind a web server know no HEAD of a manifest, and say
//! 405, 400 or 404.

use std::collections::HashSet;
use std::sync::Mutex;

use http::StatusCode;
use tokio::time::{Duration, Instant};

/// After so long HEAD is tried again: a GET may count against a quota.
const BELIEVED: Duration = Duration::from_secs(24 * 3600);

/// Tags that are remembered as missing.
const MISSING: usize = 10_000;

#[derive(Debug, Default)]
struct State {
    useless_until: Option<Instant>,
    /// HEADs in a row that failed where GET did not.
    strikes: u8,
    missing: HashSet<String>,
}

/// What is known of a registry's HEAD.
#[derive(Debug, Default)]
pub(super) struct Habits(Mutex<State>);

impl Habits {
    /// HEAD is of no use here.
    pub(super) fn head_is_useless(&self) -> bool {
        self.state().useless_until.is_some_and(|until| Instant::now() < until)
    }

    /// GET has said before that this is missing, too.
    pub(super) fn is_missing(&self, reference: &str) -> bool {
        self.state().missing.contains(reference)
    }

    /// HEAD found it.
    pub(super) fn found(&self, reference: &str) {
        let mut state = self.state();
        state.strikes = 0;
        state.missing.remove(reference);
    }

    /// Neither HEAD nor GET found it.
    pub(super) fn missing(&self, reference: String) {
        let mut state = self.state();
        if state.missing.len() >= MISSING {
            state.missing.clear();
        }
        state.missing.insert(reference);
    }

    /// HEAD was answered with `status`, and then GET delivered. Returns whether HEAD is given up now. A 405 is clear; a
    /// single 404 or 400 may be a tag that was pushed between the two, or a hiccup.
    pub(super) fn failed(&self, status: StatusCode) -> bool {
        let mut state = self.state();
        state.strikes = state.strikes.saturating_add(1);
        let clear = matches!(status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED);
        if !clear && state.strikes < 2 {
            return false;
        }
        state.strikes = 0;
        state.useless_until = Some(Instant::now() + BELIEVED);
        true
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().expect("no holder panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn head_is_given_up_for_a_day_on_a_clear_answer_or_the_second_doubtful_one() {
        let clear = Habits::default();
        assert!(clear.failed(StatusCode::METHOD_NOT_ALLOWED) && clear.head_is_useless());
        tokio::time::advance(BELIEVED).await;
        assert!(!clear.head_is_useless());

        let doubtful = Habits::default();
        assert!(!doubtful.failed(StatusCode::NOT_FOUND));
        doubtful.found("a:1");
        assert!(!doubtful.failed(StatusCode::NOT_FOUND), "a HEAD that worked clears the suspicion");
        assert!(doubtful.failed(StatusCode::BAD_REQUEST) && doubtful.head_is_useless());
    }

    #[test]
    fn a_missing_tag_is_remembered_until_it_is_there() {
        let habits = Habits::default();
        habits.missing("a:1".to_owned());
        assert!(habits.is_missing("a:1") && !habits.is_missing("a:2"));
        habits.found("a:1");
        assert!(!habits.is_missing("a:1"));
    }
}
