//! Whether the patient was told what she has a right to know.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use stela_client::{Network, Receipt};
use stela_consent::{Hex, Purpose};
use stela_healthcare::answer::{AccessDecision, Disclosure, Verdict};
use stela_healthcare::request::{BreakGlass, RequestAccess};

use super::chain::{Anchor, Committed, Ledger};
use super::{all_hold, ask_all, audit};
use crate::evidence::Evidence;
use crate::report::Findings;

/// Judges the accounting; `patient` is the observer's peer, asked as the patient.
pub(super) async fn accounting(
    evidence: &Evidence,
    ledger: &Ledger,
    patient: &Network,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let bytes = std::fs::read(&evidence.rights.accounting)?;
    let shown: Vec<Disclosure> = serde_json::from_slice(&bytes)?;
    let told: BTreeSet<_> = shown.iter().map(disclosed).collect();
    let permitted = ledger
        .valid
        .iter()
        .filter_map(|tx| permitted(evidence, ledger, tx));
    let happened: BTreeSet<_> = permitted.collect();
    let request = json!({ "patient": evidence.patient });
    let due: Vec<Disclosure> = ask_all(patient, "accounting", request).await?;
    let due: BTreeSet<_> = due.iter().map(disclosed).collect();
    let accounted = shown.iter().filter(|one| one.kind.is_accounted());
    let accounted: BTreeSet<_> = accounted.map(disclosed).collect();
    findings.accounting_complete = all_hold(
        findings,
        [
            (
                told == happened && shown.len() == told.len(),
                "the accounting names other disclosures than were permitted",
            ),
            (
                due == accounted,
                "without the exempt ones it does not name what must be accounted for",
            ),
        ],
    );
    Ok(())
}

/// One disclosure: transaction, recipient, record and version.
type Disclosed = (Hex<32>, Hex<32>, Hex<16>, u32);

fn disclosed(one: &Disclosure) -> Disclosed {
    (one.transaction, one.recipient, one.record, one.version)
}

/// What a transaction disclosed about the patient, if it did.
fn permitted(evidence: &Evidence, ledger: &Ledger, tx: &Committed) -> Option<Disclosed> {
    let decision: AccessDecision = tx.answer()?;
    if decision.decision != Verdict::Permit {
        return None;
    }
    let (patient, record, version) = if let Some(asked) = tx.call::<RequestAccess>("request_access")
    {
        let hers = match asked.study {
            Some(study) => ledger.pseudonym_of(evidence.patient, study) == Some(asked.patient),
            None => asked.patient == evidence.patient,
        };
        (hers, asked.record, asked.version)
    } else {
        let asked = tx.call::<BreakGlass>("break_glass")?;
        let hers = asked.patient == evidence.patient;
        (hers, asked.record, asked.version)
    };
    patient.then_some((tx.id, tx.creator(), record, version))
}

/// Judges the export: it was made when the patient herself first read.
pub(super) fn export(
    evidence: &Evidence,
    anchor: &Anchor,
    ledger: &Ledger,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let binaries = binaries(&evidence.rights.export)?;
    let receipts = binaries.iter().filter(|(id, _)| id.starts_with("receipt-"));
    let mut proven = BTreeSet::new();
    let mut verified = true;
    for (id, receipt) in receipts {
        let recorded =
            Receipt::from_json(receipt).and_then(|receipt| receipt.verify(anchor.configuration()));
        match recorded {
            Ok(recorded) => {
                findings.receipts += 1;
                proven.insert(Hex(recorded.transaction.0));
            }
            Err(error) => {
                verified = false;
                findings.remarks.push(format!("{id}: {error}"));
            }
        }
    }
    let content = |version: usize| {
        let named = format!("{}-{}", evidence.record, version + 1);
        let written = std::fs::read(&evidence.written[version])?;
        let is_it = |(id, bytes): (&String, &Vec<u8>)| id.ends_with(&named) && *bytes == written;
        anyhow::Ok(binaries.iter().any(is_it))
    };
    findings.export_receipts_verify = all_hold(
        findings,
        [
            (verified, "a receipt of the export does not verify"),
            (
                proven == before_export(evidence, ledger),
                "the receipts are of other transactions than those about the patient",
            ),
            (
                content(0)? && content(1)?,
                "the export has other contents than were written",
            ),
        ],
    );
    Ok(())
}

/// What had happened about the patient when she first read for herself.
fn before_export(evidence: &Evidence, ledger: &Ledger) -> BTreeSet<Hex<32>> {
    let mut own = ledger
        .calls_of::<RequestAccess>(evidence.patient, "request_access")
        .into_iter();
    let first = own.find(|(_, asked)| asked.purpose == Purpose::PatientRequest);
    let Some((first, _)) = first else {
        return BTreeSet::new();
    };
    let before = ledger.valid.iter().filter(|tx| tx.at < first.at);
    let before: BTreeSet<Hex<32>> = before.map(|tx| tx.id).collect();
    let about = audit::about(ledger, evidence.patient);
    about.intersection(&before).copied().collect()
}

/// The contents of a bundle's binaries, by their ids.
fn binaries(bundle: &Path) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let bundle: Value = serde_json::from_slice(&std::fs::read(bundle)?)?;
    anyhow::ensure!(
        bundle.get("resourceType").and_then(Value::as_str) == Some("Bundle"),
        "the export is no bundle"
    );
    let entries = bundle.get("entry").and_then(Value::as_array);
    let mut binaries = BTreeMap::new();
    for resource in entries
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.get("resource"))
    {
        let text = |name: &str| resource.get(name).and_then(Value::as_str);
        if text("resourceType") == Some("Binary") {
            let (id, data) = text("id")
                .zip(text("data"))
                .context("a binary is incomplete")?;
            binaries.insert(id.to_owned(), STANDARD.decode(data)?);
        }
    }
    Ok(binaries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binaries_are_read_by_their_ids() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bundle.json");
        let bundle = |kind: &str| {
            json!({ "resourceType": kind, "entry": [
                { "resource": { "resourceType": "Binary", "id": "one", "data": "AQI=" } },
                { "resource": { "resourceType": "Consent", "id": "two" } },
            ] })
        };
        std::fs::write(&file, bundle("Bundle").to_string()).unwrap();
        let read = binaries(&file).unwrap();
        assert_eq!(read, BTreeMap::from([("one".to_owned(), vec![1, 2])]));
        std::fs::write(&file, bundle("Basic").to_string()).unwrap();
        assert!(binaries(&file).is_err());
    }
}
