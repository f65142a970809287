//! `tapedeck connect`: the accounts that Tapedeck asks Twitch with.

use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use chrono::{DateTime, Utc};
use serde_json::json;
use sqlx::PgPool;
use tokio::time::{Instant, sleep};

use super::{Globals, print};
use crate::config::Config;
use crate::twitch::accounts::{
    Account, Accounts, Forgotten, Role, Standing, Verdict, scopes, store,
};
use crate::twitch::eventsub::record;
use crate::twitch::oauth::{Device, Polled};
use crate::twitch::{Grant, TwitchError, accounts};

const REGISTER: &str = "Twitch knows no application of yours yet. Register one at https://dev.twitch.tv/console/apps (any \
     name; OAuth redirect URL http://localhost), then set twitch.client_id, and TAPEDECK_TWITCH__CLIENT_SECRET if it is \
     confidential.";
/// How long Twitch may not answer while the person decides.
const UNANSWERED_MAX: u32 = 20;

/// Let Tapedeck into your channel at Twitch, or let a bot of yours speak there
///
/// Shows a link. Open it on any device that is logged in at Twitch as the account that you connect, and say yes: no
/// public address is needed. It asks for exactly the rights that what is switched on needs, and no others. What is granted
/// is stored sealed (with sealing.key, which is not in the database), refreshed in time, and used by every running
/// `tapedeck serve` and `tapedeck up` within seconds.
///
/// After an upgrade, or when you switch something on, more rights may be needed: --list says which, and connecting again
/// grants them. A token in the configuration is used instead of an account, as long as it is there.
#[derive(Debug, clap::Args)]
#[command(after_help = "EXAMPLES\n  \
    tapedeck connect                 the broadcaster: what happens in the channel is told\n  \
    tapedeck connect bot             an account of its own that answers in chat\n  \
    tapedeck connect --list          who is connected, with which rights, and what is missing\n  \
    tapedeck connect --forget bot    take it back, here and at Twitch")]
pub struct Connect {
    /// As what the account is connected
    #[arg(value_enum, default_value_t = Person::Broadcaster, value_name = "AS")]
    role: Person,
    /// Show the accounts, what they may, what is missing, and until when they are good
    #[arg(long, conflicts_with = "forget")]
    list: bool,
    /// Revoke at Twitch what an account has granted, and forget it here
    #[arg(long, value_enum, value_name = "AS")]
    forget: Option<Role>,
    /// With --list: print one line of JSON
    #[arg(long, requires = "list")]
    json: bool,
}

/// Somebody who can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Person {
    /// Whose channel it is
    Broadcaster,
    /// Who answers in chat
    Bot,
}

impl From<Person> for Role {
    fn from(person: Person) -> Self {
        match person {
            Person::Broadcaster => Role::Broadcaster,
            Person::Bot => Role::Bot,
        }
    }
}

