//! The demonstration: three hospitals share one patient's record under her consent.
//!
//! Every step is a command `stela` that a user could type, run as a process of its own. What is
//! true at the end is not judged here but by `stela-verify`.

use std::io::Read;
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::{Value, json};
use stela_consent::{Hex, Id};
use stela_identity::Credentials;
use tokio::io::AsyncWriteExt;

use crate::cli::{Answer, Stela};
use crate::evidence::Evidence;
use crate::materials::{User, user_folder};
use crate::network::{Network, commands_log};
use crate::process::stopwatch;
use crate::report::Step;
use crate::topology::Kind;
use crate::users;

mod emergency;
mod failover;
mod request;
mod rights;
mod study;
mod ward;

/// Canaries in each document.
const CANARIES: usize = 4;

/// The record of the demonstration, compressed; its origin is told beside it.
const BUNDLE: &[u8] = include_bytes!("../fixture/patient-bundle.json.gz");

/// Tells the story as it goes.
pub struct Story<'a> {
    network: &'a mut Network,
    folder: PathBuf,
    say: &'a dyn Fn(&str),
    steps: Vec<Step>,
    acknowledged: Vec<Hex<32>>,
}

/// What the story leaves.
pub struct Told {
    /// For the verifier.
    pub evidence: Evidence,
    /// Seconds per step.
    pub steps: Vec<Step>,
    /// Bytes of the shared document.
    pub document_bytes: u64,
}

impl<'a> Story<'a> {
    /// A story in this network; documents are put into `folder`, outside of it.
    pub fn new(network: &'a mut Network, folder: PathBuf, say: &'a dyn Fn(&str)) -> Self {
        Self {
            network,
            folder,
            say,
            steps: Vec::new(),
            acknowledged: Vec::new(),
        }
    }

    fn stela(&self, user: &User) -> Stela {
        let folder = self.network.folder();
        Stela::new(user_folder(folder, user), commands_log(folder))
    }

    /// One whose commands are given or print what is in records, in clear text: they are written
    /// down beside the documents, which are no part of the network.
    fn stela_with_content(&self, user: &User) -> Stela {
        let profile = user_folder(self.network.folder(), user);
        Stela::new(profile, self.folder.join("commands.log"))
    }

    fn done(&mut self, what: &str, seconds: f64) {
        (self.say)(&format!("{seconds:6.2} s  {what}"));
        self.steps.push(Step {
            what: what.to_owned(),
            seconds,
        });
    }

    async fn run(&mut self, user: &User, what: &str, words: &[&str]) -> anyhow::Result<Value> {
        let answer = self.stela(user).run(words).await?;
        self.took(what, answer)
    }

    /// [`run`](Self::run), for a command that is given or prints what is in a record.
    async fn run_with_content(
        &mut self,
        user: &User,
        what: &str,
        words: &[&str],
    ) -> anyhow::Result<Value> {
        let answer = self.stela_with_content(user).run(words).await?;
        self.took(what, answer)
    }

    fn took(&mut self, what: &str, answer: Answer) -> anyhow::Result<Value> {
        self.acknowledged.extend(acknowledged(&answer.json)?);
        self.done(what, answer.seconds);
        Ok(answer.json)
    }

    /// A file among the documents.
    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A read that must end as denied (exit code 3).
    async fn denied(&mut self, user: &User, what: &str, words: &[&str]) -> anyhow::Result<()> {
        let answer = self.stela(user).attempt(words).await?;
        anyhow::ensure!(
            answer.code == 3,
            "expected a denial, got {}: {}",
            answer.code,
            answer.said
        );
        self.done(what, answer.seconds);
        Ok(())
    }

