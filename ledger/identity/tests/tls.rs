//! TLS over real sockets: who gets in, who does not, and what changes while it runs.

#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::NamedGroup;
use stela_identity::tls::{
    Address, Expected, PeerTls, ProbeError, Refusal, TlsConnection, TlsError, TlsIdentity,
    TlsIncoming, TlsRoots, TlsSettings, connect, dial, probe, server,
};
use stela_identity::{AuthorityError, TlsAuthority, Validity};
use stela_protocol::{Fingerprint, OrgId, pb};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::StreamExt;

/// From 2020 to 2100: TLS goes by the machine's clock.
const VALIDITY: Validity = Validity {
    not_before_ms: 1_577_836_800_000,
    not_after_ms: 4_102_444_800_000,
};
const PAST: Validity = Validity {
    not_before_ms: 1_577_836_800_000,
    not_after_ms: 1_609_459_200_000,
};

fn org(name: &str) -> OrgId {
    OrgId::new(name).unwrap()
}

fn authority(name: &str) -> TlsAuthority {
    TlsAuthority::create(&org(name), VALIDITY).unwrap()
}

fn roots(authorities: &[&TlsAuthority]) -> TlsRoots {
    authorities
        .iter()
        .fold(TlsRoots::new(), |roots, authority| {
            roots
                .add(authority.organization(), authority.root_der())
                .unwrap()
        })
}

fn identity(authority: &TlsAuthority) -> TlsIdentity {
    let names = ["127.0.0.1".to_owned(), "node.example".to_owned()];
    authority.issue("node", &names, VALIDITY).unwrap()
}

fn settings(authority: &TlsAuthority, trusted: &[&TlsAuthority]) -> TlsSettings {
    TlsSettings::new(identity(authority), &roots(trusted)).unwrap()
}

async fn listen(settings: &TlsSettings) -> TlsIncoming {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    TlsIncoming::new(listener, settings.clone()).unwrap()
}

fn address(incoming: &TlsIncoming) -> Address {
    Address::new(&incoming.local_addr().to_string()).unwrap()
}

/// Answers every connection with one byte.
fn greet(mut incoming: TlsIncoming) {
    tokio::spawn(async move {
        while let Some(Ok(mut connection)) = incoming.next().await {
            tokio::spawn(async move {
                connection.write_all(b"!").await?;
                connection.shutdown().await
            });
        }
    });
}

/// Whether both sides accept each other; in TLS 1.3 that shows when something is read.
async fn meet(client: &TlsSettings, address: &Address, expected: &Expected) -> io::Result<()> {
    let mut stream = dial(client, address, expected).await?;
    let mut greeting = [0];
    stream.read_exact(&mut greeting).await.map(drop)
}

async fn accepted(server: &TlsSettings, client: &TlsSettings, expected: &Expected) -> bool {
    let incoming = listen(server).await;
    let address = address(&incoming);
    greet(incoming);
    meet(client, &address, expected).await.is_ok()
}

#[tokio::test]
async fn members_meet_and_the_server_knows_whom() {
    let (a, b) = (authority("A"), authority("B"));
    let (node, client) = (settings(&a, &[&a, &b]), identity(&b));
    let mut incoming = listen(&node).await;
    let address = address(&incoming);
    let settings = TlsSettings::new(client.clone(), &roots(&[&a, &b])).unwrap();
    let expected = Expected::of(&org("A"));
    let (connection, stream) = tokio::join!(incoming.next(), dial(&settings, &address, &expected));
    let (connection, stream): (TlsConnection, _) = (connection.unwrap().unwrap(), stream.unwrap());
    let peer = connection.peer();
    assert_eq!(peer.organization, org("B"));
    assert_eq!(peer.fingerprint, client.fingerprint());
    assert_eq!(peer.address, stream.get_ref().0.local_addr().unwrap());
    let session = stream.get_ref().1;
    assert_eq!(
        session.protocol_version(),
        Some(rustls::ProtocolVersion::TLSv1_3)
    );
    assert_eq!(session.alpn_protocol(), Some(b"h2".as_slice()));
    let group = session.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, NamedGroup::X25519MLKEM768);
}

