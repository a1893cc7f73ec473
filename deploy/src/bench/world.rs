//! What is on the ledger before anything is measured, and the calls that are made then.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use clap::ValueEnum;
use futures::stream::{self, StreamExt, TryStreamExt};
use parking_lot::Mutex;
use serde::Serialize;
use stela_client::{
    CommitError, CommitStatus, EndorseError, Proposal, ProposalBuilder, SideData, SubmitError,
    Transaction,
};
use stela_consent::{Actor, Category, Confidentiality, Consent, Hex, Id, Provision, Purpose, Role};
use stela_healthcare::request::{
    ConfirmRecord, GetRecord, RegisterPatient, RequestAccess, RevokeConsent, SubmitRecord,
};
use stela_healthcare::{Cid, HeaderText};
use stela_protocol::{ErrorCode, OrgId, RpcError, TransactionId};
use stela_records::format::{Header, Identifier, WrapLabel, WrapList};
use stela_records::keys::{EncryptionKeyPair, RecordKey};
use stela_records::padding::padded_bytes;
use stela_records::wrap;
use tokio::time::Instant;

use super::load::Calls;
use super::people::{Person, Registrar};
use crate::limits::{
    BENCH_AUTHORS, BENCH_COMMIT, BENCH_CONTENDED, BENCH_CONTENDED_CALLS, BENCH_PATIENTS,
    BENCH_PREPARE, BENCH_PREPARING, BENCH_READERS, BENCH_RECORDS, POLL,
};

/// Where the ciphertext of the benchmark's records would be, if there were any.
const CID: &str = "bafkreigh2akiscaildcqabsyg3dfr6chu3fgpregiymsck7e7aqa4s52zy";
/// Bytes of the documents that the records would hold.
const DOCUMENT_BYTES: u64 = 20_000;

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Workload {
    /// `grant_consent`: a patient grants a consent of about 250 bytes.
    ConsentGrant,
    /// `submit_record`: the metadata of a record and, beside the ledger, a list of two wrapped keys.
    RecordSubmission,
    /// `request_access`, permitted by a consent.
    AccessPermit,
    /// `request_access`, denied: each endorser keeps a note until the denial is committed.
    AccessDeny,
    /// `get_record`, asked of one peer by the record's author; nothing is ordered.
    Evaluate,
    /// Consents of one patient are granted and revoked while accesses to her record are decided.
    Contended,
}

impl Workload {
    /// All of them, in the order in which they are measured.
    pub const ALL: [Self; 6] = [
        Self::ConsentGrant,
        Self::RecordSubmission,
        Self::AccessPermit,
        Self::AccessDeny,
        Self::Evaluate,
        Self::Contended,
    ];

    /// Its name on the command line and in the report.
    pub fn name(self) -> &'static str {
        match self {
            Self::ConsentGrant => "consent-grant",
            Self::RecordSubmission => "record-submission",
            Self::AccessPermit => "access-permit",
            Self::AccessDeny => "access-deny",
            Self::Evaluate => "evaluate",
            Self::Contended => "contended",
        }
    }

    /// Whether its calls are ordered.
    pub fn is_ordered(self) -> bool {
        self != Self::Evaluate
    }

    /// Whether its transactions may conflict.
    pub fn may_conflict(self) -> bool {
        self == Self::Contended
    }
}

/// What became of a call.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// A question was answered.
    Answered,
    /// The transaction has a verdict.
    Committed(CommitStatus),
    /// A node refused before anything was ordered.
    Refused(ErrorCode),
    /// The submission failed in a way that leaves open whether the transaction was ordered.
    Unsure(TransactionId),
    /// The submission was acknowledged, and no verdict was seen in time.
    Unseen(TransactionId),
    /// Something that no node has to answer for.
    Failed(String),
}

/// A call that is over.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) outcome: Outcome,
    /// From the beginning until the endorsements were there.
    pub(crate) endorse: Duration,
    /// From then until the verdict was here.
    pub(crate) commit: Duration,
}

impl Call {
    /// Whether it was a question, and was answered.
    pub(crate) fn is_answered(&self) -> bool {
        matches!(self.outcome, Outcome::Answered)
    }
}

