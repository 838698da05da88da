//! Who may see the internal tool: decided by the client's address, which proxies tell.

use crate::config::Access;
use axum::http::HeaderMap;
use std::net::IpAddr;

/// Where a request comes from, or nothing when that cannot be told. A proxy appends whom it forwards
/// for, so the chain is read from its end: the first that is no trusted proxy is the client. What
/// stands before it is only what the client says.
pub fn client(access: &Access, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
    let mut client = peer.to_canonical();
    let mut chain = chain(headers).into_iter().rev();
    while access.proxies.iter().any(|network| network.contains(&client)) {
        match chain.next() {
            Some(address) => client = address.parse::<IpAddr>().ok()?.to_canonical(),
            None => break,
        }
    }
    Some(client)
}

/// Whether who comes from there may see it.
pub fn may(access: &Access, client: IpAddr) -> bool {
    access.allowed.iter().any(|network| network.contains(&client))
}

/// Whether a request has to come again by HTTPS. How it came to a proxy only the proxy knows; who
/// comes without one comes as it is.
pub fn must_be_https(access: &Access, peer: IpAddr, headers: &HeaderMap) -> bool {
    let proxy = access.proxies.iter().any(|network| network.contains(&peer.to_canonical()));
    let told = headers.get("x-forwarded-proto").filter(|_| proxy);
    access.https_only && told.is_none_or(|scheme| scheme != "https")
}

fn chain(headers: &HeaderMap) -> Vec<&str> {
    let values = headers.get_all("x-forwarded-for").into_iter();
    // What is no text is no address either, and must not disappear from the chain.
    values.flat_map(|value| value.to_str().unwrap_or("?").split(',').map(str::trim)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn access() -> Access {
        let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let (allowed, proxies) = (networks(&["192.0.2.0/24"]), networks(&["10.0.0.0/8"]));
        Access { allowed, proxies, https_only: true }
    }

    fn from(peer: &str, forwarded: &[&'static str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for value in forwarded {
            headers.append("x-forwarded-for", HeaderValue::from_static(value));
        }
        client(&access(), peer.parse().unwrap(), &headers).map(|client| client.to_string())
    }

    #[test]
    fn who_is_no_trusted_proxy_is_the_client_whatever_it_says() {
        assert_eq!(from("203.0.113.9", &["192.0.2.7"]).unwrap(), "203.0.113.9");
    }

    #[test]
    fn a_trusted_proxy_tells_the_client_and_what_the_client_said_before_does_not_count() {
        assert_eq!(from("10.0.0.1", &["192.0.2.7, 203.0.113.9"]).unwrap(), "203.0.113.9");
        assert_eq!(from("::ffff:10.0.0.1", &["192.0.2.7, 203.0.113.9", "10.0.0.2"]).unwrap(), "203.0.113.9");
    }

    #[test]
    fn a_proxy_without_a_word_is_the_client_itself() {
        assert_eq!(from("10.0.0.1", &[]).unwrap(), "10.0.0.1");
    }

    #[test]
    fn what_is_no_address_is_nobody() {
        assert_eq!(from("10.0.0.1", &["192.0.2.7, unknown"]), None);
        assert_eq!(from("10.0.0.1", &[""]), None);
    }

    #[test]
    fn only_listed_networks_may() {
        assert!(may(&access(), "192.0.2.255".parse().unwrap()));
        assert!(!may(&access(), "192.0.3.0".parse().unwrap()));
    }

    #[test]
    fn only_a_trusted_proxy_can_tell_that_it_was_https() {
        let must = |peer: &str, scheme: &'static str| {
            let headers = HeaderMap::from_iter([(
                axum::http::HeaderName::from_static("x-forwarded-proto"),
                HeaderValue::from_static(scheme),
            )]);
            must_be_https(&access(), peer.parse().unwrap(), &headers)
        };
        assert!(!must("10.0.0.1", "https"));
        assert!(must("10.0.0.1", "http") && must("203.0.113.9", "https"));
        assert!(must_be_https(&access(), "10.0.0.1".parse().unwrap(), &HeaderMap::new()));
        let anyhow = Access { https_only: false, ..access() };
        assert!(!must_be_https(&anyhow, "10.0.0.1".parse().unwrap(), &HeaderMap::new()));
    }
}
