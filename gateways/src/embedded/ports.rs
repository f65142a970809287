//! Ports for servers that come back where they were: free ones, below those that the system gives to outgoing connections.
//!
//! Whoever tries again and again to reach a server that is away, at a port of those, is given that very port sooner or later,
//! is connected with itself, and keeps the server from coming back.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

use rand::Rng;
use serde::{Deserialize, Serialize};

/// Above those that need rights and most that have a name; Linux gives connections 32768 and above, others 49152 and above.
const FIRST: u16 = 20_000;
const END: u16 = 32_768;
const ATTEMPTS: u32 = 64;

/// Where the private servers listen, on loopback.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ports {
    pub nats: u16,
    pub postgres: u16,
}

/// Holds a free port of the loopback address until dropped.
pub fn free() -> io::Result<TcpListener> {
    let mut random = rand::rng();
    let below = (0..ATTEMPTS).find_map(|_| hold(random.random_range(FIRST..END)).ok());
    below.map_or_else(|| hold(0), Ok)
}

/// Holds this port, where it is free.
pub fn hold(port: u16) -> io::Result<TcpListener> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_outgoing_connection_is_given_a_port_of_ours() {
        let held: Vec<TcpListener> = (0..4).map(|_| free().expect("a free port")).collect();
        for listener in held {
            let port = listener.local_addr().expect("bound").port();
            assert!((FIRST..END).contains(&port), "{port}");
            assert!(hold(port).is_err(), "it is held");
        }
    }
}
