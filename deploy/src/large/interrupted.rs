//! The same way with an interruption wherever there can be one.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde_json::Value;

use super::command::Ending;
use super::study::{self, Study};
use super::{Large, users};

/// Exit code of a command that may succeed later.
const RETRY: i32 = 75;
/// Exit code of a command that was interrupted.
const INTERRUPTED: i32 = 130;
/// Exit code of a command that a signal ended.
const KILLED: i32 = -1;
/// Blocks after which a transfer counts as begun.
const BEGUN_BLOCKS: u64 = 12;

impl Large<'_> {
    pub(super) async fn interrupted(&mut self, study: &Study) -> anyhow::Result<()> {
        (self.say)("            now with interruptions");
        let (record, cid) = self.interrupt_submit(study).await?;
        self.spoil_state(&record).await?;
        self.kill_both_in_the_middle(&record, study).await?;
        self.resume(&record, &cid).await?;
        self.command(&users::officer())
            .must(&["record", "confirm", &record])
            .await?;
        self.interrupt_encryption(study).await?;
        self.fill_disk(&record).await?;
        self.interrupt_read(&record, study).await
    }

    /// Two of three storage nodes are dead: the upload ends with what it needs to go on.
    async fn interrupt_submit(&mut self, study: &Study) -> anyhow::Result<(String, String)> {
        self.note_storage_peaks()?;
        for organization in ["HospitalB", "HospitalC"] {
            let node = self.storage(organization)?;
            self.network.kill(&node)?;
        }
        let author = self.command(&users::author());
        let ran = author.run(&self.submit_words(study)).await?;
        self.note_peak("submit with dead storage nodes", &ran);
        let says = ran.json.get("resume").and_then(Value::as_str);
        let says = says.is_some_and(|way| way.contains("stela record resume"));
        self.measured.check(
            "with dead storage nodes a submission ends with 75 and says how to resume",
            ran.code == RETRY && says,
        );
        let listed = author.must(&["record", "uploads"]).await?;
        let listed = listed.json.get(0).context("no upload is listed")?;
        let field = |name: &str| {
            let text = listed.get(name).and_then(Value::as_str);
            text.map(str::to_owned)
                .with_context(|| format!("no {name} is listed"))
        };
        Ok((field("record")?, field("cid")?))
    }

    /// A damaged file, and one of another user, resume nothing.
    async fn spoil_state(&mut self, record: &str) -> anyhow::Result<()> {
        let author = self.command(&users::author());
        let name = format!("{record}-1");
        let path = author.profile().join("transfers/uploads").join(&name);
        let good = std::fs::read(&path)?;
        let mut bad = good.clone();
        bad[good.len() / 2] ^= 1;
        write_private(&path, &bad)?;
        let ran = author.run(&["record", "resume", record]).await?;
        self.measured.check(
            "a damaged state file is refused",
            ran.code == 1 && ran.said.contains("damaged"),
        );
        write_private(&path, &good)?;
        let colleague = users::everybody(self.patient);
        let colleague = colleague
            .iter()
            .find(|user| user.organization == "HospitalA" && user.name == "practitioner-2");
        let colleague = self.command(colleague.context("the author has no colleague")?);
        let other = colleague.profile().join("transfers/uploads");
        std::fs::create_dir_all(&other)?;
        write_private(&other.join(&name), &good)?;
        let ran = colleague.run(&["record", "resume", record]).await?;
        self.measured.check(
            "another user's state file is refused",
            ran.code == 1 && ran.said.contains("another user"),
        );
        colleague
            .must(&["record", "uploads", "--drop", record])
            .await?;
        let left = std::fs::read_dir(&other)?.count();
        self.measured.check("an upload can be dropped", left == 0);
        Ok(())
    }

    /// `kill -9` of the author's command and of the storage node while one sends to the other.
    async fn kill_both_in_the_middle(&mut self, record: &str, study: &Study) -> anyhow::Result<()> {
        let node = self.storage("HospitalB")?;
        let before = self.blocks_at(&node);
        self.start_storage("HospitalB").await?;
        let begun = || self.blocks_at(&node) >= before + BEGUN_BLOCKS;
        let author = self.command(&users::author());
        let words = ["record", "resume", record];
        let ran = author.run_until(&words, begun, Ending::Kill).await?;
        self.note_storage_peak(&node)?;
        self.network.kill(&node)?;
        let half = self.blocks_at(&node) - before;
        self.measured.half_held_blocks = [half, study.chunks()];
        self.measured.check(
            "author and storage node were killed in the middle",
            ran.code == KILLED && half < study.chunks(),
        );
        self.start_storage("HospitalB").await
    }

    /// The upload goes on with the same ciphertext and leaves nothing.
    async fn resume(&mut self, record: &str, cid: &str) -> anyhow::Result<()> {
        let author = self.command(&users::author());
        let folder = author.profile().join("transfers/uploads");
        let path = folder.join(format!("{record}-1"));
        let state = std::fs::read(&path)?;
        let ran = author.must(&["record", "resume", record]).await?;
        self.note_peak("resume", &ran);
        self.measured.check(
            "the upload was resumed with the same ciphertext",
            ran.text("cid")? == cid && ran.text("record")? == record,
        );
        // As if the command had been killed after the commit.
        write_private(&path, &state)?;
        let again = author.must(&["record", "resume", record]).await?;
        self.measured.check(
            "a version that was submitted already is not submitted again",
            again.json.get("transaction").is_none() && again.text("cid")? == cid,
        );
        let listed = author.must(&["record", "uploads"]).await?;
        let none = listed.json.as_array().is_some_and(Vec::is_empty);
        let blocks = self.blocks_of(&users::author());
        self.measured.check(
            "nothing of a finished upload stays with its author",
            none && blocks == 0,
        );
        self.start_storage("HospitalC").await
    }

    /// `Ctrl-C` while the document is encrypted: nothing has left the machine, nothing stays.
    async fn interrupt_encryption(&mut self, study: &Study) -> anyhow::Result<()> {
        let user = users::author();
        let begun = || self.blocks_of(&user) >= BEGUN_BLOCKS;
        let author = self.command(&user);
        let words = self.submit_words(study);
        let ran = author.run_until(&words, begun, Ending::Interrupt).await?;
        let resumable = ran.json.get("resume").is_some_and(Value::is_string);
        // It may have been encrypted a moment before; then it can be resumed, and is dropped.
        if resumable {
            let listed = author.must(&["record", "uploads"]).await?;
            let record = listed.json.pointer("/0/record").and_then(Value::as_str);
            let record = record.context("no upload is listed")?;
            author
                .must(&["record", "uploads", "--drop", record])
                .await?;
        }
        self.measured.check(
            "a submission that is interrupted early leaves nothing",
            ran.code == INTERRUPTED && self.blocks_of(&user) == 0,
        );
        Ok(())
    }

    /// A disk that takes blocks but not the document.
    async fn fill_disk(&mut self, record: &str) -> anyhow::Result<()> {
        let out = self.fresh("full")?;
        let reader = self.command(&users::reader()).with_file_kib_max(4096);
        let ran = reader.run(&self.read_words(record, &out)).await?;
        self.measured.check(
            "on a full disk a read fails, says so, and leaves no file",
            ran.code != 0 && ran.said.contains("could not be written") && is_empty(&out)?,
        );
        Ok(())
    }

    /// `Ctrl-C` in the middle of a read; the second attempt fetches the rest.
    async fn interrupt_read(&mut self, record: &str, study: &Study) -> anyhow::Result<()> {
        let out = self.fresh("read")?;
        let user = users::reader();
        let reader = self.command(&user);
        // What the read before has left is whole; it is dropped by reading to the end.
        reader.must(&self.read_words(record, &out)).await?;
        std::fs::remove_file(&out)?;
        let begun = || self.blocks_of(&user) >= BEGUN_BLOCKS;
        let words = self.read_words(record, &out);
        let ran = reader.run_until(&words, begun, Ending::Interrupt).await?;
        let kept = self.blocks_of(&user);
        self.measured.check(
            "an interrupted read ends with 130, says how to go on, and leaves no file",
            ran.code == INTERRUPTED && ran.said.contains("goes on") && is_empty(&out)?,
        );
        let ran = reader.must(&words).await?;
        self.note_peak("read again", &ran);
        let fetched = ran.number("fetched_blocks")?;
        self.measured.half_read_blocks = [kept, fetched];
        self.measured.check(
            "what an interrupted read had is not fetched again",
            kept >= BEGUN_BLOCKS && kept + fetched <= study.chunks() + study.chunks() / 8,
        );
        let same = study::sha256(&out)? == study.sha256();
        self.measured
            .check("a read that was resumed is what was written", same);
        self.measured.check(
            "nothing of a finished read stays with its reader",
            self.blocks_of(&user) == 0,
        );
        Ok(())
    }

    /// A file that is not there, in a folder of its own.
    fn fresh(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.folder.join(name);
        std::fs::create_dir_all(&folder)?;
        Ok(folder.join("study.dcm"))
    }

    async fn start_storage(&mut self, organization: &str) -> anyhow::Result<()> {
        let node = self.storage(organization)?;
        self.network.start(&node)?;
        self.network.answers(&node).await
    }
}

/// Whether the folder of a file holds nothing, no temporary file either.
fn is_empty(file: &Path) -> anyhow::Result<bool> {
    let folder = file.parent().context("a file is in a folder")?;
    Ok(std::fs::read_dir(folder)?.next().is_none())
}

fn write_private(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::File::options();
    options.write(true).create(true).truncate(true).mode(0o600);
    Ok(options.open(path)?.write_all(bytes)?)
}
