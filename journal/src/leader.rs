//! Locks of which one holder has each: who relays, who folds a projection, who runs a process. They are session locks of PostgreSQL and
//! go with the connection that holds them.

use std::time::Duration;

use sqlx::{PgConnection, PgPool};

/// How long one wait for a lock lasts before it is begun again, so that a server that is gone is noticed.
const WAIT: &str = "5s";
/// How long the server may take to say that the wait was in vain.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// What PostgreSQL says when a lock was not to be had in time.
const LOCK_NOT_AVAILABLE: &str = "55P03";

/// What only one may do at a time.
#[derive(Clone, Copy, Debug)]
pub enum Lock<'a> {
    /// Publishing, so that others do not publish in vain.
    Relay,
    /// Folding the projection of this name.
    Fold(&'a str),
    /// Running the process of this name.
    Process(&'a str),
    /// Publishing what this name says.
    Publication(&'a str),
    /// Doing the work of this name that is better not done twice at once, as the timer of holds.
    Work(&'a str),
}

/// The number of [`Lock::Relay`].
const RELAY: i64 = 0x7461_7065_6465_636b;

/// Waits until the lock is ours, and gives the connection that holds it. When this host dies without a goodbye, the
/// server finds out by asking and lets the lock go: after 5 seconds of silence and two questions of 2 seconds, or
/// when what it said last was not received for 9 seconds.
pub async fn wait(pool: &PgPool, lock: Lock<'_>) -> sqlx::Result<PgConnection> {
    let mut connection = pool.acquire().await?.detach();
    sqlx::query(
        "SELECT set_config('tcp_keepalives_idle', '5', false), set_config('tcp_keepalives_interval', '2', false),
                set_config('tcp_keepalives_count', '2', false), set_config('tcp_user_timeout', '9000', false),
                set_config('lock_timeout', $1, false)",
    )
    .bind(WAIT)
    .execute(&mut connection)
    .await?;
    loop {
        let locked = match lock {
            Lock::Relay => sqlx::query("SELECT pg_advisory_lock($1)").bind(RELAY),
            Lock::Fold(name) => {
                sqlx::query("SELECT pg_advisory_lock(hashtext('fold:' || $1))").bind(name)
            }
            Lock::Process(name) => {
                sqlx::query("SELECT pg_advisory_lock(hashtext('process:' || $1))").bind(name)
            }
            Lock::Publication(name) => {
                sqlx::query("SELECT pg_advisory_lock(hashtext('publication:' || $1))").bind(name)
            }
            Lock::Work(name) => {
                sqlx::query("SELECT pg_advisory_lock(hashtext('work:' || $1))").bind(name)
            }
        };
        let locked = locked.execute(&mut connection);
        match tokio::time::timeout(ANSWER_LIMIT, locked).await {
            Ok(Ok(_)) => break,
            Ok(Err(error)) if is_in_vain(&error) => {}
            Ok(Err(error)) => return Err(error),
            Err(_) => return Err(sqlx::Error::Protocol("the server does not answer".to_owned())),
        }
    }
    sqlx::query("SET lock_timeout TO DEFAULT").execute(&mut connection).await?;
    Ok(connection)
}

fn is_in_vain(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.as_deref() == Some(LOCK_NOT_AVAILABLE)
}
