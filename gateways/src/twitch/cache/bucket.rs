//! The bucket HELIX of keys and values. What cannot be reached, or takes long, is empty: nobody waits for a cache.
//!
//! `user.5001` and `game.27284` have what Twitch said. `login.reeldeal.5001` says whose login it is, with the id in its key,
//! so that a viewer's logins of the last days can be taken out by that. Taken out means that the record is gone: a bucket's
//! own deleting would leave one that has the key, and so the name, for another week.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_nats::connection::State;
use async_nats::jetstream::stream::{
    DirectGetErrorKind, LastRawMessageErrorKind, PurgeErrorKind, Stream,
};
use async_nats::jetstream::{self, ErrorCode};
use bytes::Bytes;
use chrono::Utc;
use futures::future::try_join_all;
use journal::broker::{Broker, Role};
use thiserror::Error;
use tokio::time::timeout;

use super::kept::{self, Kept, Name, User};

/// What keeps the bucket.
pub const HELIX: &str = "KV_HELIX";
const KEYS: &str = "$KV.HELIX";
/// How long looking and keeping may take.
const LIMIT: Duration = Duration::from_secs(1);
const FORGET_LIMIT: Duration = Duration::from_secs(5);
/// How long the bucket is left alone when it did not answer, and when we were not let in.
const RESTS_FOR: Duration = Duration::from_secs(2);
const SHUT_FOR: Duration = Duration::from_secs(30);

/// Why the bucket cannot be used.
#[derive(Debug, Error)]
#[error("the bucket HELIX cannot be reached: {0}")]
pub struct NotReached(String);

pub struct Bucket {
    broker: Broker,
    rests_until: Mutex<Option<Instant>>,
}

/// The bucket, once we are in.
struct Open {
    jetstream: jetstream::Context,
    kept: Stream<()>,
}

fn not_reached(error: impl std::fmt::Display) -> NotReached {
    NotReached(error.to_string())
}

impl Bucket {
    /// Connects when it is first used, so that a server that does not know its user yet is no hindrance.
    pub fn new(broker: Broker) -> Self {
        Bucket { broker, rests_until: Mutex::default() }
    }

    /// What is kept under these names, in their order.
    pub async fn find<T: Kept>(&self, names: &[Name]) -> Vec<Option<T>> {
        let looked =
            async |open: Open| try_join_all(names.iter().map(|name| open.find(name))).await;
        self.limited(looked).await.unwrap_or_else(|| names.iter().map(|_| None).collect())
    }

    /// Keeps these in the place of what was there. Whether any of it may be kept now.
    pub async fn keep<T: Kept>(&self, rows: &[T]) -> bool {
        if rows.is_empty() {
            return false;
        }
        let _ = self.limited(async |open: Open| open.keep(rows).await).await;
        true
    }

    /// Takes out all that is kept of a viewer.
    pub async fn forget(&self, viewer: &str) -> Result<(), NotReached> {
        let Some(Name::Id(id)) = Name::id(viewer) else { return Ok(()) };
        let forgotten = async {
            let open = self.open().await?;
            open.purge(format!("{KEYS}.login.*.{id}")).await?;
            open.purge(key::<User>(&id)).await
        };
        timeout(FORGET_LIMIT, forgotten).await.map_err(not_reached)?
    }

    /// What comes of it in time, if anything.
    async fn limited<R>(&self, work: impl AsyncFnOnce(Open) -> Result<R, NotReached>) -> Option<R> {
        if self.rests() {
            return None;
        }
        let open = match timeout(LIMIT, self.open()).await.map_err(not_reached).flatten() {
            Ok(open) if open.is_connected() => open,
            // The connection comes back by itself.
            Ok(_) => return None,
            Err(error) => {
                self.rest(SHUT_FOR, &error);
                return None;
            }
        };
        match timeout(LIMIT, work(open)).await.map_err(not_reached).flatten() {
            Ok(done) => Some(done),
            Err(error) => {
                self.rest(RESTS_FOR, &error);
                None
            }
        }
    }

    async fn open(&self) -> Result<Open, NotReached> {
        let jetstream = self.broker.jetstream(Role::Cache).await.map_err(not_reached)?;
        let kept = jetstream.get_stream_no_info(HELIX).await.map_err(not_reached)?;
        Ok(Open { jetstream, kept })
    }

    fn rests(&self) -> bool {
        let rests_until = self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        rests_until.is_some_and(|until| Instant::now() < until)
    }

    fn rest(&self, rest: Duration, error: &NotReached) {
        tracing::warn!(%error, "the cache is not used for a while: Twitch is asked instead");
        let mut rests_until = self.rests_until.lock().unwrap_or_else(PoisonError::into_inner);
        *rests_until = Some(Instant::now() + rest);
    }
}

impl Open {
    fn is_connected(&self) -> bool {
        self.jetstream.client().connection_state() == State::Connected
    }

    async fn find<T: Kept>(&self, name: &Name) -> Result<Option<T>, NotReached> {
        let id = match name {
            Name::Id(id) => Some(id.clone()),
            Name::Login(login) => self.whose(login).await?,
        };
        let Some(id) = id else { return Ok(None) };
        match self.kept.direct_get_last_for_subject(key::<T>(&id)).await {
            // Whoever has another login by now is not who is asked for.
            Ok(kept) => {
                Ok(kept::read(&kept.payload, Utc::now()).filter(|row: &T| row.is_called(name)))
            }
            Err(error) if error.kind() == DirectGetErrorKind::NotFound => Ok(None),
            Err(error) => Err(not_reached(error)),
        }
    }

    /// The id of whoever was last said to have this login.
    async fn whose(&self, login: &str) -> Result<Option<String>, NotReached> {
        let any = format!("{KEYS}.login.{login}.*");
        match self.kept.get_last_raw_message_by_subject(&any).await {
            Ok(kept) => Ok(kept.subject.rsplit('.').next().map(str::to_owned)),
            Err(error) if error.kind() == LastRawMessageErrorKind::NoMessageFound => Ok(None),
            Err(error) => Err(not_reached(error)),
        }
    }

    async fn keep<T: Kept>(&self, rows: &[T]) -> Result<(), NotReached> {
        let mut acknowledged = Vec::new();
        for row in rows {
            let text = Bytes::from(serde_json::to_vec(row).map_err(not_reached)?);
            let login = row.login().map(|login| format!("{KEYS}.login.{login}.{}", row.id()));
            let login = login.map(|login| (login, Bytes::from(row.id().to_owned())));
            for (key, value) in [Some((key::<T>(row.id()), text)), login].into_iter().flatten() {
                let sent = self.jetstream.publish(key, value).await.map_err(not_reached)?;
                acknowledged.push(sent.into_future());
            }
        }
        try_join_all(acknowledged).await.map(drop).map_err(not_reached)
    }

    async fn purge(&self, filter: String) -> Result<(), NotReached> {
        let is_none = |kind: PurgeErrorKind| {
            let PurgeErrorKind::JetStream(error) = kind else { return false };
            error.error_code() == ErrorCode::STREAM_NOT_FOUND
        };
        match self.kept.purge().filter(filter).await {
            Ok(_) => Ok(()),
            Err(error) if is_none(error.kind()) => Ok(()),
            Err(error) => Err(not_reached(error)),
        }
    }
}

fn key<T: Kept>(id: &str) -> String {
    format!("{KEYS}.{}.{id}", T::KEY)
}
