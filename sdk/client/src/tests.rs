//! The client against a peer over real sockets: honest, faulty, and hostile.

mod configuration;
mod receipt;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use stela_identity::Certificate;
use stela_protocol::difference::{Part, PartDifference, ResultDifference};
use stela_protocol::hash;
use stela_protocol::{
    BlockNumber, ErrorCode, Hash32, Height, OrgId, TransactionId, ValidationCode, limits, pb,
};

use crate::fixture::{
    World, answer, channel, contract_name, echo, network, refused, slamming_door, soon,
};
use crate::*;

const DEADLINE: Duration = Duration::from_secs(30);

fn world() -> Arc<World> {
    Arc::new(World::new())
}

#[tokio::test]
async fn a_transaction_from_proposal_to_commit() {
    let (world, peer) = soon(async {
        let world = world();
        let peer = world.peer().await;
        (world, peer)
    })
    .await;
    let contract = world.contract(&[&peer.address]);
    let proposal = contract
        .proposal("echo")
        .json(&[1, 2])
        .text("more")
        .build()
        .unwrap();
    let evaluation = soon(proposal.evaluate()).await.unwrap();
    assert_eq!(
        (evaluation.json::<Vec<u8>>().unwrap(), evaluation.height),
        (vec![1, 2], 7)
    );

    let transaction = soon(proposal.endorse()).await.unwrap();
    assert_eq!(transaction.id(), proposal.id());
    assert_eq!(transaction.json::<Vec<u8>>().unwrap(), [1, 2]);
    let commit = soon(transaction.submit()).await.unwrap();
    let status = soon(commit.status(DEADLINE))
        .await
        .unwrap()
        .valid()
        .unwrap();
    assert_eq!(
        (status.transaction, status.block.0, status.index),
        (proposal.id(), 5, 2)
    );

    let again = contract
        .network()
        .transaction(transaction.envelope_bytes().clone())
        .unwrap();
    assert_eq!(
        (again.id(), again.response()),
        (transaction.id(), transaction.response())
    );
    assert!(
        contract
            .network()
            .transaction(Bytes::from_static(b"else"))
            .is_err()
    );

    let submitted = soon(contract.submit("echo", ["in one go"])).await.unwrap();
    assert_eq!(submitted.response, "in one go");
    assert_eq!(
        soon(contract.evaluate("echo", ["asked"])).await.unwrap(),
        "asked"
    );
}

#[tokio::test]
async fn other_endpoints_make_up_for_those_that_fail() {
    let world = world();
    let peer = world.peer().await;
    // Nobody listens at port 1; behind the door every connection is dropped.
    let door = slamming_door().await;
    let contract = world.contract(&["127.0.0.1:1", &door, &peer.address]);
    for _ in 0..2 {
        assert_eq!(soon(contract.evaluate("echo", ["x"])).await.unwrap(), "x");
    }
    let submitted = soon(contract.submit("echo", ["y"])).await.unwrap();
    assert_eq!(submitted.status.code, ValidationCode::Valid);
    assert_eq!(peer.calls("Evaluate"), 2);
}

#[tokio::test]
async fn a_node_of_another_organization_is_not_spoken_to() {
    let world = world();
    let peer = world.peer().await;
    let mut options = world.options(&[&peer.address]);
    options.endpoints[0].organization = OrgId::new("HospitalB").unwrap();
    let error = soon(network(options).info()).await.unwrap_err();
    assert!(matches!(error, QueryError::Rpc { .. }), "{error}");
    assert_eq!(peer.calls("ChannelInfo"), 0);
}

#[tokio::test]
async fn endpoints_that_cannot_be_are_refused() {
    let world = world();
    let connect = |addresses: &[&str]| Gateway::connect(world.options(addresses)).unwrap_err();
    assert!(matches!(connect(&[]), ConnectError::NoEndpoint));
    assert!(matches!(connect(&["no port"]), ConnectError::Tls { .. }));
    let many = ["127.0.0.1:1"; limits_of_endpoints() + 1];
    assert!(matches!(connect(&many), ConnectError::TooMany { .. }));
}

