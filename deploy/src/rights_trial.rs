//! The trial of rights: on a real network, what patients, those who act for them, officers and
//! administrators can do beside what the demonstration tells.
//!
//! Every step is a command `stela` that a user could type. After each one it is looked at what is
//! committed: the verdict on its transaction, the state that the contract shows then, and at the end
//! the patient's audit trail with every transaction in it.

mod certificates;
mod channel;
mod consents;
mod delegates;
mod devices;
mod records;
mod study;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use stela_consent::{Hex, Id};

use crate::cli::{Answer, Stela};
use crate::limits::POLL;
use crate::materials::{User, user_folder};
use crate::network::{Network, commands_log};
use crate::process::stopwatch;
use crate::users;

/// How long what was committed may take until it is in force everywhere.
const IN_FORCE: Duration = Duration::from_secs(30);
/// The exit code of a command that failed.
const FAILED: i32 = 1;
/// The exit code of a command whose access was denied, in a transaction.
const DENIED: i32 = 3;
/// What the consortium sets for the contract in the middle of the trial: what an organization alone
/// says about a patient counts soon, and two officers review, one of them from elsewhere.
const SETTINGS: &str = r#"{"rebind_wait_ms":1000,"review":{"officers":2,"elsewhere":1}}"#;

/// The trial.
pub struct RightsTrial<'a> {
    network: &'a Network,
    folder: PathBuf,
    say: &'a dyn Fn(&str),
    patient: Id,
    second: Id,
    /// The certificate that the patient uses; another one after her rebinding.
    herself: User,
    /// The event and the transaction of what was done about the patient, in order.
    written: Vec<(&'static str, String)>,
    /// Changes of the configuration that were proposed.
    changes: u32,
}

/// Everybody who takes part, with the patient and the second one.
pub fn cast(patients: [Id; 2]) -> Vec<User> {
    let mut cast = users::cast(patients);
    cast.extend([tablet(patients[0]), replacement(patients[0])]);
    cast
}

/// The patient's second device.
fn tablet(patient: Id) -> User {
    User {
        name: "patient-tablet",
        ..users::patient(patient)
    }
}

/// What the patient has after she lost everything.
fn replacement(patient: Id) -> User {
    User {
        name: "patient-replacement",
        ..users::patient(patient)
    }
}

impl<'a> RightsTrial<'a> {
    /// A trial in this network, whose users are the [`cast`]; documents are put into `folder`, which
    /// stands beside the network's.
    pub fn new(
        network: &'a Network,
        folder: PathBuf,
        [patient, second]: [Id; 2],
        say: &'a dyn Fn(&str),
    ) -> Self {
        Self {
            network,
            folder,
            say,
            patient,
            second,
            herself: users::patient(patient),
            written: Vec::new(),
            changes: 0,
        }
    }

    /// Does everything, one after the other.
    ///
    /// # Errors
    /// At the first answer that is not as it must be.
    pub async fn run(mut self, package: &[u8]) -> anyhow::Result<()> {
        self.register().await?;
        self.change_edited_configuration().await?;
        let first = self.active_record("first.json").await?;
        self.second_device(&first).await?;
        self.cancelled_rebinding().await?;
        self.delegate(&first).await?;
        let executor = self.named_executor().await?;
        self.change_settings().await?;
        self.activated_executor(&executor).await?;
        self.rebinding(&first).await?;
        let second = self.review_of_two().await?;
        self.rejection().await?;
        self.declined_and_withdrawn_requests(&second).await?;
        self.policies(&second).await?;
        self.consents_as_fhir(&second).await?;
        self.study(&second).await?;
        self.devices(&second).await?;
        self.declined_erasure(&second).await?;
        self.erasure(&first).await?;
        self.erasure_as_unlawful(&second).await?;
        self.trail().await?;
        self.look_at_the_channel().await?;
        self.administer(package).await?;
        self.change_orderers_and_policy().await
    }

    fn done(&self, what: &str) {
        (self.say)(&format!("  yes  {what}"));
    }

    fn stela(&self, user: &User) -> Stela {
        let folder = self.network.folder();
        Stela::new(user_folder(folder, user), commands_log(folder)).within(&self.folder)
    }

    /// What a command answers that must succeed. No word of it has a space.
    async fn ask(&self, user: &User, words: &str) -> anyhow::Result<Value> {
        let words: Vec<&str> = words.split_whitespace().collect();
        Ok(self.stela(user).run(&words).await?.json)
    }

    /// A command that must end with this code.
    async fn refused(&self, user: &User, code: i32, words: &str) -> anyhow::Result<Answer> {
        let split: Vec<&str> = words.split_whitespace().collect();
        let answer = self.stela(user).attempt(&split).await?;
        anyhow::ensure!(
            answer.code == code,
            "`stela {words}` was to end with {code}: {answer:?}"
        );
        Ok(answer)
    }

    /// A command that makes a transaction, which must be committed as valid at every hospital's peer.
    async fn commit(&self, user: &User, words: &str) -> anyhow::Result<Value> {
        let answer = self.ask(user, words).await?;
        let status = format!("tx status {}", text(&answer, "/transaction")?);
        let anywhere = [users::author(), users::reader(), users::stranger()];
        let asked = anywhere.iter().map(|user| self.ask(user, &status));
        for status in futures::future::try_join_all(asked).await? {
            expect(&status, "/verdict", "VALID")?;
        }
        Ok(answer)
    }

