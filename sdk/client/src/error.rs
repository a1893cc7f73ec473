//! What can go wrong, one type per stage. `is_retryable` says whether the same call may succeed
//! later without anybody changing it.

use std::io;
use std::path::PathBuf;

use stela_identity::ConfigurationError;
use stela_identity::config_update::{ConfigUpdateError, SignerError, WrongLastConfig};
use stela_identity::tls::TlsError;
use stela_protocol::block::BlockError;
use stela_protocol::config::ConfigError;
use stela_protocol::difference::ResultDifference;
use stela_protocol::transaction::TransactionError;
use stela_protocol::{
    BlockNumber, ChannelId, Hash32, IdError, RpcError, TransactionId, UnknownCode, ValidationCode,
};

/// A gateway or an administrator's connection could not be prepared. Retrying cannot help.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There is nobody to connect to.
    #[error("no endpoint was given")]
    NoEndpoint,
    /// More endpoints than [`crate::limits::ENDPOINTS_MAX`].
    #[error("{endpoints} endpoints are more than a gateway takes")]
    TooMany {
        /// How many were given.
        endpoints: usize,
    },
    /// The address or the TLS settings cannot be used.
    #[error("cannot connect to {address}: {source}")]
    Tls {
        /// The endpoint's address.
        address: String,
        /// Why not.
        source: TlsError,
    },
}

impl ConnectError {
    /// Whether trying again can help.
    pub fn is_retryable(&self) -> bool {
        false
    }
}

/// A proposal could not be built. Retrying cannot help.
#[derive(Debug, thiserror::Error)]
pub enum ProposalError {
    /// An argument cannot be written as JSON.
    #[error("argument {index} of {function} cannot be written as JSON: {source}")]
    Json {
        /// The function.
        function: String,
        /// Which argument, counted from 0.
        index: usize,
        /// Why not.
        source: serde_json::Error,
    },
    /// A limit or a rule of the format is broken.
    #[error("the proposal to call {function} is not well formed: {source}")]
    Format {
        /// The function.
        function: String,
        /// Which rule.
        source: TransactionError,
    },
}

impl ProposalError {
    /// Whether trying again can help.
    pub fn is_retryable(&self) -> bool {
        false
    }
}

/// An evaluation failed.
#[derive(Debug, thiserror::Error)]
#[error("evaluating {contract}/{function}: {source}")]
pub struct EvaluateError {
    /// The contract.
    pub contract: String,
    /// The function.
    pub function: String,
    /// What the peer answered.
    pub source: RpcError,
}

impl EvaluateError {
    /// Whether trying again can help.
    pub fn is_retryable(&self) -> bool {
        self.source.is_retryable()
    }
}

/// A transaction was not endorsed, or what came back cannot be submitted.
#[derive(Debug, thiserror::Error)]
pub enum EndorseError {
    /// The gateway refused or failed.
    #[error("endorsing transaction {transaction}: {source}")]
    Rpc {
        /// The transaction.
        transaction: TransactionId,
        /// What the gateway answered.
        source: RpcError,
    },
    /// The result or an endorsement is not well formed, or together they exceed a limit.
    #[error("the endorsed transaction {transaction} is not well formed: {source}")]
    Format {
        /// The transaction.
        transaction: TransactionId,
        /// Which rule is broken.
        source: TransactionError,
    },
    /// The gateway answered without a single endorsement.
    #[error("transaction {transaction} came back without endorsements")]
    Unendorsed {
        /// The transaction.
        transaction: TransactionId,
    },
    /// One endorser is listed twice.
    #[error("transaction {transaction} came back with two endorsements by one certificate")]
    Duplicate {
        /// The transaction.
        transaction: TransactionId,
    },
    /// The bytes are no envelope of a transaction on this channel.
    #[error("not the envelope of a transaction: {0}")]
    Envelope(String),
}

