//! The end of the journal: the last position, the last link of the hash chain, and the name of this line of history.

use chrono::{DateTime, Utc};
use sqlx::{PgConnection, PgExecutor, Row};
use tokio::time::timeout;
use uuid::Uuid;

use crate::crash;
use crate::recorded::{GENESIS, Hash};
use crate::retry::DATABASE_LIMIT;

/// Where every processor tells, over core NATS, how far a commit has moved it.
pub(crate) const TOLD: &str = "poke.head";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    pub position: i64,
    pub hash: Hash,
    /// Changes when history was cut back, as by a restored dump: positions of another epoch mean something else.
    pub epoch: Uuid,
}

/// Where the journal ends now.
pub async fn read(executor: impl PgExecutor<'_>) -> sqlx::Result<Head> {
    let row = sqlx::query("SELECT position, hash, epoch FROM head").fetch_one(executor).await?;
    Ok(Head { position: row.try_get(0)?, hash: hash(row.try_get(1)?), epoch: row.try_get(2)? })
}

/// Takes the row that orders all commits, until the transaction ends. The time never goes back.
pub(crate) async fn lock(connection: &mut PgConnection) -> sqlx::Result<(Head, DateTime<Utc>)> {
    let row = sqlx::query(
        "SELECT position, hash, epoch, GREATEST(clock_timestamp(), recorded_at) FROM head FOR UPDATE",
    )
    .fetch_one(connection)
    .await?;
    let head =
        Head { position: row.try_get(0)?, hash: hash(row.try_get(1)?), epoch: row.try_get(2)? };
    Ok((head, row.try_get(3)?))
}

/// Says that positions may mean other events than before, and that EVENTS is to be filled anew. This, and the two below, on the
/// connection that holds the relay's lock: with it goes the right to.
pub(crate) async fn begin_epoch(leader: &mut PgConnection) -> anyhow::Result<Uuid> {
    crash::point("relay.parted");
    let begun = sqlx::query_scalar(
        "UPDATE head SET epoch = gen_random_uuid(), published = false RETURNING epoch",
    )
    .fetch_one(leader);
    let epoch = timeout(DATABASE_LIMIT, begun).await??;
    crash::point("relay.epoch");
    Ok(epoch)
}

/// Whether EVENTS was filled under this epoch, so that it can only be empty where it was lost.
pub(crate) async fn was_published(leader: &mut PgConnection) -> anyhow::Result<bool> {
    let asked = sqlx::query_scalar("SELECT published FROM head").fetch_one(leader);
    Ok(timeout(DATABASE_LIMIT, asked).await??)
}

pub(crate) async fn set_published(
    leader: &mut PgConnection,
    published: bool,
) -> anyhow::Result<()> {
    let set = sqlx::query("UPDATE head SET published = $1 WHERE published <> $1");
    timeout(DATABASE_LIMIT, set.bind(published).execute(leader)).await??;
    Ok(())
}

/// The position that a message of [`TOLD`] tells.
pub(crate) fn position_told(message: &async_nats::Message) -> Option<i64> {
    std::str::from_utf8(&message.payload).ok()?.parse().ok()
}

fn hash(bytes: &[u8]) -> Hash {
    bytes.try_into().unwrap_or(GENESIS)
}
