//! The HTTP reverse proxy of gateway and router. They differ in how they find where a request goes:
//! [`Directory`].

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::tls::{self, Hello};
use crate::{net, output};

/// Well below the time for which servers keep idle connections, so that a request never meets a
/// connection that is just being closed.
const POOL_IDLE: Duration = Duration::from_secs(1);

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Bodies pass through as they come; only our own pages are made here.
type Answer = Response<Either<Incoming, Full<Bytes>>>;

/// Finds where requests go.
pub(crate) trait Directory: Send + Sync + 'static {
    /// Whether connections to this local address are wanted.
    fn admits(&self, local: SocketAddr) -> bool;

    /// Where the request goes. `host` is lower case and without a port.
    fn find(
        &self,
        host: &str,
        path: &str,
        client: IpAddr,
    ) -> impl Future<Output = Result<Destination, Page>> + Send;

    /// What becomes of connections that begin with TLS.
    fn secured(&self) -> Secured<'_> {
        Secured::Refused
    }
}

/// What becomes of a connection that begins with TLS.
pub(crate) enum Secured<'d> {
    /// It ends here.
    Ended(&'d TlsAcceptor),
    /// It goes on to where requests for its host go, as it is.
    PassedOn,
    /// Nobody could prove who he is.
    Refused,
}

/// Where a request goes.
#[derive(Debug)]
pub(crate) struct Destination {
    pub(crate) to: SocketAddr,
    /// The path by which it is known there, if that is another one.
    pub(crate) path: Option<String>,
}

/// An answer of our own, in plain text.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) status: StatusCode,
    pub(crate) text: String,
}

