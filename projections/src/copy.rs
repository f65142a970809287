//! Rows in PostgreSQL's binary COPY format: the fastest way into a table that is only added to.

use chrono::{DateTime, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

/// Below this many rows one INSERT takes less time than the extra round trips of a COPY.
pub(crate) const WORTHWHILE_ROWS: usize = 32;

const SIGNATURE: &[u8] = b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0";

/// Microseconds from 1970, where our times start, to 2000, where PostgreSQL's do.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;

/// The bytes of a `COPY … FROM STDIN BINARY`.
pub(crate) struct Rows(Vec<u8>);

impl Rows {
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        let mut buffer = Vec::with_capacity(bytes + SIGNATURE.len() + 2);
        buffer.extend_from_slice(SIGNATURE);
        Rows(buffer)
    }

    /// Begins a row of `columns` columns; each must follow.
    pub(crate) fn row(&mut self, columns: i16) {
        self.0.extend_from_slice(&columns.to_be_bytes());
    }

    pub(crate) fn bigint(&mut self, value: i64) {
        self.field(&value.to_be_bytes());
    }

    /// A `text`, or a `json` value, whose binary form is its text.
    pub(crate) fn text(&mut self, value: &str) {
        self.field(value.as_bytes());
    }

    pub(crate) fn optional_text(&mut self, value: Option<&str>) {
        match value {
            Some(value) => self.text(value),
            None => self.0.extend_from_slice(&(-1_i32).to_be_bytes()),
        }
    }

    pub(crate) fn uuid(&mut self, value: Uuid) {
        self.field(value.as_bytes());
    }

    pub(crate) fn timestamptz(&mut self, value: DateTime<Utc>) {
        self.bigint(value.timestamp_micros() - POSTGRES_EPOCH_MICROS);
    }

    pub(crate) async fn send(
        mut self,
        connection: &mut PgConnection,
        statement: &str,
    ) -> sqlx::Result<()> {
        self.0.extend_from_slice(&(-1_i16).to_be_bytes());
        let mut copy = connection.copy_in_raw(statement).await?;
        copy.send(self.0).await?;
        copy.finish().await?;
        Ok(())
    }

    fn field(&mut self, bytes: &[u8]) {
        // A value of 2 GiB cannot come out of a journal whose events are read whole.
        let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
        self.0.extend_from_slice(&length.to_be_bytes());
        self.0.extend_from_slice(bytes);
    }
}
