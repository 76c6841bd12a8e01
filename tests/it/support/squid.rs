//! The real Squid, in a directory of its own.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::time::{Instant, sleep};

use super::PATIENCE;

pub struct Squid {
    pub port: u16,
    child: Child,
    directory: TempDir,
}

impl Squid {
    /// Starts it with the lines that `conf` writes, which may put files into the directory that it is given; other files
    /// are relative to `at`. `hosts` are the names that it knows.
    pub async fn start(at: &Path, hosts: &str, conf: impl Fn(&Path) -> String) -> Self {
        // Squid takes no port 0, so a port that was just free may be somebody else's by now.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let directory = tempfile::tempdir().unwrap();
            let child = spawn(&conf(directory.path()), hosts, port, (at, directory.path()));
            let mut squid = Self { port, child, directory };
            let deadline = Instant::now() + PATIENCE;
            while squid.child.try_wait().unwrap().is_none() {
                // Its own word: whoever else has the port takes connections too.
                if squid.read("cache.log").contains("Accepting HTTP Socket connections") {
                    return squid;
                }
                assert!(Instant::now() < deadline, "{}", squid.read("cache.log"));
                sleep(Duration::from_millis(10)).await;
            }
        }
        panic!("Squid does not start");
    }

    /// Waits until its log of requests has this.
    pub async fn has_logged(&self, text: &str) {
        let deadline = Instant::now() + PATIENCE;
        while !self.read("access.log").contains(text) {
            assert!(Instant::now() < deadline, "{text}: {}", self.read("access.log"));
            sleep(Duration::from_millis(10)).await;
        }
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.directory.path().join(name)).unwrap_or_default()
    }
}

impl Drop for Squid {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(conf: &str, hosts: &str, port: u16, (at, directory): (&Path, &Path)) -> Child {
    let path = |name: &str| directory.join(name).to_str().unwrap().to_owned();
    fs::write(path("hosts"), hosts).unwrap();
    // Squid gives up root for a user of its own, who has to get in.
    let open = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    open(directory, 0o755);
    for log in ["cache.log", "access.log"] {
        fs::write(path(log), "").unwrap();
        open(&directory.join(log), 0o666);
    }
    let settings = format!(
        "http_port 127.0.0.1:{port}\nhosts_file {}\ncache_log {}\naccess_log stdio:{}\nbuffered_logs off\n\
         pid_filename none\ncache deny all\ncache_store_log none\nnetdb_filename none\npinger_enable off\n\
         visible_hostname squid.example\nconnect_timeout 2 seconds\nforward_max_tries 1\n\
         dns_nameservers 127.0.0.1\ndns_timeout 1 second\nshutdown_lifetime 0 seconds\n",
        path("hosts"),
        path("cache.log"),
        path("access.log"),
    );
    fs::write(path("squid.conf"), settings + conf).unwrap();
    let mut command = Command::new("squid");
    command.args(["-N", "-f", &path("squid.conf")]).current_dir(at);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}
