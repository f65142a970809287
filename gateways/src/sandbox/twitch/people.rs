//! Who has an account there, and Helix where it tells of them.

use super::*;

/// How many may be asked for at once.
const ASKED_MAX: usize = 100;
const LOGIN_CHARS_MAX: usize = 25;
/// Ids that are made of names: nine digits, as those of many accounts are.
const MADE_IDS: std::ops::Range<u128> = 100_000_000..1_000_000_000;

/// What is played there.
const GAMES: [(&str, &str); 4] = [
    ("27284", "Retro"),
    ("509658", "Just Chatting"),
    ("509660", "Art"),
    ("1469308723", "Software"),
];

/// Who is there from the beginning.
pub(super) fn first() -> BTreeMap<String, Viewer> {
    let people = [
        (BROADCASTER, "TapeHost"),
        ("5001", "ReelDeal"),
        ("5002", "Static"),
        ("7", "Mod"),
        (BOT, "TapeBot"),
    ];
    let viewer =
        |(id, name): (&str, &str)| (id.to_owned(), Viewer::new(id, &name.to_lowercase(), name));
    people.into_iter().map(viewer).collect()
}

impl Twitch {
    pub fn moderate(&self, moderators: &[&str]) {
        self.world().moderators = moderators.iter().map(|id| (*id).to_owned()).collect();
    }

    /// This account is there from now on.
    pub fn knows(&self, viewer: &Viewer) {
        self.world().people.insert(viewer.id.to_string(), viewer.clone());
    }

    /// Whoever has this id or login; a login that nobody has is somebody's from now on, whose id is always the same. `None`
    /// for what is no login.
    pub fn person(&self, called: &str) -> Option<Viewer> {
        let name = called.trim_start_matches('@');
        let login = name.to_lowercase();
        let mut world = self.world();
        let known = world.people.get(name);
        let known = known.or_else(|| world.people.values().find(|one| *one.login == *login));
        if let Some(known) = known {
            return Some(known.clone());
        }
        if !(1..=LOGIN_CHARS_MAX).contains(&login.len()) || !login.bytes().all(is_plain) {
            return None;
        }
        let made = Uuid::new_v5(&Uuid::NAMESPACE_URL, login.as_bytes()).as_u128();
        let id = MADE_IDS.start + made % (MADE_IDS.end - MADE_IDS.start);
        let viewer = Viewer::new(&id.to_string(), &login, name);
        world.people.insert(id.to_string(), viewer.clone());
        Some(viewer)
    }

    /// Everybody with an account, in the order of their ids.
    pub fn people(&self) -> Vec<Viewer> {
        self.world().people.values().cloned().collect()
    }
}

/// Those who are asked for by id or login; without any, whose token it is.
pub async fn users(
    State(state): State<Shared>,
    Query(asked): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    let world = locked(&state);
    let Some(grant) = helix(&world, &headers) else { return unauthorized() };
    let is_asked = |(key, _): &&(String, String)| key == "id" || key == "login";
    let mut asked: Vec<(String, String)> = asked.iter().filter(is_asked).cloned().collect();
    if let Some((key, value)) = asked.iter().find(|(key, value)| !is_readable(key, value)) {
        return failure(400, &format!("The parameter \"{key}\" was malformed: \"{value}\""));
    }
    if asked.is_empty() && !grant.person.is_empty() {
        asked.push(("id".to_owned(), grant.person.clone()));
    }
    if asked.is_empty() || asked.len() > ASKED_MAX {
        return failure(400, "The request must ask for 1 to 100 users");
    }
    let found = |(key, value): &(String, String)| match key.as_str() {
        "id" => world.people.get(value),
        _ => world.people.values().find(|one| *one.login == *value.to_lowercase()),
    };
    let data: Vec<Value> = asked.iter().filter_map(found).map(user).collect();
    axum::Json(json!({"data": data})).into_response()
}

/// Whether it can be what somebody is called: of one that cannot, nothing of the whole request is answered.
fn is_readable(key: &str, value: &str) -> bool {
    if key == "id" {
        return value.parse::<i64>().is_ok();
    }
    let login = value.to_ascii_lowercase();
    !login.is_empty() && !login.starts_with('_') && login.bytes().all(is_plain)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_'
}

fn user(person: &Viewer) -> Value {
    json!({"id": &*person.id, "login": &*person.login, "display_name": &*person.name,
           "type": "", "broadcaster_type": "", "description": "", "view_count": 0,
           "profile_image_url": picture(&person.id), "offline_image_url": "", "created_at": "2016-12-14T20:32:28Z"})
}

/// Where a picture of theirs would be.
fn picture(id: &str) -> String {
    format!("https://static-cdn.jtvnw.net/jtv_user_pictures/{id}-profile_image-300x300.png")
}

/// Those that are asked for by id or name, in the words of Helix.
pub async fn games(
    State(state): State<Shared>,
    Query(asked): Query<Vec<(String, String)>>,
    headers: HeaderMap,
) -> Response {
    let world = locked(&state);
    if helix(&world, &headers).is_none() {
        return unauthorized();
    }
    if asked.is_empty() || asked.len() > ASKED_MAX {
        return failure(400, "The request must ask for 1 to 100 games");
    }
    let is = |(key, value): &(String, String), (id, name): &(&str, &str)| match key.as_str() {
        "id" => value == id,
        "name" => value.eq_ignore_ascii_case(name),
        _ => false,
    };
    let found = GAMES.iter().filter(|game| asked.iter().any(|asked| is(asked, game)));
    let data: Vec<Value> = found
        .map(|(id, name)| {
            let art =
                format!("https://static-cdn.jtvnw.net/ttv-boxart/{id}-{{width}}x{{height}}.jpg");
            json!({"id": id, "name": name, "box_art_url": art, "igdb_id": ""})
        })
        .collect();
    axum::Json(json!({"data": data})).into_response()
}

/// Two to a page, so that pages are followed.
pub async fn moderators(
    State(state): State<Shared>,
    Query(asked): Query<HashMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let world = locked(&state);
    let Some(grant) = helix(&world, &headers) else { return unauthorized() };
    let may = grant.scopes.iter().any(|scope| scope == "moderation:read");
    if !may || asked.get("broadcaster_id") != Some(&grant.person) {
        return unauthorized();
    }
    let from: usize = asked.get("after").and_then(|after| after.parse().ok()).unwrap_or_default();
    let page = world.moderators.iter().skip(from).take(2);
    let moderator = |id: &String| {
        let known = world.people.get(id).cloned();
        let unknown = || Viewer::new(id, &format!("login{id}"), &format!("Name{id}"));
        let one = known.unwrap_or_else(unknown);
        json!({"user_id": id, "user_login": &*one.login, "user_name": &*one.name})
    };
    let data: Vec<Value> = page.map(moderator).collect();
    let more = from.saturating_add(2) < world.moderators.len();
    let pagination = if more { json!({"cursor": (from + 2).to_string()}) } else { json!({}) };
    axum::Json(json!({"data": data, "pagination": pagination})).into_response()
}
