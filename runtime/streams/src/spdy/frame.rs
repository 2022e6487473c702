//! Frames as bytes. Pure: header blocks stay compressed here, data stays where it is.

use super::ProtocolError;

/// Bytes before every payload.
pub(super) const HEAD_BYTES: usize = 8;
/// Bytes of a control frame; the largest is a SYN_STREAM with compressed headers.
pub(super) const CONTROL_BYTES_MAX: usize = 64 << 10;
const VERSION: u16 = 3;
const FLAG_FIN: u8 = 1;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const SETTINGS: u16 = 4;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;
const WINDOW_UPDATE: u16 = 9;

/// RST_STREAM: the sender broke the protocol.
pub(super) const PROTOCOL_ERROR: u32 = 1;
/// RST_STREAM: not now, not here.
pub(super) const REFUSED_STREAM: u32 = 3;

/// The first eight bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    Data { id: u32, fin: bool, length: usize },
    Control { kind: u16, flags: u8, length: usize },
}

/// A control frame. What we do not act on is `Other`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Control {
    SynStream { id: u32, fin: bool, block: Vec<u8> },
    SynReply { id: u32, fin: bool, block: Vec<u8> },
    Headers { id: u32, fin: bool, block: Vec<u8> },
    Reset { id: u32, status: u32 },
    Ping(u32),
    GoAway { last: u32, status: u32 },
    WindowUpdate { id: u32, delta: u32 },
    Other,
}

pub(super) fn parse_head(bytes: [u8; HEAD_BYTES]) -> Result<Head, ProtocolError> {
    let first = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let (flags, length) = (bytes[4], u32::from_be_bytes([0, bytes[5], bytes[6], bytes[7]]) as usize);
    if first & 1 << 31 == 0 {
        return Ok(Head::Data { id: first, fin: flags & FLAG_FIN != 0, length });
    }
    if (first >> 16) as u16 & 0x7fff != VERSION {
        return Err(ProtocolError("a frame of another version"));
    }
    if length > CONTROL_BYTES_MAX {
        return Err(ProtocolError("a control frame of more than 64 KiB"));
    }
    Ok(Head::Control { kind: first as u16, flags, length })
}

pub(super) fn parse_control(kind: u16, flags: u8, payload: &[u8]) -> Result<Control, ProtocolError> {
    let number = |at: usize| {
        let bytes = payload.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_be_bytes).ok_or(ProtocolError("a control frame that ends early"))
    };
    let id = |at| number(at).map(|id| id & 0x7fff_ffff);
    let block =
        |at: usize| payload.get(at..).map(<[u8]>::to_vec).ok_or(ProtocolError("a control frame that ends early"));
    let fin = flags & FLAG_FIN != 0;
    Ok(match kind {
        SYN_STREAM => Control::SynStream { id: id(0)?, fin, block: block(10)? },
        SYN_REPLY => Control::SynReply { id: id(0)?, fin, block: block(4)? },
        HEADERS => Control::Headers { id: id(0)?, fin, block: block(4)? },
        RST_STREAM => Control::Reset { id: id(0)?, status: number(4)? },
        PING => Control::Ping(number(0)?),
        GOAWAY => Control::GoAway { last: id(0)?, status: number(4)? },
        WINDOW_UPDATE => Control::WindowUpdate { id: id(0)?, delta: id(4)? },
        // Settings concern windows and bandwidth; whatever else comes, section 2.2.1 says to ignore it.
        SETTINGS => Control::Other,
        _ => Control::Other,
    })
}

