//! The running parts of a process, and the order in which they stop.

use std::future::Future;
use std::time::Duration;

use anyhow::bail;
use journal::broker::{Broker, BrokerError};
use journal::ingest::Publisher;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

/// How long all parts together may take to stop.
const STOP_LIMIT: Duration = Duration::from_secs(15);

/// The running parts of this process.
pub(super) struct Parts {
    pub(super) stop: CancellationToken,
    /// Ends what takes in.
    pub(super) intake: CancellationToken,
    /// Ends the others, once nothing is taken in any more.
    pub(super) rest: CancellationToken,
    taking_in: JoinSet<Ended>,
    running: JoinSet<Ended>,
    publisher: Option<Publisher>,
}

type Ended = (&'static str, anyhow::Result<()>);

impl Parts {
    pub(super) fn new(stop: CancellationToken) -> Self {
        Parts {
            intake: stop.child_token(),
            rest: CancellationToken::new(),
            stop,
            taking_in: JoinSet::new(),
            running: JoinSet::new(),
            publisher: None,
        }
    }

    /// The one publisher of this process, so that what its parts send together shares a sync.
    pub(super) async fn publisher(&mut self, broker: &Broker) -> Result<Publisher, BrokerError> {
        if let Some(publisher) = &self.publisher {
            return Ok(publisher.clone());
        }
        let publisher = Publisher::start(broker).await?;
        self.publisher = Some(publisher.clone());
        Ok(publisher)
    }

    pub(super) fn comes_in<F>(&mut self, name: &'static str, part: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.taking_in.spawn(async move { (name, part.await) });
    }

    pub(super) fn runs<F>(&mut self, name: &'static str, part: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        self.running.spawn(async move { (name, part.await) });
    }

    /// Waits for the order to stop, or for a part that ends without it; then stops all in good
    /// order.
    pub(super) async fn until_stopped(mut self) -> anyhow::Result<()> {
        let failed = tokio::select! {
            // Looked at first: the order to stop also ends what takes in, which is then no failure.
            biased;
            () = self.stop.cancelled() => None,
            Some(ended) = self.taking_in.join_next() => Some(ended),
            Some(ended) = self.running.join_next() => Some(ended),
        };
        self.intake.cancel();
        let stopped = tokio::time::timeout(STOP_LIMIT, async {
            while let Some(ended) = self.taking_in.join_next().await {
                note(ended);
            }
            self.rest.cancel();
            while let Some(ended) = self.running.join_next().await {
                note(ended);
            }
        });
        if stopped.await.is_err() {
            tracing::warn!(parts = self.running.len(), "some parts did not stop in time");
        }
        match failed {
            None => Ok(()),
            Some(Err(panic)) => Err(anyhow::Error::new(panic).context("a part panicked")),
            Some(Ok((name, Err(error)))) => Err(error.context(format!("{name} failed"))),
            Some(Ok((name, Ok(())))) => bail!("{name} ended by itself"),
        }
    }
}

/// Logs what went wrong while everything was stopping.
fn note(ended: Result<Ended, JoinError>) {
    match ended {
        Ok((_, Ok(()))) => {}
        Ok((name, Err(error))) => {
            tracing::warn!(part = name, error = format!("{error:#}"), "failed while stopping");
        }
        Err(panic) => tracing::error!(%panic, "a part panicked while stopping"),
    }
}

/// Cancelled by Ctrl-C and SIGTERM.
pub(super) fn stop_on_signal() -> anyhow::Result<CancellationToken> {
    let stop = CancellationToken::new();
    let (mut interrupt, mut terminate) =
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let stopped = stop.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping");
        stopped.cancel();
    });
    Ok(stop)
}
