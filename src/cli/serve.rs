//! `exeat serve`: the proxy itself.

use std::process::ExitCode;

use clap::Args;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use crate::cli::doors::DoorArgs;
use crate::cli::policy::PolicyArgs;
use crate::cli::{FAILED, not_started, refuse, started};
use crate::config::Settings;
use crate::mistake::Mistake;
use crate::policy::document::Sources;
use crate::server::{Server, Signal};

/// Run the proxy
///
/// Listens on 127.0.0.1:3128 for clients and on 127.0.0.1:3130 for metrics and health, unless the settings
/// or flags say otherwise. Records go to stdout, diagnostics to stderr. SIGHUP reloads the policy and
/// certificates, SIGTERM waits for open flows and stops.
#[derive(Args, Clone, Debug)]
#[command(
    after_help = "Example:\n  exeat serve --allow '*.example.com'\n  HTTPS_PROXY=http://127.0.0.1:3128 curl https://www.example.com/"
)]
pub(super) struct ServeArgs {
    #[command(flatten)]
    policy: PolicyArgs,
    #[command(flatten)]
    doors: DoorArgs,
}

/// Runs the command.
pub(super) fn run(args: ServeArgs) -> ExitCode {
    let settings = match settings(&args) {
        Ok(settings) => settings,
        Err(mistakes) => return refuse(&mistakes),
    };
    let sources = args.policy.sources(&settings);
    if sources.is_built_in() {
        tracing::info!("no policy is given: the built-in one allows package registries and source forges");
    }
    // For all that is not a flow: signals, reloads, the admin door. The server has workers for the flows.
    let runtime = match Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!("the event loop can't start: {error}");
            return ExitCode::from(FAILED);
        }
    };
    let code = runtime.block_on(serve(settings, sources));
    // A policy that is being loaded, from a dead file system perhaps, must not hold up the end.
    runtime.shutdown_background();
    code
}

async fn serve(settings: Settings, sources: Sources) -> ExitCode {
    let signals = match signals() {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!("can't listen for signals: {error}");
            return ExitCode::from(FAILED);
        }
    };
    let server = match Server::new(&settings, sources) {
        Ok(server) => server,
        Err(error) => return not_started(&error, |why| tracing::error!("{why}")),
    };
    for (address, tls) in server.explicit_addresses().into_iter().zip(server.explicit_tls()) {
        tracing::info!("clients connect to {}://{address}", if tls { "https" } else { "http" });
    }
    for address in server.transparent_addresses() {
        tracing::info!("redirected connections come to {address}");
    }
    for address in server.dns_addresses() {
        tracing::info!("DNS questions are answered at {address}");
    }
    if let Some(address) = server.admin_address() {
        tracing::info!("metrics and health are at http://{address}");
    }
    // Every door is bound: what systemd starts after this finds them open.
    if let Err(error) = started::tell() {
        tracing::warn!("systemd can't be told that exeat has started: {error}");
    }
    server.run(signals).await;
    tracing::info!("stopped");
    ExitCode::SUCCESS
}

/// The settings of the file, or the defaults, and what the flags say over them.
fn settings(args: &ServeArgs) -> Result<Settings, Vec<Mistake>> {
    let mut settings = args.policy.settings(Settings::default())?;
    args.doors.over(&mut settings.listen);
    match &args.policy.config {
        Some(file) => settings.no_door(file).map_or(Ok(settings), |mistake| Err(vec![mistake])),
        None => Ok(settings),
    }
}

/// What the operating system tells the process, as the server understands it.
fn signals() -> std::io::Result<mpsc::Receiver<Signal>> {
    let mut hangup = signal(SignalKind::hangup())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let (sender, receiver) = mpsc::channel(4);
    tokio::spawn(async move {
        loop {
            let signal = tokio::select! {
                _ = hangup.recv() => Signal::Reload,
                _ = terminate.recv() => Signal::Stop,
                _ = interrupt.recv() => Signal::Stop,
            };
            if sender.send(signal).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}
