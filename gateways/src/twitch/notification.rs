//! What Twitch says, read leniently: ids are opaque strings, unknown fields are ignored, and the three ways in which
//! Twitch and its command line tool write "nobody" all mean nobody.

use chrono::{DateTime, Utc};
use serde::Deserialize;

use journal::ViewerName;

/// The user that Twitch names for an anonymous gift where it names one.
const ANONYMOUS_GIFTER: &str = "274598607";
/// The longest text of a viewer that is kept, in characters. Twitch allows 500.
const TEXT_MAX: usize = 1_000;
/// The longest name that is kept, in characters.
const NAME_MAX: usize = 100;
/// In so many of the first pieces of a line it is looked for who is named.
const MENTIONS_MAX: usize = 200;

/// A notification whose signature was verified.
#[derive(Clone, Copy, Debug)]
pub struct Notification<'a> {
    pub message_id: &'a str,
    /// When Twitch sent it: the timestamp that was signed with it.
    pub sent_at: DateTime<Utc>,
    /// The body as it came.
    pub raw: &'a str,
}

/// The body of a message from EventSub, in any of its three forms.
#[derive(Debug, Deserialize)]
pub(super) struct Body<'a> {
    pub subscription: EventSubSubscription,
    #[serde(borrow, default)]
    pub event: Option<&'a serde_json::value::RawValue>,
}

#[derive(Debug, Deserialize)]
pub(super) struct EventSubSubscription {
    #[serde(default)]
    pub id: String,
    #[serde(rename = "type")]
    pub kind: String,
    pub version: String,
    #[serde(default)]
    pub status: String,
}

/// Only what is needed to answer a verification.
#[derive(Debug, Deserialize)]
pub(super) struct Verification {
    pub challenge: String,
}

/// A user as most notifications write one.
#[derive(Debug, Default, Deserialize)]
pub(super) struct User {
    #[serde(default)]
    pub user_id: Option<String>,
    #[serde(default)]
    pub user_login: Option<String>,
    #[serde(default)]
    pub user_name: Option<String>,
    #[serde(default)]
    pub is_anonymous: Option<bool>,
}

