//! Small chunks stand in for large ones here: the code knows the chunk size from the header only.

use super::encrypt::prefix;
use super::*;
use crate::format::{Header, KeyCommitment, Metadata, MetadataError};
use crate::keys::RecordKey;
use crate::limits::{
    CHUNK_PLAINTEXT_BYTES, CHUNK_SEALED_BYTES_MAX, CHUNK_TAG_BYTES, DOCUMENT_BYTES_MAX,
    PADDED_BYTES_MAX,
};
use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};
use zeroize::Zeroizing;

const SMALL_CHUNK: u32 = 96;

/// A record as its author has it.
struct Record {
    key: RecordKey,
    header: Header,
    commitment: KeyCommitment,
    content: Vec<u8>,
    blob: Vec<u8>,
}

impl Record {
    fn decryptor(&self) -> Decryptor {
        Decryptor::with_header(&self.key, self.header, &self.commitment).expect("its own key")
    }

    fn chunk(&self, index: u32) -> &[u8] {
        let range = self.header.chunk_blob_range(index).expect("exists");
        &self.blob[range.start as usize..range.end as usize]
    }

    fn chunks(&self) -> Vec<&[u8]> {
        (0..self.header.chunk_count())
            .map(|index| self.chunk(index))
            .collect()
    }
}

/// Gives the bytes in small, changing portions and is not ready every other time.
struct Choppy<'a> {
    rest: &'a [u8],
    calls: usize,
}

fn choppy(bytes: &[u8]) -> Choppy<'_> {
    Choppy {
        rest: bytes,
        calls: 0,
    }
}

impl AsyncRead for Choppy<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.calls += 1;
        if self.calls % 2 == 1 {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let portion = (self.calls % 41 + 1)
            .min(self.rest.len())
            .min(out.remaining());
        let (head, rest) = self.rest.split_at(portion);
        out.put_slice(head);
        self.rest = rest;
        Poll::Ready(Ok(()))
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime without drivers")
        .block_on(future)
}

fn metadata(content_bytes: usize) -> Metadata {
    Metadata::new(content_bytes as u64, "a/b", "c").expect("valid")
}

fn small_encryptor<R: AsyncRead + Unpin>(
    source: R,
    content_bytes: usize,
    padding_bytes: u64,
    key: &RecordKey,
    rng: &mut StdRng,
) -> Encryptor<R> {
    let prefix = prefix(&metadata(content_bytes));
    let padded = prefix.len() as u64 + content_bytes as u64 + padding_bytes;
    let header = Header::with_chunks_of(SMALL_CHUNK, padded, rng);
    Encryptor::with_header(source, prefix, content_bytes as u64, key, header)
}

fn small_record(content_bytes: usize, padding_bytes: u64, seed: u64) -> Record {
    let mut rng = StdRng::seed_from_u64(seed);
    let key = RecordKey::generate(&mut rng);
    let mut content = vec![0; content_bytes];
    rng.fill_bytes(&mut content);
    let mut blob = Vec::new();
    let source = choppy(&content);
    let mut encryptor = small_encryptor(source, content_bytes, padding_bytes, &key, &mut rng);
    let (header, commitment) = (*encryptor.header(), encryptor.commitment());
    block_on(async {
        while let Some(chunk) = encryptor.next_chunk().await.expect("seals") {
            blob.extend_from_slice(chunk);
        }
    });
    Record {
        key,
        header,
        commitment,
        content,
        blob,
    }
}

/// Five chunks: prefix and content, content, content, content and padding, padding.
fn five_chunks() -> Record {
    let record = small_record(260, 110, 1);
    assert_eq!(record.header.chunk_count(), 5);
    record
}

fn real_record(content_bytes: usize, seed: u64) -> Record {
    let mut rng = StdRng::seed_from_u64(seed);
    let key = RecordKey::generate(&mut rng);
    let mut content = vec![0; content_bytes];
    rng.fill_bytes(&mut content);
    let mut encryptor =
        Encryptor::new(content.as_slice(), &metadata(content_bytes), &key, &mut rng)
            .expect("small enough");
    let (header, commitment) = (*encryptor.header(), encryptor.commitment());
    let mut blob = Vec::new();
    block_on(encryptor.read_to_end(&mut blob)).expect("seals");
    Record {
        key,
        header,
        commitment,
        content,
        blob,
    }
}

