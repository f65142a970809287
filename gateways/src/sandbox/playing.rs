//! What happens in the channel when somebody plays: the same notifications as Twitch has, over the same ways.

use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use serde_json::{Value, json};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use super::act::{Act, Refusal, Trouble};
use super::irc;
use super::locked;
use super::openai::Deed as Drawing;
use super::outside::{Outside, Played};
use crate::simulate::{Deed, Flavour, Night, Reward, Viewer, body};
use crate::twitch::eventsub::wanted::CATALOGUE;

/// What Twitch allows.
const TEXT_CHARS_MAX: usize = 500;
const CLOSING: std::ops::RangeInclusive<u16> = 4_000..=4_007;
/// What nobody would wait for.
const AWAY_S_MAX: u64 = 3_600;
const GIFTS_MAX: i64 = 100;
const NOBODY: &str = "nobody is connected just now, so that nothing comes of it";
const NOTIFICATIONS_MAX: usize = 100_000;
/// A number of bits, months or viewers that nobody believes.
const COUNT_MAX: i64 = 1_000_000;

impl Outside {
    pub(super) async fn lets_happen(&self, act: Act) -> Result<Played, String> {
        match act {
            Act::Cheer { viewer, bits, text } => self.cheers(viewer, bits, &text).await,
            Act::Subscribe { viewer, tier, months, text } => {
                self.subscribes(&viewer, tier, months, &text).await
            }
            Act::Gift { viewer, tier, count } => self.gives(viewer, tier, count).await,
            Act::Follow { viewer } => {
                let viewer = self.viewer(&viewer)?;
                let words = format!("{} follows.", who(&viewer));
                self.tells(Deed::Follow { viewer }, words).await
            }
            Act::Raid { viewer, viewers } => {
                let viewers = within(viewers, COUNT_MAX, "viewers")?;
                let viewer = self.viewer(&viewer)?;
                let words = format!("{} raids with {viewers} viewers.", who(&viewer));
                self.tells(Deed::Raid { viewer, viewers }, words).await
            }
            Act::Say { viewer, text } => {
                let viewer = self.viewer(&viewer)?;
                let text = said(&text)?;
                let told = self.is_said(&Uuid::new_v4().to_string(), &viewer, text, 0).await;
                Ok(Played { words: format!("{} says: {text}", who(&viewer)), told: Some(told) })
            }
            Act::Redeem { viewer, reward, cost, text, fulfilled } => {
                self.redeems(&viewer, (&reward, cost), &text, fulfilled).await
            }
            Act::Online => self.goes_online().await,
            Act::Offline => self.goes_offline().await,
            Act::Trouble(_) | Act::Night { .. } => Err("this is played elsewhere".to_owned()),
        }
    }

    async fn cheers(
        &self,
        viewer: Option<String>,
        bits: i64,
        text: &str,
    ) -> Result<Played, String> {
        let bits = within(bits, COUNT_MAX, "bits")?;
        let viewer = viewer.map(|called| self.viewer(&called)).transpose()?;
        let text = format!("Cheer{bits} {}", said(text)?);
        let text = text.trim_end();
        let name = viewer.as_ref().map_or("Somebody anonymous".to_owned(), who);
        let words = format!("{name} cheers {bits} bits: {text}");
        // The line stands in the chat as well, and what is there asks for nothing.
        if let Some(viewer) = &viewer {
            self.is_said(&Uuid::new_v4().to_string(), viewer, text, bits).await;
        }
        self.tells(Deed::Cheer { viewer, bits, message: text.into() }, words).await
    }

    async fn subscribes(
        &self,
        viewer: &str,
        tier: i64,
        months: Option<i64>,
        text: &str,
    ) -> Result<Played, String> {
        let (viewer, tier) = (self.viewer(viewer)?, thousands(tier)?);
        let Some(months) = months.map(|n| within(n, COUNT_MAX, "months")).transpose()? else {
            let words = format!("{} subscribes, at tier {}.", who(&viewer), tier / 1_000);
            return self.tells(Deed::Sub { viewer, tier, gift: false }, words).await;
        };
        let words = format!("{} subscribes, in month {months}.", who(&viewer));
        let message = said(text)?.into();
        let deed = Deed::Resub { viewer, tier, months, streak: Some(months), message };
        self.tells(deed, words).await
    }

    /// Who is given something is told of one by one, and that belongs to it.
    async fn gives(&self, viewer: Option<String>, tier: i64, count: i64) -> Result<Played, String> {
        let (count, tier) = (within(count, GIFTS_MAX, "subs")?, thousands(tier)?);
        let viewer = viewer.map(|called| self.viewer(&called)).transpose()?;
        let name = viewer.as_ref().map_or("Somebody anonymous".to_owned(), who);
        let words = format!("{name} gives {count} subs.");
        let total = viewer.is_some().then_some(count);
        let played = self.tells(Deed::Gift { viewer, tier, count, total }, words).await?;
        for n in 1..=count {
            let viewer = self.viewer(&format!("lucky_{n}"))?;
            self.tells(Deed::Sub { viewer, tier, gift: true }, String::new()).await?;
        }
        Ok(played)
    }

