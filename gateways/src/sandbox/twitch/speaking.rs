//! Saying something in chat under whom a token is of: over Helix, which is answered here, and over IRC.

use super::*;

/// Something that was said in chat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    pub id: String,
    /// By whom, by user id.
    pub by: String,
    pub text: String,
    /// Whoever is there over IRC has heard it.
    pub over_irc: bool,
}

/// Whoever a token is of, as one who speaks over IRC.
#[derive(Clone, Debug)]
pub struct Speaker {
    pub person: Viewer,
    pub may_speak: bool,
    /// Moderates the channel, or it is theirs.
    pub moderates: bool,
}

impl Twitch {
    /// Says whose an access token is, where it is good.
    pub fn speakers(&self) -> impl Fn(&str) -> Option<Speaker> + Send + Sync + 'static {
        let state = Arc::clone(&self.state);
        move |access| {
            let world = locked(&state);
            let is_asked = |grant: &&Grant| grant.access == access && grant.access_is_good;
            let grant = world.grants.iter().find(is_asked)?;
            let person = world.people.get(&grant.person)?.clone();
            let moderates = grant.person == BROADCASTER || world.moderators.contains(&grant.person);
            let may_speak = grant.scopes.iter().any(|scope| scope == "chat:edit");
            Some(Speaker { person, may_speak, moderates })
        }
    }

    /// Takes down what is said elsewhere.
    pub fn listener(&self) -> impl Fn(Said) + Send + Sync + 'static {
        let state = Arc::clone(&self.state);
        move |said| locked(&state).hears(said)
    }

    /// What was said in chat: by whom, and what.
    pub fn said(&self) -> Vec<(String, String)> {
        self.world().said.iter().map(|said| (said.by.clone(), said.text.clone())).collect()
    }

    /// What is said in chat from now on, as it is said.
    pub fn hear(&self) -> mpsc::Receiver<Said> {
        let (hearing, heard) = mpsc::channel(QUEUE_MAX);
        self.world().hearing = Some(hearing);
        heard
    }
}

impl World {
    fn hears(&mut self, said: Said) {
        keep(&mut self.said, said.clone());
        if let Some(hearing) = &self.hearing {
            // Whoever does not listen misses it, as in a chat.
            let _ = hearing.try_send(said);
        }
    }
}

/// What is said stands in the body; clients write it into the address as well, in part or all of it.
pub async fn say(
    State(state): State<Shared>,
    Query(query): Query<HashMap<String, String>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let mut world = locked(&state);
    let Some(grant) = helix(&world, &headers) else { return unauthorized() };
    let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
    let text = |key: &str| {
        let said = asked[key].as_str().or(query.get(key).map(String::as_str));
        said.unwrap_or_default().to_owned()
    };
    let may = grant.scopes.iter().any(|scope| scope == "user:write:chat");
    if !may || grant.person != text("sender_id") {
        return unauthorized();
    }
    let id = Uuid::new_v4().to_string();
    let (by, text) = (text("sender_id"), text("message"));
    world.hears(Said { id: id.clone(), by, text, over_irc: false });
    let one = json!({"message_id": id, "is_sent": true, "drop_reason": null});
    axum::Json(json!({"data": [one]})).into_response()
}
