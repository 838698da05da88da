//! What came of a rehearsal: its verdict, its report, its evidence.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use envctl_model::Event;
use envctl_model::cutover::not_exercised;
use envctl_rehearse::Recorder;
use envctl_rehearse::director::Judged;
use envctl_rehearse::evidence::{
    Conclusion, Digest, Fingerprints, GitIdentity, Load, NamedDigest, NewIdentity, OldIdentity, Rehearsal,
    SigningKey, sign,
};
use envctl_rehearse::gates::Outcome;
use envctl_rehearse::report::Run;
use envctl_rehearse::tally::{Course, Tally};
use jiff::Timestamp;

use super::Options;
use super::identity::Identity;
use super::kept::Held;
use super::plan::Loaded;
use super::sandbox::Delivered;
use crate::config::Base;
use crate::ui::Failure;

/// The report's file.
const REPORT: &str = "rehearsal-report.html";

/// The evidence's file.
const EVIDENCE: &str = "rehearsal.intoto.jsonl";

/// All that there is to conclude from.
pub(super) struct Concluding<'a> {
    /// Flags, variables, programs.
    pub(super) base: &'a Base,
    /// How it was asked for.
    pub(super) options: &'a Options,
    /// The plan.
    pub(super) loaded: &'a Loaded,
    /// The rehearsal.
    pub(super) held: &'a Held,
    /// What was delivered to the new side.
    pub(super) delivered: &'a Delivered,
    /// By what that is told from any other.
    pub(super) identity: Identity,
    /// The digest of the router's image, if there is a router.
    pub(super) router: Option<Digest>,
    /// What was seen.
    pub(super) recorder: &'a Recorder,
    /// What was judged.
    pub(super) judged: Vec<Judged>,
    /// Whether nothing but a gate ended it, and it was gone back from.
    pub(super) ended_by_gate: bool,
    /// What could not be seen, and why.
    pub(super) unseen: Vec<String>,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Concluded {
    verdict: Conclusion,
    why: String,
    report: PathBuf,
    evidence: Option<PathBuf>,
}

impl Concluded {
    /// Whether a cutover may follow.
    pub(super) fn is_successful(&self) -> bool {
        self.verdict == Conclusion::Successful
    }

    /// For the screen.
    pub(super) fn event(&self, seconds: f64) -> Event {
        Event::Rehearsed {
            verdict: self.verdict.as_str().to_owned(),
            why: self.why.clone(),
            report: self.report.display().to_string(),
            evidence: self.evidence.as_ref().map(|path| path.display().to_string()),
            seconds,
        }
    }
}

/// Finds out whether report and evidence can be written, before anything is done.
pub(super) fn writable(options: &Options) -> Result<(), Failure> {
    let here = options.out.as_os_str().is_empty();
    let directory = if here { Path::new(".") } else { &options.out };
    // A file without a name is gone when it is closed.
    tempfile::tempfile_in(directory).map(drop).map_err(|e| {
        Failure::Usage(format!(
            "report and evidence cannot be written in {}: {e}\n  name a directory with --out",
            directory.display()
        ))
    })
}

/// Reads the key that signs, before anything is done.
pub(super) fn key(options: &Options) -> Result<Option<SigningKey>, Failure> {
    let read = |path: &PathBuf| SigningKey::read(path).map_err(|e| Failure::Usage(e.to_string()));
    options.key.as_ref().map(read).transpose()
}

