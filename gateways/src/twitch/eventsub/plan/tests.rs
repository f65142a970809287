//! Plans, by what they make of anything that Twitch may list.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::wanted::wanted;
use super::*;
use crate::twitch::Secret;

const CALLBACK: &str = "https://tapes.example/webhooks/twitch";

fn here() -> Place {
    Place::Webhook { callback: CALLBACK.to_owned(), version: None }
}

fn existing(id: &str, of: &Wanted, status: &str, callback: &str) -> Existing {
    let text = |(key, value): (&String, &String)| (key.clone(), value.clone().into());
    Existing {
        id: id.to_owned(),
        status: status.to_owned(),
        kind: of.kind.clone(),
        version: of.version.clone(),
        condition: of.condition.iter().map(text).collect(),
        transport: Transport {
            method: "webhook".to_owned(),
            callback: Some(callback.to_owned()),
            session_id: None,
            conduit_id: None,
        },
        cost: 0,
        created_at: None,
    }
}

/// What Twitch has once the steps are done, if none fails; it takes no second one of the same names and place.
fn done(existing: &[Existing], steps: &[Step]) -> Vec<Existing> {
    let mut now = existing.to_vec();
    for (n, step) in steps.iter().enumerate() {
        match step {
            Step::Delete { id, .. } => {
                assert!(now.iter().any(|one| one.id == *id), "{id} is deleted twice");
                now.retain(|one| one.id != *id);
            }
            Step::Create(wanted) => {
                let same = |one: &&Existing| one.names() == *wanted && here().has(one);
                assert_eq!(now.iter().find(same), None, "Twitch would answer 409");
                now.push(self::existing(&format!("new-{n}"), wanted, "enabled", CALLBACK));
            }
        }
    }
    now
}

#[test]
fn whatever_there_is_it_ends_at_what_is_wanted_and_then_nothing_is_left_to_do() {
    let all = wanted("1000", "1000", &[]);
    let statuses = [
        "enabled",
        "webhook_callback_verification_pending",
        "notification_failures_exceeded",
        "authorization_revoked",
        "a_status_of_tomorrow",
    ];
    for seed in 0..300 {
        let mut random = StdRng::seed_from_u64(seed);
        let some = wanted("1000", "1000", &[all[random.random_range(0..19)].kind.clone()]);
        let kinds = [all.clone(), wanted("2000", "2000", &[])].concat();
        let count = random.random_range(0..60);
        let listed: Vec<Existing> = (0..count)
            .map(|n| {
                let kind = &kinds[random.random_range(0..kinds.len())];
                let callback = ["https://old.example/x", CALLBACK][random.random_range(0..2)];
                let status = statuses[random.random_range(0..statuses.len())];
                existing(&format!("old-{n}"), kind, status, callback)
            })
            .collect();
        let plan = super::plan(&some, &listed, &here(), true);
        let after = done(&listed, &plan.steps);
        assert_eq!(after.len(), some.len(), "seed {seed}");
        for one in &some {
            let is_it = |now: &&Existing| now.names() == *one && now.standing() != Standing::Dead;
            assert_eq!(after.iter().filter(is_it).count(), 1, "seed {seed}: {one:?}");
        }
        // No call is made in vain: what goes and what stays is all there was.
        let made = plan.steps.iter().filter(|step| matches!(step, Step::Create(_))).count();
        assert_eq!(plan.steps.len() - made + plan.keep.len(), listed.len(), "seed {seed}");
        assert_eq!(made + plan.keep.len(), some.len(), "seed {seed}");
        assert!(super::plan(&some, &after, &here(), true).steps.is_empty(), "seed {seed}");
        // Not exclusively ours: nothing of another address is touched.
        let shared = super::plan(&some, &listed, &here(), false);
        let elsewhere = listed.iter().filter(|one| !here().has(one)).count();
        assert_eq!(shared.left, elsewhere);
        assert_eq!(done(&listed, &shared.steps).len(), some.len() + elsewhere);
    }
}