/// The bytes of a control frame.
pub(super) fn control(frame: &Control) -> Vec<u8> {
    let flags = |fin: bool| if fin { FLAG_FIN } else { 0 };
    match frame {
        // After the id: associated stream, priority, credential slot; all zero.
        Control::SynStream { id, fin, block } => build(SYN_STREAM, flags(*fin), &[&id.to_be_bytes(), &[0; 6], block]),
        Control::SynReply { id, fin, block } => build(SYN_REPLY, flags(*fin), &[&id.to_be_bytes(), block]),
        Control::Headers { id, fin, block } => build(HEADERS, flags(*fin), &[&id.to_be_bytes(), block]),
        Control::Reset { id, status } => build(RST_STREAM, 0, &[&id.to_be_bytes(), &status.to_be_bytes()]),
        Control::Ping(id) => build(PING, 0, &[&id.to_be_bytes()]),
        Control::GoAway { last, status } => build(GOAWAY, 0, &[&last.to_be_bytes(), &status.to_be_bytes()]),
        Control::WindowUpdate { id, delta } => build(WINDOW_UPDATE, 0, &[&id.to_be_bytes(), &delta.to_be_bytes()]),
        Control::Other => Vec::new(),
    }
}

fn build(kind: u16, flags: u8, parts: &[&[u8]]) -> Vec<u8> {
    let payload = parts.concat();
    let first = 1 << 31 | u32::from(VERSION) << 16 | u32::from(kind);
    [&first.to_be_bytes(), &length(flags, payload.len()), payload.as_slice()].concat()
}

/// The bytes before data.
pub(super) fn data_head(id: u32, fin: bool, bytes: usize) -> [u8; HEAD_BYTES] {
    let [a, b, c, d] = id.to_be_bytes();
    let [e, f, g, h] = length(if fin { FLAG_FIN } else { 0 }, bytes);
    [a, b, c, d, e, f, g, h]
}

fn length(flags: u8, bytes: usize) -> [u8; 4] {
    let [_, a, b, c] = u32::try_from(bytes).expect("frames are made of pieces far below 16 MiB").to_be_bytes();
    [flags, a, b, c]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn frames() -> impl Strategy<Value = Control> {
        let id = 1u32..0x7fff_ffff;
        let block = || proptest::collection::vec(any::<u8>(), 0..100);
        prop_oneof![
            (id.clone(), any::<bool>(), block()).prop_map(|(id, fin, block)| Control::SynStream { id, fin, block }),
            (id.clone(), any::<bool>(), block()).prop_map(|(id, fin, block)| Control::SynReply { id, fin, block }),
            (id.clone(), any::<bool>(), block()).prop_map(|(id, fin, block)| Control::Headers { id, fin, block }),
            (id.clone(), any::<u32>()).prop_map(|(id, status)| Control::Reset { id, status }),
            any::<u32>().prop_map(Control::Ping),
            (id.clone(), any::<u32>()).prop_map(|(last, status)| Control::GoAway { last, status }),
            (id.clone(), id).prop_map(|(id, delta)| Control::WindowUpdate { id, delta }),
        ]
    }

    proptest! {
        #[test]
        fn control_frames_round_trip(frame in frames()) {
            let bytes = control(&frame);
            let Head::Control { kind, flags, length } = parse_head(bytes[..8].try_into().unwrap()).unwrap() else {
                panic!("a control frame reads as data");
            };
            prop_assert_eq!(length, bytes.len() - HEAD_BYTES);
            prop_assert_eq!(parse_control(kind, flags, &bytes[8..]).unwrap(), frame);
        }

        #[test]
        fn data_heads_round_trip(id in 1u32..0x7fff_ffff, fin: bool, length in 0usize..(1 << 24)) {
            prop_assert_eq!(parse_head(data_head(id, fin, length)).unwrap(), Head::Data { id, fin, length });
        }

        #[test]
        fn no_bytes_make_it_panic(head: [u8; 8], kind: u16, flags: u8, payload in proptest::collection::vec(any::<u8>(), 0..40)) {
            let _either_way = parse_head(head);
            let _either_way = parse_control(kind, flags, &payload);
        }
    }

    #[test]
    fn a_syn_stream_has_the_bytes_of_the_specification() {
        let bytes = control(&Control::SynStream { id: 1, fin: true, block: vec![0xab] });
        assert_eq!(bytes, [0x80, 3, 0, 1, 1, 0, 0, 11, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0xab]);
    }
}
