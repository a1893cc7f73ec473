//! Whose keys a record's key is wrapped for, and how a session opens its own wrap.

use std::collections::BTreeMap;

use rand::CryptoRng;
use stela_client::SideData;
use stela_consent::{Actor, Fingerprint, Hex, Id, Organization, Requester, Role};
use stela_healthcare::answer::{EncryptionKey, RecordVersion};
use stela_healthcare::request::{EncryptionKeys, SubmitRecord};
use stela_healthcare::{Cid as CidText, HeaderText, PublicKeyText};
use stela_protocol::{Hash32, OrgId};

use super::error::KeyError;
use super::session::Session;
use crate::format::{
    EncryptionKeyId, Header, Identifier, KeyCommitment, Wrap, WrapLabel, WrapList, WrapListError,
};
use crate::keys::{EncryptionKeyPair, EncryptionPublicKey, RecordKey};
use crate::wrap::{self, OpenError, SealError};

/// Somebody for whom a key is wrapped.
#[derive(Debug, Clone)]
pub(super) struct Recipient {
    pub(super) organization: OrgId,
    role: Role,
    name: Identifier,
    key: EncryptionPublicKey,
}

impl Recipient {
    pub(super) fn key_id(&self) -> EncryptionKeyId {
        self.key.key_id()
    }

    pub(super) fn key(&self) -> &EncryptionPublicKey {
        &self.key
    }

    /// The recipient as the evaluator of consents sees her.
    pub(super) fn requester(&self, fingerprint: Fingerprint) -> Requester<'_> {
        Requester {
            fingerprint,
            organization: self.organization.as_str(),
            role: self.role,
        }
    }
}

/// Recipients by certificate, so that nobody is listed twice.
pub(super) type Recipients = BTreeMap<Fingerprint, Recipient>;

/// A key as its owner published it.
pub(super) fn public_key(
    text: &PublicKeyText,
    owner: Fingerprint,
) -> Result<EncryptionPublicKey, KeyError> {
    let bytes = data_encoding::BASE64.decode(text.as_str().as_bytes());
    let bytes = bytes.map_err(|_| KeyError::Entry("an encryption key is not base64"))?;
    EncryptionPublicKey::decode(&bytes).map_err(|source| KeyError::PublishedKey {
        owner: owner.to_string(),
        source,
    })
}

fn recipient(published: &EncryptionKey) -> Result<Recipient, KeyError> {
    let key = public_key(&published.key, published.fingerprint)?;
    let organization = OrgId::new(published.organization.as_str())
        .map_err(|_| KeyError::Entry("an organization's name is not valid"))?;
    Ok(Recipient {
        organization,
        role: published.role,
        name: Identifier::new(published.fingerprint.to_string())?,
        key,
    })
}

fn by_nothing() -> EncryptionKeys {
    EncryptionKeys {
        fingerprint: None,
        organization: None,
        role: None,
        patient: None,
        limit: None,
        bookmark: None,
    }
}

impl Session {
    async fn find(&self, request: EncryptionKeys) -> Result<Recipients, KeyError> {
        let found = self.encryption_keys(request).await?;
        found
            .iter()
            .map(|key| Ok((key.fingerprint, recipient(key)?)))
            .collect()
    }

    /// Everybody with this role at an organization who published a key.
    pub(super) async fn with_role(
        &self,
        organization: &Organization,
        role: Role,
    ) -> Result<Recipients, KeyError> {
        let organization = Some(organization.clone());
        self.find(EncryptionKeys {
            organization,
            role: Some(role),
            ..by_nothing()
        })
        .await
    }

    /// The patient's keys.
    pub(super) async fn of_patient(&self, patient: Id) -> Result<Recipients, KeyError> {
        self.find(EncryptionKeys {
            patient: Some(patient),
            ..by_nothing()
        })
        .await
    }

    /// Everybody who published a key and whom one of the actors means.
    pub(super) async fn meant_by<'a>(
        &self,
        actors: impl IntoIterator<Item = &'a Actor>,
    ) -> Result<Recipients, KeyError> {
        let mut all = Recipients::new();
        for actor in actors {
            match actor {
                Actor::Identity(fingerprint) => {
                    let fingerprint = Some(*fingerprint);
                    all.extend(
                        self.find(EncryptionKeys {
                            fingerprint,
                            ..by_nothing()
                        })
                        .await?,
                    );
                }
                Actor::RoleAt(organization, role) => {
                    all.extend(self.with_role(organization, *role).await?);
                }
                Actor::Organization(organization) => {
                    for role in Role::ALL.iter().copied().filter(|role| role.is_workforce()) {
                        all.extend(self.with_role(organization, role).await?);
                    }
                }
                // Whom these mean is not known ahead: a role at any organization, and whoever
                // belongs to a study when she asks.
                Actor::Role(_) | Actor::Study(_) => {}
            }
        }
        Ok(all)
    }

    /// The label under which a version's key is wrapped, from what the ledger says of it.
    pub(super) fn label(&self, version: &RecordVersion) -> Result<WrapLabel, KeyError> {
        self.label_of(&LabelFacts {
            record: version.record,
            version: version.version,
            patient: version.patient,
            author: version.author,
            cid: cid_of(&version.cid)?,
            header: header_of(&version.header)?,
            commitment: KeyCommitment::from_bytes(version.commitment.0),
        })
    }

    /// The label of a version that this user is about to submit.
    pub(super) fn own_label(&self, request: &SubmitRecord) -> Result<WrapLabel, KeyError> {
        self.label_of(&LabelFacts {
            record: request.record,
            version: request.version,
            patient: request.patient,
            author: Hex(self.options.fingerprint.0),
            cid: cid_of(&request.cid)?,
            header: header_of(&request.header)?,
            commitment: KeyCommitment::from_bytes(request.commitment.0),
        })
    }

    fn label_of(&self, facts: &LabelFacts) -> Result<WrapLabel, KeyError> {
        Ok(WrapLabel {
            channel: Identifier::new(self.options.network.channel().as_str())?,
            record_id: Identifier::new(facts.record.to_string())?,
            version: u64::from(facts.version),
            patient_id: Identifier::new(facts.patient.to_string())?,
            author_id: Identifier::new(facts.author.to_string())?,
            header_hash: facts.header.hash(),
            key_commitment: facts.commitment,
            cid: facts.cid,
        })
    }

    /// The keys for which a version's key is wrapped in the lists that this user's organization has.
    pub(super) async fn served(
        &self,
        version: &RecordVersion,
    ) -> Result<Vec<EncryptionKeyId>, KeyError> {
        let lists = self.options.network.side(&commitments(version)).await?;
        let lists = lists.values().flat_map(|payload| WrapList::decode(payload));
        let ids = |list: WrapList| -> Vec<EncryptionKeyId> {
            list.wraps().iter().map(|wrap| wrap.key_id).collect()
        };
        Ok(lists.flat_map(ids).collect())
    }

    /// Opens the key of a version with one of the session's own key pairs.
    pub(super) async fn open_key(&self, version: &RecordVersion) -> Result<RecordKey, KeyError> {
        let commitments = commitments(version);
        let lists = self.options.network.side(&commitments).await?;
        let label = self.label(version)?;
        let payloads = lists.values().map(|payload| &payload[..]);
        let missing = commitments.len() - lists.len();
        open_own(payloads, &label, self.pairs())
            .map_err(|refused| refused.map_or(KeyError::NotShared { missing }, KeyError::Open))
    }
}

