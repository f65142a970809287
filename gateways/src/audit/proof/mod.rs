//! The proof of one viewer's statement: a file that says why they had these points, and can be checked without servers.
//!
//! It is JSON lines. The first says whose statement it is, up to which position, and the link of that position. Then
//! comes every event of the account from the first on, whole, each with the link before it. Then the sums, and last an
//! Ed25519 signature over every byte before it.
//!
//! What follows from the file alone: each event's content makes its link from the link before it, so that no field of
//! it can be changed without changing the link; the events are numbered 1, 2, 3 as the account's, so none is left out
//! in between or moved; and the sums are those of the events.
//!
//! What the signature has to be trusted for, because a chain with one link after the other cannot show it without
//! showing everybody's events: that these links stand at these positions of the history that ends with the link of the
//! first line, and that the account had no later event up to there. Whoever has the whole history as a file
//! (`tapedeck audit --export`) need not trust even that: [`verify`] compares the proof with it.
//!
//! A signature says something only to those who know whose key it is. Anybody can invent an account's events, make a key,
//! and sign them, and all of it agrees; so a proof that is verified with neither a key nor a history is not called proved.

mod check;
mod signing;
mod verify;
mod write;

use chrono::{DateTime, Utc};
use journal::{Hash, Recorded};
use projections::balances::Sums;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use signing::{PublicKey, SignerKey};
pub use verify::{Verification, verify};
pub use write::{Summary, Wanted, WriteError, write, write_file};

pub const FORMAT: &str = "tapedeck-statement-proof-1";

/// The first line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Header {
    pub format: String,
    /// The account, which is the viewer's Twitch user id.
    pub viewer: String,
    /// The line of history that the positions count in.
    pub epoch: Uuid,
    /// The statement is of this position, and `hash` is its link.
    pub position: i64,
    #[serde(with = "hex::serde")]
    pub hash: Hash,
    /// The opening sums are those after this position; 0 is before everything.
    pub since: i64,
    /// When the proof was written.
    pub at: DateTime<Utc>,
}

/// One event of the account, as it is published, and the link before it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    #[serde(with = "hex::serde")]
    pub previous: Hash,
    pub event: Recorded,
}

/// The line before the last: `{"sums": {…}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SumsLine {
    sums: Said,
}

/// What the statement comes to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Said {
    pub entries: u64,
    pub opening: Sums,
    pub closing: Sums,
}

/// The last line: `{"signature": {…}}`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignatureLine {
    signature: Signature,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature {
    public_key: String,
    /// 64 bytes as 128 hexadecimal digits.
    ed25519: String,
}

/// What is signed: the format's name, so that the key signs nothing that could pass for something else, and the
/// SHA-256 of every byte before the last line.
fn signed_bytes(digest: &Hash) -> Vec<u8> {
    [FORMAT.as_bytes(), b"\0", digest].concat()
}
