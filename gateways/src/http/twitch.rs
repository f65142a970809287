//! What Twitch says of users and games, for dashboards: names and pictures, asked for once by all who show them.

use std::time::Duration;

use axum::Json;
use axum::extract::State as FromState;
use chrono::TimeDelta;
use serde::Serialize;
use utoipa::ToSchema;

use super::State;
use super::auth::Asker;
use super::error::{ApiError, ErrorBody};
use super::extract::Query;
use super::keys::Scope;
use crate::twitch::cache::Terms;
use crate::twitch::cache::asking::{NAMES_MAX, Told};
use crate::twitch::cache::kept::{Game, IMAGE_GOOD_FOR, NAME_GOOD_FOR, Name, User};
use crate::twitch::missed::ask::NotTold;

/// How long Twitch may take, within what a request may.
const LIMIT: Duration = Duration::from_secs(8);
/// Nobody has Twitch asked for the same more often.
const AGE_MIN: TimeDelta = TimeDelta::minutes(1);

/// The users that were asked for.
#[derive(Serialize, ToSchema)]
pub struct TwitchUsersAnswer {
    pub users: Vec<User>,
    #[serde(flatten)]
    pub others: Others,
}

/// The games that were asked for.
#[derive(Serialize, ToSchema)]
pub struct TwitchGamesAnswer {
    pub games: Vec<Game>,
    #[serde(flatten)]
    pub others: Others,
}

/// Of which of the ids and logins that were asked for there is nothing to say.
#[derive(Default, Serialize, ToSchema)]
#[schema(as = TwitchOthers)]
pub struct Others {
    /// Twitch has nothing of this id or login.
    pub absent: Vec<String>,
    /// Whoever it is was erased here.
    pub erased: Vec<String>,
    /// Twitch cannot be asked now, and did not say it within the last seven days.
    pub untold: Vec<String>,
    /// Why, where there is any of them.
    pub why: Option<String>,
}

/// What accounts at Twitch are called, and where their pictures are.
///
/// Up to 100 ids and logins together. What Twitch said within `max_age_s` is not asked again: a day, if left out, for names
/// change; say 604800 where only pictures are wanted. While Twitch is away, what it said within the last seven days is
/// answered; `as_of` says when.
#[utoipa::path(
    get, path = "/twitch/users", tag = "twitch",
    params(("id" = Option<Vec<String>>, Query, description = "A Twitch user id; any number of times"),
           ("login" = Option<Vec<String>>, Query, description = "A login; any number of times"),
           ("max_age_s" = Option<i64>, Query,
            description = "How old an answer may be in seconds, 60 to 604800; 86400, if left out")),
    responses((status = 200, body = TwitchUsersAnswer), (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn users(
    FromState(app): FromState<State>,
    asker: Asker,
    Query(asked): Query<Vec<(String, String)>>,
) -> Result<Json<TwitchUsersAnswer>, ApiError> {
    asker.require(Scope::AccountsRead)?;
    let (names, terms) = read(asked, NAME_GOOD_FOR, true)?;
    let (users, others) = sorted(&names, app.cache.users(&names, terms).await);
    Ok(Json(TwitchUsersAnswer { users, others }))
}

/// What games and other categories are called, and where their pictures are.
///
/// Up to 100 ids. What Twitch said within `max_age_s` is not asked again: seven days, if left out. `box_art` has
/// `{width}x{height}` in it, to be filled in.
#[utoipa::path(
    get, path = "/twitch/games", tag = "twitch",
    params(("id" = Vec<String>, Query, description = "The id of a game; any number of times"),
           ("max_age_s" = Option<i64>, Query,
            description = "How old an answer may be in seconds, 60 to 604800; 604800, if left out")),
    responses((status = 200, body = TwitchGamesAnswer), (status = "4XX", body = ErrorBody)),
)]
pub(crate) async fn games(
    FromState(app): FromState<State>,
    asker: Asker,
    Query(asked): Query<Vec<(String, String)>>,
) -> Result<Json<TwitchGamesAnswer>, ApiError> {
    asker.require(Scope::BroadcastsRead)?;
    let (names, terms) = read(asked, IMAGE_GOOD_FOR, false)?;
    let (games, others) = sorted(&names, app.cache.games(&names, terms).await);
    Ok(Json(TwitchGamesAnswer { games, others }))
}

