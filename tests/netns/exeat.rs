//! A running exeat with both doors open.

use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::internet::{ALLOWED, DNS_V4, FORGE, GIT};
use crate::place::{As, read_until};
use crate::records;
use crate::world::World;

/// exeat, as the user of its own.
pub(crate) struct Exeat {
    child: Child,
    records: String,
}

impl Exeat {
    pub(crate) fn start(world: &World) -> Self {
        Self::start_as(world, As::Exeat)
    }

    /// With a capability or without.
    pub(crate) fn start_as(world: &World, who: As) -> Self {
        let (records, policy) = (world.path("records.jsonl"), world.path("policy.yaml"));
        // Others reach it at whatever address the interface has; `[::]` takes IPv4 too.
        let doors = |port| match world.gateway.is_some() || world.container.is_some() {
            true => format!("[\"[::]:{port}\"]"),
            false => format!("[\"127.0.0.1:{port}\", \"[::1]:{port}\"]"),
        };
        let settings = format!(
            "listen: {{ explicit: [\"127.0.0.1:3128\"], transparent: {}, dns: {}, admin: \"127.0.0.1:3130\" }}\n\
             policy: [{policy}]\naudit: {{ path: {records} }}\ndns: {{ servers: [{DNS_V4}] }}\n",
            doors(3129),
            doors(3153)
        );
        fs::write(world.path("exeat.yaml"), settings).unwrap();
        let rules = format!(
            "version: 1\nprofiles:\n  - name: everyone\n    allow:\n      - {ALLOWED}\n      \
             - {{ host: {GIT}, ports: [22], protocol: tcp }}\n      \
             - {{ host: {FORGE}, ports: [22], protocol: tcp }}\n"
        );
        fs::write(&policy, rules).unwrap();
        let binary = world.binary.to_str().unwrap();
        let words = [binary, "serve", "--config", &world.path("exeat.yaml")];
        let mut command = world.locked().command(who, &words);
        let mut child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        read_until(&mut stderr, "metrics and health are at");
        // Nobody reads on, but it must not stop at a full pipe.
        thread::spawn(move || stderr.read_to_end(&mut Vec::new()));
        Self { child, records }
    }

    /// Kills it without a word.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Tells it to stop, and waits until it has.
    pub(crate) fn stop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }

    /// The records, once there are enough of them: one is written a moment after its flow's end.
    pub(crate) fn records_when(&self, enough: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let records = self.records();
            if enough(&records) {
                return records;
            }
            assert!(Instant::now() < deadline, "these are not enough: {records:#?}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// The records written so far.
    pub(crate) fn records(&self) -> Vec<Value> {
        records::read(Path::new(&self.records))
    }
}

impl Drop for Exeat {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
