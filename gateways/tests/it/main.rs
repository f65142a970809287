//! The parts together, on a real nats-server and a real PostgreSQL.

mod audit;
mod cli;
mod embedded;
mod eventsub;
mod fakes;
mod feed;
mod generation;
mod http;
mod journal;
mod journey;
mod ledger;
mod login;
mod openai;
mod process_engine;
mod processes;
mod projections;
mod reader;
mod redemption;
mod tidy;
mod traces;
mod world;