impl EndorseError {
    /// Whether trying again can help.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Rpc { source, .. } if source.is_retryable())
    }

    /// Which endorsers found another result than the others, and in what it differs; empty when that
    /// is not why it failed. Keys are named, values never.
    pub fn differences(&self) -> &[ResultDifference] {
        match self {
            Self::Rpc { source, .. } => &source.differences,
            _ => &[],
        }
    }
}

/// An envelope was not taken. It may still have been: submitting it again is safe.
#[derive(Debug, thiserror::Error)]
#[error("submitting transaction {transaction}: {source}")]
pub struct SubmitError {
    /// The transaction.
    pub transaction: TransactionId,
    /// What the gateway answered.
    pub source: RpcError,
}

impl SubmitError {
    /// Whether trying again can help.
    pub fn is_retryable(&self) -> bool {
        self.source.is_retryable()
    }
}

/// The verdict on a transaction did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// The peer refused to say.
    #[error("asking for transaction {transaction}: {source}")]
    Rpc {
        /// The transaction.
        transaction: TransactionId,
        /// What the peer answered.
        source: RpcError,
    },
    /// Not committed before the deadline. It may still be; the envelope may be submitted again.
    #[error("transaction {transaction} was not seen committed within {limit_ms} ms{}", meanwhile(.last))]
    Deadline {
        /// The transaction.
        transaction: TransactionId,
        /// How long was waited.
        limit_ms: u64,
        /// The last thing that went wrong meanwhile.
        last: Option<RpcError>,
    },
    /// The verdict is a number that this program does not know.
    #[error("the verdict on transaction {transaction}: {source}")]
    Code {
        /// The transaction.
        transaction: TransactionId,
        /// The number.
        source: UnknownCode,
    },
    /// The envelope was refused before it was ordered.
    #[error(transparent)]
    Submit(#[from] SubmitError),
}

fn meanwhile(error: &Option<RpcError>) -> String {
    error
        .as_ref()
        .map(|error| format!("; last: {error}"))
        .unwrap_or_default()
}

impl CommitError {
    /// Whether trying again (with the identical envelope) can help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Rpc { source, .. } => source.is_retryable(),
            Self::Deadline { .. } => true,
            Self::Code { .. } => false,
            Self::Submit(error) => error.is_retryable(),
        }
    }
}

/// A transaction was ordered and found invalid: none of its writes was applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("transaction {transaction} in block {block} is invalid: {code}")]
pub struct InvalidTransaction {
    /// The transaction.
    pub transaction: TransactionId,
    /// The verdict.
    pub code: ValidationCode,
    /// The block it stands in.
    pub block: BlockNumber,
}

impl InvalidTransaction {
    /// Whether the same call, proposed and endorsed anew, may become valid.
    pub fn is_retryable(&self) -> bool {
        self.code.is_retryable()
    }
}

