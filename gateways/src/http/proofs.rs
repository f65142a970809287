//! Proofs of statements over HTTP.

use std::sync::Arc;

use axum::extract::State as FromState;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use projections::statements;
use serde::Deserialize;
use tokio::sync::Semaphore;
use utoipa::IntoParams;

use super::State;
use super::auth::Asker;
use super::error::{ApiError, ErrorBody, POSITION};
use super::extract::{Path, Query};
use super::keys::Scope;
use super::query::{as_of, check_id, wait};
use crate::audit::proof::{self, SignerKey, Wanted, WriteError};
use crate::key_file::SIGNING;

/// A statement of more entries is proved at the terminal: this much is kept in memory while it is made.
const ENTRIES_MAX: u64 = 20_000;

/// How many proofs are made at one time in this process.
static TURNS: Semaphore = Semaphore::const_new(2);

/// What is to be proved.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub struct WantedProof {
    /// A position (`124`) or a time (`2026-11-21T20:15:00Z`); now, if left out.
    as_of: Option<String>,
    /// The opening balance is that after this position or time; before everything, if left out.
    since: Option<String>,
    /// Answer only when this position is known. Waits up to 5 seconds, then answers 504 `behind`.
    min_position: Option<i64>,
}

/// A viewer's whole statement as a signed file, to be checked offline.
///
/// Whoever has it checks it with `tapedeck audit --verify-proof FILE --public-key KEY`, the key being that of the channel.
/// JSON lines: whose statement it is, every event of the account with its place in the hash chain, the sums, and an
/// Ed25519 signature over every byte before it. The header `Tapedeck-Public-Key` names the key. Of others it has only the
/// ids of those whom gifts came from or went to, and the names of those who granted, noted or reversed something.
#[utoipa::path(
    get, path = "/accounts/{viewer}/statement/proof", tag = "accounts",
    params(("viewer" = String, Path, description = "The viewer's Twitch user id"), WantedProof),
    responses((status = 200, description = "The proof, as a file",
               content((String = "application/jsonl"))),
              (status = "4XX", body = ErrorBody), (status = 504, body = ErrorBody)),
)]
pub(crate) async fn statement_proof(
    FromState(app): FromState<State>,
    asker: Asker,
    Path(viewer): Path<String>,
    Query(wanted): Query<WantedProof>,
) -> Result<Response, ApiError> {
    asker.require_for(Scope::AccountsRead, &viewer)?;
    check_id(&viewer)?;
    wait(&app, &[statements::NAME], wanted.min_position).await?;
    let since = wanted.since.as_deref().map(|since| as_of(Some(since))).transpose()?;
    let as_of = as_of(wanted.as_of.as_deref())?;
    let wanted = Wanted { viewer, as_of, since, entries_max: ENTRIES_MAX };
    let _turn = TURNS.acquire().await.map_err(|_| ApiError::unavailable("it is stopping"))?;
    let key = signer(Arc::clone(&app)).await?;
    let mut file = Vec::new();
    let summary = proof::write(&app.pool, &wanted, &key, |line| {
        file.extend_from_slice(line);
        Ok(())
    })
    .await?;
    let name = format!("attachment; filename=\"statement-{}.proof\"", summary.viewer);
    let value = |text: String| HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/jsonl")),
        (header::CONTENT_DISPOSITION, value(name)),
        (POSITION, summary.position.into()),
        (header::HeaderName::from_static("tapedeck-public-key"), value(key.public().to_string())),
    ];
    Ok((StatusCode::OK, headers, file).into_response())
}

/// The key, read anew for each proof: it may have been restored meanwhile.
async fn signer(app: State) -> Result<SignerKey, ApiError> {
    let no_key = |words: String| {
        tracing::error!(error = words, "a proof cannot be signed");
        ApiError::unavailable("this installation has no key to sign with; the log says why")
    };
    let path = app.config.signing_key_path();
    let path = path.ok_or_else(|| no_key(SIGNING.nowhere().to_string()))?;
    let read = tokio::task::spawn_blocking(move || SignerKey::load_or_make(&path)).await;
    read.map_err(|error| no_key(error.to_string()))?.map_err(|error| no_key(error.to_string()))
}

impl From<WriteError> for ApiError {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::NoSuchPosition(wanted, head) => ApiError::behind("history", wanted, head),
            WriteError::Backwards { .. } => ApiError::bad_request(error.to_string()),
            WriteError::TooLong(_) => {
                let words =
                    format!("{error}; make it with `tapedeck statement VIEWER --proof FILE`");
                ApiError::unprocessable("too_long", words)
            }
            WriteError::Database(error) => error.into(),
            WriteError::Disagrees(_) | WriteError::Sink(_) => {
                tracing::error!(%error, "a proof was not made");
                ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "disagrees", error.to_string())
            }
        }
    }
}