    /// The same about the patient: her audit trail has to name it under this event.
    async fn write(
        &mut self,
        user: &User,
        event: &'static str,
        words: &str,
    ) -> anyhow::Result<Value> {
        let answer = self.commit(user, words).await?;
        let transaction = text(&answer, "/transaction")?.to_owned();
        self.written.push((event, transaction));
        Ok(answer)
    }

    /// [`write`](Self::write) by the patient.
    async fn write_herself(&mut self, event: &'static str, words: &str) -> anyhow::Result<Value> {
        let herself = self.herself.clone();
        self.write(&herself, event, words).await
    }

    async fn ask_herself(&self, words: &str) -> anyhow::Result<Value> {
        self.ask(&self.herself, words).await
    }

    /// What a command answers as soon as that is as it must be.
    async fn until(
        &self,
        user: &User,
        words: &str,
        is_as_it_must_be: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        let started = stopwatch();
        loop {
            let answer = self.ask(user, words).await?;
            if is_as_it_must_be(&answer) {
                return Ok(answer);
            }
            anyhow::ensure!(
                started.elapsed() < IN_FORCE,
                "`stela {words}` still answers {answer}"
            );
            tokio::time::sleep(POLL).await;
        }
    }

    /// An access that is denied, and the entry about it in the patient's trail.
    async fn denied(
        &self,
        user: &User,
        words: &str,
        record: &str,
        reason: &str,
    ) -> anyhow::Result<()> {
        self.refused(user, DENIED, words).await?;
        let by = self.fingerprint(user).await?;
        let is_it = |entry: &Value| {
            entry["event"] == "access-denied"
                && entry["by"] == by.as_str()
                && entry["record"] == record
                && entry["reason"] == reason
        };
        self.until(&self.herself, "audit", |trail| {
            trail.as_array().is_some_and(|all| all.iter().any(is_it))
        })
        .await
        .map(drop)
    }

    async fn fingerprint(&self, user: &User) -> anyhow::Result<String> {
        let who = self.ask(user, "whoami").await?;
        Ok(text(&who, "/fingerprint")?.to_owned())
    }

    /// Whether two of the documents are the same.
    fn same(&self, one: &str, other: &str) -> anyhow::Result<()> {
        let read = |name: &str| std::fs::read(self.folder.join(name));
        anyhow::ensure!(read(one)? == read(other)?, "{one} is not {other}");
        Ok(())
    }

    fn write_file(&self, name: &str, content: impl AsRef<[u8]>) -> anyhow::Result<()> {
        Ok(std::fs::write(self.folder.join(name), content)?)
    }

    /// The patient first, since another certificate of hers would else be the one that registers her.
    async fn register(&self) -> anyhow::Result<()> {
        self.ask_herself("register").await?;
        let others = users::cast([self.patient, self.second]);
        let runs = others.iter().map(|user| self.ask(user, "register"));
        futures::future::try_join_all(runs).await?;
        Ok(())
    }

    /// Everything that was done about the patient is in her trail, in the order in which it was done.
    async fn trail(&self) -> anyhow::Result<()> {
        let trail = self.ask_herself("audit").await?;
        let entries = trail.as_array().context("the trail is no list")?;
        let mut later = entries.iter();
        for (event, transaction) in &self.written {
            let is_it = |entry: &&Value| {
                entry["event"] == *event && entry["transaction"] == transaction.as_str()
            };
            later.find(is_it).with_context(|| {
                format!("{event} in {transaction} is not at its place in the trail: {trail}")
            })?;
        }
        self.done(&format!(
            "the patient's audit trail has all {} transactions about her, in order",
            self.written.len()
        ));
        Ok(())
    }
}

/// A field of an answer as text.
fn text<'v>(answer: &'v Value, field: &str) -> anyhow::Result<&'v str> {
    let value = answer.pointer(field).and_then(Value::as_str);
    value.with_context(|| format!("the answer has no {field}: {answer}"))
}

/// A field of an answer has to be this.
fn expect(answer: &Value, field: &str, value: impl Into<Value>) -> anyhow::Result<()> {
    let value = value.into();
    anyhow::ensure!(
        answer.pointer(field) == Some(&value),
        "{field} is not {value}: {answer}"
    );
    Ok(())
}

/// The one entry of a list in which a field is this.
fn entry<'v>(list: &'v Value, field: &str, value: &str) -> anyhow::Result<&'v Value> {
    let entries = list.as_array().context("the answer is no list")?;
    let is_it = |entry: &&Value| entry.pointer(field).and_then(Value::as_str) == Some(value);
    let found: Vec<&Value> = entries.iter().filter(is_it).collect();
    match found[..] {
        [one] => Ok(one),
        _ => anyhow::bail!("not one entry has {field} {value}: {list}"),
    }
}

/// An id that nobody has.
fn drawn() -> Id {
    Hex(rand::random())
}
