//! What an event of the healthcare contract means for a storage node. Pure.

use bytes::Bytes;
use serde::Deserialize;
use stela_client::Event;
use stela_ipfs::{Cid, PinKind};
use stela_protocol::transaction::{Body, Envelope};

use crate::config::Replication;
use crate::limits::{CID_CHARS_MAX, EVENT_BYTES_MAX, REVIEW_LEASE_MS};

/// A version of a record was submitted; whoever holds its blob keeps it for the review.
pub const RECORD_SUBMITTED: &str = "record.submitted";
/// A further version of a record was submitted: the same.
pub const RECORD_AMENDED: &str = "record.amended";
/// A version of a record was confirmed; its blob is kept for good.
pub const RECORD_CONFIRMED: &str = "record.confirmed";

/// A record was erased: nobody keeps its blobs any more.
pub const RECORD_ERASED: &str = "record.erased";

/// What to do about an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Bring the blob here and keep it.
    Keep {
        /// The blob.
        cid: Cid,
        /// For how long.
        kind: PinKind,
    },
    /// The event is about a blob that only its transaction names: look there
    /// ([`submitted_cid`]), and keep it.
    LookUp {
        /// For how long.
        kind: PinKind,
    },
    /// Keep the blobs no longer.
    LetGo {
        /// The blobs.
        cids: Vec<Cid>,
    },
    /// Nothing. So it is with a rejected record, whose lease runs out: another record may name the
    /// same blob, and a rejection must not take it away from that one.
    Nothing,
}

/// An event that should name a blob and does not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EventError {
    /// Longer than any event may be.
    #[error("the event has {0} bytes")]
    TooLarge(usize),
    /// Not the JSON that the contract writes.
    #[error("the event cannot be read: {0}")]
    Json(String),
    /// What should be a CID is none.
    #[error("the event names no CID")]
    Cid,
    /// The event's transaction is no call with one argument.
    #[error("the event's transaction names no CID")]
    Transaction,
}

#[derive(Deserialize)]
struct Payload {
    cid: Option<String>,
}

#[derive(Deserialize)]
struct ErasedPayload {
    cids: Vec<String>,
}

/// What the node does about `event`. `holds` says whether the node has a blob under lease.
///
/// # Errors
/// [`EventError`] when the event concerns storage and cannot be read.
pub fn action(
    event: &Event,
    replication: Replication,
    holds: impl Fn(&Cid) -> bool,
) -> Result<Action, EventError> {
    let kind = match event.name.as_str() {
        RECORD_SUBMITTED | RECORD_AMENDED => PinKind::Leased {
            until_ms: event.time_ms.saturating_add(REVIEW_LEASE_MS),
        },
        RECORD_CONFIRMED => PinKind::Permanent,
        RECORD_ERASED => {
            return Ok(Action::LetGo {
                cids: erased(event)?,
            });
        }
        _ => return Ok(Action::Nothing),
    };
    Ok(match cid(event)? {
        Some(cid) if replication.concerns(&cid, holds) => Action::Keep { cid, kind },
        Some(_) => Action::Nothing,
        None => Action::LookUp { kind },
    })
}

/// The blob that a submission names, from the envelope of its transaction.
///
/// # Errors
/// [`EventError`] when the envelope carries no such thing.
pub fn submitted_cid(envelope: Bytes) -> Result<Cid, EventError> {
    let envelope = Envelope::decode(envelope).map_err(|_| EventError::Transaction)?;
    let Body::Transaction(transaction) = envelope.body else {
        return Err(EventError::Transaction);
    };
    let [argument] = &transaction.proposal.arguments[..] else {
        return Err(EventError::Transaction);
    };
    read(argument)?.ok_or(EventError::Cid)
}

/// The blob that an event names. Only a submission may leave it to its transaction.
fn cid(event: &Event) -> Result<Option<Cid>, EventError> {
    match read(payload(event)?)? {
        None if event.name == RECORD_CONFIRMED => Err(EventError::Cid),
        cid => Ok(cid),
    }
}

/// The blobs that an erasure lets go.
fn erased(event: &Event) -> Result<Vec<Cid>, EventError> {
    let payload: ErasedPayload = parse(payload(event)?)?;
    payload.cids.iter().map(|text| parse_cid(text)).collect()
}

fn payload(event: &Event) -> Result<&[u8], EventError> {
    match event.payload.len() {
        bytes if bytes > EVENT_BYTES_MAX => Err(EventError::TooLarge(bytes)),
        _ => Ok(&event.payload),
    }
}

fn read(json: &[u8]) -> Result<Option<Cid>, EventError> {
    let payload: Payload = parse(json)?;
    payload.cid.map(|text| parse_cid(&text)).transpose()
}

fn parse<T: serde::de::DeserializeOwned>(json: &[u8]) -> Result<T, EventError> {
    serde_json::from_slice(json).map_err(|error| EventError::Json(error.to_string()))
}

