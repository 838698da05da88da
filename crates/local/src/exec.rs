//! A command in a container that runs.

use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use futures_util::TryStreamExt as _;

use crate::engine::{EngineError, VerifiedEngine};

/// Runs a command to its end. Its exit code, and what it said.
pub(crate) async fn run(
    engine: &VerifiedEngine,
    container: &str,
    command: &[String],
    doing: &str,
) -> Result<(i64, String), EngineError> {
    let docker = engine.docker();
    let failed = engine.failed(doing);
    let options = CreateExecOptions {
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(command.to_vec()),
        ..CreateExecOptions::default()
    };
    let exec = docker.create_exec(container, options).await.map_err(&failed)?.id;
    let mut said = Vec::new();
    if let StartExecResults::Attached { mut output, .. } =
        docker.start_exec(&exec, None::<StartExecOptions>).await.map_err(&failed)?
    {
        while let Some(chunk) = output.try_next().await.map_err(&failed)? {
            said.extend_from_slice(&chunk.into_bytes());
        }
    }
    let code = docker.inspect_exec(&exec).await.map_err(&failed)?.exit_code.unwrap_or(-1);
    Ok((code, String::from_utf8_lossy(&said).into_owned()))
}
