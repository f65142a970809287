//! Who decides which partitions: leases in PostgreSQL, on its clock, with an epoch that fences off former owners.

use std::collections::BTreeMap;

use sqlx::{PgConnection, PgExecutor, PgPool, Row};
use uuid::Uuid;

use crate::command::PARTITIONS;

/// How long a lease lasts when it is not renewed. A dead owner is replaced this soon.
const LEASE_S: f64 = 3.0;

/// A partition this process owns.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Owned {
    pub(crate) epoch: i64,
    /// The sequence in COMMANDS up to which its commands are decided.
    pub(crate) cursor: i64,
}

/// The partitions one processor owns.
pub(crate) struct Ownership {
    pub(crate) owner: Uuid,
    pub(crate) owned: BTreeMap<u16, Owned>,
}

/// A cursor to move: from, to.
pub(crate) struct Move {
    pub(crate) partition: u16,
    pub(crate) epoch: i64,
    pub(crate) from: i64,
    pub(crate) to: i64,
}

impl Ownership {
    pub(crate) fn new() -> Self {
        Ownership { owner: Uuid::new_v4(), owned: BTreeMap::new() }
    }

    /// The lowest cursor: where reading has to begin.
    pub(crate) fn lowest_cursor(&self) -> i64 {
        self.owned.values().map(|owned| owned.cursor).min().unwrap_or(0)
    }

    /// Says that it is alive, renews what it has, gives up what is more than its share and takes what is free. `read`
    /// is the sequence up to which everything of its partitions is decided. True if it owns other partitions now.
    ///
    /// What it owns changes in memory only with the commit. Of a renewal that failed nothing is believed, whether it
    /// was recorded or not: the next one reads what is ours, and finds other partitions or other epochs where it was.
    pub(crate) async fn renew(&mut self, pool: &PgPool, read: i64) -> sqlx::Result<bool> {
        let mut tx = pool.begin().await?;
        let alive = self.announce(&mut tx).await?;
        let mut owned = self.extend(&mut tx, read).await?;
        let share = usize::from(PARTITIONS).div_ceil(alive.max(1));
        self.release_beyond(&mut tx, share, &mut owned).await?;
        self.take_up_to(&mut tx, share, &mut owned).await?;
        tx.commit().await?;
        let before = self.epochs();
        self.owned = owned;
        Ok(before != self.epochs())
    }

    fn epochs(&self) -> Vec<(u16, i64)> {
        self.owned.iter().map(|(partition, owned)| (*partition, owned.epoch)).collect()
    }

    /// How many processors are alive, this one included.
    async fn announce(&self, connection: &mut PgConnection) -> sqlx::Result<usize> {
        let alive: i64 = sqlx::query_scalar(
            "WITH gone AS (DELETE FROM processors WHERE seen_until < clock_timestamp() AND owner <> $1),
                  here AS (INSERT INTO processors VALUES ($1, clock_timestamp() + make_interval(secs => $2))
                           ON CONFLICT (owner) DO UPDATE SET seen_until = excluded.seen_until)
             SELECT count(*) FROM processors WHERE seen_until >= clock_timestamp() AND owner <> $1",
        )
        .bind(self.owner)
        .bind(LEASE_S)
        .fetch_one(connection)
        .await?;
        Ok(usize::try_from(alive).unwrap_or(0) + 1)
    }

    /// Renews every lease of ours. A cursor moves to `read` only where the partition was ours, under the same epoch,
    /// while that was read.
    async fn extend(
        &self,
        connection: &mut PgConnection,
        read: i64,
    ) -> sqlx::Result<BTreeMap<u16, Owned>> {
        let rows = sqlx::query(
            "UPDATE partitions p SET lease_until = clock_timestamp() + make_interval(secs => $2),
                    cursor = CASE WHEN (p.partition, p.epoch) IN
                                       (SELECT * FROM unnest($4::smallint[], $5::bigint[]))
                             THEN GREATEST(p.cursor, $3) ELSE p.cursor END
             WHERE p.owner = $1 RETURNING p.partition, p.epoch, p.cursor",
        )
        .bind(self.owner)
        .bind(LEASE_S)
        .bind(read)
        .bind(self.owned.keys().map(|partition| *partition as i16).collect::<Vec<_>>())
        .bind(self.owned.values().map(|owned| owned.epoch).collect::<Vec<_>>())
        .fetch_all(connection)
        .await?;
        owned_in(rows)
    }

    async fn release_beyond(
        &self,
        connection: &mut PgConnection,
        share: usize,
        owned: &mut BTreeMap<u16, Owned>,
    ) -> sqlx::Result<()> {
        let extra: Vec<i16> = owned.keys().skip(share).map(|p| *p as i16).collect();
        if extra.is_empty() {
            return Ok(());
        }
        owned.retain(|partition, _| !extra.contains(&(*partition as i16)));
        sqlx::query(
            "UPDATE partitions SET owner = NULL, lease_until = NULL, epoch = epoch + 1
             WHERE owner = $1 AND partition = ANY($2)",
        )
        .bind(self.owner)
        .bind(extra)
        .execute(connection)
        .await?;
        Ok(())
    }

