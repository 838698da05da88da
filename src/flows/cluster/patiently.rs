//! Programs have no patience of their own with an API server that is away: what they did is done again.

use std::time::Instant;

use envctl_cluster::{ClusterReader, namespace};
use envctl_programs::helm::HelmError;
use envctl_programs::process::ProgramError;
use envctl_runner::{Context, StepError};

use super::target::cluster;
use crate::flows::chart::helm_failed;
use crate::flows::step_error::failure;

/// How often an API server may go away while one thing is done.
const TIMES: usize = 3;

/// Has helm do something in a namespace, and again if it failed while the API server was away.
pub(super) async fn patiently<T, F>(
    reader: &ClusterReader,
    namespace: &str,
    context: &Context,
    attempt: impl Fn() -> F,
) -> Result<T, StepError>
where
    F: Future<Output = Result<Result<T, HelmError>, StepError>>,
{
    let mut left = TIMES;
    loop {
        let begun = Instant::now();
        let error = match attempt().await? {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let interrupted = matches!(error, HelmError::Program(ProgramError::Interrupted { .. }));
        left -= 1;
        if interrupted || left == 0 {
            return Err(failure(helm_failed(error)));
        }
        // It may still be away: to ask is how that is noticed, and how it is waited for. Credentials that
        // have ended explain more than what Helm says of them.
        reader.answers().await.map_err(cluster)?;
        if !reader.was_away_since(begun) {
            return Err(failure(helm_failed(error)));
        }
        // One that has just come back answers before it has read who may do what.
        namespace::await_rights(reader, namespace).await.map_err(cluster)?;
        context.warn("the API server was away while helm was at work: that is done again");
    }
}
