//! Chat notifications: what is to be shown of them, and what a line asks for. Pure, but for finding who is meant by a
//! name ([`find`]). What is said over IRC is brought into the same shape (`irc::heard`) and read by the same function
//! ([`line_of`]).
//!
//! The id of a line is its natural key: however often and under how many message ids Twitch tells of it, it is shown
//! once and asks once. A line that carries bits asks for nothing, because its cheer does; neither does one that was said
//! in another channel and only copied here, nor one that a channel points reward took, nor our own.

use chrono::{DateTime, Utc};
use domain::chat::{self, Chat, NoGift, Request, Role, Settings, Terms, Wanted, ask_id, grammar};
use domain::chat_request::Prices;
use journal::command::{BadAddress, check_id};
use journal::{Envelope, Origin, ViewerName};
use serde::Deserialize;
use sqlx::PgPool;
use tokio::sync::watch;

use super::notification::{
    Body, ChatCleared, ChatDeleted, ChatFragment, ChatLine, ChatterCleared, Notification,
    clean_text,
};
use super::translate::{SOURCE, Untranslatable, check_channel, malformed, plain_id, somebody};
use crate::chat::{Frame, Line, Part, Who};

/// The types that are read here, all in version 1.
pub const KINDS: [&str; 4] = [
    "channel.chat.clear",
    "channel.chat.clear_user_messages",
    "channel.chat.message",
    "channel.chat.message_delete",
];

const PARTS_MAX: usize = 200;
/// The most characters of all parts of a line together. Twitch allows 500, and CHAT takes so many in any alphabet.
const LINE_CHARS_MAX: usize = 1_000;
const BADGES_MAX: usize = 20;

/// What a line is read by.
#[derive(Clone, Debug, Default)]
pub struct Listening {
    pub prices: Prices,
    pub settings: Settings,
    /// The Twitch user id that we speak under, where that is an account of its own.
    pub bot: Option<String>,
    /// The same, where that account was connected while we run.
    pub connected: Option<watch::Receiver<Option<String>>>,
}

impl Listening {
    /// Whether it is we who speak.
    fn is_ours(&self, viewer: &str) -> bool {
        let is = |bot: &Option<String>| bot.as_deref() == Some(viewer);
        is(&self.bot) || self.connected.as_ref().is_some_and(|bot| is(&bot.borrow()))
    }
}

/// What was said or taken back in a chat.
#[derive(Debug)]
pub struct Heard {
    pub broadcaster: String,
    pub frame: Frame,
    /// Names it: what is heard twice has the same.
    pub id: String,
    pub asking: Option<Asking>,
}

/// What a line asks for.
#[derive(Debug)]
pub struct Asking {
    broadcaster: String,
    line: String,
    viewer: ViewerName,
    role: Role,
    wanted: Wanted,
    terms: Terms,
    settings: u32,
    at: DateTime<Utc>,
    /// Whom Twitch knows of those who are named in the line.
    mentions: Vec<ViewerName>,
    origin: Origin,
}

/// What `notification` tells of a chat; `None` where it is about something else.
pub fn read(
    notification: &Notification<'_>,
    listening: &Listening,
    broadcaster_id: Option<&str>,
    received_at: DateTime<Utc>,
) -> Result<Option<Heard>, Untranslatable> {
    let body: Body<'_> = serde_json::from_str(notification.raw).map_err(malformed)?;
    let (kind, version) = (body.subscription.kind, body.subscription.version);
    if !KINDS.contains(&kind.as_str()) || version != "1" {
        return Ok(None);
    }
    let said = body.event.ok_or(Untranslatable::NoContent)?.get();
    if let Some(ours) = broadcaster_id {
        check_channel(said, ours)?;
    }
    let heard = |broadcaster, frame, id| -> Result<Option<Heard>, Untranslatable> {
        let broadcaster = plain_id("the broadcaster's id", broadcaster)?;
        Ok(Some(Heard { broadcaster, frame, id, asking: None }))
    };
    match kind.as_str() {
        "channel.chat.message" => {
            let line: ChatLine = parsed(said)?;
            line_of(line, SOURCE, notification, listening, received_at).map(Some)
        }
        "channel.chat.message_delete" => {
            let deleted: ChatDeleted = parsed(said)?;
            let id = plain_id("the line's id", deleted.message_id)?;
            let named = deleted_id(&id);
            heard(deleted.broadcaster_user_id, Frame::Deleted { id }, named)
        }
        "channel.chat.clear_user_messages" => {
            let cleared: ChatterCleared = parsed(said)?;
            let viewer = plain_id("the viewer's id", cleared.target_user_id)?;
            let (named, at) =
                (cleared_id(Some(&viewer), notification.sent_at), notification.sent_at);
            let frame = Frame::ClearedViewer { viewer, at: Some(at) };
            heard(cleared.broadcaster_user_id, frame, named)
        }
        _ => {
            let cleared: ChatCleared = parsed(said)?;
            let (named, at) = (cleared_id(None, notification.sent_at), notification.sent_at);
            heard(cleared.broadcaster_user_id, Frame::Cleared { at: Some(at) }, named)
        }
    }
}

