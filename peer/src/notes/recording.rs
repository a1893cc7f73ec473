//! Makes the calls that notes ask for, as a client with this peer's own identity.

use std::sync::Arc;

use stela_identity::Certificate;
use stela_protocol::hash::domain;
use stela_protocol::transaction::{self, Proposal, Signed, TransactionHeader};
use stela_protocol::{ErrorCode, Nonce, RpcError, TransactionId, pb};
use stela_store::{LedgerRead, Note, StoreError};

use super::schedule::Schedule;
use crate::answer;
use crate::channel::Channel;
use crate::gateway;
use crate::limits::{NOTE_COMMIT_WAIT, NOTES_LOOK_INTERVAL};
use crate::node::Node;
use crate::orderers;
use crate::requests;

/// The code with which a contract refuses a call that another endorser has made already.
const ALREADY_EXISTS: &str = "already-exists: ";

/// What came of a call.
#[derive(Debug)]
enum Outcome {
    /// Nothing is left to be done.
    Settled,
    /// This call failed; others may succeed.
    Refused(RpcError),
    /// No call can be made now.
    Unavailable(RpcError),
}

/// Acts on notes that are due until the channel is no longer served.
pub(crate) async fn run(node: &Arc<Node>, channel: &Arc<Channel>) {
    tokio::select! {
        () = channel.stop.cancelled() => {}
        () = follow(node, channel) => {}
    }
}

async fn follow(node: &Arc<Node>, channel: &Arc<Channel>) {
    let mut schedule = Schedule::new();
    // A block's time is as good as this node's, whose clock may be behind.
    let now_ms = || node.clock.now_ms().max(channel.ledger().head().time_ms);
    loop {
        let call = |note: Note| {
            let (node, channel) = (node.clone(), channel.clone());
            async move { act(&node, &channel, &note).await }
        };
        if let Err(error) = round(channel, &mut schedule, now_ms, rand::random, call).await {
            tracing::error!(channel = %channel.id(), "the notes cannot be acted on: {error}");
        }
        tokio::time::sleep(NOTES_LOOK_INTERVAL).await;
    }
}

/// Acts on one note after the other, as long as one is due that does not pause.
async fn round<Call: Future<Output = Outcome>>(
    channel: &Arc<Channel>,
    schedule: &mut Schedule,
    now_ms: impl Fn() -> u64,
    random: impl Fn() -> f64,
    call: impl Fn(Note) -> Call,
) -> Result<(), RpcError> {
    loop {
        let due = channel.ledger().notes_due(now_ms());
        let Some(id) = schedule.next(now_ms(), &due) else {
            return Ok(());
        };
        let note = channel.ledger().note(&id).map_err(answer::store)?;
        // Its transaction may have come at this very moment.
        let outcome = match note {
            Some(note) => call(note).await,
            None => Outcome::Settled,
        };
        match outcome {
            Outcome::Settled => {
                remove(channel, id).await?;
                schedule.settled(&id);
            }
            Outcome::Refused(error) => {
                tracing::warn!(
                    channel = %channel.id(), transaction = %id,
                    "what was endorsed and not submitted is not recorded yet: {error}"
                );
                schedule.refused(id, now_ms(), random());
            }
            Outcome::Unavailable(error) => {
                tracing::warn!(
                    channel = %channel.id(), due = due.len(),
                    "what was endorsed and not submitted cannot be recorded now: {error}"
                );
                schedule.unavailable(now_ms(), random());
            }
        }
    }
}

async fn remove(channel: &Arc<Channel>, id: TransactionId) -> Result<(), RpcError> {
    let channel = channel.clone();
    tokio::task::spawn_blocking(move || channel.ledger().note_remove(&id))
        .await
        .map_err(|_| answer::fallen())?
        .map_err(answer::store)
}

async fn act(node: &Arc<Node>, channel: &Arc<Channel>, note: &Note) -> Outcome {
    match is_genuine(channel, note) {
        Ok(true) => {}
        Ok(false) => {
            tracing::error!(
                channel = %channel.id(), transaction = %note.transaction,
                "a note that this organization's peer has not signed is dropped"
            );
            return Outcome::Settled;
        }
        Err(error) => return Outcome::Unavailable(answer::store(error)),
    }
    let outcome = match submit(node, channel, note).await {
        Ok(outcome) => outcome,
        Err(error) => judge(error),
    };
    if matches!(outcome, Outcome::Settled) {
        tracing::info!(
            channel = %channel.id(), transaction = %note.transaction, function = note.function,
            "what was endorsed and not submitted is recorded"
        );
    }
    outcome
}

/// Whether a peer of this organization has signed it, maybe under a certificate that it had before.
fn is_genuine(channel: &Channel, note: &Note) -> Result<bool, StoreError> {
    let known = channel.ledger().certificate(&note.endorser)?;
    let certificate = known.and_then(|known| Certificate::from_der(&known.der).ok());
    Ok(certificate.is_some_and(|certificate| {
        let key = certificate.public_key();
        let signed = key.verify(domain::NOTE, &note.message(), &note.signature);
        certificate.organization() == channel.organization() && signed.is_ok()
    }))
}

