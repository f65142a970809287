//! What holds for every history, tried on random ones.

mod histories;

use cqrs_es::event_sink::EventSink;
use cqrs_es::{Aggregate, DomainEvent};
use proptest::prelude::*;
use proptest::sample::subsequence;
use serde::Serialize;
use serde::de::DeserializeOwned;

use domain::account::Account;
use domain::broadcast::{self, Broadcast};

use histories::{account_command, broadcast_command, end, many, start, times};

/// Handles a command as the journal does. A refused command must leave no trace.
fn handle<A>(aggregate: &mut A, command: A::Command) -> Result<Vec<A::Event>, A::Error>
where
    A: Aggregate<Services = ()>,
{
    let sink = EventSink::default();
    let waker = std::task::Waker::noop();
    let mut context = std::task::Context::from_waker(waker);
    let mut handled = std::pin::pin!(async {
        aggregate.handle(command, &(), &sink).await?;
        Ok(sink.collect().await)
    });
    match handled.as_mut().poll(&mut context) {
        std::task::Poll::Ready(result) => result,
        std::task::Poll::Pending => panic!("the domain waits for nothing"),
    }
}

/// Replaying the events must give what handling gave, also through their stored form; and so must a snapshot.
fn check_replay<A>(handled: &A, events: &[A::Event]) -> Result<(), TestCaseError>
where
    A: Aggregate + PartialEq + std::fmt::Debug + Serialize + DeserializeOwned,
    A::Event: DomainEvent,
{
    let mut replayed = A::default();
    for event in events {
        let stored = serde_json::to_string(event).expect("json");
        replayed.apply(serde_json::from_str(&stored).expect("readable"));
    }
    prop_assert_eq!(&replayed, handled);
    let snapshot = serde_json::to_string(handled).expect("json");
    let loaded: A = serde_json::from_str(&snapshot).expect("readable");
    prop_assert_eq!(&loaded, handled);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_account_is_balanced_after_any_commands(commands in many(account_command())) {
        let mut account = Account::default();
        let mut events = Vec::new();
        for command in commands {
            let before = account.clone();
            match handle(&mut account, command.clone()) {
                Ok(made) => events.extend(made),
                Err(_) => prop_assert_eq!(&account, &before, "a refusal changed something"),
            }
            prop_assert!(account.available >= 0 && account.held >= 0);
            prop_assert!(account.balanced(), "{:?}", account);

            let after = account.clone();
            let again = handle(&mut account, command);
            prop_assert!(again.is_err() || again == Ok(vec![]), "done twice");
            prop_assert_eq!(&account, &after, "the second time changed something");
        }
        check_replay(&account, &events)?;
    }

    #[test]
    fn a_broadcaster_follows_any_commands(commands in many(broadcast_command())) {
        let mut broadcasts = Broadcast::default();
        let mut events = Vec::new();
        for command in commands {
            let before = broadcasts.clone();
            match handle(&mut broadcasts, command.clone()) {
                Ok(made) => events.extend(made),
                Err(_) => prop_assert_eq!(&broadcasts, &before, "a refusal changed something"),
            }
            prop_assert!(broadcasts.live || broadcasts.screening.is_none(), "a tape without a broadcast");

            let after = broadcasts.clone();
            let again = handle(&mut broadcasts, command);
            prop_assert!(again.is_err() || again == Ok(vec![]), "done twice");
            prop_assert_eq!(&broadcasts, &after, "the second time changed something");
        }
        check_replay(&broadcasts, &events)?;
        check_numbers(&events)?;
    }

    /// What truly happened: on, off, on, off, each at its time. However the notifications arrive, and however often,
    /// in the end we know what is on.
    #[test]
    fn however_they_arrive_the_notifications_end_in_the_truth(
        (times, last_is_off, order) in times()
            .prop_flat_map(|times| (Just(times), any::<bool>()))
            .prop_flat_map(|(times, last_is_off)| {
                let count = times.len() * 2 - usize::from(!last_is_off);
                let twice: Vec<usize> = (0..count).chain(0..count).collect();
                (Just(times), Just(last_is_off), Just(twice).prop_shuffle())
            })
    ) {
        let mut commands = Vec::new();
        for (n, (on, off)) in times.iter().enumerate() {
            commands.push(start(&format!("live-{n}"), *on));
            if last_is_off || n + 1 < times.len() {
                commands.push(end(n, *off));
            }
        }
        let mut broadcasts = Broadcast::default();
        let mut events = Vec::new();
        for n in order {
            let made = handle(&mut broadcasts, commands[n].clone());
            events.extend(made.expect("starts and ends are never refused"));
        }
        prop_assert_eq!(broadcasts.live, !last_is_off);
        let last = format!("live-{}", times.len() - 1);
        prop_assert_eq!(broadcasts.live_id.as_deref(), Some(last.as_str()));
        check_numbers(&events)?;
    }

    /// Any part of a long night still ends in one state: nothing depends on a notification that never came.
    #[test]
    fn missing_notifications_never_leave_two_broadcasts_on(
        commands in many(broadcast_command()).prop_flat_map(|all| {
            let count = all.len();
            subsequence(all, 0..=count)
        })
    ) {
        let mut broadcasts = Broadcast::default();
        let mut events = Vec::new();
        for command in commands {
            events.extend(handle(&mut broadcasts, command).unwrap_or_default());
        }
        check_numbers(&events)?;
    }
}

/// Broadcasts are numbered 1, 2, 3; each starts once, ends before the next one starts, and is resumed only after an end.
fn check_numbers(events: &[broadcast::Event]) -> Result<(), TestCaseError> {
    let (mut number, mut live) = (0, false);
    for event in events {
        match event {
            broadcast::Event::Started { broadcast, .. } => {
                prop_assert!(!live, "two broadcasts at once");
                prop_assert_eq!(*broadcast, number + 1);
                (number, live) = (*broadcast, true);
            }
            broadcast::Event::Resumed { broadcast, .. } => {
                prop_assert!(!live && *broadcast == number && number > 0);
                live = true;
            }
            broadcast::Event::Ended { broadcast, .. } => {
                prop_assert!(live && *broadcast == number, "the end of what was not on");
                live = false;
            }
            _ => {}
        }
    }
    Ok(())
}
