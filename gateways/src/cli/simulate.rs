//! `tapedeck simulate`: a night of broadcasting without an account at Twitch.

use std::net::IpAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use comfy_table::{Table, presets};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Url;
use serde_json::json;

use super::{Globals, print};
use crate::config::{Connect, EXAMPLE_BROADCASTER, NotReachable};
use crate::simulate::{Night, Options, Pace, Report, play};
use crate::twitch::Secret;
use crate::twitch::webhook::PATH;

/// How long the first connection may take.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// Play a night of broadcasting: signed EventSub webhooks, as Twitch sends them
///
/// Going live, follows, cheers (some anonymous), subs, gifts, raids, hype trains, rewards, a short outage and the goodbye
/// are written from a seed and posted to a running Tapedeck. The same seed is the same night, so playing it again changes
/// nothing: every notification is known already.
#[derive(clap::Args, Debug)]
#[command(after_help = "EXAMPLES\n  \
    tapedeck simulate                                 200 notifications, sixty times as fast\n  \
    tapedeck simulate --speed max --duplicates 3      as fast as they are taken, most more than once\n  \
    tapedeck simulate --seed 8 --notifications 5000   another night, and a long one\n\n\
    EXIT CODES\n  \
    0    everything was accepted\n  \
    1    something was refused, or given up after several tries\n  \
    4    nobody listens there\n  \
    130  interrupted")]
pub struct Simulate {
    /// Where the webhooks go [default: the Tapedeck of the data folder, else of the configuration]
    #[arg(long, value_name = "URL")]
    to: Option<Url>,
    /// The EventSub secret of the receiver [default: as configured, or made up by `tapedeck up`]
    #[arg(long)]
    secret: Option<String>,
    /// The Twitch user id of the channel in which it all happens [default: as configured]
    #[arg(long, value_name = "ID")]
    broadcaster: Option<String>,
    /// Which night
    #[arg(long, default_value_t = 7)]
    seed: u64,
    /// How many notifications the night has
    #[arg(long, value_name = "N", default_value_t = 200)]
    notifications: usize,
    /// How fast it passes: `1x`, `60x`, or `max` for as fast as it is taken
    #[arg(long, default_value = "60x", value_parser = pace)]
    speed: Pace,
    /// How many deliveries may be under way at once
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    senders: u32,
    /// Deliver each notification up to this many further times, as Twitch does now and then
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100))]
    duplicates: u32,
    /// End with some lines of chat: questions, gifts, and small talk
    #[arg(long)]
    chat: bool,
    /// Post to a host that is not this machine
    #[arg(long)]
    yes_really_to_another_host: bool,
    /// Print one JSON object with the result and what the night must come to, and no progress
    #[arg(long)]
    json: bool,
}

/// Where a night goes, and as whose.
struct Target {
    to: Url,
    secret: Secret,
    broadcaster: String,
}

impl Simulate {
    pub async fn run(self, globals: &Globals) -> anyhow::Result<ExitCode> {
        let target = self.target(globals)?;
        check(&target.to, self.yes_really_to_another_host)?;
        connect(&target.to).await?;
        let night =
            Night::script(self.seed, self.notifications).for_broadcaster(&target.broadcaster);
        let night = night.with_requests();
        let night = if self.chat { night.with_chat() } else { night };
        let night = Arc::new(night);
        let options = Options {
            to: target.to,
            secret: target.secret,
            pace: self.speed,
            senders: self.senders,
            duplicates: self.duplicates,
        };
        let bar = self.progress_bar()?;
        let played = tokio::select! {
            played = play(night.clone(), &options, |done| bar.set_position(done as u64)) => played,
            _ = tokio::signal::ctrl_c() => {
                bar.abandon();
                eprintln!("Interrupted. Play the same seed again to go on: what was taken is known.");
                return Ok(ExitCode::from(130));
            }
        };
        let report = played.context("cannot make an HTTP client")?;
        bar.finish_and_clear();
        if self.json {
            print::json(&self.as_json(&night, &report))?;
        } else {
            self.print(&night, &report)?;
        }
        Ok(ExitCode::from(u8::from(!report.all_accepted())))
    }

    /// What was asked for, completed by what is configured and by what `tapedeck up` left in the data folder.
    fn target(&self, globals: &Globals) -> anyhow::Result<Target> {
        let config = globals.config()?;
        let running = Connect::read(globals.data())?.and_then(|connect| connect.api_url);
        let base = running.unwrap_or_else(|| format!("http://{}", config.listen));
        let to = match &self.to {
            Some(to) => to.clone(),
            None => Url::parse(&base).and_then(|base| base.join(PATH)).context(base)?,
        };
        // Where none is configured, none is checked.
        let configured = match config.broadcaster_id {
            id if id.is_empty() => EXAMPLE_BROADCASTER.to_owned(),
            id => id,
        };
        let broadcaster = self.broadcaster.clone().unwrap_or(configured);
        let secret = self.secret.clone().unwrap_or(config.eventsub_secret);
        if secret.is_empty() {
            bail!(
                "nobody says what the EventSub secret is: start `tapedeck up` in this folder, or \
                 set --secret or TAPEDECK_EVENTSUB_SECRET"
            );
        }
        Ok(Target { to, secret: Secret::new(secret)?, broadcaster })
    }

    fn progress_bar(&self) -> anyhow::Result<ProgressBar> {
        if self.json {
            return Ok(ProgressBar::hidden());
        }
        let template = "{bar:40} {pos}/{len} notifications  {per_sec}  {eta} left";
        let style = ProgressStyle::with_template(template)?;
        Ok(ProgressBar::new(self.notifications as u64).with_style(style))
    }

