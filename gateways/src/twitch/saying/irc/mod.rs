//! Saying something over IRC. Any process may, whoever reads the chat: each that has something to say opens a connection of
//! its own, keeps it while it is used, and leaves it when it is not.
//!
//! One line is on its way at a time, so that what Twitch says of it can be about no other: USERSTATE, which hands back the
//! nonce of the line and names the id under which it is there, or NOTICE with the reason for which it is not. A connection
//! that says neither in time is left, and nobody knows what became of the line: it may be said again later. `line` is the
//! connection, `words` makes a line of a text, and `pace` sees to it that it is not too much for Twitch.

mod line;
mod pace;
mod words;

use std::time::Duration;

use hyper::header::HeaderValue;
use rand::Rng;
use sqlx::PgPool;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::task::AbortOnDropHandle;
use uuid::Uuid;

use self::line::{ANSWER_LIMIT, Came, Idle, Line, NotOpened, Opening, Why};
use self::pace::{Shared, Turn};
use super::dropped::meaning;
use super::{Said, Voice, later};
use crate::outgoing::Outgoing;
use crate::twitch::accounts::{Bearer, NoGrant, Shown};
use crate::twitch::eventsub::times;
use crate::twitch::oauth::{OAuth, TwitchError};
use crate::twitch::{Settings, irc};

/// With which something is said, and with which it is known whether it was.
pub const SCOPES: [&str; 2] = ["chat:edit", "chat:read"];

/// A connection over which nothing was said for so long is left.
const IDLE: Duration = Duration::from_secs(300);
/// What is refused is tried again with the same grant this seldom, and up to as long again by chance, as reading is.
const REFUSED_WAIT: Duration = Duration::from_secs(300);
/// How many wait for their turn.
const WAITING_MAX: usize = 64;

/// Where what is to be said goes. What has been begun is cut when this is dropped.
pub struct OverIrc {
    asks: mpsc::Sender<Ask>,
    _speaking: AbortOnDropHandle<()>,
}

/// Something that is to be said.
struct Ask {
    voice: Voice,
    broadcaster: String,
    text: String,
    /// After that, nobody waits for it any more.
    until: Instant,
    answer: oneshot::Sender<Said>,
}

impl OverIrc {
    pub fn start(settings: &Settings, pool: PgPool) -> Self {
        let (asks, asked) = mpsc::channel(WAITING_MAX);
        let speaking = Speaking {
            settings: settings.irc.clone(),
            oauth: OAuth::new(settings.clone()),
            outgoing: Outgoing::default(),
            pace: Shared::new(pool),
            asks: asked,
            failed: 0,
            failure: None,
        };
        OverIrc { asks, _speaking: AbortOnDropHandle::new(tokio::spawn(speaking.run())) }
    }

    /// Says it, if what becomes of it can be known by `until`.
    pub async fn say(&self, voice: Voice, broadcaster: &str, text: &str, until: Instant) -> Said {
        let Some(text) = words::spoken(text) else {
            return Said::Refused { reason: "there is nothing in it to be said".to_owned() };
        };
        let (answer, answered) = oneshot::channel();
        let broadcaster = broadcaster.to_owned();
        let ask = Ask { voice, broadcaster, text, until, answer };
        if self.asks.send(ask).await.is_err() {
            return later("nobody speaks over IRC any more");
        }
        answered.await.unwrap_or_else(|_| later("nobody speaks over IRC any more"))
    }
}

/// Whoever has the connection.
struct Speaking {
    settings: irc::Settings,
    oauth: OAuth,
    outgoing: Outgoing,
    pace: Shared,
    asks: mpsc::Receiver<Ask>,
    /// So often in a row there was no connection, or it was lost with something on its way.
    failed: u32,
    failure: Option<Failure>,
}

/// Why there was no connection, and until when none is tried.
struct Failure {
    reason: String,
    again_at: Instant,
    /// What was refused. Something else may be tried at once.
    refused: Option<HeaderValue>,
}

