//! All of the outside at once, as a running sandbox has it: one Twitch at one address, its chat over IRC, OpenAI and Discord.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::act::Act;
use super::discord::{self, Discord};
use super::eventsub::{EventSub, Options};
use super::irc::{self, Irc};
use super::lists::Lists;
use super::locked;
use super::openai::OpenAi;
use super::twitch::{self, Said, Twitch};
use crate::simulate::Viewer;

/// Everything outside that a Tapedeck is pointed at.
pub struct Outside {
    pub twitch: Twitch,
    pub eventsub: EventSub,
    pub irc: Irc,
    pub openai: OpenAi,
    pub discord: Discord,
    pub lists: Lists,
    pub(super) stage: Mutex<Stage>,
    _echoing: AbortOnDropHandle<()>,
}

/// What goes on in the channel.
#[derive(Default)]
pub(super) struct Stage {
    /// The id of the broadcast, while there is one.
    pub live: Option<String>,
    /// Brings Twitch back.
    pub returning: Option<AbortOnDropHandle<()>>,
    /// Plays a night.
    pub night: Option<AbortOnDropHandle<()>>,
}

impl Outside {
    /// With Twitch, OpenAI and Discord at this port, or for 0 at a free one.
    pub async fn start(port: u16) -> io::Result<Arc<Self>> {
        let (twitch, openai) = (Twitch::unserved(), OpenAi::unserved());
        let (discord, lists) = (Discord::unserved(), Lists::of(&twitch));
        twitch.knows(&Viewer::new(twitch::BROADCASTER, irc::CHANNEL, "GoldenReel"));
        twitch.says_yes(twitch::BROADCASTER);
        // A run of before had sessions too, and they were others.
        let mark = Uuid::new_v4().simple().to_string()[..8].to_owned() + "-";
        let options = Options { mark, ..Options::default() };
        let others: Router = openai.routes().merge(discord.routes()).merge(lists.routes());
        let eventsub = EventSub::start_with(port, options, &twitch, others).await?;
        let irc = Irc::start_beside(&twitch).await?;
        let said = twitch.hear();
        Ok(Arc::new_cyclic(|outside| {
            let outside = std::sync::Weak::clone(outside);
            let echoing = AbortOnDropHandle::new(tokio::spawn(echo(outside, said)));
            let stage = Mutex::default();
            Outside { twitch, eventsub, irc, openai, discord, lists, stage, _echoing: echoing }
        }))
    }

    pub fn address(&self) -> SocketAddr {
        self.eventsub.address()
    }

    pub fn helix_url(&self) -> String {
        self.eventsub.base_url()
    }

    pub fn id_url(&self) -> String {
        self.eventsub.id_url()
    }

    pub fn discord_url(&self) -> String {
        let (webhook, token) = (discord::WEBHOOK, discord::TOKEN);
        format!("http://{}/api/webhooks/{webhook}/{token}", self.address())
    }

    pub fn openai_url(&self) -> String {
        format!("http://{}/v1", self.address())
    }

    /// Whose channel it is.
    pub(super) fn broadcaster(&self) -> Viewer {
        let known = self.twitch.person(twitch::BROADCASTER);
        known.unwrap_or_else(|| Viewer::new(twitch::BROADCASTER, irc::CHANNEL, irc::CHANNEL))
    }

    /// Something happens: it is told to whoever subscribes to it, over connections and by requests. To how many?
    pub(super) async fn happens(
        &self,
        message_id: &str,
        kind: &str,
        event: &serde_json::Value,
    ) -> usize {
        let told = self.eventsub.tell(message_id, kind, event);
        told + self.eventsub.post(message_id, kind, event).await
    }

    /// Nobody reaches Twitch for so long.
    pub(super) fn goes_away(self: &Arc<Self>, time: Duration) {
        self.is_away(true);
        let outside = Arc::downgrade(self);
        let returning = tokio::spawn(async move {
            tokio::time::sleep(time).await;
            if let Some(outside) = outside.upgrade() {
                outside.is_away(false);
            }
        });
        locked(&self.stage).returning = Some(AbortOnDropHandle::new(returning));
    }

    pub(super) fn comes_back(&self) {
        locked(&self.stage).returning = None;
        self.is_away(false);
    }

    fn is_away(&self, is_away: bool) {
        self.twitch.is_down(is_away);
        self.eventsub.is_away(is_away);
        self.lists.is_down(is_away);
        self.irc.is_away(is_away);
    }
}

/// What Tapedeck says is in the chat, where whoever said it reads it too.
async fn echo(outside: std::sync::Weak<Outside>, mut said: mpsc::Receiver<Said>) {
    while let Some(Said { id, by, text, over_irc }) = said.recv().await {
        let Some(outside) = outside.upgrade() else { return };
        if let Some(viewer) = outside.twitch.person(&by) {
            match over_irc {
                true => outside.is_told(&id, &viewer, &text, 0).await,
                false => outside.is_said(&id, &viewer, &text, 0).await,
            };
        }
    }
}

/// What somebody who plays wants to happen, and what came of it.
impl Outside {
    /// Plays something; says in words what happened and how many were told, or why it cannot happen.
    pub async fn plays(self: &Arc<Self>, act: Act) -> Result<Played, String> {
        match act {
            Act::Trouble(trouble) => self.troubles(trouble),
            Act::Night { seed, notifications, speed } => {
                self.plays_night(seed, notifications, speed)
            }
            act => self.lets_happen(act).await,
        }
    }
}

/// What came of something that was played.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Played {
    pub words: String,
    /// How many were told of it; nobody is told of trouble.
    pub told: Option<usize>,
}
