//! Whether the audit trails tell what happened.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::json;
use stela_client::Network;
use stela_consent::{Fingerprint, Hex, Id};
use stela_healthcare::answer::AuditEntry;
use stela_healthcare::event;

use super::ask_all;
use super::chain::{Committed, Ledger};
use crate::report::Findings;

/// Events of which no patient's trail has an entry, though they may name her: the registration of a
/// first key says nothing about her records, and a study is not about anybody yet.
const UNTOLD: [&str; 2] = [event::KEY_REGISTERED, event::STUDY_REGISTERED];

/// Events that do not say about whom they are: it is who made the transaction.
const UNNAMED: [&str; 2] = [event::STUDY_ENROLLED, event::STUDY_WITHDRAWN];

/// What an event names.
#[derive(Deserialize)]
struct Named {
    patient: Option<Id>,
}

/// Holds the trail of each patient, asked for as she, against the chain.
pub(super) async fn judge(
    patients: &[(Id, Network)],
    ledger: &Ledger,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let mut complete = true;
    let mut assigned = BTreeSet::new();
    for (patient, network) in patients {
        let request = json!({ "patient": patient });
        let trail: Vec<AuditEntry> = ask_all(network, "audit_trail", request).await?;
        findings.audit_entries += trail.len();
        let told: BTreeSet<Hex<32>> = trail.iter().map(|entry| entry.transaction).collect();
        let happened = about(ledger, *patient);
        if told != happened || trail.len() != told.len() {
            complete = false;
            findings.remarks.push(format!(
                "the audit trail of {patient} has {} entries for {} transactions, {} happened",
                trail.len(),
                told.len(),
                happened.len()
            ));
        }
        assigned.extend(happened);
    }
    let open = |tx: &&Committed| {
        let mut names = tx.events().map(|(name, _)| name);
        names.any(|name| !UNTOLD.contains(&name)) && !assigned.contains(&tx.id)
    };
    if let Some(tx) = ledger.valid.iter().find(open) {
        complete = false;
        let what = format!("transaction {} is about no patient of the story", tx.id);
        findings.remarks.push(what);
    }
    findings.audit_complete = complete;
    Ok(())
}

/// The transactions of which a patient's trail must have an entry.
pub(super) fn about(ledger: &Ledger, patient: Id) -> BTreeSet<Hex<32>> {
    let certificate = ledger.certificate_of(patient);
    let hers = ledger.valid.iter().filter(|tx| {
        let creator = tx.creator();
        let mut events = tx.events();
        events.any(|(name, payload)| is_about(name, payload, &creator, patient, certificate))
    });
    hers.map(|tx| tx.id).collect()
}

fn is_about(
    name: &str,
    payload: &[u8],
    creator: &Fingerprint,
    patient: Id,
    certificate: Option<Fingerprint>,
) -> bool {
    if UNTOLD.contains(&name) {
        return false;
    }
    if UNNAMED.contains(&name) {
        return certificate.as_ref() == Some(creator);
    }
    let named: Option<Named> = serde_json::from_slice(payload).ok();
    named.is_some_and(|named| named.patient == Some(patient))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_about_whom_it_names_or_who_made_it() {
        let (patient, hers, other) = (Hex([1; 16]), Hex([2; 32]), Hex([3; 32]));
        let payload = json!({ "patient": patient }).to_string();
        let about = |name: &str, payload: &str, creator: &Fingerprint| {
            is_about(name, payload.as_bytes(), creator, patient, Some(hers))
        };
        assert!(about(event::DEVICE_BOUND, &payload, &other));
        assert!(!about(event::DEVICE_BOUND, "{}", &hers));
        assert!(!about(event::KEY_REGISTERED, &payload, &hers));
        assert!(about(event::STUDY_ENROLLED, "{}", &hers));
        assert!(!about(event::STUDY_ENROLLED, "{}", &other));
        assert!(!about(event::STUDY_REGISTERED, "{}", &hers));
    }
}
