//! Apps that run the same image: whoever comes second finds it on the host.

use std::collections::HashMap;
use std::sync::{Arc, Mutex as Lock, Weak};

use tokio::sync::{Mutex, OwnedMutexGuard};

/// The pulls under way, by image.
#[derive(Debug, Default)]
pub struct Pulls(Lock<HashMap<String, Weak<Mutex<()>>>>);

impl Pulls {
    /// Waits until nobody else pulls this image.
    pub(super) async fn turn(&self, image: &str) -> OwnedMutexGuard<()> {
        let turn = {
            let mut known = self.0.lock().expect("no holder panics");
            known.retain(|_, turn| turn.strong_count() > 0);
            let turn = known.get(image).and_then(Weak::upgrade).unwrap_or_default();
            known.insert(image.to_owned(), Arc::downgrade(&turn));
            turn
        };
        turn.lock_owned().await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[tokio::test]
    async fn one_image_is_pulled_by_one_at_a_time_and_another_beside_it() {
        let pulls = Pulls::default();
        let first = pulls.turn("shop@a").await;
        assert!(pulls.turn("shop@a").now_or_never().is_none());
        assert!(pulls.turn("shop@b").now_or_never().is_some());
        drop(first);
        assert!(pulls.turn("shop@a").now_or_never().is_some());
        assert_eq!(pulls.0.lock().unwrap().len(), 1, "what is over is forgotten");
    }
}
