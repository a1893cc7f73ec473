//! Files and folders of a profile or a node: keys, certificates, room.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use stela_health::{Room, Words, free_bytes};
use stela_identity::tls::{Refusal, TlsIdentity, TlsRoots};
use stela_identity::{Certificate, Credentials, IdentityError, Msp};
use stela_ipfs::SwarmKey;
use stela_protocol::OrgId;

use super::finding::{Check, Finding, Verdict};
use crate::limits::CERTIFICATE_SOON_MS;
use crate::output::time;

/// Whose files they are.
#[derive(Clone, Copy)]
pub(super) struct Whose<'a> {
    /// As findings name it.
    pub(super) subject: &'a str,
    pub(super) organization: &'a OrgId,
    pub(super) now_ms: u64,
}

/// Reads a file that must not be larger than `bytes_max`.
pub(super) fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(bytes_max + 1)
        .read_to_end(&mut bytes)?;
    if bytes.len() as u64 > bytes_max {
        return Err(io::Error::other(format!("more than {bytes_max} bytes")));
    }
    Ok(bytes)
}

/// A file with a key is for its owner alone. A file that is not there is another check's business.
pub(super) fn mode(subject: &str, path: &Path, findings: &mut Vec<Finding>) {
    let Ok(metadata) = std::fs::metadata(path) else {
        return;
    };
    let (mode, shown) = (metadata.permissions().mode() & 0o777, path.display());
    let finding = Finding::ok(
        Check::Mode,
        subject,
        shown.to_string(),
        format!("{mode:04o}"),
    );
    findings.push(match mode & 0o077 {
        0 => finding,
        _ => finding
            .but(Verdict::Failed)
            .cured_by("others on this machine may read the key: make it its owner's alone")
            .with(format!("chmod 600 {shown}")),
    });
}

/// How to make a certificate anew.
pub(super) fn enrol(name: &str, role: &str, host: Option<&str>) -> String {
    let host = host
        .map(|host| format!(" --host {host}"))
        .unwrap_or_default();
    format!("stela ca enroll --ca CA_FOLDER --name {name} --role {role}{host} --out NEW_FOLDER")
}

/// The certificate and key under which somebody signs; answers the certificate if it can be read.
pub(super) fn identity(
    whose: Whose<'_>,
    folder: &Path,
    findings: &mut Vec<Finding>,
) -> Option<Certificate> {
    mode(whose.subject, &folder.join("key.pem"), findings);
    let looked_at = folder.display().to_string();
    let finding = |check| Finding::ok(check, whose.subject, looked_at.clone(), "");
    let credentials = match Credentials::load(folder) {
        Ok(credentials) => credentials,
        Err(error) => {
            let found = Finding {
                found: format!("no usable identity: {error}"),
                ..finding(Check::Files)
            };
            findings.push(
                found
                    .but(Verdict::Failed)
                    .cured_by("put cert.pem and the key.pem that belongs to it there")
                    .with(enrol("NAME", "ROLE", None)),
            );
            return None;
        }
    };
    let certificate = credentials.certificate;
    if certificate.organization() != whose.organization {
        let found = Finding {
            found: format!(
                "the certificate is of {}, the configuration says {}",
                certificate.organization(),
                whose.organization
            ),
            ..finding(Check::Authority)
        };
        findings.push(
            found
                .but(Verdict::Failed)
                .cured_by("name the right folder, or have the right organization enrol it")
                .with(enrol(certificate.common_name(), certificate.role(), None)),
        );
    }
    let (from, to) = (certificate.not_before_ms(), certificate.not_after_ms());
    let again = enrol(certificate.common_name(), certificate.role(), None);
    findings.push(validity(
        finding(Check::Certificate),
        from,
        to,
        whose.now_ms,
        again,
    ));
    Some(certificate)
}

/// Whether a certificate is valid now, and for how long.
pub(super) fn validity(
    finding: Finding,
    not_before_ms: u64,
    not_after_ms: u64,
    now_ms: u64,
    again: String,
) -> Finding {
    let (words, verdict) = if now_ms > not_after_ms {
        (
            format!("expired at {}", time(not_after_ms)),
            Verdict::Failed,
        )
    } else if now_ms < not_before_ms {
        let words = format!("not valid before {}", time(not_before_ms));
        (words, Verdict::Failed)
    } else if not_after_ms - now_ms < CERTIFICATE_SOON_MS {
        let words = format!("expires soon, at {}", time(not_after_ms));
        (words, Verdict::Warning)
    } else {
        (format!("valid until {}", time(not_after_ms)), Verdict::Ok)
    };
    let finding = Finding {
        found: format!("{}{words}", finding.found),
        ..finding
    };
    match verdict {
        Verdict::Ok => finding,
        Verdict::Failed if now_ms < not_before_ms => finding
            .but(verdict)
            .cured_by("set the clock of whoever issued it or of this machine right")
            .with("timedatectl set-ntp true"),
        _ => finding
            .but(verdict)
            .cured_by(
                "have its organization's authority issue a new certificate, put it in place of \
                 the old one, and start again",
            )
            .with(again),
    }
}

