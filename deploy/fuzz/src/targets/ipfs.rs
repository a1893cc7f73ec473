//! What members of the swarm send, and what stands in an IPFS node's folder.

use stela_ipfs::fuzzing::{self, Exchange};
use stela_ipfs::{Cid, PeerId, PinKind, SwarmKey};

use crate::parts::Parts;

const MESSAGES_MAX: usize = 16;
const LINKS_MAX: usize = 8192;

/// Messages one after the other on a stream.
pub(super) fn bitswap_frame(input: &[u8]) {
    let mut stream = input;
    while let Some((frame, rest)) = fuzzing::bitswap_frame(stream) {
        assert!(rest.len() < stream.len());
        let (again, end) = fuzzing::bitswap_frame(&frame).expect("what is sent is read");
        assert_eq!((again, end.len()), (frame, 0));
        stream = rest;
    }
    if let Some(message) = fuzzing::bitswap_message(input) {
        assert_eq!(fuzzing::bitswap_message(&message), Some(message));
    }
}

/// A peer that sends any messages while some blocks are wanted of it.
pub(super) fn bitswap_exchange(input: &[u8]) {
    let mut exchange = Exchange::new(peer(), wanted());
    let mut parts = Parts::of(input);
    for _ in 0..MESSAGES_MAX {
        if parts.is_empty() {
            return;
        }
        match parts.byte() % 4 {
            0 => (0..parts.byte()).for_each(|_| exchange.tick()),
            1 => exchange.reconnect(),
            _ => exchange.receive(parts.part()),
        }
    }
}

fn peer() -> PeerId {
    let id = "12D3KooWD3eckifWpRn9wQpMG9R9hX3sD158z7EqHWmweQAJU5SA";
    id.parse().expect("a peer")
}

fn wanted() -> Vec<Cid> {
    [&b"one"[..], b"two", b"three"].map(fuzzing::raw_cid).into()
}

/// A node of a file's tree: what it claims adds up.
pub(super) fn unixfs(input: &[u8]) {
    match fuzzing::tree(input) {
        Err(_) => {}
        Ok((bytes, Ok(data))) => assert_eq!(bytes, data.len() as u64),
        Ok((bytes, Err(links))) => {
            assert!((1..=LINKS_MAX).contains(&links.len()));
            let sum = links
                .iter()
                .try_fold(0_u64, |sum, (_, bytes)| sum.checked_add(*bytes));
            assert_eq!(sum, Some(bytes));
            assert!(
                links.iter().all(|(_, bytes)| *bytes > 0),
                "no tree fans out without end"
            );
        }
    }
}

/// A name of a block: as bytes, and as the text of a file name.
pub(super) fn cid(input: &[u8]) {
    if let Some(cid) = fuzzing::cid(input) {
        assert_eq!(fuzzing::cid(&cid.to_bytes()), Some(cid));
        assert_eq!(cid.hash().digest().len(), 32);
        assert_eq!(cid.to_string().parse().ok(), Some(cid));
    }
    if let Some(cid) = std::str::from_utf8(input)
        .ok()
        .and_then(|text| text.parse::<Cid>().ok())
    {
        assert_eq!(cid.to_string().parse().ok(), Some(cid));
    }
}

pub(super) fn pin_file(input: &[u8]) {
    let cid = fuzzing::raw_cid(b"one");
    if let Some(kind) = fuzzing::pin(&cid, input) {
        assert_eq!(fuzzing::pin_file(&cid, kind), input);
        assert_eq!(
            fuzzing::pin(&fuzzing::raw_cid(b"two"), input),
            None,
            "of another root"
        );
    }
}

pub(super) fn swarm_key(input: &[u8]) {
    let Some(key) = std::str::from_utf8(input)
        .ok()
        .and_then(|text| text.parse::<SwarmKey>().ok())
    else {
        return;
    };
    let file = key.to_key_file();
    let again: SwarmKey = file.parse().expect("what was written is read");
    assert_eq!(*again.to_key_file(), *file);
}

pub(super) mod seeds {
    use super::*;
    use crate::parts::part;

    fn varint(out: &mut Vec<u8>, mut number: u64) {
        while number >= 0x80 {
            out.push(number as u8 | 0x80);
            number >>= 7;
        }
        out.push(number as u8);
    }

    fn field(number: u64, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        varint(&mut out, number << 3 | 2);
        varint(&mut out, bytes.len() as u64);
        out.extend_from_slice(bytes);
        out
    }

