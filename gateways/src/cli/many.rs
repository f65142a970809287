//! What giving to many has in common at a terminal: who does it, how far it is, and what became of it.

use std::process::ExitCode;

use journal::broker::Broker;
use journal::positions::Positions;
use sqlx::PgPool;

use super::{EXIT_FAILED, Globals, print};
use crate::audit::Progress;
use crate::config::Config;
use crate::grants::{self, Became, Counts, Grant, Line, LineDone, Sender};

/// How many viewers are named who get nothing.
const NAMED_MAX: usize = 100;

/// A connection to everything that giving needs.
pub(super) struct Desk {
    pub(super) config: Config,
    pub(super) pool: PgPool,
    pub(super) sender: Sender,
    positions: Positions,
}

impl Desk {
    pub(super) async fn open(globals: &Globals, purpose: &str) -> anyhow::Result<Self> {
        let (config, pool) = globals.database(purpose).await?;
        let broker = Broker::new(config.broker());
        let sender = Sender::start(pool.clone(), &broker).await?;
        let positions = Positions::start(pool.clone(), &broker).await?;
        Ok(Desk { config, pool, sender, positions })
    }

    /// Waits until everything that was given before is known.
    pub(super) async fn know_all(&self) -> anyhow::Result<()> {
        Ok(grants::wait_for_all(&self.pool, &self.positions).await?)
    }

    /// Gives, or says what giving would do, and prints it.
    pub(super) async fn give(
        &self,
        grant: &Grant,
        lines: &[Line],
        (preview, json): (bool, bool),
    ) -> anyhow::Result<ExitCode> {
        let mut tally = Tally::new(json, lines.len());
        let given = async {
            match preview {
                true => grants::preview(&self.pool, grant, lines, |line| tally.see(line))
                    .await
                    .map(drop),
                false => self.sender.give(grant, lines, |line| tally.see(line)).await,
            }
        };
        let given = given.await;
        tally.end(&Words { grant: grant.id, verb: "given", preview })?;
        given?;
        Ok(tally.exit_code())
    }
}

/// Who does what is done here, as history keeps it.
pub(super) fn actor(named: Option<&str>) -> String {
    named.map_or_else(|| "terminal".to_owned(), str::to_owned)
}

/// Counts what became of each line, and shows it as it comes.
pub(super) struct Tally {
    counts: Counts,
    refused: Vec<LineDone>,
    json: bool,
    progress: Progress,
}

pub(super) struct Words {
    pub(super) grant: uuid::Uuid,
    pub(super) verb: &'static str,
    pub(super) preview: bool,
}

impl Tally {
    pub(super) fn new(json: bool, lines: usize) -> Self {
        let progress = if json { Progress::hidden() } else { Progress::on_standard_error() };
        progress.begin("viewers", i64::try_from(lines).unwrap_or(i64::MAX));
        Tally { counts: Counts::default(), refused: Vec::new(), json, progress }
    }

    pub(super) fn see(&mut self, line: LineDone) {
        self.counts.add(&line);
        self.progress.add(1);
        if self.json {
            // What cannot be printed is still counted.
            let _ = print::json(&line);
        }
        if matches!(line.became, Became::Refused { .. }) && self.refused.len() < NAMED_MAX {
            self.refused.push(line);
        }
    }

    pub(super) fn end(&self, words: &Words) -> anyhow::Result<()> {
        let Counts { done, points, before, refused, pending, unseen, position } = self.counts;
        self.progress.end();
        if self.json {
            let grant = words.grant;
            return print::json(&serde_json::json!({
                "grant": grant, "preview": words.preview, "counts": self.counts
            }));
        }
        let would = if words.preview { "would be " } else { "" };
        let mut text = format!(
            "{done} viewers {would}{} {} points in all; {before} were before.",
            words.verb,
            print::points(i64::try_from(points.abs()).unwrap_or(i64::MAX)),
        );
        if unseen > 0 {
            text.push_str(&format!(
                "\n{unseen} of them are unknown here so far: are these user ids, and not names?"
            ));
        }
        if pending > 0 {
            text.push_str(&format!(
                "\n{pending} are not decided yet: the same command again tells."
            ));
        }
        if refused > 0 {
            text.push_str(&format!("\n{refused} were refused:"));
        }
        for LineDone { viewer, line, became, .. } in &self.refused {
            let Became::Refused { reason } = became else { continue };
            let place = line.map_or(String::new(), |line| format!("line {line}, "));
            text.push_str(&format!("\n  {place}viewer {viewer}: {}", print::harmless(reason)));
        }
        let more = refused.saturating_sub(self.refused.len() as u64);
        if more > 0 {
            text.push_str(&format!("\n  and {more} more: --json names all"));
        }
        if !words.preview {
            text.push_str(&format!(
                "\nGrant {}, position {}. To take it back: tapedeck grant undo {}",
                words.grant,
                print::points(position),
                words.grant
            ));
        }
        print::text(&text)
    }

    /// Whether everything that was asked for is so now.
    pub(super) fn exit_code(&self) -> ExitCode {
        match self.counts.refused + self.counts.pending {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::from(EXIT_FAILED),
        }
    }
}