fn commitments(version: &RecordVersion) -> Vec<Hash32> {
    version.wraps.iter().map(|hash| Hash32(hash.0)).collect()
}

/// Opens the wrap that is for one of these key pairs in one of these lists. The error is why a wrap
/// that is for one does not open; `None` if there is none.
pub(super) fn open_own<'a>(
    lists: impl IntoIterator<Item = &'a [u8]>,
    label: &WrapLabel,
    pairs: impl Iterator<Item = &'a EncryptionKeyPair> + Clone,
) -> Result<RecordKey, Option<OpenError>> {
    let mut refused = None;
    for payload in lists {
        // A list that somebody else spoiled does not keep the others from being looked at.
        let Ok(list) = WrapList::decode(payload) else {
            continue;
        };
        for pair in pairs.clone() {
            for wrap in list.for_key(pair.public().key_id()) {
                match wrap::open(wrap, label, pair) {
                    Ok(key) => return Ok(key),
                    Err(error) => refused = Some(error),
                }
            }
        }
    }
    Err(refused)
}

/// Seals a key to the one who made it, so that it can be kept on her machine.
pub(super) fn seal_own(
    key: &RecordKey,
    label: &WrapLabel,
    pair: &EncryptionKeyPair,
) -> Result<Vec<u8>, WrapError> {
    let own = wrap::seal(
        key,
        label,
        &label.author_id,
        pair.public(),
        &mut rand::rng(),
    )?;
    Ok(WrapList::new(vec![own])?.encode())
}

/// What a label is made of.
struct LabelFacts {
    record: Id,
    version: u32,
    patient: Id,
    author: Fingerprint,
    cid: cid::Cid,
    header: Header,
    commitment: KeyCommitment,
}

/// The public header of a version.
pub(super) fn header_of(text: &HeaderText) -> Result<Header, KeyError> {
    let bytes = data_encoding::HEXLOWER
        .decode(text.as_str().as_bytes())
        .map_err(|_| KeyError::Entry("the header is not hexadecimal"))?;
    Ok(Header::decode(&bytes)?)
}

/// Where a version's ciphertext is.
pub(super) fn cid_of(text: &CidText) -> Result<cid::Cid, KeyError> {
    let parsed = text.as_str().parse();
    parsed.map_err(|_| KeyError::Entry("the CID is not valid"))
}

/// Wraps a key for each recipient: the side data that travels beside the transaction, to the
/// organizations of the recipients and to `home`, the organization of whoever wraps.
pub(super) fn wrap_for(
    key: &RecordKey,
    label: &WrapLabel,
    recipients: &Recipients,
    home: &OrgId,
    rng: &mut impl CryptoRng,
) -> Result<SideData, WrapError> {
    let wraps: Vec<Wrap> = recipients
        .values()
        .map(|to| wrap::seal(key, label, &to.name, &to.key, rng))
        .collect::<Result<_, _>>()?;
    let payload = WrapList::new(wraps)?.encode().into();
    let mut organizations: Vec<OrgId> = recipients
        .values()
        .map(|to| to.organization.clone())
        .chain([home.clone()])
        .collect();
    organizations.sort();
    organizations.dedup();
    Ok(SideData {
        organizations,
        payload,
    })
}

/// A list of wraps was not made.
pub(super) enum WrapError {
    Seal(SealError),
    List(WrapListError),
}

impl From<SealError> for WrapError {
    fn from(error: SealError) -> Self {
        Self::Seal(error)
    }
}

impl From<WrapListError> for WrapError {
    fn from(error: WrapListError) -> Self {
        Self::List(error)
    }
}

impl From<WrapError> for super::SubmitError {
    fn from(error: WrapError) -> Self {
        match error {
            WrapError::Seal(error) => Self::Seal(error),
            WrapError::List(error) => Self::Wraps(error),
        }
    }
}

impl From<WrapError> for super::ShareError {
    fn from(error: WrapError) -> Self {
        match error {
            WrapError::Seal(error) => Self::Seal(error),
            WrapError::List(error) => Self::Wraps(error),
        }
    }
}
