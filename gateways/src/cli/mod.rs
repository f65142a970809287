//! A person at a terminal.

pub mod guard;
pub mod simulate;
pub mod up;
