//! How many streams of blocks each caller may hold, so that none can keep the others out.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use stela_protocol::{Fingerprint, OrgId};

use crate::limits::{
    DELIVER_STREAMS_MAX, DELIVER_STREAMS_PER_CERTIFICATE_MAX, DELIVER_STREAMS_PER_ORGANIZATION_MAX,
};

type Caller = (OrgId, Fingerprint);

/// The open streams of one channel.
#[derive(Debug, Default)]
pub struct Streams(Mutex<BTreeMap<Caller, usize>>);

/// One open stream; dropping it makes room.
#[derive(Debug)]
pub struct Stream {
    streams: Arc<Streams>,
    caller: Caller,
}

impl Streams {
    /// Opens a stream, unless the caller, its organization or the channel has as many as it may.
    pub fn open(
        self: &Arc<Self>,
        organization: &OrgId,
        certificate: Fingerprint,
    ) -> Option<Stream> {
        let caller = (organization.clone(), certificate);
        let mut open = self.0.lock();
        let total: usize = open.values().sum();
        let of_organization: usize = open
            .iter()
            .filter(|((other, _), _)| other == organization)
            .map(|(_, count)| count)
            .sum();
        let own = open.entry(caller.clone()).or_default();
        let room = total < DELIVER_STREAMS_MAX
            && of_organization < DELIVER_STREAMS_PER_ORGANIZATION_MAX
            && *own < DELIVER_STREAMS_PER_CERTIFICATE_MAX;
        if !room {
            open.retain(|_, count| *count > 0);
            return None;
        }
        *own += 1;
        let streams = Arc::clone(self);
        Some(Stream { streams, caller })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        let mut open = self.streams.0.lock();
        if let Some(count) = open.get_mut(&self.caller) {
            *count -= 1;
        }
        open.retain(|_, count| *count > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn org(name: &str) -> OrgId {
        OrgId::new(name).unwrap()
    }

    #[test]
    fn nobody_keeps_the_others_out() {
        let streams = Arc::new(Streams::default());
        let mut held = Vec::new();
        for certificate in 0..=u8::MAX {
            while let Some(stream) = streams.open(&org("A"), Fingerprint([certificate; 32])) {
                held.push(stream);
            }
        }
        assert_eq!(held.len(), DELIVER_STREAMS_PER_ORGANIZATION_MAX);
        assert!(streams.open(&org("B"), Fingerprint([0; 32])).is_some());
    }

    #[test]
    fn one_certificate_leaves_room_for_its_own_organization() {
        let streams = Arc::new(Streams::default());
        let open = |certificate| streams.open(&org("A"), Fingerprint([certificate; 32]));
        let held: Vec<_> = std::iter::from_fn(|| open(1)).collect();
        assert_eq!(held.len(), DELIVER_STREAMS_PER_CERTIFICATE_MAX);
        assert!(open(2).is_some());
    }

    #[test]
    fn a_stream_that_ends_makes_room() {
        let streams = Arc::new(Streams::default());
        let open = || streams.open(&org("A"), Fingerprint([1; 32]));
        let held: Vec<_> = std::iter::from_fn(open).collect();
        assert!(open().is_none());
        drop(held);
        assert!(open().is_some());
        assert!(streams.0.lock().is_empty());
    }
}
