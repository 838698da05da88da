//! How far a rehearsal has come, read from its recording: for one that died, and is to be resumed or aborted.

use crate::observation::{Observation, StepPhase};

/// Indices of the steps that hold, or that may hold because they were begun, in the order in which they were begun.
#[must_use]
pub fn standing(observations: &[Observation]) -> Vec<usize> {
    let mut standing: Vec<usize> = Vec::new();
    for observation in observations {
        match observation {
            Observation::Step { step, phase: StepPhase::Begun, .. } if !standing.contains(step) => {
                standing.push(*step);
            }
            Observation::Step { step, phase: StepPhase::Undone, .. } => standing.retain(|held| held != step),
            _ => {}
        }
    }
    standing
}

/// Indices of the steps whose gates have been judged. A rehearsal that is resumed does not judge them again.
#[must_use]
pub fn judged(observations: &[Observation]) -> Vec<usize> {
    let judged = observations.iter().filter_map(|observation| match observation {
        Observation::Step { step, phase: StepPhase::Judged, .. } => Some(*step),
        _ => None,
    });
    let mut judged: Vec<_> = judged.collect();
    judged.sort_unstable();
    judged.dedup();
    judged
}
