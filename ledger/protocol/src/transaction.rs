//! Proposals, transactions and envelopes, parsed. Every limit of [`crate::limits`] is checked here,
//! once; what remains is to verify the signatures over the bytes that are kept beside each part.

use bytes::Bytes;
use prost::Message;

use crate::config_update::ConfigUpdate;
use crate::ids::{
    ChannelId, ContractName, Fingerprint, Hash32, Height, IdError, Nonce, OrgId, TransactionId,
};
use crate::limits;
use crate::validation::ValidationCode;
use crate::{FORMAT_VERSION, hash, key, pb};

/// Why an envelope or a part of it was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    /// The bytes cannot be decoded.
    #[error("the {part} cannot be decoded: {why}")]
    Undecodable {
        /// Which part.
        part: &'static str,
        /// The decoder's words.
        why: String,
    },
    /// Something that must be there is absent.
    #[error("the {0} is missing")]
    Missing(&'static str),
    /// Written by another version of the format.
    #[error("format version {0} is not known here")]
    Version(u32),
    /// A name, hash or number is not valid.
    #[error(transparent)]
    Id(#[from] IdError),
    /// A limit is exceeded.
    #[error("the {part} exceeds {limit}")]
    TooLarge {
        /// Which part.
        part: &'static str,
        /// The name of the limit.
        limit: &'static str,
    },
    /// The parts of the result contradict each other or the proposal.
    #[error("the result is not well formed: {0}")]
    Result(&'static str),
    /// The parts of a change of the configuration contradict each other.
    #[error("the change of the configuration is not well formed: {0}")]
    Config(&'static str),
}

impl TransactionError {
    /// The verdict on a transaction that was refused for this.
    pub fn code(&self) -> ValidationCode {
        match self {
            Self::Undecodable {
                part: "envelope", ..
            } => ValidationCode::NilEnvelope,
            Self::Undecodable { .. } | Self::Missing(_) | Self::TooLarge { .. } => {
                ValidationCode::BadPayload
            }
            Self::Version(_) | Self::Id(_) => ValidationCode::BadCommonHeader,
            Self::Result(_) => ValidationCode::BadRwset,
            Self::Config(_) => ValidationCode::InvalidConfigTransaction,
        }
    }
}

pub(crate) fn decode<M: Message + Default>(
    part: &'static str,
    bytes: Bytes,
) -> Result<M, TransactionError> {
    M::decode(bytes).map_err(|why| TransactionError::Undecodable {
        part,
        why: why.to_string(),
    })
}

pub(crate) fn limit(
    part: &'static str,
    limit: &'static str,
    actual: usize,
    max: usize,
) -> Result<(), TransactionError> {
    if actual > max {
        return Err(TransactionError::TooLarge { part, limit });
    }
    Ok(())
}

pub(crate) fn version(version: u32) -> Result<(), TransactionError> {
    if version != FORMAT_VERSION {
        return Err(TransactionError::Version(version));
    }
    Ok(())
}

/// Bytes and the Ed25519 signature over them (in a domain that depends on what they are).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    /// The bytes.
    pub bytes: Bytes,
    /// The signature.
    pub signature: [u8; limits::SIGNATURE_BYTES],
}

impl Signed {
    /// Takes a signature of the right length.
    ///
    /// # Errors
    /// [`TransactionError::Missing`] when it has another length.
    pub fn new(bytes: Bytes, signature: &[u8]) -> Result<Self, TransactionError> {
        let signature = signature
            .try_into()
            .map_err(|_| TransactionError::Missing("64-byte signature"))?;
        Ok(Self { bytes, signature })
    }
}

impl TryFrom<pb::SignedBytes> for Signed {
    type Error = TransactionError;

    fn try_from(signed: pb::SignedBytes) -> Result<Self, TransactionError> {
        Self::new(signed.payload, &signed.signature)
    }
}

impl From<Signed> for pb::SignedBytes {
    fn from(signed: Signed) -> Self {
        Self {
            payload: signed.bytes,
            signature: Bytes::copy_from_slice(&signed.signature),
        }
    }
}

/// What every transaction starts with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionHeader {
    /// The channel.
    pub channel: ChannelId,
    /// What makes the id unique.
    pub nonce: Nonce,
    /// The certificate of whoever made it.
    pub creator: Fingerprint,
    /// By the creator's clock, in milliseconds since the Unix epoch.
    pub timestamp_ms: u64,
}

impl TransactionHeader {
    pub(crate) fn parse(
        channel: &str,
        nonce: &[u8],
        creator: &[u8],
        ms: u64,
    ) -> Result<Self, IdError> {
        Ok(Self {
            channel: ChannelId::new(channel)?,
            nonce: Nonce::from_slice(nonce)?,
            creator: Fingerprint::from_slice(creator)?,
            timestamp_ms: ms,
        })
    }

    /// The transaction's id.
    pub fn id(&self) -> TransactionId {
        hash::transaction_id(&self.nonce, &self.creator)
    }

    /// Whether the timestamp lies within `window_ms` of `time_ms`, either way.
    pub fn is_within(&self, time_ms: u64, window_ms: u64) -> bool {
        self.timestamp_ms.abs_diff(time_ms) <= window_ms
    }
}

/// A commitment to side data, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SideCommitment {
    /// The hash of salt and payload.
    pub commitment: Hash32,
    /// Whose peers keep the data.
    pub organizations: Vec<OrgId>,
}

