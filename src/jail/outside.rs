//! The outside's part: starts the stage, gives the namespaces their identities, and gets the doors' sockets back.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::process::geteuid;

use crate::file::{self, ReadError};
use crate::jail::channel::{Channel, Layout, News, Order, Standing};
use crate::jail::doors::{PORTS_MAX, take, workers};
use crate::jail::fault::{Fault, Step};
use crate::jail::redirect::Redirect;
use crate::jail::remains::Remains;
use crate::jail::running::Running;
use crate::jail::stage::{SELF, STAGE};
use crate::jail::{identities, streams};
use crate::resolve::{RESOLV_CONF, RESOLV_CONF_MAX};
use crate::server::Doors;

/// What is to run in the jail.
#[derive(Clone, Debug)]
pub struct Plan {
    pub command: Vec<OsString>,
    /// What the command's environment has beside the caller's.
    pub environment: Vec<(&'static str, String)>,
    /// Variables of the caller's that the command does not get: they are exeat's secrets.
    pub withheld: Vec<String>,
    /// Paths that are inside what they are outside, although they lie where everything is masked. Absolute, and without
    /// links.
    pub share: Vec<PathBuf>,
    /// Where records are appended, which the command must not change.
    pub records: Option<PathBuf>,
    /// Ports that the policy lists: where nothing can redirect, the jail listens on these.
    pub ports: Vec<u16>,
    /// Threads that serve its doors; `None`: one for each core.
    pub threads: Option<usize>,
}

/// A jail that stands, with nothing in it yet. If it is dropped, it is taken down.
#[derive(Debug)]
pub struct Built {
    channel: Channel,
    remains: Remains,
    pub redirect: Redirect,
    /// What does not work in it.
    pub warnings: Vec<String>,
}

impl Built {
    /// Builds it, and opens its doors. Call it before there are threads that start programs.
    pub fn new(plan: &Plan) -> Result<(Self, Doors), Fault> {
        streams::look()?;
        let failed = |error: io::Error| Fault::new(Step::Namespaces, error);
        let (channel, theirs) = Channel::pair().map_err(failed)?;
        let mut stage = Command::new(SELF);
        stage.arg0("exeat").args([STAGE, "--"]).args(&plan.command).stdin(Stdio::from(theirs));
        for name in &plan.withheld {
            stage.env_remove(name);
        }
        stage.envs(plan.environment.iter().map(|(key, value)| (key, value)));
        let mut remains = Remains::start(|| stage.spawn()).map_err(failed)?;
        // It holds the other end of the channel.
        drop(stage);
        match follow(&channel, &mut remains, plan) {
            Ok((Standing { redirect, warnings, .. }, doors)) => {
                Ok((Self { channel, remains, redirect, warnings }, doors))
            }
            Err(fault) => {
                drop(channel);
                remains.bury();
                Err(fault)
            }
        }
    }

    /// Starts the command.
    pub fn begin(self) -> Result<Running, Fault> {
        let Self { channel, remains, .. } = self;
        channel.send(&Order::Begin, &[]).map_err(|error| Fault::new(Step::Channel, error))?;
        match news(&channel) {
            Ok(_) => Ok(Running::new(channel, remains)),
            Err(fault) => {
                drop(channel);
                remains.bury();
                Err(fault)
            }
        }
    }
}

/// Sees the jail through until it stands.
fn follow(channel: &Channel, remains: &mut Remains, plan: &Plan) -> Result<(Standing, Doors), Fault> {
    let lost = |error: io::Error| Fault::new(Step::Channel, error);
    let (News::Unshared, _) = news(channel)? else { return Err(Fault::gone()) };
    identities::bring(remains.number()).map_err(Fault::at(Step::Namespaces, "users and groups"))?;
    channel.send(&Order::Identified, &[]).map_err(lost)?;
    let (News::First(number), _) = news(channel)? else { return Err(Fault::gone()) };
    remains.inherit(number).map_err(lost)?;
    let unix_sockets = File::open("/proc/net/unix").map_err(lost)?;
    let stdin = io::stdin();
    channel.send(&Order::LayOut(layout(plan)), &[stdin.as_fd(), unix_sockets.as_fd()]).map_err(lost)?;
    let (News::Standing(mut standing), descriptors) = news(channel)? else { return Err(Fault::gone()) };
    let doors = take(&standing, descriptors, workers(plan.threads)).ok_or_else(Fault::gone)?;
    if standing.redirect == Redirect::Nothing && plan.ports.len() > PORTS_MAX {
        standing.warnings.push(format!(
            "without nft or iptables only the first {PORTS_MAX} of the policy's ports are open"
        ));
    }
    Ok((standing, doors))
}

fn news(channel: &Channel) -> Result<(News, Vec<std::os::fd::OwnedFd>), Fault> {
    match channel.receive().map_err(|error| Fault::new(Step::Channel, error))? {
        Some((News::Failed(fault), _)) => Err(fault),
        Some(news) => Ok(news),
        None => Err(Fault::gone()),
    }
}

/// The place of a named pipe or a regular file, which is made if there is nothing yet: only over something can another
/// thing lie. A terminal or another device is whoever's at its other end.
fn of_records(path: &Path) -> Option<PathBuf> {
    let found = fs::metadata(path).map(|found| found.file_type());
    // To open a pipe may wait.
    if !found.as_ref().is_ok_and(FileTypeExt::is_fifo) {
        if found.is_ok_and(|found| !found.is_file()) {
            return None;
        }
        // Whoever opens it to write finds out, and tells, why it can't be.
        fs::File::options().append(true).create(true).open(path).ok()?;
    }
    fs::canonicalize(path).ok()
}

/// Sockets of the system and of this user's programs stand below `/run`, by whatever name it goes.
fn layout(plan: &Plan) -> Layout {
    let mut empty = Vec::new();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    for place in ["/run", "/var/run"].map(PathBuf::from).into_iter().chain(runtime) {
        // A link leads to what is masked already; what is not there needs no mask.
        let Ok(real) = fs::canonicalize(place) else { continue };
        if !empty.contains(&real) && real != Path::new("/") {
            empty.push(real);
        }
    }
    let resolv_conf = Path::new(RESOLV_CONF);
    let resolv_conf = file::read(resolv_conf, RESOLV_CONF_MAX).unwrap_or_else(|error| {
        let is_missing = matches!(&error, ReadError::Io(error) if error.kind() == io::ErrorKind::NotFound);
        if !is_missing {
            tracing::warn!("{}: {error}; the command has no search domains", resolv_conf.display());
        }
        String::new()
    });
    let kept = resolv_conf.lines().filter(|line| {
        let key = line.split_whitespace().next();
        matches!(key, Some("search" | "domain" | "options"))
    });
    Layout {
        empty,
        share: plan.share.clone(),
        masked: plan.records.as_deref().and_then(of_records).into_iter().collect(),
        resolv_conf: kept.map(|line| format!("{line}\n")).collect(),
        ports: plan.ports.iter().copied().take(PORTS_MAX).collect(),
        workers: workers(plan.threads),
        owns_sys: geteuid().is_root(),
    }
}
