//! The stage on a whole Tapedeck: what overlays are told, what they say, and what becomes of every alert.

mod closing;
mod controls;
mod crashes;
mod dying;
pub mod page;
mod slow;
mod terminal;
mod watching;

use gateways::config::Config;
use gateways::http::keys::Scope;
use gateways::stage::Settings;
use reqwest::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::http::Serving;
use crate::world::{World, cheer, until};

/// What the overlay's key of `tapedeck up` may do.
pub const OVERLAY: [Scope; 2] = [Scope::FeedRead, Scope::StageOverlay];

/// Everything is quick, so that nobody waits.
pub fn quick(config: &mut Config) {
    let seconds = Settings::default().seconds.into_keys().map(|kind| (kind, 0.4)).collect();
    config.stage = Settings {
        lead_ms: 50,
        gap_ms: 30,
        painted_within_ms: 5_000,
        unknown_after_ms: 60_000,
        attempts_max: 3,
        seconds,
        ..Settings::default()
    };
}

/// A whole Tapedeck with an open stage.
pub async fn serving() -> Serving {
    serving_with(|_| {}).await
}

pub async fn serving_with(change: impl FnOnce(&mut Config)) -> Serving {
    let serving = Serving::with(&gateways::cli::serve::Role::ALL, |config| {
        quick(config);
        change(config);
    })
    .await;
    opened(&serving.world).await;
    serving
}

/// Waits until what is recorded from now on is for the stage.
pub async fn opened(world: &World) {
    until("the stage is open", async || {
        let open = sqlx::query_scalar("SELECT count(*) FROM projections.stages");
        open.fetch_one(&world.pool).await.unwrap_or(0_i64) == 1
    })
    .await;
}

/// Cheers of `bits` from..., one after the other; the ids of their alerts.
pub async fn cheers(world: &World, key: &str, bits: std::ops::Range<i64>) -> Vec<Uuid> {
    let asker = world.asker().await;
    let mut ids = Vec::new();
    for bits in bits {
        let outcome = asker.ask(cheer("5001", &format!("{key}-{bits}"), bits)).await;
        let position = outcome.first_position.expect("recorded");
        let id = sqlx::query_scalar("SELECT event_id FROM events WHERE position = $1")
            .bind(position)
            .fetch_one(&world.pool)
            .await;
        ids.push(id.expect("an event"));
    }
    ids
}

/// The state of an alert on the stage `main`, and why.
pub async fn row(world: &World, alert: Uuid) -> Option<(String, i64, Option<String>)> {
    sqlx::query_as(
        "SELECT state, attempts, reason FROM projections.showings
         WHERE stage = 'main' AND alert = $1",
    )
    .bind(alert)
    .fetch_optional(&world.pool)
    .await
    .expect("the query is right")
}

pub async fn comes_to(world: &World, alert: Uuid, state: &str) {
    until(&format!("{alert} is {state}"), async || {
        row(world, alert).await.is_some_and(|(now, _, _)| now == state)
    })
    .await;
}

/// Waits until nothing follows any more, and proves it all.
pub async fn audited(world: &World) {
    crate::redemption::audited(world).await;
}

/// Posts what a person wants; everything is wanted once.
pub async fn direct(serving: &Serving, key: &str, what: &str, body: Value) -> (StatusCode, Value) {
    let path = format!("/stages/main/{what}");
    serving.post(key, &path, &Uuid::new_v4().to_string(), body).await
}

pub async fn directed(serving: &Serving, key: &str, what: &str, body: Value) {
    let (status, answer) = direct(serving, key, what, body).await;
    assert_eq!(status, StatusCode::CREATED, "{what}: {answer}");
}

pub fn one(alert: Uuid) -> Value {
    json!({"alert": alert})
}
