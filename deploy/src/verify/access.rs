//! Who was permitted and who was denied, by the committed transactions.

use stela_consent::{Fingerprint, Id, Purpose};
use stela_healthcare::answer::{AccessDecision, Verdict};
use stela_healthcare::request::{ConfirmRecord, RequestAccess, RevokeConsent, SubmitRecord};

use super::chain::{Ledger, Position};
use super::same;
use crate::evidence::Evidence;
use crate::report::Findings;

/// A committed decision about access.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Decision {
    at: Position,
    record: Id,
    version: u32,
    permitted: bool,
    /// Whether it is about the patient and treatment, and names its own transaction.
    as_told: bool,
    consent: Option<Id>,
}

/// The decisions on what `creator` asked for, in the order of the chain.
fn decisions(evidence: &Evidence, ledger: &Ledger, creator: &Fingerprint) -> Vec<Decision> {
    let own = ledger.valid.iter().filter(|tx| tx.by(creator));
    own.filter_map(|tx| {
        let request: RequestAccess = tx.call("request_access")?;
        let answer: AccessDecision = tx.answer()?;
        Some(Decision {
            at: tx.at,
            record: request.record,
            version: request.version,
            permitted: answer.decision == Verdict::Permit,
            as_told: request.patient == evidence.patient
                && request.purpose == Purpose::Treat
                && answer.request == tx.id,
            consent: answer.consent,
        })
    })
    .collect()
}

/// Judges what was permitted, denied, and read.
pub(super) fn judge(
    evidence: &Evidence,
    ledger: &Ledger,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let reader = decisions(evidence, ledger, &evidence.reader);
    let stranger = decisions(evidence, ledger, &evidence.stranger);
    let [first, second, again] = &evidence.read;
    let [written, amended] = &evidence.written;
    let in_order = permits_in_order(&reader, evidence.record, evidence.consent);
    if !in_order {
        let what = "the reader's committed permits are not those of the story";
        findings.remarks.push(what.to_owned());
    }
    findings.permitted_read_identical =
        in_order && same(written, first)? && same(amended, second)? && same(written, again)?;
    findings.denied_without_consent = only_denied_after(&stranger, evidence.record, (0, 0))
        && !evidence.refused[0].try_exists()?;
    let revoked = revocation(evidence, ledger);
    if revoked.is_none() {
        let what = "no revocation of the consent is committed";
        findings.remarks.push(what.to_owned());
    }
    findings.denied_after_revocation = revoked
        .is_some_and(|at| only_denied_after(&reader, evidence.record, at))
        && !evidence.refused[1].try_exists()?;
    findings.old_version_intact = amended_before_last_permit(evidence, ledger, &reader)
        && same(written, again)?
        && !same(written, amended)?;
    Ok(())
}

/// Whether the permits are for version 1, version 2 and version 1 of the record, by the consent,
/// and there is no other.
fn permits_in_order(decisions: &[Decision], record: Id, consent: Id) -> bool {
    let permits = || decisions.iter().filter(|decision| decision.permitted);
    let by_consent = |permit: &Decision| {
        permit.as_told && permit.record == record && permit.consent == Some(consent)
    };
    permits().all(by_consent) && permits().map(|permit| permit.version).eq([1, 2, 1])
}

/// Whether there is a denial for the record after `at`, and no permit for anything.
fn only_denied_after(decisions: &[Decision], record: Id, at: Position) -> bool {
    let mut denied = false;
    for later in decisions.iter().filter(|decision| decision.at > at) {
        if later.permitted {
            return false;
        }
        denied |= later.as_told && later.record == record;
    }
    denied
}

fn revocation(evidence: &Evidence, ledger: &Ledger) -> Option<Position> {
    let wanted = |request: &RevokeConsent| {
        request.consent == evidence.consent && request.patient == evidence.patient
    };
    let (tx, _) = ledger.find("revoke_consent", wanted)?;
    Some(tx.at)
}

/// Whether version 2, with another CID than version 1, was confirmed before the last permit.
fn amended_before_last_permit(evidence: &Evidence, ledger: &Ledger, reader: &[Decision]) -> bool {
    let version = |function: &str, version: u32| {
        let wanted = |request: &SubmitRecord| {
            request.record == evidence.record && request.version == version
        };
        let (_, request) = ledger.find(function, wanted)?;
        Some(request.cid)
    };
    let cids = version("submit_record", 1).zip(version("amend_record", 2));
    let wanted =
        |request: &ConfirmRecord| request.record == evidence.record && request.version == 2;
    let confirmed = ledger.find("confirm_record", wanted).map(|(tx, _)| tx.at);
    let last = reader.iter().filter(|decision| decision.permitted).nth(2);
    let in_time = confirmed.zip(last).is_some_and(|(confirmed, last)| {
        last.version == 1 && last.record == evidence.record && confirmed < last.at
    });
    in_time && cids.is_some_and(|(first, second)| first != second)
}

#[cfg(test)]
mod tests {
    use stela_consent::Hex;

    use super::*;

    const RECORD: Id = Hex([1; 16]);
    const CONSENT: Id = Hex([2; 16]);
    const OTHER: Id = Hex([3; 16]);

    fn decision(block: u64, version: u32, permitted: bool) -> Decision {
        Decision {
            at: (block, 0),
            record: RECORD,
            version,
            permitted,
            as_told: true,
            consent: permitted.then_some(CONSENT),
        }
    }

    fn story() -> Vec<Decision> {
        vec![
            decision(1, 1, true),
            decision(2, 2, true),
            decision(3, 1, true),
            decision(5, 2, false),
        ]
    }

    #[test]
    fn the_permits_of_the_story_are_recognized() {
        assert!(permits_in_order(&story(), RECORD, CONSENT));
        assert!(!permits_in_order(&story(), OTHER, CONSENT));
        assert!(!permits_in_order(&story(), RECORD, OTHER));
    }

    #[test]
    fn a_permit_too_few_too_many_or_in_another_order_is_noticed() {
        assert!(!permits_in_order(&story()[1..], RECORD, CONSENT));
        let more = [story(), vec![decision(6, 1, true)]].concat();
        assert!(!permits_in_order(&more, RECORD, CONSENT));
        let mut swapped = story();
        swapped.swap(0, 1);
        assert!(!permits_in_order(&swapped, RECORD, CONSENT));
        let mut otherwise = story();
        otherwise[1].as_told = false;
        assert!(!permits_in_order(&otherwise, RECORD, CONSENT));
    }

    #[test]
    fn only_what_comes_after_the_revocation_counts() {
        assert!(only_denied_after(&story(), RECORD, (4, 0)));
        assert!(
            !only_denied_after(&story(), RECORD, (5, 0)),
            "no denial is left"
        );
        assert!(!only_denied_after(&story(), RECORD, (2, 9)), "a permit is");
        assert!(!only_denied_after(&story(), OTHER, (4, 0)));
        let mut same_block = story();
        same_block[3].at = (4, 1);
        assert!(only_denied_after(&same_block, RECORD, (4, 0)));
        assert!(!only_denied_after(&same_block, RECORD, (4, 2)));
    }
}
