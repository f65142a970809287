//! The relay: one leader among many processes, and EVENTS as PostgreSQL has it, whatever was done to it.

use journal::broker::Role;
use journal::relay::EVENTS;
use journal::streams::{self, Step, StreamsFile};

use crate::world::{World, cheer, until};

/// The connection that holds the relay's lock; 0 where none does.
async fn leader(world: &World) -> i64 {
    world
        .count(
            "SELECT COALESCE(max(pid), 0)::bigint FROM pg_locks
             WHERE locktype = 'advisory' AND granted AND objsubid = 1
               AND classid = x'74617065'::bigint::oid AND objid = x'6465636b'::bigint::oid",
        )
        .await
}

/// Waits until it has led so often: it leads, gives up and tries again, each time on another connection.
async fn it_leads(world: &World, times: usize) {
    let mut leaders = std::collections::BTreeSet::new();
    until("it leads again", async || {
        leaders.insert(leader(world).await);
        leaders.remove(&0);
        leaders.len() >= times
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_whole_processes_that_commit_in_turn_do_not_interrupt_the_relay() {
    let world = World::start().await;
    let (mut one, mut other) = (world.parts(), world.parts());
    for parts in [&mut one, &mut other] {
        parts.processor();
        parts.relay();
    }
    until("each has half of the partitions", async || {
        world.count("SELECT max(n) FROM (SELECT count(*) n FROM partitions GROUP BY owner) x").await
            == 32
    })
    .await;
    until("one relay leads", async || leader(&world).await > 0).await;
    let before = leader(&world).await;
    let publisher = world.publisher().await;
    // Many senders, each waiting for the one before, so that commits stay small and take turns.
    let senders = (0..16).map(async |sender: i32| {
        for n in 0..60 {
            let envelope = cheer(&(sender * 60 + n).to_string(), &format!("m{sender}-{n}"), 1);
            publisher.send(&envelope).await.expect("stored");
        }
    });
    futures::future::join_all(senders).await;
    until("all are decided", async || world.head().await == 960).await;
    world.relayed().await;
    assert_eq!(leader(&world).await, before, "the relay was interrupted");
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_truncated_events_stream_is_filled_again() {
    let world = World::start().await;
    let mut deciding = world.parts();
    deciding.processor();
    let mut relaying = world.parts();
    relaying.relay();
    let asker = world.asker().await;
    for n in 0..20 {
        asker.ask(cheer("5001", &format!("m{n}"), 1)).await;
    }
    world.relayed().await;
    let before = world.recorded().await;
    let epoch = epoch_of(&world).await;
    let admin = world.broker.jetstream(Role::Admin).await.expect("the admin gets in");
    let events = admin.get_stream(EVENTS).await.expect("EVENTS is there");
    let all_are_back = async || {
        let Ok(stream) = admin.get_stream(EVENTS).await else { return false };
        stream.cached_info().state.messages == 20
    };

    events.purge().await.expect("purged while a relay leads");
    until("a purged EVENTS is filled again", all_are_back).await;
    events.delete_message(20).await.expect("the last is deleted while a relay leads");
    until("the last is back", all_are_back).await;

    events.delete_message(7).await.expect("one in the middle is deleted");
    assert_eq!(asker.ask(cheer("5001", "middle", 1)).await.first_position, Some(21));
    world.relayed().await;
    let mut events = admin.get_stream(EVENTS).await.expect("EVENTS is there");
    let messages = events.info().await.expect("its state").state.messages;
    assert_eq!(messages, 20, "a hole in the middle is for the audit to name");

    relaying.stop().await;
    events.delete_message(21).await.expect("the last is deleted while nobody relays");
    let mut relaying = world.parts();
    relaying.relay();
    until("all 21 are back", async || {
        let Ok(stream) = admin.get_stream(EVENTS).await else { return false };
        stream.cached_info().state.messages == 21
    })
    .await;

    relaying.stop().await;
    events.purge().sequence(11).await.expect("trimmed at its head");
    let mut relaying = world.parts();
    relaying.relay();
    assert_eq!(asker.ask(cheer("5001", "m20", 1)).await.first_position, Some(22));
    world.relayed().await;
    let positions: Vec<i64> = world.events().await.iter().map(|event| event.position).collect();
    assert_eq!(positions, (11..=22).collect::<Vec<_>>(), "a trimmed stream stays");

    // A message that is no event: EVENTS is made anew, and this is still the same history.
    relaying.stop().await;
    let relay = world.broker.client(Role::Relay).await.expect("the relay gets in");
    relay.request("evt.nonsense", "nonsense".into()).await.expect("stored");
    asker.ask(cheer("5001", "m21", 1)).await;
    let mut relaying = world.parts();
    relaying.relay();
    until("nonsense is gone", async || {
        let Ok(stream) = admin.get_stream(EVENTS).await else { return false };
        stream.cached_info().state.messages == 23
    })
    .await;
    let published = world.events().await;
    let hashes = |events: &[journal::Recorded]| events.iter().map(|e| e.hash).collect::<Vec<_>>();
    assert_eq!(hashes(&published[..20]), hashes(&before));
    assert_eq!(epoch_of(&world).await, epoch);
    relaying.stop().await;
    deciding.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_waits_for_long_to_lead_leads_when_the_leader_is_gone() {
    let world = World::start().await;
    let mut first = world.parts();
    first.processor();
    first.relay();
    until("the first leads", async || leader(&world).await > 0).await;
    let mut second = world.parts();
    second.relay();
    // The wait is begun again every few seconds; one that began after the leader did shows that it was.
    let begun_again = "SELECT count(*) FROM pg_stat_activity
         WHERE wait_event_type = 'Lock' AND wait_event = 'advisory'
           AND query_start > backend_start + interval '5 seconds'";
    until("a wait was begun again", async || world.count(begun_again).await == 1).await;
    let before = leader(&world).await;
    drop(first);
    let mut deciding = world.parts();
    deciding.processor();
    until("the second leads", async || {
        let leader = leader(&world).await;
        leader > 0 && leader != before
    })
    .await;
    world.asker().await.ask(cheer("5001", "m1", 1)).await;
    world.relayed().await;
    second.stop().await;
    deciding.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_table_is_not_believed_against_events() {
    let world = World::start().await;
    let mut deciding = world.parts();
    deciding.processor();
    let mut relaying = world.parts();
    relaying.relay();
    let asker = world.asker().await;
    for n in 0..10 {
        asker.ask(cheer("5001", &format!("m{n}"), 1)).await;
    }
    world.relayed().await;
    relaying.stop().await;
    deciding.stop().await;
    let intruder = sqlx::PgPool::connect(&world.servers.admin_database_url).await.expect("let in");
    for damage in [
        "UPDATE events SET hash = sha256('another') WHERE position = 10",
        "DELETE FROM events WHERE position = 10",
    ] {
        let mut session = intruder.acquire().await.expect("a connection");
        let damage = format!("SET session_replication_role = replica; {damage}");
        sqlx::raw_sql(&damage).execute(&mut *session).await.expect("damaged");
        drop(session);
        let mut relaying = world.parts();
        relaying.relay();
        it_leads(&world, 2).await;
        relaying.stop().await;
        let events = world.events().await;
        assert_eq!(events.len(), 10, "EVENTS has the only copy of what was recorded");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn wherever_events_ends_a_relay_goes_on_behind_it() {
    let world = World::start().await;
    let mut deciding = world.parts();
    deciding.processor();
    let asker = world.asker().await;
    for n in 0..3 {
        asker.ask(cheer("5001", &format!("m{n}"), 1)).await;
    }
    let mut relaying = world.parts();
    relaying.relay();
    world.relayed().await;
    relaying.stop().await;
    let recorded = world.events().await;
    let mut epoch = epoch_of(&world).await;
    let admin = world.broker.jetstream(Role::Admin).await.expect("the admin gets in");
    let events = admin.get_stream(EVENTS).await.expect("EVENTS is there");
    let config = events.cached_info().config.clone();
    let relay = world.broker.client(Role::Relay).await.expect("the relay gets in");
    for ends_at in 0..recorded.len() {
        admin.delete_stream(EVENTS).await.expect("deleted");
        admin.create_stream(config.clone()).await.expect("made");
        for event in &recorded[..ends_at] {
            let body = serde_json::to_vec(event).expect("JSON");
            relay.request("evt.account.5001.credited", body.into()).await.expect("stored");
        }
        let events = admin.get_stream(EVENTS).await.expect("EVENTS is there");
        assert_eq!(events.cached_info().state.last_sequence, ends_at as u64);
        let mut relaying = world.parts();
        relaying.relay();
        world.relayed().await;
        let hashes =
            |events: &[journal::Recorded]| events.iter().map(|e| e.hash).collect::<Vec<_>>();
        assert_eq!(hashes(&world.events().await), hashes(&recorded), "ended at {ends_at}");
        relaying.stop().await;
        // What a stream held that has nothing any more, nobody knows.
        let before = std::mem::replace(&mut epoch, epoch_of(&world).await);
        assert_eq!(before == epoch, ends_at > 0, "ended at {ends_at}");
    }
    deciding.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_events_stream_that_was_lost_and_made_empty_begins_one_epoch() {
    let world = World::start().await;
    let admin = world.broker.jetstream(Role::Admin).await.expect("the admin gets in");
    let first = epoch_of(&world).await;
    let mut deciding = world.parts();
    deciding.processor();
    let asker = world.asker().await;
    for n in 0..3 {
        asker.ask(cheer("5001", &format!("m{n}"), 1)).await;
    }
    let mut relaying = world.parts();
    relaying.relay();
    world.relayed().await;
    let is_noted = "SELECT count(*) FROM head WHERE published";
    assert_eq!(world.count(is_noted).await, 1, "noted before it is filled, not afterwards");
    relaying.stop().await;
    assert_eq!(epoch_of(&world).await, first, "what was never filled was not lost");
    let dump = world.dump();
    asker.ask(cheer("5001", "after the dump", 1)).await;
    let mut relaying = world.parts();
    relaying.relay();
    world.relayed().await;
    relaying.stop().await;
    deciding.stop().await;

    // The disk of NATS is lost, and PostgreSQL goes back to the dump: EVENTS cannot show it any more. Somebody makes the streams.
    admin.delete_stream(EVENTS).await.expect("deleted");
    world.restore(&dump);
    let steps = streams::apply(&admin, &StreamsFile::built_in().expect("readable")).await;
    let made = Step::Create { stream: EVENTS.to_owned() };
    assert!(steps.expect("applied").contains(&made));
    let mut relaying = world.parts();
    relaying.relay();
    world.relayed().await;
    relaying.stop().await;
    let second = epoch_of(&world).await;
    assert_ne!(first, second, "positions mean other events");
    assert_eq!(world.recorded().await.len(), 3);

    // Another relay leads, and publishes what is decided again.
    let mut parts = world.parts();
    parts.processor();
    parts.relay();
    until("what came after the dump is decided again", async || world.head().await == 4).await;
    world.relayed().await;
    parts.stop().await;
    assert_eq!(epoch_of(&world).await, second, "once is enough");
    let recorded = world.recorded().await;
    let hashes = |events: &[journal::Recorded]| events.iter().map(|e| e.hash).collect::<Vec<_>>();
    assert_eq!(hashes(&world.events().await), hashes(&recorded));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_events_stream_that_takes_nothing_begins_no_epoch_at_each_try() {
    let world = World::start().await;
    let mut deciding = world.parts();
    deciding.processor();
    world.asker().await.ask(cheer("5001", "m1", 1)).await;
    deciding.stop().await;
    let admin = world.broker.jetstream(Role::Admin).await.expect("the admin gets in");
    let events = admin.get_stream(EVENTS).await.expect("EVENTS is there");
    let config = events.cached_info().config.clone();
    let mut full = config.clone();
    full.max_message_size = 1;
    let mut epochs = vec![epoch_of(&world).await];
    // Never filled at first, and lost the second time.
    for _ in 0..2 {
        admin.delete_stream(EVENTS).await.expect("deleted");
        admin.create_stream(full.clone()).await.expect("made");
        let mut relaying = world.parts();
        relaying.relay();
        it_leads(&world, 3).await;
        let begun = epoch_of(&world).await;
        it_leads(&world, 3).await;
        assert_eq!(epoch_of(&world).await, begun, "nothing was shown under this one");
        admin.update_stream(&config).await.expect("as it was");
        world.relayed().await;
        relaying.stop().await;
        assert_eq!(epoch_of(&world).await, begun);
        epochs.push(begun);
    }
    assert_eq!(epochs[0], epochs[1], "what was never filled was not lost");
    assert_ne!(epochs[1], epochs[2]);
}

async fn epoch_of(world: &World) -> uuid::Uuid {
    journal::head::read(&world.pool).await.expect("a head").epoch
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_that_is_away_for_long_begins_no_epoch() {
    let mut world = World::start().await;
    let parts = world.run();
    let asker = world.asker().await;
    asker.ask(cheer("5001", "m1", 1)).await;
    world.relayed().await;
    let epoch = epoch_of(&world).await;
    // Nobody waited for EVENTS to reach the disk. What ends in good order has it there, and a kill takes nothing.
    world.servers.restart_nats().await.expect("started again");
    world.relayed().await;
    world.servers.kill_nats().await.expect("killed");
    // Each is given up after as long as a relay waits to hear whether EVENTS is there.
    for _ in 0..3 {
        let sent = asker.publisher.send(&cheer("5001", "m2", 1)).await;
        sent.expect_err("nobody is there to take it");
    }
    world.servers.start_nats().await.expect("started again");
    while asker.publisher.send(&cheer("5001", "m3", 1)).await.is_err() {}
    until("it is decided", async || world.head().await >= 2).await;
    world.relayed().await;
    assert_eq!(epoch_of(&world).await, epoch);
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_events_stream_of_an_earlier_kind_is_made_anew_and_filled_again() {
    let world = World::start().await;
    let mut deciding = world.parts();
    deciding.processor();
    let mut relaying = world.parts();
    relaying.relay();
    let asker = world.asker().await;
    for n in 0..20 {
        asker.ask(cheer("5001", &format!("m{n}"), 1)).await;
    }
    world.relayed().await;
    let before = world.events().await;
    let epoch = epoch_of(&world).await;
    relaying.stop().await;
    // As it was made once, with the same in it.
    let admin = world.broker.jetstream(Role::Admin).await.expect("the admin gets in");
    let events = admin.get_stream(EVENTS).await.expect("it is there");
    let mut config = events.cached_info().config.clone();
    (config.persist_mode, config.allow_atomic_publish) = (None, true);
    admin.delete_stream(EVENTS).await.expect("deleted");
    admin.create_stream(config).await.expect("made");
    let relay = world.broker.client(Role::Relay).await.expect("the relay gets in");
    for event in &before {
        let body = serde_json::to_vec(event).expect("JSON");
        relay.request("evt.account.5001.credited", body.into()).await.expect("stored");
    }

    let file = StreamsFile::built_in().expect("readable");
    let renew = Step::Renew { stream: EVENTS.to_owned() };
    let steps = streams::apply(&admin, &file).await.expect("applied");
    assert!(steps.contains(&renew), "{steps:?}");
    // Only the relay may, which has compared it with PostgreSQL.
    assert_eq!(world.events().await.len(), 20);
    let mut relaying = world.parts();
    relaying.relay();
    let keep = Step::Keep { stream: EVENTS.to_owned() };
    until("it is made anew", async || {
        streams::plan(&admin, &file).await.is_ok_and(|steps| steps.contains(&keep))
    })
    .await;
    world.relayed().await;
    let after = world.events().await;
    assert_eq!(serde_json::to_string(&before).unwrap(), serde_json::to_string(&after).unwrap());
    assert_eq!(epoch_of(&world).await, epoch);
    relaying.stop().await;
    deciding.stop().await;
}
