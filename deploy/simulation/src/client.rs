//! A client: it has calls endorsed, signs them, submits them, now and then again, and asks what
//! became of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use stela_identity::Credentials;
use stela_protocol::hash::domain;
use stela_protocol::transaction::{
    Proposal, Registration, Signed, TransactionHeader, envelope, registration_payload,
    transaction_payload,
};
use stela_protocol::{ChannelId, Nonce, TransactionId, pb};
use stela_store::TransactionRecord;

use crate::consortium::CHANNEL;
use crate::contract;
use crate::limits::{COMMIT_PATIENCE_MS, COUNTERS, ENDORSE_PATIENCE_MS, OLD_ENVELOPES_MAX};
use crate::message::{Broadcast, Endorsed};
use crate::random::Random;

/// How many endorsements the policy of the contract asks for.
const ENDORSEMENTS: usize = 2;
/// Of envelopes that are signed, how many have a bad brother.
const HOSTILE_PER_MILLE: u64 = 60;

/// One client.
pub(crate) struct Client {
    credentials: Arc<Credentials>,
    /// Whether the channel knows its certificate.
    pub(crate) registered: bool,
    pub(crate) open: BTreeMap<TransactionId, Open>,
    old: Vec<Bytes>,
    /// Whether a call that it began in calm weather was valid.
    pub(crate) served: bool,
}

/// What it waits for.
pub(crate) struct Open {
    since_ms: u64,
    pub(crate) stage: Stage,
}

pub(crate) enum Stage {
    /// Endorsements of this proposal.
    Endorsing(Bytes, BTreeMap<Bytes, Endorsed>),
    /// The verdict on this envelope.
    Signed(Bytes),
}

impl Client {
    pub(crate) fn new(credentials: Arc<Credentials>, registered: bool) -> Self {
        Self {
            credentials,
            registered,
            open: BTreeMap::new(),
            old: Vec::new(),
            served: false,
        }
    }

    fn header(&self, random: &mut Random, now_ms: u64) -> anyhow::Result<TransactionHeader> {
        let mut nonce = [0; 24];
        for part in nonce.chunks_exact_mut(8) {
            part.copy_from_slice(&random.next().to_be_bytes());
        }
        Ok(TransactionHeader {
            channel: ChannelId::new(CHANNEL)?,
            nonce: Nonce(nonce),
            creator: self.credentials.fingerprint(),
            timestamp_ms: now_ms,
        })
    }

    /// Begins a call; its proposal is to be endorsed.
    pub(crate) fn call(
        &mut self,
        random: &mut Random,
        now_ms: u64,
        harmless: bool,
    ) -> anyhow::Result<Bytes> {
        let (function, arguments) = match random.below(10) {
            _ if harmless => ("put", Vec::new()),
            0..6 => {
                let counter = contract::counter_key(random.below(COUNTERS));
                ("add", vec![counter.into()])
            }
            6..9 => ("put", Vec::new()),
            _ => ("count", Vec::new()),
        };
        let header = self.header(random, now_ms)?;
        let id = header.id();
        let proposal = Proposal {
            header,
            contract: contract::name()?,
            function: function.to_owned(),
            arguments,
            side: Vec::new(),
        }
        .encode();
        let stage = Stage::Endorsing(proposal.clone(), BTreeMap::new());
        let since_ms = now_ms;
        self.open.insert(id, Open { since_ms, stage });
        Ok(proposal)
    }

    /// Begins its own registration.
    pub(crate) fn register(&mut self, random: &mut Random, now_ms: u64) -> anyhow::Result<()> {
        let header = self.header(random, now_ms)?;
        let id = header.id();
        let payload = registration_payload(&Registration {
            header,
            certificate: self.credentials.certificate.der().clone(),
        });
        let stage = Stage::Signed(self.seal(payload));
        let since_ms = now_ms;
        self.open.insert(id, Open { since_ms, stage });
        Ok(())
    }

