//! Ingress: which Service answers for a host and a path.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use envctl_wire::{BackingService, GatewayConfig, PathMatch, Protocol, Rewrite, Route, RouteTarget};
use hyper::StatusCode;
use ipnet::Ipv4Net;
use tokio_rustls::TlsAcceptor;

use super::services::Services;
use crate::proxy::{Destination, Directory, Page, Secured};
use crate::resolver::Resolver;
use crate::tls;

/// The hosts of all routes.
pub(super) fn hosts(routes: &[Route]) -> Vec<String> {
    let hosts: BTreeSet<String> =
        routes.iter().filter_map(|route| Some(route.host.as_ref()?.to_ascii_lowercase())).collect();
    hosts.into_iter().collect()
}

/// Finds the pods behind Ingress rules.
pub(super) struct Ingress {
    namespace: String,
    vips: Ipv4Net,
    routes: Vec<Route>,
    backing: Vec<BackingService>,
    services: Arc<Services>,
    resolver: Resolver,
    acceptor: Option<TlsAcceptor>,
}

impl Ingress {
    pub(super) fn new(
        config: &GatewayConfig,
        services: Arc<Services>,
        resolver: Resolver,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            acceptor: config.certificate.as_ref().map(tls::acceptor).transpose()?,
            namespace: config.namespace.clone(),
            vips: config.vips,
            routes: config.routes.clone(),
            backing: config.backing.clone(),
            services,
            resolver,
        })
    }

    fn unknown(&self, host: &str, path: &str) -> Page {
        let hosts = hosts(&self.routes).join("\n  ");
        Page {
            status: StatusCode::NOT_FOUND,
            text: format!("No Ingress rule for `{host}{path}`. Hosts:\n  {hosts}\n"),
        }
    }

    async fn pod(&self, name: &str, port: u16, client: IpAddr) -> Result<SocketAddr, Page> {
        let unavailable = |text: String| Page { status: StatusCode::SERVICE_UNAVAILABLE, text };
        let own = |namespace: &str| namespace == self.namespace;
        let (index, _) = self
            .services
            .iter()
            .filter(|(_, service)| service.name == name)
            .max_by_key(|(_, service)| own(&service.namespace))
            .ok_or_else(|| unavailable(format!("There is no Service `{name}`.\n")))?;
        self.services
            .pick_patiently(index, port, Protocol::Tcp, client)
            .await
            .ok_or_else(|| unavailable(format!("The Service `{name}` has no ready pod for port {port}.\n")))
    }

    async fn backing(&self, name: &str, port: u16) -> Result<SocketAddr, Page> {
        let bad = |text: String| Page { status: StatusCode::BAD_GATEWAY, text };
        let backing = self
            .backing
            .iter()
            .find(|backing| backing.name == name)
            .ok_or_else(|| bad(format!("There is no backing service `{name}`.\n")))?;
        let address = self.resolver.address(&backing.upstream).await;
        Ok((address.map_err(|error| bad(format!("{error:#}\n")))?, port).into())
    }
}

impl Directory for Ingress {
    /// The listener is open on all addresses of the container, but a virtual address has only the
    /// ports of its Service.
    fn admits(&self, local: SocketAddr) -> bool {
        match local.ip().to_canonical() {
            IpAddr::V4(address) => !self.vips.contains(&address),
            IpAddr::V6(_) => true,
        }
    }

    fn secured(&self) -> Secured<'_> {
        self.acceptor.as_ref().map_or(Secured::Refused, Secured::Ended)
    }

    async fn find(&self, host: &str, path: &str, client: IpAddr) -> Result<Destination, Page> {
        let route = find(&self.routes, host, path).ok_or_else(|| self.unknown(host, path))?;
        let to = match &route.to {
            RouteTarget::Service { name, port } => self.pod(name, *port, client).await,
            RouteTarget::Backing { name, port } => self.backing(name, *port).await,
        };
        Ok(Destination { to: to?, path: rewritten(route, path) })
    }
}

/// The rule for a request. The host decides first, an exact one before a wildcard before none; among
/// the rules of that host the longest path, and an exact one before a prefix.
fn find<'a>(routes: &'a [Route], host: &str, path: &str) -> Option<&'a Route> {
    let best_host = routes.iter().filter_map(|route| host_rank(route, host)).max()?;
    routes
        .iter()
        .filter(|route| host_rank(route, host) == Some(best_host) && path_matches(route, path))
        // The first of equal rules: `max_by_key` alone would take the last.
        .rev()
        .max_by_key(|route| (route.path.trim_end_matches('/').len(), route.match_kind == PathMatch::Exact))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum HostRank {
    Any,
    Wildcard,
    Exact,
}

fn host_rank(route: &Route, host: &str) -> Option<HostRank> {
    let Some(wanted) = &route.host else {
        return Some(HostRank::Any);
    };
    if wanted.eq_ignore_ascii_case(host) {
        return Some(HostRank::Exact);
    }
    let (_, parent) = host.split_once('.')?;
    let suffix = wanted.strip_prefix("*.")?;
    suffix.eq_ignore_ascii_case(parent).then_some(HostRank::Wildcard)
}

