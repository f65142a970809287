//! Which rights an account is asked for: those that the features need that are on, and no others.

use std::collections::BTreeSet;

use super::Role;
use crate::config::Config;
use crate::twitch::eventsub::Transport;
use crate::twitch::eventsub::wanted::CATALOGUE;
use crate::twitch::helix::MODERATION_READ;
use crate::twitch::saying::Over;
use crate::twitch::settings::Hearing;

const SPEAK: &[&str] = &["user:write:chat"];
/// Saying something over IRC, and hearing what became of it.
const SPEAK_OVER_IRC: [&[&str]; 2] = [&["chat:edit"], &["chat:read"]];
const LIST_MODERATORS: &[&str] = &[MODERATION_READ];
/// What an application reads a chat with, beside what the reader's own right is: from the reader, and from whose chat it
/// is.
const READ_AS_APPLICATION: &[&str] = &["user:bot"];
const READ_BY_APPLICATION: &[&str] = &["channel:bot"];
/// Of a type with this beginning, the reader grants the right, who may not be the broadcaster.
const CHAT: &str = "channel.chat.";

/// A right that a feature needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// Any of them will do; the first is what is asked for.
    pub one_of: &'static [&'static str],
    pub feature: &'static str,
}

/// What `role` needs as this configuration has it.
pub fn needs(config: &Config, role: Role) -> Vec<Need> {
    let mut needs = hearing(config, role);
    if speaks(config) == Some(role) {
        let feature = "answers in chat";
        match config.twitch.chat.over {
            Over::Helix => needs.push(Need { one_of: SPEAK, feature }),
            Over::Irc => needs.extend(SPEAK_OVER_IRC.map(|one_of| Need { one_of, feature })),
        }
    }
    if role == Role::Broadcaster && config.login.moderators_from_twitch {
        needs.push(Need { one_of: LIST_MODERATORS, feature: "Twitch's list of moderators" });
    }
    needs
}

/// What is asked for: of each need the first, in order and each once.
pub fn asked(needs: &[Need]) -> Vec<&'static str> {
    let first = needs.iter().filter_map(|need| need.one_of.first().copied());
    first.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The needs that `held` does not meet.
pub fn missing<'a>(needs: &'a [Need], held: &[String]) -> Vec<&'a Need> {
    let is_held = |scope: &&str| held.iter().any(|held| held == scope);
    needs.iter().filter(|need| !need.one_of.iter().any(is_held)).collect()
}

/// Under which role something is said in chat, where the configuration brings no right of its own for it.
pub fn speaks(config: &Config) -> Option<Role> {
    let twitch = &config.twitch;
    let is_to_be_granted = twitch.chat.token.is_empty() && !twitch.client_id.is_empty();
    is_to_be_granted.then(|| twitch.speaking_role(&config.broadcaster_id))
}

