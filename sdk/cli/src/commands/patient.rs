//! What a patient has a right to know.

use stela_consent::Id;
use stela_records::care::request::Accounting;
use stela_records::care::{Session, answer};

use super::export;
use super::record::code;
use crate::arguments::Rights;
use crate::output::{Output, short, table, time};
use crate::profile::Profile;

pub(super) async fn dispatch(
    profile: &Profile,
    session: &Session,
    command: Rights,
    output: &Output,
) -> anyhow::Result<()> {
    let of = |patient: Option<Id>| patient.map_or_else(|| profile.patient(), Ok);
    match command {
        Rights::Accounting {
            patient,
            from,
            to,
            purpose,
            recipient,
            all,
        } => {
            let request = Accounting {
                from,
                to,
                purpose,
                recipient,
                all,
                ..Accounting::of(of(patient)?)
            };
            let disclosures = session.accounting(request).await?;
            output.answer(&disclosures, |disclosures| accounting(disclosures))
        }
        Rights::Readers { patient, record } => {
            let found = session.readers(of(patient)?, record).await?;
            output.answer(&found, |found| readers(found))
        }
        Rights::Export {
            patient,
            out,
            purpose,
            no_content,
            no_receipts,
        } => {
            let wanted = export::Wanted {
                patient: of(patient)?,
                out,
                purpose,
                contents: !no_content,
                receipts: !no_receipts,
            };
            export::run(profile, session, &wanted, output).await
        }
        Rights::Erasures { patient } => {
            let requests = session.erasures(Some(of(patient)?)).await?;
            output.answer(&requests, |requests| erasures(requests))
        }
    }
}

fn accounting(disclosures: &[answer::Disclosure]) -> String {
    let rows: Vec<Vec<String>> = disclosures
        .iter()
        .map(|disclosure| {
            vec![
                time(disclosure.time),
                format!(
                    "{} {} {}",
                    disclosure.organization,
                    disclosure.role,
                    short(disclosure.recipient)
                ),
                code(&disclosure.purpose),
                code(&disclosure.kind),
                code(&disclosure.basis),
                code(&disclosure.category),
                format!("{} v{}", disclosure.record, disclosure.version),
            ]
        })
        .collect();
    table(
        &[
            "TIME",
            "RECIPIENT",
            "PURPOSE",
            "KIND",
            "BASIS",
            "CATEGORY",
            "RECORD",
        ],
        &rows,
    )
}

fn readers(readers: &[answer::Reader]) -> String {
    let rows: Vec<Vec<String>> = readers
        .iter()
        .map(|reader| {
            vec![
                format!("{} v{}", reader.record, reader.version),
                format!(
                    "{} {} {}",
                    reader.organization,
                    reader.role,
                    short(reader.reader)
                ),
                code(&reader.purpose),
                code(&reader.basis),
                time(reader.time),
                time(reader.expires),
            ]
        })
        .collect();
    table(
        &["RECORD", "READER", "PURPOSE", "BASIS", "ASKED", "EXPIRES"],
        &rows,
    )
}

fn erasures(requests: &[answer::ErasureRequest]) -> String {
    let outcome = |request: &answer::ErasureRequest| match (&request.erased, &request.declined) {
        (Some(erased), _) => format!("erased {}: {}", time(erased.time), code(&erased.reason)),
        (None, Some(declined)) => {
            let (when, why) = (time(declined.time), code(&declined.reason));
            format!("declined {when} by {}: {why}", declined.organization)
        }
        (None, None) => "waits".to_owned(),
    };
    let rows: Vec<Vec<String>> = requests
        .iter()
        .map(|request| {
            vec![
                request.record.to_string(),
                time(request.time),
                request.reason.as_ref().map_or("-".to_owned(), code),
                outcome(request),
            ]
        })
        .collect();
    table(&["RECORD", "ASKED", "REASON", "OUTCOME"], &rows)
}