fn decrypt(record: &Record, blob: &[u8]) -> Result<Vec<u8>, DecryptError> {
    let document = block_on(record.decryptor().decrypt_document(choppy(blob)))?;
    Ok(document.content().to_vec())
}

fn check_round_trip(record: &Record) {
    assert_eq!(record.blob.len() as u64, record.header.blob_bytes());
    assert_eq!(
        decrypt(record, &record.blob).expect("opens"),
        record.content
    );
}

#[test]
fn every_length_around_the_borders_of_chunks() {
    for content_bytes in 0..=4 * SMALL_CHUNK as usize {
        for padding_bytes in [0, 1, 17, u64::from(SMALL_CHUNK)] {
            check_round_trip(&small_record(content_bytes, padding_bytes, 2));
        }
    }
}

#[test]
fn real_chunks() {
    let chunk = CHUNK_PLAINTEXT_BYTES as usize;
    for content_bytes in [
        0,
        1,
        4095,
        chunk - 60,
        chunk - 59,
        chunk - 58,
        chunk,
        chunk + 1,
        2 * chunk + 12_345,
    ] {
        let record = real_record(content_bytes, 3);
        check_round_trip(&record);
        assert_eq!(Header::decode(&record.header.encode()), Ok(record.header));
        for index in 0..record.header.chunk_count() - 1 {
            assert_eq!(record.chunk(index).len(), 256 * 1024);
        }
    }
}

#[test]
fn buffers_never_grow() {
    let mut rng = StdRng::seed_from_u64(4);
    let content = vec![7; 3 * CHUNK_PLAINTEXT_BYTES as usize];
    let key = RecordKey::generate(&mut rng);
    let source = content.as_slice();
    let mut encryptor =
        Encryptor::new(source, &metadata(content.len()), &key, &mut rng).expect("small enough");
    let header = encryptor.header().encode();
    let decryptor = Decryptor::new(&key, &header, &encryptor.commitment()).expect("its own key");
    let mut blob = Vec::new();
    block_on(async {
        while let Some(chunk) = encryptor.next_chunk().await.expect("seals") {
            assert!(chunk.len() <= CHUNK_SEALED_BYTES_MAX as usize);
            blob.extend_from_slice(chunk);
            assert_eq!(encryptor.buffer_capacity(), CHUNK_SEALED_BYTES_MAX as usize);
        }
        let mut stream = decryptor.content_stream(blob.as_slice());
        while stream.next_content().await.expect("opens").is_some() {
            assert_eq!(stream.buffer_capacity(), CHUNK_SEALED_BYTES_MAX as usize);
        }
    });
}

#[test]
fn both_ways_to_take_a_blob_give_the_same() {
    let record = small_record(500, 33, 5);
    let mut rng = StdRng::seed_from_u64(5);
    let key = RecordKey::generate(&mut rng);
    rng.fill_bytes(&mut [0; 500]);
    let source = choppy(&record.content);
    let mut encryptor = small_encryptor(source, 500, 33, &key, &mut rng);
    let mut blob = Vec::new();
    block_on(async {
        let mut portion = [0; 7];
        loop {
            match encryptor.read(&mut portion).await.expect("reads") {
                0 => break,
                read_bytes => blob.extend_from_slice(&portion[..read_bytes]),
            }
        }
    });
    assert_eq!(blob, record.blob);
}

