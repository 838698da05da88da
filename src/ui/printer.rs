//! Draws the event stream: live lines on a terminal, plain lines on a pipe, JSON lines on demand.

use std::collections::HashMap;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use console::style;
use envctl_model::receipt::End;
use envctl_model::{Event, StepId};
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::Failure;

/// How events are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// For people: live on a terminal, plain lines elsewhere.
    Text,
    /// One event per line.
    Json,
}

/// Prints text to standard output, for verbs that only look. A reader that has gone away (`| head`) ends
/// the program quietly; a disk that takes nothing more does not.
pub(crate) fn print(text: &str) {
    match write(text) {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        Err(_) => std::process::exit(1),
    }
}

fn write(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.write_all(b"\n")?;
    out.flush()
}

/// Says something on standard error that cannot wait for the end.
pub(crate) fn notice(text: &str) {
    // Nobody reads it: then nobody wants to know.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// Prints a value as JSON.
pub(crate) fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    print(&serde_json::to_string_pretty(value).map_err(Failure::failed)?);
    Ok(())
}

/// Whether messages on standard error may be coloured.
pub(crate) fn colour_on_stderr() -> bool {
    std::io::stderr().is_terminal() && console::colors_enabled_stderr()
}

/// Shows events. Whether anything may be drawn is decided once, here.
pub(crate) struct Printer {
    screen: Screen,
}

enum Screen {
    Live { bars: MultiProgress, running: HashMap<StepId, ProgressBar> },
    Plain,
    Json,
}

impl Printer {
    /// A printer for standard output as it is.
    pub(crate) fn new(format: Format) -> Self {
        let screen = match format {
            Format::Json => Screen::Json,
            Format::Text
                if std::io::stdout().is_terminal()
                    && std::env::var_os("TERM").is_none_or(|t| t != "dumb") =>
            {
                let bars = MultiProgress::with_draw_target(ProgressDrawTarget::stdout());
                Screen::Live { bars, running: HashMap::new() }
            }
            Format::Text => Screen::Plain,
        };
        Self { screen }
    }

    /// Shows one event.
    pub(crate) fn show(&mut self, event: &Event) {
        match &mut self.screen {
            Screen::Json => {
                // What is being done must not stop half-way because nobody reads about it.
                if let Ok(line) = serde_json::to_string(event) {
                    let _ = write(&line);
                }
            }
            Screen::Plain => {
                if let Some(text) = line(event) {
                    let _ = write(&console::strip_ansi_codes(&text));
                }
            }
            Screen::Live { bars, running } => {
                match event {
                    Event::StepStarted { step, topic, subject } => {
                        let bar = bars.add(ProgressBar::new_spinner().with_style(spinner()));
                        bar.set_prefix(columns(topic, subject));
                        bar.enable_steady_tick(Duration::from_millis(120));
                        running.insert(step.clone(), bar);
                    }
                    Event::StepProgress { step, message } => {
                        if let Some(bar) = running.get(step) {
                            bar.set_message(message.lines().next().unwrap_or_default().to_owned());
                        }
                    }
                    Event::StepDone { step, .. } | Event::StepFailed { step, .. } => {
                        if let Some(bar) = running.remove(step) {
                            bar.finish_and_clear();
                            bars.remove(&bar);
                        }
                    }
                    _ => {}
                }
                if let Some(text) = line(event) {
                    // The terminal is gone: there is nobody to tell.
                    let _ = bars.println(text);
                }
            }
        }
    }
}

fn spinner() -> ProgressStyle {
    ProgressStyle::with_template("  {prefix} {spinner} {wide_msg} {elapsed:>5}")
        .unwrap_or_else(|_| ProgressStyle::default_spinner())
}

fn columns(topic: &str, subject: &str) -> String {
    format!("{topic:<10} {subject:<28}")
}

