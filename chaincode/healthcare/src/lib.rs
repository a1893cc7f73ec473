//! The contract for health records: patients, records, their review and their erasure, consent,
//! access, emergencies, research, devices, audit, what a patient has a right to know.
//!
//! # Functions
//! Every function takes one argument, a JSON object with exactly the fields of its request in
//! [`request`], and answers in JSON ([`answer`]). Ids are 16 random bytes drawn by the client, in
//! lower-case hexadecimal; times are milliseconds since the Unix epoch.
//!
//! | Function | Who | What it does |
//! |---|---|---|
//! | `register_patient` | whose certificate names her (role `patient`, attribute `patient`) | makes her known on the channel, as a patient of the certificate's organization |
//! | `register_encryption_key` | anybody with a role, for herself; patients once they are registered | publishes the X-Wing key to wrap record keys for; another one takes its place, which a patient's trail says |
//! | `encryption_key_history` | anybody with a role; a question only | which keys somebody published, in which transaction |
//! | `encryption_keys` | anybody with a role | finds such keys by fingerprint, by role at an organization, or by patient |
//! | `submit_record` | practitioner, records officer; the patient | version 1 of a record, `pending` |
//! | `amend_record` | the same, of the organization that submitted the record | the next version, `pending`; the one before must not be |
//! | `confirm_record`, `reject_record` | a records officer who is asked for, never the author | see [Review](#review) |
//! | `add_certificate`, `remove_certificate` | the patient | authorises another certificate of hers, up to [`limits::CERTIFICATES_MAX`]; takes one away, never the last |
//! | `rebind_patient` | a privacy officer of her organization | authorises a certificate in place of those that she lost, after a wait |
//! | `cancel_rebinding` | the patient; a delegate for `rights`; a privacy officer of her organization | takes that back while it waits |
//! | `list_certificates` | the patient; a delegate for `rights` or `consent`; records and privacy officers of her organization | |
//! | `name_delegate` | the patient; a guardian also officers of her organization | lets somebody act for her, up to [`limits::DELEGATES_MAX`] |
//! | `activate_delegation` | a privacy officer of her organization | lets an executor act, after a wait |
//! | `end_delegation` | the patient; the delegate; for a guardian whom an officer named, officers of her organization | |
//! | `list_delegates` | the patient; a delegate for `rights`; records and privacy officers of her organization; the delegate his own; an organization's workforce and devices those for `read` and `consent` that count, to encrypt for them | |
//! | `grant_consent` | the patient | a consent, filed as she signed it |
//! | `grant_consent_for`, `revoke_consent` | the patient; a delegate for `consent` | consent and its end |
//! | `list_consents` | the patient; a delegate for `consent` or `rights`; records and privacy officers of her organization; the author of a record about her, the standing ones | |
//! | `request_consent` | a practitioner or researcher, for herself, her role at her organization, her organization or a study | asks the patient for a consent, for at most [`limits::CONSENT_REQUEST_MS_MAX`] |
//! | `answer_consent_request` | the patient; a delegate for `consent` | grants what was asked for, or a part of it, or declines |
//! | `withdraw_consent_request` | who asked | |
//! | `list_consent_requests` | as `list_consents`; others what they asked for themselves | |
//! | `share_keys` | the patient; a delegate for `consent` and the author, while a consent covers the version or a delegate may read; a records officer of the submitting organization, of an active version; to answer an [emergency](#emergencies), a privacy officer of it, too | adds a list of wrapped keys to a version, up to [`limits::WRAPS_MAX`], others than the patient together up to [`limits::OTHERS_WRAPS_MAX`] |
//! | `request_access` | anybody with a role; endorsed only | decides, and records permit **or** deny |
//! | `note_denied_access` | a peer | records a deny whose transaction did not come, in its place |
//! | `break_glass` | a practitioner; endorsed only | decides as [Emergencies](#emergencies) says, and records permit **or** deny |
//! | `review_emergency` | a privacy officer of the patient's organization or of the reader's, never the reader | closes the review of an emergency access |
//! | `list_emergencies` | the patient; a delegate for `rights`; privacy officers of her organization; others what their own organization did; officers those to records that their organization submitted; a practitioner her own | without a patient, what awaits a review |
//! | `register_study` | a privacy officer, for her organization | see [Studies](#studies) |
//! | `add_investigator`, `remove_investigator`, `end_study` | a privacy officer of the sponsoring organization | who investigates, up to [`limits::INVESTIGATORS_MAX`] certificates and as many roles; ends the study before its time |
//! | `get_study` | anybody with a role; her pseudonym the patient and a delegate for `consent` | a study's terms, sponsor and investigators |
//! | `enrol`, `withdraw_from_study` | the patient; a delegate for `consent` who does not investigate in it | joins under a pseudonym, and leaves |
//! | `study_records` | an investigator | the records that a study may read, under pseudonyms |
//! | `study_cohort` | an investigator; a privacy officer of the sponsoring organization; a question only | how many patients have a record that fits |
//! | `bind_device`, `release_device` | the patient; practitioners and records officers of her organization | lets a device report her vital signs |
//! | `submit_window` | a device of her organization that is bound to her | see [Vital signs](#vital-signs) |
//! | `device_status` | the patient; a delegate for `rights`; practitioners and officers of her organization; the device | to whom it is bound, and how far its sequence has come |
//! | `read_grant` | the holder of a permit | what is needed to read: CID, header, commitments |
//! | `get_record` | the patient; a delegate for `read`, what he may read; officers of her and of the submitting organization; the author; holders of a permit; while they are asked for, records officers of other organizations | one version's metadata |
//! | `record_history` | the patient, those officers of hers and of the submitting organization, and the author, of the newest version; a question only | who made which version the newest, or the active one, in which transaction, and what officers found about it |
//! | `list_records` | those of `get_record` without holders of a permit, of what they may see; others the active versions that a delegation or a consent would open to them | filtered by what the request states; a page may be short of what is left out |
//! | `request_erasure` | the patient; a delegate with the scope `rights` | asks the submitting organization to erase a record |
//! | `decline_erasure` | a privacy officer of the submitting organization | says why not |
//! | `erase_record` | the same; see [Erasure](#erasure) | ends every version of a record |
//! | `erasures` | the patient; such a delegate; privacy officers of her organization; others of what their own organization submitted | her requests and what became of them; without a patient, what awaits a privacy officer's organization |
//! | `concerns` | anybody with a role; a question only | whether and why a version concerns the caller |
//! | `accounting` | the patient; such a delegate; privacy officers of her organization; a question only | disclosures of the last six years |
//! | `readers` | the same | who holds or held a permit for which version |
//! | `audit_trail` | the patient; a delegate for `rights`; privacy officers of her organization; other privacy officers what their own organization did | |
//!
//! # Who is the patient
//! A caller of the role `patient` whose certificate names her, is of the organization that
//! registered her, and is authorised: it registered her, or another one of hers added it. So
//! neither another organization nor her own can make itself the patient by issuing a certificate.
//! The organization that registers an id first has it; ids cannot be guessed before they are
//! registered. A certificate is renewed by adding the new one with the old one, before that
//! expires. A removed certificate takes its published encryption key with it.
//!
//! Who lost every certificate proves her identity to a privacy officer of her organization again,
//! who calls `rebind_patient`. The certificate counts after
//! [`rebind_wait_ms`](settings::Settings::rebind_wait_ms); until then `patient.rebinding` alerts
//! whoever listens with an old certificate or as her delegate, and they can cancel it. One
//! rebinding waits at a time. With the new certificate she then removes those that she lost. How
//! many organizations must endorse a rebinding is the contract's endorsement policy: it has to be
//! at least as many as can open a record together, or fewer could make themselves her. Who has
//! *stolen* a certificate can do all that she can, cancelling a rebinding included: such a
//! certificate is revoked in the channel's configuration first.
//!
//! # Delegates
//! A delegate acts for a patient under a delegation of one of the kinds of
//! [`DelegateKind`] (HL7 `v3-RoleCode`), for the scopes it names ([`DelegateScope`]), from when on
//! it counts until it ends; nobody is a delegate's delegate. Whatever he does is filed with his
//! certificate and the delegation, and is valid only in a block before its end.
//!
//! | Kind | Named by | Counts | Ends at most | Reads for |
//! |---|---|---|---|---|
//! | `GUARD` | the patient | at once | [`limits::GUARDIAN_MS_MAX`] ahead: at the age of majority, which officers state | `FAMRQT` |
//! | `GUARD` | a records or privacy officer of her organization | after the same wait as a rebinding | the same | `FAMRQT` |
//! | `POWATT` | the patient | at once | [`limits::POWER_MS_MAX`] ahead: it ends with her capacity, of which the ledger learns nothing | `PWATRNY` |
//! | `HPOWATT`, `DPOWATT` | the patient | at once | [`limits::DELEGATION_MS_MAX`] ahead: they survive her capacity | `PWATRNY` |
//! | `EXCEST` | the patient, in life | once a privacy officer attests her death by `activate_delegation`, after the same wait | the same | `PATRQT` |
//!
//! A delegate for `read` is treated as the individual (45 CFR 164.502(g)(1)): no consent is asked,
//! and the decision's basis is `delegate`. He sees every version that is or was active, but
//! - none that is pending or rejected: what was not confirmed is between her and its author;
//! - as a guardian, none labelled `ADOL` or `SDV`: care to which a minor may consent alone
//!   (164.502(g)(3)(i)), and abuse, for which a representative need not be treated as the individual
//!   (164.502(g)(5));
//! - none that a consent of hers denies which names his certificate. Such consents are out of his
//!   hands: a delegate neither grants nor revokes one that names him. Nor does he join or leave a
//!   study for her in which he investigates.
//!
//! The patient can end every delegation, also one that her organization named: her own signature
//! counts for more. A consent that a guardian granted stays after her majority until it ends or
//! she revokes it, as an authorisation does.
//!
//! # Access
//! In this order:
//! 1. the patient, for `PATRQT` and what it contains, every version about her;
//! 2. the author, while the version is not active, for treatment and operations, so that she can
//!    correct it; once it is active, consents decide for her too;
//! 3. a records officer of the submitting organization, and one of another organization while she
//!    is asked for, for `HUAPRV`, while it is pending;
//! 4. a delegate for `read`, active versions, for the purpose of his kind ([Delegates](#delegates));
//! 5. everybody else only active versions, as the patient's consents decide ([`stela_consent`]).
//!
//! Of an erased record nobody reads anything: the reason is `erased`, for the patient too.
//!
//! A refused access is a normal answer, so that it is committed with its audit entry; only a
//! malformed request, an unknown record or another patient's is an error. A version that is not
//! active is denied to everybody else with the reason `not-active`. A patient may have
//! [`limits::CONSENTS_MAX`] consents, revoked ones included; with more, consents open nothing, with
//! the reason `too-many-consents`. Grants do not count them, so that they never conflict. A permit
//! expires ([`limits::PERMIT_MS`], or with its consent), and `read_grant` asks the consents again.
//! A permit that rests on a consent, a delegation or a study with an end is valid only in a block
//! before that end, so that an endorsement of it cannot be kept until later.
//!
//! A deny whose requester does not have it committed is noted by the peers that endorsed it, in a
//! transaction of their own, under the time and the transaction that it would have had: so there is
//! one entry, whoever wrote it, and `noted_by` says when a peer did. A peer could note what never
//! was; the entry names its organization, and the contract's endorsement policy says how many others
//! must agree.
//!
//! # Emergencies
//! A practitioner who breaks the glass reads an active version whatever the consents say, but for
//! one that is labelled `V` and that a consent of the patient's denies ([`stela_consent::emergency`]).
//! The proposal carries a commitment to a justification, encrypted for the patient and the privacy
//! officers. The permit lasts [`emergency_ms`](settings::Settings::emergency_ms); `emergency.accessed`
//! tells everybody concerned at once, whoever is on call with a key among them.
//!
//! Each access must be reviewed. Who has one that waits longer than
//! [`emergency_review_ms`](settings::Settings::emergency_review_ms) is denied the next with the
//! reason `review-overdue`.
//!
//! The contract gives a permit and no key: an officer of the submitting organization who holds one
//! answers the permit by sharing it with its reader, which `share_keys` allows while it stands.
//!
//! # Studies
//! A study is registered with its terms: purposes within `HRESCH`, the highest confidentiality, the
//! labels and categories of what it may see, its end, and a salted hash of its ethics approval. They
//! never change. A request for a study is decided by the terms first ([`Refusal`]), then by the
//! patient's consents, of which only those whose actor is the study open anything to it. She joins
//! with `enrol` under a pseudonym that her client draws, one for each study; in requests for the
//! study it stands in the place of her id.
//!
//! What a study is answered never has her id, unless her consent says `RSREID`: `read_grant` and
//! `study_records` then say it beside the pseudonym. Nor has it her certificate or her device's. The
//! pseudonym keeps her from who asks the contract, not from who runs a peer: the transactions and
//! the state of a channel name patients to its members, events name the patient of a record, and a
//! record has the same id in every study.
//!
//! A cohort smaller than the floor ([`study_floor`](settings::Settings::study_floor), or a higher one
//! of the study's) is told only as such. Several counts can still be set against one another; that
//! is for the ethics approval to forbid. A study with more than [`limits::COHORT_PATIENTS_MAX`]
//! patients is counted in parts, each under the floor by itself: so that no two counts differ by one
//! patient, the contract divides them, by their pseudonyms and into as many parts as their number
//! asks for. Of what is rare, a part may have too few to be told, although the study has enough.
//! With more than [`limits::COHORT_PARTS_MAX`] times [`limits::COHORT_PART_PATIENTS`] patients, those
//! who left included, nothing is counted, nor a part with more than
//! [`limits::COHORT_RECORDS_MAX`] records. Once the study has ended, accesses are denied with
//! `study-ended`, and every other call is an error, except that she can leave.
//!
//! # Vital signs
//! A device collects observations into windows; each is a record of the category `vital-signs` that
//! is active at once, since nobody wrote it whom a review could correct, and in everything else a
//! record like others. Its anchor has the Merkle root over the salted observations ([RFC 6962]), with
//! which one of them can be proved without the others.
//!
//! A device numbers its observations over all its windows, whoever it is bound to. A window that
//! starts behind a gap is accepted, and the gap stands in the anchor and in `vital-signs.gap`. One
//! that repeats a number or starts before the last one ended is refused with `out-of-sequence`. A
//! device that lost its count needs a new certificate. How many observations lie outside the
//! patient's own thresholds is counted by the gateway, which alone knows them; `vital-signs.alert`
//! has neither a value nor a code.
//!
//! [RFC 6962]: https://www.rfc-editor.org/rfc/rfc6962#section-2.1
//!
//! # Review
//! The consortium sets how many records officers must confirm a version, and how many of them must
//! be from another organization than the one that submitted it
//! ([`ReviewPolicy`](settings::ReviewPolicy)); the others are from that one. The version is active
//! with the last confirmation that is asked for. Nobody confirms twice, and nobody confirms her own
//! version. One rejection ends the review, also by somebody who had confirmed. Officers of other
//! organizations see and open a pending version only while the policy asks for one of them. Each
//! confirmation before the last has its own key; two officers at the same moment may conflict, since
//! each has counted the others, and then one of them confirms again.
//!
//! The policy counts that is in force when an officer confirms. When it was changed so that nobody
//! is asked for any more, one further officer of the submitting organization decides.
//!
//! # Erasure
//! The submitting organization's privacy officer erases a record as a whole:
//! - `patient-request`: the patient asked for it, and it was not declined. She is told why if it is:
//!   `retention`, which is refused once the years are over, or `legal-hold`. She may ask again.
//! - `retention-over`: the years that the consortium sets are over for every version, counted from
//!   its date, or else from its submission.
//! - `unlawful`: it should never have been kept. The officer proposes it, and a privacy officer of
//!   another organization erases it, by the same call, within
//!   [`erasure_proposal_ms`](settings::Settings::erasure_proposal_ms); afterwards it can be proposed
//!   again.
//!
//! After it every version is `erased`: no access, no amendment, no review, no shared keys. What stays
//! is what `get_record`, `record_history` and `list_records` tell to those who answer for it (ids,
//! author, times, category, confidentiality, labels, date, CID, header, commitment, the findings of
//! the review), the audit trail, and the tombstone: who erased it, when and why. Storage nodes let
//! the ciphertexts go that the event names. Lists of wrapped keys are not named any more, and stay in
//! the side stores of the peers; who has unwrapped a key keeps it, and `readers` says who that can
//! be. The custodians' shares of a key are not part of this contract yet:
//! with them, erasing a record will destroy its key.
//!
//! # Rights
//! `accounting` reads the part of the audit trail that lies in the period, six years back at most
//! (45 CFR 164.528), and marks each disclosure; those for treatment, payment and operations, to the
//! patient and by her consent are exempt and left out unless `all` is asked for. Disclosures for
//! public health are named whatever they rest on.
//!
//! Everything about a patient comes page by page to herself and to her organization's privacy
//! officers: `list_records` and for each of them `record_history` and `get_record` from version 1 to
//! the newest; `list_consents`, `encryption_keys`, `audit_trail`, `accounting`, `readers`, `erasures`.
//!
//! # State
//! One key per thing, so that concurrent work does not conflict. `·` is the separator of composite
//! keys; ids, fingerprints, commitments and transaction ids are in base64url without padding.
//!
//! | Key | Value |
//! |---|---|
//! | `p·patient` | the organization and certificate that registered; never changes |
//! | `c·patient·consent` | the consent, as the patient's argument has it |
//! | `x·patient·consent` | when it was revoked |
//! | `r·record` | patient, newest version, active version, whether it is erased |
//! | `i·patient·record` | `1`: the records of a patient |
//! | `v·record·version` | what was submitted, as the author's argument has it; never changes |
//! | `b·record·version` | the author and the time; never changes |
//! | `s·record·version` | the review's outcome, which version this one replaced and which replaced it; absent while pending |
//! | `y·record·version·fingerprint` | an officer's confirmation after which more were asked for |
//! | `n·cid·record` | `1`: the records that name a blob |
//! | `z·patient·record` | the patient's newest request for erasure, and why it was declined |
//! | `zo·organization·patient·record` | `1`: a request for erasure that this organization decides about |
//! | `zu·record` | the newest proposal to erase a record as unlawful |
//! | `t·record` | the tombstone: who erased the record, when and why |
//! | `w·record·version·commitment` | who added this list of wrapped keys, and when |
//! | `g·record·version·fingerprint` | the newest permit of a reader |
//! | `k·fingerprint` | the encryption key, as its owner's argument has it |
//! | `e·fingerprint` | its owner's organization, role and patient id |
//! | `o·organization·role·fingerprint` | `1`: keys by role at an organization |
//! | `q·patient·fingerprint` | `1`: keys of a patient |
//! | `a·patient·time·transaction` | an audit entry; for a consent that the registering certificate granted the consent itself |
//! | `m·patient·certificate` | who authorised this certificate of hers and when; for a rebinding from when on it counts |
//! | `d·patient·delegate·delegation` | a delegation; deleted when it is ended |
//! | `j·patient·request` | a request for consent |
//! | `l·patient·request` | its answer or withdrawal; absent while it is open |
//!
//! | `ue·patient·transaction` | an emergency access; never changes |
//! | `uf·patient·transaction` | what its review found |
//! | `u·fingerprint·time·transaction` | the patient: an access of this reader that is to be reviewed |
//! | `uo·organization·patient·transaction` | `1`: an access that this organization can review |
//! | `st·study` | its terms, as the sponsor's argument has them; never changes |
//! | `so·study` | who registered it; never changes |
//! | `sx·study` | when it was ended before its time |
//! | `si·study·fingerprint`, `sr·study·organization·role` | who made these its investigators |
//! | `sm·study·patient` | her pseudonym, while she takes part |
//! | `sp·study·pseudonym` | the patient; nobody once she has left, and nobody else ever |
//! | `vd·device` | to whom it is bound, or was bound last |
//! | `vp·patient·device` | `1`: the devices of a patient |
//! | `vs·device` | how far its sequence has come |
//! | `vw·record` | for a window, its device and how many observations are missing before its end |
//!
//! Values equal to an argument cost a reference in the transaction instead of the bytes.
//!
//! # Conflicts
//! Of transactions about one patient at the same time, that is endorsed over the same state, the
//! later one is not committed only when it
//!
//! | … | after |
//! |---|---|
//! | asks for access by consent | a grant or revocation of hers: its decision may be another one |
//! | asks for access, breaks the glass, shares keys, amends or reviews | an amendment or review of the same record |
//! | shares keys | another sharing for the same version: their number has a limit |
//! | confirms | another confirmation of the same version |
//! | makes something with an id that is taken | the one that took it |
//! | submits a window | another window of the same device, or its binding or release |
//! | breaks the glass on a record labelled `V` | a grant or revocation of hers |
//! | asks for access for a study | its end, a change of what admitted the caller, the patient's enrolment or withdrawal |
//! | makes an investigator | another one of the same kind: their number has a limit |
//! | acts as the patient or as her delegate | a change of that certificate or delegation |
//!
//! Who asks again finds the new state.
//!
//! # Events
//! Payloads carry ids only ([`event`]), so that whoever follows them asks with `concerns` which of
//! them are for her.
//!
//! | Event | With, beside patient, record and version |
//! |---|---|
//! | `patient.registered` | the patient alone |
//! | `record.submitted`, `record.reviewed` | |
//! | `record.amended` | the version that it replaces |
//! | `record.confirmed`, `record.rejected` | the CID, for storage nodes |
//! | `record.erased` | no version; the CIDs of all versions, for storage nodes, without those that another record names |
//! | `erasure.requested`, `erasure.declined`, `erasure.proposed` | no version |
//! | `consent.granted`, `consent.revoked` | the consent instead of a record |
//! | `keys.shared` | |
//! | `access.permitted`, `access.denied` | |
//! | `emergency.accessed`, `emergency.reviewed` | the transaction that permitted |
//! | `study.registered`, `study.ended`, `study.enrolled`, `study.withdrawn` | the study alone |
//! | `device.bound`, `device.released` | the device instead of a record |
//! | `vital-signs.gap`, `vital-signs.alert` | no version; the device |
//! | `patient.rebinding`, `patient.rebinding-cancelled`, `certificate.added`, `certificate.removed` | the certificate instead of a record |
//! | `delegate.named`, `delegation.activated`, `delegation.ended` | the delegation instead of a record |
//! | `key.registered`, `key.rotated` | the certificate alone |
//! | `consent.requested`, `consent.request-answered` (with `consent.granted` when it was approved), `consent.request-withdrawn` | the request instead of a record |

