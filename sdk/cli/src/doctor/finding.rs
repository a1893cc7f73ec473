//! What the doctor found, and what to do.

use serde::Serialize;

/// What is checked. The names are part of the JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Check {
    /// Configuration files and the folders that they name.
    Files,
    /// Who may read the files with keys.
    Mode,
    /// The time of certificates, their hosts, revocation.
    Certificate,
    /// Who signed certificates.
    Authority,
    /// Whether a node answers.
    Reachable,
    /// Whether a node has joined the channel.
    Channel,
    /// Clocks.
    Clock,
    /// Room on disks, and nodes that stopped for want of it.
    Disk,
    /// The first block.
    Genesis,
    /// Contract packages.
    Contract,
    /// The key of the swarm.
    SwarmKey,
    /// Whether orderers can order.
    Quorum,
    /// Whether a node has the blocks that others have.
    Height,
    /// Whether a peer's state is that of the others.
    State,
    /// Where a node listens.
    Address,
}

impl Check {
    /// The name as it stands in the JSON.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Mode => "mode",
            Self::Certificate => "certificate",
            Self::Authority => "authority",
            Self::Reachable => "reachable",
            Self::Channel => "channel",
            Self::Clock => "clock",
            Self::Disk => "disk",
            Self::Genesis => "genesis",
            Self::Contract => "contract",
            Self::SwarmKey => "swarm-key",
            Self::Quorum => "quorum",
            Self::Height => "height",
            Self::State => "state",
            Self::Address => "address",
        }
    }
}

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Verdict {
    /// As it should be.
    Ok,
    /// It could not be found out.
    CouldNotLook,
    /// It works, and will not for long.
    Warning,
    /// It is wrong.
    Failed,
}

impl Verdict {
    pub(crate) fn words(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::CouldNotLook => "could not look",
            Self::Warning => "warning",
            Self::Failed => "FAILED",
        }
    }
}

/// What to do about it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Cure {
    /// In words.
    pub(crate) what: String,
    /// As a command, where there is one. Words in capitals stand for what the user has to fill in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) command: Option<String>,
}

/// One check of one thing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    pub(crate) check: Check,
    /// What it is about: `HospitalA/peer0`, `this profile`, `this machine`.
    pub(crate) subject: String,
    /// What was looked at.
    pub(crate) looked_at: String,
    pub(crate) verdict: Verdict,
    /// What was found there.
    pub(crate) found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cure: Option<Cure>,
}

impl Finding {
    /// Something that is as it should be.
    pub(crate) fn ok(
        check: Check,
        subject: &str,
        looked_at: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self {
            check,
            subject: subject.to_owned(),
            looked_at: looked_at.into(),
            verdict: Verdict::Ok,
            found: found.into(),
            cure: None,
        }
    }

    /// The same with another verdict.
    #[must_use]
    pub(crate) fn but(mut self, verdict: Verdict) -> Self {
        self.verdict = verdict;
        self
    }

    /// The same with something to do.
    #[must_use]
    pub(crate) fn cured_by(mut self, what: impl Into<String>) -> Self {
        self.cure = Some(Cure {
            what: what.into(),
            command: None,
        });
        self
    }

    /// The same with a command that does it.
    #[must_use]
    pub(crate) fn with(mut self, command: impl Into<String>) -> Self {
        if let Some(cure) = &mut self.cure {
            cure.command = Some(command.into());
        }
        self
    }
}
