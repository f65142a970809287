use clap::Parser;
use gateways::cli::{guard::Guard, up::Up};

/// The event-sourced backend of a live Twitch channel
#[derive(Parser)]
#[command(name = "tapedeck", version)]
enum Tapedeck {
    /// Run everything on this machine: private servers, API and overlay
    Up(Up),
    #[command(hide = true)]
    Guard(Guard),
}

#[tokio::main]
async fn main() -> anyhow::Result<std::process::ExitCode> {
    match Tapedeck::parse() {
        Tapedeck::Up(up) => up.run().await,
        Tapedeck::Guard(guard) => guard.run().await,
    }
}
