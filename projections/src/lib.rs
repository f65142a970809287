//! What we know: tables folded from the journal, each can be dropped and rebuilt.
