//! What Twitch said of users and games, kept for all processes in the bucket HELIX of JetStream, so that it is not asked
//! again for the same. Goes out.
//!
//! `kept` is what is kept, `bucket` keeps it, `asking` asks for what is not there, for all who want it at once, in the calls
//! of `calling`, `absent` knows for a while who is not there at all, and `sweeping` looks after the bucket. Nothing rests on
//! it: while NATS is away Twitch is asked, and while Twitch is away what it said within the last seven days is answered, with
//! the time at which it did. Whoever was erased here is not kept, and is taken out wherever they are found.

mod absent;
pub mod asking;
pub mod bucket;
mod calling;
pub mod kept;
pub mod sweeping;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use chrono::{TimeDelta, Utc};
use futures::FutureExt;
use journal::broker::Broker;
use journal::names;
use sqlx::PgPool;

use self::absent::Absent;
use self::asking::{Asker, Fetched, Told};
use self::bucket::{Bucket, NotReached};
use self::kept::{Game, Kept, Name, User};
use super::calls::Calls;
use super::missed::ask::NotTold;
use crate::outgoing::BaseUrl;

/// What was said so lately is not asked again by whoever waited for it.
const JUST_NOW: TimeDelta = TimeDelta::seconds(2);
const LATE: &str = "it did not answer in time";
const NOWHERE: &str = "no account of Twitch is configured to ask with";

/// Knows users and games.
pub struct Cache {
    source: Arc<Source>,
    users: Desk<User>,
    games: Desk<Game>,
}

/// How old an answer may be, and how long Twitch may take where it has to be asked.
#[derive(Clone, Copy, Debug)]
pub struct Terms {
    pub good_for: TimeDelta,
    pub limit: Duration,
}

/// Where it is asked for one kind of things.
struct Desk<T> {
    asker: Asker<T>,
    absent: Arc<Absent>,
}

/// Where all of it comes from.
struct Source {
    helix: Option<(Calls, BaseUrl)>,
    bucket: Bucket,
    pool: PgPool,
}

impl Cache {
    /// Without `helix` it knows what is in the bucket. To be called within a runtime: who asks is a task, which ends with it.
    pub fn new(broker: Broker, pool: PgPool, helix: Option<(Calls, BaseUrl)>) -> Self {
        let source = Arc::new(Source { helix, bucket: Bucket::new(broker), pool });
        let (users, games) = (Desk::new(&source), Desk::new(&source));
        Cache { source, users, games }
    }

    /// Who these are, in their order.
    pub async fn users(&self, names: &[Name], terms: Terms) -> Vec<Told<User>> {
        self.find(&self.users, names, terms).await
    }

    /// What these are, in their order.
    pub async fn games(&self, names: &[Name], terms: Terms) -> Vec<Told<Game>> {
        self.find(&self.games, names, terms).await
    }

    /// Takes out what is known of a viewer who was erased.
    pub async fn forget(&self, viewer: &str) -> Result<(), NotReached> {
        self.source.bucket.forget(viewer).await
    }

    async fn find<T: Kept>(&self, desk: &Desk<T>, names: &[Name], terms: Terms) -> Vec<Told<T>> {
        let mut found: Vec<Option<T>> = self.source.bucket.find(names).await;
        let erased = match self.source.erased_of(names, &found).await {
            Ok(erased) => erased,
            Err(error) => return names.iter().map(|_| Told::Untold(error.clone())).collect(),
        };
        let now = Utc::now();
        let mut told: Vec<Option<Told<T>>> = Vec::new();
        for (name, row) in names.iter().zip(&mut found) {
            told.push(match (id_of(name, row.as_ref()), row.as_ref()) {
                (Some(id), _) if erased.contains(id) => Some(Told::Erased(id.to_owned())),
                (_, Some(kept)) if kept::is_fresh(kept.as_of(), now, terms.good_for) => {
                    row.take().map(Told::Known)
                }
                _ => desk.absent.has(name).then_some(Told::Absent),
            });
        }
        told.iter().flatten().for_each(|_| counted::<T>("hit"));
        let wanted = names.iter().zip(&told).filter(|(_, told)| told.is_none());
        let wanted: Vec<Name> = wanted.map(|(name, _)| name.clone()).collect();
        let mut asked = desk.asker.ask(wanted, terms.limit).await.into_iter();
        let told = told.into_iter().zip(found);
        let told = told.map(|(told, old)| told.unwrap_or_else(|| settled(asked.next(), old)));
        told.collect()
    }
}

/// What is answered where Twitch was asked: what it said, or, where it said nothing, what it said before.
fn settled<T: Kept>(told: Option<Told<T>>, old: Option<T>) -> Told<T> {
    let told = told.unwrap_or_else(|| Told::Untold(NotTold::Away(LATE.to_owned())));
    match (told, old) {
        (Told::Untold(_), Some(old)) => {
            counted::<T>("stale");
            Told::Known(old)
        }
        (told, _) => {
            counted::<T>("miss");
            told
        }
    }
}

impl<T: Kept> Desk<T> {
    fn new(source: &Arc<Source>) -> Self {
        let absent: Arc<Absent> = Arc::default();
        let (source, noted) = (Arc::clone(source), Arc::clone(&absent));
        let fetch = move |names: Vec<Name>| {
            let (source, noted) = (Arc::clone(&source), Arc::clone(&noted));
            async move { source.fetch(&names, &noted).await }.boxed()
        };
        Desk { asker: Asker::start(Box::new(fetch)), absent }
    }
}

