//! EVENTS is not what PostgreSQL has, and the relay that makes it anew dies on the way.

use journal::Recorded;
use journal::broker::Role;
use journal::crash::RECOVERY_POINTS;
use journal::relay::EVENTS;
use journal::streams::{self, Step, StreamsFile};

use super::{dies, doomed};
use crate::processes::Site;
use crate::world::{World, cheer, until};

/// What only a relay passes that begins an epoch, and what only one passes that finds a stream.
const OF_AN_EPOCH: [&str; 2] = ["relay.parted", "relay.epoch"];
const OF_A_STREAM: [&str; 3] = ["relay.unlike", "relay.forgotten", "relay.deleted"];

/// What is wrong with EVENTS.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Wrong {
    /// It was deleted.
    Gone,
    /// It goes on where PostgreSQL ends, as beside a restored dump.
    Longer,
    /// It is of an earlier kind.
    EarlierKind,
}

impl Wrong {
    /// Where a relay can die that puts it right.
    fn points(self) -> impl Iterator<Item = &'static str> {
        RECOVERY_POINTS.into_iter().filter(move |point| match self {
            Wrong::Gone => !OF_A_STREAM.contains(point),
            Wrong::Longer => true,
            Wrong::EarlierKind => !OF_AN_EPOCH.contains(point),
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dying_at_any_statement_of_the_recovery_of_events_changes_nothing() {
    let world = World::start().await;
    let site = Site::new(&world.servers, &world.pool).await;
    let mut deciding = world.parts();
    deciding.processor();
    let asker = world.asker().await;
    for n in 0..20 {
        asker.ask(cheer("5001", &format!("m{n}"), 1)).await;
    }
    let mut relaying = world.parts();
    relaying.relay();
    world.relayed().await;
    relaying.stop().await;
    let file = StreamsFile::built_in().expect("readable");
    let admin = world.broker.jetstream(Role::Admin).await.expect("the admin gets in");
    let mut rounds = 0;
    for wrong in [Wrong::Gone, Wrong::Longer, Wrong::EarlierKind] {
        for point in wrong.points() {
            rounds += 1;
            let epoch = epoch(&world).await;
            let mut doomed = match wrong {
                // A process that starts makes a stream that is missing; this is what a relay finds that leads.
                Wrong::Gone => {
                    let doomed = doomed(&site, point, "relay");
                    asker.ask(cheer("5001", &format!("round {rounds}"), 1)).await;
                    world.relayed().await;
                    admin.delete_stream(EVENTS).await.expect("deleted");
                    doomed
                }
                Wrong::Longer => {
                    lengthen(&world).await;
                    doomed(&site, point, "relay")
                }
                Wrong::EarlierKind => {
                    make_of_an_earlier_kind(&world).await;
                    doomed(&site, point, "relay")
                }
            };
            dies(&world, &mut doomed, point).await;
            let left = self::epoch(&world).await;
            let mut healthy = site.serve(point, "relay").spawn().expect("started again");
            let keep = Step::Keep { stream: EVENTS.to_owned() };
            until("EVENTS is of its kind", async || {
                streams::plan(&admin, &file).await.is_ok_and(|steps| steps.contains(&keep))
            })
            .await;
            world.relayed().await;
            assert_eq!(json(&world.events().await), json(&world.recorded().await), "{point}");
            let now = self::epoch(&world).await;
            match wrong {
                Wrong::Gone | Wrong::Longer => {
                    assert_ne!(now, epoch, "{point}: positions may mean other events")
                }
                Wrong::EarlierKind => assert_eq!(now, epoch, "{point}: the history is the same"),
            }
            // A longer stream says that history was cut back for as long as it is there.
            let is_begun = match wrong {
                Wrong::Gone => point == "relay.epoch",
                Wrong::Longer => ["relay.deleted", "relay.made"].contains(&point),
                Wrong::EarlierKind => true,
            };
            if is_begun {
                assert_eq!(now, left, "{point}: it had begun, and once is enough");
            }
            healthy.kill().await.expect("killed");
        }
    }
    assert_eq!(rounds, 13);
    let mut last = world.parts();
    last.relay();
    last.follower();
    asker.ask(cheer("5001", "last", 1)).await;
    assert_eq!(world.available("5001").await, 20 + 3 + 1);
    world.relayed().await;
    site.audit().await;
    last.stop().await;
    deciding.stop().await;
}

/// Appends to EVENTS what PostgreSQL does not have.
async fn lengthen(world: &World) {
    let recorded = world.recorded().await;
    let end = recorded.last().expect("there are some");
    append(world, &Recorded { position: end.position + 1, ..end.clone() }).await;
}

/// As it was made once, with the same in it.
async fn make_of_an_earlier_kind(world: &World) {
    let events = world.events().await;
    let admin = world.broker.jetstream(Role::Admin).await.expect("the admin gets in");
    let stream = admin.get_stream(EVENTS).await.expect("EVENTS is there");
    let mut config = stream.cached_info().config.clone();
    (config.persist_mode, config.allow_atomic_publish) = (None, true);
    admin.delete_stream(EVENTS).await.expect("deleted");
    admin.create_stream(config).await.expect("made");
    for event in &events {
        append(world, event).await;
    }
}

async fn append(world: &World, event: &Recorded) {
    let relay = world.broker.client(Role::Relay).await.expect("the relay gets in");
    relay.request(event.subject(), event.body().expect("JSON").into()).await.expect("stored");
}

async fn epoch(world: &World) -> uuid::Uuid {
    journal::head::read(&world.pool).await.expect("a head").epoch
}

fn json(events: &[Recorded]) -> String {
    serde_json::to_string(events).expect("JSON")
}
