use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use stela_identity::tls::{Expected, PeerTls, TlsIncoming, TlsRoots, TlsSettings, connect, server};
use stela_identity::{TlsAuthority, Validity};
use stela_protocol::limits::MESSAGE_BYTES_MAX;
use stela_protocol::pb::{self, Procedure};
use stela_protocol::{ErrorCode, OrgId, RpcError};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::limits::{CALLS_BYTES_MAX, CALLS_MAX};
use crate::{Callee, Calls, CallsService, reply};

/// From 2020 to 2100: TLS goes by the machine's clock.
const VALIDITY: Validity = Validity {
    not_before_ms: 1_577_836_800_000,
    not_after_ms: 4_102_444_800_000,
};
const DEADLINE: Duration = Duration::from_secs(60);

/// Answers `Submit` with the bytes of the envelope as the code, when a place is free; refuses
/// everything else.
struct Node {
    places: Semaphore,
    /// Calls that were begun.
    working: watch::Sender<usize>,
    answered: AtomicUsize,
    stop: CancellationToken,
}

impl Callee for Node {
    async fn answer(
        self: Arc<Self>,
        caller: Option<PeerTls>,
        procedure: Procedure,
        request: Bytes,
    ) -> Result<Bytes, RpcError> {
        if procedure != Procedure::GatewaySubmit {
            return Err(RpcError::new(ErrorCode::Forbidden, "no").from_origin("A/node"));
        }
        assert_eq!(caller.unwrap().organization, org());
        let node = &self;
        node.working.send_modify(|working| *working += 1);
        let submit = |request: pb::SubmitRequest| async move {
            node.places.acquire().await.unwrap().forget();
            node.answered.fetch_add(1, Ordering::Relaxed);
            let status = pb::CommitStatusResponse {
                code: u32::from(request.envelope[0]),
                ..Default::default()
            };
            Ok(pb::SubmitResponse {
                status: Some(status),
            })
        };
        reply(request, submit).await
    }

    fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }
}

fn org() -> OrgId {
    OrgId::new("A").unwrap()
}

/// A node with so many places, and calls of it.
async fn start(places: usize) -> (Arc<Node>, Calls) {
    let authority = TlsAuthority::create(&org(), VALIDITY).unwrap();
    let names = ["127.0.0.1".to_owned()];
    let roots = TlsRoots::new().add(&org(), authority.root_der()).unwrap();
    let identity = authority.issue("node", &names, VALIDITY).unwrap();
    let settings = TlsSettings::new(identity, &roots).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let node = Arc::new(Node {
        places: Semaphore::new(places),
        working: watch::Sender::new(0),
        answered: AtomicUsize::new(0),
        stop: CancellationToken::new(),
    });
    let serving = server()
        .add_service(CallsService::server(node.clone(), MESSAGE_BYTES_MAX))
        .serve_with_incoming_shutdown(
            TlsIncoming::new(listener, settings.clone()).unwrap(),
            node.stop.clone().cancelled_owned(),
        );
    tokio::spawn(serving);
    let channel = connect(&settings, &address, Expected::of(&org())).unwrap();
    (node, Calls::new(channel))
}

async fn submit(calls: &Calls, code: u8) -> Result<u32, RpcError> {
    let request = pb::SubmitRequest {
        envelope: vec![code].into(),
        ..Default::default()
    };
    let call = calls.call(Procedure::GatewaySubmit, &request);
    let answer: Result<pb::SubmitResponse, RpcError> = soon(call).await;
    Ok(answer?.status.unwrap().code)
}

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.unwrap()
}

async fn working(node: &Node, count: usize) {
    let mut working = node.working.subscribe();
    drop(
        soon(working.wait_for(|working| *working == count))
            .await
            .unwrap(),
    );
}

/// Nothing is answered meanwhile.
async fn no_more_begin(node: &Node) {
    let mut working = node.working.subscribe();
    let begun = *working.borrow_and_update();
    let more = working.wait_for(|working| *working > begun);
    let more = tokio::time::timeout(Duration::from_millis(500), more).await;
    assert!(more.is_err(), "more than {begun} are worked on");
}

#[tokio::test]
async fn each_call_gets_its_own_answer_in_any_order() {
    let (node, calls) = start(0).await;
    let first: Vec<_> = (0..20)
        .map(|code| {
            let calls = calls.clone();
            tokio::spawn(async move { submit(&calls, code).await })
        })
        .collect();
    working(&node, 20).await;
    // An error overtakes those that wait, and keeps what it says.
    let request = pb::SignedBytes::default();
    let refused = calls.call::<_, pb::EvaluateResponse>(Procedure::GatewayEvaluate, &request);
    let refused = soon(refused).await.unwrap_err();
    assert_eq!(refused.code, ErrorCode::Forbidden);
    assert_eq!(refused.origin, "A/node");
    node.places.add_permits(20);
    for (code, answer) in (0..).zip(first) {
        assert_eq!(soon(answer).await.unwrap(), Ok(code));
    }
}

#[tokio::test]
async fn who_goes_away_frees_the_place_of_his_call() {
    let (node, calls) = start(0).await;
    let mut call = Box::pin(submit(&calls, 1));
    tokio::select! {
        _ = &mut call => panic!("nothing is answered yet"),
        () = working(&node, 1) => {}
    }
    drop(call);
    node.places.add_permits(2);
    assert_eq!(submit(&calls, 2).await, Ok(2));
    drop(calls);
}

#[tokio::test]
async fn no_more_calls_are_worked_on_than_allowed_and_none_is_lost() {
    let (node, calls) = start(0).await;
    let all = CALLS_MAX + 10;
    let waiting: Vec<_> = (0..all)
        .map(|_| {
            let calls = calls.clone();
            tokio::spawn(async move { submit(&calls, 7).await })
        })
        .collect();
    working(&node, CALLS_MAX).await;
    no_more_begin(&node).await;
    node.places.add_permits(all);
    for answer in waiting {
        assert_eq!(soon(answer).await.unwrap(), Ok(7));
    }
    assert_eq!(node.answered.load(Ordering::Relaxed), all);
}

#[tokio::test]
async fn large_calls_take_more_of_the_room() {
    let (node, calls) = start(0).await;
    let fit = CALLS_BYTES_MAX / (4 << 20);
    let waiting: Vec<_> = (0..fit + 2)
        .map(|_| {
            let calls = calls.clone();
            tokio::spawn(async move {
                let request = pb::SubmitRequest {
                    envelope: vec![7; 4 << 20].into(),
                    ..Default::default()
                };
                let call = calls.call(Procedure::GatewaySubmit, &request);
                soon::<Result<pb::SubmitResponse, RpcError>>(call).await
            })
        })
        .collect();
    // Each request is a little larger than its envelope, so one less fits.
    working(&node, fit - 1).await;
    no_more_begin(&node).await;
    node.places.add_permits(fit + 2);
    for answer in waiting {
        assert!(soon(answer).await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn a_node_that_stops_answers_what_it_has_read_and_then_cannot_be_called() {
    let (node, calls) = start(0).await;
    let waiting = {
        let calls = calls.clone();
        tokio::spawn(async move { submit(&calls, 3).await })
    };
    working(&node, 1).await;
    node.stop.cancel();
    node.places.add_permits(1);
    assert_eq!(soon(waiting).await.unwrap(), Ok(3));
    let gone = soon(async {
        loop {
            if let Err(error) = submit(&calls, 4).await {
                break error;
            }
            node.places.add_permits(1);
        }
    })
    .await;
    assert!(gone.is_retryable(), "{gone}");
}
