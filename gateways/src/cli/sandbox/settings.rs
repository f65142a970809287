//! The configuration of a rehearsal: what is played by is yours, and everything that leads outside leads into the sandbox.

use std::ffi::OsString;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context, bail};
use serde_json::Value;

use crate::config::{Config, Source, layers};
use crate::embedded::random_secret;
use crate::generation::{self, ProviderKind};
use crate::outgoing::Secret;
use crate::sandbox::{Outside, irc, openai, twitch};
use crate::twitch as real;
use crate::twitch::eventsub::Transport;
use crate::twitch::saying::Over;

/// What the file is called that says where the sandbox is, beside what it keeps.
pub const FILE: &str = "tapedeck.toml";
/// Where webhooks are said to go; the fake knows that this is here.
const PUBLIC: &str = "https://sandbox.localhost";
/// Says of a folder that it is a sandbox's.
const MARK: &str = ".sandbox";
const MARKED: &str = "A rehearsal of `tapedeck sandbox`: nothing in this folder is real.\n";
pub const HEAD: &str = "# Written by `tapedeck sandbox` at each start, for the other commands: what is changed here is changed until then.\n\
                    # It leads nowhere but to the sandbox.\n\n";

/// What a rehearsal can be told.
#[derive(Clone, Debug)]
pub struct Rehearsal {
    pub transport: Transport,
    pub irc: bool,
    pub listen: Option<SocketAddr>,
}

/// Whether a folder is that of a sandbox.
pub fn is_ours(folder: &Path) -> bool {
    let written = || std::fs::read_to_string(folder.join(FILE));
    folder.join(MARK).is_file() || written().is_ok_and(|text| text.starts_with(HEAD.trim_end()))
}

/// Takes a folder for the sandbox's and marks it, unless something is in there that is not its own.
pub fn takes(folder: &Path) -> anyhow::Result<()> {
    let read = || format!("{}", folder.display());
    if !is_ours(folder) && std::fs::read_dir(folder).with_context(read)?.next().is_some() {
        bail!(
            "{} has something in it and is no sandbox: name another folder with --data, or remove it",
            folder.display()
        );
    }
    std::fs::write(folder.join(MARK), MARKED).with_context(read)
}

/// The variables of these that are stronger than what the sandbox wrote, and lead past it.
pub fn stronger(names: impl Iterator<Item = OsString>) -> Vec<String> {
    let names = names.filter_map(|name| name.into_string().ok());
    let mut found: Vec<String> = names.filter(|name| layers::is_setting(name)).collect();
    found.sort();
    found
}

/// A path as a shell takes it.
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "/._-+".contains(c);
    match text.chars().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// What is yours of `mine`, pointed at the sandbox. Whatever is not named here is as Tapedeck has it by itself, so that
/// nothing leads outside.
pub fn pointed(
    mine: Config,
    rehearsal: &Rehearsal,
    listen: SocketAddr,
    outside: &Outside,
) -> anyhow::Result<Config> {
    let mut settings = real::Settings {
        client_id: twitch::CLIENT_ID.to_owned(),
        client_secret: Secret::new(twitch::CLIENT_SECRET),
        id_url: base(outside.id_url())?,
        helix_url: base(outside.helix_url())?,
        ..real::Settings::default()
    };
    let websocket = outside.eventsub.websocket_url();
    settings.eventsub.websocket_url = websocket.try_into().map_err(anyhow::Error::msg)?;
    settings.eventsub.transport = rehearsal.transport;
    settings.irc.enabled = rehearsal.irc;
    settings.irc.address = outside.irc.address().try_into().map_err(anyhow::Error::msg)?;
    irc::CHANNEL.clone_into(&mut settings.irc.channel);
    settings.chat.over = if rehearsal.irc { Over::Irc } else { Over::Helix };
    let mut made = generation::Settings { provider: ProviderKind::OpenAi, ..mine.generation };
    made.openai = crate::openai::Settings {
        api_key: Secret::new(openai::KEY),
        base_url: base(outside.openai_url())?,
        ..crate::openai::Settings::default()
    };
    let ordinary = Config::default();
    let mut config = Config {
        listen,
        metrics_listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        broadcaster_id: twitch::BROADCASTER.to_owned(),
        eventsub_secret: random_secret(),
        rules: mine.rules,
        prices: mine.prices,
        stage: mine.stage,
        chat: mine.chat,
        replies: mine.replies,
        requests_per_minute: mine.requests_per_minute,
        generation: made,
        twitch: settings,
        log: if mine.log == ordinary.log { crate::cli::up::QUIET.to_owned() } else { mine.log },
        log_format: mine.log_format,
        ..ordinary
    };
    if rehearsal.transport == Transport::Webhook {
        config.public_url = Some(PUBLIC.to_owned());
    }
    // Only for an address such as this one Twitch needs no encryption.
    let redirect = format!("http://localhost:{}/api/v1/login/callback", listen.port());
    outside.twitch.is_registered_with(&redirect);
    config.login.redirect_url = Some(redirect);
    Ok(config)
}

