//! What runs processes: every event is answered, whoever dies, and what cannot be answered stops nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use domain::account::{self, Account, Event, Facts};
use domain::identity::derived_id;
use journal::broker::Role;
use journal::streams::{self, StreamsFile};
use journal::{Content, Envelope, Process, Recorded, Unanswered, dead_letters, process};

use sqlx::PgPool;

use crate::processes::Site;
use crate::world::{Parts, World, cheer, until};

const OPEN: &str =
    "SELECT count(*) FROM dead_letters WHERE source = 'process' AND resolved_at IS NULL";
const POSITION: &str = "SELECT position FROM processes WHERE name = 'thanks'";
const COMMANDS: &str = "SELECT count(*) FROM command_outcomes";

/// Gives the account `jar` a point for every cheer.
#[derive(Default)]
struct Thanks {
    /// How many cheers it saw, those that it saw again too.
    seen: AtomicUsize,
    /// Whether a cheer of 13 makes it panic, one of 14 thanks nobody, and one of 15 says too much.
    unlucky: bool,
}

impl Process for Thanks {
    fn name(&self) -> &'static str {
        "thanks"
    }

    fn wants(&self, event: &Content<'_>) -> bool {
        event.aggregate_type == "account"
    }

    fn react(&self, event: &Recorded) -> Result<Vec<Envelope>, Unanswered> {
        let Event::Credited { facts: Facts::Cheer { bits, .. }, .. } = event.event()? else {
            return Ok(Vec::new());
        };
        self.seen.fetch_add(1, Ordering::Relaxed);
        let (jar, length) = match bits {
            13 if self.unlucky => panic!("thirteen brings bad luck"),
            14 if self.unlucky => ("no such jar", 10),
            15 if self.unlucky => ("jar", 4_100_000),
            _ => ("jar", 10),
        };
        let (note, actor) = ("x".repeat(length), "thanks".to_owned());
        let facts = Facts::Manual { note, actor };
        let entry = derived_id(event.event_id, 0);
        let command = account::Command::Credit { entry, points: 1, rules: 1, facts };
        Ok(vec![Envelope::following::<Account>("thanks", event, jar, &command)?])
    }
}

/// Answers a cheer of 1,200 with as many credits to one account, of 1 point, of 2, and so on.
struct Burst;

const BURST: u32 = 1_200;

