//! What is to be seen of the chat now, and what comes next: made once for each process, for all who show it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::ws::Utf8Bytes;
use chrono::{DateTime, TimeDelta, Utc};
use futures::StreamExt;
use tokio::sync::{Semaphore, broadcast};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::frame::Frame;
use super::lines::{self, Kept, Lines};

/// How many lines whoever comes gets at once.
pub const SHOWN_AT_ONCE: usize = 50;

/// How many lines are remembered, so that enough are left when some are deleted; and how many deletions, so that a line
/// that comes after its deletion is not shown.
const LINES_MAX: usize = 300;
const DELETIONS_MAX: usize = 1_000;
/// How many frames somebody may be behind before they are cut.
const BEHIND_MAX: usize = 256;
const PLACES: usize = 200;
/// Two ways in that tell of one clearing give times that are no further apart.
const TOLD_TWICE_WITHIN: TimeDelta = TimeDelta::seconds(5);
/// How often it is looked for lines when nobody says that there are any.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// The chat as it is to be seen.
pub struct Hub {
    seen: Mutex<Seen>,
    next: broadcast::Sender<Utf8Bytes>,
    places: Arc<Semaphore>,
}

#[derive(Default)]
struct Seen {
    /// Oldest first.
    lines: VecDeque<Shown>,
    /// Lines by id.
    deleted: VecDeque<String>,
    /// Of whom nothing said before that time is to be seen; of nobody means of everybody.
    cleared: VecDeque<(Option<String>, DateTime<Utc>)>,
}

struct Shown {
    id: String,
    viewer: String,
    at: DateTime<Utc>,
    text: Utf8Bytes,
}

impl Default for Hub {
    fn default() -> Self {
        Hub {
            seen: Mutex::default(),
            next: broadcast::Sender::new(BEHIND_MAX),
            places: Arc::new(Semaphore::new(PLACES)),
        }
    }
}

impl Hub {
    /// What is to be seen now, oldest first, and what comes after exactly that.
    pub fn join(&self) -> (Vec<Utf8Bytes>, broadcast::Receiver<Utf8Bytes>) {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let skipped = seen.lines.len().saturating_sub(SHOWN_AT_ONCE);
        let lines = seen.lines.iter().skip(skipped).map(|line| line.text.clone()).collect();
        (lines, self.next.subscribe())
    }

    /// The places for those who show it.
    pub(super) fn places(&self) -> Arc<Semaphore> {
        Arc::clone(&self.places)
    }

    /// Takes a frame, and passes on what changes something.
    pub fn take(&self, kept: Kept) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for text in seen.take(kept) {
            // That nobody listens is no failure.
            let _ = self.next.send(text);
        }
    }
}

impl Seen {
    /// What is to be told of a frame.
    fn take(&mut self, Kept { frame, text, at: kept_at }: Kept) -> Vec<Utf8Bytes> {
        let text = Utf8Bytes::from(text);
        match frame {
            Frame::Hello {} => return Vec::new(),
            Frame::Line(line) => {
                let (id, viewer, at) = (line.id, line.viewer.id, line.at);
                let is_gone = self.deleted.contains(&id)
                    || self.lines.iter().any(|shown| shown.id == id)
                    || self.cleared.iter().any(|(whose, until)| {
                        at <= *until && whose.as_ref().is_none_or(|whose| *whose == viewer)
                    });
                if is_gone {
                    return Vec::new();
                }
                bounded(&mut self.lines, LINES_MAX, Shown { id, viewer, at, text: text.clone() });
            }
            Frame::Deleted { id } => {
                self.lines.retain(|shown| shown.id != id);
                bounded(&mut self.deleted, DELETIONS_MAX, id);
            }
            Frame::ClearedViewer { viewer, at } => {
                return self.clear(Some(viewer), at.unwrap_or(kept_at), text);
            }
            Frame::Cleared { at } => return self.clear(None, at.unwrap_or(kept_at), text),
        }
        vec![text]
    }