/// Serves HTTP on `listener`.
pub(crate) async fn serve(listener: TcpListener, directory: Arc<impl Directory>) {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    connector.set_connect_timeout(Some(net::CONNECT_TIMEOUT));
    let client = Client::builder(TokioExecutor::new())
        .pool_idle_timeout(POOL_IDLE)
        .pool_timer(TokioTimer::new())
        // Some programs look for header names as they are written in books.
        .http1_preserve_header_case(true)
        .build(connector);
    let proxy = Arc::new(Proxy { client, directory });
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                tokio::spawn(connection(stream, peer, Arc::clone(&proxy)));
            }
            Err(error) => {
                output::warn(format_args!("cannot accept an HTTP connection: {error}"));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

async fn connection<D: Directory>(stream: TcpStream, peer: SocketAddr, proxy: Arc<Proxy<D>>) {
    if !stream.local_addr().is_ok_and(|local| proxy.directory.admits(local)) {
        return net::reset(&stream);
    }
    if stream.set_nodelay(true).and_then(|()| net::collect_dead(&stream)).is_err() {
        return;
    }
    // A client that breaks off is its own affair, here and below.
    if !tls::is_begun(&stream).await {
        return requests(stream, peer, proxy, "http").await;
    }
    match proxy.directory.secured() {
        Secured::Ended(acceptor) => {
            if let Ok(Ok(stream)) = tokio::time::timeout(tls::HANDSHAKE_WITHIN, acceptor.accept(stream)).await
            {
                requests(stream, peer, Arc::clone(&proxy), "https").await;
            }
        }
        Secured::PassedOn => pass_on(stream, peer, &proxy).await,
        Secured::Refused => net::reset(&stream),
    }
}

async fn requests<D: Directory>(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    peer: SocketAddr,
    proxy: Arc<Proxy<D>>,
    scheme: &'static str,
) {
    let service = service_fn(|request| {
        let proxy = Arc::clone(&proxy);
        async move { Ok::<_, Infallible>(proxy.answer(request, peer.ip(), scheme).await) }
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .preserve_header_case(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades()
        .await;
}

/// Leads a TLS connection to whoever has the host that it asks for. The keys are there.
async fn pass_on<D: Directory>(mut stream: TcpStream, peer: SocketAddr, proxy: &Proxy<D>) {
    let hello = tokio::time::timeout(tls::HANDSHAKE_WITHIN, tls::hello(&mut stream)).await;
    let Ok(Ok(Hello { host: Some(host), read })) = hello else { return net::reset(&stream) };
    let Ok(Destination { to, .. }) = proxy.directory.find(&host, "/", peer.ip().to_canonical()).await else {
        return net::reset(&stream);
    };
    match tokio::time::timeout(net::CONNECT_TIMEOUT, TcpStream::connect(to)).await {
        Ok(Ok(mut upstream)) => {
            let _ = upstream.set_nodelay(true);
            if upstream.write_all(&read).await.is_ok() {
                let _ = tokio::io::copy_bidirectional(&mut stream, &mut upstream).await;
            }
        }
        _ => net::reset(&stream),
    }
}

struct Proxy<D> {
    client: Client<HttpConnector, Incoming>,
    directory: Arc<D>,
}

impl<D: Directory> Proxy<D> {
    async fn answer(&self, request: Request<Incoming>, client: IpAddr, scheme: &'static str) -> Answer {
        let host = host_of(&request);
        let found = self.directory.find(&host, request.uri().path(), client.to_canonical()).await;
        let answer = match found {
            Ok(destination) => self.forward(request, destination, client.to_canonical(), scheme).await,
            Err(page) => Err(page),
        };
        answer.unwrap_or_else(|page| {
            let mut response = Response::new(Either::Right(Full::from(page.text)));
            *response.status_mut() = page.status;
            response
                .headers_mut()
                .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
            response
        })
    }

    async fn forward(
        &self,
        mut request: Request<Incoming>,
        Destination { to, path }: Destination,
        client: IpAddr,
        scheme: &'static str,
    ) -> Result<Answer, Page> {
        let bad = |text: &str| Page { status: StatusCode::BAD_REQUEST, text: format!("{text}\n") };
        if request.method() == Method::CONNECT {
            return Err(bad("CONNECT is for forward proxies; this is a reverse proxy"));
        }
        let upgrade = upgrade_of(request.headers());
        let client_side = upgrade.is_some().then(|| hyper::upgrade::on(&mut request));

        note_client(&mut request, client, scheme);
        let written = request.uri().path_and_query().map_or("/", |path| path.as_str());
        let path = match (path, request.uri().query()) {
            (None, _) => written.to_owned(),
            (Some(path), None) => path,
            (Some(path), Some(query)) => format!("{path}?{query}"),
        };
        *request.uri_mut() = Uri::builder()
            .scheme("http")
            .authority(to.to_string())
            .path_and_query(path)
            .build()
            .map_err(|_| bad("this request target cannot be passed on"))?;
        *request.version_mut() = Version::HTTP_11;
        remove_hop_by_hop(request.headers_mut());
        if let Some(protocol) = &upgrade {
            insert_upgrade(request.headers_mut(), protocol.clone());
        }

        let mut response = self.client.request(request).await.map_err(|error| Page {
            status: StatusCode::BAD_GATEWAY,
            text: format!("{to} does not answer: {}\n", root_cause(&error)),
        })?;
        let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let protocol = upgrade_of(response.headers());
        remove_hop_by_hop(response.headers_mut());
        if let (true, Some(client_side), Some(protocol)) = (switched, client_side, protocol) {
            insert_upgrade(response.headers_mut(), protocol);
            let server_side = hyper::upgrade::on(&mut response);
            tokio::spawn(async move {
                if let (Ok(client), Ok(server)) = tokio::join!(client_side, server_side) {
                    let (mut client, mut server) = (TokioIo::new(client), TokioIo::new(server));
                    // Either side may end a tunnel at any time.
                    let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
                }
            });
        }
        Ok(response.map(Either::Left))
    }
}

/// The host a request is for: lower case, without the port.
fn host_of(request: &Request<Incoming>) -> String {
    let header = || request.headers().get(header::HOST)?.to_str().ok();
    let authority = request.uri().authority().map(|authority| authority.as_str()).or_else(header);
    without_port(authority.unwrap_or_default()).to_ascii_lowercase()
}

fn without_port(authority: &str) -> &str {
    let host = match authority.rsplit_once(':') {
        // A colon inside brackets belongs to an IPv6 address.
        Some((host, port)) if !port.contains(']') => host,
        _ => authority,
    };
    host.trim_end_matches('.')
}

fn note_client(request: &mut Request<Incoming>, client: IpAddr, scheme: &'static str) {
    let host = match request.headers().get(header::HOST) {
        Some(host) => host.clone(),
        // An absolute request target stands for the header.
        None => match request.uri().authority().map(|host| HeaderValue::try_from(host.as_str())) {
            Some(Ok(host)) => host,
            _ => HeaderValue::from_static(""),
        },
    };
    let headers = request.headers_mut();
    headers.entry(header::HOST).or_insert_with(|| host.clone());
    headers.entry(FORWARDED_HOST).or_insert(host);
    // TLS that ends here began at the client. Before HTTP, TLS may have ended elsewhere.
    let before = headers.get(FORWARDED_PROTO).filter(|_| scheme == "http").cloned();
    headers.insert(FORWARDED_PROTO, before.unwrap_or_else(|| HeaderValue::from_static(scheme)));
    let before: Vec<&str> =
        headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok()).collect();
    let chain = [before.join(", "), client.to_string()];
    let chain = chain.iter().filter(|part| !part.is_empty()).cloned().collect::<Vec<_>>().join(", ");
    if let Ok(chain) = HeaderValue::try_from(chain) {
        headers.insert(FORWARDED_FOR, chain);
    }
}

/// The protocol that the message wants to switch to.
fn upgrade_of(headers: &HeaderMap) -> Option<HeaderValue> {
    let wanted = headers.get_all(header::CONNECTION).iter().any(|value| {
        value
            .to_str()
            .is_ok_and(|value| value.split(',').any(|option| option.trim().eq_ignore_ascii_case("upgrade")))
    });
    headers.get(header::UPGRADE).filter(|_| wanted).cloned()
}

fn insert_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol);
}

/// Removes what is meant for the next hop only (RFC 9110, 7.6.1). The framing of the body is written
/// anew by hyper.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    let always = [
        header::CONNECTION,
        header::PROXY_AUTHENTICATE,
        header::PROXY_AUTHORIZATION,
        header::TE,
        header::TRANSFER_ENCODING,
        header::UPGRADE,
        HeaderName::from_static("keep-alive"),
        HeaderName::from_static("proxy-connection"),
    ];
    for name in named.into_iter().chain(always) {
        headers.remove(name);
    }
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    struct Fixed(Option<SocketAddr>);

    impl Directory for Fixed {
        fn admits(&self, _: SocketAddr) -> bool {
            true
        }
        async fn find(&self, host: &str, path: &str, _: IpAddr) -> Result<Destination, Page> {
            let to = self.0.ok_or_else(|| Page {
                status: StatusCode::NOT_FOUND,
                text: format!("nobody serves {host}\n"),
            })?;
            Ok(Destination { to, path: path.strip_prefix("/old").map(|rest| format!("/new{rest}")) })
        }
    }

    async fn proxy_to(to: Option<SocketAddr>) -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, Arc::new(Fixed(to))));
        address
    }

    /// A server that sends `answer` to whatever the request is, up to its empty line.
    async fn canned(answer: &'static str) -> (SocketAddr, tokio::task::JoinHandle<String>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut heard = String::new();
            while !heard.contains("\r\n\r\n") {
                heard.push(char::from(stream.read_u8().await.unwrap()));
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
            let mut rest = String::new();
            let _ = stream.read_to_string(&mut rest).await;
            heard + &rest
        });
        (address, heard)
    }

    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer).await;
        answer
    }

    #[tokio::test]
    async fn passes_requests_on_and_says_for_whom() {
        let (server, heard) =
            canned("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\n\r\nok")
                .await;
        let proxy = proxy_to(Some(server)).await;
        let answer = ask(
            proxy,
            "GET /a?b=c HTTP/1.1\r\nHost: Web.Shop.localhost:8080\r\nX-Forwarded-For: 192.0.2.7\r\nConnection: close\r\n\r\n",
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
        assert!(answer.ends_with("ok"), "{answer}");
        assert!(!answer.to_lowercase().contains("x-hop"), "{answer}");
        let heard = heard.await.unwrap().to_lowercase();
        assert!(heard.starts_with("get /a?b=c http/1.1"), "{heard}");
        assert!(heard.contains("host: web.shop.localhost:8080"), "{heard}");
        assert!(heard.contains("x-forwarded-for: 192.0.2.7, 127.0.0.1"), "{heard}");
        assert!(heard.contains("x-forwarded-host: web.shop.localhost:8080"), "{heard}");
        assert!(heard.contains("x-forwarded-proto: http"), "{heard}");
    }

    #[tokio::test]
    async fn another_path_keeps_its_query() {
        for (asked, told) in [("/old/a?b=c", "/new/a?b=c"), ("/old", "/new")] {
            let (server, heard) = canned("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n").await;
            let proxy = proxy_to(Some(server)).await;
            ask(proxy, &format!("GET {asked} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")).await;
            let heard = heard.await.unwrap();
            assert!(heard.starts_with(&format!("GET {told} HTTP/1.1\r\n")), "{heard}");
        }
    }

    #[tokio::test]
    async fn tunnels_what_was_upgraded() {
        let (server, heard) =
            canned("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: chat\r\n\r\nhello")
                .await;
        let proxy = proxy_to(Some(server)).await;
        let mut stream = TcpStream::connect(proxy).await.unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n")
            .await
            .unwrap();
        let mut seen = String::new();
        while !seen.ends_with("hello") {
            seen.push(char::from(stream.read_u8().await.unwrap()));
        }
        assert!(seen.starts_with("HTTP/1.1 101"), "{seen}");
        stream.write_all(b"bye").await.unwrap();
        stream.shutdown().await.unwrap();
        assert!(heard.await.unwrap().ends_with("bye"));
    }

    #[tokio::test]
    async fn streams_without_waiting_for_the_end() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let server = listener.local_addr().unwrap();
        let (resume, wait) = tokio::sync::oneshot::channel::<()>();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n";
            stream.write_all(head.as_bytes()).await.unwrap();
            wait.await.unwrap();
            stream.write_all(b"4\r\nlast\r\n0\r\n\r\n").await.unwrap();
        });
        let mut stream = TcpStream::connect(proxy_to(Some(server)).await).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut seen = String::new();
        while !seen.contains("first") {
            seen.push(char::from(stream.read_u8().await.unwrap()));
        }
        resume.send(()).unwrap();
        stream.read_to_string(&mut seen).await.unwrap();
        assert!(seen.contains("last"), "{seen}");
    }

    #[tokio::test]
    async fn says_what_is_wrong() {
        let nowhere = ask(proxy_to(None).await, "GET / HTTP/1.0\r\nHost: nope:80\r\n\r\n").await;
        assert!(nowhere.contains("404"), "{nowhere}");
        assert!(nowhere.ends_with("nobody serves nope\n"), "{nowhere}");

        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let closed = listener.local_addr().unwrap();
        drop(listener);
        let down = ask(proxy_to(Some(closed)).await, "GET / HTTP/1.0\r\nHost: a\r\n\r\n").await;
        assert!(down.contains("502"), "{down}");
        assert!(down.contains("does not answer: Connection refused"), "{down}");
    }

    #[test]
    fn ports_are_no_part_of_hosts() {
        assert_eq!(without_port("web.localhost:8080"), "web.localhost");
        assert_eq!(without_port("web.localhost."), "web.localhost");
        assert_eq!(without_port("[::1]:80"), "[::1]");
        assert_eq!(without_port("[::1]"), "[::1]");
    }
}