mod access;
pub mod answer;
mod audit;
mod caller;
mod certificate;
mod consent;
mod consent_request;
mod delegate;
mod denied;
mod describe;
mod device;
mod emergency;
mod encryption;
mod erasure;
pub mod event;
mod filter;
mod keys;
pub mod limits;
mod notice;
mod page;
mod patient;
mod record;
pub mod request;
mod review;
mod rights;
pub mod settings;
mod study;
mod value;
mod wraps;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stela_guest::{ContractError, Ledger, export_contract, json};

pub use delegate::opens_to_delegate;
pub use describe::describe_key;
pub use value::{
    Answer, Basis, Cid, ConsentReason, DeclineReason, DelegateKind, DelegateScope, DenyReason,
    EmergencyReason, EraseReason, ErasureGround, Finding, HeaderText, PublicKeyText, Refusal,
    RejectReason, RequestState, State,
};

export_contract!(invoke);

/// The contract: runs `function` with its JSON argument.
///
/// # Errors
/// [`ContractError`] with a stable code: `invalid-argument` (with the field), `forbidden`,
/// `not-found`, `already-exists`, `wrong-state`, `out-of-sequence`, `limit-exceeded`, `endorse-only`,
/// `evaluate-only`, `invalid-settings` (with the field), `unknown-function`.
pub fn invoke(
    ledger: &mut dyn Ledger,
    function: &str,
    arguments: &[Vec<u8>],
) -> Result<Vec<u8>, ContractError> {
    run(function, Call { ledger, arguments })
}

