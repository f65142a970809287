//! Pools of connections that hand on no transaction of somebody else.

use sqlx::postgres::PgPoolOptions;
use sqlx::{Executor, PgConnection, Row};

/// A pool that looks, before it hands on a connection that lay idle, whether that is whole and in no transaction.
///
/// Whoever is cancelled while a transaction begins leaves it open: sqlx rolls back what it knows to have begun. What the
/// next one writes would be refused, where it was to read only, or never be committed. One question to the server is
/// asked instead of the ping that sqlx asks otherwise.
pub fn options() -> PgPoolOptions {
    PgPoolOptions::new()
        .test_before_acquire(false)
        .before_acquire(|connection, _| Box::pin(is_outside(connection)))
}

/// A transaction that begins with this question has the time of the question.
async fn is_outside(connection: &mut PgConnection) -> sqlx::Result<bool> {
    connection.fetch_one("SELECT now() = statement_timestamp()").await?.try_get(0)
}