impl Source {
    /// Asks Twitch for these, and keeps what it says. That is not cut off: whoever was put in is looked after.
    async fn fetch<T: Kept>(&self, names: &[Name], absent: &Absent) -> Fetched<T> {
        let recent = self.recent(names, absent).await;
        let wanted = names.iter().zip(&recent).filter(|(_, told)| told.is_none());
        let wanted: Vec<Name> = wanted.map(|(name, _)| name.clone()).collect();
        let Fetched { told, calls } = self.told(&wanted).await;
        for (name, told) in wanted.iter().zip(&told) {
            if matches!(told, Told::Absent) {
                absent.note(name);
            }
        }
        let (mut told, nothing) =
            (told.into_iter(), || Told::Untold(NotTold::Away(LATE.to_owned())));
        let all = recent.into_iter();
        let told = all.map(|recent| recent.or_else(|| told.next()).unwrap_or_else(nothing));
        Fetched { told: told.collect(), calls }
    }

    /// What there is no need to ask: whoever looked before the last call was answered, and asks after it, wants what that
    /// call brought.
    async fn recent<T: Kept>(&self, names: &[Name], absent: &Absent) -> Vec<Option<Told<T>>> {
        let (rows, now) = (self.bucket.find::<T>(names).await, Utc::now());
        let is_new = |row: &T| kept::is_fresh(row.as_of(), now, JUST_NOW);
        let rows: Vec<Option<T>> = rows.into_iter().map(|row| row.filter(is_new)).collect();
        let ids: Vec<&str> = rows.iter().flatten().map(Kept::id).collect();
        let Ok(erased) = self.erased::<T>(&ids).await else {
            return names.iter().map(|_| None).collect();
        };
        let told = rows.into_iter().zip(names).map(|(row, name)| match row {
            Some(row) if erased.contains(row.id()) => Some(Told::Erased(row.id().to_owned())),
            None if absent.has(name) => Some(Told::Absent),
            row => row.map(Told::Known),
        });
        told.collect()
    }

    /// What Twitch says of these.
    async fn told<T: Kept>(&self, names: &[Name]) -> Fetched<T> {
        if names.is_empty() {
            return Fetched { told: Vec::new(), calls: 0 };
        }
        let Some((calls, base_url)) = &self.helix else {
            let nowhere = Told::Untold(NotTold::Refused(NOWHERE.to_owned()));
            return Fetched { told: vec![nowhere; names.len()], calls: 0 };
        };
        let (heard, calls) = calling::ask::<T>(calls, base_url, names).await;
        let mut rows: Vec<T> = Vec::new();
        for row in heard.iter().flatten().flatten() {
            if rows.iter().all(|known| known.id() != row.id()) {
                rows.push(row.clone());
            }
        }
        let erased = self.keep(&rows).await;
        let told = heard.into_iter().map(|heard| match (heard, &erased) {
            (Ok(None), _) => Told::Absent,
            (Err(error), _) => Told::Untold(error),
            (Ok(Some(_)), Err(error)) => Told::Untold(error.clone()),
            (Ok(Some(row)), Ok(erased)) if erased.contains(row.id()) => {
                Told::Erased(row.id().to_owned())
            }
            (Ok(Some(row)), Ok(_)) => Told::Known(row),
        });
        Fetched { told: told.collect(), calls }
    }

    /// Keeps all but those who were erased, and says who they are. An erasure marks the viewer and then takes out what is
    /// kept: so whoever is not marked yet after they were put in is taken out by it, and whoever is, here.
    async fn keep<T: Kept>(&self, rows: &[T]) -> Result<HashSet<String>, NotTold> {
        let ids: Vec<&str> = rows.iter().map(Kept::id).collect();
        let before = self.erased::<T>(&ids).await?;
        let good = rows.iter().filter(|row| !before.contains(row.id())).cloned();
        if !self.bucket.keep(&good.collect::<Vec<T>>()).await {
            return Ok(before);
        }
        let after = self.erased::<T>(&ids).await?;
        for id in after.difference(&before) {
            self.take_out(id).await;
        }
        Ok(after)
    }

    /// Who of all these was erased. Those who are found in the bucket all the same are taken out: it was not to be reached
    /// when they were erased.
    async fn erased_of<T: Kept>(
        &self,
        names: &[Name],
        found: &[Option<T>],
    ) -> Result<HashSet<String>, NotTold> {
        let ids = names.iter().zip(found).filter_map(|(name, row)| id_of(name, row.as_ref()));
        let erased = self.erased::<T>(&ids.collect::<Vec<_>>()).await?;
        for row in found.iter().flatten().filter(|row| erased.contains(row.id())) {
            self.take_out(row.id()).await;
        }
        Ok(erased)
    }

    async fn erased<T: Kept>(&self, ids: &[&str]) -> Result<HashSet<String>, NotTold> {
        if !T::IS_PERSON || ids.is_empty() {
            return Ok(HashSet::new());
        }
        let erased = names::erased(&self.pool, ids).await;
        let erased = erased.map_err(|error| {
            tracing::warn!(%error, "it cannot be read who was erased");
            NotTold::Here("the database does not answer".to_owned())
        })?;
        Ok(erased.into_iter().collect())
    }

    async fn take_out(&self, viewer: &str) {
        if let Err(error) = self.bucket.forget(viewer).await {
            tracing::warn!(%error, "a viewer who was erased is still in the cache");
        }
    }
}

fn id_of<'a, T: Kept>(name: &'a Name, row: Option<&'a T>) -> Option<&'a str> {
    match name {
        Name::Id(id) => Some(id),
        Name::Login(_) => row.map(Kept::id),
    }
}

fn counted<T: Kept>(result: &'static str) {
    let of = T::PATH;
    metrics::counter!("tapedeck_helix_cache_total", "of" => of, "result" => result).increment(1);
}
