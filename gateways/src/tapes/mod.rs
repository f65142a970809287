//! The catalogue of tapes as people have it: a list in a file, with pictures beside it. Comes in.
//!
//! [`list`] reads CSV or JSON into cards, [`thumbnails`] looks at the pictures that it names, and [`import`] sends what is
//! new. Every line is understood, and every picture looked at, before anything is sent.

pub mod import;
pub mod list;
pub mod thumbnails;

#[cfg(test)]
mod tests;
