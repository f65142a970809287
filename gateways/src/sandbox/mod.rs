//! Systems outside, imitated on loopback: what tests use, what a newcomer plays with, and what a streamer rehearses on. Each
//! speaks the real protocol, and the vendors' own clients take it for the real one.

pub mod act;
pub mod control;
pub mod discord;
pub mod eventsub;
pub mod irc;
pub mod lists;
pub mod openai;
mod outside;
mod playing;
mod server;
pub mod twitch;

use std::sync::{Mutex, MutexGuard, PoisonError};

use axum::http::StatusCode;

pub use outside::{Outside, Played};
pub use server::Server;

/// How much is kept of what was asked and said; what is older is forgotten.
const KEPT_MAX: usize = 100_000;
/// How much may wait for one connection that does not read.
const QUEUE_MAX: usize = 65_536;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn keep<T>(all: &mut Vec<T>, one: T) {
    if all.len() >= KEPT_MAX {
        all.drain(..KEPT_MAX / 2);
    }
    all.push(one);
}

/// A status that was told to be answered with; 500 for what is none.
fn status(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