const fn limits_of_endpoints() -> usize {
    crate::limits::ENDPOINTS_MAX
}

#[tokio::test]
async fn proposals_that_every_peer_would_refuse_are_not_built() {
    let contract = world().contract(&["127.0.0.1:1"]);
    let big = Bytes::from(vec![0; limits::ARGUMENT_BYTES_MAX + 1]);
    let error = contract.proposal("f").argument(big).build().unwrap_err();
    assert!(matches!(error, ProposalError::Format { .. }), "{error}");
    let error = contract.proposal("").build().unwrap_err();
    assert!(matches!(error, ProposalError::Format { .. }), "{error}");
    let unwritable = std::collections::BTreeMap::from([((1, 2), 3)]);
    let error = contract
        .proposal("f")
        .text("a")
        .json(&unwritable)
        .build()
        .unwrap_err();
    assert!(
        matches!(error, ProposalError::Json { index: 1, .. }),
        "{error}"
    );
    let side = SideData {
        organizations: vec![OrgId::new("HospitalA").unwrap()],
        payload: vec![0; limits::SIDE_BYTES_MAX + 1].into(),
    };
    let error = contract.proposal("f").side(side).build().unwrap_err();
    assert!(matches!(error, ProposalError::Format { .. }), "{error}");
}

#[tokio::test]
async fn time_and_nonces_come_from_the_sources() {
    let world = world();
    let mut options = world.options(&["127.0.0.1:1"]);
    options.sources = Sources::new(|| 1_700_000_000_000, |bytes| bytes.fill(7));
    let contract = network(options).contract(contract_name());
    let build = || contract.proposal("f").build().unwrap();
    assert_eq!(build().id(), build().id());
    assert_eq!(build().content.header.timestamp_ms, 1_700_000_000_000);
    let ids: Vec<TransactionId> = (0..2)
        .map(|_| {
            world
                .contract(&["127.0.0.1:1"])
                .proposal("f")
                .build()
                .unwrap()
                .id()
        })
        .collect();
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn side_data_travels_beside_the_proposal() {
    let world = world();
    let peer = world.peer().await;
    let contract = world.contract(&[&peer.address]);
    let data = || SideData {
        organizations: vec![OrgId::new("HospitalA").unwrap()],
        payload: Bytes::from_static(b"wrapped keys"),
    };
    let sealed = data().seal(&Sources::default());
    let commitment = sealed.commitment();
    let proposal = contract
        .proposal("echo")
        .side(data())
        .sealed(sealed)
        .build()
        .unwrap();
    assert_eq!(proposal.commitments()[1], commitment);
    assert_ne!(
        proposal.commitments()[0],
        commitment,
        "each has a salt of its own"
    );
    // The peer compares the items with the commitments.
    soon(proposal.endorse()).await.unwrap();
    assert!(!format!("{proposal:?}").contains("wrapped"));
}

#[tokio::test]
async fn what_the_gateway_answers_is_checked_before_it_is_signed() {
    let world = world();
    let peer = world.peer().await;
    let contract = world.contract(&[&peer.address]);
    let check = async |change: fn(&mut pb::EndorseResponse)| {
        let mut answer = echo(&world, Bytes::from_static(b"p"), Bytes::from_static(b"r"));
        change(&mut answer);
        peer.state.lock().endorse.push_back(Ok(answer));
        let proposal = contract.proposal("echo").text("a").build().unwrap();
        soon(proposal.endorse()).await.unwrap_err()
    };
    let error = check(|answer| answer.endorsements.clear()).await;
    assert!(matches!(error, EndorseError::Unendorsed { .. }), "{error}");
    let error = check(|answer| answer.endorsements.push(answer.endorsements[0].clone())).await;
    assert!(matches!(error, EndorseError::Duplicate { .. }), "{error}");
    let malformed: [fn(&mut pb::EndorseResponse); 5] = [
        |answer| answer.result = Bytes::from_static(b"\xff\xff"),
        |answer| answer.result = Bytes::new(),
        |answer| answer.endorsements[0].signature = Bytes::from_static(b"short"),
        |answer| answer.endorsements[0].endorser = Bytes::from_static(b"short"),
        |answer| {
            // A write whose value is the third of one arguments.
            let change = Some(pb::write::Change::Argument(2));
            let write = pb::Write {
                key: Bytes::from_static(b"k"),
                change,
                ..Default::default()
            };
            answer.result = stela_protocol::Message::encode_to_vec(&pb::Result {
                version: 1,
                package_hash: Hash32::ZERO.to_bytes(),
                writes: vec![write],
                ..Default::default()
            })
            .into();
        },
    ];
    for change in malformed {
        let error = check(change).await;
        assert!(matches!(error, EndorseError::Format { .. }), "{error}");
        assert!(!error.is_retryable());
    }
    assert!(peer.state.lock().submitted.is_empty());
}

#[tokio::test]
async fn endorsers_that_disagree_are_an_error_worth_a_retry() {
    let world = world();
    let peer = world.peer().await;
    let contract = world.contract(&[&peer.address]);
    let difference = ResultDifference {
        node: "HospitalB/peer0".to_owned(),
        other: "HospitalA/peer0".to_owned(),
        parts: vec![PartDifference {
            part: Part::Writes,
            count: 7,
            keys: vec![Bytes::from_static(b"key")],
        }],
    };
    let mismatch = refused(ErrorCode::EndorsementMismatch).with_differences(vec![difference]);
    peer.state.lock().endorse.push_back(Err(mismatch.clone()));
    let error = soon(contract.submit("echo", ["a"])).await.unwrap_err();
    assert!(error.is_retryable());
    assert_eq!(error.rpc(), Some(&mismatch));
    let TransactError::Endorse(endorse) = &error else {
        panic!("{error}");
    };
    assert_eq!(endorse.differences(), &*mismatch.differences);
    assert_eq!(endorse.differences()[0].to_string(), "writes (7)");
    peer.state
        .lock()
        .endorse
        .push_back(Err(refused(ErrorCode::ContractRefused)));
    let error = soon(contract.submit("echo", ["a"])).await.unwrap_err();
    assert!(!error.is_retryable(), "{error}");
}

#[tokio::test]
async fn an_envelope_that_is_lost_is_submitted_again_byte_for_byte() {
    let world = world();
    let peer = world.peer().await;
    {
        let mut state = peer.state.lock();
        state.lose = 2;
        state
            .refuse_submit
            .extend([ErrorCode::OrdererUnavailable, ErrorCode::Timeout].map(refused));
        state
            .refuse_status
            .extend([ErrorCode::Unavailable, ErrorCode::Overloaded].map(refused));
    }
    let mut options = world.options(&[&peer.address]);
    options.timeouts.resubmit = Duration::from_millis(200);
    let contract = network(options).contract(contract_name());
    let transaction = soon(
        contract
            .proposal("echo")
            .text("a")
            .build()
            .unwrap()
            .endorse(),
    )
    .await
    .unwrap();
    let status = soon(transaction.submit_and_wait(DEADLINE)).await.unwrap();
    assert_eq!(status.code, ValidationCode::Valid);
    let submitted = peer.state.lock().submitted.clone();
    assert!(submitted.len() >= 3, "{}", submitted.len());
    assert!(
        submitted
            .iter()
            .all(|envelope| envelope == transaction.envelope_bytes())
    );
}

#[tokio::test]
async fn what_nobody_took_is_submitted_again_without_waiting_for_a_verdict() {
    let world = world();
    let peer = world.peer().await;
    peer.state
        .lock()
        .refuse_submit
        .extend([ErrorCode::OrdererUnavailable, ErrorCode::Unavailable].map(refused));
    let mut options = world.options(&[&peer.address]);
    // Whoever waits for a verdict after a refusal waits longer than the test does.
    options.timeouts.resubmit = Duration::from_secs(3_600);
    options.timeouts.commit = Duration::from_secs(3_600);
    let contract = network(options).contract(contract_name());
    soon(contract.submit("echo", ["a"])).await.unwrap();
    assert_eq!(peer.calls("Submit"), 3);
}

#[tokio::test]
async fn the_verdict_comes_with_the_submission_or_is_asked_for() {
    let world = world();
    let peer = world.peer().await;
    let contract = world.contract(&[&peer.address]);
    soon(contract.submit("echo", ["a"])).await.unwrap();
    assert_eq!((peer.calls("Submit"), peer.calls("CommitStatus")), (1, 0));
    let busy = refused(ErrorCode::Overloaded);
    peer.state.lock().refuse_status.push_back(busy);
    soon(contract.submit("echo", ["b"])).await.unwrap();
    assert_eq!((peer.calls("Submit"), peer.calls("CommitStatus")), (2, 2));
}

#[tokio::test]
async fn a_peer_that_is_behind_does_not_hide_a_commit() {
    let world = world();
    let (behind, current) = (world.peer().await, world.peer().await);
    behind.state.lock().lose = usize::MAX;
    let mut options = world.options(&[&behind.address, &current.address]);
    options.timeouts.commit_poll = Duration::from_millis(100);
    options.timeouts.resubmit = Duration::from_millis(200);
    let contract = network(options).contract(contract_name());
    soon(contract.submit("echo", ["a"])).await.unwrap();
    let (there, here) = (
        behind.state.lock().submitted.clone(),
        current.state.lock().submitted.clone(),
    );
    assert_eq!(there[0], here[0]);
}

#[tokio::test]
async fn what_becomes_of_a_submission() {
    let world = world();
    let peer = world.peer().await;
    let contract = world.contract(&[&peer.address]);
    let endorse = async || {
        soon(
            contract
                .proposal("echo")
                .text("a")
                .build()
                .unwrap()
                .endorse(),
        )
        .await
        .unwrap()
    };
    let transaction = endorse().await;

    // Seen before is as good as taken.
    peer.state
        .lock()
        .refuse_submit
        .push_back(refused(ErrorCode::Replayed));
    soon(transaction.submit()).await.unwrap();

    // A refusal that lasts ends the wait at once.
    peer.state
        .lock()
        .refuse_submit
        .push_back(refused(ErrorCode::Expired));
    let error = soon(transaction.submit_and_wait(DEADLINE))
        .await
        .unwrap_err();
    assert!(matches!(error, CommitError::Submit(_)), "{error}");
    assert!(!error.is_retryable());

    // Nobody has seen it.
    let commit = contract.network().commit(transaction.id());
    let error = soon(commit.status(Duration::from_millis(300)))
        .await
        .unwrap_err();
    assert!(
        matches!(error, CommitError::Deadline { last: None, .. }),
        "{error}"
    );
    assert!(error.is_retryable());

    // The peer will not say.
    peer.state
        .lock()
        .refuse_status
        .push_back(refused(ErrorCode::Forbidden));
    let error = soon(commit.status(DEADLINE)).await.unwrap_err();
    assert!(matches!(error, CommitError::Rpc { .. }), "{error}");

    // An invalid transaction is a verdict; in one go it is an error.
    peer.state.lock().code = ValidationCode::MvccReadConflict as u32;
    let status = soon(transaction.submit_and_wait(DEADLINE)).await.unwrap();
    assert!(status.valid().unwrap_err().is_retryable());
    let error = soon(contract.submit("echo", ["a"])).await.unwrap_err();
    assert!(matches!(error, TransactError::Invalid(_)), "{error}");

    peer.state.lock().code = 8;
    let error = soon(endorse().await.submit_and_wait(DEADLINE))
        .await
        .unwrap_err();
    assert!(matches!(error, CommitError::Code { .. }), "{error}");
}

#[tokio::test]
async fn a_certificate_is_registered_once() {
    let world = world();
    let peer = world.peer().await;
    {
        let mut state = peer.state.lock();
        state.known.clear();
        state.lose = 1;
    }
    let mut options = world.options(&[&peer.address]);
    options.timeouts.resubmit = Duration::from_millis(200);
    let network = network(options);
    let error = soon(network.info()).await.unwrap_err();
    assert!(!error.is_retryable(), "{error}");
    let Registered::Now(id) = soon(network.register(DEADLINE)).await.unwrap() else {
        panic!("it was not known");
    };
    let submitted = peer.state.lock().submitted.clone();
    assert!(submitted.len() >= 2 && submitted.iter().all(|next| *next == submitted[0]));
    let envelope = stela_protocol::transaction::Envelope::decode(submitted[0].clone()).unwrap();
    assert_eq!(envelope.header().id(), id);
    assert_eq!(
        soon(network.register(DEADLINE)).await.unwrap(),
        Registered::Before
    );
    assert_eq!(peer.state.lock().submitted.len(), submitted.len());
}

#[tokio::test]
async fn a_registration_that_is_never_accepted_has_a_deadline() {
    let world = world();
    let peer = world.peer().await;
    {
        let mut state = peer.state.lock();
        state.known.clear();
        state.lose = usize::MAX;
    }
    let network = world.network(&[&peer.address]);
    let error = soon(network.register(Duration::from_millis(300)))
        .await
        .unwrap_err();
    assert!(matches!(error, RegisterError::Deadline { .. }), "{error}");
}

#[tokio::test]
async fn the_state_of_a_channel() {
    let world = world();
    let peer = world.peer().await;
    let info = soon(world.network(&[&peer.address]).info()).await.unwrap();
    assert_eq!(
        (info.height, info.header_hash, info.state_hash),
        (1, Hash32([1; 32]), Hash32([2; 32]))
    );
    assert_eq!(info.config.channel, channel());
    assert_eq!(info.config.orderers.len(), 3);
}

#[tokio::test]
async fn a_history_is_in_order_and_no_longer_than_asked() {
    let world = world();
    let peer = world.peer().await;
    let network = world.network(&[&peer.address]);
    let (contract, key) = (contract_name(), Bytes::from_static(b"k"));
    let change = |block, id: &'static [u8]| pb::KeyChange {
        height: Some(pb::Height {
            block,
            transaction: 1,
        }),
        transaction_id: Bytes::from_static(id),
        deleted: block == 5,
    };
    let ask = |changes: Vec<pb::KeyChange>, before: Option<u64>, limit| {
        peer.state.lock().changes = changes;
        let before = before.map(|block| Height {
            block,
            transaction: 1,
        });
        soon(network.key_history(&contract, &key, before, limit))
    };
    let told = ask(vec![change(5, &[1; 32]), change(3, &[2; 32])], Some(6), 2);
    let told = told.await.unwrap();
    let shown: Vec<_> = told.iter().map(|c| (c.height.block, c.deleted)).collect();
    assert_eq!(shown, [(5, true), (3, false)]);
    let lies = [
        (vec![change(3, &[1; 32]), change(5, &[2; 32])], None, 2),
        (vec![change(3, &[1; 32]), change(3, &[2; 32])], None, 2),
        (vec![change(6, &[1; 32])], Some(6), 2),
        (vec![change(5, &[1; 32]), change(3, &[2; 32])], None, 1),
        (vec![pb::KeyChange::default()], None, 1),
        (vec![change(5, &[1; 31])], None, 1),
    ];
    for (changes, before, limit) in lies {
        let told = ask(changes, before, limit).await;
        let refused = matches!(
            told,
            Err(QueryError::History { .. } | QueryError::Format { .. })
        );
        assert!(refused, "{told:?}");
    }
}

