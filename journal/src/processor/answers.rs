//! Who hears of a commit: the relay, those who follow in this process, and those who wait for an outcome.

use std::collections::HashMap;

use uuid::Uuid;

use super::Processor;
use crate::commit::Committed;
use crate::head;
use crate::inbox::Incoming;
use crate::outcome::Outcome;

impl Processor {
    /// Tells the relay, and those who follow in this process.
    pub(super) async fn after_commit(&self, committed: Committed) -> Vec<Outcome> {
        if let Some(last) = committed.events.last() {
            let position = last.position.to_string();
            self.broker.hand_on(committed.events);
            if let Err(error) = self.client.publish(head::TOLD, position.into()).await {
                tracing::debug!(%error, "the relay was not told; it looks by itself");
            }
        }
        committed.outcomes
    }

    pub(super) async fn answer(
        &self,
        batch: &[Incoming],
        known: HashMap<Uuid, Outcome>,
        outcomes: Vec<Outcome>,
    ) {
        let fresh: HashMap<Uuid, Outcome> =
            outcomes.into_iter().map(|o| (o.command_id, o)).collect();
        for incoming in batch {
            let Ok(envelope) = &incoming.envelope else { continue };
            if let Some(traceparent) = &envelope.traceparent {
                let span = tracing::info_span!("command", id = %envelope.id,
                    aggregate = envelope.aggregate_type, commands = batch.len());
                (self.options.adopt_trace)(&span, traceparent);
            }
            let Some(reply_to) = &envelope.reply_to else { continue };
            let Some(outcome) = fresh.get(&incoming.id).or_else(|| known.get(&incoming.id)) else {
                continue;
            };
            let answer = serde_json::to_vec(outcome).unwrap_or_default();
            if let Err(error) = self.client.publish(reply_to.clone(), answer.into()).await {
                tracing::debug!(%error, "an outcome could not be sent; it can be asked for");
            }
        }
    }
}
