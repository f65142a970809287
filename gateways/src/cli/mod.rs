//! A person at a terminal.

pub mod guard;
pub mod up;
