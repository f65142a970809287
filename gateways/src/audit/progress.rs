//! How far an audit is: a bar on a terminal, a line every few seconds elsewhere, nothing in tests.

use std::fmt::Write;
use std::io::IsTerminal;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

const LINE_EVERY: Duration = Duration::from_secs(3);
const BAR: &str = "{msg:<22} {bar:30} {human_pos} of {human_len}, {rate}, {eta} left";

/// A handle on what is shown; clones show the same.
#[derive(Clone)]
pub struct Progress {
    bar: ProgressBar,
}

impl Progress {
    /// Shows nothing.
    pub fn hidden() -> Self {
        Progress { bar: ProgressBar::hidden() }
    }

    /// Shows a bar on standard error if that is a terminal; lines come from [`Progress::lines`].
    pub fn on_standard_error() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(8));
        if let Ok(style) = ProgressStyle::with_template(BAR) {
            let rate = |state: &ProgressState, text: &mut dyn Write| {
                let _ = write!(text, "{}/s", HumanCount(state.per_sec() as u64));
            };
            bar.set_style(style.with_key("rate", rate).progress_chars("━╸─"));
        }
        Progress { bar }
    }

    /// Begins a part of the work, of which `length` is known.
    pub fn begin(&self, part: &'static str, length: i64) {
        self.bar.reset();
        self.bar.update(|state| {
            state.set_len(u64::try_from(length).unwrap_or(0));
            state.set_pos(0);
        });
        self.bar.set_message(part);
    }

    pub fn add(&self, count: usize) {
        self.bar.inc(count as u64);
    }

    pub fn end(&self) {
        self.bar.finish_and_clear();
    }

    /// Writes a line every few seconds where standard error is not a terminal. Runs until it is dropped.
    pub async fn lines(&self) {
        if std::io::stderr().is_terminal() {
            return std::future::pending().await;
        }
        let begun = Instant::now();
        let mut ticks = tokio::time::interval(LINE_EVERY);
        ticks.tick().await;
        loop {
            ticks.tick().await;
            eprintln!(
                "{:>4} s  {}: {} of {} ({:.0}/s)",
                begun.elapsed().as_secs(),
                self.bar.message(),
                self.bar.position(),
                self.bar.length().unwrap_or(0),
                self.bar.per_sec(),
            );
        }
    }
}
