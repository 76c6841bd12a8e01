//! The lockdown in real network namespaces: an instance, a gateway and an internet of several servers, with the
//! real iptables, nft, curl, dig, ping, socat, openssl, ssh and git.
//!
//! Needs root, or a kernel that gives user namespaces network namespaces of their own. Where it can't run, it says so
//! and counts its tests as ignored, or fails if `CI` is set. Every address is inside namespaces that the tests made.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use std::process::ExitCode;

use libtest_mimic::{Arguments, Trial};

use crate::footing::Footing;

#[path = "netns/allowances.rs"]
mod allowances;
#[path = "netns/attacks.rs"]
mod attacks;
#[path = "netns/containers.rs"]
mod containers;
#[path = "netns/docker.rs"]
mod docker;
#[path = "netns/exeat.rs"]
mod exeat;
#[path = "netns/flows.rs"]
mod flows;
#[path = "netns/footing.rs"]
mod footing;
#[path = "netns/gateway.rs"]
mod gateway;
#[path = "netns/instance.rs"]
mod instance;
#[path = "netns/internet.rs"]
mod internet;
#[path = "netns/many.rs"]
mod many;
#[path = "netns/place.rs"]
mod place;
#[path = "netns/ports.rs"]
mod ports;
#[path = "it/support/records.rs"]
#[allow(unreachable_pub, reason = "it is shared between binaries")]
mod records;
#[path = "netns/rules.rs"]
mod rules;
#[path = "netns/ssh.rs"]
mod ssh;
#[path = "netns/tap.rs"]
mod tap;
#[path = "netns/undo.rs"]
mod undo;
#[path = "netns/verify.rs"]
mod verify;
#[path = "netns/vital.rs"]
mod vital;
#[path = "netns/ways.rs"]
mod ways;
#[path = "netns/world.rs"]
mod world;

/// How many worlds there are at a time. In most of them something is being waited for.
const WORLDS: usize = 8;

/// Tests by their names. One that is missing here is dead code, which does not pass the lints.
macro_rules! tests {
    ($($module:ident::$test:ident,)*) => {
        [$((concat!(stringify!($module), "::", stringify!($test)), $module::$test as fn()),)*]
    };
}

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    arguments.test_threads.get_or_insert(WORLDS);
    let footing = if arguments.list { Footing::Root { legacy: true } } else { footing::find() };
    // By the ends of their names; nothing is the end of all.
    let ignored = match footing {
        Footing::Root { legacy: true } => None,
        Footing::Root { legacy: false } => {
            eprintln!("\n*** iptables-legacy IS NOT TESTED HERE: the kernel does not have it ***\n");
            Some("_legacy")
        }
        Footing::Elsewhere(code) => return code,
        Footing::None(why) => {
            eprintln!("\n*** THE LOCKDOWN IS NOT TESTED HERE: {why} ***\n");
            if std::env::var_os("CI").is_some() {
                eprintln!("CI has to test the lockdown");
                return ExitCode::FAILURE;
            }
            Some("")
        }
    };
    let trial = |(name, test): (&'static str, fn())| {
        let run = move || {
            test();
            Ok(())
        };
        Trial::test(name, run).with_ignored_flag(ignored.is_some_and(|end| name.ends_with(end)))
    };
    libtest_mimic::run(&arguments, all().into_iter().map(trial).collect()).exit_code()
}

fn all() -> Vec<(&'static str, fn())> {
    let tests = tests![
        attacks::who_takes_a_port_that_exeat_left_does_not_take_its_way_out,
        attacks::an_icmp_error_carries_nothing_to_a_server_that_was_called,
        attacks::neighbours_and_odd_sockets_are_no_way_out,
        attacks::services_on_the_loopback_of_a_gateway_are_not_for_its_clients,
        gateway::nothing_but_the_allowed_names_gets_out_through_iptables,
        gateway::nothing_but_the_allowed_names_gets_out_through_iptables_legacy,
        gateway::nothing_but_the_allowed_names_gets_out_through_nft,
        gateway::nothing_but_the_allowed_names_gets_out_through_iptables_by_tproxy,
        gateway::nothing_but_the_allowed_names_gets_out_through_nft_by_tproxy,
        gateway::one_interface_can_serve_both_sides,
        gateway::what_was_open_ends_through_iptables,
        gateway::what_was_open_ends_through_nft,
        gateway::what_was_open_ends_through_iptables_by_tproxy,
        gateway::tproxy_wants_a_listener_that_takes_any_address_and_leaves_nothing_behind,
        instance::nothing_but_the_allowed_names_gets_out_with_iptables_nft,
        instance::nothing_but_the_allowed_names_gets_out_with_iptables_legacy,
        instance::nothing_but_the_allowed_names_gets_out_with_nft,
        containers::containers_get_out_through_exeat_or_not_at_all_with_iptables,
        containers::containers_get_out_through_exeat_or_not_at_all_with_nft,
        containers::what_is_published_can_be_reached_and_answers,
        allowances::what_is_allowed_passes_on_the_instance,
        allowances::what_is_allowed_passes_through_the_gateway,
        allowances::a_mark_lets_out_instead_of_a_user,
        docker::rules_of_others_are_left_as_they_were_by_iptables_nft,
        docker::rules_of_others_are_left_as_they_were_by_nft,
        docker::rules_of_others_are_left_as_they_were_by_iptables_legacy,
        docker::rules_that_come_to_stand_before_ours_let_nothing_out,
        docker::rules_before_ours_let_nothing_through_iptables,
        docker::rules_before_ours_let_nothing_through_nft,
        docker::rules_before_ours_let_nothing_through_tproxy,
        ports::a_port_that_is_left_to_choose_is_free_for_both_transports,
        verify::verify_tells_an_open_instance_from_a_locked_one,
        verify::verify_tells_an_open_gateway_from_a_locked_one,
        many::ten_thousand_connections_leave_ten_thousand_records_on_the_instance,
        many::ten_thousand_connections_leave_ten_thousand_records_on_the_gateway,
        many::ten_thousand_connections_leave_ten_thousand_records_by_tproxy,
        vital::a_locked_instance_keeps_its_addresses_neighbours_and_errors,
        undo::an_instance_is_undone_by_hand,
        undo::a_gateway_is_undone_by_hand,
        ssh::a_login_from_outside_lives_through_it_all,
        ssh::git_and_ssh_reach_the_name_of_their_rule_from_the_instance,
        ssh::git_and_ssh_reach_the_name_of_their_rule_through_the_gateway,
        flows::untracked_flows_opened_before_end_and_those_from_outside_live,
        flows::tracked_flows_opened_before_end_and_those_from_outside_live,
        flows::flows_opened_before_end_even_where_sockets_can_not_be_closed,
        flows::udp_answers_only_from_ports_that_are_served,
        flows::what_exeat_sent_before_it_closed_arrives_whole,
        rules::printing_needs_neither_privileges_nor_exeat_and_prints_what_apply_applies,
        rules::nothing_is_applied_while_nobody_listens_for_one_of_the_families,
        rules::nothing_is_applied_where_one_family_can_not_be_locked,
        rules::what_a_failed_apply_can_not_put_back_is_told,
        rules::ipv4_alone_is_locked_in_every_format,
        rules::doors_are_not_missed_where_their_family_has_no_address,
        rules::a_path_without_the_programs_of_root_hides_no_rules,
        rules::what_tracking_was_is_known_by_the_rules_of_either_family,
        rules::status_tells_what_is_missing_and_what_was_counted,
        rules::status_tells_of_rules_among_its_own_that_let_out_what_they_refuse,
    ];
    tests.to_vec()
}
