//! What we know, against what happened: every projection and every query of it, on the real follower and PostgreSQL.

mod night;
mod poison;
mod queries;
mod rebuilds;
