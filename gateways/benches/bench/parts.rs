//! What is measured, in which order, and how much of it.

use clap::ValueEnum;

use crate::figures::Report;
use crate::ground::{Folders, Ground, on_empty};
use crate::{replay, stages, throughput, web};

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Commands per second, beside stock
    Throughput,
    /// Each step of the way alone: acknowledged, decided, published, folded
    Steps,
    /// The same with histories ten and a hundred times as long
    History,
    /// The audit of the whole history, beside stock's replay in memory
    Audit,
    /// A projection rebuilt, beside stock's replay into its view
    Rebuild,
    /// From a signed webhook to a frame of the feed
    Latency,
    /// A thousand readers of the feed and one that never reads
    Readers,
}

impl Part {
    pub fn all() -> Vec<Part> {
        Part::value_variants().to_vec()
    }
}

/// How much work.
pub struct Scale {
    pub quick: bool,
    /// Commands that stock executes, and that Tapedeck takes in, commits and projects.
    pub commands: u64,
    /// Commands that stock executes once more with histories as short as that.
    pub few_commands: u64,
    /// How often stock and Tapedeck do so in turn.
    pub rounds: usize,
    /// Commands that wait for their acknowledgement at any time.
    pub in_flight: u64,
    /// The length of the whole history.
    pub events: u64,
    /// Events that stock replays into its view.
    pub view_events: u64,
    /// How long each measurement of latency takes.
    pub latency_seconds: u64,
    pub readers: usize,
}

impl Scale {
    pub fn new(quick: bool, events: Option<u64>, in_flight: Option<u64>) -> Self {
        let whole = Scale {
            quick,
            commands: 100_000,
            few_commands: 20_000,
            rounds: 3,
            in_flight: 4_000,
            events: 1_000_000,
            view_events: 10_000,
            latency_seconds: 15,
            readers: 1_000,
        };
        let scale = if quick {
            Scale {
                commands: 20_000,
                few_commands: 2_000,
                rounds: 1,
                events: 50_000,
                view_events: 2_000,
                latency_seconds: 3,
                readers: 100,
                ..whole
            }
        } else {
            whole
        };
        Scale {
            events: events.unwrap_or(scale.events),
            in_flight: in_flight.unwrap_or(scale.in_flight),
            ..scale
        }
    }
}

pub async fn run(
    ground: &Ground,
    scale: &Scale,
    wanted: &[Part],
    report: &mut Report,
) -> anyhow::Result<()> {
    let wants = |part| wanted.contains(&part);
    let mut folders = Folders::default();
    if wants(Part::Throughput) {
        throughput::beside_stock(&mut folders, scale, report).await?;
    }
    if wants(Part::Steps) {
        on_empty(&mut folders, async |ground| stages::measure(ground, scale, report).await).await?;
    }
    if wants(Part::History) {
        throughput::with_history(ground, scale, report).await?;
    }
    if wants(Part::Audit) || wants(Part::Rebuild) {
        throughput::make_history(ground, scale.events).await?;
    }
    if wants(Part::Audit) {
        replay::audit(ground, scale, report).await?;
    }
    if wants(Part::Rebuild) {
        replay::rebuild(ground, scale, report).await?;
    }
    if wants(Part::Latency) || wants(Part::Readers) {
        web::measure(ground, scale, wants(Part::Latency), wants(Part::Readers), report).await?;
    }
    Ok(())
}
