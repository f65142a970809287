//! Asking Twitch for what nobody has here: up to a hundred in one call, everything once at a time whoever wants it, and one
//! call after the other, so that what is wanted meanwhile goes together.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout_at};

use super::kept::Name;
use crate::twitch::missed::ask::NotTold;

/// How many Helix takes in one call.
pub const NAMES_MAX: usize = 100;
/// How soon a call follows another one of the same asker: whoever makes names up has 240 calls a minute at most. A process
/// has three askers that may be busy (users for the API, games for it, users for chat), which come to 720 of the 800 calls
/// that Twitch allows in a minute. Several processes flooded at once use up all 800, and then whatever asks has to wait.
const APART: Duration = Duration::from_millis(250);
/// How many names wait to be asked for. Whoever wants more is told at once that there is no answer.
const WAITING_MAX: usize = 300;
const QUESTIONS_MAX: usize = 64;
const MANY: &str = "too many others are being asked for";

/// What became of a question.
#[derive(Clone, Debug, PartialEq)]
pub enum Told<T> {
    Known(T),
    /// This id is of somebody who was erased here, and about whom nothing is said.
    Erased(String),
    /// There is nobody of that name at Twitch.
    Absent,
    Untold(NotTold),
}

/// What became of names, in their order.
pub struct Fetched<T> {
    pub told: Vec<Told<T>>,
    /// How many calls it took. They are made without a pause, and made up for afterwards.
    pub calls: u32,
}

/// Asks for names.
pub type Fetch<T> = Box<dyn Fn(Vec<Name>) -> BoxFuture<'static, Fetched<T>> + Send + Sync>;

/// Has it asked. The task that does ends with the last of these.
pub struct Asker<T> {
    questions: mpsc::Sender<Vec<(Name, Reply<T>)>>,
}

type Reply<T> = oneshot::Sender<Told<T>>;

impl<T: Clone + Send + 'static> Asker<T> {
    pub fn start(fetch: Fetch<T>) -> Self {
        let (questions, asked) = mpsc::channel(QUESTIONS_MAX);
        tokio::spawn(run(fetch, asked));
        Asker { questions }
    }

    /// What Twitch says of `names`, in their order, or that it did not within `limit`. Then it is asked all the same, for
    /// whoever wants to know it next.
    pub async fn ask(&self, names: Vec<Name>, limit: Duration) -> Vec<Told<T>> {
        if names.is_empty() {
            return Vec::new();
        }
        let until = Instant::now() + limit;
        let (mut question, mut replies) = (Vec::new(), Vec::new());
        for name in names {
            let (reply, told) = oneshot::channel();
            question.push((name, reply));
            replies.push(told);
        }
        // Where it cannot be sent its replies are dropped, and nobody waits.
        let _ = timeout_at(until, self.questions.send(question)).await;
        let mut told = Vec::new();
        for reply in replies {
            let late = || Told::Untold(NotTold::Away("it did not answer in time".to_owned()));
            let reply = timeout_at(until, reply).await;
            told.push(reply.ok().and_then(Result::ok).unwrap_or_else(late));
        }
        told
    }
}

/// Who waits for which name, and which of them are not asked for yet.
struct Waiting<T> {
    replies: HashMap<Name, Vec<Reply<T>>>,
    next: VecDeque<Name>,
}

impl<T: Clone> Waiting<T> {
    fn add(&mut self, name: Name, reply: Reply<T>) {
        if let Some(replies) = self.replies.get_mut(&name) {
            // As many as wait, and none of those who gave up.
            replies.retain(|reply| !reply.is_closed());
            replies.push(reply);
            return;
        }
        if self.next.len() >= WAITING_MAX {
            self.leave_out_the_unwanted();
        }
        if self.next.len() >= WAITING_MAX {
            // Who does not wait any more does not need it.
            let _ = reply.send(Told::Untold(NotTold::Away(MANY.to_owned())));
            return;
        }
        self.next.push_back(name.clone());
        self.replies.insert(name, vec![reply]);
    }

    /// Makes room where nobody waits for a name any more.
    fn leave_out_the_unwanted(&mut self) {
        let replies = &mut self.replies;
        self.next.retain(|name| {
            let stays = replies.get(name).is_some_and(|replies| is_wanted(replies));
            if !stays {
                replies.remove(name);
            }
            stays
        });
    }

    /// The names of the next call: those for which somebody still waits.
    fn take(&mut self) -> Vec<Name> {
        let mut names = Vec::new();
        while names.len() < NAMES_MAX
            && let Some(name) = self.next.pop_front()
        {
            match self.replies.get(&name).is_some_and(|replies| is_wanted(replies)) {
                true => names.push(name),
                false => drop(self.replies.remove(&name)),
            }
        }
        names
    }

    fn answer(&mut self, name: &Name, told: &Told<T>) {
        for reply in self.replies.remove(name).unwrap_or_default() {
            // Who does not wait any more does not need it.
            let _ = reply.send(told.clone());
        }
    }
}

/// Whether somebody still waits.
fn is_wanted<T>(replies: &[Reply<T>]) -> bool {
    replies.iter().any(|reply| !reply.is_closed())
}