/// A call through [`Contract`](crate::Contract) failed at one of its stages.
#[derive(Debug, thiserror::Error)]
pub enum TransactError {
    /// The proposal.
    #[error(transparent)]
    Proposal(#[from] ProposalError),
    /// The evaluation.
    #[error(transparent)]
    Evaluate(#[from] EvaluateError),
    /// The endorsement.
    #[error(transparent)]
    Endorse(#[from] EndorseError),
    /// Submission and commit. Only here it is open whether the call took effect.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The verdict.
    #[error(transparent)]
    Invalid(#[from] InvalidTransaction),
}

impl TransactError {
    /// Whether the same call may succeed later. After [`Commit`](Self::Commit) it may also have
    /// taken effect already.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Proposal(error) => error.is_retryable(),
            Self::Evaluate(error) => error.is_retryable(),
            Self::Endorse(error) => error.is_retryable(),
            Self::Commit(error) => error.is_retryable(),
            Self::Invalid(error) => error.is_retryable(),
        }
    }

    /// What a node answered, if it was a node that refused.
    pub fn rpc(&self) -> Option<&RpcError> {
        match self {
            Self::Evaluate(error) => Some(&error.source),
            Self::Endorse(EndorseError::Rpc { source, .. })
            | Self::Commit(
                CommitError::Rpc { source, .. } | CommitError::Submit(SubmitError { source, .. }),
            ) => Some(source),
            _ => None,
        }
    }
}

/// A question about a channel was not answered.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// The peer refused or failed.
    #[error("asking about channel {channel}: {source}")]
    Rpc {
        /// The channel.
        channel: ChannelId,
        /// What the peer answered.
        source: RpcError,
    },
    /// A hash in the answer has the wrong length.
    #[error("the answer about channel {channel} is not well formed: {source}")]
    Format {
        /// The channel.
        channel: ChannelId,
        /// Which value.
        source: IdError,
    },
    /// The configuration in the answer cannot be used.
    #[error("the configuration of channel {channel} cannot be used: {source}")]
    Config {
        /// The channel.
        channel: ChannelId,
        /// Why not.
        source: ConfigError,
    },
    /// The configuration in the answer is of another channel.
    #[error("asked about channel {channel}, the answer is about {actual}")]
    OtherChannel {
        /// What was asked about.
        channel: ChannelId,
        /// What was answered about.
        actual: ChannelId,
    },
    /// The history in the answer is not one that was asked for.
    #[error("the peer's history of a key on channel {channel} is too long or not in order")]
    History {
        /// The channel.
        channel: ChannelId,
    },
}

impl QueryError {
    /// Whether trying again can help.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Rpc { source, .. } if source.is_retryable())
    }
}

/// A certificate was not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// Whether it is known already could not be found out.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The registration was not taken.
    #[error(transparent)]
    Submit(#[from] SubmitError),
    /// Not known before the deadline: the channel is down, or does not accept the certificate.
    #[error("the certificate registered by {transaction} was not known within {limit_ms} ms")]
    Deadline {
        /// The registration.
        transaction: TransactionId,
        /// How long was waited.
        limit_ms: u64,
    },
}

impl RegisterError {
    /// Whether trying again can help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Query(error) => error.is_retryable(),
            Self::Submit(error) => error.is_retryable(),
            Self::Deadline { .. } => true,
        }
    }
}

/// Side items were not obtained.
#[derive(Debug, thiserror::Error)]
pub enum SideError {
    /// The peer refused or failed.
    #[error("asking for {count} side items: {source}")]
    Rpc {
        /// How many were asked for.
        count: usize,
        /// What the peer answered.
        source: RpcError,
    },
    /// The peer sent something else than its commitment promises, or what nobody asked for.
    #[error("the peer sent a side item that is not what commitment {commitment} promises")]
    Mismatch {
        /// The commitment that the peer named.
        commitment: Hash32,
    },
    /// The answer is not well formed.
    #[error("the answer with side items is not well formed: {0}")]
    Format(#[from] IdError),
}

impl SideError {
    /// Whether trying again can help.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Rpc { source, .. } if source.is_retryable())
    }
}

/// A stream of events ended for good.
#[derive(Debug, thiserror::Error)]
pub enum EventsError {
    /// The peer refuses to go on: the caller may not listen, or the events were pruned.
    #[error("events of {contract}: {source}")]
    Rpc {
        /// The contract.
        contract: String,
        /// What the peer answered.
        source: RpcError,
    },
    /// Where to begin could not be found out.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The peer sent an event that is none.
    #[error("an event of {contract} is not well formed: {why}")]
    Format {
        /// The contract.
        contract: String,
        /// What is wrong with it.
        why: String,
    },
}

impl EventsError {
    /// Whether listening again from the last checkpoint can help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Rpc { source, .. } => source.is_retryable(),
            Self::Query(error) => error.is_retryable(),
            Self::Format { .. } => false,
        }
    }
}

