//! Commands per second: acknowledged on disk by JetStream, committed, and projected; and what a command costs when
//! the history behind it grows.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use journal::Decision;
use journal::ingest::Publisher;
use journal::replies::Replies;

use crate::engine::Engine;
use crate::figures::{Figure, Report, number};
use crate::ground::{Folders, Ground, on_empty};
use crate::measure::{Latencies, Percentiles, processor_seconds};
use crate::parts::Scale;
use crate::stock::{DOCUMENTED_CONNECTIONS, Executed, Stock};
use crate::work::{ACCOUNTS, Mix, Work, send};

const GROUP: &str = "Commands";
const HISTORY_GROUP: &str = "Commands, with longer histories";

/// What must have folded a command before it counts.
const PROJECTED: [&str; 2] = ["balances", "statements"];
const PROJECTED_MAX: Duration = Duration::from_secs(300);

/// How a run of commands went.
struct Taken {
    seconds: f64,
    per_second: f64,
    acknowledged: Percentiles,
    /// Microseconds of processor time per command: this process, nats-server, PostgreSQL.
    processor_us: [f64; 3],
}

impl Taken {
    fn processor_us_in_all(&self) -> f64 {
        self.processor_us.iter().sum()
    }
}

/// What stock and Tapedeck made of the same commands, each from empty tables, one soon after the other.
struct Round {
    connections: u32,
    stock_few: Executed,
    stock: Executed,
    taken: Taken,
    webhooks: Taken,
    alone: Percentiles,
}

impl Round {
    fn times(&self) -> f64 {
        self.taken.per_second / self.stock.per_second
    }

    fn times_few(&self) -> f64 {
        self.taken.per_second / self.stock_few.per_second
    }
}

/// Measures in rounds: a shared machine is uneven, and a fast moment of one side and a slow one of the other would be taken
/// for a difference. Of each comparison the round in the middle is shown.
pub async fn beside_stock(
    folders: &mut Folders,
    scale: &Scale,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut rounds = Vec::new();
    for n in 1..=scale.rounds {
        eprintln!("commands per second, round {n} of {}", scale.rounds);
        rounds.push(on_empty(folders, async |ground| one_round(ground, scale).await).await?);
    }
    let same = middle(&rounds, Round::times).context("there was no round")?;
    let few = middle(&rounds, Round::times_few).context("there was no round")?;
    add(report, scale, same, few);
    let all = |times: fn(&Round) -> f64| {
        rounds.iter().map(|round| number(times(round))).collect::<Vec<_>>().join(", ")
    };
    report.note(format!(
        "Commands: {} rounds, each on servers of its own with empty tables; of each comparison the round in the middle is \
         shown. In their order they came to {} times stock with the same commands, and to {} times stock with {}.",
        scale.rounds,
        all(Round::times),
        all(Round::times_few),
        number(scale.few_commands as f64),
    ));
    Ok(())
}

/// Of an odd number of rounds, by `times`.
fn middle(rounds: &[Round], times: fn(&Round) -> f64) -> Option<&Round> {
    let mut ordered: Vec<&Round> = rounds.iter().collect();
    ordered.sort_by(|a, b| times(a).total_cmp(&times(b)));
    ordered.get(ordered.len() / 2).copied()
}

async fn one_round(ground: &Ground, scale: &Scale) -> anyhow::Result<Round> {
    eprintln!("    stock cqrs-es and postgres-es");
    let few = Work::new("few", scale.few_commands, Mix::Cheers);
    let mut best: Option<(u32, Executed)> = None;
    for connections in [DOCUMENTED_CONNECTIONS, 32] {
        let executed = by_stock(ground, connections, &few).await?;
        if best.as_ref().is_none_or(|(_, best)| executed.per_second > best.per_second) {
            best = Some((connections, executed));
        }
    }
    let (connections, stock_few) = best.context("stock was not measured")?;
    let work = Work::new("cheers", scale.commands, Mix::Cheers);
    let stock = by_stock(ground, connections, &work).await?;
    eprintln!("    Tapedeck");
    let engine = Engine::start(ground).await?;
    let taken = take(ground, &engine, &work, scale).await?;
    let webhooks = Work::new("webhooks", scale.commands / 2, Mix::Webhooks);
    let webhooks = take(ground, &engine, &webhooks, scale).await?;
    let alone = one_at_a_time(&engine, "alone", 500).await?;
    engine.stop(ground).await?;
    Ok(Round { connections, stock_few, stock, taken, webhooks, alone })
}

