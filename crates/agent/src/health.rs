//! Docker's health check, without polling: the check asks the role over a socket and the role
//! answers when there is news. See [`envctl_wire::HEALTH_TIMEOUT_SECONDS`].
//!

use std::io::{self, BufRead, BufReader};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use envctl_wire::HEALTH_HOLD_SECONDS;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::sync::watch;

use crate::{net, output};

/// Which socket of the container.
const SOCKET: &str = "health";

/// What there is to report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Health {
    /// On its way; nothing is wrong yet.
    Starting,
    /// Does its work.
    Ready,
    /// Does not, in words.
    NotReady(String),
}

#[derive(Serialize, Deserialize)]
struct Answer {
    ready: bool,
    reason: String,
}

/// The role `health`: prints what the role of this container says.
pub(crate) fn ask() -> ExitCode {
    match wait_for_answer() {
        Ok(Answer { ready, reason }) => {
            output::line(reason);
            if ready { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            output::line(format_args!("the agent does not answer: {error}"));
            ExitCode::FAILURE
        }
    }
}

fn wait_for_answer() -> io::Result<Answer> {
    let mut line = String::new();
    BufReader::new(net::connect_here(SOCKET)?).read_line(&mut line)?;
    Ok(serde_json::from_str(&line)?)
}

/// Answers health checks with what `health` says.
pub(crate) fn serve(health: watch::Receiver<Health>) -> anyhow::Result<()> {
    let listener = net::listen_here(SOCKET).context("cannot listen for health checks")?;
    let reported = Arc::new(watch::Sender::new(None));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (health, reported) = (health.clone(), Arc::clone(&reported));
            tokio::spawn(async move {
                // A check that has gone away needs no answer.
                let _ = answer(stream, health, &reported).await;
            });
        }
    });
    Ok(())
}

async fn answer(
    mut stream: UnixStream,
    mut health: watch::Receiver<Health>,
    reported: &watch::Sender<Option<bool>>,
) -> io::Result<()> {
    let answer = tokio::select! {
        answer = next_answer(&mut health, *reported.borrow()) => answer,
        // Docker gave up on this check and starts another: the news is for that one.
        _ = stream.read_u8() => return Ok(()),
    };
    let mut line = serde_json::to_vec(&answer)?;
    line.push(b'\n');
    stream.write_all(&line).await?;
    reported.send_replace(Some(answer.ready));
    Ok(())
}

/// Completes when the state differs from what was reported, or is known and has been held back for
/// long enough.
async fn next_answer(health: &mut watch::Receiver<Health>, reported: Option<bool>) -> Answer {
    let hold = tokio::time::sleep(Duration::from_secs(HEALTH_HOLD_SECONDS.into()));
    tokio::pin!(hold);
    loop {
        let known = match health.borrow_and_update().clone() {
            Health::Starting => None,
            Health::Ready => Some(Answer { ready: true, reason: "ready".to_owned() }),
            Health::NotReady(reason) => Some(Answer { ready: false, reason }),
        };
        if let Some(answer) = known.filter(|a| reported != Some(a.ready) || hold.is_elapsed()) {
            return answer;
        }
        tokio::select! {
            () = &mut hold, if !hold.is_elapsed() => {}
            Ok(()) = health.changed() => {}
            // The role is ending, and so is the process.
            else => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_first_answer_waits_until_something_is_known() {
        let (sender, mut health) = watch::channel(Health::Starting);
        let started = tokio::time::Instant::now();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(300)).await;
            sender.send_replace(Health::Ready);
            std::future::pending::<()>().await;
        });
        assert!(next_answer(&mut health, None).await.ready);
        assert_eq!(started.elapsed().as_secs(), 300);
    }

    #[tokio::test(start_paused = true)]
    async fn news_is_told_at_once_and_the_rest_is_held_back() {
        let (sender, mut health) = watch::channel(Health::Ready);
        let started = tokio::time::Instant::now();
        assert!(next_answer(&mut health, None).await.ready);
        assert_eq!(started.elapsed().as_secs(), 0);
        assert!(next_answer(&mut health, Some(true)).await.ready);
        assert_eq!(started.elapsed().as_secs(), u64::from(HEALTH_HOLD_SECONDS));
        sender.send_replace(Health::NotReady("HTTP 503".to_owned()));
        let answer = next_answer(&mut health, Some(true)).await;
        assert_eq!((answer.ready, answer.reason.as_str()), (false, "HTTP 503"));
        assert_eq!(started.elapsed().as_secs(), u64::from(HEALTH_HOLD_SECONDS));
    }
}