/// Where nobody would hear what became of it, it is not said.
fn is_wanted(ask: &Ask) -> Result<(), Said> {
    match ask.answer.is_closed() || Instant::now() + ANSWER_LIMIT > ask.until {
        true => Err(later("connecting took too long")),
        false => Ok(()),
    }
}

impl Speaking {
    async fn run(mut self) {
        let mut here = None;
        loop {
            let ask = match here.take() {
                None => self.asks.recv().await,
                Some(line) => {
                    let ask;
                    (here, ask) = self.idle(line).await;
                    if ask.is_none() && here.is_none() && !self.asks.is_closed() {
                        continue;
                    }
                    ask
                }
            };
            let Some(ask) = ask else { break };
            let said = self.say(&mut here, &ask).await;
            // Whoever asked may have given up meanwhile, and does not know what came of it.
            let _ = ask.answer.send(said);
        }
        if let Some(line) = here {
            line.close().await;
        }
    }

    /// Keeps a connection until there is something to say or it is over.
    async fn idle(&mut self, mut line: Line) -> (Option<Line>, Option<Ask>) {
        let leave_at = Instant::now() + IDLE;
        while !line.is_ending() {
            let quiet_until = line.quiet_until();
            let idle = tokio::select! {
                ask = self.asks.recv() => return (Some(line), ask),
                () = sleep_until(leave_at) => break,
                read = line.next() => line.idles(Some(read)).await,
                () = sleep_until(quiet_until) => line.idles(None).await,
            };
            if let Idle::Over = idle {
                tracing::debug!("the connection over which we speak is over");
                return (None, None);
            }
        }
        line.close().await;
        (None, None)
    }

    async fn say(&mut self, here: &mut Option<Line>, ask: &Ask) -> Said {
        let (sender, broadcaster) = (&ask.voice.sender, &ask.broadcaster);
        let mut line = loop {
            let mut line = match here.take() {
                Some(line) if line.is_of(sender, broadcaster) && !line.is_ending() => line,
                other => {
                    if let Some(line) = other {
                        line.close().await;
                    }
                    match self.open(ask).await {
                        Ok(line) => line,
                        Err(said) => return said,
                    }
                }
            };
            if let Err(said) = self.turn(line.moderates(), ask).await {
                *here = Some(line);
                return said;
            }
            // What came before our line is not about it, and over what has ended nothing is said. There is an end to
            // this: each turn takes time.
            match line.is_settled().await {
                true => break line,
                false => line.close().await,
            }
        };
        let nonce = Uuid::new_v4().simple().to_string();
        let said = match line.say(&nonce, &ask.text).await {
            Came::Taken { id: Some(id) } => Said::Sent { id },
            Came::Taken { id: None } => Said::Before,
            Came::Dropped { code, words } => {
                if code == "msg_ratelimit" {
                    self.pace.rest(sender).await;
                }
                meaning(&code, &words)
            }
            Came::Lost { reason } => {
                // What is still said of this line over it would be taken for what is said of the next.
                return self.fails(format!("IRC was lost with a line on its way: {reason}"), None);
            }
        };
        self.failed = 0;
        *here = Some(line);
        said
    }

    /// Waits until there is room for a line, if that is soon enough.
    async fn turn(&self, moderates: bool, ask: &Ask) -> Result<(), Said> {
        loop {
            is_wanted(ask)?;
            let turn = self.pace.take(&ask.voice.sender, moderates).await;
            let wait = match turn.ok_or_else(|| later("it is not known how much was said"))? {
                Turn::Now => return is_wanted(ask),
                Turn::Wait(wait) => wait.to_std().unwrap_or_default(),
            };
            if Instant::now() + wait + ANSWER_LIMIT > ask.until {
                let reason = "as much was said as Twitch takes of this account".to_owned();
                return Err(Said::NotYet { after: wait, reason });
            }
            sleep(wait).await;
        }
    }

