//! Receipts, as anybody reads and verifies them from a file.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use stela_client::{Receipt, Recorded};
use stela_protocol::hash::{self, domain};

use crate::governed::Governed;
use crate::world::World;

/// The input is a receipt's file. Where the signature of the header is empty, the orderer signs, so
/// that a search gets past it.
///
/// What is read is what is read after it was written, with the same verdict. What is proved lies
/// within the block, by as many configurations as the file has, in this consortium alone, and by all
/// of the file: with another envelope, another header or no signatures it proves nothing.
pub(super) fn receipt_file(input: &[u8]) {
    check(input);
    if let Some(signed) = signed(input) {
        check(&signed);
    }
}

fn check(file: &[u8]) {
    let Ok(receipt) = Receipt::from_json(file) else {
        return;
    };
    let text = receipt.to_json();
    let again = Receipt::from_json(text.as_bytes()).expect("what was written is read");
    assert_eq!(again.to_json(), text);
    let (recorded, second) = (verify(&receipt), verify(&again));
    assert_eq!(
        recorded.as_ref().map(proved),
        second.as_ref().map(proved),
        "one verdict"
    );
    let Some(recorded) = recorded else {
        return;
    };
    let elsewhere = receipt.verify(Arc::clone(&World::get().configuration));
    assert!(elsewhere.is_err(), "another consortium's genesis");
    let file: Value = serde_json::from_str(&text).expect("a receipt is JSON");
    check_proved(&recorded, &file);
    for change in [longer_envelope, longer_header, unsigned] {
        let mut changed = file.clone();
        change(&mut changed);
        let read = Receipt::from_json(changed.to_string().as_bytes());
        let proves = read.ok().and_then(|receipt| verify(&receipt)).is_some();
        assert!(!proves, "{changed} proves something");
    }
}

fn verify(receipt: &Receipt) -> Option<Recorded> {
    receipt.verify(Arc::clone(&Governed::get().current)).ok()
}

fn proved(recorded: &Recorded) -> (String, String, u64, u64) {
    (
        recorded.transaction.to_string(),
        recorded.hash.to_string(),
        recorded.index,
        recorded.configuration,
    )
}

fn check_proved(recorded: &Recorded, file: &Value) {
    assert_eq!(file["index"], recorded.index);
    assert!(Some(recorded.index) < file["size"].as_u64());
    let configurations = file["configurations"].as_array().map(Vec::len);
    assert_eq!(configurations, Some(recorded.configuration as usize));
    let signatures = file["signatures"].as_array().map(Vec::len);
    assert!(recorded.signed >= 1 && Some(recorded.signed) <= signatures);
    assert_eq!(recorded.transaction, recorded.envelope.header().id());
    assert_eq!(
        recorded.header.channel,
        Governed::get().current.config().channel
    );
}

fn longer(file: &mut Value, field: &str) {
    let text = file[field].as_str().expect("a field of a receipt");
    let mut bytes = STANDARD.decode(text).expect("base64");
    bytes.push(0);
    file[field] = STANDARD.encode(bytes).into();
}

fn longer_envelope(file: &mut Value) {
    longer(file, "envelope");
}

fn longer_header(file: &mut Value) {
    longer(file, "header");
}

fn unsigned(file: &mut Value) {
    file["signatures"] = Value::Array(Vec::new());
}

/// The file with the signatures that were left out.
fn signed(input: &[u8]) -> Option<Vec<u8>> {
    let mut file: Value = serde_json::from_slice(input).ok()?;
    let header = STANDARD.decode(file.get("header")?.as_str()?).ok()?;
    let hash = hash::header(&header);
    let signature = Governed::get()
        .orderer
        .sign(domain::HEADER, hash.as_bytes());
    let signature = STANDARD.encode(signature);
    for given in file.get_mut("signatures")?.as_array_mut()? {
        let given = given.get_mut("signature")?;
        if *given == "" {
            *given = signature.clone().into();
        }
    }
    serde_json::to_vec(&file).ok()
}

pub(super) mod seeds {
    use bytes::Bytes;
    use prost::Message;
    use serde_json::json;
    use stela_protocol::block::Block;
    use stela_protocol::{BlockNumber, merkle, pb, transaction};

