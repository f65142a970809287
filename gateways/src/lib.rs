//! How the world reaches us and how we reach the world.

pub mod audit;
pub mod chat;
pub mod cli;
pub mod config;
pub mod embedded;
pub mod expiry;
pub mod feed;
pub mod generation;
pub mod golden_vcr;
pub mod grants;
pub mod http;
pub mod key_file;
mod leading;
pub mod login;
pub mod observe;
pub mod openai;
pub mod outgoing;
pub mod overlay;
pub mod pictures;
pub mod processes;
pub mod sandbox;
pub mod sealing;
pub mod signing;
pub mod simulate;
pub mod stage;
pub mod tapes;
pub mod twitch;
