//! What happened: the append, the position, the relay, and following them.
