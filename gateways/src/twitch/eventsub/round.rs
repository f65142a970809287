//! One look at all subscriptions: what Twitch has is listed, and made into what is wanted.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use super::plan::{self, Existing, Place, Standing, Step};
use super::subscriptions::{Cost, Failed, Listed, Made, Subscriptions};
use super::wanted::Wanted;

const TOGETHER: TimeDelta = TimeDelta::seconds(1);

/// What a round is to come to.
#[derive(Clone, Debug)]
pub struct Order {
    pub wanted: Vec<Wanted>,
    pub place: Place,
    pub exclusive: bool,
    /// The place is new, so there is nothing to be listed; and whoever is slow to subscribe there is cut.
    pub fresh: bool,
}

/// How each of what is wanted is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    #[serde(flatten)]
    pub wanted: Wanted,
    pub state: State,
    /// Why it is not enabled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// What Twitch calls it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    pub cost: i64,
    /// The name of the version of the secret that it was made with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<String>,
    /// Since when we know it to be so.
    pub at: DateTime<Utc>,
    /// Until this round made it, nothing told it.
    #[serde(skip)]
    pub is_new: bool,
}

impl Status {
    pub fn kind(&self) -> String {
        self.wanted.kind.clone()
    }
}

/// What began to reach us within a second, and when the last of it did. Twitch may have made us wait in between.
pub fn together<'a>(
    statuses: impl Iterator<Item = &'a Status>,
) -> Vec<(Vec<String>, DateTime<Utc>)> {
    let mut statuses: Vec<&Status> = statuses.collect();
    statuses.sort_by_key(|status| status.at);
    let groups = statuses.chunk_by(|one, next| next.at - one.at < TOGETHER);
    let group = |group: &[&Status]| {
        let at = group.last().map(|last| last.at)?;
        Some((group.iter().map(|status| status.kind()).collect(), at))
    };
    groups.filter_map(group).collect()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Enabled,
    /// Twitch waits for our answer to its challenge.
    Pending,
    Failing,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Enabled => "enabled",
            State::Pending => "pending",
            State::Failing => "failing",
        }
    }
}

/// What a round came to.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// In the order in which they are wanted; empty where Twitch's list could not be had.
    pub statuses: Vec<Status>,
    pub made: Made,
    pub cost: Cost,
    /// How many were taken away, and how many were left because they are none of ours.
    pub removed: u32,
    pub left: usize,
    /// How many are still told by a subscription that was made with another secret.
    #[serde(default)]
    pub moving: usize,
    /// The names of the versions of the secret that subscriptions are left of.
    #[serde(default)]
    pub signed_with: BTreeSet<String>,
    /// Why it could not be looked at all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    pub at: DateTime<Utc>,
}

impl Report {
    pub fn count(&self, state: State) -> usize {
        self.statuses.iter().filter(|status| status.state == state).count()
    }

    /// Whether looking again before the hour is over may find something better.
    pub fn is_passing(&self) -> bool {
        self.failed.is_some() || self.moving > 0 || self.count(State::Pending) > 0
    }

    /// One line for what it came to.
    pub fn log(&self) {
        let (calls, removed) = (self.made.all(), self.removed);
        let counts =
            [State::Enabled, State::Pending, State::Failing].map(|state| self.count(state));
        let [enabled, pending, failing] = counts;
        for (state, count) in [("enabled", enabled), ("pending", pending), ("failing", failing)] {
            metrics::gauge!("tapedeck_eventsub_subscriptions", "state" => state).set(count as f64);
        }
        match &self.failed {
            Some(error) => {
                tracing::warn!(
                    error,
                    enabled,
                    failing,
                    "EventSub could not be looked at; trying again"
                );
            }
            None => {
                tracing::info!(enabled, pending, failing, removed, calls, "EventSub was looked at");
            }
        }
    }
}

/// A round under way.
struct Round<'a> {
    subscriptions: &'a Subscriptions,
    order: &'a Order,
    report: Report,
    /// With which version each that is there was made, by its id.
    signed: BTreeMap<String, String>,
    /// What the last one that was made cost: all of a channel cost the same.
    last_cost: i64,
    /// Why nothing further is tried.
    given_up: Option<Failed>,
}

/// Carries `order` out. It always comes to an end, with whatever could be done.
pub async fn carry_out(subscriptions: &Subscriptions, order: &Order) -> Report {
    let report = Report {
        statuses: Vec::new(),
        made: Made::default(),
        cost: Cost::default(),
        removed: 0,
        left: 0,
        moving: 0,
        signed_with: BTreeSet::new(),
        failed: None,
        at: Utc::now(),
    };
    let (signed, given_up) = (BTreeMap::new(), None);
    let mut round = Round { subscriptions, order, report, signed, last_cost: 0, given_up };
    let listed = match order.fresh {
        true => Ok(Listed::default()),
        false => subscriptions.list().await,
    };
    match listed {
        Err(failed) => round.report.failed = Some(failed.to_string()),
        Ok(listed) => round.make(&listed).await,
    }
    let mut report = round.report;
    report.signed_with = round.signed.into_values().collect();
    (report.made, report.at) = (subscriptions.made(), Utc::now());
    let place = |status: &Status| order.wanted.iter().position(|one| *one == status.wanted);
    report.statuses.sort_by_key(place);
    report
}