/// A parsed proposal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proposal {
    /// Channel, nonce, creator, time.
    pub header: TransactionHeader,
    /// The contract that is called.
    pub contract: ContractName,
    /// The function in it.
    pub function: String,
    /// Its arguments.
    pub arguments: Vec<Bytes>,
    /// Side data that travels beside.
    pub side: Vec<SideCommitment>,
}

impl Proposal {
    /// The bytes that the creator signs.
    pub fn encode(&self) -> Bytes {
        let side = self.side.iter().map(|side| pb::SideCommitment {
            commitment: side.commitment.to_bytes(),
            organizations: side.organizations.iter().map(OrgId::to_string).collect(),
        });
        pb::Proposal {
            version: FORMAT_VERSION,
            channel: self.header.channel.to_string(),
            nonce: self.header.nonce.to_bytes(),
            creator: self.header.creator.to_bytes(),
            timestamp_ms: self.header.timestamp_ms,
            contract: self.contract.to_string(),
            function: self.function.clone(),
            arguments: self.arguments.clone(),
            side: side.collect(),
        }
        .encode_to_vec()
        .into()
    }

    /// Parses a proposal.
    ///
    /// # Errors
    /// [`TransactionError`] says what is wrong.
    pub fn decode(bytes: Bytes) -> Result<Self, TransactionError> {
        limit(
            "proposal",
            "ENVELOPE_BYTES_MAX",
            bytes.len(),
            limits::ENVELOPE_BYTES_MAX,
        )?;
        let proposal: pb::Proposal = decode("proposal", bytes)?;
        version(proposal.version)?;
        let argument_bytes = proposal.arguments.iter().map(Bytes::len).sum();
        limit(
            "function name",
            "NAME_BYTES_MAX",
            proposal.function.len(),
            limits::NAME_BYTES_MAX,
        )?;
        limit(
            "arguments",
            "ARGUMENTS_MAX",
            proposal.arguments.len(),
            limits::ARGUMENTS_MAX,
        )?;
        limit(
            "arguments",
            "ARGUMENT_BYTES_MAX",
            argument_bytes,
            limits::ARGUMENT_BYTES_MAX,
        )?;
        limit(
            "side data",
            "SIDE_ITEMS_MAX",
            proposal.side.len(),
            limits::SIDE_ITEMS_MAX,
        )?;
        if proposal.function.is_empty() {
            return Err(TransactionError::Missing("function name"));
        }
        Ok(Self {
            header: TransactionHeader::parse(
                &proposal.channel,
                &proposal.nonce,
                &proposal.creator,
                proposal.timestamp_ms,
            )?,
            contract: ContractName::new(&proposal.contract)?,
            function: proposal.function,
            arguments: proposal.arguments,
            side: proposal
                .side
                .iter()
                .map(side_commitment)
                .collect::<Result<_, _>>()?,
        })
    }
}

fn side_commitment(side: &pb::SideCommitment) -> Result<SideCommitment, TransactionError> {
    let listed = side.organizations.len();
    limit(
        "side data",
        "ORGANIZATIONS_MAX",
        listed,
        limits::ORGANIZATIONS_MAX,
    )?;
    let organizations: Result<_, _> = side.organizations.iter().map(|o| OrgId::new(o)).collect();
    Ok(SideCommitment {
        commitment: Hash32::from_slice(&side.commitment)?,
        organizations: organizations?,
    })
}

