//! Looking after COMMANDS: that it is the stream the cursors count in, and that what is decided does not fill it.

use std::time::Instant;

use anyhow::Context;
use async_nats::jetstream::stream;
use futures::StreamExt;
use futures::stream::FuturesUnordered;

use super::Processor;
use crate::broker::Role;
use crate::dead_letters::note_missing;
use crate::inbox::{COMMANDS, created_at};
use crate::partitions::{highest_cursor, lowest_cursor, match_stream};

/// How full COMMANDS may be before decided commands are cleared away at once.
const FULL_ENOUGH: f64 = 0.8;

impl Processor {
    /// Checks that COMMANDS is the stream the cursors count in, and clears away what was decided long ago.
    pub(super) async fn tidy(&mut self) -> anyhow::Result<()> {
        // The cursors first: the stream only grows, so none of them can be past what it is then seen to hold.
        let highest = highest_cursor(&self.pool).await?;
        let jetstream = self.broker.jetstream(Role::Processor).await?;
        let stream = jetstream
            .get_stream(COMMANDS)
            .await
            .context("COMMANDS is not there: `tapedeck streams apply` makes it")?;
        let info = stream.cached_info();
        let created_at = created_at(info);
        if self.tidied != created_at {
            // What was noted of another stream says nothing about this one.
            self.decided.clear();
            self.tidied.clone_from(&created_at);
        }
        let last = i64::try_from(info.state.last_sequence)?;
        if match_stream(&self.pool, &created_at, highest, last).await? {
            tracing::warn!("COMMANDS is another stream than before; reading it from its beginning");
            self.decided.clear();
            self.ownership.owned.clear();
            self.reopen();
            return Ok(());
        }
        let lowest = lowest_cursor(&self.pool).await?;
        self.miss(&info.state, lowest).await?;
        self.purge(&stream, lowest).await?;
        // Last, because it asks about every partition: where that takes too long, COMMANDS must not fill meanwhile.
        if last > self.read && self.has_decided_all(&stream).await? {
            self.read = last;
        }
        Ok(())
    }

    /// Clears away what was decided long ago, and at once what is decided when COMMANDS is nearly full.
    async fn purge(&mut self, stream: &stream::Stream, lowest: i64) -> anyhow::Result<()> {
        if !self.ownership.owned.contains_key(&0) {
            return Ok(());
        }
        self.decided.push_back((Instant::now(), lowest));
        let old_enough = self.options.keep_decided;
        let mut until = None;
        while let Some((at, cursor)) = self.decided.front().copied()
            && at.elapsed() >= old_enough
        {
            until = Some(cursor);
            self.decided.pop_front();
        }
        let info = stream.cached_info();
        let capacity = info.config.max_bytes;
        if capacity > 0 && info.state.bytes as f64 > capacity as f64 * FULL_ENOUGH {
            until = Some(lowest);
        }
        // Never what is not decided, whatever was noted.
        let until = until.map(|until| until.min(lowest));
        if let Some(until) = until.and_then(|until| u64::try_from(until).ok()).filter(|u| *u > 0) {
            stream.purge().sequence(until + 1).await?;
        }
        Ok(())
    }

    /// Notices commands that were in COMMANDS and can no more be decided: the stream begins after the lowest cursor, as it
    /// does when the database was restored from a dump older than what the stream keeps. They become one dead letter.
    async fn miss(&self, state: &stream::State, lowest: i64) -> anyhow::Result<()> {
        let first = i64::try_from(state.first_sequence)?;
        let missing = first - lowest - 1;
        if missing <= 0 {
            return Ok(());
        }
        let reason = format!(
            "COMMANDS begins at {first}, and not every command up to there was decided: some of {missing} are lost"
        );
        tracing::error!(first, lowest, missing, "commands are missing");
        metrics::gauge!("tapedeck_commands_missing").set(missing as f64);
        note_missing(&self.pool, lowest + 1, first, &reason).await?;
        Ok(())
    }

    /// Whether no command of an owned partition is left in the stream: then what comes after the last of them belongs
    /// to others, and the cursors may pass it.
    async fn has_decided_all(&self, stream: &stream::Stream) -> anyhow::Result<bool> {
        if self.inbox.as_ref().is_none_or(|inbox| !inbox.queue.is_empty()) {
            return Ok(false);
        }
        // All at once: one after the other they would take as many times the way to NATS and back.
        let mut asked: FuturesUnordered<_> = self
            .ownership
            .owned
            .iter()
            .map(async |(partition, owned)| {
                let subject = format!("cmd.{partition}.>");
                (stream.get_last_raw_message_by_subject(&subject).await, owned.cursor)
            })
            .collect();
        while let Some((last, cursor)) = asked.next().await {
            match last {
                Ok(message) if i64::try_from(message.sequence)? > cursor => return Ok(false),
                Ok(_) => {}
                Err(error) if error.kind() == stream::LastRawMessageErrorKind::NoMessageFound => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }
}
