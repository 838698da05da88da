//! One TCP connection passed on to another.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

use crate::{net, output};

/// Connects `client` with `to` until both sides have finished. A side that has finished sending may
/// go on to receive; idle connections stay.
pub(crate) async fn relay(mut client: TcpStream, to: SocketAddr) {
    let mut server = match net::connect(to).await {
        Ok(server) => server,
        Err(error) => {
            net::reset(&client);
            output::warn(format_args!("cannot connect to {to}: {error}"));
            return;
        }
    };
    let prepared = client
        .set_nodelay(true)
        .and_then(|()| net::collect_dead(&client))
        .and_then(|()| net::collect_dead(&server));
    if prepared.is_err() || copy_bidirectional(&mut client, &mut server).await.is_err() {
        // One side was cut off: the other shall see that too.
        net::reset(&client);
        net::reset(&server);
    }
}
