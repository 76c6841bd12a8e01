//! A host that has no certificate authorities, like the image.

use std::fs;
use std::process::{Command, Stdio};

/// Runs a command where the authorities of this host are out of sight.
const WITHOUT: &str =
    "for kept in /etc/ssl /etc/pki; do [ ! -d $kept ] || mount -t tmpfs none $kept; done; exec \"$@\"";

#[test]
fn whatever_needs_authorities_names_its_own_key_for_them() {
    let keys = ["`dns.ca`", "the parent's `ca`", "`auth.jwt.ca`"];
    for (settings, key) in [
        ("dns: { servers: ['tls://192.0.2.1#dns.example'] }", keys[0]),
        ("parents: { corp: { urls: ['https://proxy.example'] } }", keys[1]),
        (
            "auth: { jwt: { jwks: 'https://issuer.example/keys', issuer: 'https://issuer.example', audience: x } }",
            keys[2],
        ),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let settings = format!("listen: {{ explicit: ['127.0.0.1:0'], admin: null }}\n{settings}\n");
        fs::write(directory.path().join("exeat.yaml"), settings).unwrap();
        let output = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount", "sh", "-ec", WITHOUT, "sh"])
            .args([env!("CARGO_BIN_EXE_exeat"), "serve", "--config", "exeat.yaml"])
            .current_dir(&directory)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{told}");
        assert!(told.contains("/etc/ssl/certs/ca-certificates.crt: it can't be read: "), "{told}");
        for other in keys {
            assert_eq!(
                told.contains(&format!("name a file of certificates in PEM by {other}")),
                other == key,
                "{told}"
            );
        }
        assert_eq!(told.contains("dns.ca"), key == keys[0], "{told}");
    }
}
