//! `envctl evidence`

use std::path::{Path, PathBuf};
use std::time::Duration;

use envctl_model::stack::parse_ttl;
use envctl_rehearse::evidence::{
    Digest, Freshness, GateOutcome, KeyError, Refusal, Rehearsal, Signer, SigningKey, Verified, peek, verify,
};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;

use crate::config::Base;
use crate::flows::signers::{self, SIGNERS};
use crate::ui::{Failure, Format, ago, notice, print, print_json, table};

/// Flags.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, clap::Subcommand)]
enum Verb {
    /// Make a private key, and print the line for rehearsal/signers
    Keygen {
        /// Where the private key goes
        file: PathBuf,
        /// Whose it is, in one word [default: the user]
        #[arg(long, value_name = "NAME", value_parser = word)]
        signer: Option<String>,
    },
    /// Show what evidence says, whether or not it is genuine
    Show {
        /// The evidence, *.intoto.jsonl
        file: PathBuf,
    },
    /// Check evidence, offline: form, signature, verdict, age
    Verify {
        /// The evidence, *.intoto.jsonl
        file: PathBuf,
        /// The plan that it has to be of
        #[arg(long)]
        plan: Option<PathBuf>,
        /// Who may sign [default: rehearsal/signers here or above]
        #[arg(long, value_name = "FILE")]
        signers: Option<PathBuf>,
        /// How old it may be
        #[arg(long, value_name = "AGE", default_value = "72h", value_parser = age)]
        max_age: Duration,
    },
}

/// What `evidence show --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Shown {
    /// The digest of the statement: what makes this evidence one of a kind.
    id: Digest,
    /// The id of the key that it says it was signed with. Nothing of this was verified.
    key: Digest,
    /// Whether the new side ran on Compose, so that it permits no cutover.
    draft: bool,
    /// What was rehearsed, and how it went.
    rehearsal: Rehearsal,
}

/// What `evidence verify --json` prints.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct Verification {
    /// Whether it is taken.
    verified: bool,
    /// Why not.
    refusal: Option<String>,
    /// Who signed it.
    signer: Option<String>,
    /// The digest of the statement.
    id: Option<Digest>,
    /// The component that was rehearsed.
    component: Option<String>,
}

pub(super) fn run(base: &Base, arguments: &Arguments, format: Format) -> Result<(), Failure> {
    match &arguments.verb {
        Verb::Keygen { file, signer } => keygen(file, signer.as_ref().unwrap_or(&base.variables.user)),
        Verb::Show { file } => show(file, format),
        Verb::Verify { file, plan, signers, max_age } => {
            let signers = signers::read(signers.as_deref(), &base.variables.current_dir)?;
            let plan = plan.as_deref().map(bytes).transpose()?.map(|plan| Digest::of(&plan));
            let freshness = Freshness { now: Timestamp::now(), max_age: *max_age };
            let verified = verify(&bytes(file)?, &signers, freshness)
                .and_then(|verified| plan.map_or(Ok(()), |plan| verified.of_plan(plan)).map(|()| verified));
            tell(file, verified, format)
        }
    }
}

fn keygen(file: &Path, signer: &str) -> Result<(), Failure> {
    let key = SigningKey::generate().map_err(Failure::failed)?;
    key.write(file).map_err(|error| match error {
        KeyError::Exists { .. } | KeyError::Io { .. } => Failure::Usage(error.to_string()),
        _ => Failure::failed(error),
    })?;
    notice(&format!(
        "{} is the private key: keep it to yourself. This line goes into {SIGNERS}:",
        file.display()
    ));
    print(&Signer { name: signer.to_owned(), key: key.public() }.to_string());
    Ok(())
}

fn tell(file: &Path, verified: Result<Verified, Refusal>, format: Format) -> Result<(), Failure> {
    if format == Format::Json {
        let evidence = verified.as_ref().ok();
        print_json(&Verification {
            verified: evidence.is_some(),
            refusal: verified.as_ref().err().map(ToString::to_string),
            signer: evidence.map(|evidence| evidence.signer().to_owned()),
            id: evidence.map(Verified::id),
            component: evidence.map(|evidence| evidence.rehearsal().component.clone()),
        })?;
    }
    let evidence = verified.map_err(|refusal| Failure::Refused(format!("{}: {refusal}", file.display())))?;
    if format == Format::Text {
        let rehearsal = evidence.rehearsal();
        print(&format!(
            "verified: rehearsal of {}, {}, ended {} ago, signed by {}\nid {}",
            rehearsal.component,
            rehearsal.verdict.as_str(),
            ago(rehearsal.ended, Timestamp::now()),
            evidence.signer(),
            evidence.id()
        ));
    }
    Ok(())
}

