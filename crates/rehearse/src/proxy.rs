//! A TCP proxy that breaks what goes through it: it stands between the router and the new side, and plays the slow
//! network and the partition.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

/// Pieces of one direction that are held back by a delay. What more is sent waits in the sender's own buffer.
const HELD: usize = 256;
/// Connections that wait to be accepted.
const BACKLOG: u32 = 1024;

/// A proxy that runs. Dropped, it ends with all its connections.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    mode: watch::Sender<Mode>,
    breaks: watch::Sender<u64>,
    open: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

/// What becomes of what goes through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// It arrives so much later.
    Forward(Duration),
    /// It arrives when this mode is over, and nobody hears anything until then.
    Blackhole,
    /// As `Forward` without delay; but until this moment nobody listens.
    Refuse(Instant),
}

impl Proxy {
    /// Listens, and forwards each connection to the target. Needs a tokio runtime.
    ///
    /// # Errors
    /// When it cannot listen there.
    pub fn start(listen: SocketAddr, target: SocketAddr) -> io::Result<Self> {
        let listener = bound(listen)?.listen(BACKLOG)?;
        let address = listener.local_addr()?;
        let (mode, breaks) = (watch::Sender::new(Mode::Forward(Duration::ZERO)), watch::Sender::new(0));
        let open = Arc::new(AtomicUsize::new(0));
        let through =
            Through { target, mode: mode.subscribe(), breaks: breaks.subscribe(), open: open.clone() };
        let accepting = tokio::spawn(accept(listener, address, through));
        Ok(Self { address, mode, breaks, open, accepting })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Connections that go through it now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.open.load(Ordering::Acquire)
    }

    /// Resets every connection that is there, in both directions, as a server does whose process is gone. New ones
    /// are forwarded.
    pub fn break_all(&self) {
        self.breaks.send_modify(|count| *count += 1);
    }

    /// Refuses new connections for so long. Those that are there go on: [`Proxy::break_all`] ends them.
    pub fn refuse(&self, time: Duration) {
        self.mode.send_replace(Mode::Refuse(Instant::now() + time));
    }

    /// What is sent from now on arrives so much later, in each direction: a question and its answer take twice that.
    pub fn delay(&self, time: Duration) {
        self.mode.send_replace(Mode::Forward(time));
    }

    /// Nothing arrives any more and nobody is told, until [`Proxy::restore`]; what was sent meanwhile arrives then.
    /// New connections are made, as the system's queue takes them, and are silent.
    pub fn blackhole(&self) {
        self.mode.send_replace(Mode::Blackhole);
    }

