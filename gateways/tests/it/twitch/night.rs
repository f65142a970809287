//! A night over the WebSocket: connections end in every way there is, go on elsewhere, and a grant is over in the middle,
//! while viewers cheer, subscribe, follow and redeem, and the channel goes on and off. At the end nothing is lost that
//! Twitch tells when it is asked, nothing counts twice, and it is known to the second what is lost.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use gateways::twitch::missed::record::Source;
use journal::Recorded;

use super::missed::{REWARD, REWARD_POINTS};
use super::*;
use gateways::sandbox::lists::Lists;
use gateways::sandbox::twitch::Twitch;

const SUB_POINTS: i64 = 600;
const FAN: &str = "5001";

/// How a connection ends.
#[derive(Clone, Copy, Debug)]
enum Ending {
    Code(u16),
    Cut,
    Silence,
}

/// What somebody outside knows of the night.
#[derive(Default)]
struct Known {
    /// What each viewer has to have, and what was lost that nobody tells again.
    points: BTreeMap<String, i64>,
    bits_lost: i64,
    follows: BTreeSet<String>,
    /// By id, whether it is settled.
    redeemed: BTreeMap<String, bool>,
    subs_lost: i64,
    /// What happened in gaps, by type.
    missed: BTreeMap<&'static str, i64>,
    gaps: Vec<Gone>,
    deeds: usize,
}

/// When nobody was told, to the second: it began between two moments, and was over between two.
#[derive(Clone, Copy, Debug)]
struct Gone {
    began: (DateTime<Utc>, DateTime<Utc>),
    over: (DateTime<Utc>, DateTime<Utc>),
}

struct Night {
    desk: Desk,
    twitch: Twitch,
    lists: Lists,
    known: Known,
    /// What is told reaches nobody, though Twitch does not know.
    hushed: bool,
}

impl Night {
    /// Something happens. Whether it was told to somebody who hears it.
    fn tell(&mut self, kind: &'static str, said: &Value) -> bool {
        self.known.deeds += 1;
        let id = format!("deed-{}", self.known.deeds);
        let told = self.desk.fake.tell(&id, kind, said) > 0 && !self.hushed;
        if told && self.known.deeds.is_multiple_of(3) {
            // Twitch tells it twice.
            self.desk.fake.tell(&id, kind, said);
        }
        if !told {
            *self.known.missed.entry(kind).or_default() += 1;
        }
        told
    }

    fn cheers(&mut self, bits: i64) {
        match self.tell("channel.cheer", &cheer(FAN, bits)) {
            true => self.earns(FAN, bits),
            false => self.known.bits_lost += bits,
        }
    }

    fn follows(&mut self) {
        let viewer = format!("60{:02}", self.known.follows.len());
        let at = Utc::now();
        let said = json!({"user_id": viewer, "user_login": "x", "user_name": "X",
            "broadcaster_user_id": BROADCASTER, "followed_at": at});
        self.tell("channel.follow", &said);
        self.lists.follow(&viewer, at);
        self.known.follows.insert(viewer);
    }

    /// Redeems something, which is done at once or waits.
    fn redeems(&mut self, status: &'static str) -> String {
        let (id, viewer) = (format!("redemption-{}", self.known.redeemed.len()), "5002");
        let at = Utc::now();
        let said = redemption(&id, viewer, status, at);
        self.tell("channel.channel_points_custom_reward_redemption.add", &said);
        self.lists.redeem(&id, viewer, &status.to_uppercase(), at);
        self.known.redeemed.insert(id.clone(), status != "unfulfilled");
        if status == "fulfilled" {
            self.earns(viewer, REWARD_POINTS);
        }
        id
    }

    fn is_settled(&mut self, id: &str) {
        let said = redemption(id, "5002", "fulfilled", Utc::now());
        self.tell("channel.channel_points_custom_reward_redemption.update", &said);
        self.lists.settle(id, "FULFILLED");
        self.known.redeemed.insert(id.to_owned(), true);
        self.earns("5002", REWARD_POINTS);
    }

    fn subscribes(&mut self, viewer: &str) {
        let said = json!({"user_id": viewer, "user_login": "x", "user_name": "X",
            "broadcaster_user_id": BROADCASTER, "tier": "1000", "is_gift": false});
        match self.tell("channel.subscribe", &said) {
            true => self.earns(viewer, SUB_POINTS),
            false => self.known.subs_lost += 1,
        }
        self.lists.subscribe(viewer);
    }

    fn goes_live(&mut self, id: &str) {
        let at = Utc::now();
        let said = json!({"id": id, "broadcaster_user_id": BROADCASTER, "type": "live",
            "started_at": at});
        self.tell("stream.online", &said);
        self.lists.live(Some((id, at)));
    }

    fn goes_off(&mut self, id: &str) {
        let said = json!({"id": id, "broadcaster_user_id": BROADCASTER});
        self.tell("stream.offline", &said);
        self.lists.live(None);
    }