    use super::*;
    use crate::targets::governance::{seeds, signed as with_signatures};
    use crate::targets::protocol::seeds::registration;
    use crate::world::{START_MS, seal};

    /// A block behind another one, signed by the orderer.
    fn next(previous: &Block, last_config: BlockNumber, envelopes: Vec<Bytes>) -> Block {
        let (header, number) = (&previous.header, previous.header.number.next());
        let time_ms = START_MS + number.0;
        let channel = header.channel.clone();
        let mut block = Block::new(
            channel,
            number,
            previous.hash,
            last_config,
            time_ms,
            envelopes,
        );
        let orderer = &Governed::get().orderer;
        let signature = orderer.sign(domain::HEADER, block.hash.as_bytes());
        block.signatures = vec![pb::HeaderSignature {
            orderer: 1,
            signature: Bytes::copy_from_slice(&signature),
        }];
        block
    }

    /// A change of the configuration that both administrators signed.
    fn change() -> Bytes {
        let world = Governed::get();
        let [first, second] = &world.admins;
        let easier = "OR('A.admin','B.admin')";
        let change = seeds::change(|config| config.admin_policy = easier.to_owned());
        let open = seeds::open(first, &[first, second], &change);
        let update = with_signatures(world, &open).expect("a sound update");
        seal(transaction::config_payload(&update), first)
    }

    fn file(block: &Block, index: usize, configurations: &[&Block]) -> Value {
        let path = merkle::proof(&block.envelopes, index).expect("an envelope of the block");
        let signatures = block.signatures.iter().map(
            |one| json!({ "orderer": one.orderer, "signature": STANDARD.encode(&one.signature) }),
        );
        let configurations = configurations
            .iter()
            .map(|block| STANDARD.encode(block.to_pb().encode_to_vec()));
        json!({
            "stela_receipt": 1,
            "envelope": STANDARD.encode(&block.envelopes[index]),
            "index": index,
            "size": block.envelopes.len(),
            "path": path.iter().map(ToString::to_string).collect::<Vec<_>>(),
            "header": STANDARD.encode(&block.header_bytes),
            "signatures": signatures.collect::<Vec<_>>(),
            "configurations": configurations.collect::<Vec<_>>(),
        })
    }

    fn open(mut file: Value) -> Value {
        file["signatures"][0]["signature"] = "".into();
        file
    }

    pub(in crate::targets) fn receipt_file() -> Vec<Vec<u8>> {
        let genesis = &Governed::get().genesis;
        let others = [b"one", b"two"].map(|text| Bytes::from_static(text));
        let among = |envelope: Bytes| [&others[..1], &[envelope], &others[1..]].concat();
        let alone = next(genesis, BlockNumber(0), vec![registration()]);
        let second = next(genesis, BlockNumber(0), among(registration()));
        let changing = next(genesis, BlockNumber(1), vec![change()]);
        let later = next(&changing, BlockNumber(1), among(registration()));
        let whole = file(&second, 1, &[]);
        let changed = |change: fn(&mut Value)| {
            let mut file = whole.clone();
            change(&mut file);
            file
        };
        let files = [
            open(file(&alone, 0, &[])),
            whole.clone(),
            open(file(&later, 1, &[&changing])),
            file(&changing, 0, &[]),
            file(&later, 1, &[]),
            changed(|file| file["signatures"][0]["orderer"] = 2.into()),
            changed(|file| file["path"] = json!([file["path"][0]])),
            changed(|file| file["index"] = 0.into()),
            changed(|file| file["stela_receipt"] = 2.into()),
            changed(|file| file["verdict"] = "VALID".into()),
            json!([]),
        ];
        files.map(|file| file.to_string().into_bytes()).into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else the target would only ever see what is refused.
    #[test]
    fn the_first_four_inputs_prove_something_and_no_others() {
        let proves = |input: &Vec<u8>| {
            let input = signed(input).unwrap_or_else(|| input.clone());
            let receipt = Receipt::from_json(&input).ok();
            receipt.and_then(|receipt| verify(&receipt)).is_some()
        };
        let verdicts: Vec<bool> = seeds::receipt_file().iter().map(proves).collect();
        assert_eq!(verdicts[..4], [true; 4]);
        assert_eq!(verdicts[4..], [false; 7]);
    }
}