/// Whether one of these memberships accepts a certificate, whatever the time.
pub(super) fn authority(
    subject: &str,
    looked_at: String,
    certificate: &Certificate,
    accept: &[Msp],
) -> Finding {
    let admitted: Vec<_> = accept.iter().map(|msp| msp.admit(certificate)).collect();
    let organization = certificate.organization();
    if admitted.iter().any(Result::is_ok) {
        let found = format!("signed by the authority of {organization}");
        return Finding::ok(Check::Authority, subject, looked_at, found);
    }
    let error = admitted.into_iter().find_map(Result::err);
    let found = error
        .as_ref()
        .map_or("no root certificate".to_owned(), ToString::to_string);
    let again = enrol(certificate.common_name(), certificate.role(), None);
    let check = match error {
        Some(IdentityError::Revoked { .. }) => Check::Certificate,
        _ => Check::Authority,
    };
    let cure = match check {
        Check::Certificate => format!("have {organization} issue another certificate for it"),
        _ => format!(
            "have it enrolled by the authority whose root the consortium knows for {organization}, \
             and put the new certificate and key in place"
        ),
    };
    Finding::ok(check, subject, looked_at, found)
        .but(Verdict::Failed)
        .cured_by(cure)
        .with(again)
}

/// The certificate and key that somebody shows in TLS.
pub(super) fn tls(
    whose: Whose<'_>,
    folder: &Path,
    roots: Option<&TlsRoots>,
    findings: &mut Vec<Finding>,
) -> Option<TlsIdentity> {
    mode(whose.subject, &folder.join("tls.key.pem"), findings);
    let looked_at = folder.display().to_string();
    let finding =
        |check, found: String| Finding::ok(check, whose.subject, looked_at.clone(), found);
    let again =
        "stela ca enroll --ca CA_FOLDER --name NAME --role ROLE --host HOST --out NEW_FOLDER";
    let identity = match TlsIdentity::load(folder) {
        Ok(identity) => identity,
        Err(error) => {
            let found = finding(Check::Files, format!("no usable TLS certificate: {error}"));
            findings.push(
                found
                    .but(Verdict::Failed)
                    .cured_by("put tls.pem and the tls.key.pem that belongs to it there")
                    .with(again),
            );
            return None;
        }
    };
    if let Some(roots) = roots {
        findings.push(match identity.judge(roots, whose.now_ms) {
            Ok(shown) => validity(
                finding(Check::Certificate, "TLS: ".to_owned()),
                shown.not_before_ms,
                shown.not_after_ms,
                whose.now_ms,
                again.to_owned(),
            ),
            Err(refusal) => {
                let check = match refusal {
                    Refusal::UnknownAuthority => Check::Authority,
                    _ => Check::Certificate,
                };
                finding(check, format!("TLS: {refusal}"))
                    .but(Verdict::Failed)
                    .cured_by(
                        "have the organization's TLS authority issue a new certificate, and put it \
                         in place of this one",
                    )
                    .with(again)
            }
        });
    }
    Some(identity)
}

/// The key of the swarm; answers it if it can be read.
pub(super) fn swarm_key(
    subject: &str,
    path: &Path,
    findings: &mut Vec<Finding>,
) -> Option<SwarmKey> {
    mode(subject, path, findings);
    let finding = Finding::ok(
        Check::SwarmKey,
        subject,
        path.display().to_string(),
        "readable",
    );
    let (key, finding) = match SwarmKey::read(path) {
        Ok(key) => (Some(key), finding),
        Err(error) => {
            let finding = Finding {
                found: error.to_string(),
                ..finding
            };
            let cure = "get the swarm's key from another member, over a way that nobody reads, and \
                        put it there with mode 0600";
            (None, finding.but(Verdict::Failed).cured_by(cure))
        }
    };
    findings.push(finding);
    key
}

/// How much room there is for a folder that may not be there yet.
pub(super) fn room(subject: &str, folder: &Path, findings: &mut Vec<Finding>) {
    let existing = folder.ancestors().find(|path| path.is_dir());
    let existing = existing.filter(|path| !path.as_os_str().is_empty());
    let existing = existing.unwrap_or(Path::new("."));
    let looked_at = folder.display().to_string();
    findings.push(match free_bytes(existing) {
        Ok(free) => roomy(
            subject,
            looked_at,
            Room::of(free),
            &format!("{} MiB", free >> 20),
        ),
        Err(error) => {
            let found = format!("its file system does not say how much is free: {error}");
            Finding::ok(Check::Disk, subject, looked_at, found).but(Verdict::CouldNotLook)
        }
    });
}