/// Checks that `items` are what `commitments` promise, in their order.
///
/// # Errors
/// [`TransactionError`] says which rule is broken.
pub fn check_side_items(
    commitments: &[SideCommitment],
    items: &[pb::SideItem],
) -> Result<(), TransactionError> {
    let bytes = items.iter().map(|item| item.payload.len()).sum();
    limit("side data", "SIDE_BYTES_MAX", bytes, limits::SIDE_BYTES_MAX)?;
    if commitments.len() != items.len() {
        return Err(TransactionError::Missing("side item for every commitment"));
    }
    let kept = commitments.iter().zip(items).all(|(promised, item)| {
        item.salt.len() == limits::SALT_BYTES
            && hash::side_commitment(&item.salt, &item.payload) == promised.commitment
    });
    if !kept {
        return Err(TransactionError::Result(
            "a side item is not what its commitment promises",
        ));
    }
    Ok(())
}

/// What a transaction does to one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The key.
    pub key: Bytes,
    /// The new value, or nothing when the key is deleted.
    pub value: Option<Bytes>,
}

/// What a transaction saw in a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeRead {
    /// The first key that could be in it.
    pub start: Bytes,
    /// The first key behind it.
    pub end: Bytes,
    /// The hash of the keys and heights found ([`hash::range_results`]).
    pub results_hash: Hash32,
}

/// A parsed result: what every endorser must have found alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransactionResult {
    /// The package that was run, with the channel's settings for it
    /// ([`hash::package_with_settings`]).
    pub package_hash: Hash32,
    /// What the function answered.
    pub response: Bytes,
    /// Keys that were read and the height each had, strictly ascending.
    pub reads: Vec<(Bytes, Option<Height>)>,
    /// Ranges that were read, in the order of the calls.
    pub ranges: Vec<RangeRead>,
    /// Keys that are written, strictly ascending; values that stand in the arguments are filled in.
    pub writes: Vec<Write>,
    /// Events, in order.
    pub events: Vec<pb::ContractEvent>,
    /// It is valid only in a block whose time is before this.
    pub expires_at_ms: Option<u64>,
}

impl TransactionResult {
    /// Parses a result; `arguments` are those of its proposal.
    ///
    /// # Errors
    /// [`TransactionError`] says what is wrong.
    pub fn decode(bytes: Bytes, arguments: &[Bytes]) -> Result<Self, TransactionError> {
        limit(
            "result",
            "ENVELOPE_BYTES_MAX",
            bytes.len(),
            limits::ENVELOPE_BYTES_MAX,
        )?;
        let result: pb::Result = decode("result", bytes)?;
        version(result.version)?;
        let entries = result
            .reads
            .len()
            .max(result.ranges.len())
            .max(result.writes.len());
        limit(
            "read-write set",
            "RWSET_ENTRIES_MAX",
            entries,
            limits::RWSET_ENTRIES_MAX,
        )?;
        limit(
            "ranges",
            "RANGES_MAX",
            result.ranges.len(),
            limits::RANGES_MAX,
        )?;
        check_events(&result.events)?;
        let reads: Vec<_> = result
            .reads
            .into_iter()
            .map(|r| (r.key, r.height.map(Into::into)))
            .collect();
        let writes = result
            .writes
            .into_iter()
            .map(|write| parse_write(write, arguments, &reads))
            .collect::<Result<Vec<_>, _>>()?;
        let size = |write: &Write| write.key.len() + write.value.as_ref().map_or(0, Bytes::len);
        let written = writes.iter().map(size).sum();
        limit(
            "writes",
            "WRITE_BYTES_MAX",
            written,
            limits::WRITE_BYTES_MAX,
        )?;
        check_keys(reads.iter().map(|(key, _)| key))?;
        check_keys(writes.iter().map(|write| &write.key))?;
        Ok(Self {
            package_hash: Hash32::from_slice(&result.package_hash)?,
            response: result.response.unwrap_or_default().payload,
            reads,
            ranges: result
                .ranges
                .into_iter()
                .map(parse_range)
                .collect::<Result<_, _>>()?,
            writes,
            events: result.events,
            expires_at_ms: result.expires_at_ms,
        })
    }
}

