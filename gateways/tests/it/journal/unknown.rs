//! A connection that is lost at COMMIT: nobody is told whether it counts, and the cursor tells.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::world::pool;

/// What a commit of decisions says and no other transaction does.
const MARK: &[u8] = b"Cheer1";
/// As it is asked for, and as it is answered.
const COMMIT: &[u8] = b"COMMIT\0";

#[derive(Clone, Copy)]
enum Cut {
    /// It is not heard, and nothing counts.
    Asked,
    /// It is done, and nobody hears it.
    Answered,
}

/// How the connections end at the next commits.
type Cuts = Arc<Mutex<VecDeque<Option<Cut>>>>;

/// An address that leads to `server`.
async fn through(server: SocketAddr, cuts: Cuts) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(between(client, server, Arc::clone(&cuts)));
        }
    });
    address
}

/// Carries what is said until one of both leaves, or the connection is cut.
async fn between(mut client: TcpStream, server: SocketAddr, cuts: Cuts) -> io::Result<()> {
    let mut server = TcpStream::connect(server).await?;
    let (mut asked, mut answered) = (vec![0; 65_536], vec![0; 65_536]);
    let (mut is_marked, mut is_cut) = (false, false);
    loop {
        tokio::select! {
            count = client.read(&mut asked) => {
                let part = asked.get(..count?).unwrap_or_default();
                if part.is_empty() {
                    return Ok(());
                }
                is_marked |= has(part, MARK);
                if has(part, COMMIT) && std::mem::take(&mut is_marked) {
                    match cuts.lock().expect("no panic").pop_front().flatten() {
                        Some(Cut::Asked) => return Ok(()),
                        Some(Cut::Answered) => is_cut = true,
                        None => {}
                    }
                }
                server.write_all(part).await?;
            }
            count = server.read(&mut answered) => {
                let part = answered.get(..count?).unwrap_or_default();
                if part.is_empty() || (is_cut && has(part, COMMIT)) {
                    return Ok(());
                }
                client.write_all(part).await?;
            }
        }
    }
}

fn has(part: &[u8], words: &[u8]) -> bool {
    part.windows(words.len()).any(|window| window == words)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_which_nobody_hears_whether_it_counts_counts_once() {
    let world = World::start().await;
    let mut url = reqwest::Url::parse(&world.servers.database_url).expect("a URL");
    let server = SocketAddr::from(([127, 0, 0, 1], url.port().expect("a port")));
    let ends = [Some(Cut::Answered), None, Some(Cut::Asked), Some(Cut::Asked), None]
        .into_iter()
        .chain([Some(Cut::Answered), Some(Cut::Answered), Some(Cut::Asked)]);
    let cuts = Cuts::new(Mutex::new(ends.collect()));
    let by_way = through(server, Arc::clone(&cuts)).await;
    url.set_port(Some(by_way.port())).expect("a port");
    let mut processor = Parts::new(pool(url.as_str()).await, broker(&world.servers));
    processor.processor();
    let mut others = world.parts();
    others.relay();
    others.follower();

    let publisher = world.publisher().await;
    let mut sent = 0;
    while !cuts.lock().expect("no panic").is_empty() {
        sent += 1;
        publisher.send(&cheer("5001", &format!("m{sent}"), 1)).await.expect("stored");
        until("it is decided", async || world.head().await >= sent).await;
    }
    assert_eq!(sent, 6, "what counts is not decided again");
    let outcomes = "SELECT count(*) FROM command_outcomes";
    assert_eq!((world.head().await, world.count(outcomes).await), (sent, sent));
    assert_eq!(world.available("5001").await, sent);
    world.relayed().await;
    processor.stop().await;
    others.stop().await;
}
