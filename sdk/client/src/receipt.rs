//! Receipts: what the consortium recorded, provable to anybody who has its genesis block.
//!
//! A receipt is a file, JSON, that is verified offline and for as long as the signatures hold. It
//! carries the transaction itself, the path from it to the root in its block's header (RFC 6962),
//! that header with the orderers' signatures, and every block that changed the configuration before
//! it, because those say which orderers' signatures count.
//!
//! | Field | What |
//! |---|---|
//! | `stela_receipt` | the format's version, 1 |
//! | `envelope` | the transaction as it was ordered |
//! | `index`, `size` | its place in the block, and how many envelopes the block has |
//! | `path` | the hashes on the way to the root, the lowest first |
//! | `header` | the encoded block header |
//! | `signatures` | for each orderer her number `orderer` and her `signature` over the header's hash |
//! | `configurations` | the encoded blocks that changed the configuration, the oldest first |
//!
//! Hashes are in hexadecimal, all other bytes in base64.
//!
//! What it proves: that the orderers of the consortium put exactly this transaction, with what its
//! creator asked for and what the endorsers answered, into this block at this time. What it cannot
//! prove: that the transaction took effect. That is found by every peer from the chain before it, and
//! nobody signs it; a receipt is only made of a transaction that a peer calls valid, and whoever
//! doubts it asks any peer. Nor can it prove that no configuration was left out: a quorum of orderers
//! that were removed later could sign a header of their own.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use stela_identity::Configuration;
use stela_protocol::block::{Block, BlockHeader};
use stela_protocol::limits::{ORDERERS_MAX, SIGNATURE_BYTES};
use stela_protocol::transaction::{Body, Envelope};
use stela_protocol::{BlockNumber, Hash32, Message, TransactionId, hash, merkle, pb};

use crate::error::ReceiptError;
use crate::limits::{CONFIG_CHANGES_MAX, RECEIPT_FILE_BYTES_MAX, RECEIPT_PATH_MAX};
use crate::network::Network;
use crate::quorum::Quorum;

/// The version of the file.
const FILE_VERSION: u32 = 1;

/// The proof that a transaction was ordered. Nothing of it counts before it is
/// [verified](Receipt::verify).
#[derive(Debug, Clone)]
pub struct Receipt {
    envelope: Bytes,
    index: u64,
    size: u64,
    path: Vec<Hash32>,
    header: Bytes,
    signatures: Vec<pb::HeaderSignature>,
    configurations: Vec<Bytes>,
}

/// What a receipt proves.
#[derive(Debug, Clone)]
pub struct Recorded {
    /// The transaction.
    pub transaction: TransactionId,
    /// What was ordered.
    pub envelope: Envelope,
    /// The header of its block.
    pub header: BlockHeader,
    /// The hash of that header, which the orderers signed.
    pub hash: Hash32,
    /// Its place in the block.
    pub index: u64,
    /// How many orderers signed the block.
    pub signed: usize,
    /// The number of the configuration by which their signatures count.
    pub configuration: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    stela_receipt: u32,
    envelope: String,
    index: u64,
    size: u64,
    path: Vec<String>,
    header: String,
    signatures: Vec<FileSignature>,
    configurations: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileSignature {
    orderer: u64,
    signature: String,
}

impl Network {
    /// The receipt for a valid transaction, verified from `genesis`, the configuration in the
    /// channel's first block.
    ///
    /// # Errors
    /// [`ReceiptError`] when the transaction is not committed before the deadline or not valid, no
    /// peer answers, or what one says proves nothing.
    pub async fn receipt(
        &self,
        genesis: Arc<Configuration>,
        transaction: TransactionId,
        deadline: Duration,
    ) -> Result<Receipt, ReceiptError> {
        let status = self.commit(transaction).status(deadline).await?.valid()?;
        let elsewhere = || ReceiptError::Elsewhere {
            transaction,
            block: status.block,
        };
        let block = self.block(status.block).await?;
        let index = status.index as usize;
        let envelope = block.envelopes.get(index).ok_or_else(elsewhere)?.clone();
        let mut configurations = Vec::new();
        if let Some(before) = status.block.0.checked_sub(1) {
            for number in self.changes(BlockNumber(before), &genesis).await? {
                let change = self.block(number).await?;
                configurations.push(change.to_pb().encode_to_vec().into());
            }
            configurations.reverse();
        }
        let receipt = Receipt {
            path: merkle::proof(&block.envelopes, index).ok_or_else(elsewhere)?,
            envelope,
            index: index as u64,
            size: block.envelopes.len() as u64,
            header: block.header_bytes,
            signatures: block.signatures,
            configurations,
        };
        let recorded = receipt.verify(genesis)?;
        if recorded.transaction == transaction {
            Ok(receipt)
        } else {
            Err(elsewhere())
        }
    }
}

impl Receipt {
    /// Verifies the receipt from the configuration in the channel's first block alone.
    ///
    /// # Errors
    /// [`ReceiptError`] when it does not prove what it should.
    pub fn verify(&self, genesis: Arc<Configuration>) -> Result<Recorded, ReceiptError> {
        let header = BlockHeader::decode(&self.header)
            .map_err(|error| ReceiptError::Format(error.to_string()))?;
        let (quorum, last) = self.follow(genesis, &header)?;
        let hash = hash::header(&self.header);
        let signed = quorum.check_header(&header, &hash, &self.signatures)?;
        let (root, number) = (&header.merkle_root, header.number);
        if !merkle::verify(&self.envelope, self.index, self.size, &self.path, root) {
            return Err(ReceiptError::Path(number));
        }
        let envelope = Envelope::decode(self.envelope.clone())
            .map_err(|error| ReceiptError::Format(error.to_string()))?;
        let changes = matches!(envelope.body, Body::Config(_)) && header.last_config == number;
        if header.last_config != last && !changes {
            return Err(ReceiptError::Configuration(
                "the block names another configuration than the receipt leads to",
            ));
        }
        Ok(Recorded {
            transaction: envelope.header().id(),
            envelope,
            hash,
            index: self.index,
            signed,
            configuration: quorum.configuration().config().sequence,
            header,
        })
    }