#[test]
fn the_source_must_have_exactly_the_stated_length() {
    fn check(stated: usize, actual: usize) -> EncryptError {
        let mut rng = StdRng::seed_from_u64(6);
        let key = RecordKey::generate(&mut rng);
        let content = vec![1; actual];
        let mut encryptor =
            Encryptor::new(choppy(&content), &metadata(stated), &key, &mut rng).expect("small");
        block_on(async {
            loop {
                match encryptor.next_chunk().await {
                    Ok(Some(_)) => {}
                    Ok(None) => panic!("{actual} bytes passed for {stated}"),
                    Err(error) => return error,
                }
            }
        })
    }
    assert!(matches!(
        check(100, 99),
        EncryptError::SourceTooShort {
            expected_bytes: 100,
            actual_bytes: 99
        }
    ));
    assert!(matches!(check(1, 0), EncryptError::SourceTooShort { .. }));
    for (stated, actual) in [(0, 1), (100, 101), (300_000, 300_001)] {
        let error = check(stated, actual);
        assert!(
            matches!(error, EncryptError::SourceTooLong { .. }),
            "{error}"
        );
    }
}

#[test]
fn a_document_beyond_the_limit_is_refused_before_it_is_read() {
    let mut rng = StdRng::seed_from_u64(7);
    let key = RecordKey::generate(&mut rng);
    for content_bytes in [PADDED_BYTES_MAX, u64::MAX] {
        let metadata = Metadata::new(content_bytes, "a/b", "c").expect("valid");
        let refused = Encryptor::new(tokio::io::empty(), &metadata, &key, &mut rng).err();
        assert!(matches!(refused, Some(EncryptError::TooLarge { .. })));
    }
}

#[test]
fn a_large_record_is_not_decrypted_into_memory() {
    let mut rng = StdRng::seed_from_u64(8);
    let key = RecordKey::generate(&mut rng);
    let header = Header::new(DOCUMENT_BYTES_MAX * 2, &mut rng).expect("a padded length");
    let commitment = key.commitment(&header.hash());
    let decryptor = Decryptor::new(&key, &header.encode(), &commitment).expect("its own key");
    let refused = block_on(decryptor.decrypt_document(&b""[..])).err();
    assert!(matches!(
        refused,
        Some(DecryptError::DocumentTooLarge { .. })
    ));
}

#[test]
fn every_flipped_bit_of_a_blob_is_refused() {
    let record = five_chunks();
    for bit in 0..record.blob.len() * 8 {
        let mut blob = record.blob.clone();
        blob[bit / 8] ^= 1 << (bit % 8);
        let sealed_chunk = (SMALL_CHUNK + CHUNK_TAG_BYTES) as usize;
        let expected = (bit / 8 / sealed_chunk) as u32;
        let refused = decrypt(&record, &blob).err();
        assert!(
            matches!(refused, Some(DecryptError::Tampered { chunk }) if chunk == expected),
            "bit {bit}: {refused:?}"
        );
    }
}

#[test]
fn every_flipped_bit_of_header_key_and_commitment_is_refused() {
    let record = real_record(10, 9);
    let header = record.header.encode();
    for bit in 0..header.len() * 8 {
        let mut other = header;
        other[bit / 8] ^= 1 << (bit % 8);
        let refused = Decryptor::new(&record.key, &other, &record.commitment).err();
        let expected = match refused {
            Some(DecryptError::HeaderInvalid(_)) => bit < 18 * 8,
            // Random bytes, or another length to which records are padded.
            Some(DecryptError::CommitmentMismatch) => bit >= 10 * 8,
            _ => false,
        };
        assert!(expected, "header bit {bit}: {refused:?}");
    }
    for bit in 0..32 * 8 {
        let flip = |bytes: &[u8; 32]| {
            let mut other = *bytes;
            other[bit / 8] ^= 1 << (bit % 8);
            other
        };
        let key = RecordKey::from_bytes(&flip(record.key.expose_bytes()));
        let refused = Decryptor::new(&key, &header, &record.commitment).err();
        assert!(
            matches!(refused, Some(DecryptError::CommitmentMismatch)),
            "key bit {bit}"
        );
        let commitment = KeyCommitment::from_bytes(flip(record.commitment.as_bytes()));
        let refused = Decryptor::new(&record.key, &header, &commitment).err();
        assert!(
            matches!(refused, Some(DecryptError::CommitmentMismatch)),
            "bit {bit}"
        );
    }
}