/// What is asked for, each once.
fn read(
    asked: Vec<(String, String)>,
    good_for: TimeDelta,
    have_logins: bool,
) -> Result<(Vec<Name>, Terms), ApiError> {
    let mut terms = Terms { good_for, limit: LIMIT };
    let mut names = Vec::new();
    for (key, value) in asked {
        let wrong = |what: &str| ApiError::bad_request(format!("{key}: {value:.40} is not {what}"));
        let name = match key.as_str() {
            "id" => Name::id(&value).ok_or_else(|| wrong("an id of Twitch"))?,
            "login" if have_logins => Name::login(&value).ok_or_else(|| wrong("a login"))?,
            "max_age_s" => {
                let age = value.parse().ok().and_then(TimeDelta::try_seconds);
                let age = age.filter(|age| (AGE_MIN..=IMAGE_GOOD_FOR).contains(age));
                terms.good_for = age.ok_or_else(|| wrong("60 to 604800"))?;
                continue;
            }
            _ => return Err(ApiError::bad_request(format!("there is no parameter {key:.40}"))),
        };
        if names.contains(&name) {
            continue;
        }
        if names.len() == NAMES_MAX {
            return Err(not_so_many());
        }
        names.push(name);
    }
    if names.is_empty() {
        return Err(not_so_many());
    }
    Ok((names, terms))
}

fn not_so_many() -> ApiError {
    ApiError::bad_request(format!("ask for 1 to {NAMES_MAX}, as id=…&id=…"))
}

/// What is known, each once however it was asked for, and the others.
fn sorted<T: PartialEq>(names: &[Name], told: Vec<Told<T>>) -> (Vec<T>, Others) {
    let (mut known, mut others) = (Vec::new(), Others::default());
    for (name, told) in names.iter().zip(told) {
        let text = name.text().to_owned();
        match told {
            Told::Known(one) if known.contains(&one) => {}
            Told::Known(one) => known.push(one),
            Told::Erased(_) => others.erased.push(text),
            Told::Absent => others.absent.push(text),
            Told::Untold(why) => {
                others.untold.push(text);
                others.why = Some(match why {
                    NotTold::Away(words) => format!("Twitch cannot be asked now: {words}"),
                    NotTold::Refused(words) | NotTold::Here(words) => words,
                });
            }
        }
    }
    (known, others)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> Result<(Vec<Name>, Terms), ApiError> {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned()));
        read(pairs.collect(), NAME_GOOD_FOR, true)
    }

    #[test]
    fn a_hundred_are_asked_for_and_each_once() {
        let hundred = |n: u32| (0..n).map(|n| format!("id={n}")).collect::<Vec<_>>().join("&");
        let (names, terms) = asked(&hundred(100)).expect("good");
        assert_eq!((names.len(), terms.good_for), (100, NAME_GOOD_FOR));
        let (names, terms) = asked("login=A&login=a&id=1&max_age_s=604800").expect("good");
        assert_eq!((names.len(), terms.good_for), (2, IMAGE_GOOD_FOR));
        for wrong in [
            "",
            "id=",
            "id=x",
            "login=a.b",
            "name=a",
            "id=1&max_age_s=59",
            "id=1&max_age_s=604801",
            "id=1&max_age_s=9223372036854775807",
            &hundred(101),
        ] {
            assert_eq!(asked(wrong).map(drop).expect_err(wrong).code(), "bad_request");
        }
        let games = read(vec![("login".to_owned(), "a".to_owned())], IMAGE_GOOD_FOR, false);
        assert!(games.is_err(), "a game has none");
    }

    #[test]
    fn what_is_not_known_says_why() {
        let names = ["1", "2", "3", "4", "5"].map(|id| Name::Id(id.to_owned()));
        let told = vec![
            Told::Known("one"),
            Told::Known("one"),
            Told::Erased("3".to_owned()),
            Told::Absent,
            Told::Untold(NotTold::Here("no answer".to_owned())),
        ];
        let (known, others) = sorted(&names, told);
        assert_eq!(known, ["one"]);
        assert_eq!([others.erased, others.absent, others.untold], [["3"], ["4"], ["5"]]);
        assert_eq!(others.why.as_deref(), Some("no answer"));
    }
}
