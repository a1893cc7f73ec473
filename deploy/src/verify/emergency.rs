//! Whether an emergency access went its way: told, answered, reviewed.

use serde_json::{Value, json};
use stela_client::Network;
use stela_consent::Hex;
use stela_healthcare::answer::{AccessDecision, Concern, Concerned, Verdict};
use stela_healthcare::event::{self, EmergencyEvent};
use stela_healthcare::request::{BreakGlass, ReviewEmergency, ShareKeys};
use stela_healthcare::{Basis, Finding};

use super::chain::{Committed, Ledger};
use super::{all_hold, ask, same};
use crate::evidence::Evidence;
use crate::report::Findings;

/// Judges it; `patient` is the observer's peer, asked as the patient.
pub(super) async fn judge(
    evidence: &Evidence,
    ledger: &Ledger,
    patient: &Network,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let glass = &evidence.emergency;
    let mut accesses = ledger.calls_by::<BreakGlass>(&glass.by, "break_glass");
    let broken =
        accesses.find(|(_, one)| one.patient == evidence.patient && one.record == evidence.record);
    let Some((broken, asked)) = broken else {
        findings
            .remarks
            .push("no emergency access is committed".to_owned());
        return Ok(());
    };
    let mut answers = ledger.calls_by::<ShareKeys>(&glass.answered_by, "share_keys");
    let answered = answers.find(|(_, one)| {
        one.reader == Some(glass.by) && one.record == asked.record && one.version == asked.version
    });
    let mut reviews = ledger.calls_by::<ReviewEmergency>(&glass.reviewed_by, "review_emergency");
    let reviewed = reviews.find(|(_, one)| {
        one.request == broken.id
            && one.practitioner == glass.by
            && one.finding == Finding::Justified
    });
    let in_order = answered
        .zip(reviewed)
        .is_some_and(|((answered, _), (reviewed, _))| {
            broken.at < answered.at
                && answered.at < reviewed.at
                && reviewed
                    .event::<EmergencyEvent>(event::EMERGENCY_REVIEWED)
                    .is_some()
        });
    let request = json!({ "record": asked.record, "version": asked.version });
    let concerned: Concerned = ask(patient, "concerns", &request).await?;
    let shown: Value = serde_json::from_slice(&std::fs::read(&glass.notified)?)?;
    findings.emergency_notified_and_reviewed = all_hold(
        findings,
        [
            (
                was_emergency(broken, evidence),
                "the access rests on something else than the emergency",
            ),
            (
                concerned.reasons.contains(&Concern::Patient) && names(&shown, broken.id),
                "the patient was not notified",
            ),
            (
                in_order,
                "access, answer and review are not committed in order",
            ),
            (
                same(&glass.read, &evidence.written[1])?,
                "what was read in the emergency is not what was written",
            ),
        ],
    );
    Ok(())
}

/// A permit on no other basis, with the event that tells the patient.
fn was_emergency(broken: &Committed, evidence: &Evidence) -> bool {
    let decision: Option<AccessDecision> = broken.answer();
    let permitted = decision.is_some_and(|decision| {
        decision.decision == Verdict::Permit
            && decision.basis == Basis::Emergency
            && decision.consent.is_none()
    });
    let told: Option<EmergencyEvent> = broken.event(event::EMERGENCY_ACCESSED);
    permitted
        && told.is_some_and(|told| told.patient == evidence.patient && told.request == broken.id)
}

/// Whether a list of notifications has the emergency.
fn names(shown: &Value, request: Hex<32>) -> bool {
    let one = |notification: &Value| {
        notification.get("event").and_then(Value::as_str) == Some(event::EMERGENCY_ACCESSED)
            && notification.get("transaction").and_then(Value::as_str) == Some(&request.to_string())
    };
    match shown {
        Value::Array(all) => all.iter().any(one),
        single => one(single),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_notification_is_found_by_its_event_and_transaction() {
        let request = Hex([7; 32]);
        let told = |event: &str, request: Hex<32>| json!({ "event": event, "transaction": request.to_string() });
        let right = told(event::EMERGENCY_ACCESSED, request);
        assert!(names(
            &json!([told("record.confirmed", request), right]),
            request
        ));
        assert!(names(&right, request));
        assert!(!names(&json!([]), request));
        assert!(!names(&told("record.confirmed", request), request));
        assert!(!names(
            &told(event::EMERGENCY_ACCESSED, Hex([8; 32])),
            request
        ));
    }
}
