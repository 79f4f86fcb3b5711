//! What a webhook can do to the engine: make apps look. There is nothing else in here, so that no delivery can ever
//! choose what is deployed.

use std::sync::Arc;

use tokio::sync::broadcast;

use crate::model::{AppName, Event, Time};

use super::asked::{Hint, SignatureHint};
use super::handle::Handle;

/// Makes apps look; cheap to clone.
#[derive(Clone)]
pub struct Hinter(Handle);

impl Handle {
    /// This handle, with all but hints taken out of it.
    pub fn hinter(&self) -> Hinter {
        Hinter(self.clone())
    }
}

impl Hinter {
    /// Makes every app that a hint concerns look. Returns how many there are.
    pub fn hint(&self, hint: &Hint) -> usize {
        self.0.hint(hint)
    }

    /// Makes every app look that waits for a signature which this may be. Returns how many there are.
    pub fn signed(&self, hint: &SignatureHint) -> usize {
        self.0.signed(hint)
    }

    /// The apps that a hint concerns.
    pub fn concerned(&self, hint: &Hint) -> Vec<AppName> {
        self.0.concerned(hint)
    }

    /// When an app last had an answer, or none, from its registry.
    pub fn last_look(&self, app: &AppName) -> Option<Time> {
        self.0.status(app.as_str()).ok()?.last_check.map(|(at, _)| at)
    }

    /// Everything that happens from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.0.subscribe()
    }
}