#[test]
fn the_one_that_works_is_kept_and_the_oldest_of_them() {
    let one = &wanted("1000", "1000", &[])[..1];
    let at = |seconds| DateTime::from_timestamp(seconds, 0);
    let listed = [
        Existing { created_at: at(1), ..existing("dead", &one[0], "user_removed", CALLBACK) },
        Existing { created_at: at(9), ..existing("young", &one[0], "enabled", CALLBACK) },
        Existing { created_at: at(5), ..existing("old", &one[0], "enabled", CALLBACK) },
    ];
    let plan = plan(one, &listed, &here(), true);
    assert_eq!(plan.keep[0].1.id, "old");
    let gone = |id: &str, why| Step::Delete { id: id.to_owned(), why };
    assert_eq!(plan.steps, [gone("young", Why::Duplicate), gone("dead", Why::Dead)]);
}

#[test]
fn what_is_in_the_way_goes_first_and_everything_else_when_all_is_made() {
    let two = &wanted("1000", "1000", &[])[..2];
    let other = &wanted("2000", "2000", &[])[0];
    let listed = [
        existing("orphan", other, "enabled", CALLBACK),
        existing("dead", &two[1], "notification_failures_exceeded", CALLBACK),
    ];
    let plan = plan(two, &listed, &here(), true);
    let ids: Vec<&str> = plan
        .steps
        .iter()
        .map(|step| match step {
            Step::Create(wanted) => wanted.kind.as_str(),
            Step::Delete { id, .. } => id.as_str(),
        })
        .collect();
    assert_eq!(ids, ["stream.online", "dead", "stream.offline", "orphan"]);
}

#[test]
fn empty_text_in_a_condition_says_nothing() {
    let raid: Vec<Wanted> =
        wanted("1000", "1000", &[]).into_iter().filter(|one| one.kind == "channel.raid").collect();
    let mut listed = existing("a", &raid[0], "enabled", CALLBACK);
    listed.condition.insert("from_broadcaster_user_id".to_owned(), "".into());
    listed.condition.insert("reward_id".to_owned(), serde_json::Value::Null);
    assert!(plan(&raid, &[listed], &here(), true).steps.is_empty());
}

#[test]
fn a_page_that_repeats_one_makes_no_duplicate_of_it() {
    let one = &wanted("1000", "1000", &[])[..1];
    let listed = existing("a", &one[0], "enabled", CALLBACK);
    assert!(plan(one, &[listed.clone(), listed], &here(), true).steps.is_empty());
}

#[test]
fn dead_ones_of_other_sessions_are_left_alone_and_what_conduits_tell_goes() {
    let one = &wanted("1000", "1000", &[])[..1];
    let session = |id: &str, session: &str, status: &str| {
        let mut listed = existing(id, &one[0], status, "");
        let session_id = Some(session.to_owned());
        let method = "websocket".to_owned();
        listed.transport = Transport { method, session_id, ..Transport::default() };
        listed
    };
    let mut conduit = session("c", "x", "enabled");
    conduit.transport.method = "conduit".to_owned();
    let place = Place::Session { id: "s-3".to_owned(), before: vec!["s-2".to_owned()] };
    let listed = [
        session("gone", "s-1", "websocket_disconnected"),
        session("live", "s-1", "enabled"),
        session("ours", "s-2", "enabled"),
        conduit,
    ];
    let ends = super::plan(one, &listed, &place, true);
    assert_eq!((ends.keep[0].1.id.as_str(), ends.left), ("ours", 1));
    let gone = |id: &str| Step::Delete { id: id.to_owned(), why: Why::Elsewhere };
    // What a conduit tells goes first: it would count twice.
    assert_eq!(ends.steps, [gone("c"), gone("live")]);
    let shared = super::plan(one, &listed, &place, false);
    assert_eq!((shared.left, shared.steps.len()), (3, 0));
    // A webhook is made when nothing is told over the conduit any more.
    let begun = super::plan(one, &listed[3..], &here(), true);
    assert_eq!(begun.steps, [gone("c"), Step::Create(one[0].clone())]);
}

