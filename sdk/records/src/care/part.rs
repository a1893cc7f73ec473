//! Reading a part of a document without the whole.

use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use stela_consent::{Id, Purpose};
use stela_ipfs::BlobStore;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::access::{Reading, open_blob};
use super::error::ReadError;
use super::keys::cid_of;
use super::progress::{Progress, Stage};
use super::session::Session;
use crate::format::Metadata;
use crate::stream::{DecryptError, Decryptor, DocumentLayout, RangeError, Target, chunk_buffer};

/// A version that is read in parts, under one permit.
///
/// Guaranteed of every byte that is given out: it stands at this place of this version of the
/// record, as every other reader sees it. Key and header are those that the ledger commits to,
/// the ciphertext has the length that the header says, and each chunk was verified with its
/// position before a byte of it was given out.
///
/// **Not** guaranteed, because the other chunks are not looked at: that the rest of the document
/// can be had and is whole, and that its author wrote zeros as padding. [`Session::read`] shows
/// that.
pub struct Parts<'a> {
    session: &'a Session,
    reading: Reading,
    reader: PartReader<'a>,
}

impl Session {
    /// Asks for access to a version, to read parts of it. Of its ciphertext, what is fetched is the
    /// first block and those that [`Parts::read`] needs.
    ///
    /// # Errors
    /// [`ReadError`] says which step failed.
    pub async fn parts(
        &self,
        patient: Id,
        record: Id,
        version: u32,
        purpose: Purpose,
    ) -> Result<Parts<'_>, ReadError> {
        let reading = self.open(patient, record, version, purpose).await?;
        let decryptor = self.decryptor(&reading).await?;
        let cid = cid_of(&reading.grant.record.cid)?;
        self.enter_swarm().await?;
        let reader = PartReader::open(&self.options.node, cid, decryptor, self.fetch_limit(0));
        Ok(Parts {
            session: self,
            reading,
            reader: reader.await?,
        })
    }
}

impl Parts<'_> {
    /// The permit.
    pub fn reading(&self) -> &Reading {
        &self.reading
    }

    /// The document's true size and format.
    pub fn metadata(&self) -> &Metadata {
        self.reader.layout.metadata()
    }

    /// Writes the bytes of `range` to `writer`, and flushes it.
    ///
    /// **Hazard:** every byte written is authentic, but after an error some may be missing.
    ///
    /// # Errors
    /// [`ReadError`]; [`ReadError::Range`] before anything is fetched.
    pub async fn read(
        &self,
        range: Range<u64>,
        writer: &mut (impl AsyncWrite + Unpin),
    ) -> Result<(), ReadError> {
        let limit = self
            .session
            .fetch_limit(range.end.saturating_sub(range.start));
        let progress = &*self.session.options.progress;
        self.reader.read(range, writer, limit, progress).await
    }

    /// Writes the bytes of `range` to the file `path`, with mode 0600, which appears only when it
    /// is whole.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub async fn read_to_file(&self, range: Range<u64>, path: &Path) -> Result<(), ReadError> {
        let mut target = Target::create(path).map_err(DecryptError::Write)?;
        self.read(range, target.writer()).await?;
        Ok(target.publish().await.map_err(DecryptError::Write)?)
    }
}

/// Reads parts of one record from a blob store.
struct PartReader<'a> {
    store: &'a dyn BlobStore,
    cid: cid::Cid,
    decryptor: Decryptor,
    layout: DocumentLayout,
}

impl<'a> PartReader<'a> {
    async fn open(
        store: &'a dyn BlobStore,
        cid: cid::Cid,
        decryptor: Decryptor,
        limit: Duration,
    ) -> Result<Self, ReadError> {
        let header = *decryptor.header();
        drop(open_blob(store, &cid, header.blob_bytes(), limit).await?);
        let first = header.chunk_blob_range(0);
        let first = first.ok_or(DecryptError::Truncated { chunk: 0 })?;
        let mut blob = store
            .get_range(&cid, first.start, first.end - first.start, limit)
            .await?;
        let mut buffer = chunk_buffer();
        open_chunk(&decryptor, 0, &first, &mut blob, &mut buffer).await?;
        let layout = decryptor.layout(&buffer)?;
        Ok(Self {
            store,
            cid,
            decryptor,
            layout,
        })
    }

