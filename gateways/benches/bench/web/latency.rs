//! From the first byte of a webhook to its alert in a reader's hands.

use std::time::Instant;

use super::Serving;
use super::feed::{Clock, Reader};
use super::sender::{Cheers, flat_out, steadily};
use crate::figures::{Figure, Report, number};
use crate::measure::{Percentiles, processor_seconds};
use crate::parts::Scale;

const GROUP: &str = "Webhook to overlay";
const IDLE_RATE: f64 = 20.0;
const PROTOTYPE_RATE: f64 = 200.0;
const IDLE_P99_MS_MAX: f64 = 10.0;
/// How many webhooks find out what the most is, for each second of a measurement.
const FLAT_OUT_PER_SECOND: u64 = 2_000;

pub async fn measure(serving: &Serving, scale: &Scale, report: &mut Report) -> anyhow::Result<()> {
    eprintln!("webhook to overlay");
    let idle = at_rate(serving, "idle", IDLE_RATE, scale).await?;
    let some = at_rate(serving, "some", PROTOTYPE_RATE, scale).await?;
    let most = the_most(serving, scale).await?;
    let half = at_rate(serving, "half", most / 2.0, scale).await?;
    report.add(Figure::new(
        GROUP,
        "webhooks, verified, kept, committed and shown",
        "per second",
        most,
    ));
    let loads = [
        (format!("idle, {IDLE_RATE} per second"), idle),
        (format!("at {PROTOTYPE_RATE} per second"), some),
        (format!("at half of the most, {} per second", number(most / 2.0)), half),
    ];
    for (n, (load, latency)) in loads.into_iter().enumerate() {
        let p50 = Figure::new(GROUP, format!("{load}: p50"), "ms", latency.p50_ms);
        report.add(p50.less_is_better());
        let p99 = Figure::new(GROUP, format!("{load}: p99"), "ms", latency.p99_ms).less_is_better();
        let met = latency.p99_ms < IDLE_P99_MS_MAX;
        report.add(if n == 0 { p99.target("aim: under 10 ms", met) } else { p99 });
    }
    report.note(format!(
        "Webhook to overlay: `tapedeck serve` as its own process behind real HTTP; signed `channel.cheer` notifications \
         over at most 256 kept connections; the time runs from the moment a webhook is due (so that waiting for a connection \
         counts) to the arrival of its alert at a reader of the SSE feed. {} s at each rate. \"The most\" is what 256 \
         connections get through, each sending as soon as it was answered, until the last alert has arrived. Client \
         and server share the same processors.",
        scale.latency_seconds
    ));
    Ok(())
}

async fn at_rate(
    serving: &Serving,
    run: &str,
    rate: f64,
    scale: &Scale,
) -> anyhow::Result<Percentiles> {
    let count = (rate * scale.latency_seconds as f64) as usize;
    let (cheers, clock) = (Cheers::new(run, count), Clock::new(count));
    let reader = tokio::spawn(Reader::open(serving).await?.read(clock.clone(), count));
    steadily(serving, &cheers, &clock, rate).await?;
    let latency = reader.await??.percentiles();
    eprintln!("    {run}: {rate:.0}/s, p50 {} ms, p99 {} ms", latency.p50_ms, latency.p99_ms);
    Ok(latency)
}

async fn the_most(serving: &Serving, scale: &Scale) -> anyhow::Result<f64> {
    let count = (scale.latency_seconds * FLAT_OUT_PER_SECOND) as usize;
    let (cheers, clock) = (Cheers::new("most", count), Clock::new(count));
    let reader = tokio::spawn(Reader::open(serving).await?.read(clock.clone(), count));
    let (started, used) = (Instant::now(), processor_seconds(serving.process()));
    flat_out(serving, &cheers, &clock).await?;
    reader.await??;
    let per_second = count as f64 / started.elapsed().as_secs_f64();
    let used = (processor_seconds(serving.process()) - used) * 1e6 / count as f64;
    eprintln!("    most: {per_second:.0}/s, tapedeck serve {used:.0} µs each");
    Ok(per_second)
}
