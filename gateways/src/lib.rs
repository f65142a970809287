//! How the world reaches us and how we reach the world.

pub mod cli;
pub mod embedded;
pub mod twitch;