fn check_events(events: &[pb::ContractEvent]) -> Result<(), TransactionError> {
    limit("events", "EVENTS_MAX", events.len(), limits::EVENTS_MAX)?;
    for event in events {
        limit(
            "event",
            "EVENT_NAME_BYTES_MAX",
            event.name.len(),
            limits::EVENT_NAME_BYTES_MAX,
        )?;
        limit(
            "event",
            "EVENT_BYTES_MAX",
            event.payload.len(),
            limits::EVENT_BYTES_MAX,
        )?;
    }
    Ok(())
}

fn parse_write(
    write: pb::Write,
    arguments: &[Bytes],
    reads: &[(Bytes, Option<Height>)],
) -> Result<Write, TransactionError> {
    use pb::write::Change;
    let key = match (write.key.is_empty(), (write.read as usize).checked_sub(1)) {
        (false, None) => write.key,
        (true, Some(index)) => {
            let read = reads.get(index);
            read.ok_or(TransactionError::Result("a write names no read"))?
                .0
                .clone()
        }
        _ => {
            return Err(TransactionError::Result(
                "a write names its key twice or not at all",
            ));
        }
    };
    let value = match write.change {
        Some(Change::Value(value)) => Some(value),
        Some(Change::Argument(index)) => {
            let argument = arguments.get(index as usize);
            Some(
                argument
                    .ok_or(TransactionError::Result("a write names no argument"))?
                    .clone(),
            )
        }
        Some(Change::Delete(true)) => None,
        Some(Change::Delete(false)) | None => {
            return Err(TransactionError::Result(
                "a write says neither value nor deletion",
            ));
        }
    };
    let bytes = value.as_ref().map_or(0, Bytes::len);
    limit("value", "VALUE_BYTES_MAX", bytes, limits::VALUE_BYTES_MAX)?;
    Ok(Write { key, value })
}

fn parse_range(range: pb::RangeRead) -> Result<RangeRead, TransactionError> {
    if range.start >= range.end {
        return Err(TransactionError::Result("a range is empty"));
    }
    // The end of a page lies right behind its last key, one byte longer.
    let longest = range.start.len().max(range.end.len());
    limit(
        "range bound",
        "KEY_BYTES_MAX",
        longest,
        limits::KEY_BYTES_MAX + 1,
    )?;
    let results_hash = Hash32::from_slice(&range.results_hash)?;
    Ok(RangeRead {
        start: range.start,
        end: range.end,
        results_hash,
    })
}

fn check_keys<'a>(keys: impl Iterator<Item = &'a Bytes>) -> Result<(), TransactionError> {
    let mut last: Option<&Bytes> = None;
    for current in keys {
        key::check(current).map_err(|_| TransactionError::Result("a key is too long or empty"))?;
        if last.is_some_and(|last| last >= current) {
            return Err(TransactionError::Result("keys are not strictly ascending"));
        }
        last = Some(current);
    }
    Ok(())
}

/// One endorser's signature, parsed; to be verified over [`hash::endorsement_message`] in
/// [`hash::domain::ENDORSEMENT`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endorsement {
    /// The endorsing peer's certificate.
    pub endorser: Fingerprint,
    /// The signature.
    pub signature: [u8; limits::SIGNATURE_BYTES],
}

impl TryFrom<&pb::Endorsement> for Endorsement {
    type Error = TransactionError;

    fn try_from(endorsement: &pb::Endorsement) -> Result<Self, TransactionError> {
        let signature = endorsement.signature.as_ref().try_into();
        Ok(Self {
            endorser: Fingerprint::from_slice(&endorsement.endorser)?,
            signature: signature.map_err(|_| TransactionError::Missing("64-byte signature"))?,
        })
    }
}

/// A call of a contract with its endorsements, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    /// The proposal as the endorsers saw it.
    pub proposal_bytes: Bytes,
    /// The same, parsed.
    pub proposal: Proposal,
    /// The result as the endorsers signed it.
    pub result_bytes: Bytes,
    /// The same, parsed.
    pub result: TransactionResult,
    /// The endorsements.
    pub endorsements: Vec<Endorsement>,
}

/// A certificate's registration, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// Channel, nonce, creator, time.
    pub header: TransactionHeader,
    /// The certificate, DER; its fingerprint is the creator.
    pub certificate: Bytes,
}