/// A stream of blocks ended before its end.
#[derive(Debug, thiserror::Error)]
pub enum BlocksError {
    /// The peer refuses or fails.
    #[error("blocks of channel {channel} from {next} on: {source}")]
    Rpc {
        /// The channel.
        channel: ChannelId,
        /// The block that was to come.
        next: BlockNumber,
        /// What the peer answered.
        source: RpcError,
    },
    /// The peer sent no block, or one that does not follow.
    #[error("the peer sent something else than block {next}: {source}")]
    Block {
        /// The block that was to come.
        next: BlockNumber,
        /// What is wrong.
        source: BlockError,
    },
    /// The peer sent verdicts or a state hash that cannot be.
    #[error("the verdicts on block {next} are not well formed: {why}")]
    Verdicts {
        /// The block.
        next: BlockNumber,
        /// What is wrong.
        why: String,
    },
    /// Too few orderers signed, or a configuration is not what the header says.
    #[error(transparent)]
    Quorum(#[from] QuorumError),
    /// The peer's configuration does not follow from the one that is trusted.
    #[error("the configuration of channel {channel} does not follow from the one known: {why}")]
    Configuration {
        /// The channel.
        channel: ChannelId,
        /// What is wrong.
        why: String,
    },
}

impl BlocksError {
    /// Whether trying again can help.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Rpc { source, .. } if source.is_retryable())
    }
}

/// The orderers' signatures do not make a block genuine.
#[derive(Debug, thiserror::Error)]
pub enum QuorumError {
    /// The header does not say truly which configuration is in force after the block.
    #[error(transparent)]
    LastConfig(#[from] WrongLastConfig),
    /// The block is of another channel.
    #[error("block {number} is of channel {actual}, not {channel}")]
    OtherChannel {
        /// The block.
        number: BlockNumber,
        /// The configuration's channel.
        channel: ChannelId,
        /// The block's.
        actual: ChannelId,
    },
    /// Fewer good signatures than the quorum.
    #[error("block {number} has {signed} good signatures of the {needed} it needs")]
    TooFew {
        /// The block.
        number: BlockNumber,
        /// Orderers whose signature is good.
        signed: usize,
        /// The quorum.
        needed: usize,
    },
}

impl QuorumError {
    /// Whether trying again can help.
    pub fn is_retryable(&self) -> bool {
        false
    }
}

/// A change of the configuration on its way could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ChannelUpdateError {
    /// The file is something else.
    #[error("this is no proposed change of a configuration: {0}")]
    Format(String),
    /// The configuration that it is made for cannot be used.
    #[error("the configuration that it is made for: {0}")]
    Base(#[from] ConfigurationError),
    /// It breaks a rule.
    #[error(transparent)]
    Rule(#[from] ConfigUpdateError),
    /// A signature in it, or the one to be made, does not count.
    #[error("a signature of it: {0}")]
    Signer(#[from] SignerError),
    /// The other file holds another change.
    #[error("the files hold different changes")]
    Different,
    /// Nothing is changed.
    #[error("the configuration would be the same")]
    Nothing,
    /// The channel knows another configuration meanwhile.
    #[error(
        "the change is made for configuration {base}, but {sequence} is in force: propose it again"
    )]
    Outdated {
        /// The number of the configuration that it is made for.
        base: u64,
        /// The number of the one in force.
        sequence: u64,
    },
    /// The channel could not be asked.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// It was refused, or it is open whether it was committed.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// It was committed and does not count.
    #[error(transparent)]
    Invalid(#[from] InvalidTransaction),
}

impl ChannelUpdateError {
    /// Whether trying again can help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Query(error) => error.is_retryable(),
            Self::Commit(error) => error.is_retryable(),
            _ => false,
        }
    }
}

/// A checkpoint could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The disk failed.
    #[error("cannot {action} the checkpoint {}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// The file holds something else.
    #[error("{} is no checkpoint: {why}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
    },
    /// The file belongs to other events.
    #[error("{} is the checkpoint of {actual}, not of {expected}", path.display())]
    Other {
        /// The file.
        path: PathBuf,
        /// `channel/contract` as asked for.
        expected: String,
        /// `channel/contract` as found.
        actual: String,
    },
}

