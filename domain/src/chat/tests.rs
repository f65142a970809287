use cqrs_es::test::TestFramework;

use super::*;
use crate::account::{self, Facts};
use crate::chat_request::{Prices, Wish};
use crate::generation;
use crate::{giving, redemption};

fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_750_000_000 + second, 0).expect("a time")
}

fn terms(cooldown_s: u32, viewer_cooldown_s: u32) -> Terms {
    Terms { who: Role::Everyone, cooldown_s, viewer_cooldown_s }
}

/// `viewer` asks for their balance in the line `line`.
fn ask(line: &str, viewer: &str, terms: Terms, at: DateTime<Utc>) -> Command {
    Command::Ask {
        entry: ask_id(line),
        line: line.to_owned(),
        viewer: viewer.to_owned(),
        role: Role::Everyone,
        request: Request::Balance {},
        terms,
        settings: 1,
        at,
    }
}

fn as_role(command: Command, is: Role) -> Command {
    let Command::Ask { entry, line, viewer, request, terms, settings, at, .. } = command;
    Command::Ask { entry, line, viewer, role: is, request, terms, settings, at }
}

fn asked(command: Command) -> Event {
    let Command::Ask { entry, line, viewer, request, settings, at, .. } = command;
    Event::Asked { entry, line, viewer, request, settings, at }
}

fn chat(history: Vec<Event>) -> cqrs_es::test::AggregateTestExecutor<Chat> {
    TestFramework::<Chat>::with(()).given(history)
}

fn cooling(cooldown_s: u32) -> Rejection {
    Rejection::CoolingDown { name: "balance".to_owned(), cooldown_s }
}

#[test]
fn a_line_is_answered_once_however_often_it_is_delivered() {
    let line = ask("m-1", "5001", terms(0, 0), at(0));
    chat(vec![]).when(line.clone()).then_expect_events(vec![asked(line.clone())]);
    chat(vec![asked(line.clone())]).when(line).then_expect_events(vec![]);
}

#[test]
fn w32_a_flood_is_answered_at_the_pace_of_the_cooldowns() {
    let terms = terms(10, 60);
    let first = ask("m-1", "5001", terms, at(100));
    let history = vec![asked(first)];
    // Too soon for all, also for a line that is late.
    for second in [91, 100, 109] {
        let other = ask("m-2", "5002", terms, at(second));
        chat(history.clone()).when(other).then_expect_error(cooling(10));
    }
    for second in [90, 110] {
        let other = ask("m-2", "5002", terms, at(second));
        chat(history.clone()).when(other.clone()).then_expect_events(vec![asked(other)]);
    }
    // Too soon for the one who asked.
    let again = ask("m-3", "5001", terms, at(159));
    chat(history.clone()).when(again).then_expect_error(cooling(60));
    let later = ask("m-3", "5001", terms, at(160));
    chat(history).when(later.clone()).then_expect_events(vec![asked(later)]);
}

#[test]
fn something_else_does_not_have_to_wait() {
    let terms = terms(3_600, 3_600);
    let history = vec![asked(ask("m-1", "5001", terms, at(0)))];
    let Command::Ask { entry, line, viewer, role, settings, at, .. } =
        ask("m-2", "5001", terms, at(1));
    let (request, _) = (Request::Uptime {}, ());
    let other = Command::Ask { entry, line, viewer, role, request, terms, settings, at };
    chat(history).when(other.clone()).then_expect_events(vec![asked(other)]);
}

#[test]
fn moderators_and_the_broadcaster_do_not_wait() {
    let terms = terms(60, 60);
    let history = vec![asked(ask("m-1", "5001", terms, at(0)))];
    for role in [Role::Moderator, Role::Broadcaster] {
        let again = as_role(ask("m-2", "5001", terms, at(1)), role);
        chat(history.clone()).when(again.clone()).then_expect_events(vec![asked(again)]);
    }
    let again = as_role(ask("m-2", "5001", terms, at(1)), Role::Vip);
    chat(history).when(again).then_expect_error(cooling(60));
}

#[test]
fn what_is_for_some_is_not_for_everyone() {
    let order = [Role::Everyone, Role::Subscriber, Role::Vip, Role::Moderator, Role::Broadcaster];
    for (n, who) in order.into_iter().enumerate() {
        for (m, role) in order.into_iter().enumerate() {
            let command = as_role(ask("m-1", "5001", Terms { who, ..terms(0, 0) }, at(0)), role);
            if m < n {
                let name = "balance".to_owned();
                chat(vec![]).when(command).then_expect_error(Rejection::NotAllowed { name });
            } else {
                chat(vec![]).when(command.clone()).then_expect_events(vec![asked(command)]);
            }
        }
    }
}

#[test]
fn badges_say_who_somebody_is() {
    assert_eq!(Role::of_badges([]), Role::Everyone);
    assert_eq!(Role::of_badges(["premium", "bits"]), Role::Everyone);
    assert_eq!(Role::of_badges(["founder"]), Role::Subscriber);
    assert_eq!(Role::of_badges(["subscriber", "vip"]), Role::Vip);
    assert_eq!(Role::of_badges(["vip", "moderator", "subscriber"]), Role::Moderator);
    assert_eq!(Role::of_badges(["subscriber", "broadcaster"]), Role::Broadcaster);
    assert_eq!(Role::of_badges(["Broadcaster", "nobody"]), Role::Everyone);
}