/// What so much room means.
pub(super) fn roomy(subject: &str, looked_at: String, room: Room, free: &str) -> Finding {
    let finding = Finding::ok(Check::Disk, subject, looked_at, format!("{free} free"));
    match room {
        Room::Enough => finding,
        Room::Low => finding
            .but(Verdict::Warning)
            .cured_by("the disk will soon be full: give it more room, or free some, before it is"),
        Room::None => finding.but(Verdict::Failed).cured_by(
            "the disk is full: free some room or give it more, then start the node again; what it \
             acknowledged is on the disk and nothing else is lost",
        ),
    }
}

/// What a node said when it stopped.
pub(super) fn last_words(
    subject: &str,
    data: &Path,
    is_running: bool,
    findings: &mut Vec<Finding>,
) {
    let looked_at = data.join(stela_health::FILE_NAME).display().to_string();
    let words = match Words::read(data) {
        Ok(words) => words,
        Err(error) => {
            let found = format!("cannot be read: {error}");
            let finding = Finding::ok(Check::Disk, subject, looked_at, found);
            findings.push(finding.but(Verdict::CouldNotLook));
            return;
        }
    };
    let Some(words) = words else { return };
    let found = format!("the node stopped at {}: {}", time(words.time_ms), words.why);
    let is_disk = is_about_the_disk(&words.why);
    let check = if is_disk { Check::Disk } else { Check::Files };
    let cure = match is_disk {
        true => {
            "the node stopped because its disk failed or was full: free some room or give it \
             more, look at the disk, then start the node again"
        }
        false => "set right what it says, then start the node again",
    };
    let verdict = match is_running {
        // Something answers at its address: these may be the words of a second start.
        true => Verdict::Warning,
        false => Verdict::Failed,
    };
    let finding = Finding::ok(check, subject, looked_at, found);
    findings.push(finding.but(verdict).cured_by(cure));
}

/// The system's words for a disk that is full or fails, as databases pass them on.
fn is_about_the_disk(why: &str) -> bool {
    let why = why.to_lowercase();
    [
        "no space left",
        "input/output error",
        "disk quota exceeded",
        "read-only file system",
    ]
    .iter()
    .any(|words| why.contains(words))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::OpenOptionsExt;

    #[test]
    fn keys_that_others_may_read_are_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key.pem");
        for (mode_bits, verdict) in [(0o600, Verdict::Ok), (0o640, Verdict::Failed)] {
            let mut options = File::options();
            drop(
                options
                    .write(true)
                    .create_new(true)
                    .mode(mode_bits)
                    .open(&path)
                    .unwrap(),
            );
            let mut findings = Vec::new();
            mode("x", &path, &mut findings);
            assert_eq!(findings[0].verdict, verdict);
            std::fs::remove_file(&path).unwrap();
        }
        let mut findings = Vec::new();
        mode("x", &path, &mut findings);
        assert!(findings.is_empty(), "a missing file is found elsewhere");
    }

    #[test]
    fn validity_has_two_ends_and_a_warning_before_the_second() {
        let at = |now_ms| {
            let finding = Finding::ok(Check::Certificate, "x", "y", "");
            let (from, to) = (1_000, 1_000 + 2 * CERTIFICATE_SOON_MS);
            validity(finding, from, to, now_ms, "enrol".to_owned())
        };
        assert_eq!(at(999).verdict, Verdict::Failed);
        assert_eq!(at(1_000).verdict, Verdict::Ok);
        assert_eq!(at(2_000 + CERTIFICATE_SOON_MS).verdict, Verdict::Warning);
        let expired = at(1_001 + 2 * CERTIFICATE_SOON_MS);
        assert_eq!(expired.verdict, Verdict::Failed);
        assert!(expired.found.starts_with("expired"));
        assert_eq!(expired.cure.unwrap().command.unwrap(), "enrol");
    }

    #[test]
    fn last_words_about_the_disk_are_a_finding_about_the_disk() {
        let data = tempfile::tempdir().unwrap();
        let mut findings = Vec::new();
        last_words("x", data.path(), false, &mut findings);
        assert!(findings.is_empty());
        let mut words = stela_health::LastWords::open(data.path());
        words.say(
            1_000,
            "channel care: open failed: no space left on the device",
        );
        last_words("x", data.path(), false, &mut findings);
        words.say(1_000, "cannot listen");
        last_words("x", data.path(), true, &mut findings);
        let seen: Vec<_> = findings.iter().map(|f| (f.check, f.verdict)).collect();
        assert_eq!(
            seen,
            [
                (Check::Disk, Verdict::Failed),
                (Check::Files, Verdict::Warning)
            ]
        );
    }
}
