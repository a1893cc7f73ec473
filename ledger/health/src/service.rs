//! The service that members call.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use stela_identity::tls::PeerTls;
use stela_protocol::config::ChannelConfig;
use stela_protocol::pb::health_server::{Health, HealthServer};
use stela_protocol::{ChannelId, ErrorCode, OrgId, RpcError, pb};
use tonic::{Request, Response, Status};

use crate::disk;
use crate::limits::{DISK_TIMEOUT, REQUEST_BYTES_MAX};

/// What about a node does not change while it runs.
#[derive(Debug, Clone)]
pub struct Profile {
    /// Its organization.
    pub organization: OrgId,
    /// Its name there.
    pub name: String,
    /// `peer`, `orderer` or `storage`.
    pub kind: &'static str,
    /// The certificate (DER) under which it signs.
    pub certificate: Bytes,
    /// The folder with everything that it keeps.
    pub data: PathBuf,
}

/// A channel that the node has joined, as it is now.
pub struct Joined {
    /// The configuration in force.
    pub config: ChannelConfig,
    /// The same as it travelled.
    pub config_bytes: Bytes,
    /// What is said about the channel; number and bytes of the configuration are filled in here.
    pub health: pb::ChannelHealth,
}

/// A node that says how it is.
pub trait Node: Send + Sync + 'static {
    /// Who it is.
    fn profile(&self) -> Profile;

    /// Its clock, in milliseconds since the Unix epoch.
    fn now_ms(&self) -> u64;

    /// A channel, if it has joined it.
    fn joined(&self, channel: &ChannelId) -> impl Future<Output = Option<Joined>> + Send;
}

/// The service of a node.
pub fn service<N: Node>(node: Arc<N>) -> HealthServer<impl Health> {
    HealthServer::new(HealthService(node)).max_decoding_message_size(REQUEST_BYTES_MAX)
}

struct HealthService<N>(Arc<N>);

#[tonic::async_trait]
impl<N: Node> Health for HealthService<N> {
    async fn check(
        &self,
        request: Request<pb::HealthRequest>,
    ) -> Result<Response<pb::HealthResponse>, Status> {
        let profile = self.0.profile();
        let origin = format!("{}/{}", profile.organization, profile.name);
        let answer = self.check(profile, &request).await;
        answer
            .map(Response::new)
            .map_err(|error| error.from_origin(&origin).into())
    }
}

impl<N: Node> HealthService<N> {
    async fn check(
        &self,
        profile: Profile,
        request: &Request<pb::HealthRequest>,
    ) -> Result<pb::HealthResponse, RpcError> {
        let channel = ChannelId::new(&request.get_ref().channel)
            .map_err(|error| RpcError::new(ErrorCode::Malformed, error.to_string()))?;
        let joined = self.0.joined(&channel).await;
        let caller = request.extensions().get::<PeerTls>();
        check_caller(&profile, &channel, joined.as_ref(), caller)?;
        let free = free_bytes(profile.data.clone()).await;
        let with_config = request.get_ref().with_config;
        Ok(pb::HealthResponse {
            organization: profile.organization.to_string(),
            name: profile.name,
            kind: profile.kind.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            certificate: profile.certificate,
            disk_known: free.is_some(),
            disk_free_mib: free.map_or(0, disk::coarse_mib),
            channel: joined.map(|joined| pb::ChannelHealth {
                sequence: joined.config.sequence,
                config: match with_config {
                    true => joined.config_bytes,
                    false => Bytes::new(),
                },
                ..joined.health
            }),
            // Last, so that it is as near to the answer as can be.
            time_ms: self.0.now_ms(),
        })
    }
}

/// Members of the channel are answered; before it is joined, the node's own organization.
fn check_caller(
    profile: &Profile,
    channel: &ChannelId,
    joined: Option<&Joined>,
    caller: Option<&PeerTls>,
) -> Result<(), RpcError> {
    let forbidden = |why: String| Err(RpcError::new(ErrorCode::Forbidden, why));
    let Some(caller) = caller else {
        return forbidden("the connection shows no TLS certificate".to_owned());
    };
    let organization = &caller.organization;
    match joined.map(|joined| joined.config.organizations.get(organization)) {
        Some(Some(member)) if !member.revoked.contains(&caller.fingerprint) => Ok(()),
        None if *organization == profile.organization => Ok(()),
        None => forbidden(format!(
            "channel {channel} is not joined here; until then only {} is answered",
            profile.organization
        )),
        Some(_) => forbidden(format!(
            "{organization} is not a member of channel {channel}"
        )),
    }
}