impl Registration {
    /// The bytes that go into an envelope's payload.
    pub fn encode(&self) -> Bytes {
        pb::Registration {
            version: FORMAT_VERSION,
            channel: self.header.channel.to_string(),
            nonce: self.header.nonce.to_bytes(),
            creator: self.header.creator.to_bytes(),
            timestamp_ms: self.header.timestamp_ms,
            certificate: self.certificate.clone(),
        }
        .encode_to_vec()
        .into()
    }

    fn decode(bytes: Bytes) -> Result<Self, TransactionError> {
        let registration: pb::Registration = decode("registration", bytes)?;
        version(registration.version)?;
        let certificate = registration.certificate;
        let size = certificate.len();
        limit(
            "certificate",
            "CERTIFICATE_BYTES_MAX",
            size,
            limits::CERTIFICATE_BYTES_MAX,
        )?;
        let header = TransactionHeader::parse(
            &registration.channel,
            &registration.nonce,
            &registration.creator,
            registration.timestamp_ms,
        )?;
        if hash::fingerprint(&certificate) != header.creator {
            return Err(TransactionError::Result(
                "the creator is not the registered certificate",
            ));
        }
        Ok(Self {
            header,
            certificate,
        })
    }
}

/// What an envelope carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A call of a contract.
    Transaction(Box<Transaction>),
    /// A certificate.
    Registration(Registration),
    /// A change of the configuration. The configuration in block 0 is not read this way: see
    /// [`crate::config::from_genesis`].
    Config(Box<ConfigUpdate>),
}

/// An envelope, parsed. No signature in it has been verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Envelope {
    /// The payload and its creator's signature (domain [`hash::domain::ENVELOPE`]).
    pub signed: Signed,
    /// What it carries.
    pub body: Body,
}

impl Envelope {
    /// Parses an envelope down to its reads and writes.
    ///
    /// # Errors
    /// [`TransactionError`] says what is wrong; [`TransactionError::code`] is the verdict.
    pub fn decode(bytes: Bytes) -> Result<Self, TransactionError> {
        limit(
            "envelope",
            "ENVELOPE_BYTES_MAX",
            bytes.len(),
            limits::ENVELOPE_BYTES_MAX,
        )?;
        let envelope: pb::Envelope = decode("envelope", bytes)?;
        let payload: pb::Payload = decode("payload", envelope.payload.clone())?;
        let body = match payload.body {
            None => return Err(TransactionError::Missing("body")),
            Some(pb::payload::Body::Config(bytes)) => {
                Body::Config(Box::new(ConfigUpdate::decode(bytes)?))
            }
            Some(pb::payload::Body::Registration(bytes)) => {
                Body::Registration(Registration::decode(bytes)?)
            }
            Some(pb::payload::Body::Transaction(transaction)) => {
                Body::Transaction(Box::new(parse_transaction(transaction)?))
            }
        };
        Ok(Self {
            signed: Signed::new(envelope.payload, &envelope.signature)?,
            body,
        })
    }

    /// Channel, nonce, creator and time.
    pub fn header(&self) -> &TransactionHeader {
        match &self.body {
            Body::Transaction(transaction) => &transaction.proposal.header,
            Body::Registration(registration) => &registration.header,
            Body::Config(update) => &update.header,
        }
    }
}

fn parse_transaction(transaction: pb::Transaction) -> Result<Transaction, TransactionError> {
    let count = transaction.endorsements.len();
    limit(
        "endorsements",
        "ENDORSEMENTS_MAX",
        count,
        limits::ENDORSEMENTS_MAX,
    )?;
    let proposal = Proposal::decode(transaction.proposal.clone())?;
    let result = TransactionResult::decode(transaction.result.clone(), &proposal.arguments)?;
    let endorsements: Result<_, _> = transaction
        .endorsements
        .iter()
        .map(Endorsement::try_from)
        .collect();
    Ok(Transaction {
        proposal_bytes: transaction.proposal,
        proposal,
        result_bytes: transaction.result,
        result,
        endorsements: endorsements?,
    })
}

/// The payload of an envelope that carries a call; its creator signs it.
pub fn transaction_payload(
    proposal: Bytes,
    result: Bytes,
    endorsements: Vec<pb::Endorsement>,
) -> Bytes {
    let transaction = pb::Transaction {
        proposal,
        result,
        endorsements,
    };
    payload(pb::payload::Body::Transaction(transaction))
}

