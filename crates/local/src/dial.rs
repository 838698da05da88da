//! Connections to what only containers reach, carried by the agent in one of them: so it is the same where the Engine runs
//! in a virtual machine.

use std::net::SocketAddr;

use bollard::container::LogOutput;
use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use envctl_wire::AGENT_PATH;
use futures_util::StreamExt as _;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};

use crate::engine::{EngineError, VerifiedEngine};

/// A connection that there is not.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// The Engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Nobody listens there, in the agent's words.
    #[error("{0}")]
    Refused(String),
}

/// Finds out whether somebody listens at an address, as the container `from` sees it. The container runs the agent.
///
/// # Errors
/// When nobody does; when the Engine does not answer.
pub async fn check(engine: &VerifiedEngine, from: &str, to: SocketAddr) -> Result<(), DialError> {
    carry_with(engine, from, to, &["check"], tokio::io::empty(), &mut tokio::io::sink()).await
}

/// Carries one connection to an address, as the container `from` sees it, until the other side ends it.
///
/// # Errors
/// When nobody listens there; when the Engine does not answer.
pub async fn carry(
    engine: &VerifiedEngine,
    from: &str,
    to: SocketAddr,
    connection: impl AsyncRead + AsyncWrite + Unpin,
) -> Result<(), DialError> {
    let (read, mut write) = tokio::io::split(connection);
    carry_with(engine, from, to, &[], read, &mut write).await
}

async fn carry_with(
    engine: &VerifiedEngine,
    from: &str,
    to: SocketAddr,
    more: &[&str],
    mut read: impl AsyncRead + Unpin,
    write: &mut (impl AsyncWrite + Unpin),
) -> Result<(), DialError> {
    let docker = engine.docker();
    let failed = engine.failed(&format!("connecting with {to}"));
    let mut words = vec![AGENT_PATH.to_owned(), "dial".to_owned(), to.to_string()];
    words.extend(more.iter().map(|word| (*word).to_owned()));
    let options = CreateExecOptions {
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        cmd: Some(words),
        ..CreateExecOptions::default()
    };
    let exec = docker.create_exec(from, options).await.map_err(&failed)?.id;
    let started = docker.start_exec(&exec, None::<StartExecOptions>).await.map_err(&failed)?;
    let StartExecResults::Attached { mut output, mut input } = started else {
        return Err(engine.reader().lost(&format!("connecting with {to}")).into());
    };
    let sending = async {
        let _ = tokio::io::copy(&mut read, &mut input).await;
        let _ = input.shutdown().await;
        std::future::pending::<()>().await;
    };
    let receiving = async {
        let mut said = Vec::new();
        while let Some(chunk) = output.next().await {
            match chunk.map_err(&failed)? {
                LogOutput::StdErr { message } => said.extend_from_slice(&message),
                // That who asked went away is how connections end.
                chunk if write.write_all(chunk.as_ref()).await.is_err() => break,
                _ => {}
            }
        }
        let _ = write.shutdown().await;
        Ok::<_, DialError>(said)
    };
    let said = tokio::select! {
        said = receiving => said?,
        () = sending => Vec::new(),
    };
    match String::from_utf8_lossy(&said).trim() {
        "" => Ok(()),
        said => Err(DialError::Refused(said.trim_start_matches("error: ").to_owned())),
    }
}