fn parse_cid(text: &str) -> Result<Cid, EventError> {
    match text.len() {
        chars if chars > CID_CHARS_MAX => Err(EventError::Cid),
        _ => text.parse().map_err(|_| EventError::Cid),
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use stela_client::Checkpoint;
    use stela_protocol::transaction::{Proposal, Signed, TransactionHeader, transaction_payload};
    use stela_protocol::{
        BlockNumber, ChannelId, ContractName, FORMAT_VERSION, Fingerprint, Hash32, Nonce,
        TransactionId, pb,
    };

    use super::*;

    const CID: &str = "bafkreifzjut3te7nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e";

    fn event(name: &str, payload: &str) -> Event {
        Event {
            checkpoint: Checkpoint {
                block: BlockNumber(1),
                transaction: 0,
                event: 0,
            },
            transaction: TransactionId([0; 32]),
            name: name.to_owned(),
            payload: payload.to_owned().into(),
            time_ms: 1_000,
        }
    }

    fn payload() -> String {
        format!(r#"{{"patient":"p","record":"r","version":1,"cid":"{CID}"}}"#)
    }

    #[test]
    fn what_each_event_means() {
        let cid: Cid = CID.parse().unwrap();
        let lease = PinKind::Leased {
            until_ms: 1_000 + REVIEW_LEASE_MS,
        };
        let keep = |kind| Action::Keep { cid, kind };
        let check = |name, replication, holds, expect| {
            let event = event(name, &payload());
            assert_eq!(action(&event, replication, |_| holds), Ok(expect), "{name}");
        };
        check(
            RECORD_CONFIRMED,
            Replication::All,
            false,
            keep(PinKind::Permanent),
        );
        check(
            RECORD_CONFIRMED,
            Replication::Held,
            true,
            keep(PinKind::Permanent),
        );
        check(RECORD_CONFIRMED, Replication::Held, false, Action::Nothing);
        check(RECORD_SUBMITTED, Replication::All, false, keep(lease));
        check(RECORD_SUBMITTED, Replication::Held, false, Action::Nothing);
        check(RECORD_AMENDED, Replication::All, false, keep(lease));
        for other in ["record.rejected", "consent.granted", "", "RECORD.CONFIRMED"] {
            check(other, Replication::All, true, Action::Nothing);
        }
    }

    #[test]
    fn events_that_cannot_be_read() {
        let check = |payload: &str| {
            action(&event(RECORD_CONFIRMED, payload), Replication::All, |_| {
                true
            })
            .unwrap_err()
        };
        assert_eq!(check("{}"), EventError::Cid);
        assert_eq!(check(r#"{"cid":"../../etc/passwd"}"#), EventError::Cid);
        assert_eq!(
            check(&format!(r#"{{"cid":"{}"}}"#, "b".repeat(1_000))),
            EventError::Cid
        );
        assert!(matches!(check("no json"), EventError::Json(_)));
        assert!(matches!(check(&"[".repeat(10_000)), EventError::Json(_)));
        assert!(matches!(
            check(&" ".repeat(EVENT_BYTES_MAX + 1)),
            EventError::TooLarge(_)
        ));
    }

    #[test]
    fn an_erasure_names_every_blob_that_is_let_go() {
        let told =
            |payload: &str| action(&event(RECORD_ERASED, payload), Replication::Held, |_| false);
        let cid: Cid = CID.parse().unwrap();
        let both = format!(r#"{{"patient":"p","record":"r","cids":["{CID}","{CID}"]}}"#);
        assert_eq!(
            told(&both),
            Ok(Action::LetGo {
                cids: vec![cid, cid]
            })
        );
        let cids = Vec::new();
        assert_eq!(told(r#"{"cids":[]}"#), Ok(Action::LetGo { cids }));
        assert_eq!(told(r#"{"cids":["../etc"]}"#), Err(EventError::Cid));
        assert!(matches!(told(&payload()), Err(EventError::Json(_))));
    }

    /// The envelope of a call with these arguments.
    fn envelope(arguments: &[&str]) -> Bytes {
        let header = TransactionHeader {
            channel: ChannelId::new("care").unwrap(),
            nonce: Nonce([1; 24]),
            creator: Fingerprint([2; 32]),
            timestamp_ms: 3,
        };
        let proposal = Proposal {
            header,
            contract: ContractName::new("healthcare").unwrap(),
            function: "submit_record".to_owned(),
            arguments: arguments
                .iter()
                .map(|text| text.as_bytes().to_vec().into())
                .collect(),
            side: Vec::new(),
        };
        let package_hash = Hash32::ZERO.to_bytes();
        let result = pb::Result {
            version: FORMAT_VERSION,
            package_hash,
            ..Default::default()
        };
        let result = result.encode_to_vec().into();
        let bytes = transaction_payload(proposal.encode(), result, Vec::new());
        stela_protocol::transaction::envelope(Signed {
            bytes,
            signature: [0; 64],
        })
    }

    #[test]
    fn a_submission_that_leaves_the_cid_to_its_transaction() {
        let submitted = event(
            RECORD_SUBMITTED,
            r#"{"patient":"p","record":"r","version":1}"#,
        );
        let kind = PinKind::Leased {
            until_ms: 1_000 + REVIEW_LEASE_MS,
        };
        let expect = Ok(Action::LookUp { kind });
        assert_eq!(action(&submitted, Replication::Held, |_| false), expect);

        assert_eq!(
            submitted_cid(envelope(&[&payload()])),
            Ok(CID.parse().unwrap())
        );
        assert_eq!(submitted_cid(envelope(&["{}"])), Err(EventError::Cid));
        assert_eq!(submitted_cid(envelope(&[])), Err(EventError::Transaction));
        assert_eq!(
            submitted_cid(Bytes::from_static(b"else")),
            Err(EventError::Transaction)
        );
    }
}