#[tokio::test]
async fn a_connection_that_stands_is_cut_when_its_other_end_is_not_trusted_any_more() {
    let (a, b) = (authority("A"), authority("B"));
    let node = settings(&a, &[&a, &b]);
    let mut incoming = listen(&node).await;
    let address = address(&incoming);
    let any = Expected::default();
    let (of_a, of_b) = (settings(&a, &[&a, &b]), settings(&b, &[&a, &b]));
    let (connection, _of_b) = tokio::join!(incoming.next(), dial(&of_b, &address, &any));
    let mut removed = connection.unwrap().unwrap();
    let (connection, other) = tokio::join!(incoming.next(), dial(&of_a, &address, &any));
    let (mut kept, mut other) = (connection.unwrap().unwrap(), other.unwrap());
    // It waits for something to read, and is woken by the change.
    let waits = tokio::spawn(async move { removed.read_u8().await });
    node.replace_roots(&roots(&[&a])).unwrap();
    let cut = waits.await.unwrap().unwrap_err();
    assert_eq!(cut.kind(), io::ErrorKind::PermissionDenied);
    other.write_u8(7).await.unwrap();
    assert_eq!(kept.read_u8().await.unwrap(), 7);
}

#[tokio::test]
async fn a_stranger_is_refused_by_either_side() {
    let (a, b, stranger) = (authority("A"), authority("B"), authority("C"));
    let member = settings(&a, &[&a, &b]);
    let outside = settings(&stranger, &[&a, &b, &stranger]);
    let any = Expected::default();
    assert!(accepted(&member, &settings(&b, &[&a, &b]), &any).await);
    assert!(!accepted(&member, &outside, &any).await);
    assert!(!accepted(&outside, &member, &any).await);
}

#[tokio::test]
async fn an_authority_cannot_speak_for_another_organization() {
    let (a, b) = (authority("A"), authority("B"));
    let impostor = TlsAuthority::create(&org("A"), VALIDITY).unwrap();
    let member = settings(&a, &[&a, &b]);
    let pretender = settings(&impostor, &[&a, &b]);
    assert!(!accepted(&member, &pretender, &Expected::default()).await);
    assert!(!accepted(&pretender, &member, &Expected::default()).await);
    let error = TlsRoots::new().add(&org("B"), a.root_der()).unwrap_err();
    assert!(matches!(error, TlsError::Organization { .. }));
}

#[tokio::test]
async fn a_client_meets_only_whom_it_expects() {
    let (a, b) = (authority("A"), authority("B"));
    let node = identity(&a);
    let trusted = roots(&[&a, &b]);
    let server = TlsSettings::new(node.clone(), &trusted).unwrap();
    let client = TlsSettings::new(identity(&b), &trusted).unwrap();
    let check = async |expected| accepted(&server, &client, &expected).await;
    assert!(check(Expected::of(&org("A"))).await);
    assert!(!check(Expected::of(&org("B"))).await);
    let fingerprint = Some(node.fingerprint());
    assert!(
        check(Expected {
            fingerprint,
            ..Expected::default()
        })
        .await
    );
    let fingerprint = Some(Fingerprint([1; 32]));
    assert!(
        !check(Expected {
            fingerprint,
            ..Expected::default()
        })
        .await
    );
    let named = |name: &str| Expected {
        server_name: Some(name.to_owned()),
        ..Expected::default()
    };
    assert!(check(named("node.example")).await);
    assert!(!check(named("other.example")).await);
}

