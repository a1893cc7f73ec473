//! Every bound that the contract sets.

/// How long a permit lasts at most: one hour, in milliseconds.
pub const PERMIT_MS: u64 = 3_600_000;
/// Consents of one patient, revoked ones included, that a decision can take into account; with
/// more, nobody gets access by consent.
pub const CONSENTS_MAX: u32 = 999;
/// Lists of wrapped keys of one version of a record.
pub const WRAPS_MAX: u32 = 200;
/// How many of them others than the patient may add, the one it was submitted with included.
pub const OTHERS_WRAPS_MAX: u32 = WRAPS_MAX / 2;
/// How long an emergency permit lasts at most, when the settings do not say: four hours, in
/// milliseconds.
pub const EMERGENCY_MS: u64 = 4 * 3_600_000;
/// How long an emergency access may wait for its review, when the settings do not say: 72 hours,
/// in milliseconds.
pub const EMERGENCY_REVIEW_MS: u64 = 72 * 3_600_000;
/// The smallest count of patients that a study is told, when the settings do not say.
pub const STUDY_FLOOR: u32 = 10;
/// Purposes, labels and categories of a study, each.
pub const STUDY_CODES_MAX: usize = 24;
/// Certificates and roles that are a study's investigators, each.
pub const INVESTIGATORS_MAX: u32 = 200;
/// Patients whose records one count can look at; a study with more is counted in parts.
pub const COHORT_PATIENTS_MAX: u32 = 250;
/// Patients of a part on average, so that chance does not give one more than
/// [`COHORT_PATIENTS_MAX`].
pub const COHORT_PART_PATIENTS: u32 = 180;
/// Parts of a study: with more than so many times [`COHORT_PART_PATIENTS`] patients, none is
/// counted.
pub const COHORT_PARTS_MAX: u32 = 32;
/// Patients of a study whose names a count reads at a time.
pub const COHORT_NAMES_MAX: u32 = 1_000;
/// Records that one count can look at.
pub const COHORT_RECORDS_MAX: u32 = 1_500;
/// Entries of a page when the request names no limit.
pub const PAGE_DEFAULT: u32 = 50;
/// Entries of a page.
pub const PAGE_MAX: u32 = 200;
/// Versions of one record, so that an erasure can name the blobs of all of them.
pub const VERSIONS_MAX: u32 = 100;
/// Officers whose confirmations the consortium may ask for.
pub const OFFICERS_MAX: u32 = 8;
/// For how many years a record is kept when the settings do not say.
pub const RETENTION_YEARS: u32 = 10;
/// For how many years the settings may have it kept.
pub const RETENTION_YEARS_MAX: u32 = 150;
/// How long the proposal to erase a record as unlawful waits, when the settings do not say: 30 days,
/// in milliseconds.
pub const ERASURE_PROPOSAL_MS: u64 = 30 * 86_400_000;
/// How far back an accounting of disclosures goes (45 CFR 164.528).
pub const ACCOUNTING_YEARS: u32 = 6;
/// A year here: the mean one of the Gregorian calendar, 365.2425 days, in milliseconds.
pub const YEAR_MS: u64 = 31_556_952_000;
/// How long after the transaction's time what a record reports may have taken place: one day, in
/// milliseconds, for dates without an hour.
pub const DATE_AHEAD_MS_MAX: u64 = 86_400_000;
/// Bytes of a bookmark, in hexadecimal.
pub const BOOKMARK_BYTES_MAX: usize = 512;
/// Characters of a CID.
pub const CID_CHARS_MAX: usize = 128;
/// Bytes of a record's encryption header.
pub const HEADER_BYTES_MAX: usize = 256;
/// Bytes of an encoded X-Wing public key.
pub const PUBLIC_KEY_BYTES: usize = 1218;
/// Bytes of the contract's settings.
pub const SETTINGS_BYTES_MAX: usize = 4096;
/// How long a rebinding, a guardian whom an organization names, or an executor waits, when the
/// settings do not say: 72 hours, in milliseconds.
pub const REBIND_WAIT_MS: u64 = 72 * 3_600_000;
/// Certificates of one patient.
pub const CERTIFICATES_MAX: u32 = 8;
/// Certificates beyond those that rebindings may add, so that a patient who lost them all is not
/// kept out.
pub const REBOUND_MAX: u32 = 8;
/// Delegations of one patient, those included that are over and were not ended.
pub const DELEGATES_MAX: u32 = 32;
/// How far ahead a guardianship may end: 21 years, the highest age of majority, in milliseconds.
pub const GUARDIAN_MS_MAX: u64 = 21 * LEAP_YEAR_MS;
/// How far ahead a power of attorney may end that is not durable: a year, in milliseconds. The
/// ledger cannot learn that the patient lost her capacity, with which it ends; so she renews it.
pub const POWER_MS_MAX: u64 = LEAP_YEAR_MS;
/// How far ahead any other delegation may end: 50 years, in milliseconds.
pub const DELEGATION_MS_MAX: u64 = 50 * LEAP_YEAR_MS;
/// How long a consent can be asked for: 30 days, in milliseconds.
pub const CONSENT_REQUEST_MS_MAX: u64 = 30 * 86_400_000;
/// The longest year, of 366 days, in milliseconds.
const LEAP_YEAR_MS: u64 = 366 * 86_400_000;
