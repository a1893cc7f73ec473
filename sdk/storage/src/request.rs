//! Who asks: the same checks for every request, before anything is done for it.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use parking_lot::Mutex;
use prost::Message;
use stela_client::Sources;
use stela_identity::{Certificate, Identity};
use stela_ipfs::PeerId;
use stela_protocol::transaction::RequestHeader;
use stela_protocol::{TransactionId, limits as protocol_limits};

use crate::error::RequestError;
use crate::limits::{REPLAYS_MAX, REQUEST_WINDOW_MS};
use crate::membership::Membership;
use crate::{REQUEST_DOMAIN, pb};

/// A request that says which procedure it is for.
pub(crate) trait Body: Message + Default {
    /// The procedure's name.
    const METHOD: &'static str;
    /// The request's head.
    fn head(&self) -> Option<&pb::Head>;
}

macro_rules! body {
    ($($type:ident: $method:literal),*) => {
        $(impl Body for pb::$type {
            const METHOD: &'static str = $method;
            fn head(&self) -> Option<&pb::Head> {
                self.head.as_ref()
            }
        })*
    };
}

body!(AdmitRequest: "Admit", HoldRequest: "Hold", HasRequest: "Has", StatusRequest: "Status",
    ReportRequest: "Report");

/// Lets requests in.
pub(crate) struct Door {
    own: PeerId,
    membership: Membership,
    sources: Sources,
    seen: Mutex<Seen>,
}

impl Door {
    pub(crate) fn new(own: PeerId, membership: Membership, sources: Sources) -> Self {
        Self {
            own,
            membership,
            sources,
            seen: Mutex::default(),
        }
    }

    /// The request and who made it: a member now, signed by her, for this node, fresh, and not
    /// made before.
    pub(crate) fn open<B: Body>(
        &self,
        request: &pb::SignedRequest,
    ) -> Result<(B, Identity), RequestError> {
        let now_ms = self.sources.now_ms();
        let view = self.membership.view();
        let certificate = Certificate::from_der(&request.certificate)?;
        let identity = view.msp.validate(&certificate, now_ms)?;
        verify(&identity, &request.payload, &request.signature)?;
        let body = B::decode(request.payload.clone())
            .map_err(|error| RequestError::Malformed(error.to_string()))?;
        let head = body.head().ok_or_else(|| missing("head"))?;
        let header = RequestHeader::parse(head.header.as_ref(), B::METHOD)?.header;
        if header.creator != identity.fingerprint {
            return Err(RequestError::OtherCreator);
        }
        if header.channel != view.channel {
            let (expected, actual) = (view.channel.clone(), header.channel);
            return Err(RequestError::OtherChannel { expected, actual });
        }
        if head.node.parse().ok() != Some(self.own) {
            return Err(RequestError::OtherNode(self.own));
        }
        let off_ms = header.timestamp_ms.abs_diff(now_ms);
        if off_ms > REQUEST_WINDOW_MS {
            return Err(RequestError::Expired { off_ms });
        }
        self.seen.lock().remember(header.id(), now_ms)?;
        Ok((body, identity))
    }
}

fn missing(what: &str) -> RequestError {
    RequestError::Malformed(format!("the {what} is missing"))
}

fn verify(identity: &Identity, payload: &Bytes, signature: &[u8]) -> Result<(), RequestError> {
    if signature.len() != protocol_limits::SIGNATURE_BYTES {
        return Err(RequestError::Signature);
    }
    identity
        .verify(REQUEST_DOMAIN, payload, signature)
        .map_err(|_| RequestError::Signature)
}

/// Requests that could still be made again within the window.
#[derive(Default)]
struct Seen {
    ids: BTreeMap<TransactionId, u64>,
    by_time: VecDeque<(u64, TransactionId)>,
}

impl Seen {
    /// A request can be replayed until its timestamp has left the window, which is at most two
    /// windows after it came.
    fn remember(&mut self, id: TransactionId, now_ms: u64) -> Result<(), RequestError> {
        while let Some((at_ms, oldest)) = self.by_time.front().copied()
            && at_ms.saturating_add(2 * REQUEST_WINDOW_MS) < now_ms
        {
            self.by_time.pop_front();
            self.ids.remove(&oldest);
        }
        if self.ids.contains_key(&id) {
            return Err(RequestError::Replayed);
        }
        if self.ids.len() >= REPLAYS_MAX {
            return Err(RequestError::Crowded);
        }
        self.ids.insert(id, now_ms);
        self.by_time.push_back((now_ms, id));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_remembered_for_as_long_as_it_could_come_again() {
        let id = |n: u8| TransactionId([n; 32]);
        let mut seen = Seen::default();
        seen.remember(id(1), 1_000).unwrap();
        seen.remember(id(2), 1_000 + REQUEST_WINDOW_MS).unwrap();
        let last_ms = 1_000 + 2 * REQUEST_WINDOW_MS;
        assert!(matches!(
            seen.remember(id(1), last_ms),
            Err(RequestError::Replayed)
        ));
        seen.remember(id(1), last_ms + 1).unwrap();
        assert!(matches!(
            seen.remember(id(2), last_ms + 1),
            Err(RequestError::Replayed)
        ));
        assert_eq!((seen.ids.len(), seen.by_time.len()), (2, 2));
    }

    #[test]
    fn too_many_requests_are_refused_and_forgotten() {
        let id = |n: u32| {
            let mut id = [0; 32];
            id[..4].copy_from_slice(&n.to_be_bytes());
            TransactionId(id)
        };
        let mut seen = Seen::default();
        let limit = u32::try_from(REPLAYS_MAX).unwrap();
        for n in 0..limit {
            seen.remember(id(n), 0).unwrap();
        }
        assert!(matches!(
            seen.remember(id(limit), 0),
            Err(RequestError::Crowded)
        ));
        seen.remember(id(limit), 2 * REQUEST_WINDOW_MS + 1).unwrap();
        assert_eq!(seen.ids.len(), 1);
    }
}
