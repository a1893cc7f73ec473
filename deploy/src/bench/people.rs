//! Who makes the calls: identities issued under the authorities of the network's organizations, each
//! with a gateway and so with connections of its own.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::Context;
use stela_client::{Contract, Endpoint, Gateway, GatewayOptions, Health, Sources, Timeouts};
use stela_consent::{Id, Role};
use stela_identity::tls::TlsSettings;
use stela_identity::{CertificateAuthority, Subject, Validity};
use stela_protocol::{ChannelId, ContractName, OrgId};

use crate::limits::{CLOCK_SKEW_MS, VALIDITY_MS};
use crate::materials::user_folder;
use crate::network::{Network, administrator, tls_settings};
use crate::process::now_ms;
use crate::topology::{CHANNEL, CONTRACT, Kind};

/// Somebody who makes calls.
pub(crate) struct Person {
    /// The contract, through the peer of her own organization, and others when that fails.
    pub(crate) contract: Contract,
}

/// Issues identities.
pub(crate) struct Registrar {
    channel: ChannelId,
    contract: ContractName,
    organizations: Vec<Organization>,
    endpoints: Vec<Endpoint>,
    validity: Validity,
}

struct Organization {
    id: OrgId,
    authority: CertificateAuthority,
    /// All its people come over connections under one TLS certificate.
    tls: TlsSettings,
}

impl Registrar {
    /// Takes the authorities from the network's folder, for people who call the healthcare contract of
    /// the network's first channel.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub(crate) fn open(network: &Network) -> anyhow::Result<Self> {
        Self::at(network, CHANNEL, CONTRACT)
    }

    /// The same for people who call a contract of a channel.
    ///
    /// # Errors
    /// When a file cannot be read, or there are no such names.
    pub(crate) fn at(network: &Network, channel: &str, contract: &str) -> anyhow::Result<Self> {
        let (folder, topology) = (network.folder(), network.topology());
        let organization = |name: &str| {
            let administrator = user_folder(folder, &administrator(name)?);
            anyhow::Ok(Organization {
                id: OrgId::new(name)?,
                authority: CertificateAuthority::load(&folder.join(name).join("ca"))?,
                tls: tls_settings(folder, &administrator.join("tls"))?,
            })
        };
        let endpoints = topology.of(Kind::Peer).map(|node| {
            anyhow::Ok(Endpoint {
                organization: OrgId::new(&node.organization)?,
                address: node.service.public.to_string(),
            })
        });
        let now_ms = now_ms();
        Ok(Self {
            channel: ChannelId::new(channel)?,
            contract: ContractName::new(contract)?,
            organizations: topology
                .organizations()
                .into_iter()
                .map(organization)
                .collect::<Result<_, _>>()?,
            endpoints: endpoints.collect::<Result<_, _>>()?,
            validity: Validity {
                not_before_ms: now_ms.saturating_sub(CLOCK_SKEW_MS),
                not_after_ms: now_ms + VALIDITY_MS,
            },
        })
    }

    /// The organizations, in the order of their names.
    pub(crate) fn organizations(&self) -> impl Iterator<Item = &OrgId> {
        self.organizations
            .iter()
            .map(|organization| &organization.id)
    }

    fn organization(&self, place: usize) -> &Organization {
        &self.organizations[place % self.organizations.len()]
    }

    /// Somebody of the organization at this place, counted in a circle.
    ///
    /// # Errors
    /// When a certificate cannot be issued.
    pub(crate) fn person(&self, place: usize, role: Role) -> anyhow::Result<Person> {
        self.issue(place, role, BTreeMap::new(), &self.own_first(place))
    }

    /// A patient there.
    ///
    /// # Errors
    /// As [`person`](Self::person).
    pub(crate) fn patient(&self, place: usize, id: Id) -> anyhow::Result<Person> {
        let attributes = BTreeMap::from([("patient".to_owned(), id.to_string())]);
        self.issue(place, Role::Patient, attributes, &self.own_first(place))
    }

    /// One records officer, once for each peer, of which alone she asks.
    ///
    /// # Errors
    /// As [`person`](Self::person).
    pub(crate) fn auditor(&self) -> anyhow::Result<Vec<Person>> {
        let first = &self.organizations[0];
        let credentials = Arc::new(first.authority.issue(&Subject {
            common_name: "auditor".to_owned(),
            role: Role::RecordsOfficer.code().to_owned(),
            attributes: BTreeMap::new(),
            validity: self.validity,
        })?);
        let endpoints = self.endpoints.iter();
        let asks = |endpoint: &Endpoint| {
            let options = GatewayOptions::new(
                vec![endpoint.clone()],
                first.tls.clone(),
                credentials.clone(),
            );
            self.connect(options)
        };
        endpoints.map(asks).collect()
    }

    /// Asks how the peer at this place is.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn health(&self, place: usize) -> anyhow::Result<Health> {
        let endpoint = self.endpoints.get(place).context("no such peer")?;
        let tls = &self.organizations[0].tls;
        let (timeouts, sources) = (Timeouts::default(), Sources::default());
        Ok(Health::connect(endpoint, tls, timeouts, sources)?)
    }

    fn issue(
        &self,
        place: usize,
        role: Role,
        attributes: BTreeMap<String, String>,
        endpoints: &[Endpoint],
    ) -> anyhow::Result<Person> {
        let organization = self.organization(place);
        let credentials = organization.authority.issue(&Subject {
            common_name: format!("{}-{place}", role.code()),
            role: role.code().to_owned(),
            attributes,
            validity: self.validity,
        });
        let credentials = credentials.context("a certificate could not be issued")?;
        let tls = organization.tls.clone();
        let options = GatewayOptions::new(endpoints.to_vec(), tls, Arc::new(credentials));
        self.connect(options)
    }

    fn connect(&self, options: GatewayOptions) -> anyhow::Result<Person> {
        let network = Gateway::connect(options)?.network(self.channel.clone());
        Ok(Person {
            contract: network.contract(self.contract.clone()),
        })
    }

    fn own_first(&self, place: usize) -> Vec<Endpoint> {
        let own = &self.organization(place).id;
        let mut endpoints = self.endpoints.clone();
        endpoints.sort_by_key(|endpoint| endpoint.organization != *own);
        endpoints
    }
}