    async fn redeems(
        &self,
        viewer: &str,
        (title, cost): (&str, i64),
        text: &str,
        fulfilled: bool,
    ) -> Result<Played, String> {
        let viewer = self.viewer(viewer)?;
        let cost = within(cost, COUNT_MAX, "points")?;
        // The same title is the same reward.
        let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, format!("reward:{title}").as_bytes());
        let reward = Reward { id: id.to_string().into(), title: said(title)?.into(), cost };
        let words = format!("{} redeems {title} (reward {id}).", who(&viewer));
        let (id, input) = (Uuid::new_v4().to_string().into(), said(text)?.into());
        self.tells(Deed::Redeem { id, viewer, reward, input, at_once: fulfilled }, words).await
    }

    async fn goes_online(&self) -> Result<Played, String> {
        let live_id = {
            let mut stage = locked(&self.stage);
            if let Some(live) = &stage.live {
                return Err(format!("the channel is live already, with broadcast {live}"));
            }
            let id = Utc::now().timestamp_millis().to_string();
            stage.live.insert(id).clone()
        };
        let words = format!("The channel is live, with broadcast {live_id}.");
        self.tells(Deed::Online { live_id: live_id.into(), started_after_s: 0 }, words).await
    }

    async fn goes_offline(&self) -> Result<Played, String> {
        let live = locked(&self.stage).live.take();
        let live_id = live.ok_or("the channel is not live")?;
        let words = "The channel is off.".to_owned();
        self.tells(Deed::Offline { live_id: live_id.into() }, words).await
    }

    /// A line of chat is told over EventSub and IRC, under one name. To how many?
    pub(super) async fn is_said(&self, id: &str, by: &Viewer, text: &str, bits: i64) -> usize {
        let mut tags = Vec::new();
        if bits > 0 {
            tags.push(format!("bits={bits}"));
        }
        if by.id == self.broadcaster().id {
            tags.push("badges=broadcaster/1".to_owned());
        }
        let over_irc = self.irc.says(&irc::line(id, by, text, &tags.join(";")));
        self.is_told(id, by, text, bits).await + over_irc
    }

    /// A line that whoever is there over IRC has heard is told over EventSub. To how many?
    pub(super) async fn is_told(&self, id: &str, by: &Viewer, text: &str, bits: i64) -> usize {
        let line =
            Deed::Chat { id: id.into(), viewer: by.clone(), text: text.into(), mention: None };
        let (kind, mut event) = self.notification(&line);
        if bits > 0 {
            event["cheer"] = json!({ "bits": bits });
        }
        if by.id == self.broadcaster().id {
            event["badges"] = json!([{"set_id": "broadcaster", "id": "1", "info": ""}]);
        }
        self.happens(&Uuid::new_v4().to_string(), kind, &event).await
    }

    async fn tells(&self, deed: Deed, words: String) -> Result<Played, String> {
        self.lists_it(&deed);
        let (kind, event) = self.notification(&deed);
        let told = self.happens(&Uuid::new_v4().to_string(), kind, &event).await;
        Ok(Played { words, told: Some(told) })
    }

    /// Who asks later is answered what was told.
    fn lists_it(&self, deed: &Deed) {
        match deed {
            Deed::Online { live_id, .. } => {
                locked(&self.stage).live = Some(live_id.to_string());
                self.lists.live(Some((live_id, Utc::now())));
            }
            Deed::Offline { .. } => {
                locked(&self.stage).live = None;
                self.lists.live(None);
            }
            Deed::Update { title, category } => self.lists.titled(title, category),
            Deed::Redeem { reward, .. } => self.lists.offers(reward),
            Deed::Follow { viewer } => self.lists.follows(viewer, Utc::now()),
            Deed::Sub { viewer, .. } | Deed::Resub { viewer, .. } => {
                self.lists.subscribe(&viewer.id);
            }
            _ => {}
        }
    }

    /// The type, and what is told.
    fn notification(&self, deed: &Deed) -> (&'static str, Value) {
        let mut whole = body(deed, Flavour::Twitch, Utc::now(), &self.broadcaster());
        (deed.kind(Flavour::Twitch).0, whole["event"].take())
    }

    /// Over webhooks there is no connection that anything could become of.
    fn is_connected(&self) -> Result<(), String> {
        match self.eventsub.sessions() + self.irc.joined() {
            0 => Err(NOBODY.to_owned()),
            _ => Ok(()),
        }
    }

    fn viewer(&self, called: &str) -> Result<Viewer, String> {
        let viewer = self.twitch.person(called);
        viewer.ok_or_else(|| format!("{called:?} is no login: 1 to 25 of a-z, 0-9 and _"))
    }

    pub(super) fn plays_night(
        self: &Arc<Self>,
        seed: u64,
        notifications: usize,
        speed: Option<f64>,
    ) -> Result<Played, String> {
        if !(1..=NOTIFICATIONS_MAX).contains(&notifications) {
            return Err(format!("a night has 1 to {NOTIFICATIONS_MAX} notifications"));
        }
        if speed.is_some_and(|speed| !(0.01..=1_000_000.0).contains(&speed)) {
            return Err("a speed is 0.01 to 1000000".to_owned());
        }
        if locked(&self.stage).night.as_ref().is_some_and(|night| !night.is_finished()) {
            return Err("a night is played already: it has to end first".to_owned());
        }
        let night = Night::script(seed, notifications).for_broadcaster(&self.broadcaster().id);
        let night = night.with_requests().with_chat();
        let scenes = night.scenes.len();
        let outside = Arc::downgrade(self);
        let playing = tokio::spawn(async move {
            let began = tokio::time::Instant::now();
            for scene in &night.scenes {
                if let Some(speed) = speed {
                    tokio::time::sleep_until(began + scene.after.div_f64(speed)).await;
                }
                let Some(outside) = outside.upgrade() else { return };
                outside.lists_it(&scene.deed);
                let (kind, event) = outside.notification(&scene.deed);
                outside.happens(&scene.message_id, kind, &event).await;
            }
        });
        locked(&self.stage).night = Some(AbortOnDropHandle::new(playing));
        let words = format!("A night of {scenes} notifications begins, seed {seed}.");
        Ok(Played { words, told: None })
    }

    pub(super) fn troubles(self: &Arc<Self>, trouble: Trouble) -> Result<Played, String> {
        let words = match trouble {
            Trouble::Reconnect => {
                self.is_connected()?;
                self.eventsub.reconnect();
                self.irc.reconnect();
                "Every connection is told to go on over another one.".to_owned()
            }
            Trouble::Silence => {
                self.is_connected()?;
                self.eventsub.hush();
                self.irc.hush();
                "Every connection stays, and says nothing any more.".to_owned()
            }
            Trouble::Close(code) if CLOSING.contains(&code) => {
                if self.eventsub.sessions() == 0 {
                    return Err(NOBODY.to_owned());
                }
                self.eventsub.close(code);
                format!("Every connection of EventSub is closed with {code}.")
            }
            Trouble::Close(code) => return Err(format!("{code} is none of 4000 to 4007")),
            Trouble::Cut => {
                self.is_connected()?;
                self.eventsub.cut();
                self.irc.cut();
                "Every connection is gone.".to_owned()
            }
            Trouble::Away(seconds) if (1..=AWAY_S_MAX).contains(&seconds) => {
                self.goes_away(Duration::from_secs(seconds));
                format!("Twitch is away for {seconds} s.")
            }
            Trouble::Away(_) => return Err(format!("Twitch is away for 1 to {AWAY_S_MAX} s")),
            Trouble::Back => {
                self.comes_back();
                "Twitch is there again.".to_owned()
            }
            Trouble::Expire => {
                self.twitch.hours_pass();
                "All that was granted is over, and has to be refreshed.".to_owned()
            }
            Trouble::Revoke(kind) => {
                known(&kind)?;
                // Nobody gets it by asking again.
                self.eventsub.forbids(&kind);
                self.eventsub.revoke(&kind, "authorization_revoked");
                format!("The right to hear of {kind} is taken away.")
            }
            Trouble::Allow(kind) => {
                known(&kind)?;
                self.eventsub.allows(&kind);
                format!("{kind} may be heard of again, from when it is asked for.")
            }
            Trouble::Picture(refusal) => {
                self.openai.draws([match refusal {
                    Refusal::Blocked => Drawing::Blocked,
                    Refusal::Busy => Drawing::Busy(vec![("retry-after", "2")]),
                    Refusal::Unpaid => Drawing::Unpaid,
                    Refusal::Failing => Drawing::Fail(500),
                }]);
                "The next picture goes wrong.".to_owned()
            }
        };
        Ok(Played { words, told: None })
    }
}