    /// Tells it from the first registration to the audit trail, with the patient and a second one.
    ///
    /// # Errors
    /// At the first step that does not go as it should.
    pub async fn tell(mut self, patients: [Id; 2]) -> anyhow::Result<Told> {
        let [patient, second] = patients;
        let mut documents = self.write_documents()?;
        let patient_user = users::patient(patient);
        self.register(patients).await?;
        let record = self.submit(patient, &documents).await?;
        let consent = self.grant(&patient_user).await?;
        let files = Files::below(&self.folder);
        let shared = (patient, record);
        self.first_reads(shared, &files).await?;
        let killed = self.kill_the_leader(&patient_user).await?;
        self.amend(&record.to_string(), &documents).await?;
        self.later_reads(shared, &files).await?;
        self.revoke(&patient_user, consent).await?;
        self.read_after_revocation(shared, &files).await?;
        let asked = self.ask_for_consent(shared, &mut documents).await?;
        let emergency = self.break_the_glass(shared, &mut documents).await?;
        let study = self.study(patients, &mut documents).await?;
        let ward = self.ward(second, &mut documents).await?;
        let rights = self.rights(&patient_user).await?;
        let what = "the patient looks at her audit trail";
        let trail = self.run(&patient_user, what, &["audit"]).await?;
        self.show_trail(&trail);
        let wire_control = self.wire_control().await?;
        let profile = |user: &User| user_folder(self.network.folder(), user);
        let evidence = Evidence {
            network: self.network.folder().to_owned(),
            observer: profile(&users::observer()),
            patient_profile: profile(&patient_user),
            patient,
            record,
            written: documents.files,
            read: files.read,
            refused: files.refused,
            reader: self.fingerprint(&users::reader())?,
            stranger: self.fingerprint(&users::stranger())?,
            consent,
            killed,
            second,
            second_profile: profile(&users::second_patient(second)),
            asked,
            emergency,
            study,
            ward,
            rights,
            canaries: documents.canaries,
            wire_control,
            searched: vec![self.network.folder().to_owned()],
            acknowledged: self.acknowledged,
        };
        Ok(Told {
            evidence,
            steps: self.steps,
            document_bytes: documents.bytes,
        })
    }

    async fn first_reads(&mut self, shared: (Id, Id), files: &Files) -> anyhow::Result<()> {
        let what = "HospitalB's practitioner asks, is permitted, and reads it";
        let words = read_words(shared, "1", &files.read[0]);
        self.run(&users::reader(), what, &refs(&words)).await?;
        let what = "HospitalC's practitioner asks without a consent and is denied";
        let words = read_words(shared, "1", &files.refused[0]);
        self.denied(&users::stranger(), what, &refs(&words)).await
    }

    async fn later_reads(&mut self, shared: (Id, Id), files: &Files) -> anyhow::Result<()> {
        let reader = users::reader();
        let words = read_words(shared, "2", &files.read[1]);
        self.run(&reader, "HospitalB reads version 2", &refs(&words))
            .await?;
        let words = read_words(shared, "1", &files.read[2]);
        self.run(&reader, "and version 1 again, unchanged", &refs(&words))
            .await?;
        Ok(())
    }

    async fn revoke(&mut self, patient: &User, consent: Id) -> anyhow::Result<()> {
        let consent = consent.to_string();
        let words = ["consent", "revoke", &consent];
        self.run(patient, "the patient revokes her consent", &words)
            .await?;
        Ok(())
    }

    async fn read_after_revocation(
        &mut self,
        shared: (Id, Id),
        files: &Files,
    ) -> anyhow::Result<()> {
        let what = "HospitalB asks again and is denied";
        let words = read_words(shared, "2", &files.refused[1]);
        self.denied(&users::reader(), what, &refs(&words)).await
    }

    fn fingerprint(&self, user: &User) -> anyhow::Result<stela_consent::Fingerprint> {
        let folder = user_folder(self.network.folder(), user).join("identity");
        Ok(Hex(Credentials::load(&folder)?.fingerprint().0))
    }

