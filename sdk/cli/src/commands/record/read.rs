//! Reading, whole or in part.

use std::ops::Range;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;
use stela_consent::{Id, Purpose};
use stela_records::care::Reading;
use stela_records::format::Metadata;

use super::{Work, code};
use crate::arguments::ByteRange;
use crate::output::time;
use crate::transfer::Took;

#[derive(Serialize)]
struct Read {
    record: String,
    version: u32,
    file: String,
    content_bytes: u64,
    media_type: String,
    purpose: String,
    basis: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    consent: Option<String>,
    permit_expires: String,
    transaction: String,
    /// The part that was read, its end excluded.
    #[serde(skip_serializing_if = "Option::is_none")]
    range: Option<[u64; 2]>,
    /// Blocks that came from other nodes.
    fetched_blocks: u64,
    /// Bytes of these.
    fetched_bytes: u64,
    stages: Vec<Took>,
}

/// What is to be read.
pub(super) struct Wanted<'a> {
    pub(super) patient: Id,
    pub(super) record: Id,
    pub(super) version: u32,
    pub(super) purpose: Purpose,
    pub(super) out: &'a Path,
}

impl Work<'_> {
    pub(super) async fn read(&self, wanted: &Wanted<'_>) -> anyhow::Result<()> {
        let Wanted {
            patient,
            record,
            version,
            purpose,
            out,
        } = *wanted;
        self.transfer.say("requesting access");
        let opened = self
            .session
            .read(patient, record, version, purpose, out)
            .await?;
        self.show_read(wanted, &opened.reading, &opened.metadata, None)
    }

    pub(super) async fn read_part(
        &self,
        wanted: &Wanted<'_>,
        range: ByteRange,
    ) -> anyhow::Result<()> {
        let Wanted {
            patient,
            record,
            version,
            purpose,
            out,
        } = *wanted;
        self.transfer.say("requesting access");
        let parts = self
            .session
            .parts(patient, record, version, purpose)
            .await?;
        let bytes = parts.metadata().content_bytes();
        let range = range
            .within(bytes)
            .with_context(|| format!("the range is not inside the document of {bytes} bytes"))?;
        parts.read_to_file(range.clone(), out).await?;
        self.show_read(wanted, parts.reading(), parts.metadata(), Some(range))
    }

    fn show_read(
        &self,
        wanted: &Wanted<'_>,
        reading: &Reading,
        metadata: &Metadata,
        range: Option<Range<u64>>,
    ) -> anyhow::Result<()> {
        self.transfer.clear();
        let fetched = self.session.node().stats();
        let read = Read {
            record: wanted.record.to_string(),
            version: wanted.version,
            file: wanted.out.display().to_string(),
            content_bytes: metadata.content_bytes(),
            media_type: metadata.media_type().to_owned(),
            purpose: code(&wanted.purpose),
            basis: code(&reading.decision.basis),
            consent: reading.decision.consent.map(|id| id.to_string()),
            permit_expires: time(reading.grant.expires),
            transaction: reading.submitted.status.transaction.to_string(),
            range: range.map(|range| [range.start, range.end]),
            fetched_blocks: fetched.blocks_received,
            fetched_bytes: fetched.bytes_received,
            stages: self.transfer.took(),
        };
        self.output.answer(&read, |r| {
            let by = r
                .consent
                .as_ref()
                .map(|id| format!(" by consent {id}"))
                .unwrap_or_default();
            let bytes = match r.range {
                None => format!("{} bytes", r.content_bytes),
                Some([start, end]) => {
                    let fetched = r.fetched_blocks;
                    let part = format!("{} of {}", end - start, r.content_bytes);
                    format!("{part} bytes ({fetched} blocks fetched, the rest not verified)")
                }
            };
            format!(
                "permitted{by} until {}\n{bytes} of {} in {}\ntransaction {}",
                r.permit_expires, r.media_type, r.file, r.transaction
            )
        })
    }
}