fn who(viewer: &Viewer) -> String {
    format!("{} ({})", viewer.login, viewer.id)
}

/// Whether Twitch has a type of this name, as far as Tapedeck asks for it.
fn known(kind: &str) -> Result<(), String> {
    match CATALOGUE.iter().any(|one| one.name == kind) {
        true => Ok(()),
        false => {
            let all: Vec<&str> = CATALOGUE.iter().map(|kind| kind.name).collect();
            Err(format!("{kind:?} is no type that Tapedeck hears of; those are {}", all.join(", ")))
        }
    }
}

fn thousands(tier: i64) -> Result<i64, String> {
    match tier {
        1..=3 => Ok(tier * 1_000),
        _ => Err("a tier is 1, 2 or 3".to_owned()),
    }
}

fn within(count: i64, max: i64, of: &str) -> Result<i64, String> {
    match (1..=max).contains(&count) {
        true => Ok(count),
        false => Err(format!("{of}: 1 to {max}")),
    }
}

/// What can be said: one line, and no longer than Twitch takes.
fn said(text: &str) -> Result<&str, String> {
    match text.chars().count() > TEXT_CHARS_MAX || text.contains(char::is_control) {
        true => Err(format!("what is said is one line of at most {TEXT_CHARS_MAX} characters")),
        false => Ok(text.trim()),
    }
}
