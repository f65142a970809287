use super::*;

use super::template::EXAMPLE;

fn layered(file: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    Config::layered(None, Some(("tapedeck.toml".to_owned(), file.to_owned())), environment)
}

/// The example with every key that it shows as `#key = …` or `#[table]` switched on.
fn example_switched_on() -> String {
    let shown = |line: &str| {
        let rest = line.strip_prefix('#')?;
        rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[' || c == '"')
            .then(|| rest.to_owned())
    };
    EXAMPLE.lines().map(|line| shown(line).unwrap_or_else(|| line.to_owned()) + "\n").collect()
}

#[test]
fn every_key_is_in_the_example_and_the_example_is_the_default() {
    let value: toml_keys::Keys = toml_keys::of(&example_switched_on());
    let known = serde_json::to_value(Config::default()).expect("a config");
    assert_eq!(value.top, toml_keys::names(&known));
    assert_eq!(value.rules, toml_keys::names(&known["rules"]));
    assert_eq!(value.prices, toml_keys::names(&known["prices"]));
    assert_eq!(value.prices_points, toml_keys::names(&known["prices"]["points"]));
    assert_eq!(value.generation, toml_keys::names(&known["generation"]));
    assert_eq!(value.openai, toml_keys::names(&known["generation"]["openai"]));
    assert_eq!(value.stage, toml_keys::names(&known["stage"]));
    assert_eq!(value.stage_seconds, toml_keys::names(&known["stage"]["seconds"]));
    assert_eq!(value.stage_expiries, toml_keys::names(&known["stage"]["expire_minutes"]));
    for table in ["chat", "login", "replies", "twitch"] {
        assert_eq!(value.all[table], toml_keys::deep(&known[table]), "{table}");
    }
    assert_eq!(value.requests, toml_keys::names(&known["requests_per_minute"]));
    assert_eq!(value.bucket, toml_keys::names(&known["pictures_bucket"]));
    let plain = layered(EXAMPLE, &[]).expect("readable as it is");
    assert_eq!(
        serde_json::to_value(plain).expect("a config"),
        serde_json::to_value(Config::default()).expect("a config")
    );
    layered(&example_switched_on(), &[]).expect("readable with every key switched on");
}

#[test]
fn an_unknown_key_is_named() {
    let error = layered("listen_at = \"127.0.0.1:1\"", &[]).expect_err("unknown");
    assert!(error.to_string().contains("listen_at"), "{error}");
    assert!(error.to_string().contains("tapedeck.toml"), "{error}");
    let error = layered("[rules]\npoints_per_bits = 2", &[]).expect_err("unknown");
    assert!(error.to_string().contains("points_per_bits"), "{error}");
    let error = layered("", &[("TAPEDECK_LISTEM", "x")]).expect_err("unknown");
    assert!(error.to_string().contains("listem"), "{error}");
}

#[test]
fn the_environment_is_stronger_than_the_file() {
    let config = layered(
        "nats_url = \"nats://file\"\ndatabase_url = \"postgres://file\"\nlisten = \"127.0.0.1:1\"",
        &[
            ("NATS_URL", "nats://plain"),
            ("DATABASE_URL", "postgres://plain"),
            ("TAPEDECK_DATABASE_URL", "postgres://ours"),
            ("TAPEDECK_RULES__POINTS_PER_BIT", "7"),
            ("TAPEDECK_BROADCASTER_ID", "0012"),
            ("TAPEDECK_NATS_PASSWORDS__GATEWAY", "1e5"),
            ("TAPEDECK_DATA", "no key"),
        ],
    )
    .expect("readable");
    assert_eq!(config.nats_url, "nats://plain");
    assert_eq!(config.database_url, "postgres://ours");
    assert_eq!(config.listen.port(), 1);
    assert_eq!(config.rules.points_per_bit, 7);
    assert_eq!(config.broadcaster_id, "0012");
    assert_eq!(config.nats_passwords["gateway"], "1e5");
}

#[test]
fn what_up_wrote_is_weaker_than_the_file() {
    let connect = Connect {
        nats_url: "nats://up".to_owned(),
        nats_passwords: BTreeMap::from([("gateway".to_owned(), "p".to_owned())]),
        database_url: "postgres://up".to_owned(),
        ..Connect::default()
    };
    let file = ("tapedeck.toml".to_owned(), "nats_url = \"nats://file\"".to_owned());
    let config = Config::layered(Some(connect), Some(file), []).expect("readable");
    assert_eq!(config.nats_url, "nats://file");
    assert_eq!(config.database_url, "postgres://up");
    assert_eq!(config.nats_passwords["gateway"], "p");
}

#[test]
fn the_channel_that_up_made_up_counts_until_somebody_has_an_application() {
    let connect = || Connect { is_example: true, ..Connect::default() };
    let read = |text: &str| {
        let file = ("tapedeck.toml".to_owned(), text.to_owned());
        Config::layered(Some(connect()), Some(file), []).expect("readable")
    };
    let newcomer = read("");
    assert_eq!(newcomer.broadcaster_id, EXAMPLE_BROADCASTER);
    assert_eq!(Connect::channel(&newcomer), (None, true), "and is made up again");
    let unsaid = read("[twitch]\nclient_id = \"abc\"");
    assert_eq!(unsaid.broadcaster_id, "", "`tapedeck connect` says which it is");
    assert_eq!(Connect::channel(&unsaid), (None, false));
    let said = read("broadcaster_id = \"2000\"\n[twitch]\nclient_id = \"abc\"");
    assert_eq!(Connect::channel(&said), (Some("2000".to_owned()), false));
    let irc = "[twitch.irc]\nenabled = true\nchannel = \"goldenreel\"".to_owned();
    let refused = Config::layered(Some(connect()), Some(("tapedeck.toml".to_owned(), irc)), []);
    refused.expect_err("the chat of a channel that is made up is nobody's");
}

#[test]
fn only_what_changed_and_can_change_now_takes_effect() {
    let before = layered("listen = \"127.0.0.1:1\"", &[]).expect("readable");
    let running = Config { broadcaster_id: "given by a flag".to_owned(), ..before.clone() };
    let file = "listen = \"127.0.0.1:2\"\n[rules]\nversion = 2\npoints_per_bit = 3";
    let now = layered(file, &[]).expect("readable");
    let (changed, later) = running.changed(&before, &now).expect("values");
    assert_eq!((changed.rules.version, changed.rules.points_per_bit), (2, 3));
    assert_eq!(changed.listen.port(), 1);
    assert_eq!(changed.broadcaster_id, "given by a flag");
    assert_eq!(later, ["listen"]);
}

#[test]
fn a_price_is_at_least_a_point_and_its_name_can_be_said_in_chat() {
    let named = layered("[prices.points]\nghost = 50", &[]).expect("readable");
    assert_eq!(Vec::from_iter(named.prices.points), [("ghost".to_owned(), 50)], "the others go");
    let fixed = layered("[prices.static]\nstand-back = 300", &[]).expect("readable").prices.fixed;
    assert_eq!(Vec::from_iter(fixed), [("stand-back".to_owned(), 300)], "the others go");
    for wrong in ["stand-back = 0", "\"Stand Back\" = 300", "ghost = 200"] {
        let error = layered(&format!("[prices.static]\n{wrong}"), &[]).expect_err("refused");
        assert!(error.to_string().contains("prices"), "{wrong}: {error}");
    }
    for wrong in ["stand-back = 300", "ghost = 0", "ghost = -5", "\"Stand Back\" = 300", "\"\" = 1"]
    {
        let error = layered(&format!("[prices.points]\n{wrong}"), &[]).expect_err("refused");
        assert!(error.to_string().contains("prices"), "{wrong}: {error}");
    }
}

#[test]
fn what_is_said_in_chat_can_be_said_and_a_token_is_not_shown() {
    for wrong in [
        "[chat.help]\nbalance = \"no\"",
        "[chat.commands.dance]\nwho = \"vip\"",
        "[chat.answers]\nwho = \"everyone\"\ncooldown_s = 9999\nviewer_cooldown_s = 1",
        "[prices.static]\ngive = 5",
        "[replies]\nper_30_s = 0",
        "[replies.texts]\nbalance = \"/ban {available}\"",
        "[replies.texts]\nbalance = \"{secret}\"",
        "[twitch.chat]\nsender_id = \"1\"",
        "[twitch]\nhelix_url = \"http://api.twitch.tv\"",
        "broadcaster_id = \"1000\"\n[twitch.irc]\nenabled = true",
        "[twitch.irc]\nenabled = true\nchannel = \"goldenreel\"",
        "[twitch.irc]\naddress = \"irc.chat.twitch.tv\"",
        "[twitch.irc]\nlogin = \"bot\"",
    ] {
        layered(wrong, &[]).expect_err(wrong);
    }
    let irc = "broadcaster_id = \"1000\"\n[twitch.irc]\nenabled = true\nchannel = \"goldenreel\"";
    let config = layered(irc, &[("TAPEDECK_TWITCH__IRC__TOKEN", "hush")]).expect("readable");
    assert!(!format!("{config:?} {:?}", config.twitch).contains("hush"));
    let token = [("TAPEDECK_TWITCH__CHAT__TOKEN", "hush")];
    let file = "[twitch]\nclient_id = \"c\"\n[twitch.chat]\nsender_id = \"42\"";
    let config = layered(file, &token).expect("readable");
    assert_eq!(config.twitch.bot("1000").as_deref(), Some("42"));
    assert_eq!(config.twitch.bot("42"), None, "the broadcaster's own account asks for things");
    assert!(!format!("{config:?} {:?}", config.twitch).contains("hush"));
}

#[test]
fn a_limit_of_the_making_of_pictures_is_one_that_can_be_kept() {
    layered("[generation]\ndaily_budget_cents = 0", &[]).expect("nothing may be spent");
    for wrong in ["concurrency = 0", "per_minute = 0", "attempts_max = 0", "time_limit_s = 601"] {
        let error = layered(&format!("[generation]\n{wrong}"), &[]).expect_err("refused");
        assert!(error.to_string().contains("generation"), "{wrong}: {error}");
    }
}

#[test]
fn openai_wants_a_key_that_goes_nowhere_in_the_open() {
    let openai = |keys: &str| layered(&format!("[generation]\nprovider = \"openai\"\n{keys}"), &[]);
    let error = openai("").expect_err("no key");
    assert!(error.to_string().contains("api_key"), "{error}");
    let key = [("TAPEDECK_GENERATION__OPENAI__API_KEY", "sk-hush")];
    let file = "[generation]\nprovider = \"openai\"\n[generation.openai]\nquality = \"low\"";
    let config = layered(file, &key).expect("a key of the environment");
    assert_eq!(config.generation.openai.quality, crate::openai::Quality::Low);
    assert!(!format!("{config:?} {:?}", config.generation).contains("hush"));
    for wrong in ["base_url = \"http://api.openai.com/v1\"", "size = \"7x7\"", "modell = \"x\""] {
        let error = openai(&format!("[generation.openai]\napi_key = \"sk-hush\"\n{wrong}"));
        let error = error.expect_err(wrong).to_string();
        assert!(error.contains(wrong.split(' ').next().unwrap_or_default()), "{error}");
        assert!(!error.contains("hush"), "{error}");
    }
}

#[test]
fn a_login_that_cannot_work_is_refused() {
    for wrong in [
        "[twitch]\nclient_secret = \"abc\"",
        "[twitch]\nid_url = \"http://id.twitch.tv\"",
        "[login]\nredirect_url = \"http://td.example/x\"",
        "[login]\nmoderators = [\"a b\"]",
    ] {
        layered(wrong, &[]).expect_err(wrong);
    }
    let secret = ("TAPEDECK_TWITCH__CLIENT_SECRET", "hush");
    let config = layered("[twitch]\nclient_id = \"abc\"", &[secret]).expect("readable");
    assert!(config.twitch.is_registered() && !format!("{:?}", config.twitch).contains("hush"));
}

#[test]
fn a_proxy_that_is_believed_is_an_address_or_a_network() {
    let file = "trusted_proxies = [\"127.0.0.1\", \"10.0.0.0/8\"]";
    let config = layered(file, &[]).expect("readable");
    assert!(config.trusted_proxies.iter().any(|network| network.contains([10, 1, 2, 3].into())));
    let error = layered("trusted_proxies = [\"proxy.example\"]", &[]).expect_err("a name");
    assert!(error.to_string().contains("proxy.example"), "{error}");
}

#[test]
fn a_stage_names_types_that_there_are() {
    let config = layered("[stage.expire_minutes]\nraid = 1\n[stage.seconds]\nraid = 3", &[]);
    let stage = config.expect("readable").stage;
    assert_eq!(stage.duration("raid").num_milliseconds(), 3_000);
    assert_eq!(stage.duration("cheer").num_milliseconds(), 6_000, "the others stay");
    let error = layered("[stage.seconds]\nraids = 3", &[]).expect_err("refused");
    assert!(error.to_string().contains("raids"), "{error}");
}

#[test]
fn printing_shows_no_secret() {
    let config = Config {
        eventsub_secret: "hush-hush-hush".to_owned(),
        database_url: "postgres://a:hush@b/c".to_owned(),
        ..Config::default()
    };
    assert!(!format!("{config:?}").contains("hush"));
}

/// The names of the keys of a TOML text and of a JSON object.
mod toml_keys {
    use std::collections::{BTreeMap, BTreeSet};

    pub struct Keys {
        pub top: BTreeSet<String>,
        pub rules: BTreeSet<String>,
        pub prices: BTreeSet<String>,
        pub prices_points: BTreeSet<String>,
        pub generation: BTreeSet<String>,
        pub openai: BTreeSet<String>,
        pub stage: BTreeSet<String>,
        pub stage_seconds: BTreeSet<String>,
        pub stage_expiries: BTreeSet<String>,
        pub requests: BTreeSet<String>,
        pub bucket: BTreeSet<String>,
        /// By table, with the keys of tables within as `table.key`.
        pub all: BTreeMap<String, BTreeSet<String>>,
    }

    /// All keys, but for what is listed by names of one's own.
    pub fn deep(value: &serde_json::Value) -> BTreeSet<String> {
        let mut all = names(value);
        for (table, within) in value.as_object().into_iter().flatten() {
            if within.is_object() && table != "commands" && table != "help" {
                all.extend(deep(within).into_iter().map(|key| format!("{table}.{key}")));
            }
        }
        all
    }

    pub fn of(text: &str) -> Keys {
        let source = config::File::from_str(text, config::FileFormat::Toml);
        let read = config::Config::builder().add_source(source).build().expect("TOML");
        let value: serde_json::Value = read.try_deserialize().expect("values");
        Keys {
            top: names(&value),
            rules: names(&value["rules"]),
            prices: names(&value["prices"]),
            prices_points: names(&value["prices"]["points"]),
            generation: names(&value["generation"]),
            openai: names(&value["generation"]["openai"]),
            stage: names(&value["stage"]),
            stage_seconds: names(&value["stage"]["seconds"]),
            stage_expiries: names(&value["stage"]["expire_minutes"]),
            requests: names(&value["requests_per_minute"]),
            bucket: names(&value["pictures_bucket"]),
            all: value
                .as_object()
                .into_iter()
                .flatten()
                .filter(|(_, within)| within.is_object())
                .map(|(table, within)| (table.clone(), deep(within)))
                .collect(),
        }
    }

    pub fn names(value: &serde_json::Value) -> BTreeSet<String> {
        value.as_object().expect("a table").keys().cloned().collect()
    }
}
