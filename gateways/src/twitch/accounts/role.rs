//! What an account is to us.

use std::fmt;

use serde::{Deserialize, Serialize};

/// For what we ask Twitch with an account.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, clap::ValueEnum,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Whose channel it is
    Broadcaster,
    /// Who answers in chat
    Bot,
    /// The application itself, which nobody has to connect
    App,
}

impl Role {
    pub const ALL: [Role; 3] = [Role::Broadcaster, Role::Bot, Role::App];

    pub fn name(self) -> &'static str {
        match self {
            Role::Broadcaster => "broadcaster",
            Role::Bot => "bot",
            Role::App => "app",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name())
    }
}

impl TryFrom<String> for Role {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        let found = Role::ALL.into_iter().find(|role| role.name() == name);
        found.ok_or("there is no account of this name")
    }
}
