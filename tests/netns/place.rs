//! One namespace: commands and threads in it.

use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// A network namespace, by its name.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    pub(crate) name: String,
    /// What its programs find as `/etc/resolv.conf`.
    pub(crate) resolv_conf: PathBuf,
}

/// Who runs a command there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum As {
    Root,
    /// A program of the instance.
    Program,
    /// The user of exeat.
    Exeat,
    /// The same, who may take connections to foreign addresses.
    Taker,
}

impl As {
    pub(crate) fn id(self) -> u32 {
        match self {
            Self::Root => 0,
            Self::Program => 61_001,
            Self::Exeat | Self::Taker => 61_002,
        }
    }
}

impl Place {
    /// A new one, with its loopback.
    pub(crate) fn new(world: u32, what: &str, resolv_conf: &Path) -> Self {
        let name = format!("exeat-{}-{world}-{what}", std::process::id());
        let made = Command::new("ip").args(["netns", "add", &name]).output().unwrap();
        assert!(made.status.success(), "{name}: {}", String::from_utf8_lossy(&made.stderr));
        let place = Self { name, resolv_conf: resolv_conf.to_owned() };
        place.must("sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0");
        place.must("ip link set lo up");
        place
    }

    pub(crate) fn command(&self, who: As, words: &[&str]) -> Command {
        let id = who.id().to_string();
        let mut command = Command::new("ip");
        // `ip netns exec` gives the command mounts of its own.
        let as_user = "mount --bind \"$0\" /etc/resolv.conf && id=$1 && shift && \
                       exec setpriv --reuid $id --regid $id --clear-groups \"$@\"";
        command.args(["netns", "exec", &self.name, "sh", "-c", as_user]).arg(&self.resolv_conf).arg(id);
        if who == As::Taker {
            command.args(["--inh-caps", "+net_admin", "--ambient-caps", "+net_admin"]);
        }
        command.args(words);
        command.env("LC_ALL", "C");
        command
    }

    /// Runs a command to its end, with a text on its standard input; never for longer than a minute.
    pub(crate) fn run(&self, who: As, words: &[&str], input: &str) -> Ran {
        let mut command = self.command(who, &[&["timeout", "60"], words].concat());
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // Who does not read gets nothing; that is not the test's concern.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        Ran::new(words, child.wait_with_output().unwrap())
    }

    /// The same as root, for what has to succeed.
    pub(crate) fn must(&self, line: &str) -> String {
        let words: Vec<&str> = line.split_whitespace().collect();
        self.run(As::Root, &words, "").good()
    }

    /// Feeds a text to a command as root; it has to succeed.
    pub(crate) fn feed(&self, words: &[&str], input: &str) -> String {
        self.run(As::Root, words, input).good()
    }

    /// Starts a command that runs on.
    pub(crate) fn start(&self, who: As, words: &[&str]) -> Child {
        let mut command = self.command(who, words);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    }

    /// Whether a command, whose standard input stays open behind a text, says something that begins so before it ends.
    pub(crate) fn says(&self, who: As, words: &[&str], input: &str, beginning: &str) -> bool {
        let mut child = self.start(who, words);
        // It may have ended already.
        let _ = child.stdin.as_mut().unwrap().write_all(input.as_bytes());
        let mut said = vec![0; beginning.len()];
        let says = child.stdout.as_mut().unwrap().read_exact(&mut said).is_ok();
        child.kill().unwrap();
        child.wait().unwrap();
        says && said == beginning.as_bytes()
    }

    /// Runs a function on a thread that is in the namespace: its sockets are there, for ever.
    pub(crate) fn inside<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        self.thread(work).join().unwrap()
    }

    pub(crate) fn thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        use std::os::fd::AsFd;
        let file = File::open(format!("/run/netns/{}", self.name)).unwrap();
        thread::spawn(move || {
            move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
            work()
        })
    }
}

/// A command that has ended.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) command: String,
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    fn new(words: &[&str], output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            command: words.join(" "),
            code: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    pub(crate) fn good(self) -> String {
        assert_eq!(self.code, Some(0), "{}: {}{}", self.command, self.out, self.err);
        self.out
    }
}

/// Reads until the text has come; panics at the end of the stream.
pub(crate) fn read_until(stream: &mut impl Read, text: &str) -> String {
    let (mut read, mut byte) = (Vec::new(), [0]);
    loop {
        let count = stream.read(&mut byte).unwrap();
        assert_eq!(count, 1, "the stream ended after {:?}", String::from_utf8_lossy(&read));
        read.push(byte[0]);
        let so_far = String::from_utf8_lossy(&read);
        if so_far.contains(text) {
            return so_far.into_owned();
        }
    }
}