impl Concluding<'_> {
    /// Draws the verdict, and writes report and evidence. Evidence is written of what failed, too: it permits nothing.
    pub(super) fn conclude(&self, went: Option<&Failure>) -> Result<Concluded, Failure> {
        let course = match went {
            None if self.unseen.is_empty() => Course::Whole,
            None => Course::Unseen,
            Some(Failure::Interrupted) => Course::Interrupted,
            Some(_) if self.ended_by_gate => Course::Judged,
            Some(_) => Course::Broken,
        };
        let key = key(self.options)?;
        let fingerprints = match &key {
            Some(key) => key.fingerprints().map_err(Failure::failed)?,
            // Compared with nothing.
            None => Fingerprints::new(&[0; 32]),
        };
        let plan = &self.loaded.plan;
        let tally = self.recorder.read(|recording| Tally::of(plan, recording, &self.judged, course));
        let verdict = tally.verdict;
        let facts = self.facts(tally, &fingerprints)?;
        let html = self.recorder.read(|recording| {
            Run { plan, recording, judged: &self.judged, facts: &facts }.html().map_err(Failure::failed)
        })?;
        let report = write(&self.options.out.join(REPORT), html.as_bytes())?;
        let evidence = match &key {
            Some(key) => {
                let envelope = sign(&facts, key).map_err(Failure::failed)?;
                Some(write(&self.options.out.join(EVIDENCE), &envelope)?)
            }
            None => None,
        };
        Ok(Concluded { verdict, why: self.why(went, key.is_some()), report, evidence })
    }

    /// Where and why it is no better.
    fn why(&self, went: Option<&Failure>, is_signed: bool) -> String {
        let mut lines = Vec::new();
        for judged in &self.judged {
            for verdict in judged.verdicts.iter().filter(|verdict| verdict.outcome != Outcome::Passed) {
                let step =
                    self.loaded.plan.steps.get(judged.step).map(|step| step.name()).unwrap_or_default();
                for failure in &verdict.failures {
                    lines.push(format!(
                        "at step {} ({step}), gate {}: {}",
                        judged.step + 1,
                        verdict.gate.as_str(),
                        failure.what
                    ));
                    let ids = if failure.ids.is_empty() {
                        String::new()
                    } else {
                        format!("ids {} · ", failure.ids.join(", "))
                    };
                    lines.push(format!("{ids}{} · {}", failure.cause, failure.change));
                }
            }
        }
        match went {
            Some(Failure::Interrupted) => lines.push("it was interrupted".to_owned()),
            Some(failure) if lines.is_empty() => lines.extend(failure.message()),
            _ => {}
        }
        lines.extend(self.unseen.iter().map(|unseen| format!("not everything was seen: {unseen}")));
        if !is_signed {
            lines.push(
                "no evidence: nothing signs it; name a key with --key, which `envctl evidence keygen FILE` makes"
                    .to_owned(),
            );
        }
        lines.join("\n")
    }

    fn facts(&self, tally: Tally, fingerprints: &Fingerprints) -> Result<Rehearsal, Failure> {
        let plan = &self.loaded.plan;
        let identity = &self.identity;
        let checked = &self.delivered.checked;
        let fingerprint = self.held.kept.fingerprint.as_ref();
        let packages =
            fingerprint.and_then(|fingerprint| fingerprint.packages.as_deref()).unwrap_or_default();
        let commit = checked.git().and_then(|tree| tree.commit.as_ref());
        let rate =
            plan.traffic.as_ref().map(|t| t.rate).or(plan.work.as_ref().map(|w| w.rate)).unwrap_or(0.0);
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a rate is small and not negative"
        )]
        let per_thousand_seconds = (rate * 1000.0).round() as u64;
        Ok(Rehearsal {
            component: plan.component.clone(),
            kind: plan.kind,
            plan: NamedDigest { name: self.loaded.name(), digest: self.loaded.digest() },
            old: OldIdentity {
                packages: Digest::of(packages.as_bytes()),
                revision: fingerprint.map(|fingerprint| fingerprint.code.clone()).unwrap_or_default(),
            },
            new: NewIdentity {
                target: self.loaded.target,
                images: identity.images.clone(),
                chart: identity.chart,
                values: fingerprints.values(&identity.values),
                manifests: fingerprints.manifests(&identity.objects, &plan.divergence),
            },
            terraform: self.delivered.terraform.clone(),
            git: GitIdentity {
                commit: commit.map_or_else(|| "none".to_owned(), |commit| commit.sha.clone()),
                dirty: checked.git().is_none_or(|tree| tree.dirty),
            },
            tools: self.tools(),
            router: plan.router.as_ref().map(|router| router.adapter),
            seed: self.held.kept.seed,
            load: Load { per_thousand_seconds, samples: tally.samples },
            steps: tally.steps,
            faults: tally.faults,
            drills: tally.drills,
            not_exercised: not_exercised(plan),
            began: self.held.kept.began,
            ended: Timestamp::now(),
            verdict: tally.verdict,
        })
    }

    /// The programs that took part, by content.
    fn tools(&self) -> BTreeMap<String, Digest> {
        let digest = |path: &Path| std::fs::read(path).ok().map(|bytes| Digest::of(&bytes));
        let envctl = std::env::current_exe().ok().and_then(|path| digest(&path));
        let programs = &self.base.programs;
        let of = |program: &Path| self.found(program).and_then(|path| digest(&path));
        let terraform = self.delivered.terraform.as_ref().and_then(|_| of(&programs.terraform.value));
        let helm = of(&programs.helm.value);
        let named = [("envctl", envctl), ("helm", helm), ("terraform", terraform), ("haproxy", self.router)];
        named.into_iter().filter_map(|(name, digest)| Some((name.to_owned(), digest?))).collect()
    }

    /// A program's file, as a shell would find it.
    fn found(&self, program: &Path) -> Option<PathBuf> {
        if program.components().count() > 1 {
            return Some(program.to_owned());
        }
        self.base.variables.path.iter().map(|dir| dir.join(program)).find(|file| file.is_file())
    }
}

/// Writes a file whole or not at all.
fn write(path: &Path, bytes: &[u8]) -> Result<PathBuf, Failure> {
    let written = envctl_local::compose::write_file(path, bytes);
    written.map_err(|e| Failure::Failed(format!("cannot write {}: {e}", path.display())))?;
    Ok(path.to_owned())
}
