//! Every bound on what the network may carry. A channel may set lower ones, never higher ones.

/// Bytes of one ordered envelope.
pub const ENVELOPE_BYTES_MAX: usize = 1 << 20;
/// Bytes of one block as a channel may configure it, header and signatures included.
pub const BLOCK_BYTES_MAX: usize = 8 << 20;
/// Envelopes in one block.
pub const BLOCK_TRANSACTIONS_MAX: usize = 10_000;
/// Bytes of one gRPC message: a full block and its frame always fit.
pub const MESSAGE_BYTES_MAX: usize = BLOCK_BYTES_MAX + (1 << 20);
/// Bytes of one contract package as it is installed.
pub const PACKAGE_BYTES_MAX: usize = 8 << 20;
/// Bytes of all side items that travel beside one proposal.
pub const SIDE_BYTES_MAX: usize = 4 << 20;
/// Side items beside one proposal.
pub const SIDE_ITEMS_MAX: usize = 64;
/// Bytes of the random salt of a side item.
pub const SALT_BYTES: usize = 16;
/// Bytes of a nonce.
pub const NONCE_BYTES: usize = 24;
/// Bytes of an Ed25519 signature.
pub const SIGNATURE_BYTES: usize = 64;
/// Arguments of one proposal.
pub const ARGUMENTS_MAX: usize = 32;
/// Bytes of all arguments of one proposal together.
pub const ARGUMENT_BYTES_MAX: usize = 512 << 10;
/// Endorsements of one transaction.
pub const ENDORSEMENTS_MAX: usize = 64;
/// Bytes of a state key.
pub const KEY_BYTES_MAX: usize = 1024;
/// Bytes of a state value.
pub const VALUE_BYTES_MAX: usize = 256 << 10;
/// Reads, writes or ranges of one transaction, each.
pub const RWSET_ENTRIES_MAX: usize = 10_000;
/// Bytes of all keys and values that one transaction writes, values that stand in its arguments
/// included: many writes may name one argument.
pub const WRITE_BYTES_MAX: usize = 512 << 10;
/// Ranges that one transaction reads.
pub const RANGES_MAX: usize = 1_000;
/// Keys in all ranges of one transaction together, as they are read again when it is validated.
pub const RANGE_RESULTS_MAX: usize = 20_000;
/// Bytes of what a channel sets for one contract.
pub const SETTINGS_BYTES_MAX: usize = 16 << 10;
/// Changes of a key in one answer.
pub const KEY_HISTORY_MAX: usize = 1_000;
/// Events of one transaction.
pub const EVENTS_MAX: usize = 16;
/// Bytes of an event's name.
pub const EVENT_NAME_BYTES_MAX: usize = 64;
/// Bytes of an event's payload.
pub const EVENT_BYTES_MAX: usize = 16 << 10;
/// Bytes of the names of channels, organizations, contracts and functions.
pub const NAME_BYTES_MAX: usize = 64;
/// Bytes of a certificate.
pub const CERTIFICATE_BYTES_MAX: usize = 8 << 10;
/// Bytes of a policy's text.
pub const POLICY_BYTES_MAX: usize = 4096;
/// Levels of nesting of a policy.
pub const POLICY_DEPTH_MAX: usize = 8;
/// Principals named by one policy.
pub const POLICY_PRINCIPALS_MAX: usize = 128;
/// Keys that an error names for each part in which results differ.
pub const DIFFERENCE_KEYS_MAX: usize = 4;
/// Bytes of all keys in one error: it travels in the head of an answer.
pub const DIFFERENCE_BYTES_MAX: usize = 4 << 10;
/// Endorsers of which an error says in what their results differ.
pub const DIFFERENCE_NODES_MAX: usize = 8;
/// Organizations of one channel.
pub const ORGANIZATIONS_MAX: usize = 256;
/// Orderers of one channel.
pub const ORDERERS_MAX: usize = 64;
/// Contracts of one channel.
pub const CONTRACTS_MAX: usize = 256;
/// The widest transaction window that a channel may set: one hour.
pub const WINDOW_MS_MAX: u64 = 3_600_000;

/// Bytes of an encoded configuration: one that is in force can always be changed, because a whole
/// new one and the signatures that it needs fit an envelope.
pub const CONFIG_BYTES_MAX: usize = 512 << 10;
/// Administrators' signatures of one change of the configuration.
pub const CONFIG_SIGNATURES_MAX: usize = POLICY_PRINCIPALS_MAX;
/// Bytes of the words that say why a configuration is changed.
pub const CONFIG_DESCRIPTION_BYTES_MAX: usize = 1024;
/// Certificates that a configuration makes known.
pub const CONFIG_CERTIFICATES_MAX: usize = 1024;
/// Certificates that one organization has revoked.
pub const REVOKED_MAX: usize = 8192;
/// Roles that the certificates of one organization may have.
pub const ROLES_MAX: usize = 32;
/// TLS roots of one organization.
pub const TLS_ROOTS_MAX: usize = 8;
/// Peers of one organization, and storage nodes.
pub const ENDPOINTS_MAX: usize = 64;
/// Addresses of one storage node.
pub const ADDRESSES_MAX: usize = 16;
/// Bytes of an address, and of a node's name.
pub const ADDRESS_BYTES_MAX: usize = 256;
