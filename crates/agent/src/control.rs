//! Control connections: lines of JSON, one [`Announcement`] each, answered by one [`Reply`] each.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use envctl_wire::{Announcement, Reply};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::{net, output};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// A connection as the side that listens knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Connection {
    /// Never the same for two connections.
    pub(crate) id: u64,
    /// Who is at the other end.
    pub(crate) peer: SocketAddr,
}

/// What keeps the announcements: a gateway's pods, a router's hosts.
pub(crate) trait Registry: Send + Sync + 'static {
    /// Takes note of an announcement.
    fn announced(&self, connection: Connection, announcement: Announcement) -> Reply;
    /// Forgets all that the connection has announced.
    fn closed(&self, connection: Connection);
}

/// Accepts control connections.
pub(crate) async fn serve(listener: TcpListener, registry: Arc<impl Registry>) {
    let mut id = 0;
    loop {
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                output::warn(format_args!("cannot accept a control connection: {error}"));
                tokio::time::sleep(FIRST_PAUSE).await;
                continue;
            }
        };
        id += 1;
        let connection = Connection { id, peer };
        let registry = Arc::clone(&registry);
        tokio::spawn(async move {
            if let Err(error) = listen_to(stream, connection, registry.as_ref()).await {
                output::warn(format_args!("control connection of {peer}: {error}"));
            }
            registry.closed(connection);
        });
    }
}

async fn listen_to(stream: TcpStream, connection: Connection, registry: &impl Registry) -> io::Result<()> {
    net::watch_peer(&stream)?;
    let (mut lines, mut writer) = lines_of(stream);
    while let Some(line) = lines.next_line().await? {
        let reply = registry.announced(connection, serde_json::from_str(&line)?);
        write_line(&mut writer, &reply).await?;
    }
    Ok(())
}

/// Tells `peer` the newest announcement for as long as the process lives.
pub(crate) struct Announcer {
    announcement: watch::Sender<Announcement>,
    replied: watch::Receiver<Option<Announcement>>,
}

impl Announcer {
    /// Starts with `first`. `peer` is looked up for each connection, since a peer that is made anew
    /// can have another address.
    pub(crate) fn start<F>(first: Announcement, peer: impl Fn() -> F + Send + 'static) -> Self
    where
        F: Future<Output = anyhow::Result<SocketAddr>> + Send,
    {
        let (announcement, newest) = watch::channel(first);
        let (reply, replied) = watch::channel(None);
        tokio::spawn(async move {
            let mut pause = FIRST_PAUSE;
            let mut told = String::new();
            loop {
                let outcome = match peer().await {
                    Ok(peer) => announce(peer, newest.clone(), &reply).await,
                    Err(error) => Err(error),
                };
                let was_connected = reply.send_replace(None).is_some();
                if let Err(error) = outcome {
                    // Once per cause: a peer can be away for long.
                    let text = format!("{error:#}");
                    if was_connected || told != text {
                        output::warn(format_args!("control connection: {text}"));
                    }
                    told = text;
                }
                if was_connected {
                    pause = FIRST_PAUSE;
                }
                tokio::time::sleep(pause).await;
                pause = LONGEST_PAUSE.min(pause * 2);
            }
        });
        Self { announcement, replied }
    }

    /// Replaces what is announced and waits, not longer than `patience`, until the peer has
    /// answered.
    pub(crate) async fn announce(&self, announcement: Announcement, patience: Duration) -> bool {
        self.announcement.send_replace(announcement.clone());
        let mut replied = self.replied.clone();
        let answered = replied.wait_for(|newest| newest.as_ref() == Some(&announcement));
        matches!(tokio::time::timeout(patience, answered).await, Ok(Ok(_)))
    }
}

async fn announce(
    peer: SocketAddr,
    mut newest: watch::Receiver<Announcement>,
    replied: &watch::Sender<Option<Announcement>>,
) -> anyhow::Result<()> {
    let stream = net::connect(peer).await.map_err(|error| anyhow::anyhow!("{peer}: {error}"))?;
    net::watch_peer(&stream)?;
    let (mut lines, mut writer) = lines_of(stream);
    loop {
        let announcement = newest.borrow_and_update().clone();
        write_line(&mut writer, &announcement).await?;
        let Some(line) = lines.next_line().await? else {
            break;
        };
        let reply: Reply = serde_json::from_str(&line)?;
        for refusal in reply.refused {
            output::warn(format_args!("the host {} belongs to {}", refusal.host, refusal.by));
        }
        replied.send_replace(Some(announcement));
        tokio::select! {
            // (Nobody may be left who could change it.)
            Ok(()) = newest.changed() => {}
            // Nothing is said unasked: this is the end of the connection.
            _ = lines.next_line() => break,
        }
    }
    anyhow::bail!("{peer} closed it")
}

fn lines_of(stream: TcpStream) -> (Lines<BufReader<OwnedReadHalf>>, OwnedWriteHalf) {
    let (reader, writer) = stream.into_split();
    (BufReader::with_capacity(512, reader).lines(), writer)
}

async fn write_line(writer: &mut OwnedWriteHalf, message: &impl serde::Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    writer.write_all(&line).await
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Mutex;

    use super::*;

    #[derive(Default)]
    struct Log(Mutex<Vec<String>>);

    impl Registry for Log {
        fn announced(&self, _: Connection, announcement: Announcement) -> Reply {
            if let Announcement::Pod { pod, ready } = announcement {
                self.0.lock().unwrap().push(format!("{pod} {ready}"));
            }
            Reply::default()
        }
        fn closed(&self, _: Connection) {
            self.0.lock().unwrap().push("closed".to_owned());
        }
    }

    fn pod(ready: bool) -> Announcement {
        Announcement::Pod { pod: "web".to_owned(), ready }
    }

    #[tokio::test]
    async fn tells_the_state_again_after_the_peer_was_away() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let first = Arc::new(Log::default());
        let serving = tokio::spawn(serve(listener, Arc::clone(&first)));
        let announcer = Announcer::start(pod(false), move || async move { Ok(address) });
        assert!(announcer.announce(pod(true), Duration::from_secs(5)).await);
        serving.abort();
        let _ = serving.await;
        assert_eq!(first.0.lock().unwrap().last().unwrap(), "web true");

        // Accepted connections are tasks of their own, so only a second announcement shows which
        // registry hears it: the old connection is still the one in use.
        assert!(announcer.announce(pod(false), Duration::from_secs(5)).await);
        assert_eq!(first.0.lock().unwrap().last().unwrap(), "web false");
    }

    #[tokio::test]
    async fn a_closed_connection_is_reported_and_reopened() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let announcer = Announcer::start(pod(true), move || async move { Ok(address) });
        // The first peer dies without an answer.
        drop(listener.accept().await.unwrap());
        let log = Arc::new(Log::default());
        tokio::spawn(serve(listener, Arc::clone(&log)));
        assert!(announcer.announce(pod(true), Duration::from_secs(5)).await);
        assert_eq!(*log.0.lock().unwrap(), ["web true"]);
    }

    #[tokio::test]
    async fn without_a_peer_patience_ends() {
        let announcer = Announcer::start(pod(false), || async { anyhow::bail!("no gateway in this test") });
        assert!(!announcer.announce(pod(true), Duration::from_millis(20)).await);
    }
}
