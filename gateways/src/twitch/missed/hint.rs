//! Chat as a hint: where somebody speaks and history knows of nothing live, the channel may be. So Twitch is asked. People
//! speak while nothing is live too, and a line asserts nothing: what Twitch answers decides, as ever.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::bail;
use futures::StreamExt;
use tokio::time::Instant;

use crate::chat::Lines;

/// How often Twitch is asked because of it at most.
const EVERY: Duration = Duration::from_secs(30);

/// Whether somebody spoke of late, whichever process heard it.
#[derive(Default)]
pub(super) struct Hint {
    heard: AtomicBool,
}

impl Hint {
    /// Hears whoever speaks, until nothing can be heard any more.
    pub async fn hear(&self, lines: &Lines) -> anyhow::Result<()> {
        let mut news = lines.news().await?;
        while news.next().await.is_some() {
            self.say();
        }
        bail!("chat cannot be heard any more");
    }

    fn say(&self) {
        self.heard.store(true, Ordering::Relaxed);
    }

    /// Whether it is to be looked after now: somebody spoke, and it was not looked after lately. However many spoke, this is
    /// said once.
    pub fn is_due(&self, rests_until: &mut Option<Instant>, now: Instant) -> bool {
        let rests = rests_until.is_some_and(|until| now < until);
        let is_due = !rests && self.heard.swap(false, Ordering::Relaxed);
        if is_due {
            *rests_until = Some(now + EVERY);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_many_speak_it_is_looked_after_now_and_then() {
        let (hint, mut rest) = (Hint::default(), None);
        let begin = Instant::now();
        let mut is_due = |seconds| hint.is_due(&mut rest, begin + Duration::from_secs(seconds));
        assert!(!is_due(0), "nobody spoke");
        hint.say();
        assert!(is_due(1), "at once");
        for second in 1..31 {
            hint.say();
            assert!(!is_due(second), "after {second} s");
        }
        assert!(is_due(31), "whoever spoke meanwhile is not forgotten");
        assert!(!is_due(90), "nobody spoke since");
        hint.say();
        assert!(is_due(91));
    }
}
