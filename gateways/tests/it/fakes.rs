//! Systems outside that only tests need, and the clients of others that take what is in `gateways::sandbox` for the real thing.

pub mod browser;
pub mod helix;
pub mod lines;
pub mod points;
pub mod s3;
pub mod vendors;
