//! `tapedeck sandbox`: a Twitch on this machine, a Tapedeck that listens to it, and somebody who plays.

mod playing;
mod running;
mod settings;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::bail;
use uuid::Uuid;

use super::Globals;
use super::simulate::pace;
use crate::sandbox::act::{Act, Refusal, Trouble};
use crate::simulate::Pace;
use crate::twitch::eventsub::Transport;

/// The folder inside the data folder, so that nothing is mixed with what is real.
const FOLDER: &str = "sandbox";
/// How many nights there are to choose one of by chance, so that its seed is easily written down.
const NIGHTS: u64 = 1_000_000;

/// Rehearse on this machine: a fake Twitch, OpenAI and Discord, a Tapedeck that listens to them, and you who play
///
/// Starts a Twitch (logins, Helix, EventSub, chat over IRC), an OpenAI and a Discord of its own on this machine alone, which the
/// clients that others write for the real ones take for the real ones, and a whole private Tapedeck that is pointed at them and
/// connected. It lives in the folder `sandbox` of the data folder, stays there for the next time, and reaches neither your
/// real data nor anybody outside. Points, prices, chat and stage are those of your tapedeck.toml, if there is one.
///
/// While it runs, have things happen from another terminal with the subcommands. They come to Tapedeck on the same ways as
/// from the real Twitch. Ctrl-C stops everything.
#[derive(Debug, clap::Args)]
#[command(
    subcommand_help_heading = "While it runs, from another terminal",
    after_help = "EXAMPLES\n  \
    tapedeck sandbox                                             start it, and see where everything is\n  \
    tapedeck sandbox online                                      the channel goes live\n  \
    tapedeck sandbox cheer --viewer ada --bits 200 \"ghost of a toaster\"\n  \
    tapedeck sandbox say --viewer ada '!balance'                 a line in chat\n  \
    tapedeck sandbox gift --viewer ada --count 5                 five subs\n  \
    tapedeck sandbox trouble away 20                             Twitch is gone for twenty seconds\n  \
    tapedeck sandbox night --speed 60x                           a whole evening"
)]
pub struct Sandbox {
    #[command(subcommand)]
    command: Option<Command>,
    /// Where the fakes answer, on this machine alone [default: 8092, or a free port; 0: a free one]
    #[arg(long)]
    port: Option<u16>,
    /// Where Tapedeck answers HTTP [default: 127.0.0.1:8091, or a free port]
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<SocketAddr>,
    /// How Twitch tells what happens [default: websocket]
    #[arg(long, value_enum)]
    transport: Option<Way>,
    /// Read chat over IRC as well
    #[arg(long)]
    irc: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Way {
    /// Over a connection that Tapedeck opens
    Websocket,
    /// By signed requests to Tapedeck
    Webhook,
    /// Over a conduit, of which each process holds a part
    Conduit,
}

impl From<Way> for Transport {
    fn from(way: Way) -> Self {
        match way {
            Way::Websocket => Transport::Websocket,
            Way::Webhook => Transport::Webhook,
            Way::Conduit => Transport::Conduit,
        }
    }
}

/// Who does it: a login, which is somebody's from then on, or a user id.
#[derive(Debug, clap::Args)]
struct Viewer {
    /// Who does it, by login (a new one is somebody's from then on) or by user id
    #[arg(long, value_name = "LOGIN")]
    viewer: String,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    #[command(flatten)]
    Play(Play),
    /// Show how the fake Twitch is: who is connected, and what Tapedeck said in chat
    Status {
        /// Print one line of JSON
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, clap::Subcommand)]
enum Play {
    /// Somebody cheers; without --viewer somebody anonymous
    Cheer {
        /// Who, by login or user id
        #[arg(long, value_name = "LOGIN")]
        viewer: Option<String>,
        #[arg(long)]
        bits: i64,
        /// What they say with it, such as "ghost of a toaster"
        #[arg(default_value = "")]
        text: String,
    },
    /// Somebody subscribes, or with --months shares that they stayed
    Subscribe {
        #[command(flatten)]
        viewer: Viewer,
        /// 1, 2 or 3
        #[arg(long, default_value_t = 1)]
        tier: i64,
        /// Which month it is
        #[arg(long)]
        months: Option<i64>,
        /// What they say with it
        #[arg(default_value = "", requires = "months")]
        text: String,
    },
    /// Somebody gives subs; without --viewer somebody anonymous
    Gift {
        /// Who, by login or user id
        #[arg(long, value_name = "LOGIN")]
        viewer: Option<String>,
        /// 1, 2 or 3
        #[arg(long, default_value_t = 1)]
        tier: i64,
        /// How many
        #[arg(long, default_value_t = 1)]
        count: i64,
    },
    /// Somebody follows
    Follow(Viewer),
    /// Somebody raids with their viewers
    Raid {
        #[command(flatten)]
        viewer: Viewer,
        /// How many come along
        #[arg(long, default_value_t = 10)]
        viewers: i64,
    },
    /// Somebody says a line in chat, such as '!balance'
    Say {
        #[command(flatten)]
        viewer: Viewer,
        text: String,
    },
    /// Somebody redeems a channel points reward
    Redeem {
        #[command(flatten)]
        viewer: Viewer,
        /// Its title: the same title is the same reward
        #[arg(long, default_value = "Kind rewind")]
        reward: String,
        /// In channel points, which are not Tapedeck's
        #[arg(long, default_value_t = 300)]
        cost: i64,
        /// It needs nobody to fulfil it
        #[arg(long)]
        fulfilled: bool,
        /// What they enter
        #[arg(default_value = "")]
        text: String,
    },
    /// The channel goes live
    Online,
    /// The channel goes off
    Offline,
    /// Something goes wrong
    #[command(subcommand)]
    Trouble(Ill),
    /// A whole evening is played, the same that `tapedeck simulate` plays
    Night {
        /// Which night: the same seed is the same night, of which nothing is credited twice [default: one by chance]
        #[arg(long)]
        seed: Option<u64>,
        /// How many notifications it has
        #[arg(long, value_name = "N", default_value_t = 200)]
        notifications: usize,
        /// How fast it passes: a number of times, or `max`
        #[arg(long, default_value = "60x", value_parser = pace)]
        speed: Pace,
    },
}

#[derive(Debug, clap::Subcommand)]
enum Ill {
    /// Every connection is told to go on over another one, as when Twitch updates itself
    Reconnect,
    /// Every connection stays and says nothing any more
    Silence,
    /// Every connection of EventSub is closed with a code of Twitch, 4000 to 4007
    Close { code: u16 },
    /// Every connection is gone without a word
    Cut,
    /// Twitch is away for so long
    Away { seconds: u64 },
    /// Twitch is there again before that
    Back,
    /// All that was granted to Tapedeck is over, and has to be refreshed
    Expire,
    /// The right to hear of a type is taken away, such as channel.cheer
    Revoke {
        #[arg(value_name = "TYPE")]
        kind: String,
    },
    /// The right is given back; `tapedeck eventsub sync` has it used at once
    Allow {
        #[arg(value_name = "TYPE")]
        kind: String,
    },
    /// The next picture goes wrong
    Picture {
        #[arg(value_enum)]
        how: Refusal,
    },
}

impl Sandbox {
    /// Whether it is what runs, and not who plays with it.
    pub fn serves(&self) -> bool {
        self.command.is_none()
    }

