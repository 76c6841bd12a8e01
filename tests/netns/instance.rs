//! On the instance: no way out but exeat, in each format of the rules.

use crate::exeat::Exeat;
use crate::gateway::allowed_names_answer;
use crate::internet::ALLOWED;
use crate::place::As;
use crate::ways;
use crate::world::World;

fn nothing_but_the_allowed_names_gets_out(format: &str) {
    let world = World::instance();
    let mut exeat = Exeat::start(&world);
    let ways = ways::all();
    assert_eq!(ways::shut(&world.instance, &ways), [""; 0], "each way is open at first");
    ways::send_silent(&world.instance);
    world.settle();
    let heard = world.tap.heard();
    for protocol in ways::SILENT {
        assert!(heard.iter().any(|packet| packet.protocol == protocol), "{protocol} is heard at first");
    }
    for to in ["224.0.0.251", "ff02::fb", "255.255.255.255"] {
        assert!(heard.iter().any(|packet| packet.to.to_string() == to), "{to} is heard at first");
    }

    world.apply(&["--format", format]).good();
    world.tap.clear();
    assert_eq!(ways::open(&world.instance, &ways), [""; 0]);
    ways::send_silent(&world.instance);
    assert_eq!(world.leaks(), []);
    allowed_names_answer(&world);
    assert_eq!(world.leaks(), []);

    exeat.kill();
    world.tap.clear();
    let allowed = format!("http://{ALLOWED}/");
    let refused = world.instance.run(As::Program, &["curl", "-s", "--max-time", "5", &allowed], "");
    assert_eq!(refused.out, "");
    assert_eq!(ways::open(&world.instance, &ways), [""; 0]);
    ways::send_silent(&world.instance);
    assert_eq!(world.leaks(), []);

    world.exeat(&["lockdown", "remove"]).good();
    assert_eq!(ways::shut(&world.instance, &ways), [""; 0], "each way is open again");
}

pub(crate) fn nothing_but_the_allowed_names_gets_out_with_iptables_nft() {
    nothing_but_the_allowed_names_gets_out("iptables-nft");
}

pub(crate) fn nothing_but_the_allowed_names_gets_out_with_iptables_legacy() {
    nothing_but_the_allowed_names_gets_out("iptables-legacy");
}

pub(crate) fn nothing_but_the_allowed_names_gets_out_with_nft() {
    nothing_but_the_allowed_names_gets_out("nft");
}
