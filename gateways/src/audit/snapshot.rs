//! One moment of the database that several connections read, so that an audit can run beside a live system.

use sqlx::{PgPool, Postgres, Transaction};

/// Nothing limits how long an audit reads but the audit itself.
const PATIENT: &str = "SELECT set_config('statement_timeout', '0', true),
                              set_config('idle_in_transaction_session_timeout', '0', true),
                              set_config('timezone', 'UTC', true)";

/// A snapshot, held by a transaction of its own until it is dropped.
pub struct Snapshot {
    pool: PgPool,
    name: String,
    holder: Transaction<'static, Postgres>,
}

impl Snapshot {
    pub async fn take(pool: &PgPool) -> sqlx::Result<Self> {
        let mut holder = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        sqlx::query(PATIENT).execute(&mut *holder).await?;
        let name =
            sqlx::query_scalar("SELECT pg_export_snapshot()").fetch_one(&mut *holder).await?;
        Ok(Snapshot { pool: pool.clone(), name, holder })
    }

    /// The transaction that holds the snapshot, for short reads.
    pub fn connection(&mut self) -> &mut sqlx::PgConnection {
        &mut self.holder
    }

    /// Another transaction that sees the same moment.
    pub async fn another(&self) -> sqlx::Result<Transaction<'static, Postgres>> {
        self.begin("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
    }

    /// The same, but it may make temporary tables. Nothing of it is ever committed.
    pub async fn scratch(&self) -> sqlx::Result<Transaction<'static, Postgres>> {
        self.begin("BEGIN ISOLATION LEVEL REPEATABLE READ").await
    }

    async fn begin(&self, how: &'static str) -> sqlx::Result<Transaction<'static, Postgres>> {
        let mut transaction = self.pool.begin_with(how).await?;
        // The name came from PostgreSQL and consists of hexadecimal digits and dashes.
        let set = format!("SET TRANSACTION SNAPSHOT '{}'", self.name);
        sqlx::query(&set).execute(&mut *transaction).await?;
        sqlx::query(PATIENT).execute(&mut *transaction).await?;
        Ok(transaction)
    }
}
