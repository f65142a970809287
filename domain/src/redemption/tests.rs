//! Whole requests, with both aggregates and the process between them, in memory.

use std::collections::{BTreeMap, VecDeque};
use std::task::{Context, Poll, Waker};

use cqrs_es::Aggregate;
use cqrs_es::event_sink::EventSink;

use super::*;
use crate::account::Account;
use crate::chat_request::Wish;
use crate::generation::{Generation, Picture, Stage};
use crate::identity::NAMESPACE;

const VIEWER: &str = "5001";

/// Both aggregates, and what still has to reach them.
#[derive(Default)]
struct World {
    account: Account,
    generations: BTreeMap<Uuid, Generation>,
    decided: BTreeMap<Uuid, ()>,
    next: VecDeque<Next>,
    events: u32,
    /// Every event is handed to the process this many times.
    deliveries: usize,
}

impl World {
    fn new(deliveries: usize) -> Self {
        World { deliveries, ..World::default() }
    }

    /// Decides `next` as the journal does: a known command id changes nothing.
    fn decide(&mut self, next: Next) {
        let id = match &next {
            Next::Account { command, .. } => crate::Identified::entry(command),
            Next::Generation { command, .. } => crate::Identified::entry(command),
        };
        if self.decided.insert(id, ()).is_some() {
            return;
        }
        match next {
            Next::Account { command, .. } => {
                for event in decide(&mut self.account, command) {
                    let cause = self.cause();
                    for _ in 0..self.deliveries {
                        let prices = Prices::default();
                        self.next.extend(after_account(VIEWER, &event, cause, tonight(), &prices));
                    }
                }
            }
            Next::Generation { request, command } => {
                let generation = self.generations.entry(request).or_default();
                for event in decide(generation, command) {
                    let cause = self.cause();
                    for _ in 0..self.deliveries {
                        self.next.extend(after_generation(request, &event, cause));
                    }
                }
            }
        }
    }

    fn settle_down(&mut self) {
        while let Some(next) = self.next.pop_front() {
            self.decide(next);
            assert!(self.account.balanced());
        }
    }

    fn cheer(&mut self, bits: i64, message: &str) {
        let facts = Facts::Cheer { bits, message: message.to_owned() };
        let entry = self.cause();
        let command = account::Command::Credit { entry, points: bits, rules: 1, facts };
        self.decide(Next::Account { viewer: VIEWER.to_owned(), command });
        self.settle_down();
    }

    fn tell(&mut self, request: Uuid, command: generation::Command) {
        self.decide(Next::Generation { request, command });
        self.settle_down();
    }

    fn only(&self) -> (Uuid, &Generation) {
        assert_eq!(self.generations.len(), 1);
        self.generations.iter().map(|(id, generation)| (*id, generation)).next().expect("one")
    }

    fn cause(&mut self) -> Uuid {
        self.events += 1;
        derived_id(NAMESPACE, self.events)
    }
}

fn decide<A: Aggregate<Services = ()>>(aggregate: &mut A, command: A::Command) -> Vec<A::Event> {
    let mut handled = std::pin::pin!(async {
        let sink = EventSink::default();
        match aggregate.handle(command, &(), &sink).await {
            Ok(()) => sink.collect().await,
            Err(_) => Vec::new(),
        }
    });
    // Our aggregates wait for nothing.
    match handled.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(events) => events,
        Poll::Pending => panic!("an aggregate waited"),
    }
}

fn tonight() -> DateTime<Utc> {
    DateTime::from_timestamp(1_750_000_000, 0).expect("a time")
}

fn picture() -> Picture {
    Picture {
        content: "ab".repeat(32),
        media_type: "image/png".to_owned(),
        background: "#000000".to_owned(),
        name: None,
        cost_micros: 0,
    }
}

