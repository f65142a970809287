//! The whole history: proved by the audit, and folded anew into a projection.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use async_nats::jetstream::consumer::push::OrderedConfig;
use domain::account::Event;
use futures::TryStreamExt;
use journal::broker::{Broker, Role};
use journal::{copy, relay};
use tokio::process::Command;
use tokio::task::JoinHandle;

use crate::figures::{Figure, Report, number};
use crate::ground::{Ground, TAPEDECK};
use crate::measure::{processor_seconds, resident_kib_max};
use crate::parts::Scale;
use crate::stock::{AccountView, Stock};
use crate::work::ACCOUNTS;

const AUDIT_GROUP: &str = "Audit";
const REBUILD_GROUP: &str = "Rebuild of balances";
const AUDIT_MAX: Duration = Duration::from_secs(900);
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// What a fold of the balances needs.
const PAYLOADS: &str = "SELECT aggregate_id, payload FROM events WHERE position <= $1";
/// What an audit has to read.
const EVERYTHING: &str =
    "SELECT aggregate_id, payload, aggregate_type, sequence, event_type, event_version,
        metadata, position, event_id, command_id, recorded_at, hash
 FROM events WHERE position <= $1 ORDER BY position";
const AUDIT_MIB_MAX: f64 = 256.0;

pub async fn audit(ground: &Ground, scale: &Scale, report: &mut Report) -> anyhow::Result<()> {
    let position = ground.position().await?;
    eprintln!("audit of {position} events");
    let stock = Stock::prepare(ground, 10).await?;
    stock.fill(ground, position).await?;
    ground.vacuum().await?;
    let (elapsed, replayed) = stock.replay_in_memory().await?;
    stock.remove(ground).await?;
    ensure!(replayed > 0, "stock replayed nothing");
    let stock_rate = replayed as f64 / elapsed.as_secs_f64();
    let rate_of = |elapsed: Duration| position as f64 / elapsed.as_secs_f64();
    let payloads_rate = rate_of(bare_fold::<2>(ground, PAYLOADS, position).await?);
    let fold_rate = rate_of(bare_fold::<12>(ground, EVERYTHING, position).await?);
    let audited = run_audit(ground, &[]).await?;
    let everything = run_audit(ground, &["--everything"]).await?;
    let (rate, everything_rate) = (rate_of(audited.elapsed), rate_of(everything.elapsed));
    let copies_rate = rate_of(bare_copies(ground, position).await?);
    let title = "tapedeck audit: history, every balance; the copies by count and sum";
    let figure = Figure::new(AUDIT_GROUP, title, "events per second", rate);
    let target = "2× QueryReplay in memory";
    report.add(figure.beside(stock_rate).target(target, rate >= 2.0 * stock_rate));
    let title = "tapedeck audit --everything: each message, outcome and row made from history too";
    let figure = Figure::new(AUDIT_GROUP, title, "events per second", everything_rate);
    report.add(figure.beside(stock_rate).target(target, everything_rate >= 2.0 * stock_rate));
    let title =
        "only reading what --everything reads: history, EVENTS, outcomes, statements, alerts";
    report.add(Figure::new(AUDIT_GROUP, title, "events per second", copies_rate));
    let title = "processor time of PostgreSQL and nats-server alone for --everything";
    let servers_us = everything.servers_seconds * 1e6 / position as f64;
    report.add(Figure::new(AUDIT_GROUP, title, "µs per event", servers_us).less_is_better());
    for (columns, rate) in [("every column, in order", fold_rate), ("payloads", payloads_rate)] {
        let title = format!("a bare COPY of {columns}, and a JSON fold");
        report.add(Figure::new(AUDIT_GROUP, title, "events per second", rate));
    }
    let share = rate / fold_rate * 100.0;
    let title = "the audit's speed as a share of the bare fold of every column";
    let figure = Figure::new(AUDIT_GROUP, title, "%", share);
    report.add(figure.target("aim: 80 %", share >= 80.0));
    for (title, audited) in [
        ("the most memory the audit had resident", &audited),
        ("the most memory it had with --everything", &everything),
    ] {
        let mib = audited.resident_kib_max as f64 / 1024.0;
        report.add(
            Figure::new(AUDIT_GROUP, title, "MiB", mib)
                .less_is_better()
                .target("at most 256 MiB", mib <= AUDIT_MIB_MAX),
        );
    }
    report.note(format!(
        "Audit: `tapedeck audit --json` as its own process over {} events in all, {} of them asked for with --events \
         (made by commands through the whole path, {ACCOUNTS} accounts, with holds, captures and releases), in {} s, and in \
         {} s with --everything, from start to exit, starting the program included. Memory is VmHWM, read while it runs. \
         Stock is `QueryReplay::replay_all` over the same events in its own table, into a HashMap; it checks nothing. All \
         tables were vacuumed before, stock's and ours. The audit makes the same of history, and proves positions, hash \
         chain, numbers, ids and books on the way; it counts and adds up commands, statements and EVENTS. --everything \
         reads four copies more of every event; the line \"only reading\" reads them all at once and does nothing with \
         them, which nothing that compares them on these processors can beat. Twice QueryReplay would leave {:.1} µs of \
         processor time per event to all of it.",
        position,
        scale.events,
        number(audited.elapsed.as_secs_f64()),
        number(everything.elapsed.as_secs_f64()),
        processors()? * 1e6 / (2.0 * stock_rate),
    ));
    Ok(())
}

