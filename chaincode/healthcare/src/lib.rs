//! The contract for health records: patients, records and their review, consent, access, audit.
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
//! | `submit_record` | practitioner, records officer; the patient; a device of her organization whose certificate names her | version 1 of a record, `pending` |
//! | `amend_record` | the same, of the organization that submitted the record | the next version, `pending`; the one before must not be |
//! | `confirm_record`, `reject_record` | a records officer of the submitting organization, never the author | `active` or `rejected` |
//! | `add_certificate`, `remove_certificate` | the patient | authorises another certificate of hers, up to [`limits::CERTIFICATES_MAX`]; takes one away, never the last |
//! | `rebind_patient` | a privacy officer of her organization | authorises a certificate in place of those that she lost, after a wait |
//! | `cancel_rebinding` | the patient; a delegate for `rights`; a privacy officer of her organization | takes that back while it waits |
//! | `list_certificates` | the patient; a delegate for `rights`; records and privacy officers of her organization | |
//! | `name_delegate` | the patient; a guardian also officers of her organization | lets somebody act for her, up to [`limits::DELEGATES_MAX`] |
//! | `activate_delegation` | a privacy officer of her organization | lets an executor act, after a wait |
//! | `end_delegation` | the patient; the delegate; for a guardian whom an officer named, officers of her organization | |
//! | `list_delegates` | as `list_certificates`; the delegate his own; an organization's workforce and devices those for `read` and `consent` that count, to encrypt for them | |
//! | `grant_consent` | the patient | a consent, filed as she signed it |
//! | `grant_consent_for`, `revoke_consent` | the patient; a delegate for `consent` | consent and its end |
//! | `list_consents` | the patient; a delegate for `consent` or `rights`; records and privacy officers of her organization; the author of a record about her, the standing ones | |
//! | `request_consent` | a practitioner or researcher, for herself, her role at her organization, her organization or a study | asks the patient for a consent, for at most [`limits::CONSENT_REQUEST_MS_MAX`] |
//! | `answer_consent_request` | the patient; a delegate for `consent` | grants what was asked for, or a part of it, or declines |
//! | `withdraw_consent_request` | who asked | |
//! | `list_consent_requests` | as `list_consents`; others what they asked for themselves | |
//! | `share_keys` | the patient; a delegate for `consent` and the author, while a consent covers the version or a delegate may read; a records officer of the submitting organization, of an active version | adds a list of wrapped keys to a version, up to [`limits::WRAPS_MAX`], others than the patient together up to [`limits::OTHERS_WRAPS_MAX`] |
//! | `request_access` | anybody with a role; endorsed only | decides, and records permit **or** deny |
//! | `read_grant` | the holder of a permit | what is needed to read: CID, header, commitments |
//! | `get_record` | the patient; a delegate for `read`, what he may read; officers of her and of the submitting organization; the author; holders of a permit | one version's metadata |
//! | `record_history` | the patient, those officers and the author, of the newest version; a question only | when which version became the newest, or the active one, and in which transaction |
//! | `list_records` | the same, of what they may see; others the active versions that a delegation or a consent would open to them | |
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
//!   hands: a delegate neither grants nor revokes one that names him.
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
//! 3. a records officer of the submitting organization, for `HUAPRV`, while it is pending;
//! 4. a delegate for `read`, active versions, for the purpose of his kind ([Delegates](#delegates));
//! 5. everybody else only active versions, as the patient's consents decide ([`stela_consent`]).
//!
//! A refused access is a normal answer, so that it is committed with its audit entry; only a
//! malformed request, an unknown record or another patient's is an error. A version that is not
//! active is denied to everybody else with the reason `not-active`. A patient may have
//! [`limits::CONSENTS_MAX`] consents, revoked ones included; with more, consents open nothing, with
//! the reason `too-many-consents`. Grants do not count them, so that they never conflict. A permit
//! expires ([`limits::PERMIT_MS`], or with its consent), and `read_grant` asks the consents again.
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
//! | `r·record` | patient, newest version, active version |
//! | `i·patient·record` | `1`: the records of a patient |
//! | `v·record·version` | what was submitted, as the author's argument has it; never changes |
//! | `b·record·version` | the author and the time; never changes |
//! | `s·record·version` | the review's outcome, and which version replaced this one; absent while pending |
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
//! Values equal to an argument cost a reference in the transaction instead of the bytes.
//!
//! # Events
//! `patient.registered`, `record.submitted`, `record.confirmed`, `record.rejected` (both with the
//! CID, for storage nodes), `consent.granted`, `consent.revoked`, `keys.shared`,
//! `access.permitted`, `access.denied`, `patient.rebinding`, `patient.rebinding-cancelled`,
//! `certificate.added`, `certificate.removed`, `delegate.named`, `delegation.activated`, `delegation.ended`,
//! `key.registered`, `key.rotated`, `consent.requested`, `consent.request-answered` (with
//! `consent.granted` when it was approved), `consent.request-withdrawn`; payloads carry ids only
//! ([`event`]).

mod access;
pub mod answer;
mod audit;
mod caller;
mod certificate;
mod consent;
mod consent_request;
mod delegate;
mod describe;
mod encryption;
pub mod event;
mod keys;
pub mod limits;
mod page;
mod patient;
mod record;
pub mod request;
mod review;
pub mod settings;
mod value;
mod wraps;

use serde::Serialize;
use serde::de::DeserializeOwned;
use stela_guest::{ContractError, Ledger, export_contract, json};

pub use delegate::opens_to_delegate;
pub use describe::describe_key;
pub use value::{
    Answer, Basis, Cid, ConsentReason, DelegateKind, DelegateScope, HeaderText, PublicKeyText,
    RejectReason, RequestState, State,
};

export_contract!(invoke);

/// The contract: runs `function` with its JSON argument.
///
/// # Errors
/// [`ContractError`] with a stable code: `invalid-argument` (with the field), `forbidden`,
/// `not-found`, `already-exists`, `wrong-state`, `limit-exceeded`, `endorse-only`,
/// `evaluate-only`, `invalid-settings`, `unknown-function`.
pub fn invoke(
    ledger: &mut dyn Ledger,
    function: &str,
    arguments: &[Vec<u8>],
) -> Result<Vec<u8>, ContractError> {
    let call = Call { ledger, arguments };
    match function {
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
        _ => Err(ContractError::unknown_function()),
    }
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
