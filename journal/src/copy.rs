//! Reading many rows at once: `COPY … TO STDOUT (FORMAT binary)`, parsed by hand. [`Rows`] writes them.
//!
//! It is several times as fast as a query and needs no memory for what has passed. A connection that is cut is an
//! error, never a short answer: the rows end with a trailer, and without it there is no end.

use bytes::Bytes;
use futures::stream::{self, BoxStream, Stream, StreamExt, TryStreamExt};
use sqlx::PgConnection;
use uuid::Uuid;

mod writing;

pub use writing::{Rows, WORTHWHILE_ROWS};

/// How many rows are handed over together.
pub const BATCH_MAX: usize = 1024;

/// What begins the answer, before 4 bytes of flags and the length of an extension.
const SIGNATURE: &[u8; 11] = b"PGCOPY\n\xff\r\n\0";
const HEADER_BYTES: usize = SIGNATURE.len() + 8;

/// PostgreSQL counts microseconds from 2000, we from 1970.
const EPOCH_MICROS: i64 = 946_684_800_000_000;

/// One row of `N` columns, in PostgreSQL's binary form.
#[derive(Clone, Debug)]
pub struct Tuple<const N: usize> {
    bytes: Bytes,
    /// Where each column begins and ends; `None` where it is null.
    columns: [Option<(u32, u32)>; N],
}

impl<const N: usize> Tuple<N> {
    /// The bytes of a column, or `None` where it is null.
    pub fn bytes(&self, column: usize) -> Option<&[u8]> {
        let (start, end) = (*self.columns.get(column)?)?;
        self.bytes.get(start as usize..end as usize)
    }

    /// A `text` or `json` column.
    pub fn text(&self, column: usize) -> Result<&str, sqlx::Error> {
        self.optional_text(column)?.ok_or_else(|| null(column))
    }

    pub fn optional_text(&self, column: usize) -> Result<Option<&str>, sqlx::Error> {
        let Some(bytes) = self.bytes(column) else { return Ok(None) };
        std::str::from_utf8(bytes)
            .map(Some)
            .map_err(|_| sqlx::Error::Protocol(format!("column {column} is not UTF-8")))
    }

    /// A `bigint` column.
    pub fn i64(&self, column: usize) -> Result<i64, sqlx::Error> {
        self.array(column).map(i64::from_be_bytes)
    }

    /// An `integer` column.
    pub fn i32(&self, column: usize) -> Result<i32, sqlx::Error> {
        self.array(column).map(i32::from_be_bytes)
    }

    /// A `timestamptz` column, in microseconds since 1970.
    pub fn micros(&self, column: usize) -> Result<i64, sqlx::Error> {
        let stored = self.i64(column)?;
        stored
            .checked_add(EPOCH_MICROS)
            .ok_or_else(|| sqlx::Error::Protocol(format!("column {column} is a time out of range")))
    }

    /// A `uuid` column.
    pub fn uuid(&self, column: usize) -> Result<Uuid, sqlx::Error> {
        self.array(column).map(Uuid::from_bytes)
    }

    /// A column of exactly `L` bytes.
    pub fn array<const L: usize>(&self, column: usize) -> Result<[u8; L], sqlx::Error> {
        let bytes = self.bytes(column).ok_or_else(|| null(column))?;
        bytes.try_into().map_err(|_| {
            sqlx::Error::Protocol(format!("column {column} has {} bytes, not {L}", bytes.len()))
        })
    }

    fn parse(bytes: Bytes, mut at: usize) -> Result<Option<Self>, sqlx::Error> {
        let count = i16::from_be_bytes(take(&bytes, &mut at)?);
        if count == -1 {
            return Ok(None);
        }
        if usize::try_from(count) != Ok(N) {
            return Err(sqlx::Error::Protocol(format!("a row has {count} columns, not {N}")));
        }
        let mut columns = [None; N];
        for column in &mut columns {
            let Ok(length) = u32::try_from(i32::from_be_bytes(take(&bytes, &mut at)?)) else {
                continue;
            };
            let end = at + length as usize;
            if end > bytes.len() {
                return Err(cut());
            }
            *column = Some((at as u32, end as u32));
            at = end;
        }
        Ok(Some(Tuple { bytes, columns }))
    }
}

/// The rows of `COPY (query) TO STDOUT (FORMAT binary)`, up to [`BATCH_MAX`] at a time.
pub fn rows<'c, const N: usize>(
    connection: &'c mut PgConnection,
    query: &str,
) -> impl Stream<Item = Result<Vec<Tuple<N>>, sqlx::Error>> + Send + use<'c, N> {
    rows_as(connection, query, Ok)
}

