//! The catalogue of tapes, from a file to the lower third, and what was on when something was asked for.

use chrono::{DateTime, Utc};
use domain::broadcast::{Broadcast, Command, OnAir};
use domain::entry_id;
use domain::generation;
use gateways::cli::serve::Role;
use gateways::http::keys::Scope;
use gateways::pictures::name_of;
use journal::Envelope;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use crate::http::{BROADCASTER, Serving};
use crate::processes::Site;
use crate::redemption::comes_to;
use crate::world::{Asker, at, origin, until};

const PIXEL: &[u8] = include_bytes!("../data/pixel.png");
const LIST: &str = "id,title,year,runtime,tags,colour,thumbnail\n\
    88,Aerobics at Sunrise,1987,59:00,fitness|neon,#f0a51c,88.png\n\
    9,Bowling for Beginners,,,,,\n\
    10,Carpets of the World,1991,1:02:30,,,\n";

/// A whole Tapedeck on which somebody works at a terminal as well.
struct Place {
    serving: Serving,
    site: Site,
    key: String,
    asker: Asker,
}

impl Place {
    async fn start() -> Self {
        // Nobody makes pictures, so that requests stay as they are, or opens a stage, which is an event.
        let nobody = [Role::Making, Role::Directing];
        let roles = Role::ALL.into_iter().filter(|role| !nobody.contains(role));
        let serving = Serving::with(&roles.collect::<Vec<_>>(), |_| {}).await;
        let key = serving.key(&[Scope::Admin]).await;
        let site = Site::new(&serving.world.servers, &serving.world.pool).await;
        let asker = serving.world.asker().await;
        let place = Place { serving, site, key, asker };
        place.write("88.png", PIXEL);
        place.write("tapes.csv", LIST.as_bytes());
        place
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        std::fs::write(self.serving.world.servers.data.join(name), bytes).expect("written");
    }

