//! What a line of IRC tells, as EventSub would: it is brought into the shape of a chat notification, and read as one. Pure.

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;

use super::said::Said;
use crate::chat::Frame;
use crate::twitch::chat::{Heard, Listening, cleared_id, deleted_id, line_of};
use crate::twitch::notification::{
    ChatBadge, ChatCheer, ChatEmote, ChatFragment, ChatLine, ChatText, Notification, User,
};
use crate::twitch::translate::{Untranslatable, plain_id};

/// What is read here. Everything else that Twitch says over IRC is about the connection, or comes over EventSub.
pub const COMMANDS: [&str; 3] = ["CLEARCHAT", "CLEARMSG", "PRIVMSG"];

/// The source in the origin of every command from here.
const SOURCE: &str = "irc";
const EMOTES_MAX: usize = 100;
const BADGES_MAX: usize = 50;
const FRAGMENTS_MAX: usize = 200;
const LOGIN_CHARS_MAX: usize = 25;
/// A line is as old as Twitch says, where that is believable.
const AGE_MAX: TimeDelta = TimeDelta::days(1);

/// What `text` tells of the chat of `broadcaster_id`, which came at `received_at`.
pub fn read(
    text: &str,
    listening: &Listening,
    broadcaster_id: Option<&str>,
    received_at: DateTime<Utc>,
) -> Result<Heard, Untranslatable> {
    let said = Said::read(text).map_err(Untranslatable::NoLine)?;
    let room = room(&said, broadcaster_id)?;
    let at = said_at(&said, received_at);
    let heard = |frame, id| Ok(Heard { broadcaster: room.clone(), frame, id, asking: None });
    match said.command() {
        "PRIVMSG" => {
            let line = chat_line(&said, &room);
            let users = [Some(line.chatter_user_id.as_str()), said.tag("reply-parent-user-id")];
            let users: Vec<&str> = users.into_iter().flatten().collect();
            // JSON that names whoever it speaks of, so that they can be forgotten.
            let raw = json!({"irc": text, "users": users}).to_string();
            let message_id = line.message_id.clone();
            let notification = Notification { message_id: &message_id, sent_at: at, raw: &raw };
            line_of(line, SOURCE, &notification, listening, received_at)
        }
        "CLEARMSG" => {
            let id = said.tag("target-msg-id").ok_or(missing("target-msg-id"))?;
            let id = plain_id("the line's id", id.to_owned())?;
            let named = deleted_id(&id);
            heard(Frame::Deleted { id }, named)
        }
        // Whose lines go is said by name and by id; what names nobody takes all of them away.
        "CLEARCHAT" if said.parameter(1).is_some() || said.tag("target-user-id").is_some() => {
            let viewer = said.tag("target-user-id").ok_or(missing("target-user-id"))?;
            let viewer = plain_id("the viewer's id", viewer.to_owned())?;
            let named = cleared_id(Some(&viewer), at);
            heard(Frame::ClearedViewer { viewer, at: Some(at) }, named)
        }
        "CLEARCHAT" => heard(Frame::Cleared { at: Some(at) }, cleared_id(None, at)),
        other => Err(Untranslatable::NoLine(format!("{other} is not about what is said"))),
    }
}

fn missing(tag: &str) -> Untranslatable {
    Untranslatable::NoLine(format!("it has no {tag}"))
}

/// Whose chat it is about. A deletion may not say so; it comes over the channel that was joined.
fn room(said: &Said, broadcaster_id: Option<&str>) -> Result<String, Untranslatable> {
    let room = match (said.tag("room-id"), broadcaster_id) {
        (Some(about), Some(ours)) if about != ours => {
            let (about, ours) = (about.to_owned(), ours.to_owned());
            return Err(Untranslatable::AnotherChannel { about, ours });
        }
        (Some(room), _) => room,
        (None, Some(ours)) if said.command() == "CLEARMSG" => ours,
        (None, _) => return Err(missing("room-id")),
    };
    plain_id("the broadcaster's id", room.to_owned())
}

fn said_at(said: &Said, received_at: DateTime<Utc>) -> DateTime<Utc> {
    let ms = said.tag("tmi-sent-ts").and_then(|ms| ms.parse().ok());
    let at = ms.and_then(DateTime::from_timestamp_millis);
    at.filter(|at| (*at - received_at).abs() < AGE_MAX).unwrap_or(received_at)
}

