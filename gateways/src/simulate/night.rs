//! A night from a seed: the same seed is the same night, to the last message id, so that playing it twice changes
//! nothing.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use rand::rngs::StdRng;
use rand::seq::{IndexedRandom, SliceRandom};
use rand::{Rng, SeedableRng};

use super::cast::{self, CHEERS, INPUTS, POLLS, RESUBS, TITLES, Viewer, WISHES};
use super::deed::{Deed, ExpectedAlert, PRICE, Train};
use super::delivery::Delivery;
use super::payload::{Flavour, body};
use crate::twitch::Secret;

/// 1 October 2026, 19:00 UTC: the night of seed 0. Each seed has an evening of its own in the following years.
const FIRST_NIGHT_S: i64 = 1_790_881_200;
const SECONDS_A_DAY: i64 = 86_400;
const NIGHTS: u64 = 1_000;

/// How many pictures are asked for in a night, and by every how manieth of those who could.
const REQUESTS_MAX: usize = 12;
const REQUESTS_EVERY: usize = 3;

/// What happens in a channel from going live to the last goodbye.
#[derive(Clone, Debug)]
pub struct Night {
    pub seed: u64,
    pub broadcaster: Viewer,
    pub starts_at: DateTime<Utc>,
    pub scenes: Vec<Scene>,
}

/// One notification, `after` this long since the night began.
#[derive(Clone, Debug)]
pub struct Scene {
    pub after: Duration,
    pub deed: Deed,
    pub flavour: Flavour,
    pub message_id: String,
    /// Another id under which Twitch tells of the same deed, as it does now and then. Only where the deed has a
    /// natural key by which that can be known.
    pub second_message_id: Option<String>,
}

impl Night {
    /// A night of exactly so many `notifications`. From about thirty on, there is some of everything.
    pub fn script(seed: u64, notifications: usize) -> Self {
        let starts_at = FIRST_NIGHT_S + (seed % NIGHTS) as i64 * SECONDS_A_DAY;
        Night {
            seed,
            broadcaster: Viewer::new("1000", "goldenreel", "GoldenReel"),
            starts_at: DateTime::from_timestamp(starts_at, 0).unwrap_or_default(),
            scenes: Script::new(seed, notifications).write(),
        }
    }

    /// The same night in another channel.
    pub fn for_broadcaster(self, id: &str) -> Self {
        let broadcaster = Viewer { id: id.into(), ..self.broadcaster };
        Night { broadcaster, ..self }
    }

    /// The same night, in which some of those whose cheers are worth it ask for a ghost or a friend. A cheer is credited
    /// before it pays, so each of them has the points, in whatever order they arrive.
    pub fn with_requests(mut self) -> Self {
        let cheers = self.scenes.iter_mut().filter_map(|scene| match &mut scene.deed {
            Deed::Cheer { viewer: Some(_), bits, message } if *bits >= PRICE => {
                Some((*bits, message))
            }
            _ => None,
        });
        let asking = cheers.step_by(REQUESTS_EVERY).take(REQUESTS_MAX);
        for ((bits, message), wish) in asking.zip(WISHES.iter().cycle()) {
            *message = format!("Cheer{bits} {wish}").into();
        }
        self
    }

    /// How many pictures and ready-made alerts are asked and paid for.
    pub fn requests(&self) -> usize {
        self.scenes.iter().filter(|scene| scene.deed.expected_picture().is_some()).count()
    }

    /// What every viewer must have in the end, under the default rules and prices: what they were given, less what
    /// pictures took.
    pub fn expected_points(&self) -> BTreeMap<String, i64> {
        let mut points = BTreeMap::new();
        for Scene { deed, .. } in &self.scenes {
            if let Some((viewer, more)) = deed.expected_points() {
                *points.entry(viewer.to_owned()).or_default() += more;
            }
            if let Some(ExpectedAlert { viewer: Some(viewer), .. }) = deed.expected_picture() {
                *points.entry(viewer).or_default() -= PRICE;
            }
            if let Some((from, to, gift)) = deed.expected_gift() {
                *points.entry(from.to_owned()).or_default() -= gift;
                *points.entry(to.to_owned()).or_default() += gift;
            }
        }
        points
    }

    /// The alerts that must have been shown in the end, in the order in which the night was written.
    pub fn expected_alerts(&self) -> Vec<ExpectedAlert> {
        let deeds = self.scenes.iter().map(|scene| &scene.deed);
        deeds.flat_map(|deed| [deed.expected_alert(), deed.expected_picture()]).flatten().collect()
    }

    /// The body of a scene. It does not depend on when it is played.
    pub fn body(&self, scene: &Scene) -> String {
        let at = self.starts_at + TimeDelta::from_std(scene.after).unwrap_or_default();
        body(&scene.deed, scene.flavour, at, &self.broadcaster).to_string()
    }

    /// A scene as Twitch would post it at `sent_at`.
    pub fn delivery(&self, scene: &Scene, secret: &Secret, sent_at: DateTime<Utc>) -> Delivery {
        self.delivery_as(scene, &scene.message_id, secret, sent_at)
    }