#[tokio::test]
async fn an_expired_certificate_is_refused_by_either_side() {
    let (a, b) = (authority("A"), authority("B"));
    let old = a.issue("node", &["127.0.0.1".to_owned()], PAST).unwrap();
    let expired = TlsSettings::new(old, &roots(&[&a, &b])).unwrap();
    let member = settings(&b, &[&a, &b]);
    assert!(!accepted(&member, &expired, &Expected::default()).await);
    assert!(!accepted(&expired, &member, &Expected::default()).await);
}

#[tokio::test]
async fn plaintext_is_refused() {
    let a = authority("A");
    let incoming = listen(&settings(&a, &[&a])).await;
    let address = incoming.local_addr();
    greet(incoming);
    let answer = exchange(address, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert_eq!(
        answer.first(),
        Some(&0x15),
        "a TLS alert, and nothing else: {answer:?}"
    );
    assert!(answer.len() <= 7);
}

/// Sends bytes and reads all that comes back until the other side closes.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // The other side may reset the connection, after its answer.
    let _ = stream.read_to_end(&mut answer).await;
    answer
}

/// A ClientHello of TLS 1.2 as RFC 5246 describes it: no extension offers a later version.
fn client_hello_of_tls12() -> Vec<u8> {
    let extensions: &[&[u8]] = &[
        &[0x00, 0x0a, 0x00, 0x04, 0x00, 0x02, 0x00, 0x17], // groups: secp256r1
        &[0x00, 0x0b, 0x00, 0x02, 0x01, 0x00],             // points: uncompressed
        &[0x00, 0x0d, 0x00, 0x04, 0x00, 0x02, 0x04, 0x03], // signatures: ECDSA P-256 SHA-256
    ];
    let extensions = extensions.concat();
    let body = [
        &[0x03, 0x03][..],         // version 1.2
        &[0x42; 32],               // random
        &[0x00],                   // no session
        &[0x00, 0x02, 0xc0, 0x2b], // ECDHE-ECDSA-AES128-GCM-SHA256
        &[0x01, 0x00],             // no compression
        &(extensions.len() as u16).to_be_bytes(),
        &extensions,
    ]
    .concat();
    let message = [&[0x01, 0x00][..], &(body.len() as u16).to_be_bytes(), &body].concat();
    [
        &[0x16, 0x03, 0x01][..],
        &(message.len() as u16).to_be_bytes(),
        &message,
    ]
    .concat()
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let a = authority("A");
    let incoming = listen(&settings(&a, &[&a])).await;
    let address = incoming.local_addr();
    greet(incoming);
    let answer = exchange(address, &client_hello_of_tls12()).await;
    // A fatal alert, protocol_version (RFC 8446, section 6).
    assert_eq!(
        (answer.first(), answer.get(5..7)),
        (Some(&0x15), Some(&[2, 70][..])),
        "{answer:?}"
    );
}

/// A client that checks the server as it should, and shows no certificate.
fn anonymous(settings: &TlsSettings, authority: &TlsAuthority) -> rustls::ClientConfig {
    let provider = settings.server_config().crypto_provider().clone();
    let mut store = rustls::RootCertStore::empty();
    store.add(authority.root_der().to_vec().into()).unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(store)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    config
}