/// A record of which the calls are.
struct Filed {
    patient: Id,
    record: Id,
    /// The place of its author.
    author: usize,
}

/// A patient for whom clients contend.
struct Contended {
    patient: Person,
    filed: Filed,
    /// Consents that stand.
    standing: Mutex<Vec<Id>>,
}

/// A call about her.
enum Step {
    Grant(Id),
    Revoke(Id),
    Access,
}

/// Everybody who makes calls, and what they are about.
pub(crate) struct World {
    patients: Vec<Person>,
    authors: Vec<Person>,
    readers: Vec<Person>,
    records: Vec<Filed>,
    contended: Vec<Contended>,
    side: SideData,
    calls: AtomicU64,
}

/// The calls of one workload.
pub(super) struct WorldCalls {
    pub(super) world: Arc<World>,
    pub(super) workload: Workload,
}

impl Calls for WorldCalls {
    async fn make(&self) -> Call {
        self.world.call(self.workload).await
    }
}

impl World {
    /// Registers everybody, and files records that are confirmed and may be read.
    ///
    /// # Errors
    /// When a call is refused.
    pub(crate) async fn prepare(registrar: &Registrar) -> anyhow::Result<Self> {
        let people = |count: usize, role: Role| -> anyhow::Result<Vec<Person>> {
            (0..count)
                .map(|place| registrar.person(place, role))
                .collect()
        };
        let mut world = Self::of_patients(registrar).await?;
        world.authors = people(BENCH_AUTHORS, Role::Practitioner)?;
        world.readers = people(BENCH_READERS, Role::Practitioner)?;
        let officers = people(registrar.organizations().count(), Role::RecordsOfficer)?;
        let everybody = [&world.authors, &world.readers, &officers];
        at_once(everybody.into_iter().flatten().map(register)).await?;
        let (owners, records) = world.file(registrar, &officers, BENCH_RECORDS).await?;
        at_once(owners.iter().map(open)).await?;
        world.records = records;
        let (owners, records) = world.file(registrar, &officers, BENCH_CONTENDED).await?;
        world.contended = owners
            .into_iter()
            .zip(records)
            .map(|(patient, filed)| Contended {
                patient,
                filed,
                standing: Mutex::default(),
            })
            .collect();
        Ok(world)
    }

    /// Registers patients alone, who can do nothing but grant consents.
    ///
    /// # Errors
    /// When a call is refused.
    pub(crate) async fn of_patients(registrar: &Registrar) -> anyhow::Result<Self> {
        let organizations: Vec<OrgId> = registrar.organizations().cloned().collect();
        let (patients, ids) = patients(registrar, BENCH_PATIENTS)?;
        at_once(patients.iter().map(register)).await?;
        register_patients(&patients, &ids).await?;
        Ok(Self {
            patients,
            authors: Vec::new(),
            readers: Vec::new(),
            records: Vec::new(),
            contended: Vec::new(),
            side: SideData {
                organizations,
                payload: wraps()?.into(),
            },
            calls: AtomicU64::new(0),
        })
    }

    /// New patients, each with a confirmed record.
    async fn file(
        &self,
        registrar: &Registrar,
        officers: &[Person],
        count: usize,
    ) -> anyhow::Result<(Vec<Person>, Vec<Filed>)> {
        let (patients, ids) = patients(registrar, count)?;
        at_once(patients.iter().map(register)).await?;
        register_patients(&patients, &ids).await?;
        let filed = ids.into_iter().zip(0..).map(|(patient, place)| Filed {
            patient,
            record: Hex(rand::random()),
            author: place % self.authors.len(),
        });
        let filed: Vec<Filed> = filed.collect();
        at_once(filed.iter().map(|filed| async move {
            commit(|| self.submission(filed.author, filed.patient, filed.record)).await?;
            let confirmation = ConfirmRecord {
                record: filed.record,
                version: 1,
            };
            let officer = &officers[filed.author % officers.len()];
            commit(|| {
                Ok(officer
                    .contract
                    .proposal("confirm_record")
                    .json(&confirmation))
            })
            .await
        }))
        .await?;
        Ok((patients, filed))
    }

