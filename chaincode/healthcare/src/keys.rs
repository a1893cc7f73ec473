//! The layout of the state; the table is in the crate's documentation.

use data_encoding::BASE64URL_NOPAD;
use stela_consent::{Fingerprint, Hex, Id, Organization, Role};
use stela_guest::{ContractError, Key, KeyRange};

mod device;
mod emergency;
mod erasure;
mod review;
mod study;

pub(crate) use device::*;
pub(crate) use emergency::*;
pub(crate) use erasure::*;
pub(crate) use review::*;
pub(crate) use study::*;

type Result<T> = std::result::Result<T, ContractError>;

fn text<const N: usize>(bytes: &Hex<N>) -> String {
    BASE64URL_NOPAD.encode(&bytes.0)
}

fn key(kind: &str, attributes: &[&str]) -> Result<Key> {
    Ok(Key::composite(kind, attributes)?)
}

fn range(kind: &str, attributes: &[&str]) -> Result<KeyRange> {
    Ok(KeyRange::prefix(kind, attributes)?)
}

/// Reads an attribute of a key that this module made.
pub(crate) fn attribute<const N: usize>(key: &[u8], index: usize) -> Result<Hex<N>> {
    let read = || {
        let key = Key::decode(key).ok()?;
        let bytes = BASE64URL_NOPAD
            .decode(key.attribute(index)?.as_bytes())
            .ok()?;
        Some(Hex(bytes.try_into().ok()?))
    };
    read().ok_or_else(|| ContractError::corrupt_state("key"))
}

pub(crate) fn patient(patient: &Id) -> Result<Key> {
    key("p", &[&text(patient)])
}

pub(crate) fn consent(patient: &Id, consent: &Id) -> Result<Key> {
    key("c", &[&text(patient), &text(consent)])
}

pub(crate) fn consents(patient: &Id) -> Result<KeyRange> {
    range("c", &[&text(patient)])
}

pub(crate) fn revocation(patient: &Id, consent: &Id) -> Result<Key> {
    key("x", &[&text(patient), &text(consent)])
}

pub(crate) fn revocations(patient: &Id) -> Result<KeyRange> {
    range("x", &[&text(patient)])
}

pub(crate) fn record(record: &Id) -> Result<Key> {
    key("r", &[&text(record)])
}

pub(crate) fn record_of_patient(patient: &Id, record: &Id) -> Result<Key> {
    key("i", &[&text(patient), &text(record)])
}

pub(crate) fn records_of_patient(patient: &Id) -> Result<KeyRange> {
    range("i", &[&text(patient)])
}

pub(crate) fn submission(record: &Id, version: u32) -> Result<Key> {
    key("v", &[&text(record), &version.to_string()])
}

pub(crate) fn author(record: &Id, version: u32) -> Result<Key> {
    key("b", &[&text(record), &version.to_string()])
}

pub(crate) fn review(record: &Id, version: u32) -> Result<Key> {
    key("s", &[&text(record), &version.to_string()])
}

pub(crate) fn wrap(record: &Id, version: u32, commitment: &Hex<32>) -> Result<Key> {
    key(
        "w",
        &[&text(record), &version.to_string(), &text(commitment)],
    )
}

pub(crate) fn wraps(record: &Id, version: u32) -> Result<KeyRange> {
    range("w", &[&text(record), &version.to_string()])
}

pub(crate) fn permit(record: &Id, version: u32, reader: &Fingerprint) -> Result<Key> {
    key("g", &[&text(record), &version.to_string(), &text(reader)])
}

/// The permits for every version of a record.
pub(crate) fn permits(record: &Id) -> Result<KeyRange> {
    range("g", &[&text(record)])
}

/// The record that a place among the permits of one record names.
pub(crate) fn permit_record(start: &[u8]) -> Option<Id> {
    let mut parts = start.split(|byte| *byte == 0);
    let record = parts
        .by_ref()
        .nth(1)
        .filter(|_| start.starts_with(b"g\0"))?;
    let bytes = BASE64URL_NOPAD.decode(record).ok()?;
    Some(Hex(bytes.try_into().ok()?))
}

/// The version in the key of a permit.
pub(crate) fn permit_version(bytes: &[u8]) -> Result<u32> {
    let key = Key::decode(bytes).ok();
    let version = key.and_then(|key| key.attribute(1)?.parse().ok());
    version.ok_or_else(|| ContractError::corrupt_state("key"))
}

