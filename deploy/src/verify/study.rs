//! Whether a study learned no more than it may.

use serde_json::json;
use stela_client::Network;
use stela_healthcare::answer::{AccessDecision, Cohort, StudyRecord, Verdict};
use stela_healthcare::request::{RegisterStudy, RequestAccess};

use super::chain::Ledger;
use super::{all_hold, ask, ask_all, same};
use crate::evidence::Evidence;
use crate::report::Findings;

/// Judges it; `investigator` is the observer's peer, asked as the investigator.
pub(super) async fn judge(
    evidence: &Evidence,
    ledger: &Ledger,
    investigator: &Network,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let told = &evidence.study;
    let mut registered = ledger.calls_by::<RegisterStudy>(&told.sponsor, "register_study");
    let registered = registered.any(|(_, one)| one.study == told.study);
    let patients = [evidence.patient, evidence.second];
    let pseudonyms = patients.map(|patient| ledger.pseudonym_of(patient, told.study));
    let request = json!({ "study": told.study });
    let records: Vec<StudyRecord> = ask_all(investigator, "study_records", request.clone()).await?;
    let mut seen: Vec<_> = records.iter().map(|one| Some(one.pseudonym)).collect();
    seen.sort_unstable();
    let mut enrolled = pseudonyms.to_vec();
    enrolled.sort_unstable();
    let cohort: Cohort = ask(investigator, "study_cohort", &request).await?;
    findings.study_reads_under_pseudonym = all_hold(
        findings,
        [
            (registered, "no study is registered by the privacy officer"),
            (
                pseudonyms.iter().all(Option::is_some),
                "a patient is not enrolled",
            ),
            (
                seen == enrolled && records.iter().all(|one| one.patient.is_none()),
                "the study is shown other records than one of each pseudonym",
            ),
            (
                read_once(evidence, ledger, pseudonyms[0]),
                "what the investigator asked for is not one record under the pseudonym",
            ),
            (
                cohort.count.is_none() && cohort.fewer_than.is_some(),
                "the size of a small cohort is told",
            ),
            (
                same(&told.read, &told.written[0])?,
                "what was read for the study is not what was written",
            ),
        ],
    );
    Ok(())
}

/// Whether the investigator's only access is a permit for the record under this pseudonym, and
/// nothing that she sent or was answered names a patient.
fn read_once(evidence: &Evidence, ledger: &Ledger, pseudonym: Option<stela_consent::Id>) -> bool {
    let told = &evidence.study;
    let mut own = ledger.valid.iter().filter(|tx| tx.by(&told.investigator));
    let patients = [evidence.patient, evidence.second].map(|id| id.to_string());
    let silent = own.all(|tx| {
        let sent = tx.transaction.proposal.arguments.iter();
        let mut seen = sent.chain([&tx.transaction.result.response]);
        seen.all(|bytes| {
            let text = String::from_utf8_lossy(bytes);
            patients.iter().all(|id| !text.contains(id.as_str()))
        })
    });
    let accesses: Vec<_> = ledger
        .calls_by::<RequestAccess>(&told.investigator, "request_access")
        .collect();
    let [(tx, access)] = &accesses[..] else {
        return false;
    };
    let decision: Option<AccessDecision> = tx.answer();
    silent
        && access.study == Some(told.study)
        && Some(access.patient) == pseudonym
        && access.record == told.record
        && decision.is_some_and(|decision| decision.decision == Verdict::Permit)
}
