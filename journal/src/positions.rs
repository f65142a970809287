//! How far each projection and each process is, so that a query can wait until it has seen what its caller has done.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use sqlx::PgPool;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::broker::{Broker, BrokerError, Role};

/// How often a waiting query looks into the database, in case the word from the projection was lost.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The positions this process has heard of, one watch for each projection, and how many wait for each to move.
#[derive(Default)]
pub(crate) struct Local {
    heard: Mutex<HashMap<String, watch::Sender<i64>>>,
    waiting: Mutex<HashMap<String, watch::Sender<usize>>>,
}

impl Local {
    pub(crate) fn advance(&self, name: &str, position: i64) {
        self.sender(name).send_if_modified(|current| {
            let further = position > *current;
            if further {
                *current = position;
            }
            further
        });
    }

    /// Also goes back, as history does when a dump is restored.
    fn set(&self, name: &str, position: i64) {
        self.sender(name).send_replace(position);
    }

    fn sender(&self, name: &str) -> watch::Sender<i64> {
        let mut senders = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        senders.entry(name.to_owned()).or_insert_with(|| watch::Sender::new(0)).clone()
    }

    /// How many of this process wait for the projection: one that nothing of the moment concerns then stores its
    /// position at once, and not with the next ones.
    pub(crate) fn waiting(&self, name: &str) -> watch::Receiver<usize> {
        self.waiters(name).subscribe()
    }

    fn waiters(&self, name: &str) -> watch::Sender<usize> {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.entry(name.to_owned()).or_insert_with(|| watch::Sender::new(0)).clone()
    }
}

/// One that waits, counted until it is dropped.
struct Waiter(watch::Sender<usize>);

impl Waiter {
    fn new(waiters: watch::Sender<usize>) -> Self {
        waiters.send_modify(|count| *count += 1);
        Waiter(waiters)
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// Knows where the live generation of each projection is.
#[derive(Clone)]
pub struct Positions {
    pool: PgPool,
    broker: Broker,
    _listener: Arc<AbortOnDropHandle<()>>,
}

impl Positions {
    /// Begins to listen for what projections of other processes say.
    pub async fn start(pool: PgPool, broker: &Broker) -> Result<Self, BrokerError> {
        let client = broker.client(Role::Gateway).await?;
        let mut said = client
            .subscribe("poke.projected.*")
            .await
            .map_err(|error| BrokerError::Refused(error.to_string()))?;
        let heard = broker.clone();
        let listener = tokio::spawn(async move {
            while let Some(message) = said.next().await {
                let name = message.subject.rsplit('.').next().unwrap_or_default();
                let position =
                    std::str::from_utf8(&message.payload).ok().and_then(|t| t.parse().ok());
                if let Some(position) = position {
                    heard.positions().advance(name, position);
                }
            }
        });
        let positions = Positions {
            pool,
            broker: broker.clone(),
            _listener: Arc::new(AbortOnDropHandle::new(listener)),
        };
        positions.look().await.map_err(|error| BrokerError::Refused(error.to_string()))?;
        Ok(positions)
    }

    /// Where the projection is, as far as this process has heard.
    pub fn current(&self, name: &str) -> i64 {
        *self.watch(name).borrow()
    }

    /// Changes when the projection has moved.
    pub fn watch(&self, name: &str) -> watch::Receiver<i64> {
        self.broker.positions().sender(name).subscribe()
    }

    /// Waits until the projection has reached `position`; gives where it is, or where it still was at the limit.
    pub async fn wait(&self, name: &str, position: i64, limit: Duration) -> Result<i64, i64> {
        let mut watch = self.watch(name);
        let at = *watch.borrow_and_update();
        if at >= position {
            return Ok(at);
        }
        let _counted = Waiter::new(self.broker.positions().waiters(name));
        let reached = async {
            loop {
                let at = *watch.borrow_and_update();
                if at >= position {
                    return at;
                }
                if tokio::time::timeout(LOOK_EVERY, watch.changed()).await.is_err() {
                    let _ = self.look().await;
                }
            }
        };
        tokio::time::timeout(limit, reached).await.map_err(|_| self.current(name))
    }

    /// Forgets what was heard of a history that was cut back since: positions go back to the stored ones.
    pub async fn begin_again(&self) -> sqlx::Result<()> {
        for (name, position) in self.stored().await? {
            self.broker.positions().set(&name, position);
        }
        Ok(())
    }

    /// Reads the stored positions.
    async fn look(&self) -> sqlx::Result<()> {
        for (name, position) in self.stored().await? {
            self.broker.positions().advance(&name, position);
        }
        Ok(())
    }

    async fn stored(&self) -> sqlx::Result<Vec<(String, i64)>> {
        sqlx::query_as(
            "SELECT name, position FROM checkpoints WHERE status = 'live'
             UNION ALL SELECT name, position FROM processes",
        )
        .fetch_all(&self.pool)
        .await
    }

    /// Looks into the database now and then until told to stop, for watchers that only listen.
    pub async fn keep_looking(&self, stop: CancellationToken) {
        let every = LOOK_EVERY * 5;
        while tokio::time::timeout(every, stop.cancelled()).await.is_err() {
            if let Err(error) = self.look().await {
                tracing::debug!(%error, "cannot read the projections' positions");
            }
        }
    }
}
