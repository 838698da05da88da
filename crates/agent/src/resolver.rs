//! Name lookups through the nameservers of a resolv.conf, without the C library (whose resolver
//! wants files that an image made from scratch does not have).

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, bail};
use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{Name, RData, RecordType};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::UdpSocket;

use crate::net;

const TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;
const LARGEST_DATAGRAM: usize = 65_535;

/// The nameservers asked in order.
#[derive(Debug, Clone)]
pub(crate) struct Resolver {
    nameservers: Vec<SocketAddr>,
}

/// How a message travels.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

impl Resolver {
    /// The resolver this container was started with.
    pub(crate) fn from_system() -> anyhow::Result<Self> {
        let path = "/etc/resolv.conf";
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {path}"))?;
        Ok(Self::parse(&text))
    }

    /// Knows nobody.
    #[cfg(test)]
    pub(crate) fn none() -> Self {
        Self { nameservers: Vec::new() }
    }

    fn parse(text: &str) -> Self {
        let nameservers = text
            .lines()
            .filter_map(|line| line.trim().strip_prefix("nameserver"))
            .filter_map(|rest| rest.trim().parse::<IpAddr>().ok())
            .map(|address| SocketAddr::new(address, 53))
            .collect();
        Self { nameservers }
    }

    /// The answer of the first nameserver that gives one, as it came.
    pub(crate) async fn exchange(&self, query: &[u8], by: Transport) -> io::Result<Vec<u8>> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "no nameserver is configured");
        for nameserver in self.nameservers.iter().cycle().take(ATTEMPTS * self.nameservers.len()) {
            let attempt = async {
                match by {
                    Transport::Udp => ask_udp(*nameserver, query).await,
                    Transport::Tcp => ask_tcp(*nameserver, query).await,
                }
            };
            match tokio::time::timeout(TIMEOUT, attempt).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(last)
    }

    /// All records that answer a question, aliases included.
    pub(crate) async fn query(&self, name: &Name, kind: RecordType) -> anyhow::Result<Message> {
        let mut question = Message::query();
        question.metadata.recursion_desired = true;
        question.add_query(Query::query(name.clone(), kind));
        let question = question.to_vec()?;
        let answer = Message::from_vec(&self.exchange(&question, Transport::Udp).await?)?;
        if answer.metadata.truncation {
            return Ok(Message::from_vec(&self.exchange(&question, Transport::Tcp).await?)?);
        }
        Ok(answer)
    }

    /// One IPv4 address of a host, which may be an address already.
    pub(crate) async fn address(&self, host: &str) -> anyhow::Result<Ipv4Addr> {
        if let Ok(address) = host.parse() {
            return Ok(address);
        }
        let mut name = Name::from_ascii(host).with_context(|| format!("`{host}` is no host name"))?;
        name.set_fqdn(true);
        let answer =
            self.query(&name, RecordType::A).await.with_context(|| format!("cannot look up {host}"))?;
        let address = answer.answers.iter().find_map(|record| match record.data {
            RData::A(address) => Some(address.0),
            _ => None,
        });
        match (address, answer.metadata.response_code) {
            (Some(address), _) => Ok(address),
            (None, ResponseCode::NXDomain) => bail!("no host is called {host}"),
            (None, ResponseCode::NoError) => bail!("{host} has no IPv4 address"),
            (None, code) => bail!("cannot look up {host}: {code}"),
        }
    }
}

async fn ask_udp(nameserver: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let any: IpAddr = match nameserver {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => std::net::Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(nameserver).await?;
    socket.send(query).await?;
    let mut buffer = vec![0; LARGEST_DATAGRAM];
    loop {
        let length = socket.recv(&mut buffer).await?;
        // Anything else is not the answer to this question.
        if length >= 2 && buffer.get(..2) == query.get(..2) {
            buffer.truncate(length);
            return Ok(buffer);
        }
    }
}

async fn ask_tcp(nameserver: SocketAddr, query: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = net::connect(nameserver).await?;
    write_message(&mut stream, query).await?;
    read_message(&mut stream).await
}

/// Reads one message with the length before it, as DNS over TCP has it.
pub(crate) async fn read_message(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

/// Writes one message with the length before it.
pub(crate) async fn write_message(stream: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).map_err(|_| io::ErrorKind::InvalidData)?;
    let mut framed = Vec::with_capacity(2 + message.len());
    framed.extend(length.to_be_bytes());
    framed.extend(message);
    stream.write_all(&framed).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_nameservers_and_nothing_else() {
        let resolver = Resolver::parse(
            "# made by a daemon\nsearch a.example\nnameserver 127.0.0.11\n nameserver  ::1\noptions ndots:0\n",
        );
        let expected: Vec<SocketAddr> = vec!["127.0.0.11:53".parse().unwrap(), "[::1]:53".parse().unwrap()];
        assert_eq!(resolver.nameservers, expected);
    }

    #[tokio::test]
    async fn an_address_is_its_own_answer() {
        let resolver = Resolver::none();
        assert_eq!(resolver.address("10.1.2.3").await.unwrap(), Ipv4Addr::new(10, 1, 2, 3));
        assert!(resolver.address("db").await.unwrap_err().to_string().contains("cannot look up db"));
    }
}