    async fn take_up_to(
        &self,
        connection: &mut PgConnection,
        share: usize,
        owned: &mut BTreeMap<u16, Owned>,
    ) -> sqlx::Result<()> {
        let wanted = share.saturating_sub(owned.len());
        if wanted == 0 {
            return Ok(());
        }
        let rows = sqlx::query(
            "UPDATE partitions SET owner = $1, epoch = epoch + 1,
                    lease_until = clock_timestamp() + make_interval(secs => $2)
             WHERE partition IN (
                 SELECT partition FROM partitions WHERE owner IS NULL OR lease_until < clock_timestamp()
                 ORDER BY partition LIMIT $3 FOR UPDATE SKIP LOCKED)
             RETURNING partition, epoch, cursor",
        )
        .bind(self.owner)
        .bind(LEASE_S)
        .bind(wanted as i64)
        .fetch_all(connection)
        .await?;
        owned.extend(owned_in(rows)?);
        Ok(())
    }

    /// Gives everything back, so that others need not wait for the leases to end.
    pub(crate) async fn resign(&mut self, pool: &PgPool) -> sqlx::Result<()> {
        self.owned.clear();
        sqlx::query(
            "WITH gone AS (DELETE FROM processors WHERE owner = $1)
             UPDATE partitions SET owner = NULL, lease_until = NULL, epoch = epoch + 1 WHERE owner = $1",
        )
        .bind(self.owner)
        .execute(pool)
        .await?;
        Ok(())
    }
}

/// Moves cursors, each only from where it was and under its epoch. Fewer rows than moves: the lease is lost.
pub(crate) async fn advance(
    connection: &mut PgConnection,
    owner: Uuid,
    moves: &[Move],
) -> sqlx::Result<u64> {
    let result = sqlx::query(
        "UPDATE partitions p SET cursor = m.till
         FROM unnest($2::smallint[], $3::bigint[], $4::bigint[], $5::bigint[])
              AS m(partition, epoch, since, till)
         WHERE p.partition = m.partition AND p.owner = $1 AND p.epoch = m.epoch AND p.cursor = m.since",
    )
    .bind(owner)
    .bind(moves.iter().map(|m| m.partition as i16).collect::<Vec<_>>())
    .bind(moves.iter().map(|m| m.epoch).collect::<Vec<_>>())
    .bind(moves.iter().map(|m| m.from).collect::<Vec<_>>())
    .bind(moves.iter().map(|m| m.to).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(result.rows_affected())
}

/// The lowest cursor of all partitions: everything up to it is decided.
pub(crate) async fn lowest_cursor(pool: &PgPool) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT min(cursor) FROM partitions").fetch_one(pool).await
}

/// The highest cursor of all partitions.
pub(crate) async fn highest_cursor(executor: impl PgExecutor<'_>) -> sqlx::Result<i64> {
    sqlx::query_scalar("SELECT max(cursor) FROM partitions").fetch_one(executor).await
}

/// Starts all cursors again if COMMANDS is another stream than the one they count in, or shorter: it ended at `last`,
/// after the highest cursor had been `highest`. Whatever is decided a second time for that is known by its command id.
/// What processes had sent may be lost with the stream, so they begin again too. True if they were started again.
pub(crate) async fn match_stream(
    pool: &PgPool,
    created_at: &str,
    highest: i64,
    last: i64,
) -> sqlx::Result<bool> {
    let mut tx = pool.begin().await?;
    let known: Option<String> =
        sqlx::query_scalar("SELECT created_at FROM commands_stream FOR UPDATE")
            .fetch_one(&mut *tx)
            .await?;
    let highest_now = highest_cursor(&mut *tx).await?;
    let same = known.as_deref() == Some(created_at);
    // Cursors may have passed `last` since it was looked up, and another process may have started them again.
    if same && last >= highest.min(highest_now) {
        return Ok(false);
    }
    let highest = highest_now;
    sqlx::query("UPDATE commands_stream SET created_at = $1")
        .bind(created_at)
        .execute(&mut *tx)
        .await?;
    if highest > 0 {
        sqlx::query(
            "UPDATE partitions SET cursor = 0, epoch = epoch + 1, owner = NULL, lease_until = NULL",
        )
        .execute(&mut *tx)
        .await?;
        begin_processes_again(&mut tx).await?;
    }
    tx.commit().await?;
    Ok(highest > 0)
}

/// Sets processes back by a day, and never before they were registered. What they sent longer ago is decided by far, and
/// what they would make today of an older event, at other prices, nobody waits for.
async fn begin_processes_again(connection: &mut PgConnection) -> sqlx::Result<()> {
    sqlx::query(
        "UPDATE processes SET position = GREATEST(registered, LEAST(position, COALESCE(
             (SELECT e.position FROM events e WHERE e.recorded_at < clock_timestamp() - interval '1 day'
              ORDER BY e.position DESC LIMIT 1), 0)))",
    )
    .execute(connection)
    .await?;
    Ok(())
}

fn owned_in(rows: Vec<sqlx::postgres::PgRow>) -> sqlx::Result<BTreeMap<u16, Owned>> {
    rows.iter()
        .map(|row| {
            let partition: i16 = row.try_get(0)?;
            Ok((
                partition.unsigned_abs(),
                Owned { epoch: row.try_get(1)?, cursor: row.try_get(2)? },
            ))
        })
        .collect()
}
