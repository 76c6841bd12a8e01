//! Automounters: whoever looks for a name has a program outside look for it, and that may ask DNS for it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::world::{self, Ran, Who, World};

/// Runs a command, jailed or not, where `net` is an automounter's. Told are the names that it heard meanwhile.
fn beside_an_automounter(world: &World, command: &Command) -> (Ran, Vec<String>) {
    let (daemon, heard) = (world.path("automount.py"), world.path("heard"));
    fs::write(&daemon, include_str!("automount.py")).unwrap();
    fs::create_dir_all(world.path("net")).unwrap();
    // Of an earlier one, if there was one, nothing is left to be read.
    fs::write(&heard, "").unwrap();
    let script = "/usr/bin/python3 \"$1\" \"$2\" >\"$3\" &\n\
                  until grep -q ready \"$3\"; do kill -0 $! || exit 99; sleep 0.01; done\n\
                  daemon=$!; shift 3; \"$@\"; code=$?; kill $daemon; exit $code";
    let mut outside = Command::new("unshare");
    outside.args(["--mount", "sh", "-c", script, "sh"]).args([&daemon, &world.path("net"), &heard]);
    outside.args(world::words(command)).current_dir(world.directory.path());
    let ran = Ran::new(outside.env_remove("XDG_RUNTIME_DIR").output().unwrap());
    let heard = fs::read_to_string(heard).unwrap();
    (ran, heard.lines().skip(1).map(str::to_owned).collect())
}

#[test]
fn an_automounter_is_told_no_name() {
    if !fs::read_to_string("/proc/filesystems").unwrap().contains("autofs") {
        return eprintln!("NOT RUN: this kernel has no autofs");
    }
    world::test("automounts::an_automounter_is_told_no_name", |who, world| {
        fs::set_permissions(world.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let look = ["sh", "-c", "cat net/known/file; cat net/words.evil.example/x; true"];
        let mut open = Command::new("sh");
        let (_, heard) = beside_an_automounter(world, open.args(&look[1..]));
        assert_eq!(heard, ["words.evil.example"]);

        let (ran, heard) = beside_an_automounter(world, &world.exeat(who, &[], &look));
        assert_eq!((ran.good(), heard), ("known", Vec::new()), "{ran:#?}");
        // Who wants it has it as it is.
        let share = world.path("net").display().to_string();
        let (ran, heard) = beside_an_automounter(world, &world.exeat(who, &["--share", &share], &look));
        assert_eq!((ran.good(), heard.first().map(String::as_str)), ("known", Some("words.evil.example")));
        // One that is entered already stays what it is.
        if who == Who::Myself {
            let mut inside = Command::new("sh");
            inside.args(["-c", "cd net/known; \"$@\"", "sh"]);
            inside.args(world::words(&world.exeat(who, &[], &["sh", "-c", "cat file; ls .."])));
            let (ran, _) = beside_an_automounter(world, &inside);
            assert_eq!(ran.good(), "knownknown");
        }
    });
}