/// As [`rows`], each row as what `read` makes of it.
pub fn rows_as<'c, const N: usize, T: Send + 'c>(
    connection: &'c mut PgConnection,
    query: &str,
    read: fn(Tuple<N>) -> Result<T, sqlx::Error>,
) -> impl Stream<Item = Result<Vec<T>, sqlx::Error>> + Send + use<'c, N, T> {
    let statement = format!("COPY ({query}) TO STDOUT (FORMAT binary)");
    stream::once(async move {
        let pieces = connection.copy_out_raw(&statement).await?;
        Ok::<_, sqlx::Error>(batches(pieces, read))
    })
    .try_flatten()
}

fn batches<'c, const N: usize, T: Send + 'c>(
    pieces: BoxStream<'c, Result<Bytes, sqlx::Error>>,
    read: fn(Tuple<N>) -> Result<T, sqlx::Error>,
) -> impl Stream<Item = Result<Vec<T>, sqlx::Error>> + Send + use<'c, N, T> {
    stream::try_unfold(Some((pieces, false)), move |state| async move {
        let Some((mut pieces, mut begun)) = state else { return Ok(None) };
        let mut batch = Vec::with_capacity(BATCH_MAX);
        // The server sends one piece per row; the header comes with the first.
        while batch.len() < BATCH_MAX {
            let piece = pieces.next().await.ok_or_else(cut)??;
            let start = if begun { 0 } else { header(&piece)? };
            begun = true;
            if start == piece.len() {
                continue;
            }
            match Tuple::parse(piece, start)? {
                Some(tuple) => batch.push(read(tuple)?),
                None => {
                    // Only when the server has said that it is done are the rows all there.
                    while pieces.try_next().await?.is_some() {}
                    return Ok((!batch.is_empty()).then_some((batch, None)));
                }
            }
        }
        Ok(Some((batch, Some((pieces, begun)))))
    })
}

/// Where the first row begins.
fn header(piece: &[u8]) -> Result<usize, sqlx::Error> {
    if !piece.starts_with(SIGNATURE) || piece.len() < HEADER_BYTES {
        return Err(sqlx::Error::Protocol("this is not a binary COPY".to_owned()));
    }
    let mut at = HEADER_BYTES - 4;
    let extension = u32::from_be_bytes(take(piece, &mut at)?) as usize;
    if at + extension > piece.len() { Err(cut()) } else { Ok(at + extension) }
}

fn take<const L: usize>(bytes: &[u8], at: &mut usize) -> Result<[u8; L], sqlx::Error> {
    let end = *at + L;
    let taken = bytes.get(*at..end).and_then(|bytes| bytes.try_into().ok()).ok_or_else(cut)?;
    *at = end;
    Ok(taken)
}

fn cut() -> sqlx::Error {
    sqlx::Error::Protocol("the rows end before their trailer: the connection was cut".to_owned())
}

fn null(column: usize) -> sqlx::Error {
    sqlx::Error::Protocol(format!("column {column} is null"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first_piece(row: &[u8]) -> Bytes {
        [SIGNATURE.as_slice(), &[0; 8], row].concat().into()
    }

    fn row(number: i64) -> Vec<u8> {
        [&[0, 2, 0, 0, 0, 8][..], &number.to_be_bytes(), &[0xff; 4]].concat()
    }

    async fn read(pieces: Vec<Bytes>) -> Result<Vec<Tuple<2>>, sqlx::Error> {
        let pieces = stream::iter(pieces.into_iter().map(Ok)).boxed();
        batches(pieces, Ok).try_concat().await
    }

    #[tokio::test]
    async fn rows_are_read_up_to_the_trailer() {
        let pieces = vec![first_piece(&row(7)), row(8).into(), vec![0xff, 0xff].into()];
        let rows = read(pieces).await.expect("whole");
        let numbers: Vec<_> = rows.iter().map(|row| row.i64(0).expect("a number")).collect();
        assert_eq!(numbers, [7, 8]);
        assert_eq!(rows[0].bytes(1), None);
        assert!(rows[0].i64(1).is_err());
    }

    #[tokio::test]
    async fn no_rows_are_still_whole() {
        assert_eq!(read(vec![first_piece(&[0xff, 0xff])]).await.expect("whole").len(), 0);
    }

    #[tokio::test]
    async fn rows_without_a_trailer_are_an_error() {
        assert!(read(vec![first_piece(&row(7)), row(8).into()]).await.is_err());
        assert!(read(vec![]).await.is_err());
        let half = row(8)[..9].to_vec();
        assert!(read(vec![first_piece(&row(7)), half.into()]).await.is_err());
    }
}
