//! Notes of calls that this peer has to make itself when a transaction that it endorsed does not come.
//!
//! A contract asks for such a call while it is endorsed: what it found must not stay unknown because
//! the one who asked keeps the endorsement back. The note is on the disk before the endorsement
//! leaves this peer, and it stays until the transaction is committed as valid, or its window has
//! passed and the call was made in a transaction of this peer's own.

mod recording;
mod schedule;

use std::sync::Arc;

use parking_lot::Mutex;
use stela_host::AbsenceCall;
use stela_protocol::hash::domain;
use stela_protocol::transaction::Proposal;
use stela_protocol::{ErrorCode, Fingerprint, RpcError, TransactionId};
use stela_store::{Note, StoreError};
use tokio::sync::oneshot;

use crate::answer;
use crate::channel::Channel;
use crate::limits::{NOTE_GRACE_MS, NOTE_STAGGER_MS, NOTE_STAGGERS};
use crate::node::Node;
use crate::requests::Admitted;

pub(crate) use self::recording::run;

/// What waits to be written, so that many notes share one synced write.
#[derive(Default)]
pub(crate) struct Notes {
    queue: Mutex<Vec<Queued>>,
    writing: Arc<tokio::sync::Mutex<()>>,
}

struct Queued {
    note: Note,
    told: oneshot::Sender<Result<bool, StoreError>>,
}

/// Refuses the calls of a requester about whom there are as many notes as there may be. That is
/// asked before the contract runs and again behind it, whatever it found: so a refusal tells nothing
/// about what it would have been.
///
/// # Errors
/// `TooManyUnrecorded`.
pub(crate) fn admit(channel: &Channel, proposal: &Proposal) -> Result<(), RpcError> {
    let Proposal {
        header,
        contract,
        function,
        ..
    } = proposal;
    match channel.ledger().admits(&header.creator, contract, function) {
        true => Ok(()),
        false => Err(too_many()),
    }
}

fn too_many() -> RpcError {
    let why = "too many unrecorded requests: what was endorsed for this caller and not submitted is \
               recorded first; try again when its window has passed";
    RpcError::new(ErrorCode::TooManyUnrecorded, why)
}

/// Keeps a note of the call that an endorsement asks for; when this returns, it is durable.
///
/// # Errors
/// `TooManyUnrecorded` when there is no room for it, else what the ledger says.
pub(crate) async fn keep(
    node: &Node,
    admitted: &Admitted,
    call: AbsenceCall,
) -> Result<(), RpcError> {
    let note = signed(node, admitted, call);
    match write(&admitted.channel, note).await? {
        true => Ok(()),
        false => Err(too_many()),
    }
}

fn signed(node: &Node, admitted: &Admitted, call: AbsenceCall) -> Note {
    let proposal = &admitted.proposal;
    let header = &proposal.header;
    let (transaction, endorser) = (header.id(), node.credentials.fingerprint());
    let mut note = Note {
        transaction,
        requester: header.creator,
        contract: proposal.contract.clone(),
        called: proposal.function.clone(),
        function: call.function,
        argument: call.argument,
        due_ms: due_ms(
            header.timestamp_ms,
            admitted.channel.window_ms(),
            &transaction,
            &endorser,
        ),
        endorser,
        signature: [0; 64],
    };
    note.signature = node.credentials.sign(domain::NOTE, &note.message());
    note
}

/// When a transaction cannot come any more. The endorsers of one transaction wait for different
/// times, so that mostly one of them makes the call and the others find it made.
fn due_ms(
    timestamp_ms: u64,
    window_ms: u64,
    transaction: &TransactionId,
    endorser: &Fingerprint,
) -> u64 {
    let place = u64::from(transaction.0[0] ^ endorser.0[0]) % NOTE_STAGGERS;
    timestamp_ms
        .saturating_add(window_ms)
        .saturating_add(NOTE_GRACE_MS + place * NOTE_STAGGER_MS)
}