#[test]
fn what_was_made_with_another_secret_goes_once_its_successor_is_enabled_and_not_before() {
    let two = &wanted("1000", "1000", &[])[..2];
    let secret = Secret::new("the second secret").expect("a good secret");
    let version = Some(Version { number: 2, name: "22222222".to_owned(), secret });
    let place = Place::Webhook { callback: CALLBACK.to_owned(), version };
    let [v1, v2] = ["11111111", "22222222"].map(|name| format!("{CALLBACK}?v={name}"));
    let [online, offline] = [&two[0], &two[1]];
    let gone = |id: &str, why| Step::Delete { id: id.to_owned(), why };
    // Made with no version, with the first, and dead: one that tells is left, and there is room for the third.
    let at = |seconds| DateTime::from_timestamp(seconds, 0);
    let listed = [
        Existing { created_at: at(1), ..existing("plain", online, "enabled", CALLBACK) },
        Existing { created_at: at(2), ..existing("first", online, "enabled", &v1) },
        existing("dead", offline, "user_removed", &v1),
        existing("orphan", &wanted("2000", "2000", &[])[0], "enabled", &v1),
        existing("else", online, "enabled", "https://tapes.example/webhooks/twitch2?v=11111111"),
    ];
    let begun = plan(two, &listed, &place, false);
    assert_eq!(begun.left, 1, "what only looks like ours is not");
    assert_eq!(begun.bridges, [(online.clone(), listed[1].clone())]);
    let expected = [
        gone("plain", Why::Replaced),
        Step::Create(online.clone()),
        gone("dead", Why::Replaced),
        Step::Create(offline.clone()),
        gone("orphan", Why::Orphan),
    ];
    assert_eq!(begun.steps, expected);

    let pending = existing("new", online, "webhook_callback_verification_pending", &v2);
    let waiting = plan(&two[..1], &[listed[1].clone(), pending.clone()], &place, false);
    assert_eq!((waiting.steps.len(), waiting.bridges.len()), (0, 1), "{waiting:?}");
    let enabled = Existing { status: "enabled".to_owned(), ..pending };
    let over = plan(&two[..1], &[listed[1].clone(), enabled], &place, false);
    assert_eq!((over.keep[0].1.id.as_str(), over.bridges.len()), ("new", 0));
    assert_eq!(over.steps, [gone("first", Why::Replaced)]);
}

#[test]
fn what_a_conduit_is_to_tell_no_webhook_tells_too() {
    let all = wanted("1000", "1000", &[]);
    let place = Place::Conduit {
        id: "ours".to_owned(),
        client_id: "client".to_owned(),
        callback: CALLBACK.to_owned(),
    };
    let over = |id: &str, of: &Wanted, conduit: &str| {
        let mut one = existing(id, of, "enabled", CALLBACK);
        let (method, conduit_id) = ("conduit".to_owned(), Some(conduit.to_owned()));
        one.transport = Transport { method, callback: None, session_id: None, conduit_id };
        one
    };
    let webhook = existing("webhook", &all[1], "enabled", CALLBACK);
    let there = [over("kept", &all[0], "ours"), over("other", &all[1], "another"), webhook];
    let Plan { keep, steps, left, .. } = plan(&all[..2], &there, &place, true);
    assert_eq!((keep.len(), keep[0].1.id.as_str(), left), (1, "kept", 0));
    let delete = |id: &str| Step::Delete { id: id.to_owned(), why: Why::Elsewhere };
    assert_eq!(steps, [delete("webhook"), Step::Create(all[1].clone()), delete("other")]);
    // What is posted to us would count twice whoever else has the application; what is posted to others is theirs.
    let old = existing("old", &all[0], "enabled", &format!("{CALLBACK}?v=11111111"));
    let theirs = existing("theirs", &all[1], "enabled", "https://else.example/webhooks/twitch");
    let there = [&there[..], &[old, theirs]].concat();
    let shared = plan(&all[..2], &there, &place, false);
    let expected = [delete("webhook"), delete("old"), Step::Create(all[1].clone())];
    assert_eq!((shared.left, shared.steps), (2, expected.to_vec()));
}
