//! What can go wrong with a daemon.

use cid::Cid;

use crate::limits::KUBO_MESSAGE_CHARS_MAX;

/// A daemon did not do what it was asked, or not in a way that can be believed. No variant carries
/// more of what the daemon said than one short line, and none carries the authorization.
#[derive(Debug, thiserror::Error)]
pub enum KuboError {
    /// The configured address cannot be used.
    #[error("the address of the IPFS daemon cannot be used: {0}")]
    Address(&'static str),
    /// A file that the configuration names cannot be used.
    #[error("{what} cannot be used: {why}")]
    File {
        /// Which file.
        what: String,
        /// Why not.
        why: String,
    },
    /// Nobody answers there, or not over TLS as it should.
    #[error("the IPFS daemon at {api} cannot be reached: {why}")]
    Unreachable {
        /// Where it should be.
        api: String,
        /// Why not.
        why: String,
    },
    /// It did not answer in time.
    #[error("the IPFS daemon did not answer {command} in time")]
    Timeout {
        /// What it was asked.
        command: &'static str,
    },
    /// It wants another authorization.
    #[error("the IPFS daemon does not let us call {command}: check the authorization file")]
    Forbidden {
        /// What it was asked.
        command: &'static str,
    },
    /// It has no such command.
    #[error("this IPFS daemon does not offer {command}")]
    NotOffered {
        /// What it was asked.
        command: &'static str,
    },
    /// It has no room left.
    #[error("the disk of the IPFS daemon is full ({command})")]
    Full {
        /// What it was asked.
        command: &'static str,
    },
    /// It said no.
    #[error("the IPFS daemon refused {command} with {status}: {message}")]
    Refused {
        /// What it was asked.
        command: &'static str,
        /// The HTTP status.
        status: u16,
        /// What it said, shortened.
        message: String,
    },
    /// It answered with more than such an answer may have.
    #[error("the IPFS daemon answered {command} with more than {bytes_max} bytes")]
    TooLong {
        /// What it was asked.
        command: &'static str,
        /// The limit.
        bytes_max: usize,
    },
    /// It answered with something else than such an answer is.
    #[error("the IPFS daemon's answer to {command} cannot be used: {what}")]
    Answer {
        /// What it was asked.
        command: &'static str,
        /// What is wrong.
        what: &'static str,
    },
    /// It gave other bytes than the block has.
    #[error("the IPFS daemon gave other bytes than block {cid}")]
    WrongBytes {
        /// The block.
        cid: Cid,
    },
    /// It named what was added otherwise than its bytes are named.
    #[error("the IPFS daemon names {actual} what is {expected}")]
    WrongName {
        /// The name that the bytes have.
        expected: Cid,
        /// What the daemon said.
        actual: Cid,
    },
}

impl KuboError {
    /// Whether trying again can help, without anybody changing a file or a configuration. A daemon
    /// answers with status 500 whatever goes wrong with it, so that this counts as worth a try.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Timeout { .. } | Self::Full { .. } => true,
            Self::WrongBytes { .. } => true,
            Self::Refused { status, .. } => *status >= 500 || *status == 429,
            Self::Address(_) | Self::File { .. } | Self::Forbidden { .. } => false,
            Self::NotOffered { .. } | Self::TooLong { .. } | Self::Answer { .. } => false,
            Self::WrongName { .. } => false,
        }
    }

    /// What an answer with a status other than success means. The words are the daemon's own: they
    /// decide nothing but which error this is.
    pub(super) fn of_status(command: &'static str, status: u16, body: &[u8]) -> Self {
        let message = message(body);
        match status {
            401 | 403 => Self::Forbidden { command },
            404 | 405 | 501 => Self::NotOffered { command },
            507 => Self::Full { command },
            _ if message.contains("no space left") || message.contains("ENOSPC") => {
                Self::Full { command }
            }
            _ => Self::Refused {
                command,
                status,
                message,
            },
        }
    }

    /// Whether it was refused because the daemon does not have what was asked for.
    pub(super) fn is_not_found(&self) -> bool {
        let words = ["not found", "could not find", "no link named"];
        matches!(self, Self::Refused { message, .. }
            if words.iter().any(|word| message.contains(word)))
    }

    /// Whether the daemon gave up by itself when the time that it was given had passed.
    pub(super) fn is_time_up(&self) -> bool {
        let words = ["deadline exceeded", "timed out", "timeout", "aborted"];
        matches!(self, Self::Refused { message, .. }
            if words.iter().any(|word| message.contains(word)))
    }

    /// Whether it was refused because there is no such pin.
    pub(super) fn is_not_pinned(&self) -> bool {
        matches!(self, Self::Refused { message, .. } if message.contains("not pinned"))
    }
}

/// One short line of what a daemon says, without anything that could act on a terminal.
fn message(body: &[u8]) -> String {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Said {
        message: String,
    }
    let said = match serde_json::from_slice::<Said>(body) {
        Ok(said) => said.message,
        Err(_) => String::from_utf8_lossy(body).into_owned(),
    };
    let printable = said
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(KUBO_MESSAGE_CHARS_MAX);
    printable.collect::<String>().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_status_means() {
        let check = |status, body: &str, expect: &str, retry| {
            let error = KuboError::of_status("block/get", status, body.as_bytes());
            assert_eq!(error.to_string(), expect);
            assert_eq!(error.is_retryable(), retry, "{expect}");
        };
        check(
            500,
            r#"{"Message":"block was not found locally","Code":0,"Type":"error"}"#,
            "the IPFS daemon refused block/get with 500: block was not found locally",
            true,
        );
        check(
            404,
            "404 page not found\n",
            "this IPFS daemon does not offer block/get",
            false,
        );
        check(
            403,
            "secret",
            "the IPFS daemon does not let us call block/get: check the authorization file",
            false,
        );
        check(
            500,
            r#"{"Message":"write /x: no space left on device"}"#,
            "the disk of the IPFS daemon is full (block/get)",
            true,
        );
        check(
            400,
            "bad\x1b[31m\r\nthing",
            "the IPFS daemon refused block/get with 400: bad [31m  thing",
            false,
        );
    }

    #[test]
    fn a_long_message_is_cut() {
        let error = KuboError::of_status("id", 500, "x".repeat(100_000).as_bytes());
        assert!(error.to_string().len() < 400);
    }
}