pub(crate) fn encryption_key(owner: &Fingerprint) -> Result<Key> {
    key("k", &[&text(owner)])
}

pub(crate) fn encryption_key_owner(owner: &Fingerprint) -> Result<Key> {
    key("e", &[&text(owner)])
}

pub(crate) fn encryption_key_by_role(
    organization: &Organization,
    role: Role,
    owner: &Fingerprint,
) -> Result<Key> {
    key("o", &[organization.as_str(), role.code(), &text(owner)])
}

pub(crate) fn encryption_keys_by_role(organization: &Organization, role: Role) -> Result<KeyRange> {
    range("o", &[organization.as_str(), role.code()])
}

pub(crate) fn encryption_key_by_patient(patient: &Id, owner: &Fingerprint) -> Result<Key> {
    key("q", &[&text(patient), &text(owner)])
}

pub(crate) fn encryption_keys_by_patient(patient: &Id) -> Result<KeyRange> {
    range("q", &[&text(patient)])
}

/// Twelve digits of hexadecimal, which sort by time until the year 10889.
fn time_text(time_ms: u64) -> String {
    format!("{time_ms:012x}")
}

pub(crate) fn audit(patient: &Id, time_ms: u64, transaction: &Hex<32>) -> Result<Key> {
    key(
        "a",
        &[&text(patient), &time_text(time_ms), &text(transaction)],
    )
}

pub(crate) fn audit_trail(patient: &Id) -> Result<KeyRange> {
    range("a", &[&text(patient)])
}

/// The audit entries from one time up to, but not including, another one; nothing when the second
/// is not after the first.
pub(crate) fn audit_between(patient: &Id, from_ms: u64, to_ms: u64) -> Result<Option<KeyRange>> {
    // What is later does not fit in twelve digits, and no transaction has such a time.
    let to_ms = to_ms.min(0xffff_ffff_ffff);
    if from_ms >= to_ms {
        return Ok(None);
    }
    let at = |time_ms: u64| key("a", &[&text(patient), &time_text(time_ms)]);
    let trail = audit_trail(patient)?;
    let rest = trail.from(at(from_ms)?.as_bytes());
    Ok(rest.and_then(|rest| rest.until(at(to_ms).ok()?.as_bytes())))
}

/// The time and the transaction in the key of an audit entry.
pub(crate) fn audit_parts(bytes: &[u8]) -> Result<(u64, Hex<32>)> {
    let corrupt = || ContractError::corrupt_state("key");
    let key = Key::decode(bytes).map_err(|_| corrupt())?;
    let time = key
        .attribute(1)
        .and_then(|t| u64::from_str_radix(t, 16).ok());
    Ok((time.ok_or_else(corrupt)?, attribute(bytes, 2)?))
}

