//! That a container of the pod was started again, as the warden tells it: it runs the role `started` in the sandbox.

use std::io::Write;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use anyhow::Context;
use tokio::io::AsyncReadExt;

use crate::net;

/// Which socket of the container.
const SOCKET: &str = "started";
/// No container's name is longer.
const NAME_MAX: u64 = 253;

/// Passes on the names of containers that were started again.
pub(crate) fn serve(started: impl Fn(&str) + Send + 'static) -> anyhow::Result<()> {
    let listener = net::listen_here(SOCKET).context("cannot listen for starts of containers")?;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut name = String::new();
            if stream.take(NAME_MAX).read_to_string(&mut name).await.is_ok() {
                started(&name);
            }
        }
    });
    Ok(())
}

/// The role `started`: tells the sandbox of this container.
pub(crate) fn tell(container: Option<&str>) -> anyhow::Result<ExitCode> {
    let container = container.context("no container given")?;
    let name = net::own_socket(SOCKET)?;
    let mut stream = UnixStream::connect_addr(&name).context("there is no sandbox here")?;
    stream.write_all(container.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}