    /// The same under another message id, such as the scene's second.
    pub fn delivery_as(
        &self,
        scene: &Scene,
        message_id: &str,
        secret: &Secret,
        sent_at: DateTime<Utc>,
    ) -> Delivery {
        let kind = scene.deed.kind(scene.flavour);
        Delivery::signed(secret, message_id, kind, sent_at, self.body(scene))
    }
}

/// What a writer can let happen next, how often, and how many notifications it takes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Beat {
    Cheer,
    AnonymousCheer,
    Follow,
    Sub,
    Resub,
    SubEnd,
    Gift,
    AnonymousGift,
    Raid,
    HypeTrain,
    Redemption,
    QuickRedemption,
    Title,
    Poll,
    Outage,
}

const BEATS: [(Beat, u32, usize); 15] = [
    (Beat::Cheer, 36, 1),
    (Beat::AnonymousCheer, 6, 1),
    (Beat::Follow, 20, 1),
    (Beat::Sub, 8, 1),
    (Beat::Resub, 8, 1),
    (Beat::SubEnd, 2, 1),
    (Beat::Gift, 4, 2),
    (Beat::AnonymousGift, 2, 2),
    (Beat::Raid, 3, 1),
    (Beat::HypeTrain, 2, 3),
    (Beat::Redemption, 6, 2),
    (Beat::QuickRedemption, 2, 1),
    (Beat::Title, 2, 1),
    (Beat::Poll, 1, 1),
    (Beat::Outage, 1, 2),
];

/// The writing of a night.
struct Script {
    random: StdRng,
    wanted: usize,
    clock: Duration,
    live_id: Arc<str>,
    scenes: Vec<Scene>,
    viewers: usize,
}

