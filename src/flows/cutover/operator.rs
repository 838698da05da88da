//! The command that operates the machines of production: it is told one JSON object, and answers one.
//!
//! ```text
//! {"ask": "state"}                  {"running": 10, "armed": true, "leadsTo": "old", "revision": "2f1c"}
//! {"ask": "counters"}               {"old": {"requests": 10, "failed": 0, "p99": 0.2}, "new": {...}}
//! {"do": "keep", "running": 3}      {}    that many machines go on, and serve; the others end gracefully
//! {"do": "disarm"}, {"do": "arm"}   {}    the entries go out of the crontab, or back into it
//! {"do": "lead", "to": "new"}       {}    the component's name leads to that side
//! ```
//!
//! What it did is read back by asking for the state. It says what went wrong as `{"error": "..."}`, or ends with another
//! code than 0. Of the state it tells what there is: only `running` has to be.

use std::path::{Path, PathBuf};
use std::time::Duration;

use envctl_model::cutover::Side;
use envctl_programs::process::{Command, Input, Supervisor};
use envctl_rehearse::director::Trouble;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::flows::moving::OldSide;

/// How long an answer may take: machines end gracefully.
const WITHIN: Duration = Duration::from_secs(600);

/// Who operates the machines.
#[derive(Debug, Clone)]
pub(super) struct Operator {
    /// A program and its arguments.
    words: Vec<String>,
    /// The plan's directory.
    directory: PathBuf,
}

/// What it says of production.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct State {
    /// How many machines run.
    pub(super) running: u64,
    /// Whether the crontab has the entries.
    pub(super) armed: Option<bool>,
    /// Where the component's name leads to.
    pub(super) leads_to: Option<Side>,
    /// The revision of the code on the machines.
    pub(super) revision: Option<String>,
}

/// What it says of requests.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(super) struct Counters {
    /// Those that were answered up to now.
    pub(super) requests: u64,
    /// Those of them that failed.
    pub(super) failed: u64,
    /// Within how many seconds 99 of 100 are answered now.
    pub(super) p99: Option<f64>,
}

/// Counters of both sides.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
pub(super) struct BothCounters {
    /// Those of the machines.
    pub(super) old: Counters,
    /// Those of the chart.
    pub(super) new: Counters,
}

impl Operator {
    /// The plan's command. A program with a slash is looked for from the plan's directory.
    pub(super) fn new(words: &[String], directory: &Path) -> Self {
        Self { words: words.to_vec(), directory: directory.to_owned() }
    }

    /// Looks.
    pub(super) async fn state(&self) -> Result<State, Trouble> {
        self.tell(&json!({"ask": "state"})).await
    }

    /// Reads its counters.
    pub(super) async fn counters(&self) -> Result<BothCounters, Trouble> {
        self.tell(&json!({"ask": "counters"})).await
    }

    fn holds<T: PartialEq + serde::Serialize>(
        &self,
        found: Option<T>,
        wanted: T,
        key: &str,
    ) -> Result<(), Trouble> {
        if found.as_ref() == Some(&wanted) {
            return Ok(());
        }
        let found = found.map_or_else(|| "nothing".to_owned(), |found| json!(found).to_string());
        Err(Trouble(format!(
            "`{}` was told to, and its state then says {found} for `{key}`, not {}",
            self.name(),
            json!(wanted)
        )))
    }

    /// Has so many machines go on, and reads back how many do.
    async fn kept(&self, count: u16) -> Result<u64, Trouble> {
        self.tell::<Value>(&json!({"do": "keep", "running": count})).await?;
        Ok(self.state().await?.running)
    }

    fn name(&self) -> &str {
        self.words.first().map_or("", String::as_str)
    }

    /// The program that is started.
    pub(super) fn command(words: &[String], directory: &Path) -> Command {
        let [program, arguments @ ..] = words else { return Command::new("") };
        let program = if program.contains('/') { directory.join(program) } else { PathBuf::from(program) };
        Command::new(program)
            .args(arguments)
            .current_dir(directory)
            .how_to_get("the plan's `production` names it: correct it there")
    }

    async fn tell<T: DeserializeOwned>(&self, request: &Value) -> Result<T, Trouble> {
        let input = Input::Bytes(format!("{request}\n").into_bytes().into());
        let command = Self::command(&self.words, &self.directory).input(input);
        // An interrupt of ours must not break off what it does to a machine: the next step decides.
        let ran = tokio::time::timeout(WITHIN, command.run(&Supervisor::default())).await;
        let ran = ran.map_err(|_| {
            Trouble(format!("`{}` did not answer {request} within {} s", self.name(), WITHIN.as_secs()))
        })?;
        let output = ran.map_err(|e| Trouble(format!("{request}: {e}")))?;
        read(&output.stdout_text())
            .map_err(|why| Trouble(format!("`{}`, told {request}: {why}", self.name())))
    }
}