    /// What `tapedeck` says, and whether it is content.
    async fn tapedeck(&self, arguments: &[&str]) -> (bool, String) {
        let output = self.site.tapedeck(arguments).output().await.expect("it runs");
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8(said).expect("text"))
    }

    async fn import(&self, list: &str, more: &[&str]) -> (bool, String) {
        let file = self.serving.world.servers.data.join(list).display().to_string();
        let arguments: Vec<&str> =
            ["tapes", "import", &file].into_iter().chain(more.iter().copied()).collect();
        self.tapedeck(&arguments).await
    }

    async fn get(&self, path: &str) -> Value {
        let (status, answer) = self.serving.get(&self.key, path).await;
        assert_eq!(status, StatusCode::OK, "{path}: {answer}");
        answer
    }

    async fn play(&self, tape: &str, once: &str) -> (StatusCode, Value) {
        let path = "/broadcasts/current/screenings";
        self.serving.post(&self.key, path, once, json!({"tape": tape})).await
    }

    async fn clear(&self, once: &str) -> (StatusCode, Value) {
        let path = "/broadcasts/current/screenings";
        let request = self.serving.request(Method::DELETE, &self.key, path);
        let answer = request.header("Idempotency-Key", once).send().await.expect("an answer");
        (answer.status(), answer.json().await.expect("JSON"))
    }

    async fn go_live(&self) {
        let (entry, live_id) = (entry_id("test", "live"), "live-1".to_owned());
        self.tell(Command::Start { entry, live_id, at: Utc::now(), resume_within_s: 900 }).await;
    }

    async fn go_offline(&self) {
        let entry = entry_id("test", "offline");
        self.tell(Command::End { entry, live_id: None, at: Utc::now() }).await;
    }

    async fn tell(&self, command: Command) {
        let envelope = Envelope::new::<Broadcast>(BROADCASTER, &command, origin("channel"));
        self.asker.ask(envelope.expect("a good address")).await;
    }

    /// The payloads of the events of this type, oldest first.
    async fn events(&self, event_type: &str) -> Vec<Value> {
        self.serving
            .world
            .recorded()
            .await
            .iter()
            .filter(|event| event.event_type == event_type)
            .map(|event| {
                serde_json::from_str::<Value>(event.payload.get()).expect("JSON")[event_type]
                    .clone()
            })
            .collect()
    }

    async fn stop(self) {
        self.serving.world.relayed().await;
        until("the processes have seen all", async || {
            let position = "SELECT min(position) FROM processes";
            self.serving.world.count(position).await == self.serving.world.head().await
        })
        .await;
        self.serving.world.caught_up().await;
        self.site.audit().await;
        self.serving.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_imported_once_and_a_newer_one_changes_what_is_new() {
    let place = Place::start().await;
    let (well, said) = place.import("tapes.csv", &["--preview"]).await;
    assert!(
        well && said.contains("Would be: 3 new, 0 changed, 0 withdrawn, 0 as they were."),
        "{said}"
    );
    assert_eq!(place.serving.world.head().await, 0, "a preview keeps nothing");
    let pictures = place.serving.world.servers.data.join("pictures");
    assert!(!pictures.exists(), "not even a picture");

    let (well, said) = place.import("tapes.csv", &["--actor", "jane"]).await;
    assert!(well && said.contains("3 new"), "{said}");
    let head = place.serving.world.head().await;
    assert_eq!(head, 3);
    let (well, said) = place.import("tapes.csv", &[]).await;
    assert!(well && said.contains("0 new, 0 changed, 0 withdrawn, 3 as they were."), "{said}");
    assert_eq!(place.serving.world.head().await, head, "the same again is nothing");

    let list = place.get(&format!("/tapes?min_position={head}")).await;
    let ids: Vec<&str> = list["tapes"]
        .as_array()
        .expect("tapes")
        .iter()
        .filter_map(|tape| tape["id"].as_str())
        .collect();
    assert_eq!((ids.as_slice(), &list["count"]), (["9", "10", "88"].as_slice(), &json!(3)));
    let first = place.get("/tapes?limit=2").await;
    let rest = place.get(&format!("/tapes?after={}", first["after"].as_str().expect("more"))).await;
    assert_eq!((&rest["tapes"][0]["id"], &rest["after"]), (&json!("88"), &Value::Null));
    assert_eq!(place.get("/tapes?words=AEROBICS").await["tapes"][0]["id"], "88");
    assert_eq!(place.get("/tapes?words=%25").await["tapes"], json!([]), "words and no pattern");
    assert_eq!(place.get("/tapes?tag=neon").await["tapes"][0]["id"], "88");
    let one = place.get("/tapes/88").await["tape"].clone();
    assert_eq!((&one["from"]["line"], &one["from"]["actor"]), (&json!(2), &json!("jane")));
    assert_eq!((&one["runtime_s"], &one["tags"]), (&json!(3_540), &json!(["fitness", "neon"])));
    // Its picture can be loaded.
    assert_eq!(one["thumbnail"]["content"], json!(name_of(PIXEL)));
    let path = one["thumbnail"]["path"].as_str().expect("a path");
    let url = format!("http://{}{path}", place.serving.listen);
    let picture = place.serving.client.get(url).send().await.expect("an answer");
    assert_eq!(picture.bytes().await.expect("bytes").as_ref(), PIXEL);

    let newer = "id,title\n88,Aerobics at Sunset\n9,Bowling for Beginners\n11,Dogs\n";
    place.write("newer.csv", newer.as_bytes());
    let (well, said) =
        place.import("newer.csv", &["--without-thumbnails", "--withdraw-others"]).await;
    assert!(well && said.contains("1 new, 1 changed, 1 withdrawn, 1 as they were."), "{said}");
    assert!(
        said.contains("changed    88  Aerobics at Sunset (title, year, runtime, tags, colour)")
    );
    place.serving.world.caught_up().await;
    assert_eq!(place.get("/tapes/88").await["tape"]["thumbnail"], one["thumbnail"]);
    assert!(place.get("/tapes/10").await["tape"]["withdrawn_at"].is_string());
    assert_eq!(place.get("/tapes").await["count"], 3);
    let (well, said) = place.tapedeck(&["tapes", "list", "--withdrawn"]).await;
    assert!(well && said.contains("Carpets of the World (withdrawn)"), "{said}");
    let (well, said) = place.tapedeck(&["tapes", "show", "88"]).await;
    assert!(well && said.contains("newer.csv, line 2") && said.contains("0 times"), "{said}");
    place.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_with_a_bad_line_or_picture_is_imported_not_at_all() {
    let place = Place::start().await;
    place.write("text.png", b"no picture");
    place.write("bad.csv", b"id,title,year\n1,One,1987\n2,Two,eighty\n3,,1987\n");
    place.write(
        "pictures.csv",
        b"id,title,thumbnail\n1,One,88.png\n2,Two,text.png\n3,Three,gone.png\n",
    );
    for (list, parts) in [
        ("bad.csv", ["line 3: the year is a number", "line 4: it has no title"]),
        (
            "pictures.csv",
            ["line 3: the thumbnail \"text.png\"", "line 4: the thumbnail \"gone.png\""],
        ),
    ] {
        let (well, said) = place.import(list, &[]).await;
        assert!(!well && parts.iter().all(|part| said.contains(part)), "{said}");
    }
    assert_eq!(place.serving.world.head().await, 0);
    assert!(!place.serving.world.servers.data.join("pictures").exists());
    place.stop().await;
}

/// W21, W22: what replaces a screening ends it, with its ids, in one commit.
#[tokio::test(flavor = "multi_thread")]
async fn a_tape_of_the_catalogue_is_screened_and_shown_and_no_other_is() {
    let place = Place::start().await;
    let (status, answer) = place.play("88", "too early").await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::CONFLICT, &json!("not_live")));
    place.go_live().await;
    // Where there is no catalogue, anything is screened.
    assert_eq!(place.play("Tape 42", "no catalogue").await.0, StatusCode::CREATED);
    assert!(place.import("tapes.csv", &[]).await.0);
    let (status, answer) = place.play("89", "unknown").await;
    let code = &answer["error"]["code"];
    assert_eq!((status, code), (StatusCode::UNPROCESSABLE_ENTITY, &json!("not_in_catalogue")));
    let (well, said) = place.tapedeck(&["tape", "play", "89"]).await;
    assert!(!well && said.contains("tape 89 is not in the catalogue"), "{said}");

    let (status, answer) = place.play("88", "aerobics").await;
    let replaced = json!(["screening_ended", "screening_started"]);
    assert_eq!((status, &answer["events"]), (StatusCode::CREATED, &replaced));
    let (status, answer) = place.play("88", "again").await;
    assert_eq!((status, &answer["error"]["code"]), (StatusCode::CONFLICT, &json!("same_tape")));
    let (well, said) = place.tapedeck(&["tape", "play", "9"]).await;
    assert!(well && said.contains("On screen: Bowling for Beginners."), "{said}");
    let (well, said) = place.tapedeck(&["tape", "clear"]).await;
    assert!(well && said.contains("Nothing is on screen any more."), "{said}");
    assert_eq!(place.clear("twice").await.0, StatusCode::OK, "nothing is cleared twice");
    assert_eq!(place.play("88", "once more").await.0, StatusCode::CREATED);
    place.go_offline().await;

    let (started, ended) =
        (place.events("screening_started").await, place.events("screening_ended").await);
    let tapes: Vec<&Value> = started.iter().map(|event| &event["screening"]["tape"]).collect();
    assert_eq!(tapes, ["Tape 42", "88", "9", "88"]);
    let replaced: Vec<&Value> = started[..3].iter().map(|event| &event["screening"]).collect();
    assert_eq!(ended.iter().map(|event| &event["screening"]).collect::<Vec<_>>(), replaced);
    assert_eq!(place.events("ended").await[0]["screening"], started[3]["screening"]);
    assert_eq!(started[0]["card"], Value::Null);
    assert_eq!(started[1]["card"]["title"], "Aerobics at Sunrise");

    place.serving.world.caught_up().await;
    let alerts = place.get("/alerts?types=tape").await;
    let data = &alerts["alerts"][2]["data"];
    let wanted = json!({
        "id": "88", "title": "Aerobics at Sunrise", "year": 1987, "runtime_s": 3_540,
        "tags": ["fitness", "neon"], "colour": "#f0a51c", "thumbnail": name_of(PIXEL),
    });
    assert_eq!(data, &wanted, "{alerts}");

    let screened = place.get("/tapes/88/screenings").await;
    assert_eq!((&screened["count"], &screened["before"]), (&json!(2), &Value::Null));
    let first = place.get("/tapes/88/screenings?limit=1").await;
    assert_eq!(first["screenings"][0]["broadcast"], 1);
    let before = first["before"].as_i64().expect("another page");
    let second = place.get(&format!("/tapes/88/screenings?limit=1&before={before}")).await;
    assert_eq!(second["screenings"][0]["id"], started[1]["screening"]["id"]);
    assert!(second["screenings"][0]["ended_at"].is_string(), "{second}");
    let (well, said) = place.tapedeck(&["tapes", "show", "88"]).await;
    assert!(well && said.contains("on screen 2 times"), "{said}");
    place.stop().await;
}

