//! Ingress rules as routes of the gateway.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use envctl_model::finding::Severity;
use envctl_wire::{PathMatch, Route, RouteTarget};

use crate::annotations;
use crate::cursor::{Cursor, Remark};
use crate::output::Url;
use crate::service::{self, ServicePlan};

/// The routes of one Ingress; hosts of its rules are added to `urls`.
pub(crate) fn routes(
    root: &Cursor<'_>,
    namespace: &str,
    services: &[ServicePlan<'_>],
    urls: &mut BTreeSet<Url>,
) -> Vec<Route> {
    let spec = root.get("spec");
    let annotated = annotations::read(root);
    let mut routes = Vec::new();
    for rule in spec.get("rules").items() {
        let host = rule.get("host").string().filter(|host| !host.is_empty());
        for path in rule.at(&["http", "paths"]).items() {
            let match_kind = match path.get("pathType").string() {
                Some("Exact") => PathMatch::Exact,
                // ImplementationSpecific is up to the controller; all common ones take a prefix.
                _ => PathMatch::Prefix,
            };
            let written = path.get("path").string().filter(|text| !text.is_empty()).unwrap_or("/");
            let Some((name, port)) = backend(&path.get("backend"), namespace, services) else {
                continue;
            };
            let Some((text, rewrite)) = annotated.path(written) else {
                path.get("path").remark(Remark::dropped(
                    Severity::Major,
                    "ingress-path",
                    "is not routed: of regular expressions only `PATH(/|$)(.*)` and the like are carried",
                ));
                continue;
            };
            match host {
                // A wildcard is no place to go to.
                Some(host) if host.contains('*') => {}
                Some(host) => {
                    urls.insert(Url { host: host.to_owned(), path: text.clone(), service: name.clone() });
                }
                None => path.remark(
                    Remark::approximated(
                        Severity::Major,
                        "ingress-without-host",
                        "the router finds environments by host: pods reach this rule, browsers do not",
                    )
                    .fix("set a host in this target's values"),
                ),
            }
            routes.push(Route {
                host: host.map(str::to_owned),
                path: text,
                match_kind,
                to: RouteTarget::Service { name, port },
                rewrite,
            });
        }
    }
    let default =
        ["defaultBackend", "backend"].map(|field| spec.get(field)).into_iter().find(Cursor::present);
    if let Some((name, port)) = default.and_then(|default| backend(&default, namespace, services)) {
        let to = RouteTarget::Service { name, port };
        routes.push(Route {
            host: None,
            path: "/".to_owned(),
            match_kind: PathMatch::Prefix,
            to,
            rewrite: None,
        });
    }
    routes
}

/// The hosts of one Ingress that have TLS, those of all rules where none is named.
pub(crate) fn secured(root: &Cursor<'_>) -> BTreeSet<String> {
    let spec = root.get("spec");
    let mut hosts = BTreeSet::new();
    for tls in spec.get("tls").items() {
        // The certificate is one of this machine's, whatever the Secret holds: browsers here trust it.
        tls.get("secretName").take();
        let named = tls.get("hosts").items();
        let all = if named.is_empty() {
            spec.get("rules").items().into_iter().map(|rule| rule.get("host")).collect()
        } else {
            named
        };
        hosts.extend(all.iter().filter_map(certified));
    }
    hosts
}

/// Whether a certificate can name a host, which may begin with a star.
pub(crate) fn can_be_certified(host: &str) -> bool {
    let is_label = |label: &str| {
        let known = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        known && !label.is_empty() && label.len() <= 63 && !label.starts_with('-') && !label.ends_with('-')
    };
    let name = host.strip_prefix("*.").unwrap_or(host);
    name.split('.').all(is_label) && name.parse::<Ipv4Addr>().is_err()
}

/// A host as a certificate names it; a finding for what none can name.
pub(crate) fn certified(at: &Cursor<'_>) -> Option<String> {
    let host = at.string().unwrap_or_default().to_ascii_lowercase();
    if can_be_certified(&host) {
        return Some(host);
    }
    at.remark(Remark::approximated(
        Severity::Minor,
        "ingress-tls",
        format!("is served over plain HTTP: no certificate is for `{host}`"),
    ));
    None
}

fn backend(field: &Cursor<'_>, namespace: &str, services: &[ServicePlan<'_>]) -> Option<(String, u16)> {
    let service = field.get("service");
    if !service.present() {
        field.take();
        field.remark(Remark::dropped(Severity::Major, "ingress-backend", "only Services are routed to"));
        return None;
    }
    let name = service.get("name").required();
    let (number, port_name) = (service.at(&["port", "number"]), service.at(&["port", "name"]));
    let wanted = number.int_or_string().or_else(|| port_name.string().map(str::to_owned)).unwrap_or_default();
    Some((name.to_owned(), service::routed(&service, services, namespace, name, &wanted)?))
}
