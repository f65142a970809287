//! `tapedeck audit` as a person runs it: it proves what is right, and names what is not.

use std::process::{Output, Stdio};

use chrono::TimeDelta;
use domain::account::{Account, Command};
use domain::broadcast::{self, Broadcast, Moment};
use domain::entry_id;
use futures::TryStreamExt;
use journal::broker::Role;
use journal::{Envelope, copy, history};
use serde_json::Value;
use sqlx::PgPool;

use crate::world::{TAPEDECK, World, at, cheer, hold, origin, to_account, until};

/// A world with some history of every kind, in which nothing runs any more.
async fn recorded() -> World {
    let world = World::start().await;
    let parts = world.run();
    let asker = world.asker().await;
    asker.ask(to_channel("start", |entry| start(entry, "live-1"))).await;
    for n in 0..25 {
        let viewer = ["5001", "5002", "5003"][n % 3];
        asker.ask(cheer(viewer, &format!("cheer-{n}"), 100 + n as i64)).await;
    }
    asker.ask(hold("5001", "hold-1", 50)).await;
    asker.ask(hold("5001", "hold-2", 60)).await;
    asker.ask(hold("5001", "too-much", 1_000_000)).await;
    let entry = |key| entry_id("test", key);
    let capture = Command::Capture { entry: entry("capture"), hold: entry("hold-1") };
    asker.ask(to_account("5001", "capture", capture)).await;
    let reason = "nothing to show".to_owned();
    let release = Command::Release { entry: entry("release"), hold: entry("hold-2"), reason };
    asker.ask(to_account("5001", "release", release)).await;
    asker.ask(reversal("reverse", "cheer-1", -101)).await;
    let follow = Moment::Followed { viewer: "5004".to_owned() };
    asker
        .ask(to_channel("follow", |entry| broadcast::Command::Note {
            entry,
            at: at(),
            moment: follow,
        }))
        .await;
    // A start under another id ends the first broadcast: one command, two events.
    asker.ask(to_channel("again", |entry| start(entry, "live-2"))).await;
    for n in 0..15 {
        asker.ask(cheer("5003", &format!("last-{n}"), 7)).await;
    }
    world.caught_up().await;
    world.relayed().await;
    parts.stop().await;
    world
}

fn start(entry: uuid::Uuid, live_id: &str) -> broadcast::Command {
    let at = at() + TimeDelta::hours(1);
    broadcast::Command::Start { entry, live_id: live_id.to_owned(), at, resume_within_s: 900 }
}

fn to_channel(key: &str, command: impl FnOnce(uuid::Uuid) -> broadcast::Command) -> Envelope {
    let command = command(entry_id("test", key));
    Envelope::new::<Broadcast>("1000", &command, origin(key)).expect("a good address")
}

fn reversal(key: &str, reverses: &str, points: i64) -> Envelope {
    let command = Command::Reverse {
        entry: entry_id("test", key),
        reverses: entry_id("test", reverses),
        points,
        note: "a mistake".to_owned(),
        actor: "a moderator".to_owned(),
    };
    Envelope::new::<Account>("5002", &command, origin(key)).expect("a good address")
}

/// Runs the binary against the servers of `world`.
async fn audit(world: &World, arguments: &[&str]) -> Output {
    let mut command = tokio::process::Command::new(TAPEDECK);
    command
        .arg("--data")
        .arg(world.servers.data.join("none"))
        .arg("audit")
        .args(arguments)
        .env("DATABASE_URL", &world.servers.database_url)
        .env("NATS_URL", &world.servers.nats_url)
        .stdin(Stdio::null());
    for (role, password) in &world.servers.nats_passwords {
        command.env(format!("TAPEDECK_NATS_PASSWORDS__{}", role.to_uppercase()), password);
    }
    command.output().await.expect("the binary runs")
}

/// A check that disagrees, with the position and the sentence.
type Named = (String, Option<i64>, String);