fn add(report: &mut Report, scale: &Scale, round: &Round, few: &Round) {
    let Round { connections, stock_few, stock, taken, webhooks, alone } = round;
    report.add(
        Figure::new(GROUP, "commands", "per second", taken.per_second)
            .beside(stock.per_second)
            .target("8×, aim 15×", round.times() >= 8.0),
    );
    let count = number(scale.few_commands as f64);
    let title = format!("the same, beside stock with only {count} of them");
    report.add(
        Figure::new(GROUP, title, "per second", few.taken.per_second)
            .beside(few.stock_few.per_second)
            .target("8×, aim 15×", few.times_few() >= 8.0),
    );
    let title = "the same, each with the body of its webhook and a name";
    let webhooks = Figure::new(GROUP, title, "per second", webhooks.per_second);
    report.add(webhooks.beside(stock.per_second));
    let ack = taken.acknowledged;
    for (what, value) in [
        ("processor time, all processes", taken.processor_us_in_all()),
        ("of it Tapedeck and the load generator", taken.processor_us[0]),
        ("of it nats-server", taken.processor_us[1]),
        ("of it PostgreSQL", taken.processor_us[2]),
    ] {
        report.add(Figure::new(GROUP, what, "µs per command", value).less_is_better());
    }
    report.add(
        Figure::new(GROUP, "one command at a time, decided, p50", "ms", alone.p50_ms)
            .less_is_better(),
    );
    report.add(
        Figure::new(GROUP, "one command at a time, decided, p99", "ms", alone.p99_ms)
            .less_is_better(),
    );
    report.note(format!(
        "Stock: {} commands by 32 callers over {ACCOUNTS} accounts, each one transaction and one view update, a \
         conflict tried again at once; p50 {} ms, p99 {} ms; {} conflicts, {} view updates failed without the caller \
         being told. It begins with an empty table and loads all events of an account for each command, so the fewer \
         they are the faster it is: with {} alone p50 {} ms, p99 {} ms. The better of {DOCUMENTED_CONNECTIONS} \
         connections (its default) and 32 is shown: {connections}.",
        scale.commands,
        number(stock.latency.p50_ms),
        number(stock.latency.p99_ms),
        stock.conflicts,
        stock.views_lost,
        scale.few_commands,
        number(stock_few.latency.p50_ms),
        number(stock_few.latency.p99_ms),
    ));
    report.note(format!(
        "Tapedeck: the same {} commands (Credit with the facts of a cheer) over {ACCOUNTS} accounts through journal's Publisher, \
         {} waiting for their synced acknowledgement at any time (p50 {} ms, p99 {} ms when so many wait), with \
         processor, relay and all four projections in the same process as the load generator, whose cost counts \
         against Tapedeck. The clock runs from the first send until the checkpoints of balances and statements have \
         reached the last position ({} s); then the sums in both are checked against what was sent.",
        scale.commands,
        scale.in_flight,
        number(ack.p50_ms),
        number(ack.p99_ms),
        number(taken.seconds),
    ));
}

/// What stock makes of some work, from an empty table.
async fn by_stock(ground: &Ground, connections: u32, work: &Work) -> anyhow::Result<Executed> {
    let stock = Stock::prepare(ground, connections).await?;
    let executed = stock.execute(work).await?;
    eprintln!("    {} with {connections} connections: {:.0}/s", work.count, executed.per_second);
    stock.remove(ground).await?;
    Ok(executed)
}

