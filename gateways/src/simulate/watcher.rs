//! A reader of the feed that is as stubborn as the overlay: whatever happens to the connection, it comes back to where
//! it was.

use std::time::Duration;

use futures::StreamExt;
use reqwest::{Client, Url};
use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use super::deed::ExpectedAlert;

const AGAIN_AFTER: Duration = Duration::from_millis(100);
const CONNECT_LIMIT: Duration = Duration::from_secs(5);
/// The feed says something at least every ten seconds.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// An alert as it came over the feed.
#[derive(Clone, Debug, Deserialize)]
pub struct Shown {
    pub epoch: Uuid,
    pub position: i64,
    pub id: Option<Uuid>,
    pub r#type: String,
    pub mode: String,
    pub data: Value,
}

/// Reads the feed at `feed` from after the position `after`, until it is dropped.
pub async fn watch(
    feed: Url,
    key: String,
    mut after: i64,
    mut show: impl FnMut(Shown),
) -> reqwest::Result<()> {
    let client = Client::builder()
        .connect_timeout(CONNECT_LIMIT)
        .read_timeout(SILENCE_MAX)
        .no_proxy()
        .build()?;
    loop {
        if let Err(error) = read(&client, &feed, &key, &mut after, &mut show).await {
            tracing::debug!(%error, after, "the feed was interrupted");
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

/// Reads until the connection ends.
async fn read(
    client: &Client,
    feed: &Url,
    key: &str,
    after: &mut i64,
    show: &mut impl FnMut(Shown),
) -> reqwest::Result<()> {
    let answer = client
        .get(feed.clone())
        .bearer_auth(key)
        .header("last-event-id", after.to_string())
        .send()
        .await?
        .error_for_status()?;
    let mut chunks = answer.bytes_stream();
    let mut text = Vec::new();
    while let Some(chunk) = chunks.next().await {
        text.extend_from_slice(&chunk?);
        while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = text.drain(..=end).collect();
            let Some(data) = line.strip_prefix(b"data: ") else { continue };
            let Ok(shown) = serde_json::from_slice::<Shown>(data) else { continue };
            if shown.mode == "control" {
                continue;
            }
            *after = shown.position;
            show(shown);
        }
    }
    Ok(())
}

impl ExpectedAlert {
    /// The alert in the form in which a night says what it must come to.
    pub fn of(shown: &Shown) -> Option<Self> {
        let amount = |field: &str| shown.data[field].as_i64();
        let (kind, amount) = match shown.r#type.as_str() {
            "follow" => ("follow", Some(0)),
            "cheer" => ("cheer", amount("bits")),
            "sub" => ("sub", Some(0)),
            "resub" => ("resub", amount("months")),
            "gift" => ("gift", amount("count")),
            "raid" => ("raid", amount("viewers")),
            "ghost" => ("ghost", Some(0)),
            "friend" => ("friend", Some(0)),
            "static" => ("static", Some(0)),
            "notice" => ("notice", Some(0)),
            "hype_train" => ("hype_train", amount("level")),
            _ => return None,
        };
        let viewer = shown.data["viewer"]["id"].as_str().map(str::to_owned);
        Some(ExpectedAlert { kind, viewer, amount: amount? })
    }
}