/// What an audit of everything names, which must not agree.
async fn disagreements(world: &World) -> Vec<Named> {
    named(world, &["--everything", "--json", "--wait", "1"]).await
}

/// What an audit names that is told nothing, and must not agree.
async fn plainly(world: &World) -> Vec<Named> {
    named(world, &["--json", "--wait", "1"]).await
}

async fn named(world: &World, arguments: &[&str]) -> Vec<Named> {
    let output = audit(world, arguments).await;
    assert_eq!(output.status.code(), Some(3), "{}", text(&output));
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let proofs = report["proofs"].as_array().expect("proofs");
    proofs
        .iter()
        .flat_map(|proof| {
            let found = proof["findings"]["first"].as_array().expect("a list");
            found.iter().map(|found| {
                let word = |value: &Value| value.as_str().expect("text").to_owned();
                (word(&proof["check"]), found["position"].as_i64(), word(&found["sentence"]))
            })
        })
        .collect()
}

fn text(output: &Output) -> String {
    format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}

async fn agrees(world: &World) {
    for arguments in [vec![], vec!["--everything"]] {
        let output = audit(world, &arguments).await;
        assert!(output.status.success(), "{}", text(&output));
    }
}

/// One session that may do what nobody may: change history.
struct Intruder(PgPool);

impl Intruder {
    async fn enter(world: &World) -> Self {
        let pool = sqlx::postgres::PgPoolOptions::new()
            .max_connections(1)
            .connect(&world.servers.admin_database_url)
            .await
            .expect("the superuser gets in");
        let intruder = Intruder(pool);
        intruder.run("SET session_replication_role = replica").await;
        intruder
    }

    async fn run(&self, statements: &str) {
        sqlx::raw_sql(statements).execute(&self.0).await.expect("the statements are right");
    }