#[test]
fn a_blob_cut_off_anywhere_is_refused() {
    let record = five_chunks();
    let sealed_chunk = (SMALL_CHUNK + CHUNK_TAG_BYTES) as usize;
    for length in 0..record.blob.len() {
        let refused = decrypt(&record, &record.blob[..length]).err();
        let expected = (length / sealed_chunk) as u32;
        assert!(
            matches!(refused, Some(DecryptError::Truncated { chunk }) if chunk == expected),
            "length {length}: {refused:?}"
        );
    }
}

#[test]
fn rearranged_chunks_are_refused() {
    fn check(record: &Record, chunks: &[&[u8]], expect: fn(&DecryptError) -> bool) {
        let refused = decrypt(record, &chunks.concat()).expect_err("rearranged");
        assert!(expect(&refused), "{refused:?}");
    }
    let record = five_chunks();
    let c = record.chunks();
    let tampered = |error: &DecryptError| matches!(error, DecryptError::Tampered { .. });
    let trailing = |error: &DecryptError| matches!(error, DecryptError::TrailingData);
    let truncated = |error: &DecryptError| matches!(error, DecryptError::Truncated { chunk: 4 });
    check(&record, &[c[1], c[0], c[2], c[3], c[4]], tampered);
    check(&record, &[c[0], c[2], c[1], c[3], c[4]], tampered);
    check(&record, &[c[0], c[1], c[1], c[3], c[4]], tampered);
    check(&record, &[c[0], c[1], c[1], c[2], c[3], c[4]], tampered);
    check(&record, &[c[0], c[1], c[3], c[4]], tampered);
    check(&record, &[c[0], c[1], c[2], c[3]], truncated);
    check(&record, &[c[0], c[1], c[2], c[3], c[4], &[0]], trailing);
    check(&record, &[c[0], c[1], c[2], c[3], c[4], c[4]], trailing);
    check(&record, &[c[0], c[1], c[2], c[3], c[3], c[4]], tampered);
}

#[test]
fn a_chunk_of_another_blob_is_refused_even_under_the_same_key() {
    let record = five_chunks();
    let mut rng = StdRng::seed_from_u64(10);
    let content = record.content.as_slice();
    let mut encryptor = small_encryptor(content, 260, 110, &record.key, &mut rng);
    let mut other = Vec::new();
    block_on(encryptor.read_to_end(&mut other)).expect("seals");
    assert_eq!(other.len(), record.blob.len());
    for index in 0..record.header.chunk_count() {
        let range = record.header.chunk_blob_range(index).expect("exists");
        let range = range.start as usize..range.end as usize;
        let mut mixed = record.blob.clone();
        assert_ne!(
            mixed[range.clone()],
            other[range.clone()],
            "the key streams differ"
        );
        mixed[range.clone()].copy_from_slice(&other[range]);
        let refused = decrypt(&record, &mixed).err();
        assert!(matches!(refused, Some(DecryptError::Tampered { chunk }) if chunk == index));
    }
}

/// Somebody who has the key shortens the record and its header alike.
#[test]
fn a_shortened_header_does_not_hide_a_truncation() {
    let record = real_record(300_000, 11);
    let mut header = record.header.encode();
    header[6..10].copy_from_slice(&1u32.to_be_bytes());
    header[10..18].copy_from_slice(&258_048u64.to_be_bytes());
    assert!(Header::decode(&header).is_ok());
    let refused = Decryptor::new(&record.key, &header, &record.commitment).err();
    assert!(matches!(refused, Some(DecryptError::CommitmentMismatch)));
}