#[test]
fn a_cheer_that_asks_is_credited_held_and_captured_once() {
    for deliveries in 1..=3 {
        let mut world = World::new(deliveries);
        world.cheer(250, "Cheer250 ghost of a toaster");
        let (request, generation) = world.only();
        assert_eq!(generation.stage, Stage::Funded);
        assert_eq!(generation.wish, Some(Wish::Ghost { subject: "a toaster".to_owned() }));
        assert_eq!((world.account.available, world.account.held), (50, 200));
        let complete = generation::Command::Complete { entry: world.cause(), picture: picture() };
        world.tell(request, complete);
        assert_eq!(world.only().1.stage, Stage::Settled);
        assert_eq!((world.account.available, world.account.captured), (50, 200));
    }
}

#[test]
fn a_refused_request_gives_the_points_back() {
    let mut world = World::new(2);
    world.cheer(200, "ghost of a toaster Cheer200");
    let request = world.only().0;
    let (code, reason) = ("policy".to_owned(), "the provider refuses it".to_owned());
    let refuse = generation::Command::Refuse { entry: world.cause(), code, reason };
    world.tell(request, refuse);
    assert_eq!(world.only().1.stage, Stage::Settled);
    assert_eq!((world.account.available, world.account.captured), (200, 0));
}

#[test]
fn what_is_ready_made_is_captured_without_anybody_making_it() {
    for deliveries in 1..=3 {
        let mut world = World::new(deliveries);
        world.cheer(300, "Cheer300 tracking error");
        let (_, generation) = world.only();
        assert_eq!(generation.stage, Stage::Settled);
        assert_eq!((world.account.available, world.account.captured), (0, 300));
    }
}

#[test]
fn w24_a_cheer_that_asks_unclearly_is_credited_and_answered() {
    for (bits, message) in
        [(100, "Cheer100 ghost of a toaster"), (200, "!ghost Cheer200"), (500, "Cheer500 ghost of")]
    {
        let mut world = World::new(2);
        world.cheer(bits, message);
        assert_eq!(world.only().1.stage, Stage::TurnedDown, "{message}");
        assert_eq!((world.account.available, world.account.held), (bits, 0), "{message}");
    }
}

#[test]
fn too_few_points_decline_the_request() {
    let mut world = World::new(2);
    world.cheer(200, "Cheer200 ghost of a toaster");
    let entry = world.cause();
    let second = generation::Command::Submit {
        entry,
        viewer: VIEWER.to_owned(),
        wish: Wish::Ghost { subject: "a spoon".to_owned() },
        price: 200,
        prices: 1,
        at: tonight(),
        retry_of: None,
        state: None,
    };
    let request = request_id(entry);
    world.tell(request, second);
    assert_eq!(world.generations[&request].stage, Stage::Declined);
    assert_eq!((world.account.available, world.account.held), (0, 200));
}

#[test]
fn a_cancellation_at_any_moment_gives_the_points_back() {
    for wait in 0..6 {
        let mut world = World::new(2);
        let facts = Facts::Cheer { bits: 200, message: "ghost of a toaster Cheer200".to_owned() };
        let entry = world.cause();
        let command = account::Command::Credit { entry, points: 200, rules: 1, facts };
        world.decide(Next::Account { viewer: VIEWER.to_owned(), command });
        for _ in 0..wait {
            if let Some(next) = world.next.pop_front() {
                world.decide(next);
            }
        }
        let Some(request) = world.generations.keys().next().copied() else { continue };
        let (actor, reason) = ("mod_jane".to_owned(), "not tonight".to_owned());
        let cancel = generation::Command::Cancel { entry: world.cause(), actor, reason };
        world.tell(request, cancel);
        assert_eq!((world.account.available, world.account.held), (200, 0), "after {wait}");
        assert!(world.generations[&request].stage.ended(), "after {wait}");
    }
}

#[test]
fn an_ordinary_cheer_and_an_anonymous_hold_ask_for_nothing() {
    let mut world = World::new(1);
    world.cheer(500, "hello friends how are you Cheer500");
    assert!(world.generations.is_empty());
    let (purpose, expires_at) = ("a raffle".to_owned(), tonight());
    let entry = world.cause();
    let hold = account::Command::Hold { entry, points: 10, purpose, expires_at };
    world.decide(Next::Account { viewer: VIEWER.to_owned(), command: hold });
    assert!(world.next.is_empty());
}
