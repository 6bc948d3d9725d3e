//! A card that is asked for once, when somebody wants to see it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use stanchion_queues::{Host, Settings};

use super::{Card, learn};
use crate::engines::sequential::quietly;
use crate::engines::watchdog;
use crate::invariant::Invariant;

type Ask = Arc<dyn Fn() -> Result<Card, String> + Send + Sync>;

/// A broker's card, or how to get it.
pub(crate) struct Asked {
    ask: Ask,
    answer: OnceLock<Result<Card, String>>,
}

impl Asked {
    /// Of the brokers that `make` makes.
    pub(crate) fn of<H, F>(make: Arc<F>) -> Asked
    where
        H: Host,
        F: Fn(&Settings) -> H + Send + Sync + 'static,
    {
        let ask = move || quietly(|| learn(&*make).map_err(|error| error.to_string()));
        Asked { ask: Arc::new(ask), answer: OnceLock::new() }
    }

    /// The card, or why there is none.
    pub(crate) fn card(&self, patience: Duration) -> &Result<Card, String> {
        self.answer.get_or_init(|| {
            let ask = Arc::clone(&self.ask);
            let attended = watchdog::attend(patience, Invariant::Li1, move || ask());
            attended.unwrap_or_else(|stuck| Err(stuck.0.sentence()))
        })
    }

    /// The card, if somebody asked for it and there is one.
    pub(crate) fn known(&self) -> Option<&Card> {
        self.answer.get()?.as_ref().ok()
    }
}