/// Reads what was written, as every command of this Tapedeck does, so that a file that they cannot read is found here.
pub fn read_back(text: &str, folder: &Path) -> anyhow::Result<Config> {
    let file = folder.join(FILE);
    let layer = Some((file.display().to_string(), text.to_owned()));
    let read = Config::layered(None, layer, []).context("what the sandbox wrote")?;
    Ok(Config { source: Some(Source { file, data: folder.to_owned() }), ..read })
}

/// The keys that are not as by default, as a file has them.
pub fn text(config: &Config) -> anyhow::Result<String> {
    let (all, ordinary) = (serde_json::to_value(config)?, serde_json::to_value(Config::default())?);
    let mut text = HEAD.to_owned();
    for (key, value) in all.as_object().into_iter().flatten() {
        if *value != ordinary[key]
            && let Some(value) = toml(value)
        {
            writeln!(text, "{key} = {value}")?;
        }
    }
    Ok(text)
}

/// A value as TOML has it in one line; nothing for what is not there.
fn toml(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        // What is escaped in JSON is escaped in the same way.
        Value::Bool(_) | Value::Number(_) | Value::String(_) => Some(value.to_string()),
        Value::Array(all) => {
            let all: Vec<String> = all.iter().filter_map(toml).collect();
            Some(format!("[{}]", all.join(", ")))
        }
        Value::Object(all) => {
            let pair = |(key, value): (&String, &Value)| {
                Some(format!("{} = {}", Value::from(key.as_str()), toml(value)?))
            };
            let all: Vec<String> = all.iter().filter_map(pair).collect();
            Some(format!("{{ {} }}", all.join(", ")))
        }
    }
}

fn base(url: String) -> anyhow::Result<crate::outgoing::BaseUrl> {
    url.try_into().map_err(|error| anyhow::anyhow!("{error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_played_by_is_yours_and_nothing_leads_outside() {
        let outside = Outside::start(0).await.expect("free ports");
        let mine = r#"
            database_url = "postgres://me:hush@db.example/real"
            nats_url = "nats://nats.example"
            public_url = "https://tapes.example"
            otlp_endpoint = "https://traces.example"
            broadcaster_id = "471147114711"
            [rules]
            version = 7
            points_per_bit = 3
            [prices.static]
            "test-card" = 12
            [replies.texts]
            no_tape = "there is \"no\" tape, '\\' and \u00e9"
            [twitch]
            client_id = "real"
            client_secret = "realsecret"
            [generation]
            per_minute = 3
            [generation.openai]
            api_key = "sk-real"
            base_url = "https://openai.example/v1"
            [pictures_bucket]
            name = "real"
            region = "eu"
            access_key = "real-key"
            secret_key = "real-secret"
            endpoint = "https://bucket.example"
        "#;
        let mine = Config::layered(None, Some(("mine".to_owned(), mine.to_owned())), []);
        let mine = mine.expect("a good file");
        for (transport, irc) in [(Transport::Websocket, true), (Transport::Webhook, false)] {
            let rehearsal = Rehearsal { transport, irc, listen: None };
            let listen = SocketAddr::from(([127, 0, 0, 1], 8_091));
            let pointed = pointed(mine.clone(), &rehearsal, listen, &outside).expect("pointed");
            let text = text(&pointed).expect("written");
            for real in ["hush", "example", "471147114711", "real"] {
                assert!(!text.contains(real), "{real} is in {text}");
            }
            let read = read_back(&text, Path::new("sandbox")).expect("it can be read");
            assert_eq!((read.rules.version, read.prices.fixed["test-card"]), (7, 12));
            assert_eq!(read.generation.per_minute, 3);
            let (now, before) = (serde_json::to_value(&read), serde_json::to_value(&pointed));
            assert_eq!(now.expect("JSON"), before.expect("JSON"));
        }
    }

    #[test]
    fn what_would_lead_past_the_sandbox_is_named_and_a_folder_is_quoted() {
        let set = ["TAPEDECK_TWITCH__CLIENT_ID", "PATH", "DATABASE_URL", "TAPEDECK_DATA"];
        let set = set.into_iter().chain(["TAPEDECK_NATS_SERVER", "NATS_URL"]);
        let found = stronger(set.map(OsString::from));
        assert_eq!(found, ["DATABASE_URL", "NATS_URL", "TAPEDECK_TWITCH__CLIENT_ID"]);
        assert_eq!(quoted(Path::new("data/sandbox")), "data/sandbox");
        assert_eq!(quoted(Path::new("ada's tapes")), r"'ada'\''s tapes'");
    }
}
