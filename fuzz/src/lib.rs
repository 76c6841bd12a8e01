//! What must hold for every parser of first bytes, whatever the bytes.

use std::fmt::Debug;

use exeat::sniff::Sniff;

/// Reads the bytes at once, and as a caller does that waits for `need`: the two must agree, but for what the
/// patient one has not looked at yet, and that must never be what it waits for.
pub fn read<T: Debug + PartialEq>(bytes: &[u8], sniff: impl Fn(&[u8]) -> Sniff<T>) -> Sniff<T> {
    let whole = sniff(bytes);
    let mut arrived = 0;
    loop {
        match sniff(&bytes[..arrived]) {
            Sniff::Incomplete { need } => {
                assert!(need > arrived, "needs {need} of {arrived}");
                if need > bytes.len() {
                    assert!(!matches!(whole, Sniff::Found(_)), "{need} are not needed for {whole:?}");
                    return whole;
                }
                arrived = need;
            }
            answer => {
                assert_eq!(answer, whole, "after {arrived} of {}", bytes.len());
                return whole;
            }
        }
    }
}
