//! Time, processor time and memory.

use std::time::Duration;

use serde::Serialize;

/// Linux counts processor time in hundredths of a second.
const TICKS_PER_SECOND: f64 = 100.0;

/// Latencies, to be asked for percentiles once all are there.
#[derive(Default)]
pub struct Latencies(Vec<u32>);

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Percentiles {
    pub count: usize,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

impl Latencies {
    pub fn add(&mut self, latency: Duration) {
        self.0.push(u32::try_from(latency.as_micros()).unwrap_or(u32::MAX));
    }

    pub fn extend(&mut self, other: Latencies) {
        self.0.extend(other.0);
    }

    pub fn percentiles(mut self) -> Percentiles {
        self.0.sort_unstable();
        let at = |share: f64| {
            let index = ((self.0.len() as f64 * share).ceil() as usize).saturating_sub(1);
            self.0.get(index).map_or(0.0, |micros| f64::from(*micros) / 1_000.0)
        };
        Percentiles { count: self.0.len(), p50_ms: at(0.5), p99_ms: at(0.99), max_ms: at(1.0) }
    }
}

/// Seconds of processor time that a process and its children have used, those that ended included.
pub fn processor_seconds(process: u32) -> f64 {
    let Some(own) = stat(process) else { return 0.0 };
    let mut ticks = own.ticks + own.ticks_of_ended_children;
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let ids = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    for child in ids.filter_map(stat).filter(|child| child.parent == process) {
        ticks += child.ticks;
    }
    ticks as f64 / TICKS_PER_SECOND
}

/// The most memory that a running process has had resident, in KiB.
pub fn resident_kib_max(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

struct Stat {
    parent: u32,
    ticks: u64,
    ticks_of_ended_children: u64,
}

fn stat(process: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name, in parentheses, may hold anything; what follows it does not.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |n: usize| fields.get(n)?.parse::<u64>().ok();
    Some(Stat {
        parent: u32::try_from(number(1)?).ok()?,
        ticks: number(11)? + number(12)?,
        ticks_of_ended_children: number(13)? + number(14)?,
    })
}
