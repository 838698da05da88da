//! One client: how it treats connections, cookies and names.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use envctl_model::cutover::plan::ClientKind;
use http::header::{CONNECTION, COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::observation::Outcome;

/// Says where a client of a kind finds the component now.
pub type Resolver = Arc<dyn Fn(ClientKind) -> SocketAddr + Send + Sync>;

type Sender = SendRequest<Full<Bytes>>;

/// This machine could not send: it ran out of files, ports or memory. That says nothing of who should have answered.
#[derive(Debug)]
pub(super) struct Unsent;

/// One client. It never sends a request twice, also not where RFC 9110, section 9.2.2, would let it: a rehearsal
/// looks for exactly the failures that a retry hides.
pub(super) struct Client {
    kind: ClientKind,
    /// The address, for who resolves only once.
    pinned: Option<SocketAddr>,
    /// The connection of a keep-alive client while no request is on it. What is due while one is goes over a
    /// connection of its own, which is closed if there is an idle one again by then.
    idle: Cell<Option<Sender>>,
    cookies: RefCell<Cookies>,
}

impl Client {
    pub(super) fn new(kind: ClientKind, resolver: &Resolver) -> Self {
        let pinned = (kind == ClientKind::TtlIgnoring).then(|| resolver(kind));
        Self { kind, pinned, idle: Cell::new(None), cookies: RefCell::default() }
    }

    /// Sends a request, and reads the whole answer.
    pub(super) async fn exchange(
        &self,
        resolver: &Resolver,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Outcome, Unsent> {
        if self.kind == ClientKind::Sticky
            && let Some(cookies) = self.cookies.borrow().header()
        {
            request.headers_mut().insert(COOKIE, cookies);
        }
        if self.kind != ClientKind::Keepalive {
            request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        } else if let Some(mut idle) = self.idle.take()
            && idle.ready().await.is_ok()
        {
            match idle.try_send_request(request).await {
                Ok(response) => return Ok(self.finish(idle, response).await),
                // The server had closed the connection while it was idle, and not a byte was written to it.
                Err(mut error) => match error.take_message() {
                    Some(unwritten) => request = unwritten,
                    None => return Ok(Outcome::Reset),
                },
            }
        }
        let mut sender = match connect(self.pinned.unwrap_or_else(|| resolver(self.kind))).await {
            Ok(sender) => sender,
            Err(error) if is_ours(&error) => return Err(Unsent),
            Err(_) => return Ok(Outcome::Refused),
        };
        match sender.send_request(request).await {
            Ok(response) => Ok(self.finish(sender, response).await),
            Err(_) => Ok(Outcome::Reset),
        }
    }

    async fn finish(&self, sender: Sender, response: Response<Incoming>) -> Outcome {
        let (head, mut body) = response.into_parts();
        while let Some(frame) = body.frame().await {
            if frame.is_err() {
                return Outcome::Reset;
            }
        }
        match self.kind {
            ClientKind::Keepalive if !sender.is_closed() => self.idle.set(Some(sender)),
            ClientKind::Sticky => self.cookies.borrow_mut().take(&head.headers),
            _ => {}
        }
        Outcome::Answered { status: head.status.as_u16() }
    }
}

async fn connect(address: SocketAddr) -> io::Result<Sender> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    // How it ends, the request on it learns.
    tokio::task::spawn_local(connection);
    Ok(sender)
}

/// Whether an error is for want of something on this machine.
pub(crate) fn is_ours(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let scarce = [Errno::MFILE, Errno::NFILE, Errno::ADDRNOTAVAIL, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|errno| scarce.contains(&errno))
}

/// The cookies of one client. All requests go to one host, so domain and path are passed over.
#[derive(Debug, Default)]
struct Cookies(BTreeMap<String, String>);

impl Cookies {
    fn take(&mut self, headers: &HeaderMap) {
        for line in headers.get_all(SET_COOKIE).iter().filter_map(|value| value.to_str().ok()) {
            let mut parts = line.split(';').map(str::trim);
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { continue };
            let ended = parts.filter_map(|part| part.split_once('=')).any(|(key, value)| {
                key.eq_ignore_ascii_case("max-age") && value.parse::<i64>().is_ok_and(|seconds| seconds <= 0)
            });
            if ended {
                self.0.remove(name);
            } else {
                self.0.insert(name.to_owned(), value.to_owned());
            }
        }
    }

    fn header(&self) -> Option<HeaderValue> {
        let pairs: Vec<_> = self.0.iter().map(|(name, value)| format!("{name}={value}")).collect();
        (!pairs.is_empty()).then(|| HeaderValue::from_str(&pairs.join("; ")).ok()).flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_are_kept_replaced_and_forgotten() {
        let mut cookies = Cookies::default();
        let mut given = |lines: &[&'static str]| {
            let all = lines.iter().map(|line| (SET_COOKIE, HeaderValue::from_static(line)));
            cookies.take(&all.collect());
            cookies.header().map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(given(&[]), None);
        assert_eq!(given(&["sid=1; Path=/; HttpOnly", "theme=dark"]).unwrap(), "sid=1; theme=dark");
        assert_eq!(given(&["sid=2; Max-Age=60"]).unwrap(), "sid=2; theme=dark");
        assert_eq!(given(&["sid=; Max-Age=0"]).unwrap(), "theme=dark");
    }
}
