//! What a person may do: the one place where roles become scopes.

use serde::Serialize;
use utoipa::ToSchema;

use crate::config::Config;
use crate::http::keys::Scope;

/// What somebody who logged in is to this channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Viewer,
    Moderator,
    Broadcaster,
}

impl Role {
    /// What this role may do with everybody's things.
    pub fn scopes(self) -> &'static [Scope] {
        match self {
            Role::Viewer => &[],
            Role::Moderator => &[
                Scope::AccountsRead,
                Scope::BroadcastsRead,
                Scope::AlertsRead,
                Scope::GenerationsRead,
                Scope::GenerationsWrite,
                Scope::FeedRead,
                // Not `StageOverlay`: what a moderator looks at is no screen, and nothing starts for it.
                Scope::StageDirect,
                Scope::CommandsRead,
                Scope::EventsubRead,
            ],
            Role::Broadcaster => &[Scope::Admin],
        }
    }

    /// What everybody may do with their own account, where an endpoint offers it to its viewer: read it, and give. A hold
    /// is nobody's to make, capture or release but a service's.
    pub const OWN: &'static [Scope] = &[Scope::AccountsRead, Scope::AccountsWrite];

    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Moderator => "moderator",
            Role::Broadcaster => "broadcaster",
        }
    }

    /// The role of `viewer`; `is_listed` says whether Twitch lists them as a moderator.
    pub fn of(viewer: &str, is_listed: bool, config: &Config) -> Self {
        let named = || config.login.moderators.iter().any(|moderator| moderator == viewer);
        if !config.broadcaster_id.is_empty() && viewer == config.broadcaster_id {
            return Role::Broadcaster;
        }
        match (is_listed && config.login.moderators_from_twitch) || named() {
            true => Role::Moderator,
            false => Role::Viewer,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_but_the_broadcaster_moves_other_peoples_points() {
        let moves = [Scope::AccountsWrite, Scope::HoldsWrite, Scope::BroadcastsWrite, Scope::Admin];
        for role in [Role::Viewer, Role::Moderator] {
            assert!(moves.iter().all(|scope| !role.scopes().contains(scope)), "{role:?}");
        }
        assert!(!Role::OWN.contains(&Scope::HoldsWrite));
    }

    #[test]
    fn a_moderator_directs_the_stage_and_a_viewer_watches_it() {
        assert!(Role::Moderator.scopes().contains(&Scope::StageDirect));
        assert!(!Role::Moderator.scopes().contains(&Scope::StageOverlay));
        assert!(Role::Viewer.scopes().is_empty());
    }

    #[test]
    fn a_role_follows_the_configuration() {
        let mut config = Config { broadcaster_id: "1000".to_owned(), ..Config::default() };
        config.login.moderators = vec!["7".to_owned()];
        assert_eq!(Role::of("1000", false, &config), Role::Broadcaster);
        assert_eq!(Role::of("7", false, &config), Role::Moderator);
        assert_eq!(Role::of("8", true, &config), Role::Viewer, "Twitch's list is not asked for");
        config.login.moderators_from_twitch = true;
        assert_eq!(Role::of("8", true, &config), Role::Moderator);
        assert_eq!(Role::of("", true, &Config::default()), Role::Viewer);
    }
}