impl CheckpointError {
    /// Whether trying again can help.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Io { .. })
    }
}

/// An administrator's call failed.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The node refused or failed.
    #[error("{procedure} at {address}: {source}")]
    Rpc {
        /// Where the node answers.
        address: String,
        /// What was asked.
        procedure: &'static str,
        /// What the node answered.
        source: RpcError,
    },
    /// The genesis block cannot be used.
    #[error("the genesis block cannot be used: {0}")]
    Genesis(#[from] ConfigError),
    /// The package exceeds `PACKAGE_BYTES_MAX`.
    #[error("a package of {bytes} bytes is larger than a package may be")]
    PackageTooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The answer is not well formed.
    #[error("the status of {address} is not well formed: {why}")]
    Format {
        /// Where the node answers.
        address: String,
        /// What is wrong.
        why: String,
    },
}

impl AdminError {
    /// Whether trying again can help.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Rpc { source, .. } if source.is_retryable())
    }
}

/// A node did not say how it is.
#[derive(Debug, thiserror::Error)]
pub enum HealthError {
    /// The node refused or failed.
    #[error("asking {address} how it is: {source}")]
    Rpc {
        /// Where the node answers.
        address: String,
        /// What the node answered.
        source: RpcError,
    },
    /// The answer is not well formed.
    #[error("what {address} says of itself is not well formed: {why}")]
    Format {
        /// Where the node answers.
        address: String,
        /// What is wrong.
        why: String,
    },
}

impl HealthError {
    /// Whether trying again can help.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Rpc { source, .. } if source.is_retryable())
    }
}

/// A transaction could not be explained.
#[derive(Debug, thiserror::Error)]
pub enum ExplainError {
    /// The verdict.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The channel's configuration.
    #[error(transparent)]
    Query(#[from] QueryError),
    /// The blocks.
    #[error(transparent)]
    Blocks(#[from] BlocksError),
    /// The block that a peer names does not have the transaction.
    #[error("block {block} does not have transaction {transaction}, though a peer says so")]
    Elsewhere {
        /// The transaction.
        transaction: TransactionId,
        /// The block.
        block: BlockNumber,
    },
}

impl ExplainError {
    /// Whether trying again can help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Commit(error) => error.is_retryable(),
            Self::Query(error) => error.is_retryable(),
            Self::Blocks(error) => error.is_retryable(),
            Self::Elsewhere { .. } => false,
        }
    }
}

/// A receipt could not be made, or it proves nothing.
#[derive(Debug, thiserror::Error)]
pub enum ReceiptError {
    /// The verdict could not be asked for.
    #[error(transparent)]
    Commit(#[from] CommitError),
    /// The transaction did not take effect.
    #[error(transparent)]
    Invalid(#[from] InvalidTransaction),
    /// The blocks could not be read.
    #[error(transparent)]
    Blocks(#[from] BlocksError),
    /// The block that a peer names does not have the transaction.
    #[error("block {block} does not have transaction {transaction}, though a peer says so")]
    Elsewhere {
        /// The transaction.
        transaction: TransactionId,
        /// The block.
        block: BlockNumber,
    },
    /// The file is something else.
    #[error("this is no receipt: {0}")]
    Format(String),
    /// The transaction is not in the block whose header the receipt has.
    #[error("the transaction is not in block {0}")]
    Path(BlockNumber),
    /// A block is not signed as it must be.
    #[error(transparent)]
    Quorum(#[from] QuorumError),
    /// A configuration does not follow from the one before it.
    #[error("the configurations do not follow one another: {0}")]
    Configuration(&'static str),
}

impl ReceiptError {
    /// Whether trying again can help.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Commit(error) => error.is_retryable(),
            Self::Blocks(error) => error.is_retryable(),
            _ => false,
        }
    }
}
