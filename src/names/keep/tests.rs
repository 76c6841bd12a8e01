use std::fs;

use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;
use crate::policy::document::Sources;
use crate::resolve::Settings;

/// A policy and a hosts file that change while the names are kept. Nobody is asked over a network, so the clock may
/// stand still and jump.
struct Scene {
    directory: TempDir,
    names: Arc<Names>,
    resolver: Arc<Resolver>,
    policy: Arc<ArcSwap<Policy>>,
    _keeping: JoinSet<()>,
}

impl Scene {
    fn new(rules: &str, hosts: &str) -> Self {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("hosts"), hosts).unwrap();
        let settings = Settings {
            servers: vec!["127.0.0.1:9".parse().unwrap()],
            hosts: Some(directory.path().join("hosts")),
            ..Settings::default()
        };
        let (names, resolver) = (Arc::new(Names::new()), Arc::new(Resolver::new(settings).unwrap()));
        let policy = Arc::new(ArcSwap::from_pointee(load(&directory, rules, 1)));
        let mut keeping = JoinSet::new();
        keeping.spawn(keep_listed(Arc::clone(&names), Arc::clone(&resolver), Arc::clone(&policy)));
        Self { directory, names, resolver, policy, _keeping: keeping }
    }

    fn hosts(&self, hosts: &str) {
        fs::write(self.directory.path().join("hosts"), hosts).unwrap();
        self.resolver.reload().unwrap();
    }

    fn replace(&self, rules: &str, revision: u64) {
        self.policy.store(Arc::new(load(&self.directory, rules, revision)));
    }

    fn known(&self, address: &str) -> Vec<String> {
        self.names.of(address.parse().unwrap()).iter().map(ToString::to_string).collect()
    }
}

fn load(directory: &TempDir, rules: &str, revision: u64) -> Policy {
    let path = directory.path().join("policy.yaml");
    fs::write(&path, format!("version: 1\nprofiles:\n  - name: p\n    allow:\n{rules}")).unwrap();
    let loaded = Sources { paths: vec![path], allow: Vec::new() }.load().unwrap();
    loaded.builder.finish(revision)
}

fn rule(host: &str) -> String {
    format!("      - {{ host: \"{host}\", ports: [22], protocol: tcp }}\n")
}

const SOON: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

#[tokio::test(start_paused = true)]
async fn an_address_that_changes_is_found_and_the_old_one_known_for_an_hour() {
    let scene = Scene::new(&rule("git.example"), "192.0.2.1 git.example\n2001:db8::1 git.example\n");
    sleep(SOON).await;
    for address in ["192.0.2.1", "2001:db8::1"] {
        assert_eq!(scene.known(address), ["git.example"]);
    }
    scene.hosts("192.0.2.2 git.example\n");
    sleep(REFRESH).await;
    for address in ["192.0.2.1", "192.0.2.2"] {
        assert_eq!(scene.known(address), ["git.example"]);
    }
    sleep(HOUR).await;
    assert!(scene.known("192.0.2.1").is_empty());
    // Looked up again and again, it stays for good.
    for _ in 0..30 {
        assert_eq!(scene.known("192.0.2.2"), ["git.example"]);
        sleep(HOUR).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_new_policy_has_its_names_looked_up_at_once_and_the_old_ones_no_more() {
    let scene = Scene::new(&rule("old.example"), "192.0.2.1 old.example\n192.0.2.2 new.example\n");
    sleep(SOON).await;
    assert!(scene.known("192.0.2.2").is_empty());
    scene.replace(&rule("new.example"), 2);
    sleep(SOON).await;
    assert_eq!(scene.known("192.0.2.2"), ["new.example"]);
    scene.hosts("192.0.2.3 old.example\n192.0.2.4 new.example\n");
    sleep(REFRESH + SOON).await;
    assert!(scene.known("192.0.2.3").is_empty(), "nobody may go there any more");
    assert_eq!(scene.known("192.0.2.4"), ["new.example"]);
    sleep(HOUR).await;
    assert!(scene.known("192.0.2.1").is_empty());
}

#[tokio::test(start_paused = true)]
async fn names_that_are_not_found_are_looked_up_again_soon_and_then_seldom() {
    // DNS has no `invalid` names (RFC 6761), and no server is asked for one.
    let scene = Scene::new(&rule("late.invalid"), "");
    sleep(SOON / 2).await;
    scene.hosts("192.0.2.1 late.invalid\n");
    sleep(2 * SOON).await;
    assert_eq!(scene.known("192.0.2.1"), ["late.invalid"]);

    let scene = Scene::new(&rule("later.invalid"), "");
    sleep(HOUR).await;
    scene.hosts("192.0.2.2 later.invalid\n");
    sleep(2 * SOON).await;
    assert!(scene.known("192.0.2.2").is_empty());
    sleep(REFRESH).await;
    assert_eq!(scene.known("192.0.2.2"), ["later.invalid"]);
}

#[tokio::test(start_paused = true)]
async fn names_that_nobody_answers_for_keep_neither_others_nor_a_new_policy_waiting() {
    // No server listens at the port that is asked.
    let silent: String = (0..96).map(|number| rule(&format!("n{number}.silent.example"))).collect();
    let scene = Scene::new(
        &(silent.clone() + &rule("git.example")),
        "192.0.2.1 git.example\n192.0.2.2 new.example\n",
    );
    sleep(7 * PATIENCE + SOON).await;
    assert_eq!(scene.known("192.0.2.1"), ["git.example"]);
    scene.replace(&silent, 2);
    sleep(SOON).await;
    scene.replace(&rule("new.example"), 3);
    sleep(SOON).await;
    assert_eq!(scene.known("192.0.2.2"), ["new.example"]);
}

#[tokio::test(start_paused = true)]
async fn only_names_that_stand_by_themselves_are_looked_up_and_only_so_many() {
    const MORE: usize = NAMES_MAX + 100;
    let names = || (0..MORE).map(|number| format!("n{number}.example"));
    let address = |number: usize| format!("10.0.{}.{}", number / 256, number % 256);
    let mut hosts: String =
        names().enumerate().map(|(number, name)| format!("{} {name}\n", address(number))).collect();
    hosts += "192.0.2.1 a.wild.example\n192.0.2.2 web.example\n192.0.2.3 apex.example\n";
    let mut rules: String = names().map(|name| rule(&name)).collect();
    rules += "      - \"*.wild.example\"\n      - web.example\n";
    let scene = Scene::new(&rules, &hosts);
    sleep(SOON).await;
    let known = (0..MORE).filter(|number| !scene.known(&address(*number)).is_empty()).count();
    assert_eq!(known, NAMES_MAX);
    assert!(scene.known("192.0.2.1").is_empty() && scene.known("192.0.2.2").is_empty());

    // The one name that stands for itself and all below it is such a name too.
    scene.replace(&(rule(".apex.example") + &rule("*.wild.example")), 2);
    sleep(SOON).await;
    assert_eq!(scene.known("192.0.2.3"), ["apex.example"]);
    assert!(scene.known("192.0.2.1").is_empty());
}
