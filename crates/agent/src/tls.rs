//! TLS on the port of HTTP: whether a connection begins with it, for which host, and by which certificate it ends here.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use envctl_wire::Certificate;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::Acceptor;

/// How long a client may take to say hello.
pub(crate) const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);

/// The type of the first record of every TLS connection (RFC 8446, 5.1), and no letter of any HTTP method.
const HANDSHAKE: u8 = 0x16;

/// Room for a `ClientHello`: one record, or a few.
const HELLO_MAX: usize = 64 << 10;

/// Whether a connection begins with TLS. Nothing of it is taken.
pub(crate) async fn is_begun(stream: &TcpStream) -> bool {
    let mut first = [0];
    matches!(stream.peek(&mut first).await, Ok(1)) && first[0] == HANDSHAKE
}

/// What a client has said at first.
#[derive(Debug)]
pub(crate) struct Hello {
    /// The host that it asks for, in lower case.
    pub(crate) host: Option<String>,
    /// All that was read of the connection.
    pub(crate) read: Vec<u8>,
}

/// Reads a client's hello.
///
/// # Errors
/// When the connection breaks, or is no TLS.
pub(crate) async fn hello(stream: &mut TcpStream) -> io::Result<Hello> {
    let (mut acceptor, mut read) = (Acceptor::default(), Vec::new());
    loop {
        let before = read.len();
        if stream.read_buf(&mut read).await? == 0 || read.len() > HELLO_MAX {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut more = &read[before..];
        while !more.is_empty() {
            acceptor.read_tls(&mut more)?;
        }
        match acceptor.accept() {
            Ok(None) => {}
            Ok(Some(accepted)) => {
                let host = accepted.client_hello().server_name().map(str::to_ascii_lowercase);
                return Ok(Hello { host, read });
            }
            Err((error, _)) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
        }
    }
}

/// Ends TLS by a certificate.
///
/// # Errors
/// When it or its key cannot be read.
pub(crate) fn acceptor(certificate: &Certificate) -> anyhow::Result<TlsAcceptor> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate.chain.as_bytes())
        .collect::<Result<_, _>>()
        .context("the certificate")?;
    let key = PrivateKeyDer::from_pem_slice(certificate.key.as_bytes()).context("the certificate's key")?;
    let provider = Arc::new(ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.with_no_client_auth().with_single_cert(chain, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;
    use tokio_rustls::rustls::{ClientConfig, ClientConnection, RootCertStore};

    use super::*;

    fn said(host: &'static str) -> Vec<u8> {
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(RootCertStore::empty())
            .with_no_client_auth();
        let mut client = ClientConnection::new(Arc::new(config), host.try_into().unwrap()).unwrap();
        let mut said = Vec::new();
        client.write_tls(&mut said).unwrap();
        said
    }

    /// What is understood of parts that come one after the other.
    async fn heard(parts: &[&[u8]]) -> (bool, io::Result<Hello>) {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        client.set_nodelay(true).unwrap();
        client.write_all(parts[0]).await.unwrap();
        let begun = is_begun(&server).await;
        let sending = async {
            for part in &parts[1..] {
                client.write_all(part).await.unwrap();
                tokio::task::yield_now().await;
            }
            client.shutdown().await.unwrap();
        };
        let (hello, ()) = tokio::join!(hello(&mut server), sending);
        (begun, hello)
    }

    #[tokio::test]
    async fn a_hello_is_understood_however_its_parts_come_and_nothing_of_it_is_lost() {
        let said = said("Web.shop.localhost");
        for parts in [vec![&said[..]], vec![&said[..1], &said[1..5], &said[5..60], &said[60..]]] {
            let (begun, hello) = heard(&parts).await;
            let Hello { host, read } = hello.unwrap();
            assert!(begun);
            assert_eq!(host.as_deref(), Some("web.shop.localhost"));
            assert_eq!(read, said[..read.len()]);
        }
        let (_, cut_off) = heard(&[&said[..60]]).await;
        assert!(cut_off.is_err(), "{cut_off:?}");
        let (begun, other) = heard(&[b"GET / HTTP/1.1\r\n"]).await;
        assert!(!begun && other.is_err(), "{other:?}");
    }
}