/// The same commands on histories of rising length, in one journal that grows.
pub async fn with_history(
    ground: &Ground,
    scale: &Scale,
    report: &mut Report,
) -> anyhow::Result<()> {
    eprintln!("commands with a history behind them");
    let lengths = [scale.events / 100, scale.events / 10, scale.events];
    let mut costs = Vec::new();
    for (n, length) in lengths.into_iter().enumerate() {
        make_history(ground, length).await?;
        ground.vacuum().await?;
        let engine = Engine::start(ground).await?;
        let stands_at = ground.position().await?;
        let work = Work::new(&format!("after-{stands_at}"), scale.commands, Mix::Cheers);
        let taken = take(ground, &engine, &work, scale).await?;
        let alone = one_at_a_time(&engine, &format!("alone-{stands_at}"), 300).await?;
        engine.stop(ground).await?;
        let stock = stock_with_history(ground, length, n).await?;
        let what = format!("{} events before", number(stands_at as f64));
        report.add(
            Figure::new(HISTORY_GROUP, &what, "per second", taken.per_second)
                .beside(stock.per_second),
        );
        let cost = taken.processor_us_in_all();
        report.add(
            Figure::new(HISTORY_GROUP, format!("{what}: processor time"), "µs per command", cost)
                .less_is_better(),
        );
        report.add(
            Figure::new(HISTORY_GROUP, format!("{what}: one at a time, p50"), "ms", alone.p50_ms)
                .less_is_better(),
        );
        costs.push(cost);
    }
    let growth = costs.iter().zip(costs.iter().skip(1)).map(|(a, b)| b / a).fold(0.0, f64::max);
    report.add(
        Figure::new(
            HISTORY_GROUP,
            "the most that ten times the history adds to the cost",
            "×",
            growth,
        )
        .less_is_better()
        .target("flat: at most 1.2×", growth <= 1.2),
    );
    report.note(
        "Histories: the journal is made as long as the line says by sending commands through the whole path; then the \
         same number of cheers is measured on it, once all tables were vacuumed, stock's and ours: otherwise PostgreSQL does \
         that after the load, sometimes during the measurement. Stock's figures are taken with the same events in its own table \
         (1,000 accounts, so a million events are a thousand per account), all of which it loads for each command.",
    );
    Ok(())
}

/// Lengthens the journal to `events`, through the whole path: nothing about this history is special.
pub async fn make_history(ground: &Ground, events: u64) -> anyhow::Result<()> {
    let there = u64::try_from(ground.position().await?)?;
    if there >= events {
        return Ok(());
    }
    let count = events - there;
    eprintln!("making a history: {count} more commands, to {events} events");
    let engine = Engine::start(ground).await?;
    let publisher = Publisher::start(&engine.broker).await?;
    let work = Work::new(&format!("night-{there}"), count, Mix::Night);
    let started = Instant::now();
    // One for each account at a time: what is held must be there before it is captured.
    send(&publisher, &work, ACCOUNTS).await?;
    for projection in projections::all() {
        engine.projected(projection.name(), i64::try_from(events)?, PROJECTED_MAX).await?;
    }
    eprintln!("    {:.0} commands per second", count as f64 / started.elapsed().as_secs_f64());
    engine.stop(ground).await?;
    ensure!(u64::try_from(ground.position().await?)? == events, "a command made no event");
    Ok(())
}