/// The line as EventSub writes it.
fn chat_line(said: &Said, room: &str) -> ChatLine {
    let owned = |tag: &str| said.tag(tag).map(str::to_owned);
    let text = spoken(said.parameter(1).unwrap_or_default()).to_owned();
    let badges = said.tag("badges").unwrap_or_default().split(',').take(BADGES_MAX);
    let set_id = |badge: &str| badge.split('/').next().unwrap_or_default().to_owned();
    ChatLine {
        broadcaster_user_id: room.to_owned(),
        chatter_user_id: owned("user-id").unwrap_or_default(),
        chatter_user_login: said.login().map(str::to_owned),
        chatter_user_name: owned("display-name").or_else(|| said.login().map(str::to_owned)),
        message_id: owned("id").unwrap_or_default(),
        badges: badges.map(|badge| ChatBadge { set_id: set_id(badge) }).collect(),
        // It is a cheer however many bits it says to have.
        cheer: said.tag("bits").map(|bits| ChatCheer { bits: bits.parse().unwrap_or(1) }),
        color: owned("color").unwrap_or_default(),
        channel_points_custom_reward_id: owned("custom-reward-id"),
        source_broadcaster_user_id: owned("source-room-id"),
        message: ChatText { fragments: fragments(said, &text), text },
    }
}

/// The words of a line that somebody says of themselves (`/me`), and of any other.
fn spoken(text: &str) -> &str {
    let action = text.strip_prefix("\u{1}ACTION ");
    action.map_or(text, |action| action.strip_suffix('\u{1}').unwrap_or(action))
}

/// The pieces of a line. Where its emotes are is counted in characters.
fn fragments(said: &Said, text: &str) -> Vec<ChatFragment> {
    let chars: Vec<char> = text.chars().collect();
    let (mut fragments, mut next) = (Vec::new(), 0);
    for (from, to, id) in emotes(said.tag("emotes").unwrap_or_default()) {
        // What lies in another one or behind the end is no place.
        if from < next || to >= chars.len() || fragments.len() >= FRAGMENTS_MAX {
            continue;
        }
        words(said, &chars[next..from], &mut fragments);
        let emote = Some(ChatEmote { id: id.to_owned() });
        fragments.push(ChatFragment {
            text: chars[from..=to].iter().collect(),
            emote,
            mention: None,
        });
        next = to + 1;
    }
    words(said, &chars[next..], &mut fragments);
    fragments
}

/// From where to where each emote is, the first one first.
fn emotes(tag: &str) -> Vec<(usize, usize, &str)> {
    let mut places = Vec::new();
    for (id, ranges) in tag.split('/').filter_map(|emote| emote.split_once(':')) {
        for range in ranges.split(',') {
            let ends = range
                .split_once('-')
                .and_then(|(from, to)| Some((from.parse::<u16>().ok()?, to.parse::<u16>().ok()?)));
            if let Some((from, to)) = ends.filter(|(from, to)| from <= to)
                && places.len() < EMOTES_MAX
            {
                places.push((usize::from(from), usize::from(to), id));
            }
        }
    }
    places.sort_unstable();
    places
}

/// Words between emotes, with whoever is named in them.
fn words(said: &Said, chars: &[char], fragments: &mut Vec<ChatFragment>) {
    let text = |chars: &[char]| {
        let text = chars.iter().collect();
        ChatFragment { text, emote: None, mention: None }
    };
    let is_name = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
    let (mut begun, mut at) = (0, 0);
    while at < chars.len() && fragments.len() < FRAGMENTS_MAX {
        let name = chars[at + 1..].iter().take_while(|c| is_name(c)).count();
        let begins = chars[at] == '@' && (at == 0 || chars[at - 1].is_whitespace());
        if !begins || !(1..=LOGIN_CHARS_MAX).contains(&name) {
            at += 1;
            continue;
        }
        if begun < at {
            fragments.push(text(&chars[begun..at]));
        }
        let end = at + 1 + name;
        let called: String = chars[at + 1..end].iter().collect();
        let mention = Some(mentioned(said, called));
        fragments.push(ChatFragment { mention, ..text(&chars[at..end]) });
        (begun, at) = (end, end);
    }
    if begun < chars.len() {
        fragments.push(text(&chars[begun..]));
    }
}

/// Who is called this: known by id where the line answers them.
fn mentioned(said: &Said, called: String) -> User {
    let (login, name) =
        (said.tag("reply-parent-user-login"), said.tag("reply-parent-display-name"));
    let is_answered =
        [login, name].into_iter().flatten().any(|known| known.eq_ignore_ascii_case(&called));
    let id = said.tag("reply-parent-user-id").filter(|_| is_answered).map(str::to_owned);
    User {
        user_id: id,
        user_login: Some(called.to_lowercase()),
        user_name: Some(called),
        is_anonymous: None,
    }
}

#[cfg(test)]
mod tests;
