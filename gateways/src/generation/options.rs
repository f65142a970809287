//! What a worker is told.

use std::time::Duration;

use super::Settings;
use super::lease::Limits;

/// How long what is in hand may take when all is to stop. What is not done by then is another worker's.
const STOP_LIMIT: Duration = Duration::from_secs(8);
/// How long it may take to give back what is in hand then.
const GIVE_BACK_LIMIT: Duration = Duration::from_secs(3);

/// What a worker is told.
#[derive(Clone, Debug)]
pub struct Options {
    pub limits: Limits,
    pub attempts_max: u32,
    pub time_limit: Duration,
    /// How long what is in hand may go on after the order to stop.
    pub stop_limit: Duration,
    /// How long it may take to give back what is in hand then.
    pub give_back_limit: Duration,
    /// Whether what is made waits for somebody to approve it.
    pub review: bool,
}

impl From<&Settings> for Options {
    fn from(settings: &Settings) -> Self {
        Options {
            limits: settings.limits(),
            attempts_max: settings.attempts_max,
            time_limit: Duration::from_secs(u64::from(settings.time_limit_s)),
            stop_limit: STOP_LIMIT,
            give_back_limit: GIVE_BACK_LIMIT,
            review: settings.review,
        }
    }
}