#[test]
fn what_is_remembered_of_a_busy_chat_is_bounded() {
    let mut chat = Chat::default();
    for n in 0..5_000_i64 {
        let command = ask(&format!("m-{n}"), &format!("{n}"), terms(0, 0), at(n));
        let Event::Asked { entry, line, viewer, settings, at, .. } = asked(command);
        let request = Request::Help { topic: format!("topic-{n}") };
        chat.apply(Event::Asked { entry, line, viewer, request, settings, at });
    }
    assert!(chat.answered.len() <= ANSWERED_MAX && chat.last.len() <= NAMES_MAX);
    assert!(chat.last.contains_key("topic-4999") && !chat.last.contains_key("topic-0"));
    assert!(serde_json::to_string(&chat).expect("json").len() < 128 * 1024);
}

#[test]
fn what_is_asked_in_chat_goes_its_way_under_the_id_that_its_reply_waits_for() {
    let wish = Wish::Static { id: "test-card".to_owned(), message: "test card".to_owned() };
    let cause = derived_id(ask_id("m-1"), 0);
    let event = |request: Request| Event::Asked {
        entry: ask_id("m-1"),
        line: "m-1".to_owned(),
        viewer: "5001".to_owned(),
        request,
        settings: 1,
        at: at(0),
    };
    let wanted = Request::Wish { wish, price: 200, prices: 1 };
    let next = redemption::after_chat(&event(wanted.clone()), cause, at(1));
    let Some(redemption::Next::Generation { request, command }) = next else {
        panic!("it is submitted");
    };
    assert_eq!(awaited(&wanted, cause), Some(request));
    assert!(matches!(command, generation::Command::Submit { price: 200, .. }));
    assert_eq!(giving::after_chat(&event(wanted), cause, at(1)), None);

    let gift = Request::Give { to: "5002".to_owned(), points: 40 };
    let next = giving::after_chat(&event(gift.clone()), cause, at(1)).expect("a hold follows");
    assert_eq!(next.viewer, "5001");
    assert_eq!(awaited(&gift, cause), Some(next.command.entry()));
    assert_eq!(redemption::after_chat(&event(gift), cause, at(1)), None);
    for other in [Request::Balance {}, Request::NoGift { why: NoGift::NobodyKnown }] {
        assert_eq!(awaited(&other, cause), None);
        assert_eq!(redemption::after_chat(&event(other.clone()), cause, at(1)), None);
        assert_eq!(giving::after_chat(&event(other), cause, at(1)), None);
    }
}

#[test]
fn whoever_waited_too_long_is_not_told_that_somebody_called_it_off() {
    let cancelled = |actor: &str, reason: &str| {
        ending::of_generation(&generation::Event::Cancelled {
            entry: Uuid::from_u128(8),
            viewer: "5001".to_owned(),
            actor: actor.to_owned(),
            reason: reason.to_owned(),
            held: true,
            asked: None,
        })
    };
    assert_eq!(cancelled(generation::TIMER, generation::EXPIRED), Some(Ending::Expired {}));
    assert_eq!(cancelled("moderator:7", generation::EXPIRED), Some(Ending::Cancelled {}));
}

#[test]
fn a_gift_ends_by_the_event_that_says_so() {
    let (hold, entry) = (Uuid::from_u128(7), Uuid::from_u128(8));
    let facts = Facts::Gift { from: "5001".to_owned(), hold };
    let given = account::Event::Credited { entry, points: 5, rules: 0, facts };
    assert_eq!(ending::of_gift(&given), Some((hold, Ending::Given {})));
    let declined =
        |entry, purpose| account::Event::Declined { entry, points: 5, available: 3, purpose };
    let few = declined(hold, giving::purpose("5002"));
    assert_eq!(ending::of_gift(&few), Some((hold, Ending::TooFewPoints { available: 3 })));
    let full = declined(entry, giving::refusal("5001", hold));
    assert_eq!(ending::of_gift(&full), Some((hold, Ending::NoRoom {})));
    assert_eq!(ending::of_gift(&declined(hold, "request: ghost".to_owned())), None);
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let fixed = || Prices::default().fixed.into_keys().collect::<Vec<String>>();
    let refusal = |change: fn(&mut Settings)| {
        let mut settings = Settings::default();
        change(&mut settings);
        settings.refusal(fixed().iter().map(String::as_str))
    };
    fn own(settings: &mut Settings, name: &str) {
        settings.commands.insert(name.to_owned(), settings::Different::default());
    }
    assert_eq!(refusal(|_| {}), None);
    assert_eq!(refusal(|s| own(s, "test-card")), None);
    let help = |s: &mut Settings, topic: &str, text: &str| {
        s.help.insert(topic.to_owned(), text.to_owned());
    };
    for (topic, text) in [
        ("balance", "no"),
        ("test-card", "no"),
        ("200", "no"),
        ("Hi There", "no"),
        ("hi", ""),
        ("hi", "a\nb"),
        ("hi", &"x".repeat(451)),
    ] {
        let mut settings = Settings::default();
        help(&mut settings, topic, text);
        assert!(settings.refusal(["test-card"]).is_some(), "{topic}");
    }
    assert!(refusal(|s| s.answers.cooldown_s = 3_601).is_some());
    assert!(refusal(|s| own(s, "dance")).is_some());
    assert!(Settings::default().refusal(["give"]).is_some(), "a static alert of a taken name");
}
