//! Keys of a patient's certificates, her delegates, and consents asked of her.

use stela_consent::{Fingerprint, Id};
use stela_guest::{Key, KeyRange};

use super::{Result, key, range, text};

pub(crate) fn certificate(patient: &Id, fingerprint: &Fingerprint) -> Result<Key> {
    key("m", &[&text(patient), &text(fingerprint)])
}

pub(crate) fn certificates(patient: &Id) -> Result<KeyRange> {
    range("m", &[&text(patient)])
}

pub(crate) fn delegation(patient: &Id, delegate: &Fingerprint, delegation: &Id) -> Result<Key> {
    key("d", &[&text(patient), &text(delegate), &text(delegation)])
}

pub(crate) fn delegations(patient: &Id) -> Result<KeyRange> {
    range("d", &[&text(patient)])
}

pub(crate) fn delegations_of(patient: &Id, delegate: &Fingerprint) -> Result<KeyRange> {
    range("d", &[&text(patient), &text(delegate)])
}

pub(crate) fn consent_request(patient: &Id, request: &Id) -> Result<Key> {
    key("j", &[&text(patient), &text(request)])
}

pub(crate) fn consent_requests(patient: &Id) -> Result<KeyRange> {
    range("j", &[&text(patient)])
}

pub(crate) fn consent_request_answer(patient: &Id, request: &Id) -> Result<Key> {
    key("l", &[&text(patient), &text(request)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use stela_consent::Hex;

    #[test]
    fn the_layout_does_not_change_unseen() {
        let (id, hash) = (Hex([0xab; 16]), Hex([0xcd; 32]));
        let id_text = "q6urq6urq6urq6urq6urqw";
        let hash_text = "zc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc0";
        let check = |key: Result<Key>, expected: String| {
            let expected = expected.replace('.', "\0");
            assert_eq!(key.unwrap().as_bytes(), expected.as_bytes());
        };
        check(certificate(&id, &hash), format!("m.{id_text}.{hash_text}."));
        check(
            delegation(&id, &hash, &id),
            format!("d.{id_text}.{hash_text}.{id_text}."),
        );
        check(consent_request(&id, &id), format!("j.{id_text}.{id_text}."));
        check(
            consent_request_answer(&id, &id),
            format!("l.{id_text}.{id_text}."),
        );
    }
}