async fn take(
    ground: &Ground,
    engine: &Engine,
    work: &Work,
    scale: &Scale,
) -> anyhow::Result<Taken> {
    let publisher = Publisher::start(&engine.broker).await?;
    let before = ground.position().await?;
    let sums_before = sums(ground).await?;
    let processes = [std::process::id(), ground.nats_process, ground.postgres_process];
    let used_before = processes.map(processor_seconds);
    let started = Instant::now();
    let latencies = send(&publisher, work, scale.in_flight).await?;
    let last = before + i64::try_from(work.count)?;
    for name in PROJECTED {
        engine.projected(name, last, PROJECTED_MAX).await?;
    }
    let seconds = started.elapsed().as_secs_f64();
    let used = processes.map(processor_seconds);
    let per_command = |n: usize| (used[n] - used_before[n]) * 1e6 / work.count as f64;
    check(ground, work, last, sums_before).await?;
    // All events of a commit carry its time.
    let commits: i64 =
        sqlx::query_scalar("SELECT count(DISTINCT recorded_at) FROM events WHERE position > $1")
            .bind(before)
            .fetch_one(&ground.pool)
            .await?;
    let taken = Taken {
        seconds,
        per_second: work.count as f64 / seconds,
        acknowledged: latencies.percentiles(),
        processor_us: [per_command(0), per_command(1), per_command(2)],
    };
    eprintln!(
        "    {}: {:.0}/s in commits of {:.0}, {:.1} µs each (tapedeck {:.1}, nats-server {:.1}, PostgreSQL {:.1})",
        work.run,
        taken.per_second,
        work.count as f64 / commits.max(1) as f64,
        taken.processor_us_in_all(),
        taken.processor_us[0],
        taken.processor_us[1],
        taken.processor_us[2],
    );
    Ok(taken)
}

/// What was sent is in the journal once, in both projections, and sums up.
async fn check(ground: &Ground, work: &Work, last: i64, before: (i64, i64)) -> anyhow::Result<()> {
    ensure!(ground.position().await? == last, "the journal does not end where it should");
    let credited = i64::try_from(work.count)? * crate::work::POINTS;
    let wanted = (before.0 + credited, before.1 + credited);
    let found = sums(ground).await?;
    ensure!(found == wanted, "balances and statements sum to {found:?}, not {wanted:?}");
    let dead: i64 =
        sqlx::query_scalar("SELECT count(*) FROM dead_letters").fetch_one(&ground.pool).await?;
    ensure!(dead == 0, "{dead} dead letters");
    Ok(())
}

/// What is available in balances, and in statements.
async fn sums(ground: &Ground) -> anyhow::Result<(i64, i64)> {
    let sums = sqlx::query_as(
        "SELECT (SELECT coalesce(sum(available), 0)::bigint FROM projections.balances),
                (SELECT coalesce(sum(available_delta), 0)::bigint FROM projections.statements)",
    );
    Ok(sums.fetch_one(&ground.pool).await?)
}

/// Sends a command and waits for its decision, then the next.
async fn one_at_a_time(engine: &Engine, run: &str, count: u64) -> anyhow::Result<Percentiles> {
    let publisher = Publisher::start(&engine.broker).await?;
    let replies = Replies::start(&engine.broker).await?;
    let work = Work::new(run, count, Mix::Cheers);
    let mut latencies = Latencies::default();
    for n in 0..count {
        let envelope = work.envelope(n)?;
        let started = Instant::now();
        let outcome = replies.ask(&publisher, envelope, Duration::from_secs(10)).await?;
        latencies.add(started.elapsed());
        let decision = outcome.context("a command was not decided in ten seconds")?.decision;
        ensure!(decision == Decision::Accepted, "a command was {decision:?}");
    }
    Ok(latencies.percentiles())
}

async fn stock_with_history(ground: &Ground, length: u64, n: usize) -> anyhow::Result<Executed> {
    let stock = Stock::prepare(ground, 32).await?;
    stock.fill(ground, i64::try_from(length)?).await?;
    ground.vacuum().await?;
    let count = [10_000, 5_000, 2_000][n.min(2)];
    let executed = stock.execute(&Work::new(&format!("stock-{length}"), count, Mix::Cheers)).await;
    stock.remove(ground).await?;
    executed
}
