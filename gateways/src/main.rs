//! The binary `tapedeck`: a person at a terminal is one more outside system.

use std::process::ExitCode;

fn main() -> ExitCode {
    gateways::cli::main()
}