    /// Nothing that `whose` said until then is to be seen. Where the word of it came late, they have said more since, which
    /// stays: then each line that goes is named, because `text` means all there are. Told of a second time over another way,
    /// with nothing left to go, it is no news.
    fn clear(
        &mut self,
        whose: Option<String>,
        until: DateTime<Utc>,
        text: Utf8Bytes,
    ) -> Vec<Utf8Bytes> {
        let is_meant = |shown: &Shown| whose.as_ref().is_none_or(|whose| *whose == shown.viewer);
        let came_late = self.lines.iter().any(|shown| is_meant(shown) && shown.at > until);
        let (gone, left): (VecDeque<Shown>, _) = std::mem::take(&mut self.lines)
            .into_iter()
            .partition(|shown| is_meant(shown) && shown.at <= until);
        self.lines = left;
        let is_known = |(of, at): &(Option<String>, DateTime<Utc>)| {
            *of == whose && (*at - until).abs() <= TOLD_TWICE_WITHIN
        };
        let told_before = self.cleared.iter().any(is_known);
        bounded(&mut self.cleared, DELETIONS_MAX, (whose, until));
        if told_before && gone.is_empty() {
            return Vec::new();
        }
        if !came_late {
            return vec![text];
        }
        let named = gone.into_iter().map(|shown| Frame::Deleted { id: shown.id });
        named.filter_map(|frame| Some(serde_json::to_string(&frame).ok()?.into())).collect()
    }
}

fn bounded<T>(all: &mut VecDeque<T>, most: usize, new: T) {
    if all.len() >= most {
        all.pop_front();
    }
    all.push_back(new);
}

/// Follows CHAT until told to stop. Without NATS it waits, and then goes on where it was.
pub async fn run(hub: Arc<Hub>, lines: Lines, stop: CancellationToken) -> anyhow::Result<()> {
    let mut news = lines.news().await?;
    let mut next = 0;
    let mut complained = false;
    while !stop.is_cancelled() {
        match follow(&hub, &lines, &mut next).await {
            Ok(()) => complained = false,
            Err(error) if !complained => {
                tracing::warn!(error = format!("{error:#}"), "the lines of chat cannot be read");
                complained = true;
            }
            Err(_) => {}
        }
        tokio::select! {
            () = stop.cancelled() => {}
            _ = timeout(LOOK_EVERY, news.next()) => {}
        }
    }
    Ok(())
}

