//! One look: what Twitch can tell of what it did not, and what is done about it.

use std::collections::BTreeSet;
use std::sync::Arc;

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};
use domain::rules::Rules;
use projections::broadcasts;
use projections::gaps::{Unseen, last_over, unseen};

use super::ask::{List, NotTold, State};
use super::gaps;
use super::late::{
    Find, Follower, Late, LiveRow, OFFLINE, ONLINE, REDEEMED, Redemption, Reward, SETTLED,
    SUBSCRIBED, Subscriber, TitleRow, UPDATED,
};
use super::live::{self, Deed, Doubt, Ours, Sure};
use super::record::{self, Covered, Source};
use super::run::{Asking, Missed};
use super::subscribers;
use crate::twitch::calls::Calls;
use crate::twitch::eventsub::gaps::kept;
use crate::twitch::notification::clean_text;
use crate::twitch::translate::Untranslatable;

/// So much later than it happened Helix may first say something.
const OVERLAP: TimeDelta = TimeDelta::minutes(10);
/// Where nobody has looked before, no gap is looked into that began longer ago.
const FIRST_GAPS: TimeDelta = TimeDelta::days(1);
/// How long a redemption may wait to be settled; Twitch itself lists settled ones for some days only.
const SETTLED_WITHIN: TimeDelta = TimeDelta::days(7);
/// For so long after the first look a follow may be in history under the name that it had before.
const OLD_NAMES: TimeDelta = TimeDelta::days(2);
const FOLLOWER_PAGES_MAX: usize = 50;
/// Twitch allows 50 rewards, and has 50 redemptions on a page.
const REWARDS_MAX: usize = 50;
const REDEMPTION_PAGES_MAX: usize = 20;
const SUBSCRIBER_PAGES_MAX: usize = 100;
const UNSEEN_MAX: i64 = 500;
const FULL: &str = "100";

/// A look under way.
pub(super) struct Look<'a> {
    pub missed: &'a Missed,
    pub asking: &'a Asking,
    pub rules: Arc<Rules>,
    /// All that happened before is looked for.
    pub now: DateTime<Utc>,
    /// Gaps that nobody has done with, newest first.
    pub gaps: Vec<Unseen>,
    /// The position at which the last gap had ended, as it was before they were read.
    pub last_over: i64,
}

/// What Twitch answered.
#[derive(Default)]
pub(super) struct Answer {
    pub finds: Vec<Find>,
    /// The types of which it could tell something, and whether that is all.
    pub kinds: Vec<(&'static str, bool)>,
    /// There was more than is read at once: what was before is not known to be covered.
    pub is_cut: bool,
    pub doubt: Option<Doubt>,
    /// How many subs there seem to have been that nobody told of.
    pub untold: i64,
    /// Of what it tells nothing, and why.
    pub lacks: Option<String>,
    /// Since when the channel is live, if it is.
    pub live_since: Option<DateTime<Utc>>,
    /// Who is subscribed: kept once it is said what it means.
    pub subscribed: Option<BTreeSet<String>>,
}

impl<'a> Look<'a> {
    pub async fn begin(missed: &'a Missed, asking: &'a Asking) -> Result<Self, NotTold> {
        let rules = Arc::clone(&missed.webhook.borrow().inbound.rules);
        let now = kept(Utc::now());
        let kinds = missed.kinds();
        // Before they are read: one that is over meanwhile is looked into next.
        let last = last_over(&missed.pool, &missed.broadcaster, &kinds).await;
        let last_over = last.map_err(here)?;
        let found = unseen(&missed.pool, &missed.broadcaster, &kinds, UNSEEN_MAX).await;
        let gaps = found.map_err(here)?;
        Ok(Look { missed, asking, rules, now, gaps, last_over })
    }

    /// How far `source` was covered; where nobody has asked before, from the first gap on, and else from now on.
    pub fn first(&self, source: Source) -> Covered {
        let ours = self.gaps.iter().filter(|gap| source.kinds().contains(&gap.kind.as_str()));
        let first = ours.map(|gap| gap.since).filter(|since| *since > self.now - FIRST_GAPS).min();
        let began_at = first.unwrap_or(self.now);
        Covered {
            began_at,
            covered_to: began_at,
            succeeded_at: None,
            failed: None,
            state: State::Answered.name().to_owned(),
            doubt: None,
        }
    }