macro_rules! functions {
    ($($name:literal => $call:ident.$run:ident($function:path),)+) => {
        /// Every function of the contract.
        pub const FUNCTIONS: &[&str] = &[$($name),+];

        fn run(function: &str, call: Call<'_>) -> Result<Vec<u8>, ContractError> {
            match function {
                $($name => call.$run($function),)+
                _ => Err(ContractError::unknown_function()),
            }
        }
    };
}

functions! {
    "register_patient" => call.run(patient::register),
    "register_encryption_key" => call.run_raw(encryption::register),
    "encryption_keys" => call.run(encryption::list),
    "submit_record" => call.run_raw(record::submit),
    "amend_record" => call.run_raw(record::amend),
    "confirm_record" => call.run(review::confirm),
    "reject_record" => call.run(review::reject),
    "grant_consent" => call.run_raw(consent::grant),
    "revoke_consent" => call.run(consent::revoke),
    "list_consents" => call.run(consent::list),
    "share_keys" => call.run(wraps::share),
    "request_access" => call.run(access::request),
    "note_denied_access" => call.run(denied::note),
    "break_glass" => call.run(emergency::break_glass),
    "review_emergency" => call.run(emergency::review),
    "list_emergencies" => call.run(emergency::list),
    "register_study" => call.run_raw(study::register),
    "add_investigator" => call.run(study::add_investigator),
    "remove_investigator" => call.run(study::remove_investigator),
    "end_study" => call.run(study::end),
    "get_study" => call.run(study::get),
    "enrol" => call.run(study::enrol),
    "withdraw_from_study" => call.run(study::withdraw),
    "study_records" => call.run(study::records),
    "study_cohort" => call.run(study::cohort),
    "bind_device" => call.run(device::bind),
    "release_device" => call.run(device::release),
    "submit_window" => call.run_raw(device::submit),
    "device_status" => call.run(device::status),
    "read_grant" => call.run(access::read_grant),
    "get_record" => call.run(record::get),
    "record_history" => call.run(record::history),
    "list_records" => call.run(record::list),
    "audit_trail" => call.run(audit::trail),
    "add_certificate" => call.run(certificate::add),
    "remove_certificate" => call.run(certificate::remove),
    "rebind_patient" => call.run(certificate::rebind),
    "cancel_rebinding" => call.run(certificate::cancel),
    "list_certificates" => call.run(certificate::list),
    "encryption_key_history" => call.run(encryption::history),
    "name_delegate" => call.run(delegate::name),
    "end_delegation" => call.run(delegate::end),
    "activate_delegation" => call.run(delegate::activate),
    "list_delegates" => call.run(delegate::list),
    "grant_consent_for" => call.run(consent::grant_for),
    "request_consent" => call.run(consent_request::ask),
    "answer_consent_request" => call.run(consent_request::answer),
    "withdraw_consent_request" => call.run(consent_request::withdraw),
    "list_consent_requests" => call.run(consent_request::list),
    "request_erasure" => call.run(erasure::request),
    "decline_erasure" => call.run(erasure::decline),
    "erase_record" => call.run(erasure::erase),
    "erasures" => call.run(erasure::list),
    "concerns" => call.run(notice::concerns),
    "accounting" => call.run(rights::accounting),
    "readers" => call.run(rights::readers),
}

struct Call<'a> {
    ledger: &'a mut dyn Ledger,
    arguments: &'a [Vec<u8>],
}

impl Call<'_> {
    fn run<R: DeserializeOwned, A: Serialize>(
        self,
        function: impl FnOnce(&mut dyn Ledger, R) -> Result<A, ContractError>,
    ) -> Result<Vec<u8>, ContractError> {
        self.run_raw(|ledger, request, _| function(ledger, request))
    }

    /// Also hands over the argument's bytes, which some functions store as they are.
    fn run_raw<R: DeserializeOwned, A: Serialize>(
        self,
        function: impl FnOnce(&mut dyn Ledger, R, &[u8]) -> Result<A, ContractError>,
    ) -> Result<Vec<u8>, ContractError> {
        let request = json::only_argument(self.arguments)?;
        let bytes = self
            .arguments
            .first()
            .map(Vec::as_slice)
            .unwrap_or_default();
        json::encode(&function(self.ledger, request, bytes)?)
    }
}