/// Writes a note together with whatever else waits by the time it is its turn. Says whether there
/// was room for it.
async fn write(channel: &Arc<Channel>, note: Note) -> Result<bool, RpcError> {
    let (told, mut answer) = oneshot::channel();
    channel.notes.queue.lock().push(Queued { note, told });
    let turn = channel.notes.writing.clone().lock_owned().await;
    let kept = match answer.try_recv() {
        Ok(kept) => kept,
        Err(_) => {
            let channel = channel.clone();
            // Whoever asked may go away; the others in the queue are told all the same.
            let work = move || {
                let _turn = turn;
                write_queue(&channel);
            };
            tokio::task::spawn_blocking(work)
                .await
                .map_err(|_| answer::fallen())?;
            answer.await.unwrap_or(Err(StoreError::Stopped))
        }
    };
    kept.map_err(answer::store)
}

fn write_queue(channel: &Channel) {
    let queue = std::mem::take(&mut *channel.notes.queue.lock());
    let (notes, told): (Vec<Note>, Vec<_>) = queue.into_iter().map(|q| (q.note, q.told)).unzip();
    let kept = channel.ledger().note_put(&notes);
    for (index, told) in told.into_iter().enumerate() {
        let kept = kept.as_ref().map(|kept| kept[index]);
        // Whoever has gone away need not be told.
        let _ = told.send(kept.map_err(Clone::clone));
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use stela_protocol::{ContractName, OrgId};
    use stela_store::{MemoryKv, layout};

    use super::*;
    use crate::validation::tests::World;

    pub(super) fn joined(world: &World) -> (Arc<MemoryKv>, Arc<Channel>) {
        let kv = Arc::new(MemoryKv::new(layout::FAMILIES));
        let organization = OrgId::new("A").unwrap();
        let channel = Channel::join(kv.clone(), &world.genesis, &organization).unwrap();
        (kv, Arc::new(channel))
    }

    pub(super) fn note(transaction: u8, requester: u8, due_ms: u64) -> Note {
        Note {
            transaction: TransactionId([transaction; 32]),
            requester: Fingerprint([requester; 32]),
            contract: ContractName::new("records").unwrap(),
            called: "ask".to_owned(),
            function: "note".to_owned(),
            argument: Bytes::from_static(b"{}"),
            due_ms,
            endorser: Fingerprint([9; 32]),
            signature: [0; 64],
        }
    }

    #[tokio::test]
    async fn notes_that_come_together_are_all_durable_when_their_callers_go_on() {
        let world = World::new();
        let (kv, channel) = joined(&world);
        let writes = (1..=40).map(|n| {
            let (kv, channel) = (kv.clone(), channel.clone());
            async move {
                assert_eq!(write(&channel, note(n, n, 5)).await, Ok(true));
                let kv = Arc::new(kv.crash());
                let after = Channel::open(kv, channel.id(), channel.organization());
                let after = after.unwrap().unwrap();
                let id = TransactionId([n; 32]);
                assert!(after.ledger().note(&id).unwrap().is_some());
            }
        });
        futures::future::join_all(writes).await;
        assert!(channel.notes.queue.lock().is_empty());
    }

    #[tokio::test]
    async fn whoever_goes_away_takes_no_other_note_along() {
        let world = World::new();
        let (_, channel) = joined(&world);
        let turn = channel.notes.writing.clone().lock_owned().await;
        let mut gone = Box::pin(write(&channel, note(1, 1, 5)));
        let mut stays = Box::pin(write(&channel, note(2, 1, 5)));
        assert!(futures::poll!(&mut gone).is_pending());
        assert!(futures::poll!(&mut stays).is_pending());
        drop((gone, turn));
        assert_eq!(stays.await, Ok(true));
        // Its answer was known, so its note stands too.
        assert_eq!(channel.ledger().notes_due(5).len(), 2);
    }

    #[test]
    fn a_note_is_due_when_its_transaction_cannot_come_any_more() {
        let (id, endorsers) = (
            TransactionId([7; 32]),
            [1_u8, 2, 3].map(|n| Fingerprint([n; 32])),
        );
        let due = endorsers.map(|endorser| due_ms(1_000, 500, &id, &endorser));
        assert!(due.iter().all(|due| *due > 1_500 + NOTE_GRACE_MS / 2));
        assert!(due[0] != due[1] && due[1] != due[2]);
        assert_eq!(due_ms(u64::MAX, 1, &id, &endorsers[0]), u64::MAX);
    }
}
