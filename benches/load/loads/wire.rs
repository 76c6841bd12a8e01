//! The bytes on the wire: just enough of TLS to pass a gate, and an order behind it for the origin.

/// A ClientHello with this server name, of the size that clients without post-quantum keys send.
pub(crate) fn client_hello(name: &str) -> Vec<u8> {
    let mut server_name = vec![0]; // host_name
    server_name.extend(vector16(name.as_bytes()));
    let mut extensions = extension(0, &vector16(&server_name));
    extensions.extend(extension(43, &[2, 3, 4])); // supported_versions: TLS 1.3
    extensions.extend(extension(10, &[0, 2, 0, 29])); // supported_groups: x25519
    extensions.extend(extension(13, &[0, 4, 4, 3, 8, 4])); // signature_algorithms
    extensions.extend(extension(51, &[[0, 36, 0, 29, 0, 32].as_slice(), &[7; 32]].concat())); // key_share
    extensions.extend(extension(21, &[0; 256])); // padding
    let body = [
        [3, 3].as_slice(),
        &[9; 32],
        &[32],
        &[8; 32],
        &vector16(&[0x13, 1, 0x13, 2, 0x13, 3]),
        &[1, 0],
        &vector16(&extensions),
    ];
    record(&handshake(1, &body.concat()))
}

/// A ServerHello that asks for no other hello.
pub(crate) fn server_hello() -> Vec<u8> {
    let body = [[3, 3].as_slice(), &[6; 32], &[0], &[0x13, 1], &[0], &vector16(&extension(43, &[3, 4]))];
    record(&handshake(2, &body.concat()))
}

/// What a client asks of the origin once the hellos are exchanged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    Echo = b'E' as isize,
    Download = b'D' as isize,
    Upload = b'U' as isize,
}

/// The type of a record with a hello. A refusal has another: an alert (RFC 8446 §5.1).
pub(crate) const HANDSHAKE: u8 = 22;

fn record(fragment: &[u8]) -> Vec<u8> {
    [[HANDSHAKE, 3, 1].as_slice(), &vector16(fragment)].concat()
}

fn handshake(kind: u8, body: &[u8]) -> Vec<u8> {
    [[kind, 0].as_slice(), &vector16(body)].concat()
}

fn extension(kind: u16, body: &[u8]) -> Vec<u8> {
    [kind.to_be_bytes().as_slice(), &vector16(body)].concat()
}

fn vector16(body: &[u8]) -> Vec<u8> {
    [(body.len() as u16).to_be_bytes().as_slice(), body].concat()
}
