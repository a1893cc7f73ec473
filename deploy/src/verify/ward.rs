//! Whether a ward's alert tells that there is one, and no more.

use std::collections::BTreeSet;

use serde::Deserialize;
use stela_consent::{Fingerprint, Hex, Id};
use stela_healthcare::event::{self, ReviewEvent, WindowEvent};
use stela_healthcare::request::SubmitWindow;
use stela_identity::Credentials;
use stela_protocol::Hash32;
use stela_records::window::ObservationProof;

use super::all_hold;
use super::chain::{Committed, Ledger};
use crate::evidence::Evidence;
use crate::report::Findings;

/// A proof as it was written; what it says of its anchor is not believed.
#[derive(Deserialize)]
struct Proved {
    record: Id,
    proof: ObservationProof,
}

pub(super) fn judge(
    evidence: &Evidence,
    ledger: &Ledger,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let devices = devices(evidence)?;
    findings.devices = devices.len();
    let submitted = ledger.valid.iter();
    let windows: Vec<(&Committed, SubmitWindow)> = submitted
        .filter_map(|tx| Some((tx, tx.call("submit_window")?)))
        .collect();
    let reported: BTreeSet<Fingerprint> = windows.iter().map(|(tx, _)| tx.creator()).collect();
    let alerts = |(tx, _): &&(&Committed, SubmitWindow)| {
        tx.events()
            .any(|(name, _)| name == event::VITAL_SIGNS_ALERT)
    };
    let alerting: Vec<_> = windows.iter().filter(alerts).collect();
    let proved: Proved = serde_json::from_slice(&std::fs::read(&evidence.ward.proof)?)?;
    let one = match alerting[..] {
        [(tx, window)] => Some((tx, window)),
        _ => None,
    };
    let belongs = one.is_some_and(|(_, window)| belongs(&proved, window));
    findings.ward_alert_without_value = all_hold(
        findings,
        [
            (
                !devices.is_empty() && reported == devices && windows.len() == devices.len(),
                "the windows are not one of each device of the ward",
            ),
            (
                windows
                    .iter()
                    .all(|(_, one)| one.patient == evidence.second),
                "a window is about somebody else",
            ),
            (
                one.is_some_and(|(_, window)| window.alerts == 1),
                "not exactly one window alerts, of one value",
            ),
            (
                windows.iter().all(|(tx, window)| only_ids(tx, window)),
                "an event of a window says something else than ids",
            ),
            (belongs, "the proof does not lead to the root on the ledger"),
        ],
    );
    Ok(())
}

/// The certificates of the ward's devices.
fn devices(evidence: &Evidence) -> anyhow::Result<BTreeSet<Fingerprint>> {
    let mut devices = BTreeSet::new();
    for entry in std::fs::read_dir(&evidence.ward.folder)? {
        let credentials = Credentials::load(&entry?.path().join("identity"))?;
        devices.insert(Hex(credentials.fingerprint().0));
    }
    Ok(devices)
}

/// Whether each event of a window is, byte for byte, one that has ids and nothing else.
fn only_ids(tx: &Committed, window: &SubmitWindow) -> bool {
    let alert = WindowEvent {
        patient: window.patient,
        record: window.record,
        device: tx.creator(),
    };
    let confirmed = ReviewEvent {
        patient: window.patient,
        record: window.record,
        version: window.version,
        cid: window.cid.clone(),
    };
    tx.events().all(|(name, payload)| {
        let plain = match name {
            event::VITAL_SIGNS_ALERT => serde_json::to_vec(&alert),
            event::RECORD_CONFIRMED => serde_json::to_vec(&confirmed),
            _ => return false,
        };
        plain.is_ok_and(|plain| plain == payload)
    })
}

/// Whether a proof is one of an observation in this window, which has others.
fn belongs(proved: &Proved, window: &SubmitWindow) -> bool {
    let proof = &proved.proof;
    proved.record == window.record
        && window.count > 1
        && proof.count == u64::from(window.count)
        && proof.verify(&Hash32(window.root.0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use stela_records::window::Window;

    use super::*;

    fn window(root: Hash32, count: u32) -> SubmitWindow {
        let id = |n: u8| Hex::<16>([n; 16]).to_string();
        serde_json::from_value(json!({
            "record": id(1), "version": 1, "patient": id(2),
            "cid": "bafkreie6s4zbpsfoex2krg2p4kz2j2rp3orhdkkz4i3bugs4kdykumxrka",
            "category": "vital-signs", "confidentiality": "N", "header": "00",
            "commitment": Hex([3; 32]), "first": 1, "last": count, "count": count,
            "start": 1, "end": 2, "root": Hex(root.0), "alerts": 1,
        }))
        .unwrap()
    }

    #[test]
    fn a_proof_belongs_to_the_window_of_its_root_and_count() {
        let texts = (0..3).map(|n| n.to_string());
        let observations = Window::new(texts, &mut rand::rng()).unwrap();
        let proved = Proved {
            record: Hex([1; 16]),
            proof: observations.prove(1).unwrap(),
        };
        assert!(belongs(&proved, &window(observations.root(), 3)));
        assert!(!belongs(&proved, &window(Hash32([0; 32]), 3)));
        assert!(!belongs(&proved, &window(observations.root(), 4)));
        let other = Proved {
            record: Hex([9; 16]),
            ..proved
        };
        assert!(!belongs(&other, &window(observations.root(), 3)));
    }
}