async fn run<T: Clone + Send + 'static>(
    fetch: Fetch<T>,
    mut questions: mpsc::Receiver<Vec<(Name, Reply<T>)>>,
) {
    let mut waiting = Waiting { replies: HashMap::new(), next: VecDeque::new() };
    // One at most.
    let mut calls = FuturesUnordered::new();
    let mut not_before = Instant::now();
    loop {
        tokio::select! {
            question = questions.recv() => match question {
                None => return,
                Some(question) => question.into_iter().for_each(|(name, reply)| waiting.add(name, reply)),
            },
            Some((names, fetched)) = calls.next(), if !calls.is_empty() => {
                let (names, fetched): (Vec<Name>, Fetched<T>) = (names, fetched);
                let Fetched { told, calls: made } = fetched;
                not_before += APART * made.saturating_sub(1);
                names.iter().zip(&told).for_each(|(name, told)| waiting.answer(name, told));
                // Whoever was not told of is nobody's any more.
                for name in names.iter().skip(told.len()) {
                    waiting.replies.remove(name);
                }
            }
            () = sleep_until(not_before), if calls.is_empty() && !waiting.next.is_empty() => {
                let names = waiting.take();
                if !names.is_empty() {
                    not_before = Instant::now() + APART;
                    let asked = fetch(names.clone());
                    calls.push(async move { (names, asked.await) });
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures::FutureExt;
    use tokio::sync::Semaphore;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    type Seen = Arc<Mutex<Vec<Vec<Name>>>>;

    fn names(range: std::ops::Range<usize>) -> Vec<Name> {
        range.map(|n| Name::Id(n.to_string())).collect()
    }

    /// What was asked for in each call; each waits for a permit.
    fn asker() -> (Arc<Asker<String>>, Seen, Arc<Semaphore>) {
        let (calls, gate) = (Seen::default(), Arc::new(Semaphore::new(0)));
        let (seen, opens) = (Arc::clone(&calls), Arc::clone(&gate));
        let fetch = move |names: Vec<Name>| {
            seen.lock().expect("whole").push(names.clone());
            let opens = Arc::clone(&opens);
            async move {
                opens.acquire().await.expect("open").forget();
                let told = names.iter().map(|name| Told::Known(name.text().to_owned())).collect();
                Fetched { told, calls: 1 }
            }
            .boxed()
        };
        (Arc::new(Asker::start(Box::new(fetch))), calls, gate)
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_go_in_one_call_and_the_same_is_asked_for_once() {
        let (asker, calls, gate) = asker();
        let ask = |range| {
            let asker = Arc::clone(&asker);
            tokio::spawn(async move { asker.ask(names(range), LIMIT).await })
        };
        let first = ask(0..250);
        // While a call is on its way, others want some of the same, and some more.
        let others: Vec<_> = (0..10).map(|_| ask(200..260)).collect();
        tokio::task::yield_now().await;
        gate.add_permits(3);
        let told = first.await.expect("told");
        assert_eq!(told.len(), 250);
        assert_eq!(told[249], Told::Known("249".to_owned()), "in their order");
        for other in others {
            assert_eq!(other.await.expect("told").len(), 60);
        }
        let calls = calls.lock().expect("whole").clone();
        assert_eq!(calls.iter().map(Vec::len).collect::<Vec<_>>(), [100, 100, 60]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_answered_at_once_and_whoever_gave_up_is_in_nobodys_way() {
        let (asker, calls, gate) = asker();
        // Nobody waits for the first call, which is on its way; what waits behind it is bounded.
        asker.ask(names(0..1), Duration::from_secs(1)).await;
        let flood = asker.ask(names(1..1 + WAITING_MAX), Duration::from_secs(5));
        let another = async {
            let begun = Instant::now();
            (asker.ask(names(1_000..1_001), LIMIT).await, begun.elapsed())
        };
        let (flood, (another, took)) = futures::future::join(flood, another).await;
        assert_eq!(another, [Told::Untold(NotTold::Away(MANY.to_owned()))]);
        assert!(took < Duration::from_secs(1), "at once");
        assert_eq!(flood.len(), WAITING_MAX);
        gate.add_permits(2);
        assert_eq!(asker.ask(names(1_000..1_001), LIMIT).await, [Told::Known("1000".to_owned())]);
        let asked = calls.lock().expect("whole").concat();
        assert_eq!(asked, [names(0..1), names(1_000..1_001)].concat(), "nothing for nobody");
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_for_longer_than_they_want_and_nothing_is_asked_for_nobody() {
        let (asker, calls, gate) = asker();
        let late = |told: &Told<String>| matches!(told, Told::Untold(NotTold::Away(_)));
        let told = asker.ask(names(0..1), Duration::from_secs(1)).await;
        assert!(told.iter().all(late), "{told:?}");
        // Nobody waits any more when its turn comes.
        let told = asker.ask(names(1..2), Duration::from_secs(1)).await;
        assert!(told.iter().all(late), "{told:?}");
        gate.add_permits(2);
        assert_eq!(asker.ask(names(2..3), LIMIT).await, [Told::Known("2".to_owned())]);
        assert_eq!(calls.lock().expect("whole").concat(), [names(0..1), names(2..3)].concat());
        let begun = Instant::now();
        gate.add_permits(10);
        for _ in 0..10 {
            asker.ask(names(3..4), LIMIT).await;
        }
        assert!(begun.elapsed() >= 9 * APART, "calls keep their distance");
    }
}