/// W23: the state of a request is that of its cheer, whoever was connected when.
#[tokio::test(flavor = "multi_thread")]
async fn every_request_carries_what_was_on_when_it_was_asked_for() {
    let place = Place::start().await;
    let cheer = async |key: &str| {
        place.serving.world.caught_up().await;
        let facts = domain::account::Facts::Cheer {
            bits: 200,
            message: "Cheer200 ghost of a toaster".to_owned(),
        };
        let (entry, points) = (entry_id("cheer", key), 200);
        let command = domain::account::Command::Credit { entry, points, rules: 1, facts };
        place.asker.ask(crate::world::to_account("5001", key, command)).await;
    };
    cheer("offline").await;
    place.go_live().await;
    cheer("live").await;
    comes_to(&place.serving.world, "submitted", 2).await;
    assert_eq!(place.play("Tape 42", "tape").await.0, StatusCode::CREATED);
    cheer("playing").await;
    comes_to(&place.serving.world, "submitted", 3).await;
    place.serving.world.caught_up().await;
    let body = json!({"viewer": "5001", "request": "ghost of a kettle"});
    let (status, answer) = place.serving.post(&place.key, "/generations", "by hand", body).await;
    assert_eq!(status, StatusCode::CREATED, "{answer}");
    assert_eq!(place.clear("clear").await.0, StatusCode::CREATED);
    cheer("cleared").await;
    place.go_offline().await;
    cheer("over").await;
    comes_to(&place.serving.world, "submitted", 6).await;

    let events = place.serving.world.recorded().await;
    let screening = events.iter().find(|event| event.event_type == "screening_started");
    let screening = screening.expect("a screening").command_id;
    let live =
        || OnAir { broadcaster: BROADCASTER.to_owned(), broadcast: 1, screening: None, tape: None };
    let playing =
        || OnAir { screening: Some(screening), tape: Some("Tape 42".to_owned()), ..live() };
    let states: Vec<Option<OnAir>> = events
        .iter()
        .filter(|event| event.event_type == "submitted")
        .map(|event| match event.event().expect("an event of a request") {
            generation::Event::Submitted { state, .. } => state,
            other => panic!("{other:?}"),
        })
        .collect();
    let wanted = [None, Some(live()), Some(playing()), Some(playing()), Some(live()), None];
    assert_eq!(states, wanted);
    place.stop().await;
}