/// An event as lines for people; `None` for what is not worth one.
fn line(event: &Event) -> Option<String> {
    let columns = |topic: &str, subject: &str, rest: &str| {
        format!("  {} {subject:<28} {rest}", style(format!("{topic:<10}")).cyan())
    };
    Some(match event {
        Event::Planned { environment, target, steps, expires, .. } => {
            let expires = expires.as_ref().map_or(String::new(), |e| format!(" · {e}"));
            format!(
                "  {} {steps} steps · target {target} · environment {environment}{expires}",
                style("plan      ").cyan()
            )
        }
        Event::StepDone { topic, subject, summary, seconds, show: true, .. } => {
            if subject.is_empty() {
                format!("  {} {summary:<59} {seconds:>6.1} s", style(format!("{topic:<10}")).cyan())
            } else {
                columns(topic, subject, &format!("{summary:<30} {seconds:>6.1} s"))
            }
        }
        Event::StepFailed { topic, subject, error, stuck, .. } => {
            let word = if *stuck { "stuck" } else { "failed" };
            let indented: Vec<_> = error.lines().map(|l| format!("             {l}")).collect();
            format!(
                "{}\n{}",
                columns(topic, subject, &style(word).red().bold().to_string()),
                indented.join("\n")
            )
        }
        Event::Warning { message } => {
            format!("  {} {}", style("warning   ").yellow(), message.replace('\n', "\n             "))
        }
        Event::Ready { urls, environment, .. } => {
            let place = if urls.is_empty() { environment.clone() } else { urls.join("  ") };
            format!("  {} {place}", style("ready     ").green().bold())
        }
        Event::Sandbox { old, new, shared } => {
            let shared =
                if shared.is_empty() { String::new() } else { format!(" · shared {}", shared.join(", ")) };
            format!("  {} old {old} · new {new}{shared}", style("sandbox   ").cyan())
        }
        Event::Rehearsed { verdict, why, report, evidence, seconds } => {
            rehearsed(verdict, why, report, evidence.as_deref(), *seconds)
        }
        Event::CutOver { component, state, next, seconds } => {
            let capitals = state.to_uppercase();
            let word = match state.as_str() {
                "done" => style(capitals).green().bold(),
                _ => style(capitals).yellow().bold(),
            };
            format!(
                "  {} {component} {word}  after {seconds:.0} s\n             {next}",
                style("cutover   ").cyan()
            )
        }
        Event::Receipt(receipt) => {
            let mut text = format!("  {} {}", style("receipt   ").green().bold(), receipt.summary());
            for (end, item) in receipt.items().filter(|(end, _)| !matches!(end, End::Gone | End::Kept)) {
                let word = match end {
                    End::Left => style("left").red().bold(),
                    End::Unverified => style("unverified").yellow(),
                    _ => style("retained").yellow(),
                };
                text.push_str(&format!("\n             {word} {} {}: {}", item.kind, item.id, item.evidence));
                if let Some(command) = &item.remove {
                    text.push_str(&format!("\n               remove it with: {command}"));
                }
            }
            text
        }
        Event::StepStarted { .. } | Event::StepProgress { .. } | Event::StepDone { .. } => return None,
    })
}

/// What came of a rehearsal, as lines for people.
fn rehearsed(verdict: &str, why: &str, report: &str, evidence: Option<&str>, seconds: f64) -> String {
    let capitals = verdict.to_uppercase();
    let word = match verdict {
        "successful" => style(capitals).green().bold(),
        "failed" => style(capitals).red().bold(),
        _ => style(capitals).yellow().bold(),
    };
    let mut text = format!("  {} {word}  after {seconds:.0} s", style("verdict   ").cyan());
    for line in why.lines() {
        text.push_str(&format!("\n             {line}"));
    }
    text.push_str(&format!("\n  {} {report}", style("report    ").cyan()));
    if let Some(evidence) = evidence {
        text.push_str(&format!("\n  {} {evidence}", style("evidence  ").cyan()));
    }
    text
}