    async fn read(
        &self,
        range: Range<u64>,
        writer: &mut (impl AsyncWrite + Unpin),
        limit: Duration,
        progress: &dyn Progress,
    ) -> Result<(), ReadError> {
        let Some(span) = self.span(range.clone())? else {
            return Ok(());
        };
        let bytes = span.end - span.start;
        progress.begin(Stage::Fetch, bytes);
        let mut blob = self
            .store
            .get_range(&self.cid, span.start, bytes, limit)
            .await?;
        let mut buffer = chunk_buffer();
        for part in self.layout.parts(range)? {
            open_chunk(
                &self.decryptor,
                part.chunk,
                &part.blob,
                &mut blob,
                &mut buffer,
            )
            .await?;
            let content = &buffer[part.plaintext];
            writer
                .write_all(content)
                .await
                .map_err(DecryptError::Write)?;
            progress.reach(part.blob.end - span.start);
        }
        writer.flush().await.map_err(DecryptError::Write)?;
        progress.end();
        Ok(())
    }

    /// Where in the blob the chunks of a range are; `None` for an empty one.
    fn span(&self, range: Range<u64>) -> Result<Option<Range<u64>>, RangeError> {
        let parts = self.layout.parts(range)?;
        Ok(parts
            .map(|part| part.blob)
            .reduce(|span, next| span.start..next.end))
    }
}

/// Reads the next sealed chunk and opens it in place.
async fn open_chunk(
    decryptor: &Decryptor,
    chunk: u32,
    place: &Range<u64>,
    blob: &mut (impl tokio::io::AsyncRead + Unpin),
    buffer: &mut Vec<u8>,
) -> Result<(), DecryptError> {
    buffer.clear();
    buffer.resize((place.end - place.start) as usize, 0);
    match blob.read_exact(buffer).await {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            return Err(DecryptError::Truncated { chunk });
        }
        read => drop(read.map_err(DecryptError::Read)?),
    }
    decryptor.decrypt_chunk(chunk, buffer)
}

#[cfg(test)]
mod tests {
    use super::super::progress::Silent;
    use super::*;
    use crate::keys::RecordKey;
    use crate::limits::CHUNK_PLAINTEXT_BYTES;
    use crate::stream::Encryptor;
    use stela_ipfs::{Member, Node, NodeConfig, SwarmKey, generate_swarm_key};
    use tempfile::TempDir;

    const LIMIT: Duration = Duration::from_secs(60);
    const CHUNKS: usize = 12;

    struct Record {
        key: RecordKey,
        header: Vec<u8>,
        commitment: crate::format::KeyCommitment,
        content: Vec<u8>,
        blob: Vec<u8>,
    }

    async fn record() -> Record {
        let length = CHUNKS * CHUNK_PLAINTEXT_BYTES as usize - 1_000;
        let content: Vec<u8> = (0..length).map(|n| (n / 7) as u8).collect();
        let metadata = Metadata::new(length as u64, "application/dicom", "dicom").unwrap();
        let mut rng = rand::rng();
        let key = RecordKey::generate(&mut rng);
        let mut encryptor = Encryptor::new(&content[..], &metadata, &key, &mut rng).unwrap();
        let (header, commitment) = (encryptor.header().encode().to_vec(), encryptor.commitment());
        let mut blob = Vec::new();
        encryptor.read_to_end(&mut blob).await.unwrap();
        Record {
            key,
            header,
            commitment,
            content,
            blob,
        }
    }

    impl Record {
        fn decryptor(&self) -> Decryptor {
            Decryptor::new(&self.key, &self.header, &self.commitment).unwrap()
        }
    }

    async fn node(key: &SwarmKey) -> (Node, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let mut config = NodeConfig::new(folder.path(), key.clone());
        config.fsync = false;
        (Node::start(config).await.unwrap(), folder)
    }

