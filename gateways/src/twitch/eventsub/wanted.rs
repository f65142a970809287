//! What we want Twitch to tell us: one set, from what can be translated and what the configuration leaves out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A type that can be translated.
pub struct Kind {
    pub name: &'static str,
    pub version: &'static str,
    /// The rights of which the account that we ask under needs one; none where it needs none.
    pub scopes: &'static [&'static str],
    about: About,
}

/// What a type's condition names.
enum About {
    Channel,
    /// Whom a raid goes to.
    Raided,
    /// The channel, and who may moderate it.
    Moderated,
    /// The channel, and who reads its chat.
    Read,
}

const SUBS: &[&str] = &["channel:read:subscriptions"];
const REDEMPTIONS: &[&str] = &["channel:read:redemptions", "channel:manage:redemptions"];
const TRAINS: &[&str] = &["channel:read:hype_train"];
const CHAT: &[&str] = &["user:read:chat"];

/// All types that can be translated, the dearest first: where Twitch takes no more, the last are missing.
pub const CATALOGUE: [Kind; 19] = [
    kind("stream.online", "1", &[], About::Channel),
    kind("stream.offline", "1", &[], About::Channel),
    kind("channel.cheer", "1", &["bits:read"], About::Channel),
    kind("channel.subscribe", "1", SUBS, About::Channel),
    kind("channel.subscription.message", "1", SUBS, About::Channel),
    kind("channel.subscription.gift", "1", SUBS, About::Channel),
    kind("channel.channel_points_custom_reward_redemption.add", "1", REDEMPTIONS, About::Channel),
    kind(
        "channel.channel_points_custom_reward_redemption.update",
        "1",
        REDEMPTIONS,
        About::Channel,
    ),
    kind("channel.chat.message", "1", CHAT, About::Read),
    kind("channel.raid", "1", &[], About::Raided),
    kind("channel.follow", "2", &["moderator:read:followers"], About::Moderated),
    kind("channel.update", "2", &[], About::Channel),
    kind("channel.subscription.end", "1", SUBS, About::Channel),
    kind("channel.chat.message_delete", "1", CHAT, About::Read),
    kind("channel.chat.clear_user_messages", "1", CHAT, About::Read),
    kind("channel.chat.clear", "1", CHAT, About::Read),
    kind("channel.hype_train.begin", "2", TRAINS, About::Channel),
    kind("channel.hype_train.progress", "2", TRAINS, About::Channel),
    kind("channel.hype_train.end", "2", TRAINS, About::Channel),
];

const fn kind(
    name: &'static str,
    version: &'static str,
    scopes: &'static [&'static str],
    about: About,
) -> Kind {
    Kind { name, version, scopes, about }
}

/// What names an EventSub subscription: Twitch takes no two of one application that have all of it in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Wanted {
    #[serde(rename = "type")]
    pub kind: String,
    pub version: String,
    /// Only what says something: Twitch writes what was left out as empty text.
    pub condition: BTreeMap<String, String>,
}

impl Wanted {
    /// The right that is missing, where Twitch says that one is.
    pub fn scopes(&self) -> &'static [&'static str] {
        CATALOGUE.iter().find(|kind| kind.name == self.kind).map_or(&[], |kind| kind.scopes)
    }
}

/// The type with which Twitch says that it tells nothing over a shard any more.
pub const SHARD_DISABLED: &str = "conduit.shard.disabled";

/// What is wanted of a conduit itself.
pub fn of_conduit(client_id: &str, conduit: &str) -> Wanted {
    let condition = [("client_id", client_id), ("conduit_id", conduit)];
    let condition = condition.map(|(key, id)| (key.to_owned(), id.to_owned())).into();
    Wanted { kind: SHARD_DISABLED.to_owned(), version: "1".to_owned(), condition }
}

/// All that is wanted of the channel of `broadcaster`, without the types in `leave_out`, read by the account `reader`.
pub fn wanted(broadcaster: &str, reader: &str, leave_out: &[String]) -> Vec<Wanted> {
    let kinds = CATALOGUE.iter().filter(|kind| !leave_out.iter().any(|name| name == kind.name));
    let of = |kind: &Kind| {
        let names: &[(&str, &str)] = match kind.about {
            About::Channel => &[("broadcaster_user_id", broadcaster)],
            About::Raided => &[("to_broadcaster_user_id", broadcaster)],
            About::Moderated => {
                &[("broadcaster_user_id", broadcaster), ("moderator_user_id", reader)]
            }
            About::Read => &[("broadcaster_user_id", broadcaster), ("user_id", reader)],
        };
        let condition = names.iter().map(|(key, id)| ((*key).to_owned(), (*id).to_owned()));
        Wanted {
            kind: kind.name.to_owned(),
            version: kind.version.to_owned(),
            condition: condition.collect(),
        }
    };
    kinds.map(of).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::twitch::{chat, translate};

    #[test]
    fn what_is_wanted_is_what_can_be_translated() {
        let known: BTreeSet<&str> = translate::KINDS.into_iter().chain(chat::KINDS).collect();
        let wanted = wanted("1000", "1000", &[]);
        assert_eq!(wanted.iter().map(|one| one.kind.as_str()).collect::<BTreeSet<_>>(), known);
        assert_eq!(wanted.len(), known.len(), "a type is wanted twice");
    }

    #[test]
    fn a_raid_is_wanted_of_whom_it_goes_to_and_chat_of_whom_it_is_read_by() {
        let leave_out = ["channel.chat.clear".to_owned()];
        let wanted = wanted("1000", "9000", &leave_out);
        assert!(!wanted.iter().any(|one| one.kind == "channel.chat.clear"));
        let condition = |kind: &str| {
            let one = wanted.iter().find(|one| one.kind == kind).expect(kind);
            serde_json::to_string(&one.condition).expect("JSON")
        };
        assert_eq!(condition("channel.raid"), r#"{"to_broadcaster_user_id":"1000"}"#);
        let chat = r#"{"broadcaster_user_id":"1000","user_id":"9000"}"#;
        assert_eq!(condition("channel.chat.message"), chat);
    }
}
