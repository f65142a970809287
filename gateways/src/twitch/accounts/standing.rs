//! How an account stands: what is the matter with it, and what mends that. For `tapedeck connect --list`, `tapedeck
//! doctor` and `/readyz`.

use std::collections::BTreeMap;

use super::Role;
use super::scopes::{self, Need};
use super::store::{Account, State};
use crate::config::Config;
use crate::twitch::settings::Hearing;

/// An account, and what this configuration wants of it.
pub struct Standing {
    pub account: Account,
    pub needs: Vec<Need>,
    pub verdict: Verdict,
}

/// What is to be thought of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing needs it, and it is not connected.
    Unneeded,
    Well,
    /// Something needs it, and nobody has connected it.
    NotConnected,
    /// It is used, and Twitch cannot be asked whether it may.
    Unsure(String),
    /// It is of no use, or not for everything.
    Wrong(String),
}

impl Standing {
    pub fn of(account: Account, config: &Config) -> Self {
        let role = account.role;
        let needs = scopes::needs(config, role);
        let is_needed = match role {
            Role::App => {
                config.twitch.hearing(&config.broadcaster_id) == Some(Hearing::Account(role))
            }
            Role::Broadcaster | Role::Bot => !needs.is_empty(),
        };
        let verdict = verdict(&account, &needs, is_needed, config);
        Standing { account, needs, verdict }
    }

    /// The rights that are missing, each with what it is for.
    pub fn missing(&self) -> BTreeMap<&'static str, Vec<&'static str>> {
        lacking(&self.account, &self.needs)
    }

    /// The command that mends it, where one does.
    pub fn mend(&self) -> Option<String> {
        match (&self.verdict, self.account.role) {
            (Verdict::Unneeded | Verdict::Well | Verdict::Unsure(_), _) => None,
            (_, Role::App) => Some("set TAPEDECK_TWITCH__CLIENT_SECRET".to_owned()),
            (_, role) => Some(format!("tapedeck connect {role}")),
        }
    }

    /// One line for it.
    pub fn words(&self) -> String {
        let Account { role, login, user_id, .. } = &self.account;
        let who = match login.is_empty() {
            true => role.to_string(),
            false => format!("{role} {login} ({user_id})"),
        };
        match &self.verdict {
            Verdict::Unneeded => format!("{role}: not connected, and not needed"),
            Verdict::NotConnected if *role == Role::App => format!("{role}: nothing granted yet"),
            Verdict::NotConnected => format!("{role}: not connected"),
            Verdict::Well => match self.account.scopes.len() {
                0 => format!("{who}: good"),
                scopes => format!("{who}: good, with {}", super::counted(scopes)),
            },
            Verdict::Unsure(words) | Verdict::Wrong(words) => format!("{who}: {words}"),
        }
    }
}

fn verdict(account: &Account, needs: &[Need], is_needed: bool, config: &Config) -> Verdict {
    let role = account.role;
    match account.state {
        State::None if is_needed => return Verdict::NotConnected,
        State::None => return Verdict::Unneeded,
        State::TakenBack => {
            let why = account.why.as_deref().unwrap_or("the person disconnected it");
            return Verdict::Wrong(format!("taken back: {why}"));
        }
        State::Good | State::Unreachable => {}
    }
    if account.client_id != config.twitch.client_id {
        return Verdict::Wrong("it was connected to another application".to_owned());
    }
    if role == Role::Broadcaster
        && !config.broadcaster_id.is_empty()
        && account.user_id != config.broadcaster_id
    {
        let wanted = &config.broadcaster_id;
        return Verdict::Wrong(format!("the broadcaster of this channel is {wanted}"));
    }
    let missing = lacking(account, needs);
    if !missing.is_empty() {
        let lines = missing.iter().map(|(scope, features)| match features.as_slice() {
            [feature] => format!("{scope} (for {feature})"),
            [feature, more @ ..] => format!("{scope} (for {feature} and {} more)", more.len()),
            [] => (*scope).to_owned(),
        });
        return Verdict::Wrong(format!("lacks {}", lines.collect::<Vec<_>>().join(", ")));
    }
    match (account.state, &account.why) {
        (State::Unreachable, why) => {
            let why = why.as_deref().unwrap_or("it does not answer");
            Verdict::Unsure(format!("used on, though Twitch cannot be asked about it: {why}"))
        }
        _ => Verdict::Well,
    }
}

fn lacking(account: &Account, needs: &[Need]) -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut lacking: BTreeMap<&'static str, Vec<&'static str>> = BTreeMap::new();
    for need in scopes::missing(needs, &account.scopes) {
        if let Some(first) = need.one_of.first() {
            lacking.entry(first).or_default().push(need.feature);
        }
    }
    lacking
}

#[cfg(test)]
mod tests {
    use chrono::Utc;

    use super::*;

    fn config() -> Config {
        let mut config = Config { broadcaster_id: "1000".to_owned(), ..Config::default() };
        config.twitch.client_id = "client".to_owned();
        config
    }

    fn account(role: Role, state: State) -> Account {
        let held = scopes::asked(&scopes::needs(&config(), role));
        let is_connected = matches!(state, State::Good | State::Unreachable);
        Account {
            role,
            state,
            since: Utc::now(),
            why: None,
            client_id: "client".to_owned(),
            user_id: if role == Role::Bot { "9000" } else { "1000" }.to_owned(),
            login: "goldenreel".to_owned(),
            scopes: held.into_iter().map(str::to_owned).collect(),
            granted: is_connected.then(|| b"sealed".to_vec()),
            edition: 1,
            granted_at: None,
            expires_at: None,
            checked_at: None,
            check_at: None,
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_the_command_that_mends_it() {
        let of = |account: Account, config: &Config| Standing::of(account, config);
        let well = of(account(Role::Broadcaster, State::Good), &config());
        assert_eq!((&well.verdict, well.mend()), (&Verdict::Well, None));
        assert_eq!(well.words(), "broadcaster goldenreel (1000): good, with 6 scopes");

        let mend = Some("tapedeck connect broadcaster".to_owned());
        let taken = of(account(Role::Broadcaster, State::TakenBack), &config());
        assert!(taken.words().contains("taken back") && taken.mend() == mend, "{}", taken.words());
        let away = of(account(Role::Broadcaster, State::Unreachable), &config());
        assert!(matches!(away.verdict, Verdict::Unsure(_)) && away.mend().is_none());
        let none = of(account(Role::Broadcaster, State::None), &config());
        assert_eq!((&none.verdict, none.mend()), (&Verdict::NotConnected, mend.clone()));

        // An upgrade, or a changed configuration, needs more than was granted.
        let mut more = config();
        more.login.moderators_from_twitch = true;
        let lacks = of(account(Role::Broadcaster, State::Good), &more);
        assert_eq!(lacks.mend(), mend);
        let words = "lacks moderation:read (for Twitch's list of moderators)";
        assert!(lacks.words().ends_with(words), "{}", lacks.words());
        let other = Config { broadcaster_id: "2000".to_owned(), ..config() };
        let wrong = of(account(Role::Broadcaster, State::Good), &other);
        assert!(wrong.words().contains("2000") && wrong.mend() == mend);
    }

    #[test]
    fn what_nothing_needs_is_not_missed() {
        let app = Standing::of(account(Role::App, State::None), &config());
        assert_eq!((&app.verdict, app.mend()), (&Verdict::Unneeded, None));
        let off = Standing::of(account(Role::Broadcaster, State::None), &Config::default());
        assert_eq!(off.verdict, Verdict::Unneeded);
    }
}