/// What names the deletion of a line.
pub(super) fn deleted_id(line: &str) -> String {
    format!("deleted:{line}")
}

/// What names a clearing, which Twitch gives no id that all ways share: whose lines go, and in which second. Told of on
/// both sides of a second it has two names, and the hub shows it once all the same.
pub(super) fn cleared_id(viewer: Option<&str>, at: DateTime<Utc>) -> String {
    format!("cleared:{}:{}", viewer.unwrap_or("*"), at.timestamp())
}

fn parsed<'a, T: Deserialize<'a>>(said: &'a str) -> Result<T, Untranslatable> {
    serde_json::from_str(said).map_err(malformed)
}

/// What a line is, whatever way it came: from `source`, with `notification` saying which message told of it, and when it
/// was said.
pub(super) fn line_of(
    line: ChatLine,
    source: &str,
    notification: &Notification<'_>,
    listening: &Listening,
    received_at: DateTime<Utc>,
) -> Result<Heard, Untranslatable> {
    let broadcaster = plain_id("the broadcaster's id", line.broadcaster_user_id.clone())?;
    let id = plain_id("the line's id", line.message_id.clone())?;
    let viewer = somebody(line.chatter())?;
    let bot = listening.is_ours(&viewer.id);
    let badges = badges(&line);
    let text = clean_text(&line.message.text);
    let wanted = match bot || !line.was_said_in(&broadcaster) || line.was_taken_by_a_reward() {
        true => None,
        false => grammar::wanted(&text, line.bits(), &listening.prices, &listening.settings),
    };
    let frame = Frame::Line(Line {
        id: id.clone(),
        viewer: Who { id: viewer.id.clone(), name: viewer.name.clone() },
        colour: colour(&line.color),
        parts: parts(&line, &text),
        at: notification.sent_at,
        bot,
        request: wanted.is_some(),
        badges: badges.clone(),
    });
    let asking = wanted.map(|wanted| Asking {
        broadcaster: broadcaster.clone(),
        line: id.clone(),
        viewer,
        role: Role::of_badges(badges.iter().map(String::as_str)),
        terms: wanted.terms(&listening.settings),
        wanted,
        settings: listening.settings.version,
        at: notification.sent_at,
        mentions: line.mentions(),
        origin: Origin {
            source: source.to_owned(),
            source_id: notification.message_id.to_owned(),
            actor: None,
            received_at,
            raw: Some(notification.raw.to_owned()),
        },
    });
    Ok(Heard { broadcaster, frame, id, asking })
}

impl Asking {
    /// The name of somebody whom nobody here knows, where it depends on who that is.
    pub(super) async fn stranger(&self, pool: &PgPool) -> sqlx::Result<Option<&str>> {
        let Wanted::Give { name, .. } = &self.wanted else { return Ok(None) };
        let known = find(pool, name, &self.mentions).await?;
        Ok(known.is_none().then_some(name.as_str()))
    }

    /// Says who somebody is that the line names.
    pub(super) fn introduce(&mut self, viewer: ViewerName) {
        self.mentions.push(viewer);
    }

    /// The line as it came.
    #[cfg(test)]
    pub(super) fn raw(&self) -> Option<&str> {
        self.origin.raw.as_deref()
    }