    /// The configuration in force before a block, and the block that put it into force.
    fn follow(
        &self,
        genesis: Arc<Configuration>,
        header: &BlockHeader,
    ) -> Result<(Quorum, BlockNumber), ReceiptError> {
        let mut quorum = Quorum::new(genesis);
        let mut last = BlockNumber(0);
        for bytes in &self.configurations {
            let block = Block::decode(bytes.clone())
                .map_err(|error| ReceiptError::Format(error.to_string()))?;
            let number = block.header.number;
            if number <= last || number >= header.number {
                return Err(ReceiptError::Configuration("they are not in order"));
            }
            let before = quorum.configuration().hash();
            quorum.check(&block)?;
            if quorum.configuration().hash() == before {
                return Err(ReceiptError::Configuration("one of them changes nothing"));
            }
            last = number;
        }
        Ok((quorum, last))
    }

    /// Reads a file; nothing is verified yet.
    ///
    /// # Errors
    /// [`ReceiptError::Format`] when it is something else.
    pub fn from_json(text: &[u8]) -> Result<Self, ReceiptError> {
        let format = |why: String| ReceiptError::Format(why);
        if text.len() > RECEIPT_FILE_BYTES_MAX {
            return Err(format("it is too large".to_owned()));
        }
        let file: File = serde_json::from_slice(text).map_err(|error| format(error.to_string()))?;
        if file.stela_receipt != FILE_VERSION {
            let version = file.stela_receipt;
            return Err(format(format!("version {version} is not known here")));
        }
        if file.path.len() > RECEIPT_PATH_MAX
            || file.signatures.len() > ORDERERS_MAX
            || file.configurations.len() > CONFIG_CHANGES_MAX
        {
            return Err(format("one of its lists is too long".to_owned()));
        }
        let configurations = file
            .configurations
            .iter()
            .map(|text| bytes("configuration", text));
        Ok(Self {
            envelope: bytes("envelope", &file.envelope)?,
            index: file.index,
            size: file.size,
            path: file
                .path
                .iter()
                .map(|text| hash32(text))
                .collect::<Result<_, _>>()?,
            header: bytes("header", &file.header)?,
            signatures: file
                .signatures
                .iter()
                .map(FileSignature::read)
                .collect::<Result<_, _>>()?,
            configurations: configurations.collect::<Result<_, _>>()?,
        })
    }

    /// The file.
    pub fn to_json(&self) -> String {
        let configurations = self.configurations.iter();
        let file = File {
            stela_receipt: FILE_VERSION,
            envelope: STANDARD.encode(&self.envelope),
            index: self.index,
            size: self.size,
            path: self.path.iter().map(ToString::to_string).collect(),
            header: STANDARD.encode(&self.header),
            signatures: self.signatures.iter().map(FileSignature::of).collect(),
            configurations: configurations.map(|block| STANDARD.encode(block)).collect(),
        };
        let mut text = serde_json::to_string_pretty(&file).expect("it holds numbers and text only");
        text.push('\n');
        text
    }
}

impl FileSignature {
    fn of(signature: &pb::HeaderSignature) -> Self {
        Self {
            orderer: signature.orderer,
            signature: STANDARD.encode(&signature.signature),
        }
    }

    fn read(&self) -> Result<pb::HeaderSignature, ReceiptError> {
        let signature = bytes("signature", &self.signature)?;
        if signature.len() != SIGNATURE_BYTES {
            let rule = format!("a signature has {SIGNATURE_BYTES} bytes");
            return Err(ReceiptError::Format(rule));
        }
        Ok(pb::HeaderSignature {
            orderer: self.orderer,
            signature,
        })
    }
}

fn hash32(text: &str) -> Result<Hash32, ReceiptError> {
    text.parse()
        .map_err(|error| ReceiptError::Format(format!("path: {error}")))
}

fn bytes(what: &str, text: &str) -> Result<Bytes, ReceiptError> {
    let decoded = STANDARD.decode(text);
    decoded
        .map(Bytes::from)
        .map_err(|error| ReceiptError::Format(format!("{what}: {error}")))
}