    /// Makes the next call.
    pub(crate) async fn call(&self, workload: Workload) -> Call {
        let number = self.calls.fetch_add(1, Ordering::Relaxed);
        match workload {
            Workload::Contended => self.contend(number).await,
            _ => make(self.proposal(workload, number), workload.is_ordered()).await,
        }
    }

    /// Patients ask so often for the verdict on a transaction that is committed.
    ///
    /// # Errors
    /// When one is not answered.
    pub(super) async fn ask(&self, committed: TransactionId, times: u64) -> anyhow::Result<()> {
        let calls = (0..times).map(|number| async move {
            let network = chosen(&self.patients, number).contract.network();
            network.commit(committed).status(Duration::ZERO).await?;
            Ok(())
        });
        at_once(calls).await.map(drop)
    }

    fn proposal(&self, workload: Workload, number: u64) -> anyhow::Result<ProposalBuilder> {
        match workload {
            Workload::ConsentGrant => {
                let contract = &chosen(&self.patients, number).contract;
                Ok(contract
                    .proposal("grant_consent")
                    .json(&consent(Hex(rand::random()))?))
            }
            Workload::RecordSubmission => {
                let filed = chosen(&self.records, number);
                let author = place(&self.authors, number);
                self.submission(author, filed.patient, Hex(rand::random()))
            }
            Workload::AccessPermit => {
                let filed = chosen(&self.records, number);
                Ok(self.access(filed, number, Purpose::Treat))
            }
            Workload::AccessDeny => {
                let filed = chosen(&self.records, number);
                Ok(self.access(filed, number, Purpose::Marketing))
            }
            Workload::Evaluate => {
                let filed = chosen(&self.records, number);
                let author = &self.authors[filed.author].contract;
                let request = GetRecord {
                    record: filed.record,
                    version: Some(1),
                };
                Ok(author.proposal("get_record").json(&request))
            }
            Workload::Contended => anyhow::bail!("calls that contend are made otherwise"),
        }
    }

    fn submission(
        &self,
        author: usize,
        patient: Id,
        record: Id,
    ) -> anyhow::Result<ProposalBuilder> {
        let padded = padded_bytes(DOCUMENT_BYTES).context("no record is that large")?;
        let header = Header::new(padded, &mut rand::rng())?;
        let request = SubmitRecord {
            record,
            version: 1,
            patient,
            cid: Cid::try_from(CID.to_owned())?,
            category: Category::Laboratory,
            confidentiality: Confidentiality::Normal,
            labels: Vec::new(),
            date: None,
            header: HeaderText::try_from(hex::encode(header.encode()))?,
            commitment: Hex(rand::random()),
        };
        let contract = &self.authors[author].contract;
        let proposal = contract.proposal("submit_record").json(&request);
        Ok(proposal.side(self.side.clone()))
    }

    /// A reader asks for a record. Readers change when every record was asked for once.
    fn access(&self, filed: &Filed, number: u64, purpose: Purpose) -> ProposalBuilder {
        let reader = chosen(&self.readers, number / self.records.len() as u64);
        let request = RequestAccess {
            patient: filed.patient,
            record: filed.record,
            version: 1,
            purpose,
            study: None,
        };
        reader.contract.proposal("request_access").json(&request)
    }

    async fn contend(&self, number: u64) -> Call {
        let contended = chosen(&self.contended, number / BENCH_CONTENDED_CALLS);
        let step = contended.next(number);
        let proposal = match &step {
            Step::Access => Ok(self.access(&contended.filed, number, Purpose::Treat)),
            step => contended.proposal(step),
        };
        let call = make(proposal, true).await;
        contended.note(&step, &call.outcome);
        call
    }
}

impl Contended {
    /// Of four calls one grants a consent, one revokes one that stands, and two ask for the record.
    fn next(&self, number: u64) -> Step {
        match number % 4 {
            0 => Step::Grant(Hex(rand::random())),
            1 => match self.standing.lock().pop() {
                Some(consent) => Step::Revoke(consent),
                None => Step::Grant(Hex(rand::random())),
            },
            _ => Step::Access,
        }
    }