    /// Two nodes of one swarm, connected.
    async fn two_nodes() -> [(Node, TempDir); 2] {
        let key = generate_swarm_key();
        let (holder, reader) = (node(&key).await, node(&key).await);
        let member = |node: &Node, addresses| Member {
            peer: node.peer_id(),
            addresses,
        };
        holder.0.allow(member(&reader.0, Vec::new())).await;
        let addresses = holder.0.listen_addresses();
        reader.0.allow(member(&holder.0, addresses.clone())).await;
        reader.0.connect(addresses[0].clone()).await.unwrap();
        [holder, reader]
    }

    #[tokio::test]
    async fn only_the_blocks_of_a_part_are_fetched() {
        let [(holder, _one), (reader, _two)] = two_nodes().await;
        let record = record().await;
        let cid = holder.put(&mut &record.blob[..]).await.unwrap();
        let received = || reader.stats().blocks_received;
        let parts = PartReader::open(&reader, cid, record.decryptor(), LIMIT)
            .await
            .unwrap();
        assert_eq!(received(), 2, "the root and the first chunk");
        assert_eq!(parts.layout.metadata().media_type(), "application/dicom");
        let chunk = u64::from(CHUNK_PLAINTEXT_BYTES);
        for (range, expect) in [
            (5 * chunk + 10_000..5 * chunk + 10_010, 3),
            (7 * chunk + 10_000..9 * chunk + 10_000, 6),
            (7 * chunk + 20_000..8 * chunk, 6),
            (0..100, 6),
            (
                record.content.len() as u64 - 10..record.content.len() as u64,
                7,
            ),
            (5..5, 7),
        ] {
            let mut out = Vec::new();
            parts
                .read(range.clone(), &mut out, LIMIT, &Silent)
                .await
                .unwrap();
            assert_eq!(
                out,
                record.content[range.start as usize..range.end as usize]
            );
            assert_eq!(received(), expect, "{range:?}");
        }
    }

    #[tokio::test]
    async fn a_range_outside_the_document_is_refused_before_anything_is_fetched() {
        let (node, _folder) = node(&generate_swarm_key()).await;
        let record = record().await;
        let cid = node.put(&mut &record.blob[..]).await.unwrap();
        let parts = PartReader::open(&node, cid, record.decryptor(), LIMIT)
            .await
            .unwrap();
        let end = record.content.len() as u64;
        let mut out = Vec::new();
        // What follows the document is padding, which is nobody's to read.
        for range in [
            0..end + 1,
            end..end + 1,
            u64::MAX - 1..u64::MAX,
            0..u64::MAX,
        ] {
            let refused = parts.read(range, &mut out, LIMIT, &Silent).await;
            assert!(matches!(refused, Err(ReadError::Range(_))));
        }
        assert!(out.is_empty());
    }

    #[tokio::test]
    async fn a_blob_of_another_length_is_refused_and_a_changed_chunk_is_noticed() {
        let (node, _folder) = node(&generate_swarm_key()).await;
        let record = record().await;
        let longer = [&record.blob[..], &[0]].concat();
        for blob in [&record.blob[..record.blob.len() - 1], &longer] {
            let cid = node.put(&mut &blob[..]).await.unwrap();
            let refused = PartReader::open(&node, cid, record.decryptor(), LIMIT).await;
            let expect = record.blob.len() as u64;
            assert!(matches!(
                refused.err(),
                Some(ReadError::Length { expected, actual, .. })
                    if expected == expect && actual == blob.len() as u64
            ));
        }
        // The right length and the right CID of other bytes: the author's own storage lies.
        let mut changed = record.blob.clone();
        let place = record.decryptor().header().chunk_blob_range(3).unwrap();
        changed[place.start as usize] ^= 1;
        let cid = node.put(&mut &changed[..]).await.unwrap();
        let parts = PartReader::open(&node, cid, record.decryptor(), LIMIT)
            .await
            .unwrap();
        let chunk = u64::from(CHUNK_PLAINTEXT_BYTES);
        let mut out = Vec::new();
        let refused = parts
            .read(3 * chunk..3 * chunk + 5_000, &mut out, LIMIT, &Silent)
            .await;
        let tampered = matches!(
            refused,
            Err(ReadError::Decrypt(DecryptError::Tampered { chunk: 3 }))
        );
        assert!(tampered && out.is_empty());
        parts
            .read(5 * chunk..5 * chunk + 9, &mut out, LIMIT, &Silent)
            .await
            .unwrap();
    }
}
