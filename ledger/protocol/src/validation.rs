//! The verdict on each transaction of a block.

/// What a peer found when it validated a transaction. The names and numbers up to 63 are Fabric's
/// (`TxValidationCode` in its `peer/transaction.proto`); ours start at 64.
///
/// A verdict is data, the same on every peer, and part of the state hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
#[allow(missing_docs, reason = "the names are Fabric's and say it")]
pub enum ValidationCode {
    Valid = 0,
    NilEnvelope = 1,
    BadPayload = 2,
    BadCommonHeader = 3,
    BadCreatorSignature = 4,
    InvalidEndorserTransaction = 5,
    InvalidConfigTransaction = 6,
    UnsupportedTxPayload = 7,
    DuplicateTxid = 9,
    EndorsementPolicyFailure = 10,
    MvccReadConflict = 11,
    PhantomReadConflict = 12,
    UnknownTxType = 13,
    TargetChainNotFound = 14,
    ExpiredChaincode = 17,
    BadRwset = 22,
    IllegalWriteset = 23,
    InvalidWriteset = 24,
    InvalidChaincode = 25,
    /// The transaction's timestamp lies outside the window around the block's time.
    Expired = 64,
    /// The registered certificate is not acceptable under the channel's configuration.
    InvalidRegistration = 65,
    /// The result said before which time it is valid, and the block's time is not before it.
    ExpiredResult = 66,
}

/// A number that is no validation code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0} is not a validation code")]
pub struct UnknownCode(pub u32);

impl ValidationCode {
    const ALL: [Self; 22] = [
        Self::Valid,
        Self::NilEnvelope,
        Self::BadPayload,
        Self::BadCommonHeader,
        Self::BadCreatorSignature,
        Self::InvalidEndorserTransaction,
        Self::InvalidConfigTransaction,
        Self::UnsupportedTxPayload,
        Self::DuplicateTxid,
        Self::EndorsementPolicyFailure,
        Self::MvccReadConflict,
        Self::PhantomReadConflict,
        Self::UnknownTxType,
        Self::TargetChainNotFound,
        Self::ExpiredChaincode,
        Self::BadRwset,
        Self::IllegalWriteset,
        Self::InvalidWriteset,
        Self::InvalidChaincode,
        Self::Expired,
        Self::InvalidRegistration,
        Self::ExpiredResult,
    ];

    /// Whether the transaction's writes were applied.
    pub fn is_valid(self) -> bool {
        self == Self::Valid
    }

    /// Whether the same call, endorsed again, may become valid.
    pub fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::MvccReadConflict
                | Self::PhantomReadConflict
                | Self::Expired
                | Self::ExpiredResult
        )
    }

    /// The name as Fabric writes it, `MVCC_READ_CONFLICT`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Valid => "VALID",
            Self::NilEnvelope => "NIL_ENVELOPE",
            Self::BadPayload => "BAD_PAYLOAD",
            Self::BadCommonHeader => "BAD_COMMON_HEADER",
            Self::BadCreatorSignature => "BAD_CREATOR_SIGNATURE",
            Self::InvalidEndorserTransaction => "INVALID_ENDORSER_TRANSACTION",
            Self::InvalidConfigTransaction => "INVALID_CONFIG_TRANSACTION",
            Self::UnsupportedTxPayload => "UNSUPPORTED_TX_PAYLOAD",
            Self::DuplicateTxid => "DUPLICATE_TXID",
            Self::EndorsementPolicyFailure => "ENDORSEMENT_POLICY_FAILURE",
            Self::MvccReadConflict => "MVCC_READ_CONFLICT",
            Self::PhantomReadConflict => "PHANTOM_READ_CONFLICT",
            Self::UnknownTxType => "UNKNOWN_TX_TYPE",
            Self::TargetChainNotFound => "TARGET_CHAIN_NOT_FOUND",
            Self::ExpiredChaincode => "EXPIRED_CHAINCODE",
            Self::BadRwset => "BAD_RWSET",
            Self::IllegalWriteset => "ILLEGAL_WRITESET",
            Self::InvalidWriteset => "INVALID_WRITESET",
            Self::InvalidChaincode => "INVALID_CHAINCODE",
            Self::Expired => "EXPIRED",
            Self::InvalidRegistration => "INVALID_REGISTRATION",
            Self::ExpiredResult => "EXPIRED_RESULT",
        }
    }
}

impl std::fmt::Display for ValidationCode {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl TryFrom<u32> for ValidationCode {
    type Error = UnknownCode;

    fn try_from(value: u32) -> Result<Self, UnknownCode> {
        Self::ALL
            .into_iter()
            .find(|c| *c as u32 == value)
            .ok_or(UnknownCode(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_survives_its_number() {
        for code in ValidationCode::ALL {
            assert_eq!(ValidationCode::try_from(code as u32), Ok(code));
        }
        assert_eq!(ValidationCode::try_from(8), Err(UnknownCode(8)));
    }
}