    fn proposal(&self, step: &Step) -> anyhow::Result<ProposalBuilder> {
        let contract = &self.patient.contract;
        match step {
            Step::Grant(id) => Ok(contract.proposal("grant_consent").json(&consent(*id)?)),
            Step::Revoke(id) => {
                let request = RevokeConsent {
                    patient: self.filed.patient,
                    consent: *id,
                };
                Ok(contract.proposal("revoke_consent").json(&request))
            }
            Step::Access => anyhow::bail!("a reader asks for access"),
        }
    }

    /// A consent stands once it is granted, and while it could not be revoked.
    fn note(&self, step: &Step, outcome: &Outcome) {
        let valid = matches!(outcome, Outcome::Committed(status) if status.code.is_valid());
        match step {
            Step::Grant(id) if valid => self.standing.lock().push(*id),
            Step::Revoke(id) if !valid => self.standing.lock().push(*id),
            _ => {}
        }
    }
}

/// Patients with their ids.
fn patients(registrar: &Registrar, count: usize) -> anyhow::Result<(Vec<Person>, Vec<Id>)> {
    let patient = |place: usize| {
        let id = Hex(rand::random());
        Ok((registrar.patient(place, id)?, id))
    };
    (0..count).map(patient).collect()
}

/// Makes a person's certificate known to the channel.
pub(crate) async fn register(person: &Person) -> anyhow::Result<()> {
    person.contract.network().register(BENCH_PREPARE).await?;
    Ok(())
}

/// Makes a patient known to the contract.
pub(crate) async fn register_patient(person: &Person, patient: Id) -> anyhow::Result<()> {
    let request = RegisterPatient { patient };
    commit(|| Ok(person.contract.proposal("register_patient").json(&request))).await
}

/// A patient grants a consent.
pub(crate) async fn grant(person: &Person) -> anyhow::Result<()> {
    commit(|| {
        let consent = consent(Hex(rand::random()))?;
        Ok(person.contract.proposal("grant_consent").json(&consent))
    })
    .await
}

async fn register_patients(people: &[Person], ids: &[Id]) -> anyhow::Result<()> {
    let calls = people.iter().zip(ids);
    at_once(calls.map(|(person, id)| register_patient(person, *id))).await?;
    Ok(())
}

/// Lets practitioners read a patient's records.
async fn open(patient: &Person) -> anyhow::Result<()> {
    let provision = Provision {
        actor: Some(Actor::Role(Role::Practitioner)),
        ..Provision::permit([Purpose::Treat])
    };
    let consent = Consent::new(Hex(rand::random()), provision, Vec::new())?;
    commit(|| Ok(patient.contract.proposal("grant_consent").json(&consent))).await
}

/// A consent such as patients grant: about 250 bytes.
fn consent(id: Id) -> anyhow::Result<Consent> {
    let organization = "HospitalB".parse()?;
    let provision = Provision {
        actor: Some(Actor::RoleAt(organization, Role::Practitioner)),
        ceiling: Some(Confidentiality::Normal),
        categories: vec![
            Category::Laboratory,
            Category::Imaging,
            Category::DischargeSummary,
            Category::Medication,
        ],
        ..Provision::permit([Purpose::Treat, Purpose::Coordination])
    };
    Ok(Consent::new(id, provision, Vec::new())?)
}

/// A key sealed to two recipients, as it travels beside a submission. It is sealed once: what is
/// measured is the ledger.
fn wraps() -> anyhow::Result<Vec<u8>> {
    let (key, mut random) = (RecordKey::generate(&mut rand::rng()), rand::rng());
    let padded = padded_bytes(DOCUMENT_BYTES).context("no record is that large")?;
    let header_hash = Header::new(padded, &mut random)?.hash();
    let label = WrapLabel {
        channel: Identifier::new(crate::topology::CHANNEL)?,
        record_id: Identifier::new("record")?,
        version: 1,
        patient_id: Identifier::new("patient")?,
        author_id: Identifier::new("author")?,
        header_hash,
        key_commitment: key.commitment(&header_hash),
        cid: CID.parse()?,
    };
    // Recipients are named by the fingerprints of their certificates.
    let sealed = ["0".repeat(64), "1".repeat(64)].map(|recipient| {
        let pair = EncryptionKeyPair::generate(&mut rand::rng());
        let recipient = Identifier::new(recipient)?;
        anyhow::Ok(wrap::seal(
            &key,
            &label,
            &recipient,
            pair.public(),
            &mut rand::rng(),
        )?)
    });
    let sealed = sealed.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    Ok(WrapList::new(sealed)?.encode())
}

