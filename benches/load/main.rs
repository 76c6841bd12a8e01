//! A load generator, the origin it talks to, and relays without a policy, for measuring a proxy from outside.
//!
//! `cargo bench --bench load -- help` prints the commands. Everything runs on loopback and is bounded in
//! count or time. Each load prints what it saw as a readable line and as JSON. `benches/peers` puts the proxy,
//! and this, on cores of their own.

#![allow(clippy::print_stdout, reason = "what it measures is printed")]

pub(crate) mod loads;

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, Subcommand};
use exeat::sys::raise_file_limit;

use self::loads::{Load, PORTS, bare, bulk, dns, echo, http, idle, origin, overload, tunnels};

#[derive(Parser)]
#[command(about = "Load for a proxy, and an origin behind it")]
struct Cli {
    /// Given by `cargo bench`; of no use here
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Serve as the origin until killed
    Origin {
        #[arg(long, default_value = "127.0.0.1:9443")]
        listen: SocketAddr,
        /// On this many ports from there on
        #[arg(long, default_value_t = PORTS)]
        ports: u16,
    },
    /// Relay to the origin without a look at anything, until killed: what a proxy could reach at best
    Bare(bare::Bare),
    /// Open tunnels as fast as they come: connect, ClientHello, ServerHello, close
    Tunnels(Load),
    /// Open tunnels at a given rate, whatever becomes of them
    Overload {
        #[command(flatten)]
        load: Load,
        /// Tunnels a second
        #[arg(long)]
        rate: f64,
        /// How long one may take before it is given up
        #[arg(long, value_parser = loads::seconds, default_value = "10")]
        patience: Duration,
    },
    /// Move bytes from the origin through each of some tunnels
    Bulk {
        #[command(flatten)]
        load: Load,
        /// Send them to the origin instead
        #[arg(long)]
        upload: bool,
    },
    /// Send a small message and wait for its echo, in each of some tunnels
    Echo {
        #[command(flatten)]
        load: Load,
        #[arg(long, default_value_t = 1024)]
        size: usize,
    },
    /// Send plain requests on kept connections
    Http {
        #[command(flatten)]
        load: Load,
        /// Go round this many hosts: the destination's name with 0-, 1-, … before it
        #[arg(long, default_value_t = 1)]
        hosts: usize,
    },
    /// Hold tunnels open and do nothing: for each line of its input, move 64 KiB through each of them
    Idle(Load),
    /// Ask a DNS server for the destination's address, from many addresses
    Dns {
        #[command(flatten)]
        load: Load,
        #[arg(long)]
        server: SocketAddr,
    },
}

fn main() -> std::io::Result<()> {
    // `cargo test --benches` runs this too, and wants to know only that it builds.
    let Some(command) = Cli::parse().command else { return Ok(()) };
    raise_file_limit();
    // One thread: what it measures shares a machine with it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let report = runtime.block_on(async {
        match command {
            Command::Origin { listen, ports } => {
                origin::serve(origin::bind(listen, ports)?).await;
                Ok(None)
            }
            Command::Bare(bare) => bare.serve().await.map(|()| None),
            Command::Idle(load) => {
                idle::run(load, tokio::io::stdin(), |report| println!("{report}")).await.map(|()| None)
            }
            Command::Tunnels(load) => tunnels::run(load).await.map(Some),
            Command::Overload { load, rate, patience } => overload::run(load, rate, patience).await.map(Some),
            Command::Bulk { load, upload } => bulk::run(load, upload).await.map(Some),
            Command::Echo { load, size } => echo::run(load, size).await.map(Some),
            Command::Http { load, hosts } => http::run(load, hosts).await.map(Some),
            Command::Dns { load, server } => dns::run(load, server).await.map(Some),
        }
    })?;
    if let Some(report) = report {
        println!("{report}");
    }
    Ok(())
}
