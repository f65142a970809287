//! Writing a proof: one snapshot of the database, checked as whoever receives it will check it, and then signed.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use futures::TryStreamExt;
use journal::head;
use journal::recorded::GENESIS;
use journal::{Hash, Recorded};
use projections::AsOf;
use serde::Serialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use sqlx::{PgPool, Row};
use thiserror::Error;

use super::super::{end_of, resolve};
use super::check::Checker;
use super::signing::{PublicKey, SignerKey};
use super::{Entry, FORMAT, Header, Said, Signature, SignatureLine, SumsLine, signed_bytes};

/// Whose statement, up to when, and from when its opening sums are.
#[derive(Clone, Debug)]
pub struct Wanted {
    pub viewer: String,
    pub as_of: AsOf,
    /// `None`: from the beginning, with nothing.
    pub since: Option<AsOf>,
    /// More entries than this are refused.
    pub entries_max: u64,
}

/// What was written.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    pub viewer: String,
    pub position: i64,
    #[serde(flatten)]
    pub said: Said,
    #[serde(serialize_with = "as_text")]
    pub public_key: PublicKey,
}

#[derive(Debug, Error)]
pub enum WriteError {
    #[error("there is no position {0}: the journal ends at {1}")]
    NoSuchPosition(i64, i64),
    #[error("the statement would begin at position {since}, after its end at {position}")]
    Backwards { since: i64, position: i64 },
    #[error("the statement has more than {0} entries")]
    TooLong(u64),
    /// History itself does not check out: nothing is signed.
    #[error("this is not signed, because history disagrees: {0}; run tapedeck audit")]
    Disagrees(String),
    #[error("PostgreSQL: {0}")]
    Database(#[from] sqlx::Error),
    #[error("it cannot be written: {0}")]
    Sink(#[from] std::io::Error),
}

impl From<super::super::Error> for WriteError {
    fn from(error: super::super::Error) -> Self {
        match error {
            super::super::Error::NoSuchPosition(wanted, head) => Self::NoSuchPosition(wanted, head),
            super::super::Error::Database(error) => Self::Database(error),
            other => Self::Disagrees(other.to_string()),
        }
    }
}

/// Writes the proof line by line into `sink`. Whatever came before an error is not a proof: it has no signature.
pub async fn write(
    pool: &PgPool,
    wanted: &Wanted,
    key: &SignerKey,
    mut sink: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<Summary, WriteError> {
    let mut snapshot = pool.begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    sqlx::query("SET LOCAL statement_timeout = '120s'").execute(&mut *snapshot).await?;
    let head = head::read(&mut *snapshot).await?;
    let position = resolve(&mut snapshot, wanted.as_of, head.position).await?;
    let since = match wanted.since {
        None => 0,
        Some(since) => resolve(&mut snapshot, since, head.position).await?,
    };
    if since > position {
        return Err(WriteError::Backwards { since, position });
    }
    let end = end_of(&mut snapshot, &head, position).await?;
    let header = Header {
        format: FORMAT.to_owned(),
        viewer: wanted.viewer.clone(),
        epoch: end.epoch,
        position,
        hash: end.hash,
        since,
        at: Utc::now(),
    };
    let mut lines = Lines { digest: Sha256::new(), sink: &mut sink };
    lines.write(&header)?;
    let mut checker = Checker::new(&header, &[]);
    let mut rows = sqlx::query(
        "SELECT e.position, e.sequence, e.event_type, e.event_version, e.event_id, e.command_id, e.recorded_at,
                e.payload::text, e.metadata::text, e.hash, p.hash
         FROM public.events e LEFT JOIN public.events p ON p.position = e.position - 1
         WHERE e.aggregate_type = 'account' AND e.aggregate_id = $1 AND e.position <= $2 ORDER BY e.sequence",
    )
    .bind(&wanted.viewer)
    .bind(position)
    .fetch(&mut *snapshot);
    while let Some(row) = rows.try_next().await? {
        let entry = entry_of(&wanted.viewer, &row)?;
        checker.see(&entry);
        if let Some(wrong) = checker.first_wrong() {
            return Err(WriteError::Disagrees(wrong.to_owned()));
        }
        if checker.said().entries > wanted.entries_max {
            return Err(WriteError::TooLong(wanted.entries_max));
        }
        lines.write(&entry)?;
    }
    drop(rows);
    snapshot.rollback().await?;
    let said = checker.said();
    lines.write(&SumsLine { sums: said.clone() })?;
    lines.sign(key)?;
    let viewer = wanted.viewer.clone();
    Ok(Summary { viewer, position, said, public_key: key.public() })
}

/// Writes the proof beside its place and moves it there when it is whole.
pub async fn write_file(
    pool: &PgPool,
    wanted: &Wanted,
    key: &SignerKey,
    place: &Path,
) -> Result<Summary, WriteError> {
    let mut unfinished = place.as_os_str().to_owned();
    unfinished.push(".unfinished");
    let unfinished = PathBuf::from(unfinished);
    let mut file = BufWriter::with_capacity(1 << 20, File::create(&unfinished)?);
    let written = write(pool, wanted, key, |line| file.write_all(line)).await;
    let summary = match written {
        Ok(summary) => summary,
        Err(error) => {
            let _ = std::fs::remove_file(&unfinished);
            return Err(error);
        }
    };
    file.into_inner().map_err(|error| error.into_error())?.sync_all()?;
    std::fs::rename(&unfinished, place)?;
    Ok(summary)
}

fn entry_of(viewer: &str, row: &sqlx::postgres::PgRow) -> Result<Entry, WriteError> {
    let position: i64 = row.try_get(0)?;
    let hash = |bytes: Vec<u8>| <Hash>::try_from(bytes).unwrap_or(GENESIS);
    let previous: Option<Vec<u8>> = row.try_get(10)?;
    let previous = match previous {
        Some(previous) => hash(previous),
        None if position == 1 => GENESIS,
        None => return Err(WriteError::Disagrees(format!("event {} is missing", position - 1))),
    };
    let json = |column: usize| -> Result<Box<RawValue>, WriteError> {
        let text: String = row.try_get(column)?;
        if text.contains('\n') {
            let words = format!("event {position} has a line break between its fields");
            return Err(WriteError::Disagrees(words));
        }
        let wrong = |error| WriteError::Disagrees(format!("event {position}: {error}"));
        RawValue::from_string(text).map_err(wrong)
    };
    let recorded_at: DateTime<Utc> = row.try_get(6)?;
    let event = Recorded {
        position,
        aggregate_type: "account".to_owned(),
        aggregate_id: viewer.to_owned(),
        sequence: row.try_get(1)?,
        event_type: row.try_get(2)?,
        event_version: row.try_get(3)?,
        event_id: row.try_get(4)?,
        command_id: row.try_get(5)?,
        recorded_at,
        payload: json(7)?,
        metadata: json(8)?,
        hash: hash(row.try_get(9)?),
    };
    Ok(Entry { previous, event })
}

/// Hashes every line on its way out.
struct Lines<'a, S> {
    digest: Sha256,
    sink: &'a mut S,
}

impl<S: FnMut(&[u8]) -> std::io::Result<()>> Lines<'_, S> {
    fn write(&mut self, value: &impl Serialize) -> Result<(), WriteError> {
        let mut line = serde_json::to_vec(value).map_err(std::io::Error::from)?;
        line.push(b'\n');
        self.digest.update(&line);
        Ok((self.sink)(&line)?)
    }

    fn sign(mut self, key: &SignerKey) -> Result<(), WriteError> {
        let digest: Hash = self.digest.clone().finalize().into();
        let ed25519 = hex::encode(key.sign(&signed_bytes(&digest)));
        let public_key = key.public().to_string();
        self.write(&SignatureLine { signature: Signature { public_key, ed25519 } })
    }
}

fn as_text<S: serde::Serializer>(key: &PublicKey, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(key)
}
