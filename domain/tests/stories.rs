//! Whole stories: what a channel lives through, told to the aggregates, and what the overlay shows of it.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use cqrs_es::test::TestFramework;
use cqrs_es::{Aggregate, DomainEvent};
use uuid::Uuid;

use domain::account::{self, Account, Facts};
use domain::alerting::{self, Alert, Data, Kind};
use domain::broadcast::{self, Broadcast, Moment};
use domain::entry_id;
use domain::rules::{Rules, Tier};

const GIFTER: &str = "5001";

fn minute(minute: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_750_000_000 + minute * 60, 0).expect("a time")
}

/// A channel in memory: the histories of its accounts and its broadcasts, and the alerts shown so far.
#[derive(Default)]
struct Channel {
    accounts: BTreeMap<String, Vec<account::Event>>,
    broadcasts: Vec<broadcast::Event>,
    alerts: Vec<Alert>,
}

impl Channel {
    /// Credits what `facts` earn under the default rules, as the translation of a notification does.
    fn earns(&mut self, viewer: &str, notification: &str, facts: Facts) {
        let rules = Rules::default();
        let points = rules.points(&facts).expect("within range");
        let entry = entry_id("eventsub", &format!("{notification}:{viewer}"));
        let command = account::Command::Credit { entry, points, rules: rules.version, facts };
        self.tell(viewer, command);
    }

    fn tell(&mut self, viewer: &str, command: account::Command) {
        let history = self.accounts.entry(viewer.to_owned()).or_default();
        let made = decide::<Account>(history, command);
        self.alerts.extend(made.iter().filter_map(|e| alerting::for_account(viewer, e)));
        history.extend(made);
    }

    fn notes(&mut self, command: broadcast::Command) {
        let made = decide::<Broadcast>(&self.broadcasts, command);
        self.alerts.extend(made.iter().filter_map(alerting::for_broadcast));
        self.broadcasts.extend(made);
    }

    fn account(&self, viewer: &str) -> Account {
        let account: Account = fold(self.accounts.get(viewer).map_or(&[], Vec::as_slice));
        assert!(account.balanced(), "{account:?}");
        account
    }

    fn types(&self, viewer: &str) -> Vec<String> {
        self.accounts[viewer].iter().map(DomainEvent::event_type).collect()
    }
}

fn decide<A: Aggregate<Services = ()>>(history: &[A::Event], command: A::Command) -> Vec<A::Event> {
    let decided = TestFramework::<A>::with(()).given(history.to_vec()).when(command);
    decided.inspect_result().expect("a story without refusals")
}

fn fold<A: Aggregate>(history: &[A::Event]) -> A {
    let mut aggregate = A::default();
    for event in history {
        aggregate.apply(event.clone());
    }
    aggregate
}

fn hold(request: &str, points: i64) -> account::Command {
    let entry = entry_id("request", request);
    let purpose = "image alert".to_owned();
    account::Command::Hold { entry, points, purpose, expires_at: minute(60) }
}

fn settle(request: &str) -> (Uuid, Uuid) {
    (entry_id("settled", request), entry_id("request", request))
}

#[test]
fn five_gifted_subs_credit_the_gifter_and_the_recipients_and_are_shown_once() {
    let mut channel = Channel::default();
    let recipients = ["6001", "6002", "6003", "6004", "6005"];
    // Twitch sends one notification for the gift and one for each sub, and may send each of them again.
    for _ in 0..2 {
        for (n, recipient) in recipients.into_iter().enumerate() {
            let facts = Facts::Subscription { tier: Tier::One, gift: true };
            channel.earns(recipient, &format!("sub-{n}"), facts);
        }
        let facts = Facts::GiftSubs { tier: Tier::One, count: 5, total: Some(12) };
        channel.earns(GIFTER, "gift-1", facts);
    }

    assert_eq!(channel.account(GIFTER).available, 5 * 200);
    for recipient in recipients {
        assert_eq!(channel.account(recipient).available, 600);
    }
    let gift = Alert {
        kind: Kind::Gift,
        viewer: Some(GIFTER.to_owned()),
        data: Data::Gift { count: 5, tier: Tier::One },
    };
    assert_eq!(channel.alerts, [gift]);
}