    /// Version 1 is the bundle with random words in it, version 2 the same with one entry more.
    fn write_documents(&self) -> anyhow::Result<Documents> {
        let mut text = String::new();
        flate2::read::GzDecoder::new(BUNDLE).read_to_string(&mut text)?;
        let mut bundle: Value = serde_json::from_str(&text)?;
        let canaries: Vec<String> = (0..2 * CANARIES).map(|_| canary()).collect();
        let mut files = [
            self.folder.join("written-v1.json"),
            self.folder.join("written-v2.json"),
        ];
        for (file, words) in files.iter_mut().zip(canaries.chunks(CANARIES)) {
            let entries = bundle.get_mut("entry").and_then(Value::as_array_mut);
            let entries = entries.context("the fixture has no entries")?;
            entries.insert(entries.len() / 2, note(words));
            entries.push(note(words));
            std::fs::write(&*file, serde_json::to_vec(&bundle)?)?;
        }
        let bytes = std::fs::metadata(&files[0])?.len();
        Ok(Documents {
            files,
            canaries,
            bytes,
        })
    }

    async fn register(&mut self, patients: [Id; 2]) -> anyhow::Result<()> {
        let started = stopwatch();
        let cast = users::cast(patients);
        let runs = cast.iter().map(|user| {
            let stela = self.stela(user);
            async move { stela.run(&["register"]).await }
        });
        futures::future::try_join_all(runs).await?;
        let what = format!(
            "{} users register their certificates and encryption keys",
            cast.len()
        );
        self.done(&what, started.elapsed().as_secs_f64());
        Ok(())
    }

    async fn submit(&mut self, patient: Id, documents: &Documents) -> anyhow::Result<Id> {
        let file = documents.files[0].display().to_string();
        let what = format!(
            "HospitalA's practitioner encrypts {:.1} MB, has it held by two hospitals, submits it",
            documents.bytes as f64 / 1e6
        );
        let words = [
            "record",
            "submit",
            "--patient",
            &patient.to_string(),
            "--category",
            "patient-summary",
            &file,
        ];
        let answer = self.run(&users::author(), &what, &words).await?;
        let record = id(&answer, "record")?;
        self.run(
            &users::officer(),
            "HospitalA's records officer opens, checks and confirms it",
            &["record", "confirm", &record.to_string()],
        )
        .await?;
        Ok(record)
    }

    async fn grant(&mut self, patient: &User) -> anyhow::Result<Id> {
        let words = [
            "consent",
            "grant",
            "--organization",
            "HospitalB",
            "--role",
            "practitioner",
            "--purpose",
            "TREAT",
            "--max",
            "R",
            "--days",
            "365",
            "--label",
            "PSY",
            "--label",
            "MH",
            "--category",
            "patient-summary",
        ];
        let what = "the patient consents to treatment by HospitalB's practitioners";
        let answer = self.run(patient, what, &words).await?;
        id(&answer, "consent")
    }

    async fn amend(&mut self, record: &str, documents: &Documents) -> anyhow::Result<()> {
        let file = documents.files[1].display().to_string();
        let words = [
            "record",
            "amend",
            record,
            "--category",
            "patient-summary",
            &file,
        ];
        self.run(
            &users::author(),
            "HospitalA amends the record: a new version, a new CID",
            &words,
        )
        .await?;
        let words = ["record", "confirm", record, "--version", "2"];
        self.run(
            &users::officer(),
            "its records officer confirms version 2",
            &words,
        )
        .await?;
        Ok(())
    }

    /// Sends a word through the recorder in the clear, so that the verifier can prove that what
    /// crosses the wire is recorded. The node that gets it refuses the connection.
    async fn wire_control(&self) -> anyhow::Result<String> {
        let word = canary();
        let node = self
            .network
            .topology()
            .of(Kind::Peer)
            .next()
            .context("no peer")?;
        let mut stream = tokio::net::TcpStream::connect(node.service.public).await?;
        stream.write_all(word.as_bytes()).await?;
        stream.shutdown().await?;
        Ok(word)
    }

    fn show_trail(&self, trail: &Value) {
        let entries = trail.as_array().map(Vec::as_slice).unwrap_or_default();
        let text = |entry: &Value, name: &str| {
            entry
                .get(name)
                .and_then(Value::as_str)
                .unwrap_or_default()
                .to_owned()
        };
        let granted = |entry: &&Value| text(entry, "event") == "consent-granted";
        let grants = entries.iter().filter(granted).count();
        for entry in entries.iter().filter(|entry| !granted(entry)) {
            let line = format!(
                "            {:18} {:12} {:16} {} {}",
                text(entry, "event"),
                text(entry, "organization"),
                text(entry, "role"),
                text(entry, "purpose"),
                text(entry, "reason"),
            );
            (self.say)(line.trim_end());
        }
        (self.say)(&format!(
            "            consent-granted    {grants} times by the patient"
        ));
    }
}

