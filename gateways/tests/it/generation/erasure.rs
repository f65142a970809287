//! What an erased viewer asked for is not shown any more.

use std::time::Duration;

use domain::chat_request::Colour;
use domain::generation::Settlement;
use projections::{Page, alerts};
use serde_json::{Value, json};

use super::*;

impl Scene {
    /// What the overlay is given of a viewer's alerts, newest first.
    async fn shown(&self, viewer: &str) -> Vec<Value> {
        self.world.caught_up().await;
        let shown = alerts::list(&self.world.pool, Page::of(10), &[]).await.expect("an answer");
        let of_them = |alert: &alerts::Alert| alert.viewer.as_ref().is_some_and(|v| v.id == viewer);
        let theirs = shown.alerts.iter().filter(|alert| of_them(alert));
        theirs.map(alerts::Alert::feed_data).collect()
    }

    /// A request of `viewer` that was made and captured.
    async fn pictured(&self, worker: &Worker, viewer: &str, wish: Wish) {
        let name = format!("{viewer} {}", wish.style());
        let entry = |step: &str| entry_id(step, &name);
        let (request, viewer, at) = (entry("request"), viewer.to_owned(), at());
        let (price, prices, retry_of) = (200, 1, None);
        let (submit, points, settlement) = (entry("submit"), 200, Settlement::Captured);
        let submit = Command::Submit {
            entry: submit,
            viewer,
            wish,
            price,
            prices,
            at,
            retry_of,
            state: None,
        };
        self.tell(request, &submit).await;
        self.tell(request, &Command::Fund { entry: entry("fund") }).await;
        self.world.caught_up().await;
        assert_eq!(turn(worker).await, request);
        self.tell(request, &Command::Settle { entry: entry("settle"), points, settlement }).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_erased_viewer_asked_for_is_shown_without_its_words_and_its_picture() {
    let (scene, parts) = Scene::start().await;
    let named = || Deed::Give(Made { name: Some("Waldo".to_owned()), ..made(0) });
    let studio = Studio::new([Deed::Make, named(), named()]);
    let worker = scene.worker(studio, options()).await;
    let ghost = Wish::Ghost { subject: "Jane Doe of Elm Street".to_owned() };
    let friend = || Wish::Friend { colour: Some(Colour::Blue), subject: "a Jane Doe".to_owned() };
    scene.pictured(&worker, "5001", ghost).await;
    scene.pictured(&worker, "5001", friend()).await;
    scene.pictured(&worker, "5002", friend()).await;
    let before = scene.shown("5001").await;
    assert_eq!(before[1]["subject"], "Jane Doe of Elm Street", "{before:?}");
    assert_eq!(
        (&before[0]["name"], &before[0]["subject"]),
        (&json!("Waldo"), &json!("a Jane Doe"))
    );

    journal::names::erase(&scene.world.pool, "5001", Duration::from_secs(60))
        .await
        .expect("erased");
    let after = scene.shown("5001").await;
    assert_eq!(after.len(), 2);
    for alert in &after {
        assert_eq!((&alert["subject"], &alert["picture"]), (&json!(""), &json!("")), "{alert}");
        let text = alert.to_string();
        assert!(!text.contains("Doe") && !text.contains("Waldo"), "{text}");
        assert_eq!(alert["viewer"], json!({"id": "5001", "name": null}));
    }
    assert_eq!(after[0]["colour"], "blue", "what says nothing of anybody stays");
    let others = scene.shown("5002").await;
    assert_eq!(
        (&others[0]["name"], &others[0]["subject"]),
        (&json!("Waldo"), &json!("a Jane Doe"))
    );
    assert_eq!(others[0]["picture"].as_str().map(str::len), Some(64));
    parts.stop().await;
}
