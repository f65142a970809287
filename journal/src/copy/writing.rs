//! Writing many rows at once: `COPY … FROM STDIN BINARY`, several times as fast as an `INSERT` of them.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{EPOCH_MICROS, SIGNATURE};

/// Below this many rows one INSERT takes less time than the extra round trips of a COPY.
pub const WORTHWHILE_ROWS: usize = 32;

/// What a null is instead of a length.
const NULL: i32 = -1;
/// What comes after the last row, where the number of its columns would be.
const TRAILER: i16 = -1;

/// Rows in PostgreSQL's binary form.
pub struct Rows(Vec<u8>);

impl Rows {
    pub fn with_capacity(bytes: usize) -> Self {
        let mut buffer = Vec::with_capacity(bytes + SIGNATURE.len() + 10);
        buffer.extend_from_slice(SIGNATURE);
        // No flags, and no extension of the header.
        buffer.extend_from_slice(&[0; 8]);
        Rows(buffer)
    }

    /// Begins a row of `columns` columns; each must follow.
    pub fn row(&mut self, columns: i16) {
        self.0.extend_from_slice(&columns.to_be_bytes());
    }

    pub fn bigint(&mut self, value: i64) {
        self.bytes(&value.to_be_bytes());
    }

    pub fn integer(&mut self, value: i32) {
        self.bytes(&value.to_be_bytes());
    }

    pub fn smallint(&mut self, value: i16) {
        self.bytes(&value.to_be_bytes());
    }

    /// A `text`, or a `json` value, whose binary form is its text.
    pub fn text(&mut self, value: &str) {
        self.bytes(value.as_bytes());
    }

    /// A value that `write` writes, or null.
    pub fn optional<T>(&mut self, value: Option<T>, write: impl FnOnce(&mut Self, T)) {
        match value {
            Some(value) => write(self, value),
            None => self.0.extend_from_slice(&NULL.to_be_bytes()),
        }
    }

    pub fn uuid(&mut self, value: Uuid) {
        self.bytes(value.as_bytes());
    }

    pub fn timestamptz(&mut self, value: DateTime<Utc>) {
        self.bigint(value.timestamp_micros() - EPOCH_MICROS);
    }

    /// A `bytea`.
    pub fn bytes(&mut self, bytes: &[u8]) {
        // A value of 2 GiB cannot come out of a journal whose events are read whole.
        let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(bytes);
    }

    /// Writes them with `statement`, a `COPY … FROM STDIN BINARY`: all, or none. Who gives this up on its way must not use
    /// the connection again: sqlx does not know then that an answer is still to come.
    pub async fn send(
        mut self,
        connection: &mut PgConnection,
        statement: &str,
    ) -> sqlx::Result<()> {
        self.0.extend_from_slice(&TRAILER.to_be_bytes());
        let mut copy = connection.copy_in_raw(statement).await?;
        copy.send(self.0).await?;
        copy.finish().await?;
        Ok(())
    }
}
