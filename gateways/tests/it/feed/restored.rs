//! The feed of a gateway whose database is restored under it.

use gateways::cli::serve::Role;
use gateways::http::keys::Scope;
use serde_json::json;

use super::{Sse, cheers};
use crate::http::Serving;

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_stays_up_through_a_restored_dump_hands_on_what_comes_after_it() {
    let serving = Serving::with(&[Role::Gateway], |_| {}).await;
    let key = serving.key(&[Scope::FeedRead]).await;
    let asker = serving.world.asker().await;
    let parts = serving.world.run();
    let mut feed = Sse::open(&serving, &key, "", None).await;
    let hello = feed.next().await.expect("hello");
    cheers(&asker, 1, 5).await;
    serving.world.caught_up().await;
    let dump = serving.world.dump();
    let last = cheers(&asker, 6, 5).await;
    let mut seen = Vec::new();
    for _ in 0..10 {
        seen.push(feed.alert().await["id"].clone());
    }
    serving.world.relayed().await;
    // The commands after the dump are lost as well: the history that follows is a shorter one.
    let admin = serving.world.broker.jetstream(journal::broker::Role::Admin).await.expect("admin");
    let commands = admin.get_stream("COMMANDS").await.expect("COMMANDS is there");
    parts.stop().await;
    commands.purge().await.expect("purged");
    serving.world.restore(&dump);

    let parts = serving.world.run();
    cheers(&asker, 11, 2).await;
    let bye = feed.alert().await;
    assert_eq!((&bye["type"], &bye["data"]["reason"]), (&json!("bye"), &json!("restored")));
    assert!(feed.next().await.is_none(), "closed after bye");
    let epoch = hello["epoch"].as_str().expect("an epoch");
    let mut feed = Sse::open(&serving, &key, &format!("?epoch={epoch}"), Some(last)).await;
    let hello = feed.next().await.expect("hello");
    assert_eq!(hello["data"]["resumed"], false);
    assert_ne!(hello["epoch"], epoch, "positions mean something else now");
    // What was recorded just before the hub last looked may come again, under the id it had.
    for bits in [11, 12] {
        let alert = loop {
            let alert = feed.alert().await;
            if !seen.contains(&alert["id"]) {
                break alert;
            }
        };
        assert_eq!(alert["data"]["bits"], bits, "{alert}");
        assert!(alert["position"].as_i64() < Some(last), "where another alert was");
    }
    let now = cheers(&asker, 13, 1).await;
    assert_eq!(feed.alert().await["position"], now);
    parts.stop().await;
    serving.stop().await;
}
