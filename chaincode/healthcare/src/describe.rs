//! Keys of the state in words, for people who look at transactions.

use data_encoding::{BASE64URL_NOPAD, HEXLOWER};
use stela_guest::Key;

/// What a key holds, and what its attributes are.
type Kind = (&'static str, &'static str, &'static [&'static str]);

/// The table in the crate's documentation.
const KINDS: &[Kind] = &[
    ("p", "patient", &["patient"]),
    ("c", "consent", &["patient", "consent"]),
    ("x", "end of a consent", &["patient", "consent"]),
    ("r", "record", &["record"]),
    ("i", "list of a patient's records", &["patient", "record"]),
    ("v", "submission", &["record", "version"]),
    ("b", "author", &["record", "version"]),
    ("s", "review", &["record", "version"]),
    ("w", "wrapped keys", &["record", "version", "commitment"]),
    ("g", "permit", &["record", "version", "certificate"]),
    ("k", "encryption key", &["certificate"]),
    ("e", "owner of an encryption key", &["certificate"]),
    (
        "o",
        "encryption keys by role",
        &["organization", "role", "certificate"],
    ),
    (
        "q",
        "encryption keys of a patient",
        &["patient", "certificate"],
    ),
    ("a", "audit entry", &["patient", "time", "transaction"]),
    ("y", "confirmation", &["record", "version", "certificate"]),
    ("n", "records that name a blob", &["cid", "record"]),
    ("t", "tombstone", &["record"]),
    ("z", "request for erasure", &["patient", "record"]),
    (
        "zo",
        "open requests for erasure by organization",
        &["organization", "patient", "record"],
    ),
    ("zu", "proposal of erasure", &["record"]),
    ("m", "certificate of a patient", &["patient", "certificate"]),
    ("d", "delegation", &["patient", "delegate", "delegation"]),
    ("ue", "emergency access", &["patient", "transaction"]),
    (
        "uf",
        "review of an emergency access",
        &["patient", "transaction"],
    ),
    ("u", "open review", &["certificate", "time", "transaction"]),
    (
        "uo",
        "open reviews by organization",
        &["organization", "patient", "transaction"],
    ),
    ("st", "study", &["study"]),
    ("so", "sponsor of a study", &["study"]),
    ("sx", "end of a study", &["study"]),
    ("si", "investigator", &["study", "certificate"]),
    (
        "sr",
        "investigators by role",
        &["study", "organization", "role"],
    ),
    ("sm", "part in a study", &["study", "patient"]),
    ("sp", "pseudonym", &["study", "pseudonym"]),
    ("vd", "binding of a device", &["device"]),
    ("vp", "list of a patient's devices", &["patient", "device"]),
    ("vs", "sequence of a device", &["device"]),
    ("vw", "window of observations", &["record"]),
    ("j", "request for consent", &["patient", "request"]),
    ("l", "answer to a request", &["patient", "request"]),
];

/// Attributes that are text as they stand.
const PLAIN: [&str; 5] = ["version", "time", "organization", "role", "cid"];

/// A key in words, or the beginning that the keys of a range share: `review of record 75722b…
/// version 1`. Nothing when it is no key of this contract.
pub fn describe_key(bytes: &[u8]) -> Option<String> {
    let key = Key::decode(bytes).ok()?;
    let mut parts = key.parts();
    let kind = parts.next()?;
    let (_, title, names) = KINDS.iter().find(|(code, ..)| *code == kind)?;
    let mut words = Vec::new();
    for (index, part) in parts.enumerate() {
        let name = names.get(index)?;
        let value = match PLAIN.contains(name) {
            true if part.contains(char::is_control) => return None,
            true => part.to_owned(),
            false => HEXLOWER.encode(&BASE64URL_NOPAD.decode(part.as_bytes()).ok()?),
        };
        words.push(format!("{name} {value}"));
    }
    Some(format!("{title} of {}", words.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys;
    use stela_consent::{Hex, Role};

    #[test]
    fn every_key_is_described() {
        let (id, hash) = (Hex([0xab; 16]), Hex([0xcd; 32]));
        let (id_text, hash_text) = ("ab".repeat(16), "cd".repeat(32));
        let check = |key: Result<Key, _>, expected: String| {
            let key: Key = key.map_err(|_: stela_guest::ContractError| ()).unwrap();
            assert_eq!(describe_key(key.as_bytes()), Some(expected));
        };
        check(keys::patient(&id), format!("patient of patient {id_text}"));
        check(
            keys::review(&id, 3),
            format!("review of record {id_text} version 3"),
        );
        check(
            keys::permit(&id, 1, &hash),
            format!("permit of record {id_text} version 1 certificate {hash_text}"),
        );
        check(
            keys::encryption_key_by_role(&"A".parse().unwrap(), Role::Peer, &hash),
            format!("encryption keys by role of organization A role peer certificate {hash_text}"),
        );
        check(
            keys::audit(&id, 77, &hash),
            format!("audit entry of patient {id_text} time 00000000004d transaction {hash_text}"),
        );
        let all = [
            keys::consent(&id, &id),
            keys::revocation(&id, &id),
            keys::record(&id),
            keys::record_of_patient(&id, &id),
            keys::submission(&id, 1),
            keys::author(&id, 1),
            keys::wrap(&id, 1, &hash),
            keys::encryption_key(&hash),
            keys::encryption_key_owner(&hash),
            keys::encryption_key_by_patient(&id, &hash),
            keys::emergency(&id, &hash),
            keys::emergency_review(&id, &hash),
            keys::open_review(&hash, 77, &hash),
            keys::open_review_at(&"A".parse().unwrap(), &id, &hash),
            keys::study(&id),
            keys::sponsor(&id),
            keys::end_of_study(&id),
            keys::investigator(&id, &hash),
            keys::investigator_by_role(&id, &"A".parse().unwrap(), Role::Researcher),
            keys::enrolment(&id, &id),
            keys::pseudonym(&id, &id),
            keys::device(&hash),
            keys::device_of_patient(&id, &hash),
            keys::sequence(&hash),
            keys::window(&id),
            keys::confirmation(&id, 1, &hash),
            keys::tombstone(&id),
            keys::erasure_request(&id, &id),
            keys::open_erasure(&"A".parse().unwrap(), &id, &id),
            keys::erasure_proposal(&id),
            keys::certificate(&id, &hash),
            keys::delegation(&id, &hash, &id),
            keys::consent_request(&id, &id),
            keys::consent_request_answer(&id, &id),
        ];
        for key in all {
            let key = key.map_err(|_| ()).unwrap();
            assert!(describe_key(key.as_bytes()).is_some(), "{key:?}");
        }
        let range = keys::audit_trail(&id).map_err(|_| ()).unwrap();
        let start = describe_key(range.start());
        assert_eq!(start, Some(format!("audit entry of patient {id_text}")));
    }

    #[test]
    fn other_keys_are_not() {
        for bytes in [
            &b""[..],
            b"p",
            b"z\0x\0",
            b"p\0!\0",
            b"p\0\xff\0",
            b"o\0\x1b[2J\0",
        ] {
            assert_eq!(describe_key(bytes), None, "{bytes:?}");
        }
    }
}