mod people;
pub(crate) use people::*;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_layout_does_not_change_unseen() {
        let id = Hex([0xab; 16]);
        let hash = Hex([0xcd; 32]);
        let id_text = "q6urq6urq6urq6urq6urqw";
        let hash_text = "zc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc0";
        let check = |key: Result<Key>, expected: String| {
            let expected = expected.replace('.', "\0");
            assert_eq!(key.unwrap().as_bytes(), expected.as_bytes());
        };
        check(patient(&id), format!("p.{id_text}."));
        check(consent(&id, &id), format!("c.{id_text}.{id_text}."));
        check(revocation(&id, &id), format!("x.{id_text}.{id_text}."));
        check(record(&id), format!("r.{id_text}."));
        check(
            record_of_patient(&id, &id),
            format!("i.{id_text}.{id_text}."),
        );
        check(submission(&id, 12), format!("v.{id_text}.12."));
        check(author(&id, 1), format!("b.{id_text}.1."));
        check(review(&id, 1), format!("s.{id_text}.1."));
        check(wrap(&id, 1, &hash), format!("w.{id_text}.1.{hash_text}."));
        check(permit(&id, 1, &hash), format!("g.{id_text}.1.{hash_text}."));
        check(encryption_key(&hash), format!("k.{hash_text}."));
        check(encryption_key_owner(&hash), format!("e.{hash_text}."));
        check(
            encryption_key_by_role(&"A".parse().unwrap(), Role::Peer, &hash),
            format!("o.A.peer.{hash_text}."),
        );
        check(
            encryption_key_by_patient(&id, &hash),
            format!("q.{id_text}.{hash_text}."),
        );
        check(emergency(&id, &hash), format!("ue.{id_text}.{hash_text}."));
        check(
            emergency_review(&id, &hash),
            format!("uf.{id_text}.{hash_text}."),
        );
        check(
            open_review(&hash, 77, &hash),
            format!("u.{hash_text}.00000000004d.{hash_text}."),
        );
        check(
            open_review_at(&"A".parse().unwrap(), &id, &hash),
            format!("uo.A.{id_text}.{hash_text}."),
        );
        check(study(&id), format!("st.{id_text}."));
        check(sponsor(&id), format!("so.{id_text}."));
        check(end_of_study(&id), format!("sx.{id_text}."));
        check(
            investigator(&id, &hash),
            format!("si.{id_text}.{hash_text}."),
        );
        check(
            investigator_by_role(&id, &"A".parse().unwrap(), Role::Researcher),
            format!("sr.{id_text}.A.researcher."),
        );
        check(enrolment(&id, &id), format!("sm.{id_text}.{id_text}."));
        check(pseudonym(&id, &id), format!("sp.{id_text}.{id_text}."));
        check(device(&hash), format!("vd.{hash_text}."));
        check(
            device_of_patient(&id, &hash),
            format!("vp.{id_text}.{hash_text}."),
        );
        check(sequence(&hash), format!("vs.{hash_text}."));
        check(window(&id), format!("vw.{id_text}."));
        check(
            audit(&id, 1_767_225_600_000, &hash),
            format!("a.{id_text}.019b76daa800.{hash_text}."),
        );
    }

    #[test]
    fn the_layout_of_reviews_and_erasures_does_not_change_unseen() {
        let (id, hash) = (Hex([0xab; 16]), Hex([0xcd; 32]));
        let id_text = "q6urq6urq6urq6urq6urqw";
        let hash_text = "zc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc0";
        let cid = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";
        let check = |key: Result<Key>, expected: String| {
            let expected = expected.replace('.', "\0");
            assert_eq!(key.unwrap().as_bytes(), expected.as_bytes());
        };
        check(
            confirmation(&id, 2, &hash),
            format!("y.{id_text}.2.{hash_text}."),
        );
        check(tombstone(&id), format!("t.{id_text}."));
        check(erasure_request(&id, &id), format!("z.{id_text}.{id_text}."));
        check(erasure_proposal(&id), format!("zu.{id_text}."));
        check(
            open_erasure(&"A".parse().unwrap(), &id, &id),
            format!("zo.A.{id_text}.{id_text}."),
        );
        let blob = blob(&cid.to_owned().try_into().unwrap(), &id);
        check(blob, format!("n.{cid}.{id_text}."));
    }

    #[test]
    fn a_period_of_the_trail_covers_its_entries_and_no_others() {
        let (id, hash) = (Hex([1; 16]), Hex([0xff; 32]));
        let inside = |from_ms: u64, to_ms: u64, time_ms: u64| {
            let range = audit_between(&id, from_ms, to_ms).unwrap().unwrap();
            let key = audit(&id, time_ms, &hash).unwrap();
            range.from(key.as_bytes()).is_some()
        };
        assert!(inside(5, 7, 5) && inside(5, 7, 6));
        assert!(!inside(5, 7, 4) && !inside(5, 7, 7));
        assert!(inside(0, u64::MAX, 1_767_225_600_000));
        assert!(audit_between(&id, 7, 7).unwrap().is_none());
        assert!(audit_between(&id, u64::MAX, u64::MAX).unwrap().is_none());
    }

    #[test]
    fn attributes_are_read_back() {
        let (id, hash) = (Hex([1; 16]), Hex([2; 32]));
        let key = audit(&id, 77, &hash).unwrap();
        assert_eq!(audit_parts(key.as_bytes()).unwrap(), (77, hash));
        let key = consent(&id, &Hex([9; 16])).unwrap();
        assert_eq!(attribute::<16>(key.as_bytes(), 1).unwrap(), Hex([9; 16]));
        assert!(attribute::<32>(key.as_bytes(), 1).is_err());
        assert!(audit_parts(key.as_bytes()).is_err());
    }
}