impl Process for Burst {
    fn name(&self) -> &'static str {
        "burst"
    }

    fn wants(&self, event: &Content<'_>) -> bool {
        event.aggregate_type == "account"
    }

    fn react(&self, event: &Recorded) -> Result<Vec<Envelope>, Unanswered> {
        let Event::Credited { facts: Facts::Cheer { .. }, .. } = event.event()? else {
            return Ok(Vec::new());
        };
        let credit = |n| {
            let facts = Facts::Manual { note: "n".to_owned(), actor: "burst".to_owned() };
            let entry = derived_id(event.event_id, n);
            let command = account::Command::Credit { entry, points: i64::from(n), rules: 1, facts };
            Ok(Envelope::following::<Account>("burst", event, "jar", &command)?)
        };
        (1..=BURST).map(credit).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_of_one_event_are_decided_in_their_order_however_many() {
    let world = World::start().await;
    let parts = world.run();
    let processes: Vec<Arc<dyn Process>> = vec![Arc::new(Burst)];
    process::register(&world.pool, &processes).await.expect("registered");
    let mut runs = world.parts();
    runs.processes(processes).await;
    world.asker().await.ask(cheer("5001", "c", 1_200)).await;
    let all = i64::from(BURST) + 1;
    until("all are decided", async || world.head().await == all).await;
    let disordered = "SELECT count(*) FROM events WHERE aggregate_id = 'jar'
                      AND (payload->'credited'->>'points')::bigint <> sequence";
    assert_eq!(world.count(disordered).await, 0);
    audited(&world).await;
    runs.stop().await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_process_sent_into_a_stream_that_was_lost_is_sent_again() {
    let world = World::start().await;
    let parts = world.run();
    let thanks = Arc::new(Thanks::default());
    registered(&world, &thanks).await;
    let asker = world.asker().await;
    for n in 0..5 {
        asker.ask(cheer("5001", &format!("c{n}"), 1)).await;
    }
    parts.stop().await;
    // Nobody decides what it sends.
    let runs = running(&world, &thanks).await;
    answered(&world).await;
    lose_commands(&world).await;
    let parts = world.run();
    until("all cheers are thanked for", async || world.head().await == 10).await;
    audited(&world).await;
    runs.stop().await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_older_than_a_day_is_not_answered_again_after_a_loss() {
    let world = World::start().await;
    let parts = world.run();
    let thanks = Arc::new(Thanks::default());
    let runs = running(&world, &thanks).await;
    let asker = world.asker().await;
    for n in 0..5 {
        asker.ask(cheer("5001", &format!("c{n}"), 1)).await;
    }
    until("all cheers are thanked for", async || world.head().await == 10).await;
    answered(&world).await;
    parts.stop().await;
    let older = "SET session_replication_role = replica;
                 UPDATE events SET recorded_at = recorded_at - interval '2 days'";
    let intruder = PgPool::connect(&world.servers.admin_database_url).await.expect("connected");
    sqlx::raw_sql(older).execute(&intruder).await.expect("made older");
    lose_commands(&world).await;
    let parts = world.run();
    asker.ask(cheer("5001", "new", 1)).await;
    until("the new cheer is thanked for", async || world.head().await == 12).await;
    assert_eq!(thanks.seen.load(Ordering::Relaxed), 6, "the old ones were seen again");
    runs.stop().await;
    parts.stop().await;
}

async fn lose_commands(world: &World) {
    let admin = world.broker.jetstream(Role::Admin).await.expect("the admin gets in");
    admin.delete_stream("COMMANDS").await.expect("deleted");
    streams::apply(&admin, &StreamsFile::built_in().expect("readable")).await.expect("made anew");
}

async fn running(world: &World, process: &Arc<Thanks>) -> Parts {
    registered(world, process).await;
    let mut parts = world.parts();
    parts.processes(vec![process.clone()]).await;
    parts
}

async fn registered(world: &World, process: &Arc<Thanks>) {
    let processes: Vec<Arc<dyn Process>> = vec![process.clone()];
    process::register(&world.pool, &processes).await.expect("registered");
}

async fn audited(world: &World) {
    world.caught_up().await;
    world.relayed().await;
    Site::new(&world.servers, &world.pool).await.audit().await;
}

async fn answered(world: &World) {
    until("it has come to the head", async || world.count(POSITION).await == world.head().await)
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_process_answers_what_comes_and_nothing_of_before() {
    let world = World::start().await;
    let parts = world.run();
    let asker = world.asker().await;
    for n in 0..5 {
        asker.ask(cheer("5001", &format!("before-{n}"), 1)).await;
    }
    let thanks = Arc::new(Thanks::default());
    registered(&world, &thanks).await;
    assert_eq!(world.count(POSITION).await, 5);
    // Recorded before it runs, and after it has a position: that is its own.
    asker.ask(cheer("5001", "registered", 1)).await;
    let runs = running(&world, &thanks).await;
    asker.ask(cheer("5001", "running", 1)).await;
    until("both are answered", async || world.available("jar").await == 2).await;
    answered(&world).await;
    assert_eq!(world.available("jar").await, 2);
    runs.stop().await;
    audited(&world).await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_one_answers_and_the_other_goes_on_when_it_dies() {
    let world = World::start().await;
    let parts = world.run();
    let asker = world.asker().await;
    let both = [Arc::new(Thanks::default()), Arc::new(Thanks::default())];
    let first = running(&world, &both[0]).await;
    asker.ask(cheer("5001", "c-0", 1)).await;
    until("the first answers", async || world.available("jar").await == 1).await;
    let second = running(&world, &both[1]).await;
    for n in 1..200 {
        asker.publisher.send(&cheer("5001", &format!("c-{n}"), 1)).await.expect("stored");
        if n == 100 {
            assert_eq!(both[1].seen.load(Ordering::Relaxed), 0, "one at a time");
        }
    }
    // Without a goodbye, and somewhere on its way.
    drop(first);
    until("the second answers the rest", async || world.available("jar").await == 200).await;
    answered(&world).await;
    assert_eq!((world.available("jar").await, world.head().await), (200, 400));
    second.stop().await;
    audited(&world).await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_goes_back_under_it_is_gone_back_to_and_changes_nothing() {
    let world = World::start().await;
    let parts = world.run();
    let asker = world.asker().await;
    let thanks = Arc::new(Thanks::default());
    let runs = running(&world, &thanks).await;
    for n in 0..20 {
        asker.ask(cheer("5001", &format!("c-{n}"), 1)).await;
    }
    until("all are answered", async || world.available("jar").await == 20).await;
    answered(&world).await;
    let commands = world.count(COMMANDS).await;
    let seen = thanks.seen.load(Ordering::Relaxed);
    sqlx::query("UPDATE processes SET position = 0").execute(&world.pool).await.expect("moved");
    until("it sees all again", async || thanks.seen.load(Ordering::Relaxed) == seen + 20).await;
    answered(&world).await;
    // What it sent again comes before this.
    asker.ask(cheer("jar", "last", 1)).await;
    until("all are decided", async || world.count(COMMANDS).await == commands + 2).await;
    assert_eq!(world.available("jar").await, 22);
    runs.stop().await;
    audited(&world).await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_commands_cannot_be_stored_they_wait_and_none_is_lost() {
    let mut world = World::start().await;
    let parts = world.run();
    let asker = world.asker().await;
    let thanks = Arc::new(Thanks::default());
    registered(&world, &thanks).await;
    for n in 0..10 {
        asker.ask(cheer("5001", &format!("c-{n}"), 1)).await;
    }
    let admin = world.broker.jetstream(Role::Admin).await.expect("the admin gets in");
    let mut stream = admin.get_stream("COMMANDS").await.expect("COMMANDS is there");
    let info = stream.info().await.expect("it answers").clone();
    let mut full = info.config.clone();
    full.max_messages = i64::try_from(info.state.messages).expect("a count");
    admin.update_stream(&full).await.expect("full");
    let runs = running(&world, &thanks).await;
    until("it has seen all", async || thanks.seen.load(Ordering::Relaxed) == 10).await;
    assert_eq!(world.count(POSITION).await, 0, "full: nothing is stored, nothing is passed over");
    admin.update_stream(&info.config).await.expect("as it was");
    until("all are answered", async || world.available("jar").await == 10).await;
    answered(&world).await;

    parts.stop().await;
    world.servers.kill_nats().await.expect("killed");
    sqlx::query("UPDATE processes SET position = 0").execute(&world.pool).await.expect("moved");
    until("it has seen all again", async || thanks.seen.load(Ordering::Relaxed) >= 20).await;
    assert_eq!(world.count(POSITION).await, 0, "NATS is away: it waits");
    world.servers.start_nats().await.expect("started again");
    answered(&world).await;
    let parts = world.run();
    asker.ask(cheer("jar", "last", 1)).await;
    until("it is thanked for", async || world.available("jar").await == 12).await;
    runs.stop().await;
    audited(&world).await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_answered_is_a_dead_letter_and_others_go_on() {
    let world = World::start().await;
    let parts = world.run();
    let asker = world.asker().await;
    let unlucky = Arc::new(Thanks { unlucky: true, ..Thanks::default() });
    let runs = running(&world, &unlucky).await;
    for bits in 10..20 {
        asker.ask(cheer("5001", &format!("c-{bits}"), bits)).await;
    }
    until("the others are answered", async || world.available("jar").await == 7).await;
    answered(&world).await;
    let letters = dead_letters::list(&world.pool, true, 10, None).await.expect("letters");
    let said: Vec<(&str, &str, &str)> =
        letters.iter().rev().map(|l| (&*l.name, &*l.key, &*l.reason)).collect();
    assert_eq!(said.len(), 3, "{said:?}");
    assert!(said.iter().all(|(name, key, _)| (*name, *key) == ("thanks", "account/5001")));
    assert!(said[0].2.contains("thirteen brings bad luck"), "{said:?}");
    assert!(said[1].2.contains("no such jar"), "{said:?}");
    assert!(said[2].2.contains("larger than"), "{said:?}");

    let site = Site::new(&world.servers, &world.pool).await;
    let listed = site.tapedeck(&["dead", "list", "--json"]).output().await.expect("it runs");
    let listed = String::from_utf8(listed.stdout).expect("text");
    let of_processes = listed.lines().filter(|line| line.contains("\"source\":\"process\""));
    assert_eq!(of_processes.count(), 3, "{listed}");
    let panicked = letters[2].id;
    let retry = async |id| {
        dead_letters::retry(&world.pool, &asker.publisher, id, None).await.expect("asked again");
    };
    let wished = "SELECT count(*) FROM dead_letters WHERE resolution = 'retry'";
    retry(panicked).await;
    until("it was tried again", async || world.count(wished).await == 0).await;
    assert_eq!(world.count(OPEN).await, 3, "it brings bad luck as before");
    runs.stop().await;

    let mended = running(&world, &Arc::new(Thanks::default())).await;
    for letter in &letters[1..] {
        retry(letter.id).await;
    }
    let id = letters[0].id.to_string();
    let retried = site.tapedeck(&["dead", "retry", &id]).status().await.expect("it runs");
    assert!(retried.success(), "{retried}");
    until("the letters are closed", async || world.count(OPEN).await == 0).await;
    until("all are answered", async || world.available("jar").await == 10).await;
    mended.stop().await;
    audited(&world).await;
    parts.stop().await;
}
