//! What is said in chat once a night is over, and how it must be answered. Everybody has seen the points of the night by
//! then, so that it is known beforehand who can pay.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use uuid::Uuid;

use super::cast::{self, Viewer};
use super::deed::{Deed, ExpectedAlert};
use super::night::{Night, Scene};
use super::payload::Flavour;

/// Who asks for something that is paid for has this many points at least.
const RICH: i64 = 2_000;
/// From here on are those who were never seen before, and have nothing.
const STRANGERS: usize = 90_000;
const GIFT: i64 = 50;
const TOO_DEAR: &str = "!200 ghost of a borrowed umbrella";
const READY_MADE: &str = "!test-card";

/// Said by one viewer each: one after the other, nobody has to wait for anybody.
const ANSWERED: [&str; 8] = [
    "!balance",
    "!uptime",
    "!tape",
    "!top",
    "!alerts",
    "!ghost",
    "!1 ghost of a shortcut",
    "!give",
];
const UNANSWERED: [&str; 5] = [
    "hello friends, what a night!",
    "!so @GoldenReel",
    "ghosts are cool 👻",
    "! balance",
    "!unknown <script>alert(1)</script>",
];

impl Night {
    /// The same night with what is said in chat afterwards.
    pub fn with_chat(mut self) -> Self {
        let points = self.expected_points();
        let richest = points.iter().max_by_key(|(_, points)| **points);
        let rich = richest.filter(|(_, points)| **points >= RICH).map(|(id, _)| id.clone());
        let known = self.scenes.iter().filter_map(|scene| scene.deed.doer()).cloned();
        let known: Vec<Viewer> = known.collect();
        let mut lines: Vec<(Viewer, Arc<str>, Option<Viewer>)> = Vec::new();
        let plain = ANSWERED.into_iter().chain(UNANSWERED).enumerate();
        lines.extend(plain.map(|(n, text)| (cast::viewer(STRANGERS + n), text.into(), None)));
        lines.push((cast::viewer(STRANGERS + lines.len()), TOO_DEAR.into(), None));
        if let Some(rich) = rich.and_then(|id| known.iter().find(|one| *one.id == *id)) {
            lines.push((rich.clone(), READY_MADE.into(), None));
            if let Some(other) = known.iter().find(|other| other.id != rich.id) {
                let text = format!("!give @{} {GIFT}", other.name).into();
                lines.push((rich.clone(), text, Some(other.clone())));
            }
        }
        let mut after = self.scenes.last().map_or(Duration::ZERO, |last| last.after);
        for (n, (viewer, text, mention)) in lines.into_iter().enumerate() {
            after += Duration::from_secs(5);
            let id = |of: &str| {
                let name = format!("tapedeck:{}:{of}:{n}", self.seed);
                Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()).to_string()
            };
            let deed = Deed::Chat { id: id("line").into(), viewer, text, mention };
            let (message_id, second) = (id("message"), id("second message"));
            let (flavour, second_message_id) = (Flavour::Twitch, Some(second));
            self.scenes.push(Scene { after, deed, flavour, message_id, second_message_id });
        }
        self
    }

    /// How many lines must be answered, each once.
    pub fn expected_replies(&self) -> usize {
        self.scenes.iter().filter(|scene| scene.deed.is_answered()).count()
    }
}

impl Deed {
    fn is_answered(&self) -> bool {
        let Deed::Chat { text, .. } = self else { return false };
        !UNANSWERED.contains(&&**text)
    }

    /// Who gives how many points to whom in chat.
    pub(super) fn expected_gift(&self) -> Option<(&str, &str, i64)> {
        match self {
            Deed::Chat { viewer, mention: Some(receiver), .. } => {
                Some((&viewer.id, &receiver.id, GIFT))
            }
            _ => None,
        }
    }

    /// What a line must put on screen.
    pub(super) fn expected_of_chat(&self) -> Option<ExpectedAlert> {
        let Deed::Chat { viewer, text, .. } = self else { return None };
        let kind = match &**text {
            TOO_DEAR => "notice",
            READY_MADE => "static",
            _ => return None,
        };
        Some(ExpectedAlert { kind, viewer: Some(viewer.id.to_string()), amount: 0 })
    }
}

/// What Twitch says of a line beside the channel.
pub(super) fn line(id: &str, viewer: &Viewer, text: &str, mention: Option<&Viewer>) -> Value {
    let mut fragments = vec![json!({
        "type": "text", "text": text, "cheermote": null, "emote": null, "mention": null,
    })];
    if let Some(one) = mention
        && let Some((before, after)) = text.split_once(&format!("@{}", one.name))
    {
        let part = |text: &str| json!({"type": "text", "text": text, "mention": null});
        let who = json!({"user_id": one.id, "user_login": one.login, "user_name": one.name});
        let named = json!({"type": "mention", "text": format!("@{}", one.name), "mention": who});
        fragments = vec![part(before), named, part(after)];
    }
    json!({
        "chatter_user_id": viewer.id, "chatter_user_login": viewer.login,
        "chatter_user_name": viewer.name, "message_id": id,
        "message": {"text": text, "fragments": fragments}, "message_type": "text",
        "badges": [], "cheer": null, "color": "#1E90FF", "reply": null,
        "channel_points_custom_reward_id": null, "source_broadcaster_user_id": null,
        "source_broadcaster_user_login": null, "source_broadcaster_user_name": null,
        "source_message_id": null, "source_badges": null,
    })
}

#[cfg(test)]
mod tests;