/// What is needed to be told what is wanted.
fn hearing(config: &Config, role: Role) -> Vec<Need> {
    let settings = &config.twitch.eventsub;
    // Who has not said who they are finds it out by connecting.
    let broadcaster = match config.broadcaster_id.as_str() {
        "" => "whoever connects",
        id => id,
    };
    let Some(Hearing::Account(heard_by)) = config.twitch.hearing(broadcaster) else {
        return Vec::new();
    };
    let reader = match settings.is_read_by_another(broadcaster) {
        true => Role::Bot,
        false => Role::Broadcaster,
    };
    let left_out = |name: &str| settings.leave_out.iter().any(|out| out == name);
    let wanted = CATALOGUE.iter().filter(|kind| !left_out(kind.name) && !kind.scopes.is_empty());
    let mut needs = Vec::new();
    for kind in wanted {
        let is_chat = kind.name.starts_with(CHAT);
        // Over a WebSocket, all is asked for by one account.
        let granted_by = match settings.transport {
            Transport::Websocket => heard_by,
            Transport::Webhook | Transport::Conduit if is_chat => reader,
            Transport::Webhook | Transport::Conduit => Role::Broadcaster,
        };
        if granted_by == role {
            needs.push(Need { one_of: kind.scopes, feature: kind.name });
        }
        if is_chat && settings.transport != Transport::Websocket {
            let both = [(reader, READ_AS_APPLICATION), (Role::Broadcaster, READ_BY_APPLICATION)];
            let ours = both.into_iter().filter(|(granted_by, _)| *granted_by == role);
            needs.extend(ours.map(|(_, one_of)| Need { one_of, feature: kind.name }));
        }
    }
    needs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outgoing::Secret;

    fn config() -> Config {
        let mut config = Config { broadcaster_id: "1000".to_owned(), ..Config::default() };
        config.twitch.client_id = "client".to_owned();
        config
    }

    #[test]
    fn exactly_what_the_features_need_is_asked_for() {
        let mut config = config();
        let asked_of = |config: &Config, role| asked(&needs(config, role));
        let all = [
            "bits:read",
            "channel:read:hype_train",
            "channel:read:redemptions",
            "channel:read:subscriptions",
            "moderator:read:followers",
            "user:read:chat",
        ];
        assert_eq!(asked_of(&config, Role::Broadcaster), all);
        let unsaid = Config { broadcaster_id: String::new(), ..config.clone() };
        assert_eq!(asked_of(&unsaid, Role::Broadcaster), all, "whoever connects is asked");
        assert_eq!(asked_of(&config, Role::Bot), ["user:write:chat"]);
        assert_eq!(asked_of(&config, Role::App), [""; 0]);
        let mut over_irc = config.clone();
        over_irc.twitch.chat.over = Over::Irc;
        assert_eq!(asked_of(&over_irc, Role::Bot), ["chat:edit", "chat:read"]);
        let write = ["user:write:chat".to_owned()];
        assert_eq!(missing(&needs(&over_irc, Role::Bot), &write).len(), 2);

        config.twitch.eventsub.leave_out = vec!["channel.cheer".to_owned()];
        assert!(!asked_of(&config, Role::Broadcaster).contains(&"bits:read"));
        config.login.moderators_from_twitch = true;
        assert!(asked_of(&config, Role::Broadcaster).contains(&"moderation:read"));
        config.twitch.chat.sender_id = "1000".to_owned();
        assert!(asked_of(&config, Role::Broadcaster).contains(&"user:write:chat"));
        assert_eq!(asked_of(&config, Role::Bot), [""; 0], "nobody needs a bot");
        // What the configuration brings a right of its own for is asked of nobody.
        config.twitch.chat.token = Secret::new("hush");
        config.twitch.eventsub.token = Secret::new("hush");
        assert_eq!(asked_of(&config, Role::Broadcaster), ["moderation:read"]);
    }

    #[test]
    fn an_application_that_reads_the_chat_is_let_in_by_the_reader_and_by_whose_chat_it_is() {
        let mut config = config();
        config.twitch.client_secret = Secret::new("hush");
        config.twitch.eventsub.transport = Transport::Webhook;
        let broadcaster = asked(&needs(&config, Role::Broadcaster));
        for scope in ["bits:read", "channel:bot", "user:bot", "user:read:chat"] {
            assert!(broadcaster.contains(&scope), "{scope}");
        }
        config.twitch.eventsub.user_id = "9000".to_owned();
        let broadcaster = asked(&needs(&config, Role::Broadcaster));
        assert!(broadcaster.contains(&"channel:bot") && !broadcaster.contains(&"user:bot"));
        let bot = asked(&needs(&config, Role::Bot));
        assert_eq!(bot, ["user:bot", "user:read:chat", "user:write:chat"]);
    }

    #[test]
    fn any_of_several_rights_meets_a_need() {
        let needs = needs(&config(), Role::Broadcaster);
        let held = asked(&needs).into_iter().map(|scope| match scope {
            "channel:read:redemptions" => "channel:manage:redemptions".to_owned(),
            other => other.to_owned(),
        });
        let held: Vec<String> = held.collect();
        assert!(missing(&needs, &held).is_empty());
        let lacking: Vec<&str> = missing(&needs, &held[1..]).iter().map(|n| n.feature).collect();
        assert_eq!(lacking, ["channel.cheer"]);
    }
}
