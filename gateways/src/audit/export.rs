//! The whole history as a file: a header, one line per event as it is published, and a trailer with the sums.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use journal::{Hash, Recorded};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::Error;
use super::accounts::{Accounts, Totals};

pub const FORMAT: &str = "tapedeck-history-1";

/// The first line.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub format: String,
    /// The line of history that this is.
    pub epoch: Uuid,
    /// The last position in this file, and its link.
    pub head: i64,
    #[serde(with = "hex::serde")]
    pub hash: Hash,
    /// When it was written.
    pub at: DateTime<Utc>,
}

/// The last line: `{"trailer": {…}}`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Last {
    pub trailer: Trailer,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trailer {
    pub events: u64,
    pub totals: Totals,
    /// SHA-256 over every account in order with its five sums.
    #[serde(with = "hex::serde")]
    pub balances: Hash,
}

impl Trailer {
    pub fn of(events: u64, accounts: &Accounts) -> Self {
        let mut hasher = Sha256::new();
        for (account, sums) in accounts.in_order() {
            hasher.update(account.as_bytes());
            hasher.update([0]);
            for sum in [sums.credits, sums.available, sums.held, sums.captured, sums.reversed] {
                hasher.update(sum.to_be_bytes());
            }
        }
        Trailer { events, totals: accounts.totals(), balances: hasher.finalize().into() }
    }
}

/// Writes the file beside its place and moves it there when it is whole.
pub struct Exporter {
    place: PathBuf,
    unfinished: PathBuf,
    file: BufWriter<File>,
    line: Vec<u8>,
}

impl Exporter {
    pub fn create(place: &Path, header: &Header) -> Result<Self, Error> {
        let mut unfinished = place.as_os_str().to_owned();
        unfinished.push(".unfinished");
        let unfinished = PathBuf::from(unfinished);
        let file = File::create(&unfinished).map_err(|source| failed(&unfinished, source))?;
        let mut exporter = Exporter {
            place: place.to_owned(),
            unfinished,
            file: BufWriter::with_capacity(1 << 20, file),
            line: Vec::new(),
        };
        exporter.write(header)?;
        Ok(exporter)
    }

    pub fn event(&mut self, event: &Recorded) -> Result<(), Error> {
        self.write(event)
    }

    pub fn finish(mut self, trailer: Trailer) -> Result<(), Error> {
        self.write(&Last { trailer })?;
        let file =
            self.file.into_inner().map_err(|error| failed(&self.place, error.into_error()))?;
        file.sync_all().map_err(|source| failed(&self.place, source))?;
        std::fs::rename(&self.unfinished, &self.place).map_err(|source| failed(&self.place, source))
    }

    fn write(&mut self, value: &impl Serialize) -> Result<(), Error> {
        self.line.clear();
        let written = serde_json::to_writer(&mut self.line, value);
        written.map_err(|error| failed(&self.place, error.into()))?;
        if self.line.contains(&b'\n') {
            let words = "an event has a line break between its fields, so it is not one line";
            return Err(failed(&self.place, std::io::Error::other(words)));
        }
        self.line.push(b'\n');
        self.file.write_all(&self.line).map_err(|source| failed(&self.place, source))
    }
}

fn failed(path: &Path, source: std::io::Error) -> Error {
    Error::File { path: path.to_owned(), source }
}