impl Script {
    fn new(seed: u64, wanted: usize) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let live_id = random.random_range(40_000_000_000_u64..50_000_000_000).to_string().into();
        let viewers = (wanted / 8).clamp(12, 4_000);
        let scenes = Vec::with_capacity(wanted);
        Script { random, wanted, clock: Duration::ZERO, live_id, scenes, viewers }
    }

    fn write(mut self) -> Vec<Scene> {
        if self.wanted == 0 {
            return self.scenes;
        }
        let opening = Deed::Online { live_id: self.live_id.clone(), started_after_s: 12 };
        self.push(0.0, opening);
        let mut tour: Vec<(Beat, usize)> = BEATS.iter().map(|(beat, _, n)| (*beat, *n)).collect();
        tour.shuffle(&mut self.random);
        tour.push((Beat::Title, 1));
        while self.left() > 0 {
            let (beat, needs) = tour.pop().unwrap_or_else(|| self.next_beat());
            if needs <= self.left() {
                self.play(beat);
            }
        }
        if self.scenes.len() < self.wanted {
            let goodbye = Deed::Offline { live_id: self.live_id.clone() };
            self.push(60.0, goodbye);
        }
        self.scenes
    }

    /// How many scenes there may still be before the goodbye.
    fn left(&self) -> usize {
        self.wanted.saturating_sub(self.scenes.len() + 1)
    }

    fn next_beat(&mut self) -> (Beat, usize) {
        let weighted = BEATS.choose_weighted(&mut self.random, |(_, weight, _)| *weight);
        weighted.map_or((Beat::Cheer, 1), |(beat, _, needs)| (*beat, *needs))
    }

    fn play(&mut self, beat: Beat) {
        match beat {
            Beat::Cheer => {
                let viewer = self.viewer();
                self.cheer(Some(viewer));
            }
            Beat::AnonymousCheer => self.cheer(None),
            Beat::Follow => {
                let viewer = self.viewer();
                self.push(25.0, Deed::Follow { viewer });
            }
            Beat::Sub => {
                let (viewer, tier) = (self.viewer(), self.tier());
                self.push(25.0, Deed::Sub { viewer, tier, gift: false });
            }
            Beat::SubEnd => {
                let (viewer, tier) = (self.viewer(), self.tier());
                self.push(25.0, Deed::SubEnd { viewer, tier, gift: false });
            }
            Beat::Resub => self.resub(),
            Beat::Gift => {
                let viewer = self.viewer();
                self.gift(Some(viewer));
            }
            Beat::AnonymousGift => self.gift(None),
            Beat::Raid => {
                let (viewer, viewers) = (self.viewer(), self.random.random_range(2..900));
                self.push(40.0, Deed::Raid { viewer, viewers });
            }
            Beat::HypeTrain => self.hype_train(),
            Beat::Redemption => self.redemption(),
            Beat::QuickRedemption => {
                let (id, viewer) = (self.id().into(), self.viewer());
                let (reward, input) = (self.reward(), self.one_of(&INPUTS));
                self.push(20.0, Deed::Redeem { id, viewer, reward, input, at_once: true });
            }
            Beat::Title => {
                let (title, category) = TITLES[self.random.random_range(0..TITLES.len())];
                self.push(30.0, Deed::Update { title: title.into(), category: category.into() });
            }
            Beat::Poll => {
                let (id, title) = (self.id().into(), self.one_of(&POLLS));
                self.push(30.0, Deed::Poll { id, title });
            }
            Beat::Outage => self.outage(),
        }
    }

    fn cheer(&mut self, viewer: Option<Viewer>) {
        let bits = [1, 5, 10, 50, 100, 100, 150, 200, 300, 500, 1_000, 5_000];
        let bits = bits[self.random.random_range(0..bits.len())];
        let word = if viewer.is_some() { "Cheer" } else { "Anon" };
        let message = format!("{word}{bits} {}", self.one_of(&CHEERS)).into();
        self.push(25.0, Deed::Cheer { viewer, bits, message });
    }

    fn resub(&mut self) {
        let (viewer, tier) = (self.viewer(), self.tier());
        let months = self.random.random_range(2..72);
        let streak = self.random.random_bool(0.6).then(|| self.random.random_range(1..=months));
        let message = self.one_of(&RESUBS);
        self.push(25.0, Deed::Resub { viewer, tier, months, streak, message });
    }

    /// One notification for the giver and one for each who receives.
    fn gift(&mut self, viewer: Option<Viewer>) {
        let most = self.left().saturating_sub(1).clamp(1, 5);
        let count = self.random.random_range(1..=most);
        let tier = self.tier();
        let total = viewer.is_some().then(|| self.random.random_range(5..300));
        self.push(40.0, Deed::Gift { viewer, tier, count: count as i64, total });
        for _ in 0..count {
            let viewer = self.viewer();
            self.push(0.4, Deed::Sub { viewer, tier, gift: true });
        }
    }

    fn hype_train(&mut self) {
        let stages = self.left().saturating_sub(2).clamp(1, 4);
        let stages = self.random.random_range(1..=stages) as i64;
        let (id, golden) = (self.id().replace('-', "").into(), self.random.random_bool(0.1));
        let mut train = Train { id, level: 1, total: 300, goal: 1_600, golden };
        self.push(30.0, Deed::HypeTrainBegin(train.clone()));
        for stage in 1..=stages {
            train.level = 1 + stage / 2;
            train.total += self.random.random_range(100..1_500);
            self.push(12.0, Deed::HypeTrainProgress(train.clone()));
        }
        self.push(60.0, Deed::HypeTrainEnd(train));
    }

    fn redemption(&mut self) {
        let (id, viewer): (Arc<str>, _) = (self.id().into(), self.viewer());
        let (reward, input) = (self.reward(), self.one_of(&INPUTS));
        let redeemed = Deed::Redeem {
            id: id.clone(),
            viewer: viewer.clone(),
            reward: reward.clone(),
            input: input.clone(),
            at_once: false,
        };
        self.push(20.0, redeemed);
        let fulfilled = self.random.random_bool(0.8);
        self.push(15.0, Deed::Settle { id, viewer, reward, input, fulfilled });
    }

    /// Short enough to be the same broadcast afterwards, under the same live id or a new one.
    fn outage(&mut self) {
        let before = self.live_id.clone();
        self.push(20.0, Deed::Offline { live_id: before });
        if self.random.random_bool(0.5) {
            self.live_id =
                self.random.random_range(40_000_000_000_u64..50_000_000_000).to_string().into();
        }
        let live_id = self.live_id.clone();
        self.push(150.0, Deed::Online { live_id, started_after_s: 5 });
    }

    /// Adds a scene about `gap_s` seconds after the one before.
    fn push(&mut self, gap_s: f64, deed: Deed) {
        self.clock += Duration::from_secs_f64(gap_s * self.random.random_range(0.25..1.75));
        let flavour = match self.random.random_bool(0.15) {
            true => Flavour::TwitchCli,
            false => Flavour::Twitch,
        };
        let message_id = self.id();
        let twice = deed.has_natural_key() && self.random.random_bool(0.2);
        let second_message_id = twice.then(|| self.id());
        let after = self.clock;
        self.scenes.push(Scene { after, deed, flavour, message_id, second_message_id });
    }

    /// Some viewers are there more than others.
    fn viewer(&mut self) -> Viewer {
        let near = self.random.random::<f64>() * self.random.random::<f64>();
        cast::viewer((near * self.viewers as f64) as usize)
    }

    fn tier(&mut self) -> i64 {
        [1_000, 1_000, 1_000, 1_000, 2_000, 3_000][self.random.random_range(0..6)]
    }

    fn reward(&mut self) -> super::deed::Reward {
        let [first, second, third, fourth] = cast::rewards();
        match self.random.random_range(0..4) {
            0 => first,
            1 => second,
            2 => third,
            _ => fourth,
        }
    }

    fn one_of(&mut self, texts: &[&str]) -> Arc<str> {
        texts[self.random.random_range(0..texts.len())].into()
    }

    /// Sixteen bytes that only look like a UUID, as twitch-cli draws them.
    fn id(&mut self) -> String {
        let all = hex::encode(self.random.random::<[u8; 16]>());
        [&all[..8], &all[8..12], &all[12..16], &all[16..20], &all[20..]].join("-")
    }
}

#[cfg(test)]
mod tests;