/// Makes the call, in a transaction, and waits until it is committed.
async fn submit(
    node: &Arc<Node>,
    channel: &Arc<Channel>,
    note: &Note,
) -> Result<Outcome, RpcError> {
    let proposal = Proposal {
        header: TransactionHeader {
            channel: channel.id().clone(),
            nonce: Nonce(rand::random()),
            creator: node.credentials.fingerprint(),
            timestamp_ms: node.clock.now_ms(),
        },
        contract: note.contract.clone(),
        function: note.function.clone(),
        arguments: vec![note.argument.clone()],
        side: Vec::new(),
    };
    let bytes = proposal.encode();
    let signature = node.credentials.sign(domain::PROPOSAL, &bytes);
    let signed = Signed { bytes, signature };
    let admitted = requests::admit(node, Some(signed.into())).await?;
    let pb::EndorseResponse {
        result,
        endorsements,
    } = gateway::collect(node, &admitted).await?;
    let bytes = transaction::transaction_payload(admitted.bytes.clone(), result, endorsements);
    let signature = node.credentials.sign(domain::ENVELOPE, &bytes);
    let envelope = transaction::envelope(Signed { bytes, signature });
    let id = proposal.header.id();
    let overloaded = || RpcError::new(ErrorCode::Overloaded, "too many requests wait here");
    let mut waiter = channel.waiters().register(id).ok_or_else(overloaded)?;
    orderers::broadcast(&node.remotes, &node.orderers, channel, envelope).await?;
    match tokio::time::timeout(NOTE_COMMIT_WAIT, waiter.committed()).await {
        Ok(Some(record)) if record.code.is_valid() => Ok(Outcome::Settled),
        Ok(Some(record)) => {
            let why = format!("transaction {id} was committed as {}", record.code);
            let error = RpcError::new(ErrorCode::EndorsementMismatch, why);
            Ok(Outcome::Refused(error))
        }
        _ => {
            let why = format!("transaction {id} was not committed in time");
            Err(RpcError::new(ErrorCode::Timeout, why))
        }
    }
}

/// What an error says about this note, or about all of them.
fn judge(error: RpcError) -> Outcome {
    match error.code {
        ErrorCode::ContractRefused if error.message.starts_with(ALREADY_EXISTS) => Outcome::Settled,
        ErrorCode::ContractRefused
        | ErrorCode::ContractFailed
        | ErrorCode::UnknownContract
        | ErrorCode::NotInstalled
        | ErrorCode::EndorsementMismatch
        | ErrorCode::Malformed
        | ErrorCode::TooLarge => Outcome::Refused(error),
        _ => Outcome::Unavailable(error),
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use super::super::tests::{joined, note};
    use super::*;
    use crate::limits::NOTE_PAUSE_MIN;
    use crate::validation::tests::World;

    fn error(code: ErrorCode, message: &str) -> Outcome {
        judge(RpcError::new(code, message))
    }

    #[tokio::test]
    async fn notes_are_acted_on_when_they_are_due_until_they_are_settled() {
        let world = World::new();
        let (_, channel) = joined(&world);
        let ids = [1, 2, 3].map(|n| TransactionId([n; 32]));
        let notes = [note(1, 1, 100), note(2, 1, 200), note(3, 1, 1_000_000)];
        channel.ledger().note_put(&notes).unwrap();
        let mut schedule = Schedule::new();
        let (now, calls) = (Cell::new(99), RefCell::new(Vec::new()));
        let outcomes = RefCell::new(Vec::new());
        let call = |note: Note| {
            calls.borrow_mut().push(note.transaction);
            let outcome = outcomes.borrow_mut().pop().unwrap();
            std::future::ready(outcome)
        };
        macro_rules! round {
            ($now_ms:expr, $outcomes:expr) => {{
                now.set($now_ms);
                // The last one is taken first.
                outcomes.replace($outcomes.into_iter().rev().collect());
                let done = round(&channel, &mut schedule, || now.get(), || 1.0, call).await;
                done.unwrap();
                assert!(outcomes.borrow().is_empty());
                calls.take()
            }};
        }
        let pause_ms = NOTE_PAUSE_MIN.as_millis() as u64;
        let none: [Outcome; 0] = [];
        assert_eq!(round!(99, none), []);
        // Nobody can be reached: the second note is not even tried.
        let away = || error(ErrorCode::OrdererUnavailable, "no orderer");
        assert_eq!(round!(200, [away()]), [ids[0]]);
        let none: [Outcome; 0] = [];
        assert_eq!(round!(200 + pause_ms - 1, none), []);
        // A contract that does not know the function holds up its own note alone.
        let unknown = error(ErrorCode::ContractRefused, "unknown-function: none");
        let known = error(ErrorCode::ContractRefused, "already-exists: noted");
        assert_eq!(round!(201 + pause_ms, [unknown, known]), [ids[0], ids[1]]);
        assert_eq!(channel.ledger().notes_due(u64::MAX), [ids[0], ids[2]]);
        let both = [Outcome::Settled, Outcome::Settled];
        assert_eq!(round!(1_000_000, both), [ids[0], ids[2]]);
        assert_eq!(channel.ledger().notes_due(u64::MAX), []);
        let none: [Outcome; 0] = [];
        assert_eq!(round!(u64::MAX, none), []);
    }

    #[tokio::test]
    async fn a_restart_forgets_no_note_and_no_block_that_settles_one() {
        let mut world = World::new();
        let (kv, channel) = joined(&world);
        let call = world.call(1);
        let id = call.header.id();
        let mut expected = note(1, 1, 100);
        expected.transaction = id;
        channel
            .ledger()
            .note_put(&[expected, note(2, 1, 100)])
            .unwrap();
        let block = world.block(vec![call.seal()]);
        world.commit(&block);
        channel.commit(&block).unwrap();
        let kv = Arc::new(kv.crash());
        let channel = Channel::open(kv, channel.id(), channel.organization());
        let channel = channel.unwrap().unwrap();
        assert_eq!(channel.ledger().notes_due(100), [TransactionId([2; 32])]);
    }
}
