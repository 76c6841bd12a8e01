//! Any bytes are a question of the DNS door or none; whatever is answered is a DNS answer to that question, within what the
//! client takes.

#![no_main]

use std::time::Duration;

use exeat::dns::message::{Reply, Request, Transport};
use exeat::reason::Reason;
use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::RecordData;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    // What an upstream answers stands behind the question, so that its records come back through the door.
    let (question, answer) = match bytes {
        [length, rest @ ..] => rest.split_at(usize::from(*length).min(rest.len())),
        [] => return,
    };
    for transport in [Transport::Udp, Transport::Tcp] {
        let Some(request) = Request::read(question, transport) else { continue };
        let mut replies = match request.question() {
            Err((reply, _)) => vec![reply],
            Ok(question) => {
                assert!(question.name.as_str().len() <= 253);
                vec![
                    Reply::code(ResponseCode::ServFail),
                    Reply::blocked(ResponseCode::NXDomain, Reason::NoRule),
                    Reply::filtered(Reason::AddressProhibited),
                ]
            }
        };
        if let Ok(answer) = Message::from_vec(answer) {
            // Records without data, which only an UPDATE may have, are not taken from any server.
            let data = answer.answers.into_iter().map(|record| record.data).filter(|data| !data.is_update());
            let data = data.collect();
            replies.push(Reply::found(data, Duration::from_secs(60)));
        }
        for reply in replies {
            check(question, &request.reply(reply), transport);
        }
    }
});

fn check(question: &[u8], answer: &[u8], transport: Transport) {
    assert!(!answer.is_empty() && answer.len() <= usize::from(u16::MAX));
    assert_eq!(answer[..2], question[..2], "the id");
    assert!(answer[2] & 0x80 != 0, "it is an answer");
    let read = Message::from_vec(answer).expect("it can be read");
    assert_eq!(read.metadata.message_type, MessageType::Response);
    if transport == Transport::Udp {
        assert!(answer.len() <= 1232, "{} bytes over UDP", answer.len());
    }
    if let Ok(asked) = Message::from_vec(question)
        && let (Some(asked), Some(told)) = (asked.queries.first(), read.queries.first())
    {
        assert_eq!(asked, told);
    }
}