    async fn number(&self, query: &str) -> i64 {
        sqlx::query_scalar(query).fetch_one(&self.0).await.expect("the query is right")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_untouched_journal_is_proved_in_whole_in_part_and_as_a_file() {
    let world = recorded().await;
    let head = world.head().await;
    let plain = audit(&world, &[]).await;
    let says = format!("events from 1 on, and the newest {head} are those events");
    assert!(plain.status.success() && text(&plain).contains(&says), "{}", text(&plain));
    let whole = audit(&world, &["--everything"]).await;
    assert!(whole.status.success(), "{}", text(&whole));
    let counted = [&plain, &whole].map(|output| text(output).contains("were counted and added up"));
    assert_eq!(counted, [true, false]);
    for check in [
        "positions",
        "hash chain",
        "times",
        "sequences",
        "accounts",
        "commands",
        "event ids",
        "reversals",
        "balances",
        "statements",
        "alerts",
        "broadcasts",
        "EVENTS",
    ] {
        assert!(text(&whole).contains(check), "{check} is not in {}", text(&whole));
    }
    assert!(text(&whole).contains(&format!("position {head} of {head}")), "{}", text(&whole));

    for position in [0, 1, 12, head] {
        let then = audit(&world, &["--at", &position.to_string()]).await;
        assert!(then.status.success(), "at {position}: {}", text(&then));
    }
    let before = audit(&world, &["--at", "2020-01-01T00:00:00Z"]).await;
    assert!(text(&before).contains(&format!("position 0 of {head}")), "{}", text(&before));
    let beyond = audit(&world, &["--at", &(head + 1).to_string()]).await;
    assert_eq!(beyond.status.code(), Some(1), "{}", text(&beyond));

    let one = audit(&world, &["--account", "5001", "--json"]).await;
    let report: Value = serde_json::from_slice(&one.stdout).expect("JSON");
    let lines = report["accounts"]["5001"].as_array().expect("entries");
    let last = lines.last().expect("an entry");
    assert_eq!(last["kind"], "released");
    assert_eq!(last["captured"], 50);
    assert_eq!(last["available"], world.available("5001").await);

    let folder = world.servers.data.join("exported");
    std::fs::create_dir(&folder).expect("a folder");
    let file = folder.join("history.jsonl").display().to_string();
    assert!(audit(&world, &["--export", &file]).await.status.success());
    let checked = audit(&world, &["--import-check", &file]).await;
    assert!(checked.status.success(), "{}", text(&checked));

    let exported = std::fs::read_to_string(&file).expect("the file is there");
    let lines: Vec<&str> = exported.lines().collect();
    assert_eq!(lines.len() as i64, head + 2);
    let damaged = [
        (lines[..20].join("\n"), "after line 20, without a trailer"),
        (exported.replacen("\"bits\":105", "\"bits\":106", 1), "content does not match its hash"),
        (exported.replacen(lines[8], "", 1), "line 9 is no event"),
    ];
    for (content, says) in damaged {
        std::fs::write(&file, content).expect("the file can be changed");
        let checked = audit(&world, &["--import-check", &file]).await;
        assert_eq!(checked.status.code(), Some(3), "{}", text(&checked));
        assert!(text(&checked).contains(says), "{says} is not in {}", text(&checked));
    }
}

/// Each damage of which an audit has to know without being told to look at everything.
#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_a_lost_end_a_changed_balance_and_a_removed_message_are_named() {
    let world = recorded().await;
    long(&world).await;
    let intruder = Intruder::enter(&world).await;
    let head = world.head().await;
    intruder.run("CREATE TABLE kept AS SELECT * FROM events").await;
    let back = async |changed: &str| {
        intruder
            .run(&format!(
                "DELETE FROM events WHERE {changed};
                 INSERT INTO events SELECT * FROM kept WHERE {changed}"
            ))
            .await;
        agrees(&world).await;
    };

    intruder
        .run(
            "UPDATE events SET payload = replace(payload::text, '\"bits\":105', '\"bits\":115')::json
             WHERE position = 7",
        )
        .await;
    let sentence = "event 7 (account 5003 #2 credited): content does not match its hash; message 7 of EVENTS \
                    still has what was recorded";
    let flipped = ("hash chain".to_owned(), Some(7), sentence.to_owned());
    assert_eq!(plainly(&world).await[0], flipped);
    back("position = 7").await;

    let end = head - 10;
    intruder.run(&format!("DELETE FROM events WHERE position > {end}")).await;
    let found = plainly(&world).await;
    let lost = format!(
        "head says {head} but events end at {end}; events {} to {head} are missing",
        end + 1
    );
    assert_eq!(found[0], ("positions".to_owned(), Some(end + 1), lost));
    assert!(found.iter().any(|(check, ..)| check == "balances"), "{found:?}");
    let unknown = found.iter().filter(|(check, ..)| check == "EVENTS");
    let positions: Vec<_> = unknown.map(|(_, position, _)| *position).collect();
    assert_eq!(positions, (end + 1..=head).map(Some).collect::<Vec<_>>(), "{found:?}");
    back(&format!("position > {end}")).await;

    intruder
        .run("UPDATE projections.balances SET available = available + 1 WHERE account = '5002'")
        .await;
    let last =
        intruder.number("SELECT max(position) FROM events WHERE aggregate_id = '5002'").await;
    let found = plainly(&world).await;
    assert_eq!((found.len(), found[0].0.as_str(), found[0].1), (1, "balances", Some(last)));
    intruder
        .run("UPDATE projections.balances SET available = available - 1 WHERE account = '5002'")
        .await;
    agrees(&world).await;

    // A history that was written anew from one event to its end agrees with itself, and EVENTS does not with it.
    written_anew(&world, &intruder, 9).await;
    let found = plainly(&world).await;
    let of_events = found.iter().find(|(check, ..)| check == "EVENTS").map(|(_, at, _)| *at);
    assert_eq!(of_events, Some(Some(9)), "{found:?}");
    assert!(!found.iter().any(|(check, ..)| check == "hash chain"), "{found:?}");
    let hash = "UPDATE head SET hash = (SELECT hash FROM kept WHERE position = head.position)";
    intruder.run(hash).await;
    back("position >= 9").await;

    let admin = world.broker.jetstream(Role::Admin).await.expect("the admin gets in");
    let stream = admin.get_stream("EVENTS").await.expect("EVENTS is there");
    stream.delete_message(11).await.expect("a message can be removed");
    let missing =
        |at: i64| ("EVENTS".to_owned(), Some(at), format!("EVENTS: sequence {at} is missing"));
    assert_eq!(plainly(&world).await, [missing(11)]);
    stream.delete_message(head.unsigned_abs()).await.expect("the last can be removed too");
    assert_eq!(plainly(&world).await, [missing(11), missing(head)]);
}

/// More events than an audit compares of EVENTS when nothing disagrees.
async fn long(world: &World) {
    let parts = world.run();
    let publisher = world.publisher().await;
    let longer = world.head().await + 1_100;
    for n in 0..1_100 {
        publisher.send(&cheer("5003", &format!("long-{n}"), 2)).await.expect("stored");
    }
    until("all are decided", async || world.head().await == longer).await;
    world.caught_up().await;
    world.relayed().await;
    parts.stop().await;
}

/// Moves the event at `from` by a microsecond, and makes every link from there on follow from it.
async fn written_anew(world: &World, intruder: &Intruder, from: i64) {
    let mut connection = world.pool.acquire().await.expect("a connection");
    let rows: Vec<_> = history::read(&mut connection, from - 2, world.head().await, None)
        .try_concat()
        .await
        .expect("history");
    let mut link = *rows[0].hash();
    for row in &rows[1..] {
        let mut content = row.content();
        content.recorded_at -= i64::from(content.position == from);
        link = content.link(&link);
        sqlx::query(
            "UPDATE events SET hash = $2, recorded_at = recorded_at - $3 * interval '1 microsecond'
             WHERE position = $1",
        )
        .bind(content.position)
        .bind(&link[..])
        .bind(i32::from(content.position == from))
        .execute(&intruder.0)
        .await
        .expect("it is changed");
    }
    sqlx::query("UPDATE head SET hash = $1")
        .bind(&link[..])
        .execute(&intruder.0)
        .await
        .expect("so is the head");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_history_are_named_with_their_position() {
    let world = recorded().await;
    let intruder = Intruder::enter(&world).await;
    let head = world.head().await;

    intruder
        .run(
            "CREATE TABLE kept AS SELECT * FROM events;
             UPDATE events SET payload = replace(payload::text, '\"bits\":105', '\"bits\":115')::json
             WHERE position = 7",
        )
        .await;
    let found = disagreements(&world).await;
    assert_eq!(
        found[0],
        (
            "hash chain".to_owned(),
            Some(7),
            "event 7 (account 5003 #2 credited): content does not match its hash; message 7 of EVENTS still \
             has what was recorded"
                .to_owned()
        )
    );
    // The alert was made from what was there before.
    assert_eq!((found[1].0.as_str(), found[1].1), ("alerts", Some(7)));
    assert_eq!(found.len(), 2, "{found:?}");
    intruder
        .run("UPDATE events e SET payload = k.payload FROM kept k WHERE k.position = e.position AND e.position = 7")
        .await;
    agrees(&world).await;

    // A byte by which the broadcasts cannot even be folded again: all else is still said.
    let again =
        intruder.number("SELECT max(position) FROM events WHERE event_type = 'started'").await;
    intruder
        .run(&format!(
            "UPDATE events SET payload = replace(payload::text, '\"broadcast\":2', '\"broadcast\":1')::json
             WHERE position = {again}"
        ))
        .await;
    let found = disagreements(&world).await;
    assert_eq!((found[0].0.as_str(), found[0].1), ("hash chain", Some(again)), "{found:?}");
    assert!(
        found.iter().any(|(check, at, _)| check == "broadcasts" && *at == Some(again)),
        "{found:?}"
    );
    intruder
        .run(&format!(
            "UPDATE events e SET payload = k.payload FROM kept k
             WHERE k.position = e.position AND e.position = {again}"
        ))
        .await;
    agrees(&world).await;

    let end = head - 10;
    intruder.run(&format!("DELETE FROM events WHERE position > {end}")).await;
    let found = disagreements(&world).await;
    let sentence = format!(
        "head says {head} but events end at {end}; events {} to {head} are missing",
        end + 1
    );
    assert_eq!(found[0], ("positions".to_owned(), Some(end + 1), sentence));
    for check in ["commands", "balances", "statements", "alerts", "EVENTS"] {
        assert!(found.iter().any(|(name, ..)| name == check), "{check} is not in {found:?}");
    }
    intruder.run(&format!("INSERT INTO events SELECT * FROM kept WHERE position > {end}")).await;
    agrees(&world).await;

    intruder.run("DELETE FROM events WHERE position = 20").await;
    let found = disagreements(&world).await;
    assert_eq!(found[0], ("positions".to_owned(), Some(20), "event 20 is missing".to_owned()));
    assert!(!found.iter().any(|(check, ..)| check == "hash chain"), "{found:?}");
    intruder.run("INSERT INTO events SELECT * FROM kept WHERE position = 20").await;
    agrees(&world).await;

    intruder
        .run("UPDATE events SET recorded_at = recorded_at - interval '1 day' WHERE position = 30")
        .await;
    let found = disagreements(&world).await;
    assert!(found.iter().any(|(check, at, _)| check == "times" && *at == Some(30)), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_what_was_made_from_history_are_named() {
    let world = recorded().await;
    let intruder = Intruder::enter(&world).await;
    let last_of_5002 =
        intruder.number("SELECT max(position) FROM events WHERE aggregate_id = '5002'").await;
    let available = world.available("5002").await;
    let reversed =
        intruder.number("SELECT position FROM events WHERE event_type = 'reversed'").await;

    // What is done, what undoes it, the check, position and words that must come of it, and whether it shows in what an
    // audit counts and adds up when it is not told to compare everything.
    let cases = [
        (
            "UPDATE projections.balances SET available = available + 1 WHERE account = '5002'",
            "UPDATE projections.balances SET available = available - 1 WHERE account = '5002'",
            "balances",
            Some(last_of_5002),
            format!("balance of account 5002: available is {}, history says {available}", available + 1),
            true,
        ),
        (
            "UPDATE projections.statements SET held_delta = 1 WHERE position = 5",
            "UPDATE projections.statements SET held_delta = 0 WHERE position = 5",
            "statements",
            Some(5),
            "statements.held_delta is 1, history says 0".to_owned(),
            true,
        ),
        (
            "CREATE TABLE removed AS SELECT * FROM projections.statements WHERE position = 5;
             DELETE FROM projections.statements WHERE position = 5",
            "INSERT INTO projections.statements SELECT * FROM removed",
            "statements",
            Some(5),
            "its row in statements is missing".to_owned(),
            true,
        ),
        (
            "UPDATE projections.alerts SET kind = 'raid' WHERE position = 3",
            "UPDATE projections.alerts SET kind = 'cheer' WHERE position = 3",
            "alerts",
            Some(3),
            "alerts.kind is raid, history says cheer".to_owned(),
            false,
        ),
        (
            "UPDATE projections.broadcasts SET live_id = 'x' WHERE number = 1",
            "UPDATE projections.broadcasts SET live_id = 'live-1' WHERE number = 1",
            "broadcasts",
            Some(1),
            "broadcasts (broadcaster 1000, number 1): live_id is x, history says live-1".to_owned(),
            false,
        ),
        (
            "CREATE TABLE taken AS SELECT * FROM command_outcomes WHERE first_position = 9;
             DELETE FROM command_outcomes WHERE first_position = 9",
            "INSERT INTO command_outcomes SELECT * FROM taken",
            "commands",
            Some(9),
            "history has 1 event at 9, its outcome says nothing accepted".to_owned(),
            true,
        ),
        (
            "UPDATE command_outcomes SET first_position = 4 WHERE first_position = 3",
            "UPDATE command_outcomes SET first_position = 3
             WHERE first_position = 4 AND command_id = (SELECT command_id FROM events WHERE position = 3)",
            "reversals",
            Some(reversed),
            "an entry of this account was expected, and it has event 4 of account 5003".to_owned(),
            true,
        ),
    ];
    for (damage, repair, check, position, words, counts) in cases {
        intruder.run(damage).await;
        let found = disagreements(&world).await;
        let named = found
            .iter()
            .any(|(name, at, says)| name == check && *at == position && says.contains(&words));
        assert!(named, "after {damage}: {check} {position:?} {words} is not in {found:?}");
        if counts {
            assert_eq!(plainly(&world).await, found, "after {damage}");
        } else {
            let output = audit(&world, &[]).await;
            assert!(output.status.success(), "after {damage}: {}", text(&output));
        }
        intruder.run(repair).await;
    }
    agrees(&world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_events_is_named() {
    let world = recorded().await;
    let head = world.head().await;
    let admin = world.broker.jetstream(Role::Admin).await.expect("the admin gets in");
    let stream = admin.get_stream("EVENTS").await.expect("EVENTS is there");

    stream.delete_message(17).await.expect("a message can be removed");
    let hole = ("EVENTS".to_owned(), Some(17), "EVENTS: sequence 17 is missing".to_owned());
    assert_eq!(disagreements(&world).await, std::slice::from_ref(&hole));
    assert_eq!(plainly(&world).await, std::slice::from_ref(&hole));

    let relay = world.broker.jetstream(Role::Relay).await.expect("the relay gets in");
    let sent = relay.publish("evt.account.5001.credited", "{}".into()).await.expect("sent");
    sent.await.expect("stored");
    let found = disagreements(&world).await;
    assert_eq!(plainly(&world).await, found);
    assert_eq!(found[0], hole);
    assert_eq!(
        (found[1].1, found[1].2.as_str()),
        (
            Some(head + 1),
            format!(
                "EVENTS ends at {} but PostgreSQL at {head}: messages {} to {} have no event",
                head + 1,
                head + 1,
                head + 1
            )
            .as_str()
        )
    );

    stream.purge().await.expect("it can be emptied");
    let found = disagreements(&world).await;
    assert_eq!(plainly(&world).await, found);
    assert!(found.iter().any(|(.., says)| says.contains("holds no messages")), "{found:?}");

    admin.delete_stream("EVENTS").await.expect("it can be removed");
    let found = disagreements(&world).await;
    assert_eq!(plainly(&world).await, found);
    assert!(found[0].2.contains("EVENTS does not exist"), "{found:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_at_the_head_of_events_is_named_unless_it_was_trimmed_on_purpose() {
    let world = recorded().await;
    let admin = world.broker.jetstream(Role::Admin).await.expect("the admin gets in");
    let stream = admin.get_stream("EVENTS").await.expect("EVENTS is there");
    let says = |begins: i64, missing: &str| {
        format!(
            "EVENTS begins at {begins}: {missing}; if you trimmed it, say so with --events-from {begins}, and if not, \
             delete EVENTS: the relay fills it again"
        )
    };

    stream.delete_message(1).await.expect("a message can be removed");
    let first = ("EVENTS".to_owned(), Some(1), says(2, "message 1 is missing"));
    assert_eq!(disagreements(&world).await, std::slice::from_ref(&first));
    assert_eq!(plainly(&world).await, std::slice::from_ref(&first));

    stream.purge().sequence(6).await.expect("it can be trimmed");
    stream.delete_message(17).await.expect("a message can be removed");
    let head = ("EVENTS".to_owned(), Some(1), says(6, "messages 1 to 5 are missing"));
    let hole = ("EVENTS".to_owned(), Some(17), "EVENTS: sequence 17 is missing".to_owned());
    assert_eq!(disagreements(&world).await, [head.clone(), hole.clone()]);
    assert_eq!(plainly(&world).await, [head, hole]);

    // Whoever trimmed it says so; what is missing beyond that is named.
    stream.purge().sequence(18).await.expect("it can be trimmed");
    for (from, missing) in [
        ("18", None),
        ("500", None),
        ("17", Some("message 17 is")),
        ("9", Some("messages 9 to 17 are")),
    ] {
        for arguments in [vec!["--events-from", from], vec!["--everything", "--events-from", from]]
        {
            let trimmed = audit(&world, &arguments).await;
            let text = text(&trimmed);
            assert!(text.contains("begins at 18"), "from {from}: {text}");
            assert_eq!(
                trimmed.status.code(),
                Some(missing.map_or(0, |_| 3)),
                "from {from}: {text}"
            );
            assert!(missing.is_none_or(|missing| text.contains(missing)), "from {from}: {text}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_beside_a_live_system_agrees() {
    let world = World::start().await;
    let parts = world.run();
    // Before the projections are made for the first time there is nothing to compare, and the audit says so.
    until("all projections are live", async || {
        let live = world.count("SELECT count(*) FROM checkpoints WHERE status = 'live'").await;
        live == projections::all().len() as i64
    })
    .await;
    let publisher = world.publisher().await;
    let writing = tokio::spawn(async move {
        for n in 0..2_000 {
            let viewer = format!("{}", 5_000 + n % 50);
            publisher.send(&cheer(&viewer, &format!("m{n}"), 5)).await.expect("stored");
        }
    });
    let mut audits = 0;
    while !writing.is_finished() || audits < 2 {
        let mut arguments = vec!["--wait", "30"];
        arguments.extend((audits % 2 == 0).then_some("--everything"));
        let output = audit(&world, &arguments).await;
        assert!(output.status.success(), "{}", text(&output));
        audits += 1;
    }
    writing.await.expect("all were sent");
    world.caught_up().await;
    agrees(&world).await;
    parts.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn servers_that_do_not_answer_are_not_a_disagreement() {
    let mut world = World::start().await;
    world.servers.kill_nats().await.expect("it can be killed");
    let output = audit(&world, &[]).await;
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
    // What was, PostgreSQL alone knows.
    assert!(audit(&world, &["--at", "0"]).await.status.success());
    world.servers.kill_postgres().await.expect("it can be killed");
    let output = audit(&world, &[]).await;
    assert_eq!(output.status.code(), Some(4), "{}", text(&output));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cut_connection_never_looks_like_the_end() {
    let world = World::start().await;
    let mut reading = world.pool.acquire().await.expect("a connection");
    let backend: i32 = sqlx::query_scalar("SELECT pg_backend_pid()")
        .fetch_one(&mut *reading)
        .await
        .expect("a process");
    let query = "SELECT n, repeat('x', 1000) FROM generate_series(1::bigint, 1000000) AS n";
    let mut batches = std::pin::pin!(copy::rows::<2>(&mut reading, query));
    assert!(batches.try_next().await.expect("rows").is_some());
    let ended = sqlx::query("SELECT pg_terminate_backend($1)").bind(backend);
    ended.execute(&world.pool).await.expect("it can be ended");
    let mut rows = 0;
    let cut = loop {
        match batches.try_next().await {
            Ok(Some(batch)) => rows += batch.len(),
            end => break end,
        }
    };
    assert!(cut.is_err(), "it ended after {rows} rows as if there were no more");
}
