//! What was endorsed and is not submitted: the endorsers record it themselves.

#![allow(clippy::unwrap_used, reason = "what fails here is a failed test")]

mod support;

use bytes::Bytes;
use stela_protocol::hash::domain;
use stela_protocol::transaction::Proposal;
use stela_protocol::{ErrorCode, ValidationCode, pb};
use stela_store::limits::NOTES_PER_REQUESTER_MAX;
use support::*;

/// How long a proposal of these tests may still come.
const LEFT_MS: u64 = 5_000;

/// A request for something, made so long ago that its window is soon over.
fn request(client: &Client, what: &str) -> Proposal {
    let mut proposal = client.proposal("ask", &[what.as_bytes()]);
    proposal.header.timestamp_ms -= WINDOW_MS - LEFT_MS;
    proposal
}

/// The next event: its name and what it says.
async fn event(events: &mut tonic::Streaming<pb::EventsResponse>) -> (String, Bytes) {
    let event = tokio::time::timeout(PATIENCE, events.message()).await;
    let event = event.unwrap().unwrap().unwrap();
    (event.name, event.payload)
}

async fn follow(client: &Client) -> tonic::Streaming<pb::EventsResponse> {
    let request = pb::EventsRequest {
        header: Some(client.request_header("Events")),
        contract: "notes".to_owned(),
        start_block: 1,
        ..Default::default()
    };
    let signed = client.sign(domain::REQUEST, &request);
    answer(client.gateway().events(signed).await).unwrap()
}

/// How many notes a peer has.
async fn unrecorded(admin: &Client) -> u64 {
    admin.status().await.unwrap().channels[0].unrecorded
}

async fn until_answering(client: &Client) {
    until("the peer answers", || async { client.info().await.is_ok() }).await;
}

fn noted(what: &'static str) -> (String, Bytes) {
    ("note".to_owned(), Bytes::from_static(what.as_bytes()))
}

async fn until_recorded(network: &Network, name: &'static str) {
    let admin = network.client(name, "admin");
    until("no note is left", || async {
        unrecorded(&admin).await == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_endorsed_and_never_submitted_is_recorded_though_the_endorser_is_killed() {
    let mut network = Network::start(Wish::one()).await;
    let client = network.member("A", "client").await;
    let process = network.as_process("A").await;
    let client = network.client_of("A", "A", client.credentials.clone());
    until_answering(&client).await;
    let kept_back = request(&client, "kept back");
    client.endorse(&kept_back, vec![]).await.unwrap();
    process.kill();
    let process = network.homes["A"].spawn(network.addresses["A"]);
    until_answering(&client).await;
    assert_eq!(event(&mut follow(&client).await).await, noted("kept back"));
    let unknown = client.commit_status(&kept_back.header.id(), 0).await;
    assert_eq!(code(unknown), ErrorCode::UnknownTransaction);
    until_recorded(&network, "A").await;
    process.kill();
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_several_endorsers_records_what_nobody_submits_and_nothing_else_is_recorded() {
    let network = Network::start(Wish::two()).await;
    let client = network.member("A", "client").await;
    let submitted = request(&client, "submitted");
    assert_eq!(
        client.transact(&submitted, vec![]).await,
        ValidationCode::Valid
    );
    let kept_back = request(&client, "kept back");
    client.endorse(&kept_back, vec![]).await.unwrap();
    for name in ["A", "B"] {
        let admin = network.client(name, "admin");
        until("one note is left", || async {
            unrecorded(&admin).await == 1
        })
        .await;
    }
    let mut events = follow(&client).await;
    assert_eq!(event(&mut events).await, noted("kept back"));
    for name in ["A", "B"] {
        until_recorded(&network, name).await;
    }
    // Behind the one note comes what is written now.
    let last = client.proposal("put", &[b"last"]);
    assert_eq!(client.transact(&last, vec![]).await, ValidationCode::Valid);
    let written = ("written".to_owned(), Bytes::from_static(b"last"));
    assert_eq!(event(&mut events).await, written);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_leaves_too_much_unrecorded_has_to_wait_and_learns_nothing() {
    let network = Network::start(Wish::one()).await;
    let client = network.member("A", "client").await;
    for number in 0..NOTES_PER_REQUESTER_MAX {
        let kept_back = client.proposal("ask", &[format!("k{number}").as_bytes()]);
        client.endorse(&kept_back, vec![]).await.unwrap();
    }
    // Neither what would be denied nor what would be permitted.
    for what in ["denied", "permitted"] {
        let proposal = client.proposal("ask", &[what.as_bytes()]);
        let refused = client.endorse(&proposal, vec![]).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::TooManyUnrecorded, "{what}");
        assert!(refused.is_retryable());
    }
    let other_function = client.proposal("put", &[b"text"]);
    assert_eq!(
        client.transact(&other_function, vec![]).await,
        ValidationCode::Valid
    );
    let other = network.member("A", "client").await;
    let hers = other.proposal("ask", &[b"hers"]);
    assert!(other.endorse(&hers, vec![]).await.is_ok());
}