fn processors() -> anyhow::Result<f64> {
    Ok(std::thread::available_parallelism()?.get() as f64)
}

struct Audited {
    elapsed: Duration,
    /// Of processor time that the servers used meanwhile.
    servers_seconds: f64,
    resident_kib_max: u64,
}

async fn run_audit(ground: &Ground, arguments: &[&str]) -> anyhow::Result<Audited> {
    let servers = || -> f64 {
        [ground.postgres_process, ground.nats_process].map(processor_seconds).iter().sum()
    };
    let (used, started) = (servers(), Instant::now());
    let mut child = Command::new(TAPEDECK)
        .args(["audit", "--json"])
        .args(arguments)
        .envs(ground.environment()?)
        .current_dir(&ground.servers.data)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("starting the audit")?;
    let id = child.id().context("the audit has no process id")?;
    let mut resident = 0;
    let output = {
        let ended = child.wait();
        tokio::pin!(ended);
        loop {
            tokio::select! {
                status = &mut ended => break status?,
                () = tokio::time::sleep(LOOK_EVERY) => {
                    resident = resident_kib_max(id).unwrap_or(0).max(resident);
                    ensure!(started.elapsed() < AUDIT_MAX, "the audit took longer than {AUDIT_MAX:?}");
                }
            }
        }
    };
    let elapsed = started.elapsed();
    let rest = child.wait_with_output().await?;
    ensure!(
        output.success(),
        "the audit ended with {output}: {}{}",
        String::from_utf8_lossy(&rest.stdout),
        String::from_utf8_lossy(&rest.stderr),
    );
    Ok(Audited { elapsed, servers_seconds: servers() - used, resident_kib_max: resident })
}

/// As fast as it can be with this format: rows by COPY, the payloads parsed, summed up by account, and nothing else.
async fn bare_fold<const N: usize>(
    ground: &Ground,
    query: &str,
    until: i64,
) -> anyhow::Result<Duration> {
    let mut connection = ground.pool.acquire().await?;
    let started = Instant::now();
    let query = query.replace("$1", &until.to_string());
    let mut accounts: HashMap<String, AccountView> = HashMap::new();
    let mut count = 0;
    {
        let mut rows = std::pin::pin!(copy::rows::<N>(&mut connection, &query));
        while let Some(batch) = rows.try_next().await? {
            for row in &batch {
                let event: Event = serde_json::from_str(row.text(1)?)?;
                let account = row.text(0)?;
                match accounts.get_mut(account) {
                    Some(view) => view.fold(&event),
                    None => {
                        let mut view = AccountView::default();
                        view.fold(&event);
                        accounts.insert(account.to_owned(), view);
                    }
                }
            }
            count += batch.len() as i64;
        }
    }
    ensure!(count == until, "the fold read {count} of {until} events");
    Ok(started.elapsed())
}

