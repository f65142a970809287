//! The binary `tapedeck`: a person at a terminal is one more outside system.

use std::process::ExitCode;

#[tokio::main]
async fn main() -> ExitCode {
    gateways::cli::main().await
}
