//! The demonstration: three hospitals share one patient's record under her consent.
//!
//! Every step is a command `stela` that a user could type, run as a process of its own. What is
//! true at the end is not judged here but by `stela-verify`.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use serde_json::{Value, json};
use stela_client::{Contract, Endpoint, Gateway, GatewayOptions};
use stela_consent::{Actor, Consent, Hex, Id, Provision};
use stela_identity::Credentials;
use stela_protocol::{ChannelId, ContractName, OrgId};
use tokio::io::AsyncWriteExt;

use crate::cli::Stela;
use crate::evidence::Evidence;
use crate::materials::{User, user_folder};
use crate::network::{Network, tls_settings};
use crate::process::stopwatch;
use crate::report::Step;
use crate::topology::{CHANNEL, CONTRACT, Kind};
use crate::users;

/// Grants that are made while the leader is killed.
const GRANTS: usize = 40;
/// How many of them are under way at once.
const GRANTS_AT_ONCE: usize = 4;
/// After how many acknowledgements the leader is killed.
const KILL_AFTER: usize = 10;
/// How long a new leader may take.
const ELECTION: Duration = Duration::from_secs(30);
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
        }
    }

    fn stela(&self, user: &User) -> Stela {
        Stela::new(user_folder(self.network.folder(), user))
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
        self.done(what, answer.seconds);
        Ok(answer.json)
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

    /// Tells it from the first registration to the audit trail.
    ///
    /// # Errors
    /// At the first step that does not go as it should.
    pub async fn tell(mut self, patient: Id) -> anyhow::Result<Told> {
        let documents = self.write_documents()?;
        let patient_user = users::patient(patient);
        self.register(patient).await?;
        let record = self.submit(patient, &documents).await?;
        let out = |name: &str| self.folder.join(name);
        let read = [
            out("read-v1.json"),
            out("read-v2.json"),
            out("read-v1-again.json"),
        ];
        let consent = self.grant(&patient_user).await?;
        let (id, her) = (record.to_string(), patient.to_string());
        let words = |version: &'static str, out: &Path| -> Vec<String> {
            [
                "record",
                "read",
                &id,
                "--version",
                version,
                "--patient",
                &her,
                "--purpose",
                "TREAT",
            ]
            .into_iter()
            .map(str::to_owned)
            .chain(["--out".to_owned(), out.display().to_string()])
            .collect()
        };
        let reader = users::reader();
        self.run(
            &reader,
            "HospitalB's practitioner asks, is permitted, and reads it",
            &refs(&words("1", &read[0])),
        )
        .await?;
        let nowhere = self.folder.join("never-written.json");
        self.denied(
            &users::stranger(),
            "HospitalC's practitioner asks without a consent and is denied",
            &refs(&words("1", &nowhere)),
        )
        .await?;
        let (killed, acknowledged, after) = self.kill_the_leader(&patient_user).await?;
        self.amend(&id, &documents).await?;
        self.run(
            &reader,
            "HospitalB reads version 2",
            &refs(&words("2", &read[1])),
        )
        .await?;
        self.run(
            &reader,
            "and version 1 again, unchanged",
            &refs(&words("1", &read[2])),
        )
        .await?;
        self.run(
            &patient_user,
            "the patient revokes her consent",
            &["consent", "revoke", &consent.to_string()],
        )
        .await?;
        self.denied(
            &reader,
            "HospitalB asks again and is denied",
            &refs(&words("2", &nowhere)),
        )
        .await?;
        let trail = self
            .run(
                &patient_user,
                "the patient looks at her audit trail",
                &["audit"],
            )
            .await?;
        self.show_trail(&trail);
        let wire_control = self.wire_control().await?;
        let evidence = Evidence {
            network: self.network.folder().to_owned(),
            observer: user_folder(self.network.folder(), &users::observer()),
            patient_profile: user_folder(self.network.folder(), &patient_user),
            patient,
            record,
            written: documents.files.clone(),
            read,
            reader: self.fingerprint(&reader)?,
            stranger: self.fingerprint(&users::stranger())?,
            consent,
            acknowledged,
            acknowledged_after_kill: after,
            killed,
            canaries: documents.canaries,
            wire_control,
            searched: vec![self.network.folder().to_owned()],
        };
        Ok(Told {
            evidence,
            steps: self.steps,
            document_bytes: documents.bytes,
        })
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

    async fn register(&mut self, patient: Id) -> anyhow::Result<()> {
        let started = stopwatch();
        let everybody = users::everybody(patient);
        let runs = everybody.iter().map(|user| {
            let stela = self.stela(user);
            async move { stela.run(&["register"]).await }
        });
        futures::future::try_join_all(runs).await?;
        let what = format!(
            "{} users register their certificates and encryption keys",
            everybody.len()
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
        let record = field(&answer, "record")?.to_owned();
        self.run(
            &users::officer(),
            "HospitalA's records officer opens, checks and confirms it",
            &["record", "confirm", &record],
        )
        .await?;
        record
            .parse()
            .map_err(|_| anyhow::anyhow!("the record's id is malformed"))
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
        let consent = field(&answer, "consent")?;
        consent
            .parse()
            .map_err(|_| anyhow::anyhow!("the consent's id is malformed"))
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

    /// Kills the orderers' leader while the patient's client makes grants; answers who was killed,
    /// what was acknowledged, and how much of it after the kill.
    async fn kill_the_leader(
        &mut self,
        patient: &User,
    ) -> anyhow::Result<(String, Vec<Hex<32>>, usize)> {
        let started = stopwatch();
        let contract = self.contract(patient)?;
        let leader = self.network.leader(ELECTION).await?;
        let acknowledged = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&acknowledged);
        let grants = tokio::spawn(async move { make_grants(&contract, &counter).await });
        while acknowledged.load(Ordering::SeqCst) < KILL_AFTER && !grants.is_finished() {
            tokio::time::sleep(crate::limits::POLL).await;
        }
        self.network.kill(&leader)?;
        let before = acknowledged.load(Ordering::SeqCst);
        let ids = grants.await??;
        let what = format!(
            "the orderers' leader ({}) is killed with kill -9 while the patient grants {GRANTS} consents; \
             all are acknowledged",
            leader.title()
        );
        self.done(&what, started.elapsed().as_secs_f64());
        let started = stopwatch();
        self.network.start(&leader)?;
        let now = self.network.leader(ELECTION).await?;
        let what = format!("{} leads; {} is started again", now.title(), leader.title());
        self.done(&what, started.elapsed().as_secs_f64());
        self.network.save()?;
        let after = ids.len().saturating_sub(before);
        Ok((leader.title(), ids, after))
    }

    fn contract(&self, user: &User) -> anyhow::Result<Contract> {
        let folder = user_folder(self.network.folder(), user);
        let endpoints = self.network.topology().of(Kind::Peer).map(|node| {
            let organization = OrgId::new(&node.organization)?;
            anyhow::Ok(Endpoint {
                organization,
                address: node.service.public.to_string(),
            })
        });
        let credentials = Arc::new(Credentials::load(&folder.join("identity"))?);
        let tls = tls_settings(self.network.folder(), &folder.join("tls"))?;
        let options = GatewayOptions::new(endpoints.collect::<Result<_, _>>()?, tls, credentials);
        let network = Gateway::connect(options)?.network(ChannelId::new(CHANNEL)?);
        Ok(network.contract(ContractName::new(CONTRACT)?))
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

fn refs(words: &[String]) -> Vec<&str> {
    words.iter().map(String::as_str).collect()
}

fn field<'v>(answer: &'v Value, name: &str) -> anyhow::Result<&'v str> {
    let value = answer.get(name).and_then(Value::as_str);
    value.with_context(|| format!("the answer has no {name}: {answer}"))
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

/// Makes many grants, a few at once; each opens nothing to anybody but must survive.
async fn make_grants(
    contract: &Contract,
    acknowledged: &AtomicUsize,
) -> anyhow::Result<Vec<Hex<32>>> {
    use futures::{StreamExt, TryStreamExt};
    let one = |_: usize| async {
        let actor = Actor::Organization("HospitalC".parse().map_err(|_| anyhow::anyhow!("name"))?);
        let provision = Provision {
            actor: Some(actor),
            ..Provision::deny()
        };
        let consent = Consent::new(Hex(rand::random()), provision, Vec::new())?;
        let proposal = contract.proposal("grant_consent").json(&consent).build()?;
        let transaction = proposal.endorse().await?;
        let status = transaction
            .submit_and_wait(Duration::from_secs(60))
            .await?
            .valid()?;
        acknowledged.fetch_add(1, Ordering::SeqCst);
        anyhow::Ok(Hex(status.transaction.0))
    };
    futures::stream::iter(0..GRANTS)
        .map(one)
        .buffer_unordered(GRANTS_AT_ONCE)
        .try_collect()
        .await
}