    fn print(&self, night: &Night, report: &Report) -> anyhow::Result<()> {
        let ms = |share| report.latency(share).map_or("-".to_owned(), milliseconds);
        let count = |count: usize| print::points(count as i64);
        let points = print::points(night.expected_points().values().sum());
        let alerts = count(night.expected_alerts().len());
        let rate = report.accepted as f64 / report.took.as_secs_f64().max(0.001);
        let mut table = Table::new();
        table.load_preset(presets::NOTHING);
        for (name, value) in [
            ("notifications", count(report.notifications)),
            ("requests sent", count(report.requests)),
            ("accepted", format!("{} ({rate:.0} a second)", count(report.accepted))),
            ("refused", count(report.refused)),
            ("given up", count(report.given_up)),
            ("answered within", format!("{} (p50), {} (p99)", ms(0.5), ms(0.99))),
            ("comes to", format!("{points} points and {alerts} alerts, under the default rules")),
        ] {
            table.add_row([name, &value]);
        }
        print::text(&table.trim_fmt())?;
        if let Some(failure) = &report.first_failure {
            print::text(&format!("\nThe first that was not accepted: {failure}."))?;
            if failure.starts_with("403") {
                print::text("403 means another secret (--secret), or a clock that is wrong.")?;
            }
        }
        Ok(())
    }

    fn as_json(&self, night: &Night, report: &Report) -> serde_json::Value {
        let ms = |share| report.latency(share).map(|latency| latency.as_secs_f64() * 1_000.0);
        json!({
            "seed": self.seed,
            "notifications": report.notifications,
            "sent": report.requests,
            "accepted": report.accepted,
            "refused": report.refused,
            "given_up": report.given_up,
            "first_failure": report.first_failure,
            "p50_ms": ms(0.5),
            "p99_ms": ms(0.99),
            "took_ms": report.took.as_secs_f64() * 1_000.0,
            "expected_points": night.expected_points(),
            "expected_alerts": night.expected_alerts(),
            "expected_replies": night.expected_replies(),
        })
    }
}

/// Signed notifications are real to whoever knows the secret, so they go to this machine unless asked otherwise.
fn check(to: &Url, really_to_another_host: bool) -> anyhow::Result<()> {
    if to.scheme() != "http" {
        bail!("simulate speaks plain HTTP only, and {to} is {}", to.scheme());
    }
    let host = host(to);
    let loopback =
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    if !loopback && !really_to_another_host {
        bail!("{host} is not this machine; add --yes-really-to-another-host if you mean it");
    }
    Ok(())
}

async fn connect(to: &Url) -> anyhow::Result<()> {
    let port = to.port_or_known_default().context("the URL has no port")?;
    let connection = tokio::net::TcpStream::connect((host(to), port));
    let why = match tokio::time::timeout(CONNECT_LIMIT, connection).await {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer in {CONNECT_LIMIT:?}"),
    };
    let advice = "`tapedeck up` starts everything and says where it is";
    Err(NotReachable(format!("nobody listens at {to} ({why}); {advice}")).into())
}

fn host(to: &Url) -> &str {
    to.host_str().unwrap_or_default().trim_matches(['[', ']'])
}

fn milliseconds(duration: Duration) -> String {
    format!("{:.1} ms", duration.as_secs_f64() * 1_000.0)
}

pub(super) fn pace(text: &str) -> Result<Pace, String> {
    if text == "max" {
        return Ok(Pace::Max);
    }
    let times = text.strip_suffix('x').unwrap_or(text).parse::<f64>().ok();
    let times = times.filter(|times| times.is_finite() && (0.01..=1_000_000.0).contains(times));
    times.map(Pace::Times).ok_or_else(|| "say `1x`, `60x` or `max`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        text.parse().unwrap()
    }

    #[test]
    fn only_this_machine_is_posted_to_unless_it_is_really_meant() {
        for here in ["http://127.0.0.1:1/x", "http://[::1]:1/x", "http://localhost/x"] {
            assert!(check(&url(here), false).is_ok(), "{here}");
        }
        for there in ["http://192.0.2.1/x", "http://tapes.example/x", "http://127.0.0.1.example/x"]
        {
            assert!(check(&url(there), false).is_err(), "{there}");
            assert!(check(&url(there), true).is_ok(), "{there}");
        }
        assert!(check(&url("https://127.0.0.1/x"), true).is_err());
    }

    #[test]
    fn a_pace_is_a_number_of_times_or_max() {
        assert_eq!(pace("60x"), Ok(Pace::Times(60.0)));
        assert_eq!(pace("0.5"), Ok(Pace::Times(0.5)));
        assert_eq!(pace("max"), Ok(Pace::Max));
        for bad in ["", "x", "0x", "-1x", "NaNx", "infx", "fast"] {
            assert!(pace(bad).is_err(), "{bad}");
        }
    }

    #[tokio::test]
    async fn where_nobody_listens_the_error_says_so_and_ends_with_exit_code_four() {
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let to = url(&format!("http://{}/webhooks/twitch", free.local_addr().unwrap()));
        assert!(connect(&to).await.is_ok());
        drop(free);
        let error = connect(&to).await.unwrap_err();
        assert!(error.is::<NotReachable>());
        assert!(error.to_string().contains("tapedeck up"), "{error}");
    }
}
