//! Whoever a request comes from, once that is known: a key, somebody who logged in, or a service.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use domain::entry_id;
use uuid::Uuid;

use super::Api;
use super::keys::{Key, Scope};
use crate::config::Config;
use crate::login::{Role, Session};
use crate::signing::Credential as OfService;

/// Who asks, and what they may do.
#[derive(Clone, Debug)]
pub struct Actor {
    /// Names them in the ids of their commands. It is the same for a key and the credentials that its service got for it,
    /// and for all sessions of one person.
    pub id: Uuid,
    /// As history names who did it: a key by its name, a person by role and user id.
    pub name: String,
    /// What they may do with everybody's things.
    scopes: Vec<Scope>,
    /// What they may do with the things of one viewer, where an endpoint offers it to its viewer.
    own: Option<Own>,
    credential: Credential,
}

#[derive(Clone, Debug)]
struct Own {
    viewer: String,
    scopes: Vec<Scope>,
}

/// What the request proved itself with.
#[derive(Clone, Debug)]
pub enum Credential {
    /// With the mark of its secret.
    Key(String),
    /// With the role that it was let in with.
    Session(Arc<Session>, Role),
    Service(Arc<OfService>),
}

impl Actor {
    pub fn of_key(key: Key, mark: String) -> Self {
        let scopes = key.scopes.iter().filter_map(|name| name.parse().ok()).collect();
        let credential = Credential::Key(mark);
        Actor { id: key.id, name: key.name, scopes, own: None, credential }
    }

    pub fn of_session(session: Arc<Session>, config: &Config) -> Self {
        let viewer = session.viewer.clone();
        let role = Role::of(&viewer, session.is_listed, config);
        Actor {
            id: entry_id("viewer", &viewer),
            name: format!("{}:{viewer}", role.name()),
            scopes: role.scopes().to_vec(),
            own: Some(Own { viewer, scopes: Role::OWN.to_vec() }),
            credential: Credential::Session(session, role),
        }
    }

    pub fn of_service(service: Arc<OfService>) -> Self {
        let scopes = service.scopes.clone();
        let id = service.key;
        let (name, scopes, own) = match service.viewer.clone() {
            None => (service.service.clone(), scopes, None),
            // For one viewer: with their things alone, and history says who acted for whom.
            Some(viewer) => {
                let name = format!("{} for viewer:{viewer}", service.service);
                (name, Vec::new(), Some(Own { viewer, scopes }))
            }
        };
        Actor { id, name, scopes, own, credential: Credential::Service(service) }
    }

    /// Whether they may do this with everybody's things.
    pub fn allows(&self, scope: Scope) -> bool {
        self.scopes.iter().any(|had| *had == scope || *had == Scope::Admin)
    }

    /// Whether this scope was given to them by name.
    pub fn has(&self, scope: Scope) -> bool {
        self.scopes.contains(&scope)
    }

    /// Whether they may do this with what belongs to `viewer`.
    pub fn allows_for(&self, scope: Scope, viewer: &str) -> bool {
        let own = |own: &Own| own.viewer == viewer && own.scopes.contains(&scope);
        self.allows(scope) || self.own.as_ref().is_some_and(own)
    }

    /// The viewer whose things are their own.
    pub fn viewer(&self) -> Option<&str> {
        self.own.as_ref().map(|own| own.viewer.as_str())
    }

    /// Whether any of their scopes over everybody's things can change something.
    pub fn writes(&self) -> bool {
        Scope::ALL.into_iter().any(|scope| scope.writes() && self.allows(scope))
    }

    /// Whether this is a person, and not a program.
    pub fn is_person(&self) -> bool {
        matches!(self.credential, Credential::Session(..))
    }

    pub fn credential(&self) -> &Credential {
        &self.credential
    }

    /// Whether what cannot be undone may be done now: a person must have logged in a moment ago.
    pub fn is_fresh(&self, now: DateTime<Utc>) -> bool {
        match &self.credential {
            Credential::Session(session, _) => session.is_fresh(now),
            Credential::Key(_) | Credential::Service(_) => true,
        }
    }

    /// What they are called when something is refused to them.
    pub(super) fn described(&self) -> String {
        match &self.credential {
            Credential::Key(_) => "this key".to_owned(),
            Credential::Session(_, role) => format!("the role {}", role.name()),
            Credential::Service(_) => "this credential".to_owned(),
        }
    }
}

impl Api {
    /// Whether what a request proved itself with is still good, for answers that take long. Somebody who is less than
    /// they were let in as has to ask again.
    pub async fn is_still_good(&self, actor: &Actor) -> sqlx::Result<bool> {
        let now = Utc::now();
        match &actor.credential {
            Credential::Key(mark) => self.keys.is_good(actor.id, mark).await,
            Credential::Session(session, role) => {
                let session = self.sessions.current(session.id, now).await?;
                let config = self.now.borrow();
                let is = |session: Session| Role::of(&session.viewer, session.is_listed, &config);
                Ok(session.map(is).is_some_and(|is| is >= *role))
            }
            Credential::Service(service) => {
                let is_over = service.expires_at <= now;
                Ok(!is_over && self.keys.is_good(service.key, &service.mark).await?)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn session(viewer: &str, config: &Config) -> Actor {
        let now = Utc::now();
        let session = Session {
            id: Uuid::nil(),
            viewer: viewer.to_owned(),
            logged_in_at: now,
            expires_at: now,
            is_listed: false,
        };
        Actor::of_session(Arc::new(session), config)
    }

    #[test]
    fn a_viewer_has_their_own_account_and_nobody_elses() {
        let mut config = Config { broadcaster_id: "1000".to_owned(), ..Config::default() };
        config.login.moderators = vec!["7".to_owned()];
        let viewer = session("5001", &config);
        assert!(viewer.allows_for(Scope::AccountsRead, "5001"));
        assert!(!viewer.allows_for(Scope::AccountsRead, "5002"));
        assert!(!viewer.allows_for(Scope::HoldsWrite, "5001"), "a hold is nobody's own");
        assert!(Scope::ALL.into_iter().all(|scope| !viewer.allows(scope)) && !viewer.writes());
        let moderator = session("7", &config);
        assert!(moderator.allows_for(Scope::AccountsRead, "5001"));
        assert!(!moderator.allows_for(Scope::AccountsWrite, "5001"));
        assert!(moderator.allows_for(Scope::AccountsWrite, "7"), "their own to give");
        assert!(session("1000", &config).allows(Scope::Admin));
        assert_eq!(moderator.name, "moderator:7");
    }

    #[test]
    fn a_service_that_acts_for_a_viewer_has_that_viewers_things_alone() {
        let of = |viewer: Option<&str>| {
            Actor::of_service(Arc::new(OfService {
                key: Uuid::nil(),
                mark: String::new(),
                service: "bot".to_owned(),
                scopes: vec![Scope::AccountsRead],
                viewer: viewer.map(str::to_owned),
                expires_at: Utc::now(),
            }))
        };
        let bot = of(None);
        assert!(bot.allows(Scope::AccountsRead) && !bot.allows(Scope::AccountsWrite));
        let for_one = of(Some("5001"));
        assert!(for_one.allows_for(Scope::AccountsRead, "5001"));
        assert!(!for_one.allows_for(Scope::AccountsWrite, "5001"), "exactly its scopes");
        assert!(!for_one.allows_for(Scope::AccountsRead, "5002"));
        assert!(!for_one.allows(Scope::AccountsRead));
        assert_eq!((bot.name.as_str(), for_one.name.as_str()), ("bot", "bot for viewer:5001"));
    }
}