fn found(salt: &[u8], payload: &'static [u8], commitment: Hash32) -> pb::FoundSideItem {
    let item = pb::SideItem {
        salt: Bytes::copy_from_slice(salt),
        payload: Bytes::from_static(payload),
    };
    pb::FoundSideItem {
        commitment: commitment.to_bytes(),
        item: Some(item),
    }
}

#[tokio::test]
async fn a_side_item_is_what_was_promised_or_nothing() {
    let world = world();
    let (liar, honest) = (world.peer().await, world.peer().await);
    let salt = [5; limits::SALT_BYTES];
    let promised = hash::side_commitment(&salt, b"the share");
    let good = found(&salt, b"the share", promised);
    honest.state.lock().side = vec![good.clone()];
    let absent = Hash32([9; 32]);

    let network = world.network(&[&honest.address]);
    let items = soon(network.side(&[promised, absent, promised]))
        .await
        .unwrap();
    assert_eq!(
        items.into_iter().collect::<Vec<_>>(),
        [(promised, Bytes::from_static(b"the share"))]
    );

    let short = hash::side_commitment(&[], b"the share");
    for (asked, wrong) in [
        (promised, found(&salt, b"another share", promised)),
        (
            promised,
            found(&[6; limits::SALT_BYTES], b"the share", promised),
        ),
        (absent, good),
        (short, found(&[], b"the share", short)),
    ] {
        liar.state.lock().side = vec![wrong];
        let network = world.network(&[&liar.address]);
        let error = soon(network.side(&[asked])).await.unwrap_err();
        assert!(matches!(error, SideError::Mismatch { .. }), "{error}");
    }

    // Another peer may be honest.
    let network = world.network(&[&liar.address, &honest.address]);
    assert_eq!(soon(network.side(&[promised])).await.unwrap().len(), 1);
}

