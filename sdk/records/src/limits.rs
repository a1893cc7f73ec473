//! Every limit of this crate, by name. What a format fixes is here too, so that the sizes of one
//! record can be read off one page.

/// Plaintext bytes in every chunk but the last. With its tag a full chunk is exactly one 256 KiB
/// block of IPFS.
pub const CHUNK_PLAINTEXT_BYTES: u32 = 262_128;

/// Bytes that sealing adds to a chunk: the Poly1305 tag.
pub const CHUNK_TAG_BYTES: u32 = 16;

/// The longest sealed chunk. Encryption and decryption hold one buffer of this size, whatever the
/// size of the record.
pub const CHUNK_SEALED_BYTES_MAX: u32 = CHUNK_PLAINTEXT_BYTES + CHUNK_TAG_BYTES;

/// The shortest padded plaintext stream. Padmé alone hides little about very short documents (a
/// positive and a negative result may differ in length), so all of them are made equally long.
pub const PADDED_BYTES_MIN: u64 = 4096;

/// The longest padded plaintext stream, 1 TiB: far more than a whole genome, and far from the
/// 2³² chunks at which the counter of STREAM would end.
pub const PADDED_BYTES_MAX: u64 = 1 << 40;

/// The longest encrypted metadata.
pub const METADATA_BYTES_MAX: u32 = 4096;

/// The longest media type.
pub const MEDIA_TYPE_BYTES_MAX: usize = 255;

/// The longest name of a document format.
pub const FORMAT_BYTES_MAX: usize = 255;

/// The longest file name, as in the file systems it comes from.
pub const FILE_NAME_BYTES_MAX: usize = 255;

/// The longest padded stream that is decrypted into memory as a whole.
pub const DOCUMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The longest identifier of a channel, record, patient, author or recipient.
pub const IDENTIFIER_BYTES_MAX: usize = 256;

/// The most wraps in one list.
pub const WRAPS_MAX: usize = 64;

/// The longest encoded list of wraps.
pub const WRAP_LIST_BYTES_MAX: usize = 3 + WRAPS_MAX * (2 + IDENTIFIER_BYTES_MAX + 32 + 1168);

/// The longest note beside a request for consent, in bytes of UTF-8.
pub const NOTE_BYTES_MAX: usize = 2046;

/// A sealed note: its length, its text padded to the longest, and the tag.
pub const NOTE_SEALED_BYTES: usize = 2 + NOTE_BYTES_MAX + 16;

/// The longest encoded list of sealed notes.
pub const NOTE_LIST_BYTES_MAX: usize = 3 + WRAPS_MAX * (32 + 1120 + NOTE_SEALED_BYTES);

/// The most pages of one list that are asked for.
pub const PAGES_MAX: usize = 10_000;

/// How often two organizations' peers are asked until they name the same encryption keys.
pub const AGREEMENT_ATTEMPTS_MAX: u32 = 20;

/// How long to wait before they are asked again: a block takes about as long to reach a peer.
pub const AGREEMENT_PAUSE: std::time::Duration = std::time::Duration::from_millis(100);

/// The longest file that keeps the state of an unfinished upload.
pub const UPLOAD_STATE_BYTES_MAX: u64 = 64 * 1024;

/// The most unfinished uploads that are kept: the ciphertext of each is on this machine.
pub const UPLOADS_MAX: usize = 64;

/// How long the blocks of an interrupted read are kept for the next attempt: seven days.
pub const READ_KEPT_MS: u64 = 7 * 24 * 3_600_000;

/// The smallest ciphertext of which an interrupted read is resumed; what is smaller is fetched again.
pub const READ_RESUMED_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// The most interrupted reads that are remembered.
pub const READS_MAX: usize = 64;

/// Bytes of a blob that add a second to the time that fetching it may take.
pub const FETCH_BYTES_PER_SECOND_MIN: u64 = 1 << 20;

/// How long a reader waits before she looks again whether her emergency was answered.
pub const AWAIT_KEY_PAUSE: std::time::Duration = std::time::Duration::from_millis(500);

/// The most observations of one window.
pub const WINDOW_OBSERVATIONS_MAX: usize = 10_000;

/// The longest observation of a window, in bytes of JSON.
pub const OBSERVATION_BYTES_MAX: usize = 16 * 1024;
