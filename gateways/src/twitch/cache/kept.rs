//! What is kept of what Twitch says: users and games, as far as they can be believed. Pure.

use chrono::{DateTime, TimeDelta, Utc};
use reqwest::Url;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How long it is taken for true what somebody is called.
pub const NAME_GOOD_FOR: TimeDelta = TimeDelta::days(1);
/// How long it is taken for true where a picture is, and what a game is called. Nothing is kept for longer.
pub const IMAGE_GOOD_FOR: TimeDelta = TimeDelta::days(7);

/// As many as a number of 64 bits has, with a sign: Helix takes no greater one.
const ID_CHARS_MAX: usize = 19;
const LOGIN_CHARS_MAX: usize = 25;
const NAME_CHARS_MAX: usize = 200;
const IMAGE_CHARS_MAX: usize = 512;
/// Where Twitch has its pictures.
const IMAGES_AT: &str = ".jtvnw.net";
/// Clocks of several machines differ by less.
const CLOCKS_DIFFER_BY: TimeDelta = TimeDelta::minutes(5);

/// Under what it is asked for something. Both can be part of a subject as they are.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Name {
    Id(String),
    /// In small letters.
    Login(String),
}

/// An account at Twitch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = TwitchUser)]
pub struct User {
    #[schema(example = "5001")]
    pub id: String,
    #[schema(example = "reeldeal")]
    pub login: String,
    #[schema(example = "ReelDeal")]
    pub display_name: String,
    /// Where their picture is; `null` where Twitch names none, or names one elsewhere.
    pub image: Option<String>,
    /// When Twitch said so.
    pub as_of: DateTime<Utc>,
}

/// A game or another category.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = TwitchGame)]
pub struct Game {
    #[schema(example = "27284")]
    pub id: String,
    #[schema(example = "Retro")]
    pub name: String,
    /// Where its picture is, with `{width}x{height}` for whoever shows it to fill in.
    pub box_art: Option<String>,
    /// When Twitch said so.
    pub as_of: DateTime<Utc>,
}

/// A kind of things that is kept.
pub trait Kept: Serialize + DeserializeOwned + Clone + Send + Sync + 'static {
    /// What Helix says of one.
    type Row: DeserializeOwned + Send;
    /// Where Helix says it, and what counters call it.
    const PATH: &'static str;
    /// What their keys begin with.
    const KEY: &'static str;
    /// Whether they can be erased.
    const IS_PERSON: bool;

    /// What is kept of a row; `None` where it cannot be believed.
    fn of(row: Self::Row, as_of: DateTime<Utc>) -> Option<Self>;
    /// Whether what was kept can be handed on.
    fn is_sound(&self) -> bool;
    fn id(&self) -> &str;
    fn login(&self) -> Option<&str>;
    fn as_of(&self) -> DateTime<Utc>;

    fn is_called(&self, name: &Name) -> bool {
        match name {
            Name::Id(id) => self.id() == id,
            Name::Login(login) => self.login() == Some(login),
        }
    }
}

#[derive(Deserialize)]
pub struct UserRow {
    id: String,
    login: String,
    display_name: String,
    #[serde(default)]
    profile_image_url: String,
}

#[derive(Deserialize)]
pub struct GameRow {
    id: String,
    name: String,
    #[serde(default)]
    box_art_url: String,
}

impl Name {
    pub fn id(text: &str) -> Option<Self> {
        is_id(text).then(|| Name::Id(text.to_owned()))
    }

    pub fn login(text: &str) -> Option<Self> {
        let login = text.to_ascii_lowercase();
        is_login(&login).then_some(Name::Login(login))
    }

    pub fn text(&self) -> &str {
        self.parameter().1
    }

    /// As Helix wants it in a query.
    pub fn parameter(&self) -> (&'static str, &str) {
        match self {
            Name::Id(id) => ("id", id),
            Name::Login(login) => ("login", login),
        }
    }
}

impl Kept for User {
    type Row = UserRow;
    const PATH: &'static str = "users";
    const KEY: &'static str = "user";
    const IS_PERSON: bool = true;

    fn of(row: UserRow, as_of: DateTime<Utc>) -> Option<Self> {
        let UserRow { id, login, display_name, profile_image_url } = row;
        let image = Some(profile_image_url).filter(|url| is_image(url));
        let user = User { id, login: login.to_ascii_lowercase(), display_name, image, as_of };
        user.is_sound().then_some(user)
    }

    fn is_sound(&self) -> bool {
        let image_is_good = self.image.as_deref().is_none_or(is_image);
        is_id(&self.id) && is_login(&self.login) && is_name(&self.display_name) && image_is_good
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn login(&self) -> Option<&str> {
        Some(&self.login)
    }

    fn as_of(&self) -> DateTime<Utc> {
        self.as_of
    }
}

impl Kept for Game {
    type Row = GameRow;
    const PATH: &'static str = "games";
    const KEY: &'static str = "game";
    const IS_PERSON: bool = false;

    fn of(row: GameRow, as_of: DateTime<Utc>) -> Option<Self> {
        let GameRow { id, name, box_art_url } = row;
        let box_art = Some(box_art_url).filter(|url| is_image(url));
        let game = Game { id, name, box_art, as_of };
        game.is_sound().then_some(game)
    }

    fn is_sound(&self) -> bool {
        is_id(&self.id) && is_name(&self.name) && self.box_art.as_deref().is_none_or(is_image)
    }

    fn id(&self) -> &str {
        &self.id
    }

    fn login(&self) -> Option<&str> {
        None
    }