    fn seal(&self, bytes: Bytes) -> Bytes {
        let signature = self.credentials.sign(domain::ENVELOPE, &bytes);
        envelope(Signed { bytes, signature })
    }

    /// Takes an endorsement. When there are enough that agree, it signs; what is returned is to be
    /// sent beside: envelopes that nobody should accept, or whose id only one may take.
    pub(crate) fn endorsed(&mut self, random: &mut Random, endorsed: Endorsed) -> Vec<Broadcast> {
        let id = endorsed.transaction;
        let Some(open) = self.open.get_mut(&id) else {
            return Vec::new();
        };
        let Stage::Endorsing(proposal, found) = &mut open.stage else {
            return Vec::new();
        };
        found.insert(endorsed.endorsement.endorser.clone(), endorsed.clone());
        let agreeing = found.values().filter(|one| one.result == endorsed.result);
        let endorsements: Vec<pb::Endorsement> =
            agreeing.map(|one| one.endorsement.clone()).collect();
        if endorsements.len() < ENDORSEMENTS {
            return Vec::new();
        }
        let proposal = proposal.clone();
        let payload = transaction_payload(proposal.clone(), endorsed.result.clone(), endorsements);
        let sealed = self.seal(payload);
        let mut beside = Vec::new();
        if random.chance(HOSTILE_PER_MILLE) {
            beside.push(forged(&sealed));
        }
        if random.chance(HOSTILE_PER_MILLE) {
            let unendorsed = transaction_payload(proposal, endorsed.result, Vec::new());
            let envelope = self.seal(unendorsed);
            beside.push(Broadcast {
                envelope,
                forged: false,
            });
        }
        if let Some(open) = self.open.get_mut(&id) {
            open.stage = Stage::Signed(sealed);
        }
        beside
    }

    /// The verdict on a transaction came.
    pub(crate) fn committed(
        &mut self,
        id: &TransactionId,
        record: &TransactionRecord,
        calm_since_ms: u64,
    ) {
        let Some(open) = self.open.remove(id) else {
            return;
        };
        let since_ms = open.since_ms;
        if let Stage::Signed(envelope) = open.stage {
            self.keep(envelope);
        }
        if record.code.is_valid() {
            self.served |= self.registered && since_ms >= calm_since_ms;
            self.registered = true;
        }
    }

    fn keep(&mut self, envelope: Bytes) {
        if self.old.len() == OLD_ENVELOPES_MAX {
            self.old.remove(0);
        }
        self.old.push(envelope);
    }

    /// Gives up what has taken too long. It may be committed all the same.
    pub(crate) fn give_up(&mut self, now_ms: u64) {
        let late = |open: &Open| {
            let patience_ms = match open.stage {
                Stage::Endorsing(..) => ENDORSE_PATIENCE_MS,
                Stage::Signed(_) => COMMIT_PATIENCE_MS,
            };
            now_ms > open.since_ms + patience_ms
        };
        let late: Vec<TransactionId> = self
            .open
            .iter()
            .filter(|(_, open)| late(open))
            .map(|(id, _)| *id)
            .collect();
        for id in late {
            if let Some(Stage::Signed(envelope)) = self.open.remove(&id).map(|open| open.stage) {
                self.keep(envelope);
            }
        }
    }

    /// An envelope that it is done with, to be sent once more.
    pub(crate) fn old(&self, random: &mut Random) -> Option<Bytes> {
        match self.old.len() {
            0 => None,
            length => Some(self.old[random.index(length)].clone()),
        }
    }
}

/// The envelope with one bit of its signature turned, which stands at its end.
fn forged(sealed: &Bytes) -> Broadcast {
    let mut envelope = sealed.to_vec();
    if let Some(last) = envelope.get_mut(sealed.len().saturating_sub(40)) {
        *last ^= 1;
    }
    Broadcast {
        envelope: envelope.into(),
        forged: true,
    }
}
