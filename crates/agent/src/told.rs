//! What a role is told while it runs, by somebody who runs the role `tell` in its container: a sandbox by the warden, of the
//! pod's containers, which it cannot see; a warden by envctl.

use std::io::{Read, Write};
use std::net::Shutdown;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::{net, output};

/// Which socket of the container.
const SOCKET: &str = "told";
/// Nobody tells more than this, bytes.
const LENGTH_MAX: u64 = 64 * 1024;

/// Passes on what is told. What `told` makes of it is the answer: nothing, or what is wrong with it.
pub(crate) fn serve<T, F>(told: impl Fn(T) -> F + Send + Sync + 'static) -> anyhow::Result<()>
where
    T: DeserializeOwned + Send,
    F: Future<Output = Result<(), String>> + Send,
{
    let listener = net::listen_here(SOCKET).context("cannot listen for what is told")?;
    let told = Arc::new(told);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let told = Arc::clone(&told);
            tokio::spawn(async move {
                if let Err(error) = hear(stream, &*told).await {
                    output::warn(format_args!(
                        "somebody told something, and did not wait for an answer: {error}"
                    ));
                }
            });
        }
    });
    Ok(())
}

async fn hear<T: DeserializeOwned, F: Future<Output = Result<(), String>>>(
    mut stream: UnixStream,
    told: &impl Fn(T) -> F,
) -> std::io::Result<()> {
    let mut text = Vec::new();
    (&mut stream).take(LENGTH_MAX).read_to_end(&mut text).await?;
    let answer = match serde_json::from_slice(&text) {
        Ok(what) => told(what).await,
        Err(error) => Err(format!("it is not understood: {error}")),
    };
    stream.write_all(answer.err().unwrap_or_default().as_bytes()).await
}

/// The role `tell`: tells the role of this container, and succeeds when that has done what follows.
pub(crate) fn tell(what: Option<&str>) -> anyhow::Result<ExitCode> {
    let what = what.context("nothing to tell")?;
    let mut stream = net::connect_here(SOCKET).context("nobody listens here")?;
    stream.write_all(what.as_bytes())?;
    stream.shutdown(Shutdown::Write)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    if !answer.is_empty() {
        bail!(answer);
    }
    Ok(ExitCode::SUCCESS)
}
