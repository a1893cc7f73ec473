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
//! | `register_encryption_key` | anybody with a role, for herself; patients once they are registered | publishes the X-Wing key to wrap record keys for |
//! | `encryption_keys` | anybody with a role | finds such keys by fingerprint, by role at an organization, or by patient |
//! | `submit_record` | practitioner, records officer; the patient; a device of her organization whose certificate names her | version 1 of a record, `pending` |
//! | `amend_record` | the same, of the organization that submitted the record | the next version, `pending`; the one before must not be |
//! | `confirm_record`, `reject_record` | a records officer of the submitting organization, never the author | `active` or `rejected` |
//! | `grant_consent`, `revoke_consent` | the patient | consent and its end |
//! | `list_consents` | the patient; records and privacy officers of her organization; the author of a record about her, the standing ones | |
//! | `share_keys` | the patient; the author while a consent stands that covers the version | adds a list of wrapped keys to a version, up to [`limits::WRAPS_MAX`], the author up to [`limits::AUTHOR_WRAPS_MAX`] |
//! | `request_access` | anybody with a role; endorsed only | decides, and records permit **or** deny |
//! | `read_grant` | the holder of a permit | what is needed to read: CID, header, commitments |
//! | `get_record` | the patient; officers of her and of the submitting organization; the author; holders of a permit | one version's metadata |
//! | `record_history` | the same without holders of a permit, of the newest version; a question only | when which version became the newest, or the active one, and in which transaction |
//! | `list_records` | the same, of what they may see; others the active versions that a consent would open to them | |
//! | `audit_trail` | the patient; privacy officers of her organization; other privacy officers what their own organization did | |
//!
//! The patient is a caller of the role `patient` whose certificate names her and is of the
//! organization that registered her: another organization cannot make itself a patient by issuing
//! such a certificate, and a renewed certificate of her own goes on being hers. The organization
//! that registers an id first has it; ids cannot be guessed before they are registered.
//!
//! # Access
//! In this order:
//! 1. the patient, for `PATRQT` and what it contains, every version about her;
//! 2. the author, while the version is not active, for treatment and operations, so that she can
//!    correct it; once it is active, consents decide for her too;
//! 3. a records officer of the submitting organization, for `HUAPRV`, while it is pending;
//! 4. everybody else only active versions, as the patient's consents decide ([`stela_consent`]).
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
//! | `a·patient·time·transaction` | an audit entry; for a granted consent the consent itself |
//!
//! Values equal to an argument cost a reference in the transaction instead of the bytes.
//!
//! # Events
//! `patient.registered`, `record.submitted`, `record.confirmed`, `record.rejected` (both with the
//! CID, for storage nodes), `consent.granted`, `consent.revoked`, `keys.shared`,
//! `access.permitted`, `access.denied`; payloads carry ids only ([`event`]).

mod access;
pub mod answer;
mod audit;
mod caller;
mod consent;
mod consent_request;
mod delegate;
mod describe;
mod device;
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
/// `evaluate-only`, `unknown-function`.
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
        "add_device" => call.run(device::add),
        "remove_device" => call.run(device::remove),
        "rebind_patient" => call.run(device::rebind),
        "cancel_rebinding" => call.run(device::cancel),
        "list_devices" => call.run(device::list),
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