#[test]
fn an_author_cannot_put_data_or_lies_behind_the_document() {
    fn check(stream: &[u8], expect: fn(&DecryptError) -> bool) {
        let mut rng = StdRng::seed_from_u64(12);
        let key = RecordKey::generate(&mut rng);
        let header = Header::with_chunks_of(SMALL_CHUNK, stream.len() as u64, &mut rng);
        let prefix = Zeroizing::new(stream.to_vec());
        let mut encryptor = Encryptor::with_header(&b""[..], prefix, 0, &key, header);
        let mut blob = Vec::new();
        block_on(encryptor.read_to_end(&mut blob)).expect("seals");
        let commitment = encryptor.commitment();
        let decryptor = Decryptor::with_header(&key, header, &commitment).expect("its own key");
        let refused = block_on(decryptor.decrypt_document(blob.as_slice())).expect_err("lies");
        assert!(expect(&refused), "{refused:?}");
        assert!(!refused.is_damaged_blob() && !refused.is_retryable());
    }
    fn with_length(length: u32, rest: &[u8]) -> Vec<u8> {
        [&length.to_be_bytes()[..], rest].concat()
    }
    let honest = prefix(&metadata(3));
    let padding = |bytes: &[u8]| [honest.as_slice(), b"abc", bytes].concat();
    let in_padding = |error: &DecryptError| matches!(error, DecryptError::PaddingInvalid { .. });
    check(&padding(&[0, 1]), in_padding);
    check(&padding(&[&[0; 300][..], &[1]].concat()), in_padding);
    check(
        &padding(&[&[0; 200][..], &[1], &[0; 200]].concat()),
        in_padding,
    );

    let too_long = |error: &DecryptError| {
        matches!(
            error,
            DecryptError::MetadataInvalid(MetadataError::TooLong { .. })
        )
    };
    check(&with_length(u32::MAX, &[b' '; 100]), too_long);
    check(&with_length(4096, &[b' '; 100]), too_long);
    check(&with_length(97, &[b' '; 200]), too_long);
    let malformed = |error: &DecryptError| {
        matches!(
            error,
            DecryptError::MetadataInvalid(MetadataError::Malformed)
        )
    };
    check(&with_length(10, &[b' '; 100]), malformed);
    check(&[0, 0, 0], malformed);
    let content_too_long = |error: &DecryptError| {
        matches!(
            error,
            DecryptError::MetadataInvalid(MetadataError::ContentTooLong { .. })
        )
    };
    check(
        &[prefix(&metadata(4)).as_slice(), b"abc"].concat(),
        content_too_long,
    );
    check(&prefix(&metadata(usize::MAX)), content_too_long);
}

#[test]
fn one_chunk_alone() {
    let record = five_chunks();
    let decryptor = record.decryptor();
    let mut stream = Vec::new();
    for index in 0..5 {
        let mut buffer = record.chunk(index).to_vec();
        decryptor.decrypt_chunk(index, &mut buffer).expect("opens");
        stream.extend(buffer);
        for other in (0..5).filter(|other| *other != index) {
            let mut buffer = record.chunk(index).to_vec();
            let refused = decryptor.decrypt_chunk(other, &mut buffer).err();
            let same_length = record.chunk(index).len() == record.chunk(other).len();
            let expected = match refused {
                Some(DecryptError::Tampered { chunk }) => chunk == other && same_length,
                Some(DecryptError::ChunkLength { chunk, .. }) => chunk == other && !same_length,
                _ => false,
            };
            assert!(expected, "chunk {index} as {other}: {refused:?}");
            assert!(buffer.is_empty());
        }
    }
    assert_eq!(stream.len() as u64, record.header.padded_bytes());
    let refused = decryptor
        .decrypt_chunk(5, &mut record.chunk(4).to_vec())
        .err();
    assert!(matches!(
        refused,
        Some(DecryptError::NoSuchChunk {
            chunk: 5,
            chunk_count: 5
        })
    ));
}

#[test]
fn every_range_of_a_document() {
    let record = five_chunks();
    let decryptor = record.decryptor();
    let open = |index| {
        let mut buffer = record.chunk(index).to_vec();
        decryptor.decrypt_chunk(index, &mut buffer).expect("opens");
        buffer
    };
    let layout = decryptor.layout(&open(0)).expect("valid metadata");
    let chunks: Vec<_> = (0..5).map(open).collect();
    for start in 0..=260u64 {
        for end in start..=260 {
            let mut bytes = Vec::new();
            for part in layout.parts(start..end).expect("inside") {
                assert_eq!(record.header.chunk_blob_range(part.chunk), Some(part.blob));
                bytes.extend_from_slice(&chunks[part.chunk as usize][part.plaintext]);
            }
            assert_eq!(
                bytes,
                record.content[start as usize..end as usize],
                "{start}..{end}"
            );
        }
    }
    assert_eq!(layout.parts(0..0).expect("inside").count(), 0);
    for (start, end) in [
        (0, 261),
        (261, 261),
        (5, 4),
        (0, u64::MAX),
        (u64::MAX, u64::MAX),
    ] {
        assert_eq!(
            layout.parts(start..end).err(),
            Some(RangeError { start, end })
        );
    }
}