impl OldSide for Operator {
    const ARMS_WITHIN: Duration = Duration::from_secs(15);

    async fn keep(&self, count: u16) -> Result<(), Trouble> {
        let running = self.kept(count).await?;
        if running == u64::from(count) {
            return Ok(());
        }
        Err(Trouble(format!(
            "{running} machines of the old side run, and {count} should, as `{}` says",
            self.name()
        )))
    }

    async fn restore(&self, count: u16) -> Result<(), Trouble> {
        let running = self.kept(count).await?;
        let wanted = u64::from(count);
        if running * 10 < wanted * 9 {
            return Err(Trouble(format!(
                "{running} machines of the old side run again, which is less than nine of ten of {count}, as `{}` says",
                self.name()
            )));
        }
        if running != wanted {
            crate::ui::notice(&format!(
                "{running} machines of the old side run, not {count}: going back goes on"
            ));
        }
        Ok(())
    }

    async fn arm(&self, armed: bool) -> Result<(), Trouble> {
        self.tell::<Value>(&json!({"do": if armed { "arm" } else { "disarm" }})).await?;
        self.holds(self.state().await?.armed, armed, "armed")
    }

    async fn lead(&self, to: Side) -> Result<(), Trouble> {
        self.tell::<Value>(&json!({"do": "lead", "to": to})).await?;
        self.holds(self.state().await?.leads_to, to, "leadsTo")
    }
}

/// The answer is the last line: what was printed before it is for people.
fn read<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    let line = text.lines().map(str::trim).rfind(|line| !line.is_empty());
    let line = line.ok_or("it answered nothing: it has to print a JSON object")?;
    let value: Value =
        serde_json::from_str(line).map_err(|e| format!("it answered `{line}`, which is no JSON: {e}"))?;
    if let Some(error) = value.get("error") {
        return Err(error.as_str().map_or_else(|| error.to_string(), str::to_owned));
    }
    serde_json::from_value(value).map_err(|e| format!("it answered `{line}`: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn operator(script: &str) -> Operator {
        let words = ["sh", "-c", script].map(str::to_owned);
        Operator::new(&words, Path::new("/"))
    }

    #[tokio::test]
    async fn what_it_did_is_read_back() {
        let does_nothing =
            operator(r#"read line; case $line in *ask*) echo '{"running": 2}';; *) echo '{}';; esac"#);
        does_nothing.keep(2).await.unwrap();
        let trouble = does_nothing.keep(0).await.unwrap_err().0;
        assert_eq!(trouble, "2 machines of the old side run, and 0 should, as `sh` says");
        let trouble = does_nothing.lead(Side::New).await.unwrap_err().0;
        assert_eq!(trouble, "`sh` was told to, and its state then says nothing for `leadsTo`, not \"new\"");
    }

    #[tokio::test]
    async fn a_machine_that_does_not_come_back_does_not_hold_up_going_back() {
        let nine = operator(r#"read line; case $line in *ask*) echo '{"running": 9}';; *) echo '{}';; esac"#);
        nine.restore(10).await.unwrap();
        nine.restore(8).await.unwrap();
        let trouble = nine.restore(11).await.unwrap_err().0;
        assert_eq!(
            trouble,
            "9 machines of the old side run again, which is less than nine of ten of 11, as `sh` says"
        );
    }

    #[tokio::test]
    async fn an_answer_is_the_last_line_and_an_error_is_passed_on() {
        let told = operator(r#"echo stopping; echo '{"running": 0, "armed": false, "leadsTo": "new"}'"#);
        let state = State { running: 0, armed: Some(false), leads_to: Some(Side::New), revision: None };
        assert_eq!(told.state().await.unwrap(), state);
        for (script, said) in [
            (r#"echo '{"error": "no way to host 7"}'"#, "no way to host 7"),
            ("echo yes", "it answered `yes`, which is no JSON"),
            ("true", "it answered nothing"),
            ("echo no key >&2; exit 3", "no key"),
        ] {
            let trouble = operator(script).state().await.unwrap_err().0;
            assert!(trouble.contains(said), "{trouble}");
            assert!(trouble.contains(r#"{"ask":"state"}"#), "{trouble}");
        }
    }
}
