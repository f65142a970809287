//! Sends webhooks: as fast as they are answered, or at a steady rate whatever the answers do.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::Serving;
use super::client::{Connection, notification};
use super::feed::Clock;
use crate::work::{Mix, Work};

/// The most connections at once.
const CONNECTIONS: usize = 256;

/// Cheers to be sent, with messages padded to some length.
#[derive(Clone)]
pub struct Cheers {
    pub work: Work,
    pub padding: usize,
}

impl Cheers {
    pub fn new(run: &str, count: usize) -> Self {
        Cheers { work: Work::new(run, count as u64, Mix::Webhooks), padding: 0 }
    }

    fn request(&self, serving: &Serving, n: usize) -> anyhow::Result<Vec<u8>> {
        let mut body = self.work.body(n as u64);
        if self.padding > 0 {
            let number = format!("night {n}");
            body = body.replace(&number, &format!("{number} {}", "x".repeat(self.padding)));
        }
        notification(serving.address, &format!("{}-{n}", self.work.run), &body)
    }
}

/// Every connection sends the next as soon as the last was answered.
pub async fn flat_out(serving: &Serving, cheers: &Cheers, clock: &Clock) -> anyhow::Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let senders = (0..CONNECTIONS).map(|_| async {
        let mut connection = Connection::open(serving.address).await?;
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n as u64 >= cheers.work.count {
                return anyhow::Ok(());
            }
            let request = cheers.request(serving, n)?;
            clock.is_due(n, Instant::now());
            connection.notify(&request).await?;
        }
    });
    futures::future::try_join_all(senders).await?;
    Ok(())
}

/// Sends cheer `n` at `n / rate` seconds, on the connection that was used last or on a new one. One that finds none free
/// waits, and its time runs.
pub async fn steadily(
    serving: &Serving,
    cheers: &Cheers,
    clock: &Clock,
    rate: f64,
) -> anyhow::Result<()> {
    let (give_back, mut given_back) = mpsc::channel(CONNECTIONS);
    let (mut free, mut opened) = (Vec::new(), 0);
    let begun = Instant::now();
    let mut sending: JoinSet<anyhow::Result<()>> = JoinSet::new();
    for n in 0..cheers.work.count as usize {
        let due = begun + Duration::from_secs_f64(n as f64 / rate);
        tokio::time::sleep_until(due.into()).await;
        let request = cheers.request(serving, n)?;
        clock.is_due(n, due);
        while let Ok(connection) = given_back.try_recv() {
            free.push(connection);
        }
        let mut connection = match free.pop() {
            Some(connection) => connection,
            None if opened < CONNECTIONS => {
                opened += 1;
                Connection::open(serving.address).await?
            }
            None => given_back.recv().await.context("a connection broke")?,
        };
        let give_back = give_back.clone();
        sending.spawn(async move {
            connection.notify(&request).await?;
            give_back.send(connection).await.context("nobody takes the connection back")
        });
        while let Some(sent) = sending.try_join_next() {
            sent??;
        }
    }
    while let Some(sent) = sending.join_next().await {
        sent??;
    }
    Ok(())
}
