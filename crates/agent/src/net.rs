//! Socket options that matter here, and sockets inside of a container.

use std::env;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener as StdListener, UnixStream as StdStream};
use std::thread;
use std::time::{Duration, Instant};

use envctl_wire::CONFIG_VARIABLE;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream, UdpSocket, UnixListener};

/// Longest wait for a connection inside one machine.
pub(crate) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long is waited for a role that has only just been started.
const START: Duration = Duration::from_secs(10);

/// Listens on `address`. Several of our own listeners may have the same port, one of them on all
/// addresses: the kernel prefers the more specific one.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = bind(address, Type::STREAM, Protocol::TCP)?;
    socket.listen(1024)?;
    TcpListener::from_std(socket.into())
}

/// Binds a UDP socket under the same rule.
pub(crate) fn listen_udp(address: SocketAddr) -> io::Result<UdpSocket> {
    UdpSocket::from_std(bind(address, Type::DGRAM, Protocol::UDP)?.into())
}

fn bind(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// Connects within [`CONNECT_TIMEOUT`].
pub(crate) async fn connect(to: SocketAddr) -> io::Result<TcpStream> {
    let stream = tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(to))
        .await
        .map_err(|_| io::ErrorKind::TimedOut)??;
    // What passes through has been cut into packets by its sender.
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Notices within seconds when the peer is gone without a word.
pub(crate) fn watch_peer(stream: &TcpStream) -> io::Result<()> {
    let keepalive = TcpKeepalive::new()
        .with_time(Duration::from_secs(5))
        .with_interval(Duration::from_secs(2))
        .with_retries(3);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Notices within minutes; costs an idle connection one packet a minute.
pub(crate) fn collect_dead(stream: &TcpStream) -> io::Result<()> {
    let keepalive =
        TcpKeepalive::new().with_time(Duration::from_secs(60)).with_interval(Duration::from_secs(15));
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// Closes with a reset, which the client reports as a failure and not as an empty answer.
pub(crate) fn reset(stream: &TcpStream) {
    // A connection that cannot be reset any more is closed already.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// The address that other containers know this one by.
pub(crate) async fn own_address() -> anyhow::Result<Ipv4Addr> {
    use futures_util::TryStreamExt;
    use rtnetlink::packet_route::address::AddressAttribute;

    let (connection, handle, _) = rtnetlink::new_connection()?;
    let connection = tokio::spawn(connection);
    let mut addresses = std::pin::pin!(handle.address().get().execute());
    let mut found = Vec::new();
    while let Some(message) = addresses.try_next().await? {
        found.extend(message.attributes.iter().filter_map(|attribute| match attribute {
            AddressAttribute::Address(IpAddr::V4(address)) if !address.is_loopback() => {
                Some((message.header.index, *address))
            }
            _ => None,
        }));
    }
    connection.abort();
    found.sort();
    // A pod without a network still has its loopback.
    Ok(found.first().map_or(Ipv4Addr::LOCALHOST, |(_, address)| *address))
}

/// The name of a socket that processes of this container meet at. It is abstract, because the container's root may be
/// read-only. Containers on the host's network share such names, so it carries a hash of the role's configuration, which
/// Docker gives to all of the container's processes.
fn own_socket(purpose: &str) -> io::Result<UnixAddr> {
    let mut hasher = DefaultHasher::new();
    env::var_os(CONFIG_VARIABLE).hash(&mut hasher);
    UnixAddr::from_abstract_name(format!("envctl-agent/{purpose}/{:016x}", hasher.finish()))
}

/// Listens at [`own_socket`].
pub(crate) fn listen_here(purpose: &str) -> io::Result<UnixListener> {
    let listener = StdListener::bind_addr(&own_socket(purpose)?)?;
    listener.set_nonblocking(true)?;
    UnixListener::from_std(listener)
}

/// Connects to [`listen_here`], by another process of this container. A role that has only just been started is waited for.
pub(crate) fn connect_here(purpose: &str) -> io::Result<StdStream> {
    let name = own_socket(purpose)?;
    let began = Instant::now();
    loop {
        match StdStream::connect_addr(&name) {
            Ok(stream) => return Ok(stream),
            Err(error) if began.elapsed() > START => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(20)),
        }
    }
}
