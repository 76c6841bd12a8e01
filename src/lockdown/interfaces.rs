//! Which interfaces there are.

use std::fs;

/// Where the kernel lists those of the network namespace that exeat is in; `/sys/class/net` may be another's.
const LIST: &str = "/proc/net/dev";

/// The names that no interface has; a `+` at the end of one stands for whatever follows. None where the kernel does not
/// tell.
pub fn missing(names: &[String]) -> Vec<&str> {
    fs::read_to_string(LIST).map(|list| missing_in(&list, names)).unwrap_or_default()
}

fn missing_in<'n>(list: &str, names: &'n [String]) -> Vec<&'n str> {
    let there: Vec<&str> =
        list.lines().filter_map(|line| line.split_once(':')).map(|(name, _)| name.trim()).collect();
    let is_missing = |name: &&str| match name.strip_suffix('+') {
        Some(start) => !there.iter().any(|there| there.starts_with(start)),
        None => !there.contains(name),
    };
    names.iter().map(String::as_str).filter(is_missing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_missed_unless_an_interface_has_it() {
        let list = "\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:    1234       0    0    0    0     0          0         0     1234       0    0    0    0     0       0          0
  eth1: 1234567     100    0    0    0     0          0         0  1234567     100    0    0    0     0       0          0
eth1.20:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
";
        for (name, is_missing) in [
            ("eth1", false),
            ("eth1.20", false),
            ("eth+", false),
            ("+", false),
            ("eth", true),
            ("eth11", true),
            ("face", true),
            ("docker+", true),
        ] {
            let names = [name.to_owned()];
            assert_eq!(missing_in(list, &names), if is_missing { vec![name] } else { Vec::new() });
        }
    }
}
