//! Runs the command `stela` as a user would, and reads its JSON.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Output;

use anyhow::Context;
use serde_json::Value;

use crate::limits::COMMAND;
use crate::process::{binary, stopwatch};

/// One user at her command line.
#[derive(Debug, Clone)]
pub struct Stela {
    profile: PathBuf,
    log: PathBuf,
    /// Where its commands are given, if not where this program runs.
    folder: Option<PathBuf>,
}

/// What a command answered.
#[derive(Debug)]
pub struct Answer {
    /// The exit code.
    pub code: i32,
    /// The JSON it printed; a list of all values when it printed several, and null when none.
    pub json: Value,
    /// Everything that it printed.
    pub printed: String,
    /// What it said on standard error.
    pub said: String,
    /// How long it took.
    pub seconds: f64,
}

impl Answer {
    /// A field of the JSON as text.
    ///
    /// # Errors
    /// When it is not there.
    pub fn text(&self, field: &str) -> anyhow::Result<&str> {
        let value = self.json.pointer(field).and_then(Value::as_str);
        value.with_context(|| format!("the answer has no {field}: {}", self.json))
    }
}

impl Stela {
    /// The user whose profile is in this folder. What her commands print is added to `log`.
    pub fn new(profile: PathBuf, log: PathBuf) -> Self {
        Self {
            profile,
            log,
            folder: None,
        }
    }

    /// The same user with her commands given in this folder, from which relative paths go.
    #[must_use]
    pub fn within(mut self, folder: &Path) -> Self {
        self.folder = Some(folder.to_owned());
        self
    }

    /// Her profile.
    pub fn profile(&self) -> &Path {
        &self.profile
    }

    /// Runs a command that must succeed.
    ///
    /// # Errors
    /// With what the command said, when it does not.
    pub async fn run(&self, arguments: &[&str]) -> anyhow::Result<Answer> {
        let answer = self.attempt(arguments).await?;
        anyhow::ensure!(
            answer.code == 0,
            "`stela {}` ended with {}: {}",
            arguments.join(" "),
            answer.code,
            answer.said.trim()
        );
        Ok(answer)
    }

    /// Runs a command and answers with its exit code, whatever it is.
    ///
    /// # Errors
    /// When the command cannot be started or takes too long, or the log cannot be written.
    pub async fn attempt(&self, arguments: &[&str]) -> anyhow::Result<Answer> {
        let started = stopwatch();
        let mut command = tokio::process::Command::new(binary("stela")?);
        command
            .arg("--json")
            .arg("--profile")
            .arg(&self.profile)
            .args(arguments);
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command
            .stdin(std::process::Stdio::null())
            .kill_on_drop(true);
        let output = tokio::time::timeout(COMMAND, command.output())
            .await
            .with_context(|| format!("`stela {}` took too long", arguments.join(" ")))??;
        self.keep(arguments, &output)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        Ok(Answer {
            code: output.status.code().unwrap_or(-1),
            json: values(&output.stdout),
            printed: String::from_utf8_lossy(&output.stdout).into_owned(),
            said,
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    fn keep(&self, arguments: &[&str], output: &Output) -> anyhow::Result<()> {
        keep(&self.log, &arguments.join(" "), output)
    }
}

/// What stands before a command in a log of commands.
pub(crate) const COMMAND_LINE: &str = "$ stela ";
/// What stands before the code of a command that did not end with 0, behind what it printed.
pub(crate) const EXIT_CODE_LINE: &str = "(exit code ";

/// Writes down everything that a command printed, at once: others may write there too.
pub(crate) fn keep(log: &Path, words: &str, output: &Output) -> anyhow::Result<()> {
    let command = format!("{COMMAND_LINE}{words}\n");
    let code = match output.status.code() {
        Some(0) => String::new(),
        Some(code) => format!("{EXIT_CODE_LINE}{code})\n"),
        None => format!("{EXIT_CODE_LINE}none)\n"),
    };
    let printed = [
        command.as_bytes(),
        &output.stdout,
        &output.stderr,
        code.as_bytes(),
    ];
    let mut file = File::options().create(true).append(true).open(log)?;
    let written = file.write_all(&printed.concat());
    written.with_context(|| format!("cannot write {}", log.display()))
}

/// What a command printed: most print one value, those that follow something one for each line.
fn values(output: &[u8]) -> Value {
    let values = serde_json::Deserializer::from_slice(output).into_iter();
    let values: Result<Vec<Value>, _> = values.collect();
    match values.unwrap_or_default() {
        values if values.len() > 1 => Value::Array(values),
        values => values.into_iter().next().unwrap_or(Value::Null),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_value_is_itself_and_several_are_a_list() {
        assert_eq!(values(b"{\"a\": 1}\n"), json!({"a": 1}));
        assert_eq!(
            values(b"{\"a\":1}\n{\"a\":2}\n"),
            json!([{"a": 1}, {"a": 2}])
        );
        assert_eq!(values(b""), Value::Null);
        assert_eq!(values(b"no JSON"), Value::Null);
    }
}
