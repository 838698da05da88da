//! The role `dial`: a TCP connection to an address, joined with this process's standard input and output. envctl runs it
//! in a container, by which this machine reaches what only containers reach.

use std::fs::File;
use std::io;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use anyhow::Context;

/// How long it may take until there is a connection.
const CONNECTS: Duration = Duration::from_secs(5);

/// Connects with `to`. With `and_stay` it carries what comes until the other side ends the connection.
pub(crate) fn run(to: Option<&str>, and_stay: bool) -> anyhow::Result<ExitCode> {
    let to: SocketAddr = to.context("no address given")?.parse().context("this is no address")?;
    let stream =
        TcpStream::connect_timeout(&to, CONNECTS).with_context(|| format!("cannot connect to {to}"))?;
    if and_stay {
        carry(&stream).with_context(|| format!("the connection to {to} broke"))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn carry(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // The library's own streams hold back what is no whole line.
    let mut input = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let mut output = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let mut there = stream.try_clone()?;
    thread::spawn(move || {
        let _ = io::copy(&mut input, &mut there);
        let _ = there.shutdown(Shutdown::Write);
    });
    io::copy(&mut &*stream, &mut output).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_dialled_is_told() {
        let error = |to| format!("{:#}", run(to, false).unwrap_err());
        assert_eq!(error(None), "no address given");
        assert!(error(Some("mysql:3306")).starts_with("this is no address"));
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(error(Some(&free.to_string())).starts_with(&format!("cannot connect to {free}")));
    }
}
