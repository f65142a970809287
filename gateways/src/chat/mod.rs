//! Chat: its lines to whoever shows them, and answers to what is asked in it. Goes out.
//!
//! Lines are no history. They are kept for an hour in the JetStream stream CHAT ([`lines`]), from which every process that
//! answers HTTP makes what is shown ([`hub`]): the last lines, and the next ones as they are said, without those that
//! were deleted. What is asked in a line becomes a command (see `twitch::chat`), and is answered by [`replies`].

pub mod frame;
pub mod hub;
pub mod lines;
pub mod replies;
pub mod websocket;

pub use frame::{Frame, Line, Part, Who};
pub use hub::Hub;
pub use lines::Lines;