#[test]
fn a_file_appears_only_when_it_is_complete() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let directory = tempfile::tempdir().expect("a temporary directory");
    let path = directory.path().join("document");
    let record = five_chunks();
    let decryptor = record.decryptor();
    let files = || std::fs::read_dir(directory.path()).expect("lists").count();

    for bad in [
        &record.blob[..300],
        &[record.blob.as_slice(), &[0]].concat(),
    ] {
        let refused = runtime.block_on(decryptor.decrypt_to_file(bad, &path));
        assert!(refused.is_err_and(|error| error.is_damaged_blob()));
        assert_eq!(files(), 0, "neither the file nor a temporary one");
    }
    let blob = record.blob.as_slice();
    let metadata = runtime
        .block_on(decryptor.decrypt_to_file(blob, &path))
        .expect("opens");
    assert_eq!(metadata.content_bytes(), 260);
    assert_eq!(std::fs::read(&path).expect("reads"), record.content);
    assert_eq!(files(), 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(&path)
            .expect("exists")
            .permissions()
            .mode();
        assert_eq!(mode & 0o7777, 0o600);
    }
    let refused = runtime.block_on(decryptor.decrypt_to_file(&record.blob[..300], &path));
    assert!(refused.is_err());
    assert_eq!(
        std::fs::read(&path).expect("reads"),
        record.content,
        "the older file stays"
    );
}

#[test]
fn debug_shows_nothing_of_key_or_document() {
    let mut rng = StdRng::seed_from_u64(13);
    let key = RecordKey::from_bytes(&[0xab; 32]);
    let content = b"canary";
    let named = Metadata::new(6, "x/canary", "canary")
        .and_then(|metadata| metadata.with_file_name("canary"))
        .expect("valid");
    let mut encryptor =
        Encryptor::new(content.as_slice(), &named, &key, &mut rng).expect("small enough");
    let mut shown = format!("{encryptor:?}");
    let (header, commitment) = (encryptor.header().encode(), encryptor.commitment());
    let decryptor = Decryptor::new(&key, &header, &commitment).expect("its own key");
    let mut blob = Vec::new();
    block_on(encryptor.read_to_end(&mut blob)).expect("seals");
    let document = block_on(decryptor.decrypt_document(blob.as_slice())).expect("opens");
    let mut stream = decryptor.content_stream(blob.as_slice());
    block_on(stream.next_content()).expect("opens");
    shown += &format!("{encryptor:?} {decryptor:?} {document:?} {stream:?} {named:?}");
    for secret in ["canary", "99, 97, 110", "171, 171", "abab"] {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }
}

proptest! {
    #[test]
    fn round_trip(content_bytes in 0usize..1000, padding_bytes in 0u64..300, seed in any::<u64>()) {
        check_round_trip(&small_record(content_bytes, padding_bytes, seed));
    }

    #[test]
    fn any_change_is_refused(
        seed in any::<u64>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), 1u8..), 1..5),
    ) {
        let record = small_record(300, 20, seed);
        let mut blob = record.blob.clone();
        for (at, change) in edits {
            blob[at.index(record.blob.len())] ^= change;
        }
        prop_assume!(blob != record.blob);
        let tampered = matches!(decrypt(&record, &blob), Err(DecryptError::Tampered { .. }));
        prop_assert!(tampered);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn round_trip_around_real_borders(chunks in 0usize..3, away in 0usize..140, seed in any::<u64>()) {
        let border = chunks * CHUNK_PLAINTEXT_BYTES as usize;
        check_round_trip(&real_record((border + away).saturating_sub(70), seed));
    }
}