    pub async fn run(self, globals: &Globals) -> anyhow::Result<ExitCode> {
        let folder = folder(globals.data());
        self.check()?;
        let Some(command) = self.command else {
            let rehearsal = settings::Rehearsal {
                transport: self.transport.unwrap_or(Way::Websocket).into(),
                irc: self.irc,
                listen: self.listen,
            };
            return running::run(globals, folder, self.port, rehearsal).await;
        };
        match command {
            Command::Status { json } => playing::status(&folder, json).await,
            Command::Play(play) => playing::play(&folder, &play.into()).await,
        }
    }

    /// Who plays with one that runs cannot say how it is to run. The flags of every command are good with both.
    fn check(&self) -> anyhow::Result<()> {
        let given = [
            ("--port", self.port.is_some()),
            ("--listen", self.listen.is_some()),
            ("--transport", self.transport.is_some()),
            ("--irc", self.irc),
        ];
        match given.iter().find(|(_, is_given)| *is_given && self.command.is_some()) {
            Some((flag, _)) => {
                bail!("{flag} is said when the sandbox starts, and not to one that runs")
            }
            None => Ok(()),
        }
    }
}

/// Its own folder, also for who has TAPEDECK_DATA name it. One that only has the name is somebody's real data.
fn folder(data: &Path) -> PathBuf {
    match settings::is_ours(data) {
        true => data.to_owned(),
        false => data.join(FOLDER),
    }
}

impl From<Play> for Act {
    fn from(play: Play) -> Self {
        match play {
            Play::Cheer { viewer, bits, text } => Act::Cheer { viewer, bits, text },
            Play::Subscribe { viewer: Viewer { viewer }, tier, months, text } => {
                Act::Subscribe { viewer, tier, months, text }
            }
            Play::Gift { viewer, tier, count } => Act::Gift { viewer, tier, count },
            Play::Follow(Viewer { viewer }) => Act::Follow { viewer },
            Play::Raid { viewer: Viewer { viewer }, viewers } => Act::Raid { viewer, viewers },
            Play::Say { viewer: Viewer { viewer }, text } => Act::Say { viewer, text },
            Play::Redeem { viewer: Viewer { viewer }, reward, cost, fulfilled, text } => {
                Act::Redeem { viewer, reward, cost, text, fulfilled }
            }
            Play::Online => Act::Online,
            Play::Offline => Act::Offline,
            Play::Trouble(ill) => Act::Trouble(ill.into()),
            Play::Night { seed, notifications, speed } => {
                let speed = match speed {
                    Pace::Times(times) => Some(times),
                    Pace::Max => None,
                };
                let seed = seed.unwrap_or_else(|| Uuid::new_v4().as_u64_pair().1 % NIGHTS);
                Act::Night { seed, notifications, speed }
            }
        }
    }
}

impl From<Ill> for Trouble {
    fn from(ill: Ill) -> Self {
        match ill {
            Ill::Reconnect => Trouble::Reconnect,
            Ill::Silence => Trouble::Silence,
            Ill::Close { code } => Trouble::Close(code),
            Ill::Cut => Trouble::Cut,
            Ill::Away { seconds } => Trouble::Away(seconds),
            Ill::Back => Trouble::Back,
            Ill::Expire => Trouble::Expire,
            Ill::Revoke { kind } => Trouble::Revoke(kind),
            Ill::Allow { kind } => Trouble::Allow(kind),
            Ill::Picture { how } => Trouble::Picture(how),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::temporary_folder;

    #[test]
    fn a_real_folder_that_is_called_sandbox_is_not_taken_for_one() {
        let data = temporary_folder().expect("a folder");
        let real = data.join(FOLDER);
        assert_eq!(folder(&data), real);
        std::fs::create_dir(&real).expect("made");
        std::fs::write(real.join("tapedeck.toml"), "listen = \"0.0.0.0:80\"\n").expect("written");
        assert_eq!(folder(&real), real.join(FOLDER));
        let refused = settings::takes(&real).expect_err("it is somebody's").to_string();
        assert!(refused.contains("is no sandbox"), "{refused}");
        let (empty, kept) = (data.join("empty"), data.join("kept"));
        for of_ours in [&empty, &kept] {
            std::fs::create_dir(of_ours).expect("made");
        }
        // As a sandbox of an earlier version has left it.
        std::fs::write(kept.join("tapedeck.toml"), settings::HEAD).expect("written");
        std::fs::write(kept.join("api.key"), "tdk").expect("written");
        for of_ours in [empty, kept] {
            settings::takes(&of_ours).expect("it is ours");
            assert_eq!(folder(&of_ours), of_ours, "it is found by its mark");
            settings::takes(&of_ours).expect("the next time too");
        }
        std::fs::remove_dir_all(data).expect("removed");
    }
}
