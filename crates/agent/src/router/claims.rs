//! Which environment has which hosts.

use std::fmt::Write as _;
use std::net::SocketAddr;

use envctl_wire::{Announcement, Refusal, Reply};
use tokio::sync::watch;

use crate::control::{Connection, Registry};
use crate::output;

/// What one gateway has announced.
#[derive(Debug)]
struct Claim {
    connection: u64,
    environment: String,
    upstream: SocketAddr,
    hosts: Vec<String>,
}

/// All announcements in the order of their arrival: where two name the same host, the first one has
/// it for as long as it stands.
#[derive(Debug, Default)]
pub(crate) struct Claims(watch::Sender<Vec<Claim>>);

impl Claims {
    /// Where requests for `host` go: an exact name goes before a wildcard.
    pub(crate) fn upstream(&self, host: &str) -> Option<SocketAddr> {
        let claims = self.0.borrow();
        let wildcard = host.split_once('.').map(|(_, suffix)| format!("*.{suffix}"));
        let claimed = |name: &str| claims.iter().find(|claim| claim.hosts.iter().any(|h| h == name));
        claimed(host).or_else(|| claimed(&wildcard?)).map(|claim| claim.upstream)
    }

    /// The page for a host that nobody has.
    pub(crate) fn overview(&self, host: &str) -> String {
        let claims = self.0.borrow();
        let mut text = format!("No environment serves the host `{host}`.\n");
        if claims.is_empty() {
            text.push_str("No environment is up.\n");
        }
        for claim in claims.iter() {
            let _ = writeln!(text, "\n{}", claim.environment);
            for host in &claim.hosts {
                let _ = writeln!(text, "  {host}");
            }
        }
        text
    }
}

impl Registry for Claims {
    fn announced(&self, connection: Connection, announcement: Announcement) -> Reply {
        let Announcement::Hosts { environment, hosts, port } = announcement else {
            output::warn(format_args!("{} announces a pod to the router", connection.peer));
            return Reply::default();
        };
        let hosts: Vec<String> = hosts.iter().map(|host| host.to_ascii_lowercase()).collect();
        let mut refused = Vec::new();
        self.0.send_modify(|claims| {
            // A gateway that was made anew can be faster than the end of its former connection.
            claims.retain(|c| c.connection != connection.id && c.environment != environment);
            for host in &hosts {
                if let Some(holder) = claims.iter().find(|claim| claim.hosts.contains(host)) {
                    refused.push(Refusal { host: host.clone(), by: holder.environment.clone() });
                }
            }
            claims.push(Claim {
                connection: connection.id,
                environment: environment.clone(),
                upstream: SocketAddr::new(connection.peer.ip().to_canonical(), port),
                hosts,
            });
        });
        for Refusal { host, by } in &refused {
            output::warn(format_args!("{environment} wants the host {host}, which {by} has"));
        }
        Reply { refused }
    }

    fn closed(&self, connection: Connection) {
        self.0.send_modify(|claims| claims.retain(|claim| claim.connection != connection.id));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(id: u64) -> Connection {
        Connection { id, peer: SocketAddr::from(([10, 0, 0, u8::try_from(id).unwrap()], 40_000)) }
    }

    fn announce(claims: &Claims, id: u64, environment: &str, hosts: &[&str]) -> Vec<Refusal> {
        let announcement = Announcement::Hosts {
            environment: environment.to_owned(),
            hosts: hosts.iter().map(|host| (*host).to_owned()).collect(),
            port: 8080,
        };
        claims.announced(connection(id), announcement).refused
    }

    fn upstream(claims: &Claims, host: &str) -> Option<String> {
        claims.upstream(host).map(|address| address.to_string())
    }

    #[test]
    fn exact_goes_before_wildcard() {
        let claims = Claims::default();
        announce(&claims, 1, "a", &["*.a.localhost"]);
        announce(&claims, 2, "b", &["Web.a.localhost"]);
        assert_eq!(upstream(&claims, "web.a.localhost").unwrap(), "10.0.0.2:8080");
        assert_eq!(upstream(&claims, "api.a.localhost").unwrap(), "10.0.0.1:8080");
        assert_eq!(upstream(&claims, "x.api.a.localhost"), None);
        assert_eq!(upstream(&claims, "a.localhost"), None);
    }

    #[test]
    fn the_first_keeps_a_host_until_it_is_gone() {
        let claims = Claims::default();
        assert!(announce(&claims, 1, "a", &["web.localhost"]).is_empty());
        let refused = announce(&claims, 2, "b", &["web.localhost", "b.localhost"]);
        assert_eq!(refused, [Refusal { host: "web.localhost".to_owned(), by: "a".to_owned() }]);
        assert_eq!(upstream(&claims, "web.localhost").unwrap(), "10.0.0.1:8080");
        claims.closed(connection(1));
        assert_eq!(upstream(&claims, "web.localhost").unwrap(), "10.0.0.2:8080");
        claims.closed(connection(2));
        assert_eq!(upstream(&claims, "web.localhost"), None);
    }

    #[test]
    fn a_gateway_made_anew_takes_its_hosts_along() {
        let claims = Claims::default();
        announce(&claims, 1, "a", &["web.localhost"]);
        assert!(announce(&claims, 2, "a", &["web.localhost"]).is_empty());
        claims.closed(connection(1));
        assert_eq!(upstream(&claims, "web.localhost").unwrap(), "10.0.0.2:8080");
    }

    #[test]
    fn the_overview_names_what_there_is() {
        let claims = Claims::default();
        assert!(claims.overview("x").contains("No environment is up."));
        announce(&claims, 1, "album-aki", &["web.album-aki.localhost"]);
        let text = claims.overview("x");
        assert!(text.contains("`x`") && text.contains("album-aki\n  web.album-aki.localhost"), "{text}");
    }
}