    /// The command that it comes to, with the id of whoever is meant by a name.
    pub async fn envelope(self, pool: &PgPool) -> Result<Envelope, NotAsked> {
        let mut names = vec![self.viewer.clone()];
        let request = match &self.wanted {
            Wanted::Request(request) => request.clone(),
            Wanted::Give { name, points } => match find(pool, name, &self.mentions).await? {
                None => Request::NoGift { why: NoGift::NobodyKnown },
                Some(to) if to.id == self.viewer.id => {
                    Request::NoGift { why: NoGift::ToThemselves }
                }
                Some(to) => {
                    let id = to.id.clone();
                    names.extend(Some(to).filter(|to| to.login.is_some() || to.name.is_some()));
                    Request::Give { to: id, points: *points }
                }
            },
        };
        let command = chat::Command::Ask {
            entry: ask_id(&self.line),
            line: self.line,
            viewer: self.viewer.id.clone(),
            role: self.role,
            request,
            terms: self.terms,
            settings: self.settings,
            at: self.at,
        };
        let envelope = Envelope::new::<Chat>(&self.broadcaster, &command, self.origin)?;
        Ok(Envelope { names, ..envelope })
    }
}

/// Why a line did not become a command. Sending it again may help.
#[derive(Debug, thiserror::Error)]
pub enum NotAsked {
    #[error("names cannot be looked up: {0}")]
    Database(#[from] sqlx::Error),
    #[error(transparent)]
    BadAddress(#[from] BadAddress),
}

/// Who is called `name`: whom Twitch says the line mentions, or who was last seen here under it. Nobody who wants to be
/// forgotten.
async fn find(
    pool: &PgPool,
    name: &str,
    mentions: &[ViewerName],
) -> sqlx::Result<Option<ViewerName>> {
    let lower = name.to_lowercase();
    let is_called = |called: &Option<String>| {
        called.as_ref().is_some_and(|called| called.to_lowercase() == lower)
    };
    let mentioned = mentions.iter().find(|one| is_called(&one.login) || is_called(&one.name));
    if let Some(one) = mentioned.filter(|one| check_id(&one.id).is_ok()) {
        let erased: bool = sqlx::query_scalar(
            "SELECT EXISTS (SELECT FROM viewer_names
                            WHERE viewer_id = $1 AND erased_at IS NOT NULL)",
        )
        .bind(&one.id)
        .fetch_one(pool)
        .await?;
        return Ok((!erased).then(|| one.clone()));
    }
    let known: Option<String> = sqlx::query_scalar(
        "SELECT viewer_id FROM viewer_names
         WHERE erased_at IS NULL AND (lower(login) = lower($1) OR lower(name) = lower($1))
         ORDER BY lower(login) = lower($1) DESC NULLS LAST, seen_at DESC LIMIT 1",
    )
    .bind(name)
    .fetch_optional(pool)
    .await?;
    Ok(known.map(|id| ViewerName { id, login: None, name: None }))
}

fn badges(line: &ChatLine) -> Vec<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    let is_name = |name: &&String| (1..=64).contains(&name.len()) && name.bytes().all(plain);
    let names = line.badges.iter().map(|badge| &badge.set_id);
    names.filter(is_name).take(BADGES_MAX).cloned().collect()
}

fn colour(written: &str) -> Option<String> {
    let digits = written.strip_prefix('#')?;
    let is_colour = digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_colour.then(|| written.to_ascii_lowercase())
}

/// The pieces of a line; all of it as text where Twitch does not take it apart.
fn parts(line: &ChatLine, text: &str) -> Vec<Part> {
    let part = |fragment: &ChatFragment| {
        let text = clean_text(&fragment.text);
        match (&fragment.emote, &fragment.mention) {
            (Some(emote), _) if plain_id("an emote's id", emote.id.clone()).is_ok() => {
                Part::Emote { emote: emote.id.clone(), name: text }
            }
            (_, Some(_)) => Part::Mention { mention: text.trim_start_matches('@').to_owned() },
            _ => Part::Text { text },
        }
    };
    match line.message.fragments.is_empty() {
        true => vec![Part::Text { text: text.to_owned() }],
        false => {
            let parts = line.message.fragments.iter().take(PARTS_MAX).map(part);
            let mut left = LINE_CHARS_MAX;
            let fits = |part: &Part| {
                let chars = part.words().chars().count();
                let fits = chars <= left;
                left = left.saturating_sub(chars);
                fits
            };
            parts.take_while(fits).collect()
        }
    }
}

#[cfg(test)]
mod tests;