    fn number(field: u64, number: u64) -> Vec<u8> {
        let mut out = Vec::new();
        varint(&mut out, field << 3);
        varint(&mut out, number);
        out
    }

    fn wants() -> Vec<u8> {
        let entry = |cid: &Cid, kind| {
            let content = [
                field(1, &cid.to_bytes()),
                number(2, 1),
                number(4, kind),
                number(5, 1),
            ];
            field(1, &content.concat())
        };
        let entries: Vec<u8> = wanted().iter().flat_map(|cid| entry(cid, 0)).collect();
        let other = entry(&fuzzing::raw_cid(b"four"), 1);
        field(1, &[entries, other, number(2, 1)].concat())
    }

    fn block(data: &[u8]) -> Vec<u8> {
        field(
            3,
            &[field(1, &[1, 0x55, 0x12, 32]), field(2, data)].concat(),
        )
    }

    fn presence(have: bool) -> Vec<u8> {
        let cid = wanted()[1];
        field(
            4,
            &[field(1, &cid.to_bytes()), number(2, u64::from(!have))].concat(),
        )
    }

    fn messages() -> [Vec<u8>; 4] {
        [
            wants(),
            [block(b"one"), block(b"other")].concat(),
            [presence(true), presence(false), number(5, 9)].concat(),
            [wants(), block(b"three"), presence(true)].concat(),
        ]
    }

    pub(in crate::targets) fn bitswap_frame() -> Vec<Vec<u8>> {
        let framed = |message: &Vec<u8>| {
            let mut frame = Vec::new();
            varint(&mut frame, message.len() as u64);
            [frame, message.clone()].concat()
        };
        let mut seeds: Vec<Vec<u8>> = messages().iter().map(framed).collect();
        seeds.push(seeds.concat());
        seeds.extend(messages());
        seeds
    }

    pub(in crate::targets) fn bitswap_exchange() -> Vec<Vec<u8>> {
        let received = |message: &Vec<u8>| [vec![2], part(message)].concat();
        let all: Vec<u8> = messages().iter().flat_map(received).collect();
        vec![
            all.clone(),
            [all.clone(), vec![0, 50], all.clone()].concat(),
            [
                received(&messages()[1]),
                vec![1],
                received(&messages()[1]),
                vec![0, 9],
            ]
            .concat(),
        ]
    }

    pub(in crate::targets) fn unixfs() -> Vec<Vec<u8>> {
        let leaf = field(
            1,
            &[number(1, 2), field(2, b"hello"), number(3, 5)].concat(),
        );
        let link = |data: &[u8]| {
            let cid = fuzzing::raw_cid(data);
            field(
                2,
                &[field(1, &cid.to_bytes()), field(2, b""), number(3, 7)].concat(),
            )
        };
        let sizes = field(
            1,
            &[number(1, 2), number(3, 8), number(4, 3), number(4, 5)].concat(),
        );
        let packed = field(1, &[number(1, 2), number(3, 8), field(4, &[3, 5])].concat());
        let empty = field(1, &[number(1, 2), number(3, 8), field(4, &[0, 8])].concat());
        let links = [link(b"one"), link(b"three")].concat();
        vec![
            leaf,
            [links.clone(), sizes].concat(),
            [packed, links.clone()].concat(),
            [empty, links].concat(),
            field(1, &number(1, 1)),
        ]
    }

    pub(in crate::targets) fn cid() -> Vec<Vec<u8>> {
        let cid = fuzzing::raw_cid(b"one");
        let tree = Cid::new_v1(0x70, *cid.hash());
        let old = Cid::new_v0(*cid.hash()).expect("SHA-256 of 32 bytes");
        let bytes = [cid, tree, old].map(|cid| cid.to_bytes());
        let texts = [cid, tree, old].map(|cid| cid.to_string().into_bytes());
        bytes.into_iter().chain(texts).collect()
    }

    pub(in crate::targets) fn pin_file() -> Vec<Vec<u8>> {
        let cid = fuzzing::raw_cid(b"one");
        [
            PinKind::Permanent,
            PinKind::Leased { until_ms: 0 },
            PinKind::Leased { until_ms: 9 << 30 },
        ]
        .map(|kind| fuzzing::pin_file(&cid, kind).to_vec())
        .into()
    }

    pub(in crate::targets) fn swarm_key() -> Vec<Vec<u8>> {
        let file = SwarmKey::from_bytes([0xab; 32]).to_key_file();
        vec![
            file.as_bytes().to_vec(),
            file.replace('\n', "\r\n").into_bytes(),
            file.to_uppercase().into_bytes(),
        ]
    }
}
