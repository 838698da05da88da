//! Why evidence does not permit a cutover.

use envctl_model::cutover::plan::Adapter;
use envctl_model::stack::TargetKind;
use jiff::{SignedDuration, Timestamp};

use super::digest::Digest;
use super::statement::Conclusion;

/// Why evidence does not permit a cutover: one reason each, with what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is no evidence, or not of this version.
    #[error("this is no evidence of a rehearsal: {what}")]
    Malformed {
        /// What is wrong.
        what: String,
    },
    /// Its end is missing.
    #[error(
        "the evidence ends after {bytes} bytes, in the middle of its line: it was cut off\n  copy the file again"
    )]
    Truncated {
        /// How much there is.
        bytes: usize,
    },
    /// It says what it says in another form than the one that there is.
    #[error("{what} is not in canonical form: something rewrote it, or another version of envctl signed it")]
    NotCanonical {
        /// Envelope or statement.
        what: &'static str,
    },
    /// The envelope is of something else.
    #[error("the envelope holds `{found}`, which is no in-toto statement")]
    PayloadType {
        /// What it says that it holds.
        found: String,
    },
    /// Nobody whom the repository lists has the key.
    #[error("the key {} that signed it is not in the signers file{}", key.short(), listed(known))]
    Signer {
        /// The key's id.
        key: Digest,
        /// Who is listed.
        known: Vec<String>,
    },
    /// It is not what was signed.
    #[error("the signature is not {signer}'s of this content: a byte of either was changed")]
    Signature {
        /// Whose key it claims.
        signer: String,
    },
    /// The new side ran on Compose.
    #[error(
        "it is a draft: the new side ran on Compose, which is no Kubernetes\n  \
         rehearse again with a target of kind `eks` as the new side"
    )]
    Draft,
    /// The rehearsal did not succeed.
    #[error("the rehearsal's verdict is {}, and only a successful one permits a cutover", verdict.as_str())]
    Verdict {
        /// What came of it.
        verdict: Conclusion,
    },
    /// It is too old.
    #[error("the rehearsal ended {} ago; evidence counts for {}\n  rehearse again", span(*age), span(*max_age))]
    Expired {
        /// How old it is.
        age: SignedDuration,
        /// How old it may be.
        max_age: SignedDuration,
    },
    /// It is from the future.
    #[error(
        "the rehearsal ended at {ended}, and here it is {now}: one of the two clocks is wrong\n  \
         compare the clocks of both machines"
    )]
    FromTheFuture {
        /// When it ended.
        ended: Timestamp,
        /// What the clock says here.
        now: Timestamp,
    },
    /// Its own clock was set back.
    #[error(
        "the rehearsal ended at {ended}, before it began at {began}: its clock was set back\n  rehearse again"
    )]
    ClockMoved {
        /// When it began.
        began: Timestamp,
        /// When it ended.
        ended: Timestamp,
    },
    /// Another component was rehearsed.
    #[error("component `{found}` was rehearsed, not `{wanted}`")]
    OtherComponent {
        /// Which one was.
        found: String,
        /// Which one was to be.
        wanted: String,
    },
    /// The plan was another one.
    #[error(
        "the plan is not the one that was rehearsed ({}, now {})\n  rehearse again, or check out the plan of then",
        found.short(), wanted.short()
    )]
    OtherPlan {
        /// That of the rehearsal.
        found: Digest,
        /// The one now.
        wanted: Digest,
    },
    /// Images are others.
    #[error("images are not those that were rehearsed: {}\n  deploy those, or rehearse again", images.join(", "))]
    OtherImages {
        /// Which ones.
        images: Vec<String>,
    },
    /// The chart is another one.
    #[error("the chart is not the one that was rehearsed ({}, now {})\n  rehearse again", found.short(), wanted.short())]
    OtherChart {
        /// That of the rehearsal.
        found: Digest,
        /// The one now.
        wanted: Digest,
    },
    /// The values are others.
    #[error("the merged values are not those that were rehearsed\n  rehearse again with the values of now")]
    OtherValues,
    /// What the chart renders differs where the plan does not say that it may.
    #[error(
        "rendered objects differ from those of the rehearsal beyond the plan's `divergence`: {}\n  \
         declare what may differ in the plan, with the reason, and rehearse again",
        objects.join(", ")
    )]
    OtherManifests {
        /// `Kind/name` of each.
        objects: Vec<String>,
    },
    /// The files of Terraform's root are others.
    #[error(
        "the Terraform root is not the one that was rehearsed ({}, now {})\n  \
         rehearse again, or check out its files of then",
        root(*found), root(*wanted)
    )]
    OtherTerraform {
        /// Those of the rehearsal.
        found: Option<Digest>,
        /// Those now.
        wanted: Option<Digest>,
    },
    /// The new side ran on another kind of target.
    #[error("the rehearsal's new side ran on {}, and the cutover's is on {}", kind(*found), kind(*wanted))]
    OtherTargetKind {
        /// That of the rehearsal.
        found: TargetKind,
        /// That of the cutover.
        wanted: TargetKind,
    },
    /// The router was operated in another way.
    #[error(
        "the rehearsal's router was {}, and the cutover's is {}: the way back that was drilled is not this one's",
        adapter(*found), adapter(*wanted)
    )]
    OtherRouter {
        /// That of the rehearsal.
        found: Option<Adapter>,
        /// That of the cutover.
        wanted: Option<Adapter>,
    },
    /// It permitted a cutover already.
    #[error("this evidence was used already: it permits one cutover\n  rehearse again")]
    Used {
        /// Its id.
        id: Digest,
    },
}

fn listed(known: &[String]) -> String {
    if known.is_empty() {
        ", which lists nobody".to_owned()
    } else {
        format!(": it lists {}", known.join(", "))
    }
}

/// `3 h 5 min`: as exact as an age has to be.
fn span(age: SignedDuration) -> String {
    match age.as_secs() {
        seconds if seconds < 60 => format!("{seconds} s"),
        seconds if seconds < 3600 => format!("{} min", seconds / 60),
        seconds if seconds % 3600 < 60 => format!("{} h", seconds / 3600),
        seconds => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

fn kind(kind: TargetKind) -> &'static str {
    match kind {
        TargetKind::Compose => "Compose",
        TargetKind::Eks => "EKS",
    }
}

fn root(root: Option<Digest>) -> String {
    root.map_or_else(|| "none".to_owned(), |root| root.short())
}

fn adapter(adapter: Option<Adapter>) -> &'static str {
    adapter.map_or("none", Adapter::as_str)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_shown_in_hours_and_minutes() {
        for (seconds, text) in [(59, "59 s"), (60, "1 min"), (7200, "2 h"), (72 * 3600 + 300, "72 h 5 min")] {
            assert_eq!(span(SignedDuration::from_secs(seconds)), text);
        }
    }
}