#[test]
fn an_anonymous_gift_credits_the_recipients_only_and_is_shown_without_a_name() {
    let mut channel = Channel::default();
    for recipient in ["6001", "6002"] {
        let facts = Facts::Subscription { tier: Tier::Two, gift: true };
        channel.earns(recipient, "sub", facts);
    }
    channel.notes(broadcast::Command::Note {
        entry: entry_id("eventsub", "gift-1"),
        at: minute(1),
        moment: Moment::SubsGifted { tier: Tier::Two, count: 2 },
    });

    assert_eq!(channel.account("6001").available, 1_200);
    assert_eq!(channel.account("6002").available, 1_200);
    assert_eq!(channel.accounts.len(), 2);
    assert_eq!(channel.alerts.len(), 1);
    assert_eq!((channel.alerts[0].kind, &channel.alerts[0].viewer), (Kind::Gift, &None));
}

#[test]
fn a_paid_image_costs_its_price_only_once_it_was_shown() {
    let mut channel = Channel::default();
    channel.earns("5002", "cheer-1", Facts::Cheer { bits: 300, message: "Cheer300".to_owned() });

    channel.tell("5002", hold("image-1", 200));
    assert_eq!(channel.account("5002").available, 100);
    assert_eq!(channel.account("5002").total(), 300);

    let (entry, hold_id) = settle("image-1");
    for _ in 0..2 {
        channel.tell("5002", account::Command::Capture { entry, hold: hold_id });
    }
    assert_eq!(channel.account("5002").total(), 100);
    assert_eq!(channel.types("5002"), ["credited", "held", "captured"]);
    assert_eq!(channel.alerts.len(), 1, "only the cheer is an alert by itself");
}

#[test]
fn a_refused_image_costs_nothing_and_the_points_pay_for_the_next_one() {
    let mut channel = Channel::default();
    channel.earns("5002", "cheer-1", Facts::Cheer { bits: 200, message: "Cheer200".to_owned() });

    channel.tell("5002", hold("image-1", 200));
    channel.tell("5002", hold("image-2", 200));
    let (entry, hold_id) = settle("image-1");
    let reason = "the prompt was refused".to_owned();
    channel.tell("5002", account::Command::Release { entry, hold: hold_id, reason });
    channel.tell("5002", hold("image-3", 200));
    let (entry, hold_id) = settle("image-3");
    channel.tell("5002", account::Command::Capture { entry, hold: hold_id });

    let types = ["credited", "held", "declined", "released", "held", "captured"];
    assert_eq!(channel.types("5002"), types);
    assert_eq!(channel.account("5002").total(), 0);
}

#[test]
fn a_night_with_a_router_restart_is_one_broadcast() {
    let mut channel = Channel::default();
    let start = |live_id: &str, at| broadcast::Command::Start {
        entry: entry_id("eventsub", live_id),
        live_id: live_id.to_owned(),
        at: minute(at),
        resume_within_s: Rules::default().resume_within_s,
    };
    let end = |name: &str, at| broadcast::Command::End {
        entry: entry_id("eventsub", name),
        live_id: None,
        at: minute(at),
    };
    let note = |name: &str, moment| broadcast::Command::Note {
        entry: entry_id("eventsub", name),
        at: minute(20),
        moment,
    };

    channel.notes(start("4001", 0));
    channel.notes(note("f1", Moment::Followed { viewer: "5003".to_owned() }));
    channel.notes(end("off-1", 30));
    channel.notes(start("4002", 34));
    channel.notes(note("r1", Moment::Raided { viewer: "5004".to_owned(), viewers: 42 }));
    channel.notes(end("off-2", 120));
    channel.notes(start("4003", 1_440));

    let types: Vec<String> = channel.broadcasts.iter().map(DomainEvent::event_type).collect();
    let expected = ["started", "followed", "ended", "resumed", "raided", "ended", "started"];
    assert_eq!(types, expected);
    let now: Broadcast = fold(&channel.broadcasts);
    assert_eq!((now.number, now.live), (2, true));
    let kinds: Vec<Kind> = channel.alerts.iter().map(|alert| alert.kind).collect();
    assert_eq!(kinds, [Kind::Follow, Kind::Raid]);
}