fn show(file: &Path, format: Format) -> Result<(), Failure> {
    let claim =
        peek(&bytes(file)?).map_err(|refusal| Failure::Usage(format!("{}: {refusal}", file.display())))?;
    let draft = claim.rehearsal.is_draft();
    let shown = Shown { id: claim.id, key: claim.key, draft, rehearsal: claim.rehearsal };
    if format == Format::Json {
        return print_json(&shown);
    }
    let it = &shown.rehearsal;
    let verdict = it.verdict.as_str();
    let draft = if draft { ", a draft: the new side ran on Compose" } else { "" };
    print(&format!(
        "rehearsal of {}: {verdict}{draft} (not verified: that is `envctl evidence verify`)\n",
        it.component
    ));
    let dirty = if it.git.dirty { ", with changes" } else { "" };
    let mut rows = vec![
        row("plan", &format!("{} {}", it.plan.name, it.plan.digest.short())),
        row("commit", &format!("{}{dirty}", it.git.commit)),
        row("old side", &format!("revision {}, packages {}", it.old.revision, it.old.packages.short())),
    ];
    rows.extend(
        it.new.images.iter().map(|(name, image)| row("new side", &format!("image {name} {}", image.short()))),
    );
    let samples = it.load.samples;
    rows.push(row("chart", &it.new.chart.short()));
    rows.extend(it.terraform.as_ref().map(|terraform| {
        let plan = terraform.plan.map_or_else(|| "none".to_owned(), |plan| plan.short());
        row("terraform", &format!("root {}, plan {plan}", terraform.configuration.short()))
    }));
    rows.extend([
        row("samples", &format!("{} old, {} new", samples.old, samples.new)),
        row("time", &format!("{} to {}", it.began, it.ended)),
        row("key", &shown.key.short()),
        row("id", &shown.id.to_string()),
    ]);
    rows.extend(it.not_exercised.iter().map(|what| row("not exercised", what)));
    print(&table(&["WHAT", ""], rows));
    print("");
    print(&table(
        &["STEP", "TOOK", "GATES"],
        it.steps.iter().map(|step| {
            let gates = step.gates.iter().map(|record| {
                let gate = serde_json::to_value(record.gate).ok();
                let gate = gate.as_ref().and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
                match record.outcome {
                    GateOutcome::Passed => gate,
                    GateOutcome::Failed => format!("{gate} FAILED"),
                    GateOutcome::Inconclusive => format!("{gate} inconclusive"),
                }
            });
            vec![step.step.clone(), seconds(step.took_ms), gates.collect::<Vec<_>>().join(", ")]
        }),
    ));
    if !it.drills.is_empty() {
        print("");
        print(&table(
            &["ROLLBACK FROM", "TOOK", "LOST", "DOUBLED"],
            it.drills.iter().map(|drill| {
                let from =
                    if drill.middle { format!("middle of {}", drill.from) } else { drill.from.clone() };
                vec![from, seconds(drill.took_ms), drill.lost.to_string(), drill.doubled.to_string()]
            }),
        ));
    }
    Ok(())
}

fn row(name: &str, value: &str) -> Vec<String> {
    vec![name.to_owned(), value.to_owned()]
}

fn seconds(milliseconds: u64) -> String {
    format!("{:.1} s", Duration::from_millis(milliseconds).as_secs_f64())
}

fn bytes(path: &Path) -> Result<Vec<u8>, Failure> {
    std::fs::read(path).map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))
}

fn age(text: &str) -> Result<Duration, String> {
    let age = parse_ttl(text).ok().flatten().and_then(|age| Duration::try_from(age).ok());
    age.ok_or_else(|| format!("`{text}` is not an age: write `90m`, `72h` or `7d`"))
}

fn word(text: &str) -> Result<String, String> {
    let is_word = !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c == '#');
    if is_word { Ok(text.to_owned()) } else { Err(format!("`{text}` is not one word")) }
}
