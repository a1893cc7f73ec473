//! A small disk over a node's data folder, in a mount namespace of its own, so that it can be full
//! without harm to anybody.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::Context;
use serde_json::Value;

use crate::process::binary;

/// Room for the node's data and little more.
const BYTES: u64 = 512 << 20;

/// Copies the data onto the small disk and puts that in its place; holds both until its input ends.
const SCRIPT: &str = r#"
set -e
mkdir -p "$1.small"
mount -t tmpfs -o "size=$2" tmpfs "$1.small"
cp -a "$1/." "$1.small/"
mount --bind "$1.small" "$1"
echo ready
exec cat
"#;

pub(super) struct SmallDisk {
    data: PathBuf,
    /// Lives as long as its standard input is open.
    holder: Child,
}

impl SmallDisk {
    /// Mounts it; this program's own view of the folder does not change.
    pub(super) fn over(data: &Path) -> anyhow::Result<Self> {
        let mut holder = Command::new("unshare")
            .args(["--user", "--map-root-user", "--mount"])
            .args(["sh", "-c", SCRIPT, "sh"])
            .arg(data)
            .arg(BYTES.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("unshare, of the package util-linux, does not run")?;
        let stdout = holder.stdout.take().context("no output")?;
        let mut disk = Self {
            data: data.to_owned(),
            holder,
        };
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        if line.trim() != "ready" {
            let status = disk.holder.wait()?;
            anyhow::bail!(
                "no small disk can be mounted here ({status}): the trial needs user namespaces \
                 (sysctl kernel.unprivileged_userns_clone=1, or a container that allows them)"
            );
        }
        Ok(disk)
    }

    /// What to put before a command so that it sees the small disk.
    pub(super) fn enter(&self) -> Vec<String> {
        let holder = self.holder.id().to_string();
        [
            "nsenter",
            "--preserve-credentials",
            "--user",
            "--mount",
            "--target",
        ]
        .map(str::to_owned)
        .into_iter()
        .chain([holder])
        .collect()
    }

    /// Leaves no byte free.
    pub(super) fn fill(&self) -> anyhow::Result<()> {
        let seen = PathBuf::from(format!("/proc/{}/root", self.holder.id()));
        let inside = self.data.strip_prefix("/")?;
        let mut file = std::fs::File::create(seen.join(inside).join("filler"))?;
        let zeros = vec![0; 1 << 20];
        loop {
            match file.write_all(&zeros) {
                Ok(()) => {}
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// What the doctor finds on this machine about a node's configuration.
    pub(super) async fn doctor(&self, file: &Path) -> anyhow::Result<Vec<Value>> {
        let enter = self.enter();
        let (program, arguments) = enter.split_first().context("no command")?;
        let output = tokio::process::Command::new(program)
            .args(arguments)
            .arg(binary("stela")?)
            .args(["--json", "doctor", "--config"])
            .arg(file)
            .kill_on_drop(true)
            .output()
            .await?;
        let report: Value = serde_json::from_slice(&output.stdout)
            .with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
        anyhow::ensure!(output.status.code() == Some(1), "{report}");
        let findings = report.pointer("/findings").and_then(Value::as_array);
        Ok(findings.context("no findings")?.clone())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Its input ends, and with it the namespace and the disk.
        drop(self.holder.stdin.take());
        if let Err(error) = self.holder.wait() {
            tracing::error!(%error, "the holder of a small disk did not end");
        }
        // The folder under the mount, empty.
        let below = PathBuf::from(format!("{}.small", self.data.display()));
        if let Err(error) = std::fs::remove_dir(below) {
            tracing::error!(%error, "the small disk's folder is left");
        }
    }
}
