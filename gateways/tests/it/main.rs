//! The parts together, on a real nats-server and a real PostgreSQL.

mod audit;
mod chain;
mod chat;
mod cli;
mod embedded;
mod eventsub;
mod fakes;
mod feed;
mod generation;
mod golden_vcr;
mod http;
mod journal;
mod journey;
mod ledger;
mod openai;
mod pictures;
mod process_engine;
mod processes;
mod projections;
mod reader;
mod redemption;
mod stage;
mod tapes;
mod tidy;
mod traces;
mod world;
