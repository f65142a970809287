//! Processes: what follows from what happened. Each is one file that reads events for the pure functions of the domain
//! and puts their commands into envelopes; `journal::process` runs them.

pub mod giving;
mod on_air;
pub mod redemption;

use std::sync::Arc;

use domain::chat_request::Prices;
use journal::Process;
use tokio::sync::watch;

pub use giving::Giving;
pub use redemption::Redemption;

/// The one list of processes. A new one is a file in this folder and a line here.
pub fn all(prices: watch::Receiver<Prices>) -> Vec<Arc<dyn Process>> {
    vec![Arc::new(Redemption::new(prices)), Arc::new(Giving)]
}
