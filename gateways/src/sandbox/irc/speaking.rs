//! What clients say in chat: taken within what Twitch takes of an account, told to whoever else is there, and of each line
//! whoever said it is told what became of it.

use std::time::{Duration, Instant};

use uuid::Uuid;

use super::connection::Connection;
use super::{Answer, CHANNEL, Order, line};
use crate::sandbox::twitch::{Said, Speaker};

/// What Twitch takes of an account.
const LINES_MAX: usize = 20;
const LINES_MAX_MODERATOR: usize = 100;
const WINDOW: Duration = Duration::from_secs(30);
const BETWEEN: Duration = Duration::from_secs(1);
/// The longest text, in characters; what is longer is cut.
const TEXT_CHARS_MAX: usize = 500;
/// What comes after this is said as it is.
const ESCAPE: &str = ". ";

/// A line that was taken.
pub struct Spoken {
    at: Instant,
    text: String,
}

const TOO_MUCH: (&str, &str) =
    ("msg_ratelimit", "Your message was not sent because you are sending messages too quickly.");
const AGAIN: (&str, &str) = (
    "msg_duplicate",
    "Your message was not sent because it is identical to the previous one you sent, less than 30 seconds ago.",
);
const FORBIDDEN: (&str, &str) =
    ("no_permission", "You don't have permission to perform that action.");

impl Connection {
    /// Takes `#channel :text`, with the tags that it came with. Whether the connection stays.
    pub(super) fn speaks(&mut self, tags: &str, rest: &str) -> bool {
        // What nobody says under a name of theirs is not heard.
        let Some(speaker) = self.speaker.clone() else { return true };
        let (channel, text) = rest.split_once(' ').unwrap_or((rest, ""));
        let text = text.strip_prefix(':').unwrap_or(text);
        if channel.trim_start_matches('#') != CHANNEL {
            self.drops(channel, ("msg_room_not_found", "The room was not found."));
            return true;
        }
        let answer = self.shared.all().answers.pop_front();
        let escaped = text.strip_prefix(ESCAPE);
        let plain: String = escaped.unwrap_or(text).trim().chars().take(TEXT_CHARS_MAX).collect();
        let why = match answer {
            Some(Answer::Drop(code, words)) => Some((code, words)),
            _ if !speaker.may_speak => Some(FORBIDDEN),
            _ if escaped.is_none() && text.starts_with(['/', '.']) => {
                Some(("unrecognized_cmd", "Unrecognized command."))
            }
            _ if plain.is_empty() => return true,
            _ => self.too_much(&speaker, &plain),
        };
        if let Some(why) = why {
            self.drops(channel, why);
            return true;
        }
        let id = self.takes(&speaker, &plain);
        match answer {
            Some(Answer::TakeAndCut) => return false,
            Some(Answer::TakeAndHush) => return true,
            Some(Answer::ReconnectAndTake) => self.say(":tmi.twitch.tv RECONNECT"),
            _ => {}
        }
        let nonce = tags.split(';').find_map(|tag| tag.strip_prefix("client-nonce="));
        let nonce = nonce.map(|nonce| format!("client-nonce={nonce};")).unwrap_or_default();
        self.say(&self.state(&speaker, &format!("{nonce}id={id};")));
        true
    }

    /// How the speaker is in this chat, as Twitch says it.
    pub(super) fn state(&self, speaker: &Speaker, tags: &str) -> String {
        let (name, moderates) = (&speaker.person.name, u8::from(speaker.moderates));
        let badges = if speaker.moderates { "moderator/1" } else { "" };
        format!(
            "@badge-info=;badges={badges};color=;display-name={name};emote-sets=0;{tags}mod={moderates};\
             subscriber=0;user-type= :tmi.twitch.tv USERSTATE #{CHANNEL}"
        )
    }

    fn drops(&self, channel: &str, (code, words): (&str, &str)) {
        self.say(&format!("@msg-id={code} :tmi.twitch.tv NOTICE {channel} :{words}"));
    }

    /// Why Twitch does not take a line now; one that it takes is written down.
    fn too_much(&self, speaker: &Speaker, text: &str) -> Option<(&'static str, &'static str)> {
        let (mut all, now) = (self.shared.all(), Instant::now());
        let spoken = all.spoken.entry(speaker.person.id.to_string()).or_default();
        spoken.retain(|one| now.duration_since(one.at) < WINDOW);
        let most = if speaker.moderates { LINES_MAX_MODERATOR } else { LINES_MAX };
        let last = spoken.last();
        let soon = last.is_some_and(|last| now.duration_since(last.at) < BETWEEN);
        if last.is_some_and(|last| last.text == text) {
            return Some(AGAIN);
        }
        if spoken.len() >= most || (soon && !speaker.moderates) {
            return Some(TOO_MUCH);
        }
        spoken.push(Spoken { at: now, text: text.to_owned() });
        None
    }

    /// Tells a line to whoever else is there. Under which id?
    fn takes(&self, speaker: &Speaker, text: &str) -> String {
        let (id, person) = (Uuid::new_v4().to_string(), &speaker.person);
        let told = line(&id, person, text, "");
        let all = self.shared.all();
        for (number, client) in &all.clients {
            if *number != self.number && !client.hushed && client.joined.contains(CHANNEL) {
                let _ = client.orders.try_send(Order::Say(told.clone()));
            }
        }
        drop(all);
        let (by, text) = (person.id.to_string(), text.to_owned());
        (self.shared.listener)(Said { id: id.clone(), by, text, over_irc: true });
        id
    }
}