/// Makes calls, [`BENCH_PREPARING`] of them at once.
pub(crate) async fn at_once<T, F>(calls: impl IntoIterator<Item = F>) -> anyhow::Result<Vec<T>>
where
    F: Future<Output = anyhow::Result<T>>,
{
    let calls = stream::iter(calls).buffered(BENCH_PREPARING);
    calls.try_collect().await
}

/// Makes a call until it is endorsed, and waits until it is committed and valid.
pub(crate) async fn commit(
    call: impl Fn() -> anyhow::Result<ProposalBuilder>,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + BENCH_PREPARE;
    loop {
        match call()?.build()?.endorse().await {
            Ok(transaction) => {
                transaction.submit_and_wait(BENCH_COMMIT).await?.valid()?;
                return Ok(());
            }
            Err(error) if error.is_retryable() && Instant::now() < deadline => {
                tokio::time::sleep(POLL).await;
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Signs a proposal and makes the call.
pub(crate) async fn make(proposal: anyhow::Result<ProposalBuilder>, is_ordered: bool) -> Call {
    let mut laps = Laps::begin();
    let outcome = match proposal.and_then(|proposal| Ok(proposal.build()?)) {
        Err(error) => Outcome::Failed(format!("{error:#}")),
        Ok(proposal) if is_ordered => order(&proposal, &mut laps).await,
        Ok(proposal) => match proposal.evaluate().await {
            Ok(_) => Outcome::Answered,
            Err(error) => refused(&error.source),
        },
    };
    let [endorse, commit] = laps.lasted;
    Call {
        outcome,
        endorse,
        commit,
    }
}

async fn order(proposal: &Proposal, laps: &mut Laps) -> Outcome {
    let endorsed = proposal.endorse().await;
    laps.end(0);
    match endorsed {
        Ok(transaction) => submit(&transaction, laps).await,
        Err(EndorseError::Rpc { source, .. }) => refused(&source),
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

async fn submit(transaction: &Transaction, laps: &mut Laps) -> Outcome {
    let told = transaction.submit_once(BENCH_COMMIT).await;
    laps.end(1);
    match told {
        Ok(Some(status)) => Outcome::Committed(status),
        Ok(None) => Outcome::Unseen(transaction.id()),
        Err(CommitError::Submit(SubmitError { source, .. })) if is_ambiguous(source.code) => {
            Outcome::Unsure(transaction.id())
        }
        Err(CommitError::Submit(error)) => refused(&error.source),
        Err(error) => Outcome::Failed(error.to_string()),
    }
}

fn refused(error: &RpcError) -> Outcome {
    Outcome::Refused(error.code)
}

/// Whether an orderer may have taken an envelope although the answer was this.
fn is_ambiguous(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::Timeout | ErrorCode::Unavailable | ErrorCode::OrdererUnavailable
    )
}

/// How long each part of a call lasted.
struct Laps {
    since: Instant,
    lasted: [Duration; 2],
}

impl Laps {
    fn begin() -> Self {
        Self {
            since: Instant::now(),
            lasted: [Duration::ZERO; 2],
        }
    }

    fn end(&mut self, part: usize) {
        let now = Instant::now();
        self.lasted[part] = now - self.since;
        self.since = now;
    }
}

fn place<T>(items: &[T], number: u64) -> usize {
    (number % items.len() as u64) as usize
}

/// The one whose turn it is.
pub(crate) fn chosen<T>(items: &[T], number: u64) -> &T {
    &items[place(items, number)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_consent_is_about_as_large_as_the_baselines() {
        let bytes = serde_json::to_vec(&consent(Hex([7; 16])).unwrap()).unwrap();
        assert!((200..=300).contains(&bytes.len()), "{}", bytes.len());
    }

    #[test]
    fn a_list_of_keys_has_two_wraps() {
        let list = WrapList::decode(&wraps().unwrap()).unwrap();
        assert_eq!(list.wraps().len(), 2);
    }
}
