//! A load generator and the origin it talks to, for measuring a proxy from outside.
//!
//! `cargo bench --bench load -- help` prints the commands. Everything runs on loopback and is bounded in
//! count or time. `scripts/measure.sh` puts the proxy, and this, on cores of their own.

#![allow(clippy::print_stdout, reason = "what it measures is printed")]

mod client;
mod origin;
mod wire;

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

const PORTS: u16 = 16;

#[derive(Parser)]
#[command(about = "Load for a proxy, and an origin behind it")]
struct Cli {
    /// Given by `cargo bench`; of no use here
    #[arg(long, hide = true)]
    bench: bool,
    #[command(subcommand)]
    command: Command,
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
    /// Open tunnels as fast as they come: CONNECT, ClientHello, ServerHello, close
    Tunnels(Load),
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
    /// Hold tunnels open and do nothing
    Idle {
        #[command(flatten)]
        load: Load,
        /// Move 64 KiB through each first
        #[arg(long)]
        touch: bool,
    },
}

/// What every kind of load needs.
#[derive(Args, Clone)]
struct Load {
    /// The proxy; left out, the origin itself is spoken to
    #[arg(long)]
    proxy: Option<SocketAddr>,
    /// The origin's address, for loads without a proxy
    #[arg(long, default_value = "127.0.0.1:9443")]
    origin: SocketAddr,
    /// The destination, as the proxy is asked for it
    #[arg(long, default_value = "origin.example")]
    to: String,
    /// Go round this many ports of the origin: each pair of addresses and ports is out of use for a minute
    /// after its connection (RFC 9293 §3.4.2), and the search for a free one would be what is measured
    #[arg(long, default_value_t = PORTS)]
    ports: u16,
    #[arg(long, short, default_value_t = 64)]
    concurrency: usize,
    #[arg(long, value_parser = seconds, default_value = "3")]
    seconds: Duration,
}

fn seconds(text: &str) -> Result<Duration, std::num::ParseFloatError> {
    text.parse().map(Duration::from_secs_f64)
}

fn main() -> std::io::Result<()> {
    let cli = Cli::parse();
    // One thread: what it measures shares a machine with it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match cli.command {
            Command::Origin { listen, ports } => origin::serve(listen, ports).await,
            Command::Tunnels(load) => client::tunnels(load).await,
            Command::Bulk { load, upload } => client::bulk(load, upload).await,
            Command::Echo { load, size } => client::echo(load, size).await,
            Command::Http { load, hosts } => client::http(load, hosts).await,
            Command::Idle { load, touch } => client::idle(load, touch).await,
        }
    })
}
