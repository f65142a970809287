//! The parts together, on a real nats-server and a real PostgreSQL.

mod embedded;
mod eventsub;
mod journal;
mod journey;
mod processes;
mod projections;
mod tidy;
mod world;
