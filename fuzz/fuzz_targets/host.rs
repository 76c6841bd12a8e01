//! The canonical form of a host is a fixed point, and no name is an address in disguise.

#![no_main]

use std::net::IpAddr;

use exeat::destination::Destination;
use exeat::host::Host;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(host) = Host::parse(text) {
        let canonical = host.to_string();
        assert_eq!(Host::parse(&canonical).as_ref(), Ok(&host), "{canonical}");
        if let Host::Name(name) = &host {
            assert!(name.as_str().parse::<IpAddr>().is_err(), "{name}");
            assert!(name.as_str().len() <= 253 && !name.as_str().ends_with('.'));
            assert!(name.as_str().bytes().all(|byte| !byte.is_ascii_uppercase() && byte.is_ascii_graphic()));
        }
    }
    if let Ok(to) = Destination::parse(text) {
        assert_eq!(Destination::parse(&to.to_string()), Ok(to));
    }
});