#[tokio::test]
async fn a_client_without_a_certificate_is_refused() {
    let a = authority("A");
    let node = settings(&a, &[&a]);
    let incoming = listen(&node).await;
    let address = incoming.local_addr();
    greet(incoming);
    let tcp = TcpStream::connect(address).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("127.0.0.1").unwrap();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(anonymous(&node, &a)));
    let read = async {
        let mut stream = connector.connect(name, tcp).await?;
        stream.read_u8().await
    };
    let error = read.await.unwrap_err();
    assert!(error.to_string().contains("CertificateRequired"), "{error}");
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_as_soon_as_the_configuration_says_so() {
    use stela_protocol::config::{ChannelConfig, ChannelLimits, Organization};
    let (a, b) = (authority("A"), authority("B"));
    let client = identity(&b);
    let config = |revoked: Vec<Fingerprint>| {
        let organization = |authority: &TlsAuthority, revoked: Vec<Fingerprint>| {
            let id = authority.organization().clone();
            let organization = Organization {
                id: id.clone(),
                root_certificate: Default::default(),
                tls_root_certificates: vec![authority.root_der().to_vec().into()],
                peers: Vec::new(),
                storage: Vec::new(),
                revoked: revoked.into_iter().collect(),
                roles: Default::default(),
            };
            (id, organization)
        };
        ChannelConfig {
            channel: "care".parse().unwrap(),
            sequence: 1,
            organizations: [organization(&a, Vec::new()), organization(&b, revoked)].into(),
            orderers: Default::default(),
            orderer_quorum: 1,
            limits: ChannelLimits {
                window_ms: 1,
                block_transactions_max: 1,
                block_bytes_max: 1,
                envelope_bytes_max: 1,
            },
            contracts: Default::default(),
            admin_policy: stela_protocol::policy::Policy::parse("'A.admin'").unwrap(),
            certificates: Vec::new(),
            orderers_ever: 0,
            custodians: Default::default(),
            custodian_threshold: 0,
        }
    };
    let roots = |revoked| TlsRoots::new().add_config(&config(revoked)).unwrap();
    let node = TlsSettings::new(identity(&a), &roots(Vec::new())).unwrap();
    let member = TlsSettings::new(client.clone(), &roots(Vec::new())).unwrap();
    let incoming = listen(&node).await;
    let address = address(&incoming);
    greet(incoming);
    let any = Expected::default();
    assert!(meet(&member, &address, &any).await.is_ok());
    node.replace_roots(&roots(vec![client.fingerprint()]))
        .unwrap();
    assert!(meet(&member, &address, &any).await.is_err());
    member.replace_identity(identity(&b)).unwrap();
    assert!(meet(&member, &address, &any).await.is_ok());
}

#[tokio::test]
async fn roots_and_certificates_change_without_a_pause() {
    let (a, b) = (authority("A"), authority("B"));
    let node = settings(&a, &[&a]);
    let member = settings(&b, &[&a, &b]);
    let incoming = listen(&node).await;
    let address = address(&incoming);
    greet(incoming);
    let any = Expected::default();
    assert!(meet(&member, &address, &any).await.is_err());
    node.replace_roots(&roots(&[&a, &b])).unwrap();
    assert!(meet(&member, &address, &any).await.is_ok());
    let renewed = identity(&a);
    let fingerprint = Some(renewed.fingerprint());
    let new = Expected {
        fingerprint,
        ..Expected::default()
    };
    assert!(meet(&member, &address, &new).await.is_err());
    node.replace_identity(renewed).unwrap();
    assert!(meet(&member, &address, &new).await.is_ok());
    // A broken renewal changes nothing.
    let foreign_key = {
        let folder = tempfile::tempdir().unwrap();
        identity(&a).save(folder.path()).unwrap();
        let kept = std::fs::read(folder.path().join("tls.pem")).unwrap();
        identity(&a).save(folder.path()).unwrap();
        std::fs::write(folder.path().join("tls.pem"), kept).unwrap();
        TlsIdentity::load(folder.path()).unwrap()
    };
    assert!(node.replace_identity(foreign_key).is_err());
    assert!(meet(&member, &address, &new).await.is_ok());
}

#[tokio::test]
async fn a_slow_client_delays_nobody() {
    let a = authority("A");
    let node = settings(&a, &[&a]);
    let incoming = listen(&node).await;
    let (tcp, address) = (incoming.local_addr(), address(&incoming));
    greet(incoming);
    let mut silent = Vec::new();
    for _ in 0..16 {
        silent.push(TcpStream::connect(tcp).await.unwrap());
    }
    assert!(meet(&node, &address, &Expected::default()).await.is_ok());
}

#[tokio::test]
async fn a_dropped_listener_frees_its_address() {
    let a = authority("A");
    let node = settings(&a, &[&a]);
    let incoming = listen(&node).await;
    let address = incoming.local_addr();
    drop(incoming);
    drop(bind_again(address).await);
}

