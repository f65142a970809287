//! Tapedeck beside stock cqrs-es and postgres-es: the same work, the same machine, the same PostgreSQL, one run.
//!
//! `make bench` prints a table and a bar chart and writes `docs/bench/`. `make bench ARGS=--help` lists what may be
//! chosen. Everything is private, on loopback, and gone afterwards.

mod engine;
mod figures;
mod ground;
mod measure;
mod parts;
mod plot;
mod replay;
mod stages;
mod stock;
mod throughput;
mod web;
mod work;

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use gateways::embedded::Servers;

use crate::figures::Report;
use crate::ground::Ground;
use crate::parts::{Part, Scale};

/// As in the binary; stock has it too.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Measure Tapedeck beside stock cqrs-es 0.5 and postgres-es 0.5
#[derive(Parser)]
#[command(name = "make bench ARGS=…", after_help = "Progress goes to stderr.")]
struct Arguments {
    /// Much smaller counts: shows in a minute or two that everything works, and proves nothing
    #[arg(long)]
    quick: bool,
    /// Only these parts
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
    /// Print the figures as JSON instead of the table
    #[arg(long)]
    json: bool,
    /// How many events of history there are for the audit and the rebuild
    #[arg(long)]
    events: Option<u64>,
    /// How many of Tapedeck's commands wait for their acknowledgement at any time
    #[arg(long)]
    in_flight: Option<u64>,
    /// Where bench.md, bench.json and bench.svg are written; nothing is written by a quick or partial run without it
    #[arg(long)]
    out: Option<PathBuf>,
    /// Keep the servers' data in this folder, so that a later run finds the history already there
    #[arg(long)]
    data: Option<PathBuf>,
    /// What `cargo bench` says to every bench target
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    raise_file_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(run(arguments))
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let log = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("error"));
    tracing_subscriber::fmt().with_env_filter(log).with_writer(std::io::stderr).init();
    let scale = Scale::new(arguments.quick, arguments.events, arguments.in_flight);
    let whole = arguments.only.is_empty();
    let wanted = if whole { Part::all() } else { arguments.only.clone() };
    let servers = Servers::start(ground::options(arguments.data.clone())?).await?;
    let ground = Ground::prepare(servers).await?;
    let mut report = Report::new(&scale, &ground).await?;
    let measured = parts::run(&ground, &scale, &wanted, &mut report).await;
    ground.stop().await.context("stopping the private servers")?;
    measured?;
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{}", report.text());
    }
    let folder = match arguments.out {
        Some(folder) => folder,
        None if whole && !arguments.quick => repository().join("docs/bench"),
        None => return Ok(()),
    };
    report.write(&folder).with_context(|| format!("writing {}", folder.display()))?;
    eprintln!("written: {}/bench.md, bench.json, bench.svg", folder.display());
    Ok(())
}

/// A thousand readers of the feed, and what serves them, need more files than many shells allow.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        eprintln!("bench: the limit of open files stays at {:?}: {error}", limit.current);
    }
}

fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}
