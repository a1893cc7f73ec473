//! Whether a consent that was asked for opened what it says.

use stela_consent::Consent;
use stela_healthcare::answer::{AccessDecision, Verdict};
use stela_healthcare::request::{AnswerConsentRequest, RequestAccess, RequestConsent};

use super::chain::Ledger;
use super::{all_hold, same};
use crate::evidence::Evidence;
use crate::report::Findings;

pub(super) fn judge(
    evidence: &Evidence,
    ledger: &Ledger,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let asked = &evidence.asked;
    let mut requests = ledger.calls_by::<RequestConsent>(&asked.by, "request_consent");
    let request =
        requests.find(|(_, one)| one.request == asked.request && one.patient == evidence.patient);
    let mut answers = ledger
        .calls_of::<AnswerConsentRequest>(evidence.patient, "answer_consent_request")
        .into_iter();
    let answer = answers.find(|(_, one)| one.request == asked.request);
    let reads: Vec<_> = ledger
        .calls_by::<RequestAccess>(&asked.by, "request_access")
        .collect();
    let (mut partial, mut in_order, mut by_it) = (false, false, !reads.is_empty());
    if let (Some((first, request)), Some((second, answer))) = (&request, &answer) {
        let granted = answer.consent.as_ref();
        partial = granted.is_some_and(|granted| is_a_part(granted, &request.consent));
        in_order = first.at < second.at && reads.iter().all(|(tx, _)| second.at < tx.at);
        for (tx, read) in &reads {
            let decision: Option<AccessDecision> = tx.answer();
            by_it &= read.record == evidence.record
                && decision.is_some_and(|decision| {
                    decision.decision == Verdict::Permit
                        && decision.consent.is_some()
                        && decision.consent == granted.map(Consent::id)
                });
        }
    }
    findings.consent_request_answered = all_hold(
        findings,
        [
            (request.is_some(), "no request for consent is committed"),
            (answer.is_some(), "no answer to it is committed"),
            (
                partial,
                "what was granted is not a part of what was asked for",
            ),
            (in_order, "asked, granted and read is not the order"),
            (
                by_it,
                "what the consultant read was not permitted by that consent",
            ),
            (
                same(&asked.read, &evidence.written[1])?,
                "what the consultant read is not what was written",
            ),
        ],
    );
    Ok(())
}

/// Whether a consent says less than another one.
fn is_a_part(granted: &Consent, asked: &Consent) -> bool {
    granted.is_within(asked).is_ok() && asked.is_within(granted).is_err()
}