/// Takes what is there from number `next` on.
async fn follow(hub: &Hub, lines: &Lines, next: &mut u64) -> anyhow::Result<()> {
    let (stream, first, last) = lines.stream().await?;
    if last + 1 < *next {
        // The stream was made anew.
        *next = 0;
    }
    let oldest = first.max(last.saturating_sub(2 * LINES_MAX as u64));
    *next = (*next).max(oldest).max(1);
    while *next <= last {
        if let Some(kept) = lines::read(&stream, *next).await? {
            hub.take(kept);
        }
        *next += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::frame::{Line, Who};
    use super::*;

    fn second(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_750_000_000 + second, 0).expect("a time")
    }

    fn kept(frame: Frame, at: i64) -> Kept {
        let text = serde_json::to_string(&frame).expect("JSON");
        Kept { frame, text, at: second(at) }
    }

    /// Said by a viewer in a second.
    fn line(id: &str, viewer: &str, at: i64) -> Kept {
        let line = Line {
            id: id.to_owned(),
            viewer: Who { id: viewer.to_owned(), name: None },
            colour: None,
            badges: Vec::new(),
            parts: Vec::new(),
            at: second(at),
            bot: false,
            request: false,
        };
        kept(Frame::Line(line), at)
    }

    fn deleted(id: &str) -> Kept {
        kept(Frame::Deleted { id: id.to_owned() }, 9)
    }

    fn ids(hub: &Hub) -> Vec<String> {
        let id = |text: &Utf8Bytes| -> String {
            let json: serde_json::Value = serde_json::from_str(text.as_str()).expect("JSON");
            json["id"].as_str().expect("an id").to_owned()
        };
        hub.join().0.iter().map(id).collect()
    }

    #[test]
    fn whoever_comes_sees_the_last_lines_without_those_that_were_deleted() {
        let hub = Hub::default();
        for n in 0..70 {
            hub.take(line(&format!("m-{n}"), "5001", n));
        }
        hub.take(deleted("m-69"));
        let shown = ids(&hub);
        assert_eq!(shown.len(), SHOWN_AT_ONCE);
        assert_eq!((shown[0].as_str(), shown[49].as_str()), ("m-19", "m-68"));
    }

    #[test]
    fn a_line_is_shown_once_and_not_after_its_deletion() {
        let hub = Hub::default();
        let (_, mut next) = hub.join();
        for _ in 0..10 {
            hub.take(line("m-1", "5001", 0));
        }
        hub.take(deleted("m-2"));
        hub.take(line("m-2", "5001", 1));
        assert_eq!(ids(&hub), ["m-1"]);
        assert!(next.try_recv().expect("the line").as_str().contains("m-1"));
        assert!(next.try_recv().expect("the deletion").as_str().contains("deleted"));
        assert!(next.try_recv().is_err());
    }

    #[test]
    fn what_a_banned_viewer_said_is_gone_also_where_it_comes_late() {
        let hub = Hub::default();
        hub.take(line("m-1", "5001", 0));
        hub.take(line("m-2", "5002", 1));
        hub.take(kept(Frame::ClearedViewer { viewer: "5001".to_owned(), at: None }, 5));
        hub.take(line("m-3", "5001", 4));
        hub.take(line("m-4", "5001", 6));
        assert_eq!(ids(&hub), ["m-2", "m-4"]);
        hub.take(kept(Frame::Cleared { at: None }, 7));
        hub.take(line("m-5", "5002", 6));
        hub.take(line("m-6", "5002", 8));
        assert_eq!(ids(&hub), ["m-6"]);
    }

    #[test]
    fn what_was_said_since_stays_where_the_word_of_a_clearing_comes_late() {
        let hub = Hub::default();
        let (_, mut next) = hub.join();
        for (id, viewer, at) in
            [("m-1", "5001", 0), ("m-2", "5002", 1), ("m-3", "5001", 6), ("m-4", "5002", 8)]
        {
            hub.take(line(id, viewer, at));
            next.try_recv().expect("the line");
        }
        let at = |at| Some(second(at));
        hub.take(kept(Frame::ClearedViewer { viewer: "5001".to_owned(), at: at(5) }, 9));
        assert_eq!(ids(&hub), ["m-2", "m-3", "m-4"]);
        let told = next.try_recv().expect("what is gone");
        assert_eq!(told.as_str(), r#"{"type":"deleted","id":"m-1"}"#);
        hub.take(kept(Frame::Cleared { at: at(6) }, 9));
        assert_eq!(ids(&hub), ["m-4"]);
        for id in ["m-2", "m-3"] {
            assert!(next.try_recv().expect("what is gone").as_str().contains(id));
        }
        hub.take(kept(Frame::Cleared { at: at(8) }, 9));
        assert!(ids(&hub).is_empty());
        assert!(next.try_recv().expect("the clearing").as_str().contains("cleared"));
        assert!(next.try_recv().is_err(), "nothing is told twice");
    }

    #[test]
    fn a_clearing_that_is_told_of_twice_is_shown_once_and_a_second_one_is_not_lost() {
        let hub = Hub::default();
        let (_, mut next) = hub.join();
        let mut take = |kept: Kept| {
            hub.take(kept);
            next.try_recv().ok().map(|text| text.as_str().to_owned())
        };
        assert!(take(line("m-1", "5001", 0)).is_some());
        for whose in [Some("5001"), None] {
            let frame = |at| match whose {
                Some(viewer) => Frame::ClearedViewer { viewer: viewer.to_owned(), at },
                None => Frame::Cleared { at },
            };
            let cleared = |at: i64| kept(frame(Some(second(at))), at);
            assert!(take(cleared(5)).is_some(), "the first word of it");
            assert_eq!(take(cleared(6)), None, "the same over another way, a moment later");
            assert_eq!(take(cleared(5)), None, "or earlier");
            assert!(take(line("m-2", "5001", 7)).is_some());
            assert!(take(cleared(8)).is_some(), "another one, with something to take away");
            assert!(take(cleared(60)).is_some(), "and one much later");
            hub.seen.lock().expect("whole").cleared.clear();
        }
        assert!(ids(&hub).is_empty());
    }

    #[test]
    fn whoever_is_too_far_behind_is_told_so_and_nobody_waits() {
        let hub = Hub::default();
        let (_, mut slow) = hub.join();
        for n in 0..(BEHIND_MAX as i64 * 3) {
            hub.take(line(&format!("m-{n}"), "5001", n));
        }
        assert!(matches!(slow.try_recv(), Err(broadcast::error::TryRecvError::Lagged(_))));
        let seen = hub.seen.lock().expect("whole");
        assert_eq!(seen.lines.len(), LINES_MAX);
    }
}