    /// Asks; nothing where there is no need to.
    pub async fn ask(&self, source: Source, covered: &Covered) -> Result<Option<Answer>, NotTold> {
        match source {
            Source::Live => self.live(covered).await.map(Some),
            Source::Titles => self.titles(covered).await.map(Some),
            Source::Followers => self.followers(covered).await.map(Some),
            Source::Redemptions => self.redemptions(covered).await.map(Some),
            Source::Subscribers => self.subscribers(covered).await,
        }
    }

    async fn live(&self, covered: &Covered) -> Result<Answer, NotTold> {
        let broadcaster = self.missed.broadcaster.as_str();
        let query = [("user_id", broadcaster), ("first", "1")];
        let list = self.list(&self.asking.open, &["streams"], &query, 2);
        let read = list.read::<LiveRow>(|_| true).await?;
        if !read.is_whole() {
            return Err(NotTold::Away("its answer cannot be read".to_owned()));
        }
        let theirs = read.rows.into_iter().find(|row| row.user_id == broadcaster);
        let current = broadcasts::current(&self.missed.pool, broadcaster).await.map_err(here)?;
        let (ours, doubt) =
            (Ours::of(&current), covered.doubt.as_ref().map(|doubt| doubt.0.clone()));
        let on_air = (ours.since.unwrap_or(self.now), self.now);
        let is_told = !gaps::touches(&self.gaps, OFFLINE, on_air);
        let sure = Sure { after: self.missed.settings.sure_after(), is_told };
        let answered_at = covered.succeeded_at;
        let (deed, doubt) =
            live::decide(&ours, theirs.as_ref(), doubt, answered_at, self.now, sure);
        let (late, before) = (self.late(), |at| ours.since.unwrap_or(at));
        let find = deed.map(|deed| match deed {
            Deed::Start { live_id, at, name } => {
                let is_exact = theirs.as_ref().is_some_and(|row| row.started_at == at);
                let from = if is_exact { at } else { before(at) };
                late.turned(ONLINE, (&live_id, at, &name), (from, self.now.max(at)))
            }
            Deed::End { live_id, at, name } => {
                late.turned(OFFLINE, (&live_id, at, &name), (before(at), at))
            }
        });
        let finds = find.and_then(|find| readable(find.map(|find| vec![find]))).unwrap_or_default();
        // While they disagree, nothing is known. Whether that is all depends on the gap.
        let kinds = match &doubt {
            None => vec![(ONLINE, false), (OFFLINE, false)],
            Some(_) => Vec::new(),
        };
        let live_since = ours.since.filter(|_| ours.live);
        Ok(Answer { finds, kinds, doubt, live_since, ..Answer::default() })
    }

    /// What the channel calls what it does. Helix may say for some minutes what was true before, so of what history
    /// learned a moment ago it is not asked, and what is told meanwhile is later than what is found.
    async fn titles(&self, covered: &Covered) -> Result<Answer, NotTold> {
        let (pool, broadcaster) = (&self.missed.pool, self.missed.broadcaster.as_str());
        let query = [("broadcaster_id", broadcaster)];
        let list = self.list(&self.asking.open, &["channels"], &query, 1);
        let rows = list.read::<TitleRow>(|_| true).await?.rows;
        let Some(theirs) = rows.into_iter().find(|row| row.broadcaster_id == broadcaster) else {
            return Err(NotTold::Away("its answer cannot be read".to_owned()));
        };
        let current = broadcasts::current(pool, broadcaster).await.map_err(here)?;
        let said = [&theirs.title, &theirs.game_name, &theirs.broadcaster_language];
        let ours = [current.title, current.category, current.language];
        let kinds = vec![(UPDATED, false)];
        if said.map(|text| clean_text(text)) == ours {
            return Ok(Answer { kinds, ..Answer::default() });
        }
        let titled = record::titled(pool, broadcaster).await.map_err(here)?;
        if titled.as_ref().is_some_and(|last| last.is_told && last.recorded_at > self.now - OVERLAP)
        {
            return Ok(Answer::default());
        }
        // No later than what history has, so that by whatever clock, what is told from now on is later still.
        let at = titled.as_ref().map_or(self.now - OVERLAP, |last| last.at);
        let between = (titled.map_or(covered.covered_to, |last| last.recorded_at), self.now);
        let found = self.late().titled(&theirs, at, between).map(|find| vec![find]);
        Ok(Answer { finds: readable(found).unwrap_or_default(), kinds, ..Answer::default() })
    }

