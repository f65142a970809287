//! Many readers of the feed, and one that never reads: it must be cut, and the others must not feel it.

use super::Serving;
use super::feed::{Clock, MARK, Reader, open_and_never_read, read_out};
use super::sender::{Cheers, steadily};
use crate::figures::{Figure, Report};
use crate::measure::{Latencies, Percentiles};
use crate::parts::Scale;

const GROUP: &str = "Many readers";
const RATE: f64 = 20.0;
/// Twitch allows messages of 500 characters: full ones fill the buffers of who does not read.
const MESSAGE_LENGTH: usize = 480;
const P99_RATIO_MAX: f64 = 2.0;

pub async fn measure(serving: &Serving, scale: &Scale, report: &mut Report) -> anyhow::Result<()> {
    eprintln!("{} readers of the feed", scale.readers);
    let seconds = scale.latency_seconds * 2;
    let without = read_by_many(serving, scale.readers, "without", seconds).await?;
    let neglected = open_and_never_read(serving).await?;
    let with = read_by_many(serving, scale.readers, "with", seconds).await?;
    let (received, ended) = read_out(neglected).await;
    let sent = (RATE * seconds as f64) as usize;
    eprintln!("    the one that never reads: {received} of {sent}, ended: {ended}");
    for (what, latency) in [("alone", without), ("beside one that never reads", with)] {
        let title = format!("{} readers {what}", scale.readers);
        let p50 = Figure::new(GROUP, format!("{title}: p50"), "ms", latency.p50_ms);
        report.add(p50.less_is_better());
        let p99 = Figure::new(GROUP, format!("{title}: p99"), "ms", latency.p99_ms);
        report.add(p99.less_is_better());
    }
    let ratio = with.p99_ms / without.p99_ms;
    let title = "p99 beside it, as a multiple of p99 alone";
    report.add(
        Figure::new(GROUP, title, "×", ratio)
            .less_is_better()
            .target("at most 2×", ratio <= P99_RATIO_MAX),
    );
    let title = "alerts that reached the one that never reads";
    let slow = Figure::new(GROUP, title, "alerts", received as f64).less_is_better();
    // The few seconds of a quick run do not fill its buffers.
    let cut = ended && received < sent;
    let wanted = format!("cut before all {sent}");
    report.add(if scale.quick { slow } else { slow.target(wanted, cut) });
    report.note(format!(
        "Readers: {RATE} cheers per second with messages of {MESSAGE_LENGTH} characters for {seconds} s, to each of {} \
         connections of the SSE feed, first alone and then beside one whose receive buffer is 4 KiB and never emptied. \
         Each reader must get every alert once, or the run fails.",
        scale.readers
    ));
    Ok(())
}

async fn read_by_many(
    serving: &Serving,
    readers: usize,
    run: &str,
    seconds: u64,
) -> anyhow::Result<Percentiles> {
    let count = (RATE * seconds as f64) as usize;
    let mut cheers = Cheers::new(run, count);
    cheers.padding = MESSAGE_LENGTH - MARK.len();
    let clock = Clock::new(count);
    let mut reading = Vec::with_capacity(readers);
    for _ in 0..readers {
        let reader = Reader::open(serving).await?;
        reading.push(tokio::spawn(reader.read(clock.clone(), count)));
    }
    steadily(serving, &cheers, &clock, RATE).await?;
    let mut latencies = Latencies::default();
    for reader in reading {
        latencies.extend(reader.await??);
    }
    let latency = latencies.percentiles();
    eprintln!("    {run}: p50 {} ms, p99 {} ms", latency.p50_ms, latency.p99_ms);
    Ok(latency)
}