/// What a process answers late, it answers as it would have then.
#[tokio::test(flavor = "multi_thread")]
async fn a_request_answered_an_hour_late_carries_what_was_on_then() {
    let world = crate::world::World::start().await;
    let parts = world.run();
    let asker = world.asker().await;
    // Nobody answers, and it is known from where on somebody will.
    journal::process::register(&world.pool, &crate::redemption::redemption()).await.expect("known");
    let tell = async |command: Command| {
        let envelope = Envelope::new::<Broadcast>(BROADCASTER, &command, origin("channel"));
        asker.ask(envelope.expect("a good address")).await;
    };
    let minute = |n: i64| -> DateTime<Utc> { at() + chrono::TimeDelta::minutes(n) };
    let (entry, live_id) = (entry_id("test", "live"), "live-1".to_owned());
    tell(Command::Start { entry, live_id, at: minute(0), resume_within_s: 900 }).await;
    let facts = domain::account::Facts::Cheer {
        bits: 200,
        message: "Cheer200 ghost of a toaster".to_owned(),
    };
    let entry = entry_id("test", "cheer");
    let command = domain::account::Command::Credit { entry, points: 200, rules: 1, facts };
    asker.ask(crate::world::to_account("5001", "cheer", command)).await;
    tell(Command::End { entry: entry_id("test", "end"), live_id: None, at: minute(60) }).await;
    world.caught_up().await;

    let mut late = world.parts();
    late.processes(crate::redemption::redemption()).await;
    comes_to(&world, "submitted", 1).await;
    let events = world.recorded().await;
    let submitted = events.iter().find(|event| event.event_type == "submitted").expect("one");
    let generation::Event::Submitted { state, .. } = submitted.event().expect("it reads") else {
        panic!("{}", submitted.payload);
    };
    assert_eq!(state.map(|on_air| (on_air.broadcast, on_air.tape)), Some((1, None)));
    late.stop().await;
    parts.stop().await;
}