    /// Forwards all again, without delay.
    pub fn restore(&self) {
        self.mode.send_replace(Mode::Forward(Duration::ZERO));
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// A socket that has the address and does not listen: who connects is refused, and nobody else gets the port.
fn bound(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}

async fn accept(listener: TcpListener, address: SocketAddr, mut through: Through) {
    let (mut listener, mut connections) = (Some(listener), JoinSet::new());
    loop {
        while connections.try_join_next().is_some() {}
        let mode = *through.mode.borrow_and_update();
        if let Mode::Refuse(until) = mode
            && Instant::now() < until
        {
            drop(listener.take());
            // Held for as long as it lasts. Where the port cannot be had, nobody listens on it either.
            let _held = bound(address);
            tokio::select! {
                () = tokio::time::sleep_until(until) => {}
                changed = through.mode.changed() => if changed.is_err() { return },
            }
            continue;
        }
        let open = match &listener {
            Some(open) => open,
            None => match bound(address).and_then(|socket| socket.listen(BACKLOG)) {
                Ok(open) => listener.insert(open),
                // Somebody has the port for a moment, such as one who connects from it.
                Err(_) => {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                    continue;
                }
            },
        };
        tokio::select! {
            accepted = open.accept(), if mode != Mode::Blackhole => match accepted {
                Ok((stream, _)) => {
                    // Only what breaks from now on concerns it.
                    through.breaks.mark_unchanged();
                    connections.spawn(through.clone().forward(stream));
                }
                // Too many files are open: more of them end than begin.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            changed = through.mode.changed() => if changed.is_err() { return },
        }
    }
}

/// What every connection needs to know.
#[derive(Clone)]
struct Through {
    target: SocketAddr,
    mode: watch::Receiver<Mode>,
    breaks: watch::Receiver<u64>,
    open: Arc<AtomicUsize>,
}

/// Counts a connection as long as it lives.
struct Counted(Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Through {
    async fn forward(mut self, mut client: TcpStream) {
        self.open.fetch_add(1, Ordering::AcqRel);
        let _counted = Counted(self.open.clone());
        let server = tokio::select! {
            server = TcpStream::connect(self.target) => server,
            _ = self.breaks.changed() => return reset(&client),
        };
        let Ok(mut server) = server else { return reset(&client) };
        // What cannot be set is only slower.
        let _ = (client.set_nodelay(true), server.set_nodelay(true));
        let ended = {
            let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
            let (there, back) = (self.mode.clone(), self.mode.clone());
            tokio::select! {
                ended = async { tokio::try_join!(pipe(from_client, to_server, there), pipe(from_server, to_client, back)) } => ended,
                _ = self.breaks.changed() => Err(io::ErrorKind::ConnectionReset.into()),
            }
        };
        // One who resets is passed on as such.
        if ended.is_err() {
            reset(&client);
            reset(&server);
        }
    }
}

/// Has the connection end with a reset when it is dropped.
fn reset(stream: &TcpStream) {
    // Where it is gone already, there is nobody to be told.
    let _ = stream.set_zero_linger();
}

/// Carries one direction, to its end.
async fn pipe(from: ReadHalf<'_>, to: WriteHalf<'_>, mode: watch::Receiver<Mode>) -> io::Result<()> {
    let (pieces, held) = mpsc::channel(HELD);
    tokio::try_join!(take(from, pieces, mode.clone()), give(to, held, mode))?;
    Ok(())
}

async fn take(
    mut from: ReadHalf<'_>,
    pieces: mpsc::Sender<(Instant, Bytes)>,
    mode: watch::Receiver<Mode>,
) -> io::Result<()> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(16 << 10);
        if from.read_buf(&mut buffer).await? == 0 {
            return Ok(());
        }
        let delay = if let Mode::Forward(delay) = *mode.borrow() { delay } else { Duration::ZERO };
        if pieces.send((Instant::now() + delay, buffer.split().freeze())).await.is_err() {
            return Ok(());
        }
    }
}

async fn give(
    mut to: WriteHalf<'_>,
    mut pieces: mpsc::Receiver<(Instant, Bytes)>,
    mut mode: watch::Receiver<Mode>,
) -> io::Result<()> {
    let gone = |_| io::Error::from(io::ErrorKind::ConnectionReset);
    while let Some((due, piece)) = pieces.recv().await {
        tokio::time::sleep_until(due).await;
        mode.wait_for(|mode| *mode != Mode::Blackhole).await.map_err(gone)?;
        to.write_all(&piece).await?;
    }
    mode.wait_for(|mode| *mode != Mode::Blackhole).await.map_err(gone)?;
    to.shutdown().await
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it is sent, behind a proxy.
    async fn echo() -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let target = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                    let _ = to.shutdown().await;
                });
            }
        });
        Proxy::start("127.0.0.1:0".parse().unwrap(), target).unwrap()
    }

    async fn says(stream: &mut TcpStream, word: &[u8]) -> io::Result<Vec<u8>> {
        stream.write_all(word).await?;
        let mut back = vec![0; word.len()];
        stream.read_exact(&mut back).await?;
        Ok(back)
    }

    async fn connected(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(proxy.address()).await.unwrap()
    }

    #[tokio::test]
    async fn what_goes_in_comes_out_and_so_does_the_end() {
        let proxy = echo().await;
        let mut stream = connected(&proxy).await;
        let long = vec![7; 1 << 20];
        let (mut from, mut to) = stream.split();
        let mut back = Vec::new();
        let sends = async {
            to.write_all(&long).await.unwrap();
            to.shutdown().await.unwrap();
        };
        let (_, read) = tokio::join!(sends, from.read_to_end(&mut back));
        assert_eq!(read.unwrap(), long.len());
        assert_eq!(back, long);
    }

    #[tokio::test]
    async fn breaking_resets_what_is_there_and_nothing_else() {
        let proxy = echo().await;
        let mut stream = connected(&proxy).await;
        assert_eq!(says(&mut stream, b"one").await.unwrap(), b"one");
        assert_eq!(proxy.connections(), 1);
        proxy.break_all();
        let error = stream.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert_eq!(says(&mut connected(&proxy).await, b"two").await.unwrap(), b"two");
    }

    #[tokio::test]
    async fn refusing_ends_by_itself_and_spares_what_is_there() {
        let proxy = echo().await;
        let mut stream = connected(&proxy).await;
        says(&mut stream, b"one").await.unwrap();
        proxy.refuse(Duration::from_millis(300));
        let begun = Instant::now();
        let mut refused = false;
        let mut again = loop {
            match TcpStream::connect(proxy.address()).await {
                Ok(again) if refused => break again,
                // The proxy has not closed its door yet, or somebody was in the queue when it did.
                Ok(_) => {}
                Err(error) => refused |= error.kind() == io::ErrorKind::ConnectionRefused,
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            assert!(begun.elapsed() < Duration::from_secs(60));
        };
        assert!(begun.elapsed() >= Duration::from_millis(300));
        assert_eq!(says(&mut again, b"two").await.unwrap(), b"two");
        assert_eq!(says(&mut stream, b"three").await.unwrap(), b"three");
    }

    #[tokio::test]
    async fn a_delay_counts_in_each_direction_and_holds_up_no_second_piece() {
        let proxy = echo().await;
        let mut stream = connected(&proxy).await;
        says(&mut stream, b"one").await.unwrap();
        proxy.delay(Duration::from_millis(100));
        let begun = Instant::now();
        says(&mut stream, b"two").await.unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(200));
        proxy.restore();
        says(&mut stream, b"three").await.unwrap();
    }

    #[tokio::test]
    async fn a_black_hole_is_silent_and_loses_nothing() {
        let proxy = echo().await;
        let mut stream = connected(&proxy).await;
        says(&mut stream, b"one").await.unwrap();
        proxy.blackhole();
        stream.write_all(b"two").await.unwrap();
        let mut back = [0; 3];
        let silent = tokio::time::timeout(Duration::from_millis(200), stream.read_exact(&mut back)).await;
        assert!(silent.is_err(), "{silent:?}");
        let mut other = connected(&proxy).await;
        let silent = tokio::time::timeout(Duration::from_millis(200), says(&mut other, b"new")).await;
        assert!(silent.is_err(), "{silent:?}");
        proxy.restore();
        stream.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"two");
        let mut back = [0; 3];
        other.read_exact(&mut back).await.unwrap();
        assert_eq!(&back, b"new");
    }

    #[tokio::test]
    async fn a_target_that_is_away_is_a_reset() {
        let away = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let proxy = Proxy::start("127.0.0.1:0".parse().unwrap(), away).unwrap();
        let error = connected(&proxy).await.read(&mut [0; 8]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
}
