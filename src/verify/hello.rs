//! A ClientHello that any TLS server answers (RFC 5246 §7.4.1.2, RFC 8446 §4.1.2).

/// TLS 1.2's ECDHE suites and 1.3's, so that old and new servers find one.
const SUITES: [u16; 6] = [0x1301, 0x1302, 0xc02f, 0xc02b, 0xc030, 0xc02c];

/// The bytes of one, as one record, that asks for `name`. It offers no key of its own: a TLS 1.3 server asks for one,
/// and that is an answer.
pub(super) fn client_hello(name: &str) -> Vec<u8> {
    let server_name = sized(&[&[0][..], &sized(name.as_bytes())].concat());
    let groups = sized(&shorts(&[0x001d, 0x0017]));
    let signatures = sized(&shorts(&[0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601]));
    let versions = [&[4][..], &shorts(&[0x0304, 0x0303])].concat();
    let extensions: Vec<u8> = [
        (0x0000, server_name),
        (0x000a, groups),
        (0x000b, vec![1, 0]),
        (0x000d, signatures),
        (0x002b, versions),
        (0x0033, vec![0, 0]),
    ]
    .into_iter()
    .flat_map(|(kind, body): (u16, Vec<u8>)| [shorts(&[kind]), sized(&body)].concat())
    .collect();
    let random = [0x5a; 32];
    let body = [&[3, 3][..], &random, &[0], &sized(&shorts(&SUITES)), &[1, 0], &sized(&extensions)].concat();
    let handshake = [&[1, 0][..], &sized(&body)].concat();
    [&[22, 3, 1][..], &sized(&handshake)].concat()
}

fn shorts(numbers: &[u16]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_be_bytes()).collect()
}

/// The bytes with their length, of two bytes, before them. A name has at most 253 and all else is constant.
fn sized(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    [&length.to_be_bytes()[..], bytes].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rustls_reads_it() {
        let mut acceptor = rustls::server::Acceptor::default();
        acceptor.read_tls(&mut &client_hello("www.example.com")[..]).unwrap();
        let accepted = acceptor.accept().map_err(|(error, _)| error).unwrap().unwrap();
        assert_eq!(accepted.client_hello().server_name(), Some("www.example.com"));
    }
}