/// The payload of an envelope that carries a registration; its creator signs it.
pub fn registration_payload(registration: &Registration) -> Bytes {
    payload(pb::payload::Body::Registration(registration.encode()))
}

/// The payload of an envelope that carries a change of the configuration; its creator signs it.
pub fn config_payload(update: &ConfigUpdate) -> Bytes {
    payload(pb::payload::Body::Config(update.encode()))
}

fn payload(body: pb::payload::Body) -> Bytes {
    pb::Payload { body: Some(body) }.encode_to_vec().into()
}

/// The envelope's bytes.
pub fn envelope(signed: Signed) -> Bytes {
    let signature = Bytes::copy_from_slice(&signed.signature);
    pb::Envelope {
        payload: signed.bytes,
        signature,
    }
    .encode_to_vec()
    .into()
}

/// The head of a signed request, parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestHeader {
    /// Channel, nonce, creator, time.
    pub header: TransactionHeader,
    /// The procedure that it was signed for.
    pub method: String,
}

impl RequestHeader {
    /// Parses the head of a request and checks that it was signed for `method`.
    ///
    /// # Errors
    /// [`TransactionError`] says what is wrong.
    pub fn parse(
        header: Option<&pb::RequestHeader>,
        method: &'static str,
    ) -> Result<Self, TransactionError> {
        let header = header.ok_or(TransactionError::Missing("request header"))?;
        if header.method != method {
            return Err(TransactionError::Result(
                "the request was signed for another procedure",
            ));
        }
        Ok(Self {
            header: TransactionHeader::parse(
                &header.channel,
                &header.nonce,
                &header.creator,
                header.timestamp_ms,
            )?,
            method: header.method.clone(),
        })
    }

