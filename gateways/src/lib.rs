//! How the world reaches us and how we reach the world.
