//! A process in a container, joined to a terminal or to pipes.

use futures_util::SinkExt as _;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::Api;
use kube::api::{AttachParams, AttachedProcess, TerminalSize};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;

use crate::error::ClusterError;
use crate::guard::VerifiedCluster;

/// A container of a pod.
#[derive(Debug, Clone, Copy)]
pub struct Within<'a> {
    /// The namespace.
    pub namespace: &'a str,
    /// The pod.
    pub pod: &'a str,
    /// The container's name.
    pub container: &'a str,
}

/// Columns and rows of a terminal.
pub type Size = (u16, u16);

/// What a process is joined to.
pub struct Joined<I, O, E> {
    /// Its standard input.
    pub stdin: Option<I>,
    /// Its standard output.
    pub stdout: O,
    /// Its standard error; a terminal has none of its own.
    pub stderr: E,
    /// The size of the terminal, as it changes; nothing: there is no terminal.
    pub terminal: Option<watch::Receiver<Size>>,
}

impl<I, O, E> std::fmt::Debug for Joined<I, O, E> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Joined")
    }
}

/// Which process of a container is meant.
#[derive(Debug, Clone, Copy)]
pub enum Process<'a> {
    /// One that is started beside what the container runs.
    Command(&'a [String]),
    /// The one that the container was started for.
    Main,
}

/// Joins a process of a container until it ends, and gives its exit code.
///
/// # Errors
/// When the cluster refuses or does not answer, or the container has no such command.
pub async fn join<I, O, E>(
    cluster: &VerifiedCluster,
    within: Within<'_>,
    process: Process<'_>,
    joined: Joined<I, O, E>,
) -> Result<i32, ClusterError>
where
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
    E: AsyncWrite + Unpin,
{
    let Within { namespace, pod, container } = within;
    let api: Api<Pod> = Api::namespaced(cluster.reader().streaming(), namespace);
    let terminal = joined.terminal.is_some();
    let params = AttachParams::default()
        .container(container)
        .stdin(joined.stdin.is_some())
        .stdout(true)
        .stderr(!terminal)
        .tty(terminal);
    let (doing, attached) = match process {
        Process::Command(command) => {
            (format!("to execute in {pod}/{container}"), api.exec(pod, command, &params).await)
        }
        Process::Main => (format!("to attach to {pod}/{container}"), api.attach(pod, &params).await),
    };
    carry(attached.map_err(cluster.failed(&doing))?, joined, &doing).await
}

/// Carries what is typed and said.
async fn carry<I, O, E>(
    mut process: AttachedProcess,
    joined: Joined<I, O, E>,
    doing: &str,
) -> Result<i32, ClusterError>
where
    I: AsyncRead + Unpin,
    O: AsyncWrite + Unpin,
    E: AsyncWrite + Unpin,
{
    let Joined { mut stdin, mut stdout, mut stderr, terminal } = joined;
    let (input, output, errors) = (process.stdin(), process.stdout(), process.stderr());
    let (status, size) = (process.take_status(), process.terminal_size());
    let typing = async {
        if let (Some(mut from), Some(mut to)) = (stdin.take(), input) {
            let _ = tokio::io::copy(&mut from, &mut to).await;
            let _ = to.shutdown().await;
        }
        // The end of the input is not the end of the process.
        std::future::pending::<()>().await;
    };
    let resizing = async {
        if let (Some(mut sizes), Some(mut to)) = (terminal, size) {
            loop {
                let (width, height) = *sizes.borrow_and_update();
                if to.send(TerminalSize { width, height }).await.is_err() || sizes.changed().await.is_err() {
                    break;
                }
            }
        }
        std::future::pending::<()>().await;
    };
    let saying = async {
        if let Some(mut from) = output {
            let _ = tokio::io::copy(&mut from, &mut stdout).await;
            let _ = stdout.flush().await;
        }
    };
    let complaining = async {
        if let Some(mut from) = errors {
            let _ = tokio::io::copy(&mut from, &mut stderr).await;
            let _ = stderr.flush().await;
        }
    };
    tokio::select! {
        () = async { tokio::join!(saying, complaining); } => {}
        () = typing => {}
        () = resizing => {}
    }
    let status = match status {
        Some(status) => status.await,
        None => None,
    };
    exit_code(status, doing)
}

/// What the kubelet says of how a process ended.
fn exit_code(status: Option<Status>, doing: &str) -> Result<i32, ClusterError> {
    let unreadable = |message: String| ClusterError::Unreadable { doing: doing.to_owned(), message };
    let Some(status) = status else {
        return Err(unreadable("the connection ended before the process did".to_owned()));
    };
    if status.status.as_deref() == Some("Success") {
        return Ok(0);
    }
    let causes = status.details.as_ref().and_then(|details| details.causes.as_ref());
    let code = causes.into_iter().flatten().find(|cause| cause.reason.as_deref() == Some("ExitCode"));
    match code.and_then(|cause| cause.message.as_ref()?.parse().ok()) {
        Some(code) => Ok(code),
        None => Err(unreadable(status.message.unwrap_or_default())),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_exit_code_is_among_the_causes() {
        let read = |value| exit_code(Some(serde_json::from_value(value).unwrap()), "x");
        assert_eq!(read(json!({"status": "Success"})).unwrap(), 0);
        let failed = json!({"status": "Failure", "reason": "NonZeroExitCode",
            "details": {"causes": [{"reason": "ExitCode", "message": "7"}]}});
        assert_eq!(read(failed).unwrap(), 7);
        let error = read(json!({"status": "Failure", "message": "no such file: shh"})).unwrap_err();
        assert!(error.to_string().contains("no such file: shh"), "{error}");
        assert!(exit_code(None, "x").unwrap_err().to_string().contains("ended before the process did"));
    }
}