    /// A connection of whoever is to speak.
    async fn open(&mut self, ask: &Ask) -> Result<Line, Said> {
        let bearer = &ask.voice.bearer;
        let shown = bearer.shown().await.map_err(later)?;
        self.may_try(&shown).await?;
        let login = match self.login(&ask.voice).await {
            Ok(login) => login,
            Err((reason, true)) => return Err(self.fails(reason, Some(shown.header))),
            Err((reason, false)) => return Err(self.fails(reason, None)),
        };
        let mut opened = self.opened(ask, &login, &shown).await;
        let mut tried = shown;
        if let Err(NotOpened { why: Why::Login, .. }) = opened
            && let Some(another) = bearer.another(&tried).await
        {
            opened = self.opened(ask, &login, &another).await;
            tried = another;
        }
        let not_opened = match opened {
            Ok(line) => {
                tracing::debug!(moderates = line.moderates(), "we speak over IRC");
                self.failure = None;
                return Ok(line);
            }
            Err(not_opened) => not_opened,
        };
        tracing::warn!(reason = not_opened.reason, "nothing can be said over IRC now");
        let refused = (not_opened.why != Why::Passing).then_some(tried.header);
        Err(self.fails(not_opened.reason, refused))
    }

    async fn opened(&self, ask: &Ask, login: &str, shown: &Shown) -> Result<Line, NotOpened> {
        let header = shown.header.to_str().unwrap_or_default();
        let password = format!("oauth:{}", header.strip_prefix("Bearer ").unwrap_or_default());
        metrics::counter!("tapedeck_irc_speaking_connections_total").increment(1);
        let opening = Opening {
            settings: &self.settings,
            outgoing: &self.outgoing,
            sender: &ask.voice.sender,
            broadcaster: &ask.broadcaster,
            login,
            password: &password,
        };
        Line::open(opening).await
    }

    /// As whom to log in; or why not, and whether only somebody else's doing can change that.
    async fn login(&self, voice: &Voice) -> Result<String, (String, bool)> {
        let lacks = |scopes: &[String]| {
            let lacking = |scope: &&&str| !scopes.iter().any(|held| held == **scope);
            SCOPES.iter().find(lacking).copied()
        };
        if let Some(account) = &voice.account {
            return match lacks(&account.scopes) {
                Some(scope) => Err((NoGrant::Lacks(account.role, scope).to_string(), true)),
                None => Ok(account.login.clone()),
            };
        }
        let Bearer::Fixed(secret) = &voice.bearer else { return Err((String::new(), true)) };
        let validated = match self.oauth.validate_secret(secret).await {
            Ok(validated) => validated,
            Err(error @ TwitchError::Refused(_)) => {
                return Err((format!("twitch.chat.token is not good: {error}"), true));
            }
            Err(error) => return Err((error.to_string(), false)),
        };
        if validated.user_id != voice.sender {
            return Err(("twitch.chat.token is not twitch.chat.sender_id's".to_owned(), true));
        }
        match lacks(&validated.scopes.unwrap_or_default()) {
            Some(scope) => Err((format!("twitch.chat.token lacks {scope}"), true)),
            None => Ok(validated.login),
        }
    }

    /// Whether a connection may be tried, with this grant.
    async fn may_try(&mut self, shown: &Shown) -> Result<(), Said> {
        let Some(Failure { reason, again_at, refused }) = &self.failure else { return Ok(()) };
        if refused.as_ref().is_some_and(|refused| *refused != shown.header) {
            return Ok(());
        }
        let wait = again_at.saturating_duration_since(Instant::now());
        if wait > Duration::from_secs(1) {
            return Err(Said::NotYet { after: wait, reason: reason.clone() });
        }
        sleep(wait).await;
        Ok(())
    }

    /// One more failure, and until when nothing is tried because of it.
    fn fails(&mut self, reason: String, refused: Option<HeaderValue>) -> Said {
        self.failed = self.failed.saturating_add(1);
        let wait = match &refused {
            Some(_) => REFUSED_WAIT.mul_f64(rand::rng().random_range(1.0..=2.0)),
            None => times::again_after(self.failed),
        };
        let again_at = Instant::now() + wait;
        self.failure = Some(Failure { reason: reason.clone(), again_at, refused });
        Said::Later { after: Some(wait), reason }
    }
}
