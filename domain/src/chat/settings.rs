//! Who may ask for what in chat and how often, and what is answered with a fixed text: configuration with a version.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::COOLDOWN_MAX_S;

/// The longest fixed text, in characters: with a name before it, it still fits into a line of chat.
const HELP_CHARS_MAX: usize = 450;

/// What a line means without any configuration. No fixed text has one of these names.
pub const BUILT_IN: [&str; 8] =
    ["balance", "points", "uptime", "tape", "top", "give", "ghost", "friend"];

/// Who somebody is in the channel, and who may ask. Each may what those before may.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    #[default]
    Everyone,
    Subscriber,
    Vip,
    Moderator,
    Broadcaster,
    /// Nobody is: what only they may ask is switched off.
    Nobody,
}

impl Role {
    /// The highest role that these badges show.
    pub fn of_badges<'a>(badges: impl IntoIterator<Item = &'a str>) -> Role {
        let role = |badge| match badge {
            "broadcaster" => Role::Broadcaster,
            "moderator" | "lead_moderator" => Role::Moderator,
            "vip" => Role::Vip,
            "subscriber" | "founder" => Role::Subscriber,
            _ => Role::Everyone,
        };
        badges.into_iter().map(role).max().unwrap_or_default()
    }
}

/// Who may ask for something, and how long it then rests: for all, and for the viewer who asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    pub who: Role,
    pub cooldown_s: u32,
    pub viewer_cooldown_s: u32,
}

/// What is different for one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Different {
    pub who: Option<Role>,
    pub cooldown_s: Option<u32>,
    pub viewer_cooldown_s: Option<u32>,
}

/// Everything that can be decided about what is asked in chat.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Goes into every request; raise it with any change.
    pub version: u32,
    /// For what is only answered.
    pub answers: Terms,
    /// For what takes points.
    pub spending: Terms,
    /// By name: `balance`, `ghost`, a fixed text, a static alert.
    pub commands: BTreeMap<String, Different>,
    /// Fixed texts, by the word after the exclamation mark.
    pub help: BTreeMap<String, String>,
}

impl Default for Settings {
    fn default() -> Self {
        let terms = |cooldown_s, viewer_cooldown_s| Terms {
            who: Role::Everyone,
            cooldown_s,
            viewer_cooldown_s,
        };
        let help = [
            (
                "alerts",
                "Points buy alerts: !ghost of a lighthouse, !friend who is a heron, !test-card. \
                 !balance says how many points you have.",
            ),
            ("ghosts", "Say !ghost of a lighthouse, and it haunts the screen for your points."),
            ("friends", "Say !friend who is an orange teapot, and one comes by for your points."),
            ("gifts", "Say !give @somebody 50, and they have 50 of your points."),
        ];
        Settings {
            version: 1,
            answers: terms(3, 15),
            spending: terms(0, 5),
            commands: BTreeMap::new(),
            help: help.map(|(topic, text)| (topic.to_owned(), text.to_owned())).into(),
        }
    }
}

impl Settings {
    /// What holds for the request of this name.
    pub fn terms(&self, name: &str, takes_points: bool) -> Terms {
        let all = if takes_points { self.spending } else { self.answers };
        let different = self.commands.get(name).copied().unwrap_or_default();
        Terms {
            who: different.who.unwrap_or(all.who),
            cooldown_s: different.cooldown_s.unwrap_or(all.cooldown_s),
            viewer_cooldown_s: different.viewer_cooldown_s.unwrap_or(all.viewer_cooldown_s),
        }
    }

    /// Why these settings cannot be worked with. `fixed` are the ids of the static alerts.
    pub fn refusal<'a>(&self, fixed: impl IntoIterator<Item = &'a str>) -> Option<String> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let is_name = |name: &str| (1..=64).contains(&name.len()) && name.bytes().all(plain);
        let known: Vec<&str> = fixed.into_iter().collect();
        if let Some(id) = known.iter().find(|id| BUILT_IN.contains(id)) {
            return Some(format!("prices.static: !{id} means something else"));
        }
        for (topic, text) in &self.help {
            let chars = text.chars().count();
            if !is_name(topic) || topic.parse::<i64>().is_ok() {
                return Some(format!("chat.help: {topic:?} is not made of a-z, 0-9 and hyphens"));
            }
            if BUILT_IN.contains(&topic.as_str()) || known.contains(&topic.as_str()) {
                return Some(format!("chat.help: !{topic} means something else"));
            }
            if chars == 0 || chars > HELP_CHARS_MAX || text.chars().any(char::is_control) {
                return Some(format!("chat.help.{topic} is 1 to {HELP_CHARS_MAX} characters"));
            }
        }
        let different = self.commands.values();
        let own = different.flat_map(|d| [d.cooldown_s, d.viewer_cooldown_s]).flatten();
        let all = [self.answers, self.spending].map(|t| [t.cooldown_s, t.viewer_cooldown_s]);
        if all.into_iter().flatten().chain(own).any(|s| i64::from(s) > COOLDOWN_MAX_S) {
            return Some(format!("chat: nothing rests for more than {COOLDOWN_MAX_S} seconds"));
        }
        let is_known = |name: &str| {
            (BUILT_IN.contains(&name) && name != "points")
                || known.contains(&name)
                || self.help.contains_key(name)
        };
        let unknown = self.commands.keys().find(|name| !is_known(name))?;
        Some(format!("chat.commands: there is no !{unknown}"))
    }
}