    fn as_of(&self) -> DateTime<Utc> {
        self.as_of
    }
}

/// What was kept under a key, where it can be read and is not too old to be answered.
pub fn read<T: Kept>(text: &[u8], now: DateTime<Utc>) -> Option<T> {
    let kept: T = serde_json::from_slice(text).ok()?;
    (kept.is_sound() && is_fresh(kept.as_of(), now, IMAGE_GOOD_FOR)).then_some(kept)
}

/// Whether what was said then is good enough.
pub fn is_fresh(as_of: DateTime<Utc>, now: DateTime<Utc>, good_for: TimeDelta) -> bool {
    let age = now - as_of;
    age < good_for && age > -CLOCKS_DIFFER_BY
}

fn is_id(text: &str) -> bool {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<i64>().is_ok();
    is_number && text.len() <= ID_CHARS_MAX
}

fn is_login(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    (1..=LOGIN_CHARS_MAX).contains(&text.len()) && text.bytes().all(plain)
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.len() <= NAME_CHARS_MAX && !text.contains(char::is_control)
}

/// Whether this is the address of a picture at Twitch's own servers, which may be shown to everybody.
fn is_image(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !b"\"'<>\\`".contains(&byte);
    if text.len() > IMAGE_CHARS_MAX || !text.starts_with("https://") || !text.bytes().all(plain) {
        return false;
    }
    let Ok(url) = Url::parse(text) else { return false };
    let is_theirs = url.host_str().is_some_and(|host| host.ends_with(IMAGES_AT));
    is_theirs && url.port().is_none() && url.username().is_empty() && url.password().is_none()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const IMAGE: &str = "https://static-cdn.jtvnw.net/jtv_user_pictures/a-300x300.png";

    fn at() -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000, 0).expect("a time")
    }

    fn user(id: &str, login: &str, name: &str, image: &str) -> Option<User> {
        let row = json!({"id": id, "login": login, "display_name": name, "type": "",
                         "profile_image_url": image});
        User::of(serde_json::from_value(row).expect("a row"), at())
    }

    #[test]
    fn a_picture_is_at_twitch_or_is_none() {
        let art = "https://static-cdn.jtvnw.net/ttv-boxart/27284-{width}x{height}.jpg";
        for good in [IMAGE, art, "https://assets.jtvnw.net/a.png"] {
            assert!(is_image(good), "{good}");
        }
        for bad in [
            "",
            "http://static-cdn.jtvnw.net/a.png",
            "https://jtvnw.net.example/a.png",
            "https://eviljtvnw.net/a.png",
            "https://static-cdn.jtvnw.net@evil.example/a.png",
            "https://me:pw@static-cdn.jtvnw.net/a.png",
            "https://static-cdn.jtvnw.net:8443/a.png",
            "https://evil.example\\.jtvnw.net/a.png",
            "https://static-cdn.jtvnw.net/\"><script>",
            "https://static-cdn.jtvnw.net/a b.png",
            "javascript:alert(1)//.jtvnw.net",
            "data:image/png;base64,AAAA",
            &format!("{IMAGE}?{}", "a".repeat(512)),
        ] {
            assert!(!is_image(bad), "{bad}");
            let user = user("5001", "reeldeal", "ReelDeal", bad).expect("a user all the same");
            assert_eq!(user.image, None);
        }
    }

    #[test]
    fn a_row_is_believed_where_it_can_be_a_key() {
        let known = user("5001", "ReelDeal", "リール", IMAGE).expect("a user");
        assert_eq!((known.login.as_str(), known.image.as_deref()), ("reeldeal", Some(IMAGE)));
        let by = |name: Option<Name>| known.is_called(&name.expect("a name"));
        assert!(by(Name::id("5001")) && by(Name::login("REELDEAL")) && !by(Name::login("5001")));
        for (id, login, name) in [
            ("", "a", "A"),
            ("5001.>", "a", "A"),
            ("5001", "a.b", "A"),
            ("5001", "*", "A"),
            ("5001", "", "A"),
            ("5001", "a", ""),
            ("5001", "a", "A\u{7}"),
            ("9223372036854775808", "a", "A"),
            ("00000000000000000001", "a", "A"),
        ] {
            assert_eq!(user(id, login, name, ""), None, "{id} {login} {name}");
        }
        for wrong in ["", ">", "a b", "tapé", "abcdefghijklmnopqrstuvwxyz"] {
            assert!(Name::login(wrong).is_none() && Name::id(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn what_was_kept_is_read_while_it_is_good_and_otherwise_not_there() {
        let known = user("5001", "reeldeal", "ReelDeal", IMAGE).expect("a user");
        let text = serde_json::to_vec(&known).expect("JSON");
        let after = |days, hours| at() + TimeDelta::days(days) + TimeDelta::hours(hours);
        assert_eq!(read(&text, after(6, 23)), Some(known.clone()));
        assert_eq!(read::<User>(&text, after(7, 0)), None);
        assert!(is_fresh(at(), after(0, 23), NAME_GOOD_FOR));
        assert!(!is_fresh(at(), after(1, 0), NAME_GOOD_FOR));
        assert!(is_fresh(at(), at() - TimeDelta::minutes(1), NAME_GOOD_FOR), "another clock");
        assert!(!is_fresh(at(), at() - TimeDelta::hours(1), NAME_GOOD_FOR), "from the future");
        let elsewhere = User { image: Some("https://evil.example/a".to_owned()), ..known };
        let elsewhere = serde_json::to_vec(&elsewhere).expect("JSON");
        for unread in [b"".as_slice(), b"null", b"{}", b"\xff", &elsewhere] {
            assert_eq!(read::<User>(unread, at()), None, "{unread:?}");
        }
        assert_eq!(read::<Game>(&text, at()), None, "another kind");
    }
}
