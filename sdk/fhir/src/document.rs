//! A version of a record as `DocumentReference`: where its ciphertext is, and what the ledger says
//! about it.

use fhirkit::r4::{
    Attachment, DocumentReference, DocumentReferenceContent, DocumentReferenceContext,
    DocumentReferenceRelatesTo, Period,
};
use stela_healthcare::State;
use stela_healthcare::answer::RecordVersion;

use crate::code::{ACT_CODE, CONFIDENTIALITY, category, concept};
use crate::moment::{BeyondDates, instant};
use crate::reference::{self, RECORD};

/// The version as a resource. Its content is the ciphertext: the kind of document that it decrypts
/// to is not on the ledger. One that was rejected or erased is not to be used (`entered-in-error`);
/// one that was erased has no address any more.
///
/// # Errors
/// [`BeyondDates`]: it was submitted, or what it reports took place, after the year 9999.
pub fn document_reference(version: &RecordVersion) -> Result<DocumentReference, BeyondDates> {
    let (status, doc_status) = match (version.state, version.replaced_by) {
        // Nothing of an erased record may be used any more, and R4 has no other word for that.
        (State::Rejected | State::Erased, _) => ("entered-in-error", "entered-in-error"),
        (_, Some(_)) => ("superseded", "final"),
        (State::Pending, None) => ("current", "preliminary"),
        (State::Active, None) => ("current", "final"),
    };
    let stored = version.state != State::Erased;
    let address = stored.then(|| format!("ipfs://{}", version.cid.as_str()));
    let (system, code) = category(version.category);
    let labels = version.labels.iter();
    let replaces = version.replaces.map(|replaced| DocumentReferenceRelatesTo {
        code: Some("replaces".into()),
        target: Some(reference::document(&version.record, replaced)),
        ..DocumentReferenceRelatesTo::default()
    });
    let date = version.date.map(instant).transpose()?;
    Ok(DocumentReference {
        id: Some(reference::document_id(&version.record, version.version)),
        master_identifier: Some(reference::identifier(RECORD, version.record.to_string())),
        status: Some(status.into()),
        doc_status: Some(doc_status.into()),
        category: vec![concept(system, code)],
        subject: Some(reference::patient(&version.patient)),
        date: Some(instant(version.submitted)?),
        author: vec![reference::certificate(&version.author)],
        custodian: Some(reference::organization(&version.organization)),
        relates_to: replaces.into_iter().collect(),
        security_label: [concept(CONFIDENTIALITY, version.confidentiality.code())]
            .into_iter()
            .chain(labels.map(|label| concept(ACT_CODE, label.code())))
            .collect(),
        content: vec![DocumentReferenceContent {
            attachment: Some(Attachment {
                content_type: Some("application/octet-stream".into()),
                url: address.map(Into::into),
                ..Attachment::default()
            }),
            ..DocumentReferenceContent::default()
        }],
        context: date.map(|date| DocumentReferenceContext {
            period: Some(Period {
                start: Some(date.clone()),
                end: Some(date),
                ..Period::default()
            }),
            ..DocumentReferenceContext::default()
        }),
        ..DocumentReference::default()
    })
}