/// Fails when a condition has not come about long after it should have.
async fn in_time<T>(condition: impl Future<Output = T>) -> T {
    tokio::time::timeout(std::time::Duration::from_secs(30), condition)
        .await
        .unwrap()
}

async fn bind_again(address: SocketAddr) -> TcpListener {
    in_time(async {
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => return listener,
                Err(_) => tokio::task::yield_now().await,
            }
        }
    })
    .await
}

struct Orderer(tokio::sync::mpsc::Sender<PeerTls>);

#[tonic::async_trait]
impl pb::broadcast_server::Broadcast for Orderer {
    async fn broadcast(
        &self,
        request: tonic::Request<pb::BroadcastRequest>,
    ) -> Result<tonic::Response<pb::BroadcastResponse>, tonic::Status> {
        let peer = request.extensions().get::<PeerTls>().cloned();
        let peer = peer.ok_or_else(|| tonic::Status::unauthenticated("no certificate"))?;
        self.0
            .send(peer)
            .await
            .map_err(|_| tonic::Status::internal("closed"))?;
        Ok(tonic::Response::new(pb::BroadcastResponse {}))
    }
}

#[tokio::test]
async fn a_service_learns_who_calls_and_a_channel_connects_again() {
    let (a, b) = (authority("A"), authority("B"));
    let node = settings(&a, &[&a, &b]);
    let client = settings(&b, &[&a, &b]);
    let (calls, mut called) = tokio::sync::mpsc::channel(1);
    let run = |listener: TcpListener, stop: tokio::sync::oneshot::Receiver<()>| {
        let service = pb::broadcast_server::BroadcastServer::new(Orderer(calls.clone()));
        let incoming = TlsIncoming::new(listener, node.clone()).unwrap();
        let router = server().add_service(service);
        tokio::spawn(router.serve_with_incoming_shutdown(incoming, async {
            let _ = stop.await;
        }))
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let channel = connect(&client, &address.to_string(), Expected::of(&org("A"))).unwrap();
    let mut broadcast = pb::broadcast_client::BroadcastClient::new(channel);
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let first = run(listener, stopped);
    broadcast
        .broadcast(pb::BroadcastRequest::default())
        .await
        .unwrap();
    assert_eq!(called.recv().await.unwrap().organization, org("B"));
    stop.send(()).unwrap();
    first.await.unwrap().unwrap();
    let listener = bind_again(address).await;
    let (_stop, stopped) = tokio::sync::oneshot::channel();
    let _second = run(listener, stopped);
    in_time(async {
        while broadcast
            .broadcast(pb::BroadcastRequest::default())
            .await
            .is_err()
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert_eq!(called.recv().await.unwrap().organization, org("B"));
}

#[test]
fn tls_files_are_read_back() {
    let a = authority("A");
    let folder = tempfile::tempdir().unwrap();
    a.save(folder.path()).unwrap();
    let again = TlsAuthority::load(folder.path()).unwrap();
    assert_eq!(again.organization(), &org("A"));
    let node = identity(&again);
    node.save(folder.path()).unwrap();
    let loaded = TlsIdentity::load(folder.path()).unwrap();
    assert_eq!(loaded.fingerprint(), node.fingerprint());
    assert_eq!(loaded.organization(), &org("A"));
    assert!(TlsSettings::new(loaded, &roots(&[&a])).is_ok());
    let other = tempfile::tempdir().unwrap();
    authority("A").save(other.path()).unwrap();
    let key = "tls-ca.key.pem";
    std::fs::copy(other.path().join(key), folder.path().join(key)).unwrap();
    let mixed = TlsAuthority::load(folder.path()).unwrap_err();
    assert!(matches!(mixed, AuthorityError::KeyMismatch));
    std::fs::write(folder.path().join("tls.pem"), "").unwrap();
    assert!(matches!(
        TlsIdentity::load(folder.path()),
        Err(TlsError::Pem(_))
    ));
}

#[test]
fn names_are_checked_before_they_are_certified() {
    let a = authority("A");
    let refused = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        a.issue("node", &names, VALIDITY).map(drop).unwrap_err()
    };
    assert!(matches!(refused(&[]), AuthorityError::Names(0)));
    assert!(matches!(refused(&["a b"]), AuthorityError::Name(_)));
    assert!(matches!(refused(&["x"; 33]), AuthorityError::Names(33)));
}

#[tokio::test]
async fn a_probe_says_which_side_refuses_and_why() {
    let (a, b, twin) = (authority("A"), authority("B"), authority("A"));
    let trusted = [&a, &b];
    let with = |authority: &TlsAuthority, names: &[&str], validity: Validity| {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let identity = authority.issue("node", &names, validity).unwrap();
        TlsSettings::new(identity, &roots(&trusted)).unwrap()
    };
    let good = |authority: &TlsAuthority| with(authority, &["127.0.0.1"], VALIDITY);
    let try_to = async |server: &TlsSettings, client: &TlsSettings, organization: &str| {
        let incoming = listen(server).await;
        let address = address(&incoming);
        greet(incoming);
        probe(client, &address, &Expected::of(&org(organization))).await
    };

    let shown = try_to(&good(&a), &good(&b), "A").await.unwrap();
    assert_eq!(shown.organization, org("A"));
    assert_eq!(shown.not_after_ms, VALIDITY.not_after_ms);

    let node = async |server: &TlsSettings, organization: &str| match try_to(
        server,
        &good(&b),
        organization,
    )
    .await
    {
        Err(ProbeError::Node(refusal)) => refusal,
        other => panic!("{other:?}"),
    };
    let expired = with(&a, &["127.0.0.1"], PAST);
    assert_eq!(node(&expired, "A").await, Refusal::Expired);
    assert_eq!(node(&good(&twin), "A").await, Refusal::UnknownAuthority);
    let elsewhere = with(&a, &["node.example"], VALIDITY);
    assert_eq!(node(&elsewhere, "A").await, Refusal::OtherHost);
    assert_eq!(node(&good(&a), "B").await, Refusal::Unexpected);

    let own = async |client: &TlsSettings| match try_to(&good(&a), client, "A").await {
        Err(ProbeError::Own(refusal)) => refusal,
        other => panic!("{other:?}"),
    };
    assert_eq!(own(&expired).await, Refusal::Expired);
    assert_eq!(own(&good(&twin)).await, Refusal::UnknownAuthority);

    let nobody = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        Address::new(&listener.local_addr().unwrap().to_string()).unwrap()
    };
    let refused = probe(&good(&b), &nobody, &Expected::of(&org("A"))).await;
    assert!(
        matches!(refused, Err(ProbeError::Unreachable(_))),
        "{refused:?}"
    );
}

#[test]
fn an_own_certificate_is_judged_as_others_would() {
    let (a, twin) = (authority("A"), authority("A"));
    let now_ms = VALIDITY.not_before_ms + 1;
    let judge = |authority: &TlsAuthority, validity: Validity, at_ms: u64| {
        let names = ["127.0.0.1".to_owned()];
        let identity = authority.issue("node", &names, validity).unwrap();
        identity
            .judge(&roots(&[&a]), at_ms)
            .map(|shown| shown.not_after_ms)
    };
    assert_eq!(judge(&a, VALIDITY, now_ms), Ok(VALIDITY.not_after_ms));
    let late = PAST.not_after_ms + 1000;
    assert_eq!(judge(&a, PAST, late), Err(Refusal::Expired));
    assert_eq!(judge(&a, PAST, 1), Err(Refusal::NotYetValid));
    assert_eq!(
        judge(&twin, VALIDITY, now_ms),
        Err(Refusal::UnknownAuthority)
    );
}