/// What the whole audit has to read in PostgreSQL, history first.
const COPIES: [(Read, &str); 4] = [
    (
        bare_copy::<12>,
        "SELECT position, sequence, recorded_at, event_id, command_id, hash, aggregate_type,
            aggregate_id, event_type, event_version, payload, metadata
         FROM events ORDER BY position",
    ),
    (
        bare_copy::<5>,
        "SELECT command_id, first_position, events, aggregate_type, aggregate_id
         FROM command_outcomes WHERE outcome = 'accepted'",
    ),
    (
        bare_copy::<6>,
        "SELECT position, account, kind, available_delta, held_delta, at
         FROM projections.statements ORDER BY position",
    ),
    (
        bare_copy::<6>,
        "SELECT position, id, kind, viewer, data, at FROM projections.alerts ORDER BY position",
    ),
];

type Read = fn(&Ground, &'static str) -> JoinHandle<anyhow::Result<()>>;

/// These and EVENTS, all at once, and nothing done with them.
async fn bare_copies(ground: &Ground, until: i64) -> anyhow::Result<Duration> {
    let started = Instant::now();
    let mut reads = vec![tokio::spawn(bare_messages(ground.broker(), until))];
    reads.extend(COPIES.iter().map(|(read, query)| read(ground, query)));
    for read in reads {
        read.await??;
    }
    Ok(started.elapsed())
}

fn bare_copy<const N: usize>(
    ground: &Ground,
    query: &'static str,
) -> JoinHandle<anyhow::Result<()>> {
    let pool = ground.pool.clone();
    tokio::spawn(async move {
        let mut connection = pool.acquire().await?;
        let mut rows = std::pin::pin!(copy::rows::<N>(&mut connection, query));
        while rows.try_next().await?.is_some() {}
        Ok(())
    })
}

async fn bare_messages(broker: Broker, until: i64) -> anyhow::Result<()> {
    let jetstream = broker.jetstream(Role::Follower).await?;
    let deliver_subject = jetstream.client().new_inbox();
    let config = OrderedConfig { deliver_subject, ..OrderedConfig::default() };
    let consumer = jetstream.create_consumer_on_stream(config, relay::EVENTS).await?;
    let mut messages = consumer.messages().await?;
    for _ in 0..until {
        messages.try_next().await?.context("EVENTS ends early")?;
    }
    Ok(())
}

pub async fn rebuild(ground: &Ground, scale: &Scale, report: &mut Report) -> anyhow::Result<()> {
    let position = ground.position().await?;
    eprintln!("rebuild of balances from {position} events");
    let mut rates = HashMap::new();
    for projection in projections::all() {
        let (name, started) = (projection.name(), Instant::now());
        let rebuilt =
            journal::follower::rebuild(&ground.pool, Arc::clone(&projection), |_, _| {}).await?;
        ensure!(rebuilt.position == position, "{name} was rebuilt to {}", rebuilt.position);
        rates.insert(name, position as f64 / started.elapsed().as_secs_f64());
        eprintln!("    {name}: {:.0} events per second", rates[name]);
    }
    let stock = Stock::prepare(ground, 10).await?;
    let events = stock.fill(ground, i64::try_from(scale.view_events)?.min(position)).await?;
    let elapsed = stock.replay_into_view().await?;
    stock.remove(ground).await?;
    let stock_rate = events as f64 / elapsed.as_secs_f64();
    let rate = rates["balances"];
    report.add(
        Figure::new(
            REBUILD_GROUP,
            "balances rebuilt beside the live ones",
            "events per second",
            rate,
        )
        .beside(stock_rate)
        .target("50×, aim 100×", rate >= 50.0 * stock_rate),
    );
    report.add(Figure::new(
        REBUILD_GROUP,
        "statements, likewise",
        "events per second",
        rates["statements"],
    ));
    report.note(format!(
        "Rebuild: `journal::follower::rebuild` folds {position} events into new tables and puts them in the place of \
         the old ones. Stock: `QueryReplay` into an empty `GenericQuery` view, over the first {events} of the same \
         events only, because it would take many minutes with all of them.",
    ));
    Ok(())
}
