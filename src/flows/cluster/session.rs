//! `exec` and `run` in a cluster: a process of a container, joined to this terminal or to pipes.

use std::time::Duration;

use envctl_cluster::VerifiedCluster;
use envctl_cluster::live::one_off::{self, OneOff, Request, Stage};
use envctl_cluster::live::session::{self, Joined, Process, Within};
use envctl_cluster::live::{logs, pods};
use envctl_model::log::LogOptions;
use envctl_model::name::EnvironmentName;
use futures_util::StreamExt as _;
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use super::owned::owned;
use super::target::{Destination, explain};
use crate::flows::interrupts::Interrupts;
use crate::ui::{Failure, notice, terminal};

/// How long credentials have to last when a session begins.
const AT_LEAST: Duration = Duration::from_secs(60);

/// Runs a command in a container that runs.
pub(crate) async fn exec(
    destination: &Destination,
    name: &EnvironmentName,
    component: &str,
    container: Option<&str>,
    command: &[String],
) -> Result<(), Failure> {
    let (cluster, _) = owned(destination, name, AT_LEAST).await?;
    let namespace = name.as_str();
    let pods = pods::all(cluster.reader(), namespace).await.map_err(|e| explain(&e))?;
    let (pod, container) =
        pods::exec_target(&pods, component, container).map_err(|e| Failure::Usage(e.to_string()))?;
    let within = Within { namespace, pod: &pod.name, container: &container.name };
    let at_terminal = terminal::is_here();
    let raw = at_terminal.then(terminal::Raw::enter).transpose().map_err(Failure::failed)?;
    let code = session::join(&cluster, within, Process::Command(command), joined(at_terminal)?).await;
    drop(raw);
    code.map_err(|e| explain(&e)).and_then(Failure::of_code)
}

fn joined(at_terminal: bool) -> Result<Joined<File, File, File>, Failure> {
    let [stdin, stdout, stderr] = terminal::streams().map_err(Failure::failed)?;
    Ok(Joined {
        stdin: Some(stdin),
        stdout,
        stderr,
        terminal: at_terminal.then(terminal::sizes).transpose().map_err(Failure::failed)?,
    })
}

/// Runs a command in a pod of its own, which has a component's exact spec, and removes it afterwards.
pub(crate) async fn run(
    destination: &Destination,
    name: &EnvironmentName,
    component: &str,
    container: Option<&str>,
    command: &[String],
) -> Result<(), Failure> {
    let (cluster, _) = owned(destination, name, AT_LEAST).await?;
    let namespace = name.as_str();
    let workload =
        one_off::workload(cluster.reader(), namespace, component).await.map_err(|e| explain(&e))?;
    let at_terminal = terminal::is_here();
    let interrupts = if at_terminal { None } else { Some(Interrupts::listen()?) };
    let request = Request { container, command, stdin: true, terminal: at_terminal };
    let one = one_off::start(&cluster, namespace, &workload, &request).await.map_err(|e| explain(&e))?;
    let interrupted = async {
        match &interrupts {
            Some(interrupts) => interrupts.token.cancelled().await,
            None => std::future::pending().await,
        }
    };
    let ended = tokio::select! {
        ended = to_its_end(&cluster, namespace, &one, at_terminal) => ended,
        () = interrupted => Err(Failure::Interrupted),
    };
    let removed = one_off::remove(&cluster, namespace, &one).await.map_err(|e| explain(&e));
    let code = ended?;
    removed?;
    Failure::of_code(code)
}

async fn to_its_end(
    cluster: &VerifiedCluster,
    namespace: &str,
    one: &OneOff,
    at_terminal: bool,
) -> Result<i32, Failure> {
    let waiting = |words: &str| notice(&format!("{}: {words}", one.pod));
    let stage = one_off::started(cluster.reader(), namespace, one, waiting).await.map_err(|e| explain(&e))?;
    let within = Within { namespace, pod: &one.pod, container: &one.container };
    match stage {
        Stage::Running if at_terminal => {
            let raw = terminal::Raw::enter().map_err(Failure::failed)?;
            let joined = session::join(cluster, within, Process::Main, joined(true)?).await;
            drop(raw);
            joined.map_err(|e| explain(&e))?;
        }
        // What was said before anybody could attach is in the log, and all of it.
        Stage::Running => {
            let [stdin, ..] = terminal::streams().map_err(Failure::failed)?;
            let typed = Joined {
                stdin: Some(stdin),
                stdout: tokio::io::sink(),
                stderr: tokio::io::sink(),
                terminal: None,
            };
            let typing = async {
                let _ = session::join(cluster, within, Process::Main, typed).await;
                std::future::pending::<()>().await;
            };
            tokio::select! {
                said = say(cluster, namespace, one, true) => said?,
                () = typing => {}
            }
        }
        Stage::Ended(_) => say(cluster, namespace, one, false).await?,
        Stage::Stuck(why) => return Err(Failure::Failed(format!("{} does not start: {why}", one.pod))),
        Stage::Gone => return Err(Failure::Failed(format!("{} was removed by somebody", one.pod))),
    }
    match one_off::ended(cluster.reader(), namespace, one).await.map_err(|e| explain(&e))? {
        Stage::Ended(code) => Ok(code),
        Stage::Stuck(why) => Err(Failure::Failed(format!("{}: {why}", one.pod))),
        Stage::Running | Stage::Gone => Err(Failure::Failed(format!("{} was removed by somebody", one.pod))),
    }
}

async fn say(cluster: &VerifiedCluster, namespace: &str, one: &OneOff, follow: bool) -> Result<(), Failure> {
    let options = LogOptions { follow, ..LogOptions::default() };
    let mut lines = logs::of_container(cluster.reader(), namespace, &one.pod, &one.container, options);
    let [_, mut out, _] = terminal::streams().map_err(Failure::failed)?;
    while let Some(line) = lines.next().await {
        let text = line.map_err(|e| explain(&e))?.text + "\n";
        if out.write_all(text.as_bytes()).await.is_err() {
            break;
        }
    }
    let _ = out.flush().await;
    Ok(())
}