    async fn followers(&self, covered: &Covered) -> Result<Answer, NotTold> {
        let from = from(covered) - TimeDelta::seconds(1);
        let query = [("broadcaster_id", self.missed.broadcaster.as_str()), ("first", FULL)];
        let path = ["channels", "followers"];
        let list = self.list(&self.asking.own, &path, &query, FOLLOWER_PAGES_MAX);
        let read = list.read::<Follower>(|row| row.followed_at < from).await?;
        if read.rows.is_empty() && read.total > 0 {
            let words = "the account has not granted moderator:read:followers: `tapedeck connect`";
            return Err(NotTold::Refused(words.to_owned()));
        }
        let late = self.late();
        let rows = read.rows.iter().filter(|row| row.followed_at >= from);
        let mut found: Vec<(&str, Find)> = rows
            .filter_map(|row| Some((row.user_id.as_str(), readable(late.follow(row))?)))
            .flat_map(|(viewer, finds)| finds.into_iter().map(move |find| (viewer, find)))
            .collect();
        // What was told before the names were those of a second has another one.
        if self.now - covered.began_at < OLD_NAMES {
            found = self.not_told_by_old_names(found, from).await?;
        }
        let finds = found.into_iter().map(|(_, find)| find).collect();
        let is_all = !read.is_garbled;
        let kinds = Source::Followers.kinds().iter().map(|kind| (*kind, is_all)).collect();
        Ok(Answer { finds, kinds, is_cut: read.is_cut, ..Answer::default() })
    }

    /// The follows of which none is in history that is of the same viewer and moment.
    async fn not_told_by_old_names<'f>(
        &self,
        found: Vec<(&'f str, Find)>,
        from: DateTime<Utc>,
    ) -> Result<Vec<(&'f str, Find)>, NotTold> {
        let pool = &self.missed.pool;
        let ids: Vec<_> = found.iter().flat_map(|(_, find)| find.known_as.clone()).collect();
        let known = record::known(pool, &ids).await.map_err(here)?;
        let found: Vec<_> = found.into_iter().filter(|(_, find)| find.is_new(&known)).collect();
        if found.is_empty() {
            return Ok(found);
        }
        let told = record::followed(pool, &self.missed.broadcaster, from).await.map_err(here)?;
        let second = TimeDelta::seconds(1);
        let is_told = |viewer: &str, at: DateTime<Utc>| {
            told.iter().any(|(who, when)| who == viewer && (*when - at).abs() <= second)
        };
        let news = found.into_iter().filter(|(viewer, find)| !is_told(viewer, find.between.0));
        Ok(news.collect())
    }

    async fn redemptions(&self, covered: &Covered) -> Result<Answer, NotTold> {
        let broadcaster = self.missed.broadcaster.as_str();
        let all = self.rewards(&[("broadcaster_id", broadcaster)]).await?;
        let manageable = [("broadcaster_id", broadcaster), ("only_manageable_rewards", "true")];
        let ours = self.rewards(&manageable).await?;
        let (from, mut answer) = (from(covered), Answer::default());
        let (mut rows, mut is_whole, mut is_settled_whole) = (Vec::new(), true, true);
        for reward in ours.iter().take(REWARDS_MAX) {
            for status in ["UNFULFILLED", "FULFILLED", "CANCELED"] {
                let oldest = if status == "UNFULFILLED" { from } else { self.now - SETTLED_WITHIN };
                let query = [
                    ("broadcaster_id", broadcaster),
                    ("reward_id", reward.id.as_str()),
                    ("status", status),
                    ("sort", "NEWEST"),
                    ("first", "50"),
                ];
                let path = ["channel_points", "custom_rewards", "redemptions"];
                let list = self.list(&self.asking.own, &path, &query, REDEMPTION_PAGES_MAX);
                let read = list.read::<Redemption>(|row| row.redeemed_at < oldest).await?;
                let reaches = read.rows.last().is_some_and(|row| row.redeemed_at < from);
                answer.is_cut |= read.is_cut && !reaches;
                is_whole &= read.is_whole() || (status != "UNFULFILLED" && reaches);
                is_settled_whole &= read.is_whole();
                rows.extend(read.rows);
            }
        }
        answer.finds = self.redeemed(&rows, from).await?;
        let others = all.difference(&ours).count();
        let is_all = others == 0;
        answer.kinds = vec![(REDEEMED, is_all && is_whole), (SETTLED, is_all && is_settled_whole)];
        answer.lacks = (!is_all).then(|| {
            format!(
                "{others} of {} rewards were not made by this application: only whoever made one is told of its redemptions again",
                all.len()
            )
        });
        Ok(answer)
    }

