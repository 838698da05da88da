//! HAProxy's log, as it comes by UDP.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::config::side_of;
use crate::observation::{Observation, Routed, Sink, Time};

/// How long the thread waits before it looks whether it is still wanted.
const LOOK: Duration = Duration::from_millis(100);

/// Receives the log for as long as it lives.
#[derive(Debug)]
pub struct Log {
    address: SocketAddr,
    unreadable: Arc<AtomicU64>,
    ended: Arc<AtomicBool>,
}

/// What the log format of [`super::config`] says of a request. Its times are for people.
#[derive(Debug, Deserialize)]
struct Line {
    id: String,
    server: String,
    /// -1 if the client was given none.
    status: i32,
    termination: String,
}

impl Log {
    /// Listens on a thread of its own, so that nothing is lost while the caller's runtime is busy: the system holds
    /// only a few hundred lines. A request is over when its line arrives.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub fn bind(address: SocketAddr, clock: Instant, sink: Sink) -> io::Result<Self> {
        let socket = UdpSocket::bind(address)?;
        socket.set_read_timeout(Some(LOOK))?;
        let address = socket.local_addr()?;
        let log = Self { address, unreadable: Arc::default(), ended: Arc::default() };
        let (unreadable, ended) = (log.unreadable.clone(), log.ended.clone());
        std::thread::Builder::new().name("haproxy-log".to_owned()).spawn(move || {
            let mut buffer = vec![0; 64 << 10];
            while !ended.load(Ordering::Acquire) {
                // An error is the timeout, or a datagram that did not arrive whole.
                let Ok(length) = socket.recv(&mut buffer) else { continue };
                let line = &buffer[..length];
                // HAProxy also tells here, in words, what becomes of its servers.
                if line.first() != Some(&b'{') {
                    continue;
                }
                match routed(line, Time::of(clock, Instant::now())) {
                    Some(routed) => sink(Observation::Routed(routed)),
                    None => drop(unreadable.fetch_add(1, Ordering::AcqRel)),
                }
            }
        })?;
        Ok(log)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Requests of which a line came that cannot be read: cut off, for example. A log with any of these cannot be
    /// reconciled.
    #[must_use]
    pub fn unreadable(&self) -> u64 {
        self.unreadable.load(Ordering::Acquire)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Release);
    }
}

fn routed(line: &[u8], at: Time) -> Option<Routed> {
    let Line { id, server, status, termination } = serde_json::from_slice(line).ok()?;
    Some(Routed { at, id, side: side_of(&server), status: u16::try_from(status).unwrap_or(0), termination })
}

#[cfg(test)]
mod tests {
    use envctl_model::cutover::Side;

    use super::*;

    #[test]
    fn a_line_says_where_a_request_went_and_how_it_ended() {
        let line = br#"{"id":"f\"-1","server":"new2","status":200,"termination":"--","queue":0,"active":3}"#;
        let read = routed(line, Time(5)).unwrap();
        let expected = Routed {
            at: Time(5),
            id: "f\"-1".to_owned(),
            side: Some(Side::New),
            status: 200,
            termination: "--".to_owned(),
        };
        assert_eq!(read, expected);
        let none = br#"{"id":"-","server":"<NOSRV>","status":-1,"termination":"CR"}"#;
        assert_eq!(routed(none, Time(0)).map(|one| (one.side, one.status)), Some((None, 0)));
        assert_eq!(routed(br#"{"id":"f-1","ser"#, Time(0)), None);
    }
}