fn event(block: u64, event: u32) -> pb::EventsResponse {
    pb::EventsResponse {
        checkpoint: Some(pb::Checkpoint {
            block,
            transaction: 0,
            event,
        }),
        transaction_id: TransactionId([1; 32]).0.to_vec().into(),
        name: "record.submitted".to_owned(),
        payload: Bytes::from(format!("{block}")),
        time_ms: block,
    }
}

async fn collect(stream: EventStream, count: usize) -> Vec<(u64, u32)> {
    let events = stream
        .take(count)
        .map_ok(|e| (e.checkpoint.block.0, e.checkpoint.event));
    soon(events.try_collect()).await.unwrap()
}

#[tokio::test]
async fn events_go_on_where_they_broke_off() {
    let world = world();
    let peer = world.peer().await;
    {
        let mut state = peer.state.lock();
        state.events = vec![
            event(1, 0),
            event(2, 0),
            event(2, 1),
            event(4, 0),
            event(9, 0),
        ];
        let breaks = [
            (2, ErrorCode::Unavailable),
            (0, ErrorCode::Timeout),
            (2, ErrorCode::Overloaded),
        ];
        state.break_events = breaks.map(|(count, code)| (count, refused(code))).into();
    }
    let door = slamming_door().await;
    let network = world.network(&[&door, &peer.address]);
    let listen = |start| network.events(&contract_name(), start);
    let all = [(1, 0), (2, 0), (2, 1), (4, 0), (9, 0)];
    assert_eq!(collect(listen(Start::Block(BlockNumber(0))), 5).await, all);
    let (block, transaction) = (BlockNumber(2), 0);
    let after = Start::After(Checkpoint {
        block,
        transaction,
        event: 0,
    });
    assert_eq!(collect(listen(after), 3).await, all[2..]);
    assert_eq!(
        collect(listen(Start::Block(BlockNumber(3))), 2).await,
        all[3..]
    );
}