    /// What was redeemed from `from` on, and what became since of what was told before.
    async fn redeemed(
        &self,
        rows: &[Redemption],
        from: DateTime<Utc>,
    ) -> Result<Vec<Find>, NotTold> {
        let late = self.late();
        let found: Vec<(bool, Vec<Find>)> = rows
            .iter()
            .filter_map(|row| Some((row.redeemed_at >= from, readable(late.redemption(row))?)))
            .collect();
        let named = |finds: &[Find]| finds.first().map(|first| first.envelope.id);
        let firsts: Vec<_> = found.iter().filter_map(|(_, finds)| named(finds)).collect();
        let known = record::known(&self.missed.pool, &firsts).await.map_err(here)?;
        // What was redeemed before anybody looked, and is in no history, is none of ours.
        let is_ours = |is_new: bool, finds: &[Find]| {
            is_new || named(finds).is_some_and(|first| known.contains(&first))
        };
        let ours = found.into_iter().filter(|(is_new, finds)| is_ours(*is_new, finds));
        Ok(ours.flat_map(|(_, finds)| finds).collect())
    }

    async fn rewards(&self, query: &[(&str, &str)]) -> Result<BTreeSet<Reward>, NotTold> {
        let path = ["channel_points", "custom_rewards"];
        let read = self.list(&self.asking.own, &path, query, 2).read::<Reward>(|_| false).await?;
        Ok(read.rows.into_iter().collect())
    }

    /// Asked for only at first, and when a gap is over in which somebody may have subscribed.
    async fn subscribers(&self, covered: &Covered) -> Result<Option<Answer>, NotTold> {
        let missed = self.missed;
        let is_due = |gap: &&Unseen| gap.kind == SUBSCRIBED && self.is_over(gap, covered);
        let is_due = self.gaps.iter().any(|gap| is_due(&gap));
        let is_first = covered.succeeded_at.is_none();
        if !is_due && !is_first && covered.failed.is_none() {
            return Ok(None);
        }
        let query = [("broadcaster_id", missed.broadcaster.as_str()), ("first", FULL)];
        let list = self.list(&self.asking.own, &["subscriptions"], &query, SUBSCRIBER_PAGES_MAX);
        let read = list.read::<Subscriber>(|_| false).await?;
        if !read.is_whole() {
            let lacks = Some("there are too many of them to be compared".to_owned());
            return Ok(Some(Answer { is_cut: true, lacks, ..Answer::default() }));
        }
        let ids = read.rows.into_iter().map(|row| row.user_id);
        // Twitch lists the broadcaster among them.
        let now: BTreeSet<String> = ids.filter(|id| *id != missed.broadcaster).collect();
        let mut answer = Answer { is_cut: is_first, ..Answer::default() };
        if !is_first {
            let since = covered.covered_to - OVERLAP;
            let untold = subscribers::untold(&missed.pool, &missed.broadcaster, &now, since);
            (answer.untold, answer.kinds) =
                (untold.await.map_err(here)?, vec![(SUBSCRIBED, false)]);
        }
        answer.subscribed = Some(now);
        Ok(Some(answer))
    }

    /// Whether a gap is over for so long that Helix says all of it, and lies in what is covered.
    pub fn is_over(&self, gap: &Unseen, covered: &Covered) -> bool {
        let sure = self.now - self.missed.settings.sure_after();
        gap.since >= covered.began_at && gap.until.is_some_and(|until| until <= sure)
    }

    fn late(&self) -> Late<'_> {
        Late { rules: &self.rules, broadcaster: &self.missed.broadcaster, now: self.now }
    }

    fn list<'b>(
        &'b self,
        calls: &'b Calls,
        path: &'b [&'b str],
        query: &'b [(&'b str, &'b str)],
        pages_max: usize,
    ) -> List<'b> {
        List { calls, base_url: &self.missed.helix_url, path, query, pages_max }
    }
}

/// From when on it is looked: a little before what is covered, but never before the second in which it began to be. Helix
/// writes whole seconds.
fn from(covered: &Covered) -> DateTime<Utc> {
    (covered.covered_to - OVERLAP).max(covered.began_at).trunc_subsecs(0)
}

/// What a row means, if it means anything.
fn readable(finds: Result<Vec<Find>, Untranslatable>) -> Option<Vec<Find>> {
    finds.inspect_err(|error| tracing::warn!(%error, "a row of Helix means nothing")).ok()
}

/// PostgreSQL does not answer.
pub(super) fn here(error: impl std::fmt::Display) -> NotTold {
    NotTold::Here(error.to_string())
}
