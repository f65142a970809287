//! Golden VCR's four queues, for programs that were written against them. Goes out.
//!
//! What happens here is said again in the words of that system, as subjects of the stream `GOLDEN_VCR`: see
//! `docs/compatibility.md`. Off unless `[compatibility] golden_vcr` turns it on.

mod known;
mod messages;
mod translate;

use bytes::Bytes;
use chrono::TimeDelta;
use futures::future::BoxFuture;
use journal::{Content, Publication, Recorded, Said};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;

pub use known::{Begun, Known, Name};
pub use messages::tape_number;
pub use translate::Read;

/// The name of its position.
pub const NAME: &str = "golden_vcr";
pub const STREAM: &str = "GOLDEN_VCR";
/// As long as the stream keeps it.
const KEPT: TimeDelta = TimeDelta::hours(24);

/// The queues, which are the subjects of the stream.
pub const TWITCH_EVENTS: &str = "twitch-events";
pub const BROADCAST_EVENTS: &str = "broadcast-events";
pub const ONSCREEN_EVENTS: &str = "onscreen-events";
pub const GENERATION_REQUESTS: &str = "generation-requests";

/// What `[compatibility]` of the configuration says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Compatibility {
    /// Whether the four queues are written to.
    pub golden_vcr: bool,
}

/// The publication `golden_vcr`.
pub struct GoldenVcr {
    pool: PgPool,
    /// Where pictures are to be had, without the slash before their name.
    pictures: String,
}

impl GoldenVcr {
    /// `public_url` is where the world reaches the API.
    pub fn new(pool: PgPool, public_url: &str) -> Self {
        let pictures = format!("{}{}/pictures", public_url.trim_end_matches('/'), crate::http::API);
        GoldenVcr { pool, pictures }
    }
}

impl Publication for GoldenVcr {
    fn name(&self) -> &'static str {
        NAME
    }

    fn stream(&self) -> &'static str {
        STREAM
    }

    fn kept(&self) -> TimeDelta {
        KEPT
    }

    fn wants(&self, event: &Content<'_>) -> bool {
        translate::wants(event)
    }

    fn say<'a>(&'a self, events: &'a [&'a Recorded]) -> BoxFuture<'a, anyhow::Result<Vec<Said>>> {
        Box::pin(async move {
            let mut read = Vec::with_capacity(events.len());
            for event in events {
                match Read::of(event) {
                    Ok(event) => read.push(event),
                    Err(error) => {
                        let position = event.position;
                        tracing::error!(position, %error, "left out of GOLDEN_VCR: it does not read");
                    }
                }
            }
            let known = Known::of(&self.pool, &read, self.pictures.clone()).await?;
            let mut said = Vec::new();
            for event in &read {
                for (subject, body) in event.said(&known) {
                    let payload = Bytes::from(serde_json::to_vec(&body)?);
                    let (position, event_id) = (event.position, event.event_id);
                    said.push(Said { position, event_id, subject, payload });
                }
            }
            Ok(said)
        })
    }
}

#[cfg(test)]
mod tests;
