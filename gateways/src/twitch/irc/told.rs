//! A line of IRC as it waits to be stored.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::heard::{self, COMMANDS};
use super::whois::Whois;
use crate::twitch::eventsub::intake::News;
use crate::twitch::inbound::Received;
use crate::twitch::webhook::{NotTaken, Webhook};

/// A line, and who knows people whom we do not.
pub struct Told {
    pub text: String,
    pub whois: Arc<Whois>,
}

impl News for Told {
    const COUNTER: &'static str = "tapedeck_irc_lines_total";

    fn bytes(&self) -> usize {
        self.text.len()
    }

    async fn store(
        &self,
        webhook: &Webhook,
        at: DateTime<Utc>,
    ) -> (&'static str, Result<&'static str, NotTaken>) {
        let (listening, ours) = (&webhook.inbound.listening, &webhook.inbound.broadcaster_id);
        let kind = kind_of(&self.text);
        match heard::read(&self.text, listening, ours.as_deref(), at) {
            Err(reason) => {
                // Nothing would change if it were kept, and Twitch cannot be asked for it again.
                tracing::warn!(%reason, kind, "a line of IRC means nothing to us");
                (kind, Ok("unreadable"))
            }
            Ok(mut heard) => {
                if let Some(asking) = &mut heard.asking {
                    self.whois.introduce(asking, &webhook.pool).await;
                }
                webhook.take(Received::Heard(Box::new(heard), kind)).await
            }
        }
    }
}

/// What a line is, for counters.
fn kind_of(text: &str) -> &'static str {
    // The tags are written by people too; what the line is stands after them.
    let rest = text.strip_prefix('@').and_then(|tags| tags.split_once(' '));
    let mut words = rest.map_or(text, |(_, rest)| rest).split(' ');
    let command = words.find(|word| !word.starts_with(':')).unwrap_or_default();
    COMMANDS.iter().find(|known| command == **known).copied().unwrap_or("other")
}

#[cfg(test)]
mod tests {
    use super::kind_of;

    #[test]
    fn a_line_is_counted_by_what_it_is() {
        assert_eq!(kind_of("@a=CLEARCHAT;b=1 :x!x@x PRIVMSG #a :CLEARCHAT"), "PRIVMSG");
        assert_eq!(kind_of("CLEARCHAT #a"), "CLEARCHAT");
        for other in ["", "@", "@a", ":", "PRIVMSGS #a", "@a :b"] {
            assert_eq!(kind_of(other), "other", "{other}");
        }
    }
}