#[tokio::test]
async fn from_now_on_stays_from_then_on_across_a_break() {
    let world = world();
    let peer = world.peer().await;
    {
        let mut state = peer.state.lock();
        state.events = vec![event(1, 0), event(2, 0)];
        let broken = (usize::MAX, refused(ErrorCode::Unavailable));
        state.break_events.extend(vec![broken; 1_000]);
    }
    let network = world.network(&[&peer.address]);
    let mut stream = network.events(&contract_name(), Start::Next);
    // The event comes once a first stream has begun and found nothing.
    let next = tokio::spawn(async move { stream.next().await });
    soon(async {
        while peer.calls("Events") < 1 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    peer.state.lock().events.push(event(3, 0));
    let event = soon(next).await.unwrap().unwrap().unwrap();
    assert_eq!(
        (event.checkpoint.block.0, event.json::<u64>().unwrap()),
        (3, 3)
    );
}

#[tokio::test]
async fn a_listener_who_may_not_listen_is_told_once() {
    let world = world();
    let peer = world.peer().await;
    {
        let mut state = peer.state.lock();
        state.events = vec![event(1, 0)];
        state
            .break_events
            .push_back((1, refused(ErrorCode::Forbidden)));
    }
    let network = world.network(&[&peer.address]);
    let stream = network.events(&contract_name(), Start::Block(BlockNumber(1)));
    let all: Vec<Result<Event, EventsError>> = soon(stream.collect()).await;
    assert!(
        matches!(&all[..], [Ok(_), Err(EventsError::Rpc { .. })]),
        "{all:?}"
    );

    let mut nameless = event(2, 0);
    nameless.checkpoint = Some(pb::Checkpoint {
        block: 2,
        transaction: 0,
        event: 0,
    });
    nameless.transaction_id = Bytes::new();
    peer.state.lock().events = vec![nameless];
    let stream = network.events(&contract_name(), Start::Block(BlockNumber(1)));
    let all: Vec<Result<Event, EventsError>> = soon(stream.collect()).await;
    assert!(
        matches!(&all[..], [Err(EventsError::Format { .. })]),
        "{all:?}"
    );
}

#[tokio::test]
async fn blocks_are_read_to_their_end_across_a_break() {
    let world = world();
    let peer = world.peer().await;
    let chain = world.chain(6, &[0, 2]);
    {
        let mut state = peer.state.lock();
        state.blocks = chain.iter().map(answer).collect();
        state.break_blocks.extend([2, 0]);
    }
    let network = world.network(&[&peer.address]);
    let quorum = Quorum::new(world.configuration());
    let stream = network
        .blocks(BlockNumber(0), Some(BlockNumber(5)))
        .signed_by(quorum);
    let blocks: Vec<CheckedBlock> = soon(stream.try_collect()).await.unwrap();
    let hashes: Vec<Hash32> = blocks.iter().map(|block| block.block.hash).collect();
    assert_eq!(
        hashes,
        chain[..5]
            .iter()
            .map(|block| block.hash)
            .collect::<Vec<_>>()
    );
    assert_eq!(blocks[1].codes, [ValidationCode::Valid]);
    assert_eq!(blocks[1].state_hash, Hash32([3; 32]));
}

#[tokio::test]
async fn blocks_that_cannot_be_are_refused() {
    let world = world();
    let peer = world.peer().await;
    let network = world.network(&[&peer.address]);
    let read = async |blocks: Vec<pb::BlocksResponse>| {
        peer.state.lock().blocks = blocks;
        let stream = network.blocks(BlockNumber(0), Some(BlockNumber(3)));
        soon(stream.try_collect::<Vec<_>>()).await.unwrap_err()
    };
    let good: Vec<_> = world.chain(3, &[0, 1]).iter().map(answer).collect();
    let altered = |change: fn(&mut Vec<pb::BlocksResponse>)| {
        let mut blocks = good.clone();
        change(&mut blocks);
        blocks
    };
    for blocks in [
        altered(|blocks| blocks.swap(1, 2)),
        altered(|blocks| blocks[1].block = None),
        altered(|blocks| {
            let envelopes = &mut blocks[2].block.as_mut().unwrap().envelopes;
            envelopes[0] = Bytes::from_static(b"forged");
        }),
    ] {
        let error = read(blocks).await;
        assert!(matches!(error, BlocksError::Block { .. }), "{error}");
    }
    // A chain of another beginning.
    let mut spliced = good.clone();
    let mut config = world.config.clone();
    config.sequence = 9;
    spliced[0] = answer(&stela_protocol::config::genesis(&config, 1).unwrap());
    let error = read(spliced).await;
    assert!(
        matches!(
            error,
            BlocksError::Block {
                next: BlockNumber(1),
                ..
            }
        ),
        "{error}"
    );
    for blocks in [
        altered(|blocks| blocks[1].codes = Bytes::new()),
        altered(|blocks| blocks[1].codes = Bytes::from_static(&[8])),
        altered(|blocks| blocks[1].state_hash = Bytes::new()),
    ] {
        let error = read(blocks).await;
        assert!(matches!(error, BlocksError::Verdicts { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_block_needs_a_quorum_of_different_orderers() {
    let world = world();
    let quorum = Quorum::new(world.configuration());
    let check = |signers: &[usize]| quorum.clone().check(&world.chain(2, signers)[1]);
    assert!(check(&[0, 1]).is_ok());
    assert!(check(&[2, 1, 0]).is_ok());
    for signers in [&[][..], &[1], &[1, 1]] {
        let error = check(signers).unwrap_err();
        assert!(
            matches!(error, QuorumError::TooFew { needed: 2, .. }),
            "{error}"
        );
    }
    // The signatures of one block under another.
    let (mut block, other) = (
        world.chain(3, &[0, 1]).remove(2),
        world.chain(2, &[0, 1]).remove(1),
    );
    block.signatures = other.signatures;
    assert!(quorum.clone().check(&block).is_err());
}

#[tokio::test]
async fn an_administrator_joins_installs_and_looks() {
    let world = world();
    let peer = world.peer().await;
    let endpoint = Endpoint {
        organization: world.organization.clone(),
        address: peer.address.clone(),
    };
    let options = AdminOptions::new(endpoint, world.tls.clone(), world.user.clone());
    let admin = Admin::connect(options).unwrap();
    let genesis = world.chain(1, &[])[0].to_pb();
    let genesis: Bytes = stela_protocol::Message::encode_to_vec(&genesis).into();
    soon(admin.join(genesis)).await.unwrap();
    let error = soon(admin.join(Bytes::from_static(b"no block")))
        .await
        .unwrap_err();
    assert!(matches!(error, AdminError::Genesis(_)), "{error}");

    let package = Bytes::from_static(b"\0asm");
    let installed = soon(admin.install(package.clone())).await.unwrap();
    assert_eq!(installed, hash::package(&package));
    let large = Bytes::from(vec![0; limits::PACKAGE_BYTES_MAX + 1]);
    let error = soon(admin.install(large)).await.unwrap_err();
    assert!(
        matches!(error, AdminError::PackageTooLarge { .. }),
        "{error}"
    );

    let status = soon(admin.status()).await.unwrap();
    assert_eq!(
        (status.name.as_str(), &status.packages[..]),
        ("peer0", &[installed][..])
    );
    let channel = &status.channels[0];
    assert_eq!(
        (channel.height, channel.leader, channel.orderer),
        (3, Some(2), Some(1))
    );
    assert_eq!(channel.state_hash, None);
    assert_eq!(channel.halted.as_deref(), Some("it is damaged"));
}

#[tokio::test]
async fn nothing_secret_is_shown() {
    let world = world();
    let gateway = Gateway::connect(world.options(&["127.0.0.1:1"])).unwrap();
    let shown = format!("{gateway:?} {:?}", gateway.network(channel()));
    assert!(shown.contains(&gateway.fingerprint().to_string()));
    let certificate: &Certificate = gateway.certificate();
    assert_eq!(certificate.fingerprint(), gateway.fingerprint());
}