impl User {
    /// The user with names, or `None` for the anonymous in all their spellings.
    pub fn named(&self) -> Option<ViewerName> {
        if self.is_anonymous == Some(true) {
            return None;
        }
        let id = self.user_id.clone().filter(|id| !id.is_empty() && id != ANONYMOUS_GIFTER)?;
        let (login, name) = (clean_name(&self.user_login), clean_name(&self.user_name));
        Some(ViewerName { id, login, name })
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Cheer {
    #[serde(flatten)]
    pub user: User,
    pub broadcaster_user_id: String,
    pub bits: i64,
    #[serde(default)]
    pub message: Option<String>,
}

/// `channel.subscribe` and `channel.subscription.end`.
#[derive(Debug, Deserialize)]
pub(super) struct Sub {
    #[serde(flatten)]
    pub user: User,
    pub broadcaster_user_id: String,
    pub tier: String,
    #[serde(default)]
    pub is_gift: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct Resub {
    #[serde(flatten)]
    pub user: User,
    pub tier: String,
    pub cumulative_months: i64,
    #[serde(default)]
    pub streak_months: Option<i64>,
    #[serde(default)]
    pub message: Option<ResubText>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ResubText {
    #[serde(default)]
    pub text: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Gift {
    #[serde(flatten)]
    pub user: User,
    pub broadcaster_user_id: String,
    pub total: i64,
    pub tier: String,
    #[serde(default)]
    pub cumulative_total: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Follow {
    #[serde(flatten)]
    pub user: User,
    pub broadcaster_user_id: String,
    pub followed_at: DateTime<Utc>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Raid {
    pub from_broadcaster_user_id: String,
    #[serde(default)]
    pub from_broadcaster_user_login: Option<String>,
    #[serde(default)]
    pub from_broadcaster_user_name: Option<String>,
    pub to_broadcaster_user_id: String,
    pub viewers: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Online {
    pub broadcaster_user_id: String,
    pub id: String,
}

/// Twitch added `id` in June 2026; older payloads and twitch-cli have none.
#[derive(Debug, Deserialize)]
pub(super) struct Offline {
    pub broadcaster_user_id: String,
    #[serde(default)]
    pub id: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Update {
    pub broadcaster_user_id: String,
    pub title: String,
    #[serde(default)]
    pub category_name: Option<String>,
    #[serde(default)]
    pub language: Option<String>,
}

/// A hype train in version 2, and in version 1, which twitch-cli still sends and which has no `type`.
#[derive(Debug, Deserialize)]
pub(super) struct HypeTrain {
    pub broadcaster_user_id: String,
    pub id: String,
    #[serde(default)]
    pub level: Option<i64>,
    pub total: i64,
    #[serde(default)]
    pub goal: Option<i64>,
    #[serde(default, rename = "type")]
    pub kind: Option<String>,
    #[serde(default)]
    pub started_at: Option<DateTime<Utc>>,
    #[serde(default)]
    pub ended_at: Option<DateTime<Utc>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Redemption {
    #[serde(flatten)]
    pub user: User,
    pub broadcaster_user_id: String,
    pub id: String,
    pub status: String,
    #[serde(default)]
    pub user_input: Option<String>,
    pub reward: RedeemedReward,
    pub redeemed_at: DateTime<Utc>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RedeemedReward {
    pub id: String,
    pub title: String,
    pub cost: i64,
}

/// `channel.chat.message`.
#[derive(Debug, Deserialize)]
pub(super) struct ChatLine {
    pub broadcaster_user_id: String,
    pub chatter_user_id: String,
    #[serde(default)]
    pub chatter_user_login: Option<String>,
    #[serde(default)]
    pub chatter_user_name: Option<String>,
    pub message_id: String,
    pub message: ChatText,
    #[serde(default)]
    pub badges: Vec<ChatBadge>,
    #[serde(default)]
    pub cheer: Option<ChatCheer>,
    #[serde(default)]
    pub color: String,
    #[serde(default)]
    pub channel_points_custom_reward_id: Option<String>,
    /// Where it was said, when it is a copy of another channel's.
    #[serde(default)]
    pub source_broadcaster_user_id: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ChatText {
    pub text: String,
    #[serde(default)]
    pub fragments: Vec<ChatFragment>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ChatFragment {
    #[serde(default)]
    pub text: String,
    #[serde(default)]
    pub emote: Option<ChatEmote>,
    #[serde(default)]
    pub mention: Option<User>,
}

#[derive(Debug, Deserialize)]
pub(super) struct ChatEmote {
    pub id: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct ChatBadge {
    pub set_id: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct ChatCheer {
    #[serde(default)]
    pub bits: i64,
}

impl ChatLine {
    pub fn chatter(&self) -> Option<ViewerName> {
        let user = User {
            user_id: Some(self.chatter_user_id.clone()),
            user_login: self.chatter_user_login.clone(),
            user_name: self.chatter_user_name.clone(),
            is_anonymous: None,
        };
        user.named()
    }

    /// How many bits it carries: one at least, where it says that it is a cheer.
    pub fn bits(&self) -> i64 {
        self.cheer.as_ref().map_or(0, |cheer| cheer.bits.max(1))
    }

    pub fn was_taken_by_a_reward(&self) -> bool {
        self.channel_points_custom_reward_id.as_ref().is_some_and(|id| !id.is_empty())
    }

    pub fn was_said_in(&self, broadcaster: &str) -> bool {
        self.source_broadcaster_user_id.as_ref().is_none_or(|source| source == broadcaster)
    }

    /// Who is named in it, as far as Twitch knows them.
    pub fn mentions(&self) -> Vec<ViewerName> {
        let fragments = self.message.fragments.iter().take(MENTIONS_MAX);
        fragments.filter_map(|fragment| fragment.mention.as_ref()?.named()).collect()
    }
}

/// `channel.chat.message_delete`.
#[derive(Debug, Deserialize)]
pub(super) struct ChatDeleted {
    pub broadcaster_user_id: String,
    pub message_id: String,
}

/// `channel.chat.clear_user_messages`: somebody was banned or timed out.
#[derive(Debug, Deserialize)]
pub(super) struct ChatterCleared {
    pub broadcaster_user_id: String,
    pub target_user_id: String,
}

/// `channel.chat.clear`.
#[derive(Debug, Deserialize)]
pub(super) struct ChatCleared {
    pub broadcaster_user_id: String,
}

/// Whose channel a notification is about; a raid is about the channel that is raided.
#[derive(Debug, Deserialize)]
pub(super) struct About {
    #[serde(default)]
    pub broadcaster_user_id: Option<String>,
    #[serde(default)]
    pub to_broadcaster_user_id: Option<String>,
}

/// Text of a viewer as it is kept: no control characters, at most [`TEXT_MAX`] characters.
pub fn clean_text(text: &str) -> String {
    clean(text, TEXT_MAX)
}

fn clean_name(name: &Option<String>) -> Option<String> {
    name.as_deref().map(|name| clean(name, NAME_MAX)).filter(|name| !name.is_empty())
}

/// PostgreSQL refuses a zero byte in text, and an event must stay readable in a terminal.
fn clean(text: &str, characters_max: usize) -> String {
    let spaced = text.chars().map(|c| if matches!(c, '\n' | '\r' | '\t') { ' ' } else { c });
    spaced.filter(|c| !c.is_control()).take(characters_max).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_never_reach_an_event() {
        assert_eq!(clean_text("a\0b\u{7}c\u{1b}[31m\u{85}d\ne"), "abc[31md e");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let long = "🦀é".repeat(600);
        let kept = clean_text(&long);
        assert_eq!(kept.chars().count(), 1_000);
        assert!(long.starts_with(&kept));
    }

    #[test]
    fn text_that_runs_from_right_to_left_is_kept_as_it_is() {
        let text = "ערב טוב 📼 مساء الخير";
        assert_eq!(clean_text(text), text);
    }
}