    fn earns(&mut self, viewer: &str, points: i64) {
        *self.known.points.entry(viewer.to_owned()).or_default() += points;
    }

    /// Whatever was told until now was heard: the fan cheers last, and has it.
    async fn heard(&mut self) {
        self.cheers(1);
        let has = self.known.points[FAN];
        until("the last cheer is credited", async || self.desk.world.available(FAN).await >= has)
            .await;
    }

    /// A connection ends, and `meanwhile` happens until the next one.
    async fn ends(&mut self, ending: Ending, meanwhile: impl FnOnce(&mut Night)) {
        let mut heard_at = Utc::now();
        self.heard().await;
        if matches!(ending, Ending::Code(_)) {
            // Until it is said that it ends, all is told.
            heard_at = Utc::now();
        }
        let connections = self.desk.fake.connections();
        self.hushed = matches!(ending, Ending::Silence);
        // Nobody comes back before what happens meanwhile has happened.
        self.desk.fake.shuts(!self.hushed);
        match ending {
            Ending::Code(code) => self.desk.fake.close(code),
            Ending::Cut => self.desk.fake.cut(),
            Ending::Silence => self.desk.fake.hush(),
        }
        let gone_at = Utc::now();
        if !self.hushed {
            until("it is known that nobody is told", async || {
                let list = gaps::list(&self.desk.world.pool, true, Page::of(1)).await;
                self.desk.fake.enabled() == 0 && list.is_ok_and(|list| list.open > 0)
            })
            .await;
        }
        self.cheers(100);
        self.follows();
        self.redeems("fulfilled");
        meanwhile(self);
        self.desk.fake.shuts(false);
        let session = format!("session-{}", connections + 1);
        let mut tells = Vec::new();
        until("all is told again", async || {
            tells = self.desk.fake.subs();
            tells.retain(|sub| {
                sub.status == "enabled" && sub.transport["session_id"] == session.as_str()
            });
            tells.len() == KINDS
        })
        .await;
        self.hushed = false;
        let again_at = tells.iter().map(|sub| sub.created_at).max().expect("some");
        self.desk.gaps(self.known.gaps.len() + 1).await;
        let second = TimeDelta::seconds(1);
        let (began, over) = ((heard_at, gone_at + second), (again_at, again_at + second));
        self.known.gaps.push(Gone { began, over });
    }
}

fn redemption(id: &str, viewer: &str, status: &str, at: DateTime<Utc>) -> Value {
    json!({"id": id, "user_id": viewer, "user_login": "x", "user_name": "X", "user_input": "",
        "broadcaster_user_id": BROADCASTER, "status": status, "redeemed_at": at,
        "reward": {"id": REWARD, "title": "Kind rewind", "cost": 300, "prompt": ""}})
}