impl Round<'_> {
    async fn make(&mut self, listed: &Listed) {
        let Order { wanted, place, exclusive, .. } = self.order;
        let plan = plan::plan(wanted, &listed.existing, place, *exclusive);
        (self.report.cost, self.report.left) = (listed.cost, plan.left);
        for existing in &listed.existing {
            self.is_signed(existing);
        }
        for (wanted, existing) in plan.keep {
            self.last_cost = existing.cost;
            self.is_there(wanted, &existing);
            // It may have been revoked since it was listed; but a webhook may have been enabled just before.
            if !matches!(place, Place::Webhook { .. })
                && let Some(status) = self.report.statuses.last_mut()
            {
                status.at = self.report.at;
            }
        }
        let mut full = Vec::new();
        for step in plan.steps {
            match step {
                Step::Delete { id, why } => {
                    tracing::info!(id, ?why, "an EventSub subscription is removed");
                    self.delete(&id).await;
                }
                Step::Create(wanted) => {
                    if let Err(Failed::Full(_)) = self.create(wanted.clone()).await {
                        full.push(wanted);
                    }
                }
            }
        }
        // What was in the way may be gone now.
        if self.report.removed > 0 {
            for wanted in full {
                self.report.statuses.retain(|status| status.wanted != wanted);
                let _ = self.create(wanted).await;
            }
        }
        self.report.moving = plan.bridges.len();
        for (wanted, existing) in plan.bridges {
            self.is_bridged(&wanted, &existing);
        }
    }

    async fn delete(&mut self, id: &str) {
        if self.given_up.is_some() {
            return;
        }
        match self.subscriptions.delete(id).await {
            Ok(()) => {
                self.signed.remove(id);
                self.report.removed += 1;
            }
            Err(failed) => self.note(failed),
        }
    }

    async fn create(&mut self, wanted: Wanted) -> Result<(), Failed> {
        let made = match (&self.given_up, self.too_dear()) {
            (Some(failed), _) => Err(failed.clone()),
            (None, Some(failed)) => Err(failed),
            (None, None) => self.subscriptions.create(&wanted, &self.order.place).await,
        };
        match made {
            Ok((existing, cost)) => {
                (self.report.cost, self.last_cost) = (cost, existing.cost);
                self.is_signed(&existing);
                self.is_there(wanted, &existing);
                if let Some(status) = self.report.statuses.last_mut() {
                    status.is_new = true;
                }
                Ok(())
            }
            Err(Failed::Exists) => {
                self.status(wanted, State::Enabled, Some(Failed::Exists.to_string()));
                Ok(())
            }
            Err(failed) => {
                let why = match (&failed, wanted.scopes()) {
                    (Failed::Forbidden(_), scopes) if !scopes.is_empty() => {
                        format!("{failed} (it needs {})", scopes.join(" or "))
                    }
                    _ => failed.to_string(),
                };
                self.status(wanted, State::Failing, Some(why));
                self.note(failed.clone());
                Err(failed)
            }
        }
    }

    /// Whether one more would cost more than Twitch allows: then it is not asked for.
    fn too_dear(&self) -> Option<Failed> {
        let Cost { total, max } = self.report.cost;
        let dear = max > 0 && self.last_cost > 0 && total.saturating_add(self.last_cost) > max;
        dear.then(|| Failed::Full(format!("all together would cost more than {max}")))
    }

    /// After some failures nothing else would succeed.
    fn note(&mut self, failed: Failed) {
        match failed {
            Failed::Unreachable(_) | Failed::Token(_) => {
                self.report.failed = Some(failed.to_string());
                self.given_up = Some(failed);
            }
            Failed::Refused(_) | Failed::Forbidden(_) | Failed::Full(_) | Failed::Exists => {}
        }
    }

    fn is_there(&mut self, wanted: Wanted, existing: &Existing) {
        let (state, why) = match existing.standing() {
            Standing::Enabled => (State::Enabled, None),
            Standing::Pending => {
                (State::Pending, Some("Twitch waits for the answer to its challenge".to_owned()))
            }
            Standing::Dead => (State::Failing, Some(format!("Twitch says {}", existing.status))),
        };
        self.status(wanted, state, why);
        if let Some(status) = self.report.statuses.last_mut() {
            (status.id, status.cost) = (Some(existing.id.clone()), existing.cost);
            status.secret = self.order.place.version_of(existing).map(str::to_owned);
        }
    }

    /// What it is signed with, while anything comes of it.
    fn is_signed(&mut self, existing: &Existing) {
        if existing.standing() != Standing::Dead
            && let Some(version) = self.order.place.version_of(existing)
        {
            self.signed.insert(existing.id.clone(), version.to_owned());
        }
    }

    /// Until its successor is enabled, the one of the secret before tells the same.
    fn is_bridged(&mut self, wanted: &Wanted, existing: &Existing) {
        let found = self.report.statuses.iter_mut().find(|status| status.wanted == *wanted);
        let Some(status) = found else { return };
        status.is_new = false;
        if status.state == State::Enabled {
            return;
        }
        let why = status.why.take().unwrap_or_default();
        status.why = Some(format!("told with the secret before, while its successor waits: {why}"));
        (status.state, status.id) = (State::Enabled, Some(existing.id.clone()));
        status.secret = self.order.place.version_of(existing).map(str::to_owned);
    }

    fn status(&mut self, wanted: Wanted, state: State, why: Option<String>) {
        let at = Utc::now();
        self.report.statuses.push(Status {
            wanted,
            state,
            why,
            id: None,
            cost: 0,
            secret: None,
            at,
            is_new: false,
        });
    }
}