struct Documents {
    files: [PathBuf; 2],
    canaries: Vec<String>,
    bytes: u64,
}

/// A text with a canary, in a file beside the documents so that the canary is found there.
fn written_text(file: &Path, text: &str, documents: &mut Documents) -> anyhow::Result<String> {
    let word = canary();
    let text = format!("{text} ({word})");
    std::fs::write(file, &text)?;
    documents.canaries.push(word);
    Ok(text)
}

/// Where readers put what they read, or would have.
struct Files {
    read: [PathBuf; 3],
    refused: [PathBuf; 2],
}

impl Files {
    fn below(folder: &Path) -> Self {
        let read = ["read-v1.json", "read-v2.json", "read-v1-again.json"];
        let refused = [
            "refused-without-consent.json",
            "refused-after-revocation.json",
        ];
        Self {
            read: read.map(|name| folder.join(name)),
            refused: refused.map(|name| folder.join(name)),
        }
    }
}

/// What to type to read a version of a patient's record into a file.
fn read_words((patient, record): (Id, Id), version: &str, out: &Path) -> Vec<String> {
    let (patient, record) = (patient.to_string(), record.to_string());
    let out = out.display().to_string();
    let words = ["record", "read", &record, "--version", version];
    let more = ["--patient", &patient, "--purpose", "TREAT", "--out", &out];
    words.into_iter().chain(more).map(str::to_owned).collect()
}

/// The transaction that a command printed, if it made one.
fn acknowledged(answer: &Value) -> anyhow::Result<Option<Hex<32>>> {
    let Some(text) = answer.get("transaction").and_then(Value::as_str) else {
        return Ok(None);
    };
    let id = text.parse();
    id.map(Some)
        .map_err(|_| anyhow::anyhow!("a command printed a malformed transaction: {text}"))
}

fn refs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

fn field<'v>(answer: &'v Value, name: &str) -> anyhow::Result<&'v str> {
    let value = answer.get(name).and_then(Value::as_str);
    value.with_context(|| format!("the answer has no {name}: {answer}"))
}

/// An id that a command printed.
fn id(answer: &Value, name: &str) -> anyhow::Result<Id> {
    let parsed = field(answer, name)?.parse();
    parsed.map_err(|_| anyhow::anyhow!("the answer has a malformed {name}: {answer}"))
}

/// A random word that no record has by chance: 24 letters and digits.
fn canary() -> String {
    const LETTERS: &[u8] = b"ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz23456789";
    let letter = || char::from(LETTERS[rand::random_range(0..LETTERS.len())]);
    (0..24).map(|_| letter()).collect()
}

/// A FHIR entry that carries words.
fn note(words: &[String]) -> Value {
    json!({ "resource": {
        "resourceType": "Basic",
        "code": { "text": "note" },
        "extension": words
            .iter()
            .map(|word| json!({ "url": "urn:stela:demo:word", "valueString": word }))
            .collect::<Vec<_>>(),
    } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_printed_transaction_is_taken_and_a_malformed_one_refused() {
        let id = Hex([7; 32]);
        let printed = json!({ "transaction": id.to_string(), "done": "revoked" });
        assert_eq!(acknowledged(&printed).unwrap(), Some(id));
        assert_eq!(acknowledged(&json!({ "record": "1" })).unwrap(), None);
        assert_eq!(acknowledged(&json!([])).unwrap(), None);
        assert!(acknowledged(&json!({ "transaction": "07" })).is_err());
    }

    #[test]
    fn every_reader_has_a_file_of_its_own() {
        let files = Files::below(Path::new("/documents"));
        let all: std::collections::BTreeSet<_> = files.read.iter().chain(&files.refused).collect();
        assert_eq!(all.len(), 5);
    }
}