impl Connect {
    pub async fn run(self, globals: &Globals) -> anyhow::Result<ExitCode> {
        let (config, pool) = globals.database("connect").await?;
        if self.list {
            list(&config, &pool, self.json).await?;
            return Ok(ExitCode::SUCCESS);
        }
        let accounts = Accounts::new(&config, pool.clone())?.context(REGISTER)?;
        match self.forget {
            Some(role) => forget(&accounts, role).await?,
            None => connect(&config, &pool, &accounts, self.role.into()).await?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

async fn connect(
    config: &Config,
    pool: &PgPool,
    accounts: &Arc<Accounts>,
    role: Role,
) -> anyhow::Result<()> {
    let needs = scopes::needs(config, role);
    let asked = scopes::asked(&needs);
    if asked.is_empty() {
        bail!(unneeded(config, role));
    }
    let device = accounts.oauth.begin_device(&asked).await;
    let device = device.context("Twitch gives no code")?;
    print::text(&invitation(config, role, &device, &needs))?;
    let grant = granted(accounts, &device, &asked).await?;
    let account = accounts.connect(role, &grant).await?;
    // Whoever listens looks at once at what Twitch tells now.
    let _ = record::ask(pool, &config.broadcaster_id).await;
    print::text(&welcome(config, &account))
}

/// Waits until the person has decided.
async fn granted(accounts: &Accounts, device: &Device, asked: &[&str]) -> anyhow::Result<Grant> {
    let over = Instant::now() + device.lasts();
    let (mut interval, mut unanswered) = (device.interval(), 0);
    while Instant::now() + interval < over {
        sleep(interval).await;
        let polled = match accounts.oauth.poll_device(device, asked).await {
            Ok(polled) => polled,
            Err(error @ TwitchError::Unreachable(_)) if unanswered < UNANSWERED_MAX => {
                tracing::warn!(%error, "trying again");
                unanswered += 1;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        unanswered = 0;
        interval = polled.paces(interval);
        match polled {
            Polled::Granted(grant) => return Ok(*grant),
            Polled::Pending | Polled::TooOften => {}
            Polled::Denied => bail!("Twitch was told no. Nothing was connected."),
            Polled::Over => break,
        }
    }
    bail!(
        "the code is not good any more, and nobody had said yes. Nothing was connected: begin again."
    )
}

/// What the person is to do, and what for.
fn invitation(config: &Config, role: Role, device: &Device, needs: &[scopes::Need]) -> String {
    let who = match (role, config.broadcaster_id.as_str()) {
        (Role::Broadcaster, "") => "the broadcaster".to_owned(),
        (Role::Broadcaster, id) => format!("the broadcaster (user id {id})"),
        _ => "the account that is to speak as your bot".to_owned(),
    };
    let mut lines = vec![
        format!("Open this address, logged in at Twitch as {who}:"),
        String::new(),
        format!("    {}", print::harmless(&device.verification_uri)),
        String::new(),
        format!(
            "Twitch shows the code {}; say yes to it within {} minutes. It asks for:",
            print::harmless(&device.user_code),
            device.lasts().as_secs() / 60,
        ),
    ];
    for scope in scopes::asked(needs) {
        let of_it = needs.iter().filter(|need| need.one_of.first() == Some(&scope));
        let features: Vec<&str> = of_it.map(|need| need.feature).collect();
        lines.push(format!("    {scope:<28}  {}", features.join(", ")));
    }
    lines.extend([String::new(), "Waiting for your answer…".to_owned()]);
    lines.join("\n")
}

fn welcome(config: &Config, account: &Account) -> String {
    let Account { role, login, user_id, scopes, .. } = account;
    let login = print::harmless(login);
    let mut words = format!(
        "Connected {login} ({user_id}) as the {role}, with {}. A running Tapedeck uses it within seconds, if it began \
         with this client_id.",
        accounts::counted(scopes.len()),
    );
    if *role == Role::Broadcaster && config.broadcaster_id.is_empty() {
        words +=
            &format!("\nSet broadcaster_id = \"{user_id}\" in tapedeck.toml, and start it again.");
    }
    if *role == Role::Broadcaster {
        words += "\n`tapedeck eventsub list` says what Twitch tells now.";
    } else {
        words += &format!("\nAnswers in chat are said by {login} from now on.");
    }
    words
}

fn unneeded(config: &Config, role: Role) -> String {
    match role {
        Role::Bot if config.twitch.chat.sender_id == config.broadcaster_id => {
            "nothing needs a bot: twitch.chat.sender_id names the broadcaster, who speaks for themselves".to_owned()
        }
        Role::Broadcaster if config.broadcaster_id.is_empty() => {
            "broadcaster_id is not set: your Twitch user id, as tapedeck.example.toml explains".to_owned()
        }
        role => format!(
            "nothing needs an account of the {role}: the configuration brings tokens of its own, or leaves out all that \
             would need one"
        ),
    }
}

async fn forget(accounts: &Arc<Accounts>, role: Role) -> anyhow::Result<()> {
    print::text(&match accounts.forget(role).await? {
        Forgotten::None => bail!("no account is connected as the {role}"),
        Forgotten::Revoked => {
            format!("Forgot the {role} account; Twitch takes nothing of it any more.")
        }
        Forgotten::HereOnly(why) => format!(
            "Forgot the {role} account here, and Twitch could not be told ({why}). Disconnect the application at \
             https://www.twitch.tv/settings/connections as well."
        ),
    })
}

async fn list(config: &Config, pool: &PgPool, as_json: bool) -> anyhow::Result<()> {
    let all = store::all(pool).await?;
    let all: Vec<Standing> = all.into_iter().map(|account| Standing::of(account, config)).collect();
    if as_json {
        let described = |one: &Standing| {
            json!({"account": one.account, "missing": one.missing(), "words": one.words(),
                   "well": matches!(one.verdict, Verdict::Well | Verdict::Unneeded), "mend": one.mend()})
        };
        return print::json(&all.iter().map(described).collect::<Vec<_>>());
    }
    let head =
        ["account", "login", "user id", "state", "scopes", "good until (UTC)", "checked (UTC)"];
    let mut table = print::table(&head, &[]);
    let time = |at: Option<DateTime<Utc>>| at.map(print::time).unwrap_or_default();
    // What the application is granted is of interest where something needs it.
    let is_shown =
        |one: &&Standing| one.account.role != Role::App || one.verdict != Verdict::Unneeded;
    for Standing { account, .. } in all.iter().filter(is_shown) {
        let state = match account.state {
            store::State::None => "not connected",
            state => state.name(),
        };
        table.add_row([
            account.role.to_string(),
            print::harmless(&account.login),
            account.user_id.clone(),
            state.replace('_', " "),
            account
                .scopes
                .iter()
                .map(|scope| print::harmless(scope))
                .collect::<Vec<_>>()
                .join("\n"),
            time(account.expires_at),
            time(account.checked_at),
        ]);
    }
    print::rows(table)?;
    for one in &all {
        let mend = one.mend().map(|mend| format!(". Mend it: {mend}")).unwrap_or_default();
        if !matches!(one.verdict, Verdict::Unneeded | Verdict::Well) {
            print::text(&format!("\n{}{mend}", print::harmless(&one.words())))?;
        }
    }
    Ok(())
}