    /// The message that travels.
    pub fn to_pb(&self) -> pb::RequestHeader {
        pb::RequestHeader {
            channel: self.header.channel.to_string(),
            creator: self.header.creator.to_bytes(),
            timestamp_ms: self.header.timestamp_ms,
            nonce: self.header.nonce.to_bytes(),
            method: self.method.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn proposal() -> Proposal {
        Proposal {
            header: TransactionHeader {
                channel: ChannelId::new("care").unwrap(),
                nonce: Nonce([1; 24]),
                creator: Fingerprint([2; 32]),
                timestamp_ms: 1_700_000_000_000,
            },
            contract: ContractName::new("healthcare").unwrap(),
            function: "grant_consent".to_owned(),
            arguments: vec![Bytes::from_static(b"{}")],
            side: vec![SideCommitment {
                commitment: Hash32([3; 32]),
                organizations: vec![OrgId::new("HospitalA").unwrap()],
            }],
        }
    }

    fn result() -> pb::Result {
        let key = Bytes::from_static(b"k");
        pb::Result {
            version: FORMAT_VERSION,
            package_hash: Bytes::from_static(&[4; 32]),
            response: Some(pb::Response {
                payload: Bytes::from_static(b"ok"),
            }),
            reads: vec![pb::Read {
                key: key.clone(),
                height: None,
            }],
            writes: vec![pb::Write {
                read: 1,
                change: Some(pb::write::Change::Argument(0)),
                ..Default::default()
            }],
            ..Default::default()
        }
    }

    fn envelope_of(result: &pb::Result) -> Bytes {
        let endorsement = pb::Endorsement {
            endorser: Bytes::from_static(&[5; 32]),
            signature: Bytes::from_static(&[6; 64]),
        };
        let result = result.encode_to_vec().into();
        let payload = transaction_payload(proposal().encode(), result, vec![endorsement]);
        envelope(Signed {
            bytes: payload,
            signature: [7; 64],
        })
    }

    #[test]
    fn an_envelope_there_and_back() {
        let envelope = Envelope::decode(envelope_of(&result())).unwrap();
        let Body::Transaction(transaction) = &envelope.body else {
            panic!("{envelope:?}")
        };
        assert_eq!(transaction.proposal, proposal());
        assert_eq!(
            transaction.result.writes[0].value,
            Some(Bytes::from_static(b"{}"))
        );
        assert_eq!(envelope.header().id(), proposal().header.id());
    }

    #[test]
    fn golden_bytes_of_a_proposal() {
        assert_eq!(
            hex::encode(&proposal().encode()[..12]),
            "080112046361726 51a180101".replace(' ', ""),
        );
    }

    #[test]
    fn an_expiry_costs_no_byte_where_there_is_none() {
        let there = |expires_at_ms| {
            let result = pb::Result {
                expires_at_ms,
                ..result()
            };
            let bytes = Bytes::from(result.encode_to_vec());
            let parsed = TransactionResult::decode(bytes.clone(), &proposal().arguments).unwrap();
            (bytes, parsed.expires_at_ms)
        };
        let (never, none) = there(None);
        assert_eq!(none, None);
        // Zero is a time as well: such a result is never valid.
        assert_eq!(
            there(Some(0)),
            ([&never[..], b"\x40\0"].concat().into(), Some(0))
        );
        assert_eq!(
            there(Some(300)),
            ([&never[..], b"\x40\xac\x02"].concat().into(), Some(300))
        );
    }

    fn range(start: &[u8]) -> pb::RangeRead {
        pb::RangeRead {
            start: Bytes::copy_from_slice(start),
            end: Bytes::from_static(b"b"),
            results_hash: Bytes::from_static(&[0; 32]),
        }
    }

    #[test]
    fn one_large_argument_is_not_written_many_times() {
        let argument = Bytes::from(vec![7; limits::VALUE_BYTES_MAX]);
        let write = |key: u8| pb::Write {
            key: Bytes::copy_from_slice(&[key]),
            change: Some(pb::write::Change::Argument(0)),
            ..Default::default()
        };
        let decode = |count: u8| {
            let writes = (1..=count).map(write).collect();
            let result = pb::Result {
                reads: Vec::new(),
                writes,
                ..result()
            };
            TransactionResult::decode(
                result.encode_to_vec().into(),
                std::slice::from_ref(&argument),
            )
        };
        assert!(decode(1).is_ok());
        let refused = decode(2).unwrap_err();
        assert_eq!(
            refused,
            TransactionError::TooLarge {
                part: "writes",
                limit: "WRITE_BYTES_MAX"
            }
        );
    }

    #[test]
    fn ill_formed_results_are_refused() {
        let check = |change: fn(&mut pb::Result)| {
            let mut result = result();
            change(&mut result);
            Envelope::decode(envelope_of(&result)).unwrap_err()
        };
        check(|r| r.writes[0].change = Some(pb::write::Change::Argument(9)));
        check(|r| r.writes[0].change = None);
        check(|r| r.writes[0].read = 2);
        check(|r| r.writes[0].read = 0);
        check(|r| r.writes[0].key = r.reads[0].key.clone());
        check(|r| r.writes[0].change = Some(pb::write::Change::Delete(false)));
        check(|r| r.writes.push(r.writes[0].clone()));
        check(|r| r.reads.push(r.reads[0].clone()));
        check(|r| r.reads[0].key = Bytes::new());
        check(|r| r.package_hash = Bytes::new());
        check(|r| r.version = 2);
        check(|r| r.ranges.push(pb::RangeRead::default()));
        check(|r| r.events = vec![pb::ContractEvent::default(); 17]);
        check(|r| r.ranges = vec![range(&[b'a'; 1026]); 1]);
        check(|r| r.ranges = vec![range(b"a"); limits::RANGES_MAX + 1]);
    }

    #[test]
    fn a_registration_is_made_by_its_own_certificate() {
        let mut registration = Registration {
            header: proposal().header,
            certificate: Bytes::from_static(b"certificate"),
        };
        let bytes = |registration: &Registration| {
            let bytes = registration_payload(registration);
            envelope(Signed {
                bytes,
                signature: [7; 64],
            })
        };
        assert!(Envelope::decode(bytes(&registration)).is_err());
        registration.header.creator = hash::fingerprint(&registration.certificate);
        assert!(Envelope::decode(bytes(&registration)).is_ok());
    }

    #[test]
    fn the_window_reaches_both_ways() {
        let header = proposal().header;
        for (time, expect) in [(-10, true), (10, true), (-11, false), (11, false)] {
            let time = header.timestamp_ms.checked_add_signed(time).unwrap();
            assert_eq!(header.is_within(time, 10), expect);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_decoder_fall(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = Envelope::decode(bytes.into());
        }

        #[test]
        fn a_flipped_bit_never_makes_the_decoder_fall(at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut bytes = envelope_of(&result()).to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            let _ = Envelope::decode(bytes.into());
        }
    }
}