/// A file system that hangs must not hold up the answer.
async fn free_bytes(data: PathBuf) -> Option<u64> {
    let asked = tokio::task::spawn_blocking(move || disk::free_bytes(&data));
    match tokio::time::timeout(DISK_TIMEOUT, asked).await {
        Ok(Ok(Ok(free))) => Some(free),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::{BTreeMap, BTreeSet};
    use stela_protocol::Fingerprint;
    use stela_protocol::config::{ChannelLimits, Organization};
    use stela_protocol::policy::Policy;

    fn org(name: &str) -> OrgId {
        OrgId::new(name).unwrap()
    }

    fn channel() -> ChannelId {
        ChannelId::new("care").unwrap()
    }

    fn config(members: &[&str], revoked: Fingerprint) -> ChannelConfig {
        let member = |name: &&str| {
            let organization = Organization {
                id: org(name),
                root_certificate: Bytes::new(),
                tls_root_certificates: Vec::new(),
                peers: Vec::new(),
                storage: Vec::new(),
                revoked: BTreeSet::from([revoked]),
                roles: BTreeSet::new(),
            };
            (org(name), organization)
        };
        ChannelConfig {
            channel: channel(),
            sequence: 4,
            organizations: members.iter().map(member).collect(),
            orderers: BTreeMap::new(),
            orderer_quorum: 0,
            limits: ChannelLimits {
                window_ms: 0,
                block_transactions_max: 0,
                block_bytes_max: 0,
                envelope_bytes_max: 0,
            },
            contracts: BTreeMap::new(),
            admin_policy: Policy::parse("'A.admin'").unwrap(),
            certificates: Vec::new(),
            custodians: BTreeSet::new(),
            custodian_threshold: 0,
            orderers_ever: 0,
        }
    }

    /// A node of organization A.
    struct Fake(Option<(ChannelConfig, tempfile::TempDir)>);

    impl Node for Fake {
        fn profile(&self) -> Profile {
            let folder = self.0.as_ref().map(|(_, folder)| folder.path());
            Profile {
                organization: org("A"),
                name: "peer0".to_owned(),
                kind: "peer",
                certificate: Bytes::from_static(b"certificate"),
                data: folder.map_or_else(|| "/nowhere/at/all".into(), Into::into),
            }
        }

        fn now_ms(&self) -> u64 {
            77
        }

        async fn joined(&self, _: &ChannelId) -> Option<Joined> {
            let (config, _) = self.0.as_ref()?;
            Some(Joined {
                config: config.clone(),
                config_bytes: Bytes::from_static(b"config"),
                health: pb::ChannelHealth {
                    height: 9,
                    ..Default::default()
                },
            })
        }
    }

    async fn ask(
        node: &Arc<Fake>,
        organization: Option<&str>,
        certificate: u8,
    ) -> Result<pb::HealthResponse, RpcError> {
        let mut request = Request::new(pb::HealthRequest {
            channel: channel().to_string(),
            with_config: certificate == 1,
        });
        if let Some(organization) = organization {
            request.extensions_mut().insert(PeerTls {
                organization: org(organization),
                fingerprint: Fingerprint([certificate; 32]),
                address: "127.0.0.1:1".parse().unwrap(),
            });
        }
        let service = HealthService(node.clone());
        let answer = Health::check(&service, request).await;
        answer.map(Response::into_inner).map_err(RpcError::from)
    }

    #[tokio::test]
    async fn members_are_answered_and_strangers_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let config = config(&["A", "B"], Fingerprint([9; 32]));
        let node = Arc::new(Fake(Some((config, folder))));
        let answer = ask(&node, Some("B"), 1).await.unwrap();
        let seen = answer.channel.unwrap();
        assert_eq!((answer.time_ms, seen.height, seen.sequence), (77, 9, 4));
        assert_eq!(seen.config, "config");
        assert!(answer.disk_known && answer.disk_free_mib.is_power_of_two());
        let brief = ask(&node, Some("A"), 2).await.unwrap();
        assert!(brief.channel.unwrap().config.is_empty());
        for (organization, certificate) in [(Some("C"), 1), (Some("B"), 9), (None, 1)] {
            let refused = ask(&node, organization, certificate).await.unwrap_err();
            assert_eq!(refused.code, ErrorCode::Forbidden, "{organization:?}");
            assert_eq!(refused.origin, "A/peer0");
        }
    }

    #[tokio::test]
    async fn before_a_channel_is_joined_the_own_organization_is_answered() {
        let node = Arc::new(Fake(None));
        let answer = ask(&node, Some("A"), 1).await.unwrap();
        assert!(answer.channel.is_none() && !answer.disk_known);
        let refused = ask(&node, Some("B"), 1).await.unwrap_err();
        assert_eq!(refused.code, ErrorCode::Forbidden);
    }
}