fn path_matches(route: &Route, path: &str) -> bool {
    match route.match_kind {
        PathMatch::Exact => route.path == path,
        PathMatch::Prefix => path
            .strip_prefix(route.path.trim_end_matches('/'))
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/')),
    }
}

/// The path by which the route's target knows a request; `None` if it is the one that was asked for.
fn rewritten(route: &Route, path: &str) -> Option<String> {
    match route.rewrite.as_ref()? {
        Rewrite::Whole(whole) => Some(whole.clone()),
        Rewrite::Prefix(prefix) => {
            let rest = path.strip_prefix(route.path.trim_end_matches('/'))?;
            let path = format!("{}{rest}", prefix.trim_end_matches('/'));
            Some(if path.starts_with('/') { path } else { format!("/{path}") })
        }
    }
}

/// Whether some rule names this host: cluster DNS leads it to the gateway.
pub(super) fn is_host(routes: &[Route], name: &str) -> bool {
    routes.iter().any(|route| host_rank(route, name).is_some_and(|rank| rank > HostRank::Any))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(host: Option<&str>, path: &str, match_kind: PathMatch, name: &str) -> Route {
        Route {
            host: host.map(str::to_owned),
            path: path.to_owned(),
            match_kind,
            to: RouteTarget::Service { name: name.to_owned(), port: 80 },
            rewrite: None,
        }
    }

    fn found<'a>(routes: &'a [Route], host: &str, path: &str) -> Option<&'a str> {
        find(routes, host, path).map(|route| match &route.to {
            RouteTarget::Service { name, .. } | RouteTarget::Backing { name, .. } => name.as_str(),
        })
    }

    #[test]
    fn paths_match_by_element() {
        // The table in the documentation of Ingress.
        let prefix = |path, request| path_matches(&route(None, path, PathMatch::Prefix, ""), request);
        assert!(prefix("/", "/any/path"));
        assert!(prefix("/foo", "/foo") && prefix("/foo", "/foo/"));
        assert!(prefix("/foo/", "/foo") && prefix("/foo/", "/foo/"));
        assert!(prefix("/aaa/bbb", "/aaa/bbb/ccc"));
        assert!(!prefix("/aaa/bb", "/aaa/bbb") && !prefix("/aaa/bbb", "/aaa/bbbxyz"));
        let exact = |path, request| path_matches(&route(None, path, PathMatch::Exact, ""), request);
        assert!(exact("/foo", "/foo"));
        assert!(!exact("/foo", "/foo/") && !exact("/foo/", "/foo"));
    }

    #[test]
    fn hosts_then_longest_path_then_exact() {
        use PathMatch::{Exact, Prefix};
        let routes = [
            route(None, "/", Prefix, "default"),
            route(Some("*.shop.localhost"), "/", Prefix, "wildcard"),
            route(Some("web.shop.localhost"), "/", Prefix, "web"),
            route(Some("web.shop.localhost"), "/api", Prefix, "api"),
            route(Some("web.shop.localhost"), "/api", Exact, "root of api"),
            route(Some("only.shop.localhost"), "/only", Prefix, "only"),
        ];
        assert_eq!(found(&routes, "web.shop.localhost", "/apis"), Some("web"));
        assert_eq!(found(&routes, "WEB.shop.localhost", "/api/v1"), Some("api"));
        assert_eq!(found(&routes, "web.shop.localhost", "/api"), Some("root of api"));
        assert_eq!(found(&routes, "x.shop.localhost", "/"), Some("wildcard"));
        assert_eq!(found(&routes, "x.y.shop.localhost", "/"), Some("default"));
        assert_eq!(found(&routes, "only.shop.localhost", "/"), None, "its host has other paths only");
        assert_eq!(found(&routes[1..], "elsewhere", "/"), None);
        assert_eq!(hosts(&routes), ["*.shop.localhost", "only.shop.localhost", "web.shop.localhost"]);
    }

    #[test]
    fn paths_are_rewritten_by_element() {
        let with = |path, rewrite| Route { rewrite, ..route(None, path, PathMatch::Prefix, "") };
        let prefix = |path, to: &str, request| {
            rewritten(&with(path, Some(Rewrite::Prefix(to.to_owned()))), request).unwrap()
        };
        // The table in the documentation of HTTPRoute.
        assert_eq!(prefix("/foo", "/xyz", "/foo/bar"), "/xyz/bar");
        assert_eq!(prefix("/foo", "/xyz/", "/foo/bar"), "/xyz/bar");
        assert_eq!(prefix("/foo/", "/xyz", "/foo/bar"), "/xyz/bar");
        assert_eq!(prefix("/foo", "/xyz", "/foo"), "/xyz");
        assert_eq!(prefix("/foo", "/xyz", "/foo/"), "/xyz/");
        assert_eq!(prefix("/foo", "", "/foo/bar"), "/bar");
        assert_eq!(prefix("/foo", "/", "/foo"), "/");
        assert_eq!(prefix("/", "/v1", "/a"), "/v1/a");
        assert_eq!(rewritten(&with("/a", Some(Rewrite::Whole("/b".to_owned()))), "/a/c").unwrap(), "/b");
        assert_eq!(rewritten(&with("/a", None), "/a"), None);
    }
}