async fn evening() -> (Night, Parts, Listener, CancellationToken) {
    let (desk, parts, twitch, lists) = missed::desk().await;
    let listener = desk.listen();
    let stop = CancellationToken::new();
    tokio::spawn(missed::asker(&desk, 3_600).run(stop.clone()));
    desk.subscribed().await;
    let night = Night { desk, twitch, lists, known: Known::default(), hushed: false };
    (night, parts, listener, stop)
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_night_of_losses_nothing_is_missing_that_twitch_tells_again_and_nothing_is_there_twice()
 {
    let (mut night, parts, listener, stop) = evening().await;
    let asked = async |night: &Night| night.lists.calls("subscriptions") > 0;
    until("it is known who is subscribed", async || asked(&night).await).await;
    night.goes_live("s-1");
    night.subscribes("5003");
    night.follows();
    let waits = night.redeems("unfulfilled");
    night.redeems("fulfilled");

    night.ends(Ending::Code(4000), |_| {}).await;
    // Over within a gap, and there again: one broadcast all the while.
    night
        .ends(Ending::Code(4001), |night| {
            night.goes_off("s-1");
            night.goes_live("s-1");
        })
        .await;
    let connections = night.desk.fake.connections();
    night.desk.fake.reconnect();
    until("the new connection is welcome", async || {
        night.cheers(1);
        night.desk.fake.connections() > connections
    })
    .await;
    night.ends(Ending::Code(4002), |night| night.is_settled(&waits)).await;
    // What is told of it.
    night.goes_off("s-1");
    night.goes_live("s-1");
    night.ends(Ending::Code(4003), |night| night.subscribes("5004")).await;
    night.twitch.hours_pass();
    let pass = "UPDATE twitch_accounts SET granted_at = granted_at - interval '1 minute'";
    sqlx::query(pass).execute(&night.desk.world.pool).await.expect("time passes");
    night.ends(Ending::Code(4004), |_| {}).await;
    night.ends(Ending::Code(4005), |night| drop(night.redeems("canceled"))).await;
    // A whole other broadcast begins, and the end of the first is not told either.
    night
        .ends(Ending::Code(4006), |night| {
            night.goes_off("s-1");
            night.goes_live("s-2");
        })
        .await;
    night.ends(Ending::Code(4007), |_| {}).await;
    night.ends(Ending::Cut, |_| {}).await;
    night.ends(Ending::Silence, |night| night.goes_off("s-2")).await;
    night.heard().await;

    looked_into(&night).await;
    as_it_was(&night).await;
    listener.stop().await;
    stop.cancel();
    parts.stop().await;
    let text = listening::audited(&night.desk.world, night.known.gaps.len()).await;
    assert!(text.contains("found again: channel.") && text.contains("channel.follow"), "{text}");
}

/// Waits until every gap was looked into, and compares all of them with what is known.
async fn looked_into(night: &Night) {
    let known = &night.known;
    let found = night.desk.gaps(known.gaps.len()).await;
    for (gap, gone) in found.iter().zip(&known.gaps) {
        assert_eq!(gap.kinds.len(), KINDS, "{gap:?}");
        let (began, over) = (gap.since, gap.until.expect("over"));
        assert!(began >= gone.began.0 && began <= gone.began.1, "{gap:?} {gone:?}");
        assert!(over >= gone.over.0 && over <= gone.over.1, "{gap:?} {gone:?}");
    }
    let reasons: Vec<&str> = found.iter().map(|gap| gap.reason.as_str()).collect();
    assert_eq!(reasons[2], "closed by Twitch: 4002, failed ping-pong");
    assert!(reasons[8].contains("connection"), "{reasons:?}");
    assert!(reasons[9].starts_with("keepalive lost"), "{reasons:?}");

    let kinds: usize = Source::ALL.iter().map(|source| source.kinds().len()).sum();
    until("every gap is looked into", async || {
        let list = gaps::list(&night.desk.world.pool, false, Page::of(500)).await;
        list.is_ok_and(|list| {
            let looked = list.gaps.iter().map(|gap| gap.found.len());
            looked.sum::<usize>() == kinds * known.gaps.len()
        })
    })
    .await;
    let list = gaps::list(&night.desk.world.pool, false, Page::of(500)).await.expect("gaps");
    let mut counted: BTreeMap<&str, (i64, i64)> = BTreeMap::new();
    for (kind, found) in list.gaps.iter().flat_map(|gap| &gap.found) {
        let sum = counted.entry(kind).or_default();
        *sum = (sum.0 + found.found, sum.1 + found.untold);
    }
    let missed = |kind: &str| known.missed.get(kind).copied().unwrap_or_default();
    assert_eq!(counted["channel.follow"].0, missed("channel.follow"));
    let added = "channel.channel_points_custom_reward_redemption.add";
    assert_eq!(counted[added].0, missed(added));
    assert_eq!(counted["channel.subscribe"], (0, known.subs_lost));
    assert_eq!((counted["stream.online"].0, counted["stream.offline"].0), (1, 1));
}

/// What history says against what is known.
async fn as_it_was(night: &Night) {
    let (world, known) = (&night.desk.world, &night.known);
    for (viewer, points) in &known.points {
        assert_eq!(world.available(viewer).await, *points, "{viewer}");
    }
    let all = "SELECT coalesce(sum(available), 0)::bigint FROM projections.balances";
    assert_eq!(world.count(all).await, known.points.values().sum::<i64>(), "{}", known.bits_lost);
    assert!(known.bits_lost >= 1_000 && known.subs_lost == 1);

    let events = world.recorded().await;
    let of = |kind: &str, field: &str| -> Vec<String> {
        let chosen = events.iter().filter(|event| event.event_type == kind);
        chosen.map(|event| said(event)[field].as_str().expect("text").to_owned()).collect()
    };
    let once = |kind: &str, field: &str| -> BTreeSet<String> {
        let all = of(kind, field);
        let each: BTreeSet<String> = all.iter().cloned().collect();
        assert_eq!(each.len(), all.len(), "{kind} twice: {all:?}");
        each
    };
    assert_eq!(once("followed", "viewer"), known.follows);
    let settled = known.redeemed.iter().filter(|(_, settled)| **settled);
    assert_eq!(once("reward_redeemed", "redemption"), known.redeemed.keys().cloned().collect());
    assert_eq!(
        once("redemption_settled", "redemption"),
        settled.map(|(id, _)| id.clone()).collect()
    );
    assert_eq!(of("started", "live_id"), ["s-1", "s-2"], "two broadcasts");
    assert_eq!(of("resumed", "live_id"), ["s-1"], "once it was told that it was over");
    assert_eq!(events.iter().filter(|event| event.event_type == "ended").count(), 3);
    assert_eq!(night.twitch.refreshed(), 1, "one for all");
}

/// What an event says.
fn said(event: &Recorded) -> Value {
    let payload: Value = serde_json::from_str(event.payload.get()).expect("JSON");
    payload[&event.event_type].clone()
}
