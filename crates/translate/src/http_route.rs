//! Gateway API: HTTPRoutes as routes of the gateway.

use std::collections::{BTreeMap, BTreeSet};

use envctl_model::finding::Severity;
use envctl_wire::{PathMatch, Rewrite, Route, RouteTarget};

use crate::cursor::{Cursor, Remark};
use crate::ingress;
use crate::output::Url;
use crate::service::{self, ServicePlan};

/// Host names of the listeners of each Gateway, by namespace and name.
pub(crate) type Listeners<'a> = BTreeMap<(String, &'a str), Vec<&'a str>>;

const CODE: &str = "gateway-api";

/// Reads a Gateway: routes that name no host take those of its listeners. Hosts that have TLS are added to `secured`.
pub(crate) fn listeners<'a>(root: &Cursor<'a>, secured: &mut BTreeSet<String>) -> Vec<&'a str> {
    let spec = root.get("spec");
    let listeners = spec.get("listeners").items();
    let hosts = listeners.iter().filter_map(|listener| listener.get("hostname").string()).collect();
    for listener in &listeners {
        if listener.get("protocol").string() == Some("HTTPS") {
            listener.get("tls").take();
            secured.extend(ingress::certified(&listener.get("hostname")));
        }
        for field in ["name", "port", "allowedRoutes"] {
            listener.get(field).take();
        }
    }
    spec.get("gatewayClassName").take();
    root.remark(Remark::approximated(
        Severity::Info,
        CODE,
        "one router serves every Gateway, on its own port",
    ));
    hosts
}

/// The routes of one HTTPRoute; its hosts are added to `urls`.
pub(crate) fn routes(
    root: &Cursor<'_>,
    namespace: &str,
    listeners: &Listeners<'_>,
    services: &[ServicePlan<'_>],
    urls: &mut BTreeSet<Url>,
) -> Vec<Route> {
    let spec = root.get("spec");
    let parents = spec.get("parentRefs");
    let of_parents = parents.items().into_iter().flat_map(|parent| {
        let namespace = parent.get("namespace").string().unwrap_or(namespace).to_owned();
        listeners.get(&(namespace, parent.get("name").required())).into_iter().flatten().copied()
    });
    let own = spec.get("hostnames").strings();
    let hosts: BTreeSet<&str> = if own.is_empty() { of_parents.collect() } else { own.into_iter().collect() };
    parents.take();
    if hosts.is_empty() {
        root.remark(
            Remark::approximated(
                Severity::Major,
                "ingress-without-host",
                "the router finds environments by host: pods reach this rule, browsers do not",
            )
            .fix("set a host in this target's values"),
        );
    }
    let hosts: Vec<Option<&str>> =
        if hosts.is_empty() { vec![None] } else { hosts.into_iter().map(Some).collect() };
    let mut routes = Vec::new();
    for rule in spec.get("rules").items() {
        let (rewrite, paths) = (filters(&rule), paths(&rule));
        let Some((name, port)) = target(&rule, namespace, services) else {
            continue;
        };
        for (match_kind, path) in paths {
            for host in &hosts {
                if let Some(host) = host.filter(|host| !host.contains('*')) {
                    urls.insert(Url { host: host.to_owned(), path: path.clone(), service: name.clone() });
                }
                routes.push(Route {
                    host: host.map(str::to_owned),
                    path: path.clone(),
                    match_kind,
                    to: RouteTarget::Service { name: name.clone(), port },
                    rewrite: rewrite.clone(),
                });
            }
        }
    }
    routes
}

/// What becomes of the path of a rule's requests; other filters are not carried.
fn filters(rule: &Cursor<'_>) -> Option<Rewrite> {
    let mut rewrite = None;
    for filter in rule.get("filters").items() {
        let path = filter.at(&["urlRewrite", "path"]);
        let (whole, prefix) = (path.get("replaceFullPath").string(), path.get("replacePrefixMatch").string());
        let own = whole.map(|path| Rewrite::Whole(path.to_owned()));
        let own = own.or_else(|| prefix.map(|path| Rewrite::Prefix(path.to_owned())));
        if own.is_none() || filter.at(&["urlRewrite", "hostname"]).present() {
            filter.take();
            filter.remark(Remark::dropped(
                Severity::Major,
                CODE,
                "of filters only a rewritten path is carried",
            ));
        }
        filter.get("type").take();
        path.get("type").take();
        rewrite = own.or(rewrite);
    }
    rewrite
}

/// Where the requests of a rule go.
fn target(rule: &Cursor<'_>, namespace: &str, services: &[ServicePlan<'_>]) -> Option<(String, u16)> {
    let mut found = None;
    for reference in rule.get("backendRefs").items() {
        let weight = reference.get("weight").number::<u32>().unwrap_or(1);
        let kind = reference.get("kind").string().unwrap_or("Service");
        reference.get("group").take();
        if kind != "Service" {
            reference.take();
            reference.remark(Remark::dropped(
                Severity::Major,
                "ingress-backend",
                "only Services are routed to",
            ));
        } else if found.is_some() || weight == 0 {
            reference.take();
            reference.remark(Remark::dropped(
                Severity::Major,
                CODE,
                "gets no requests: all go to the first reference with a weight",
            ));
        } else {
            let namespace = reference.get("namespace").string().unwrap_or(namespace);
            let wanted = reference.get("port").int_or_string().unwrap_or_default();
            let name = reference.get("name").required();
            found = service::routed(&reference, services, namespace, name, &wanted)
                .map(|port| (name.to_owned(), port));
        }
    }
    found
}

/// The paths for which a rule is meant. A match that asks for more than a path is left out: it would
/// take requests that are not its own.
fn paths(rule: &Cursor<'_>) -> Vec<(PathMatch, String)> {
    let matches = rule.get("matches");
    if !matches.present() {
        return vec![(PathMatch::Prefix, "/".to_owned())];
    }
    let mut paths = Vec::new();
    for one in matches.items() {
        let path = one.get("path");
        let kind = match path.get("type").string().unwrap_or("PathPrefix") {
            "PathPrefix" => Some(PathMatch::Prefix),
            "Exact" => Some(PathMatch::Exact),
            _ => None,
        };
        let more = ["headers", "queryParams", "method"].iter().any(|field| one.get(field).present());
        match kind {
            Some(kind) if !more => {
                paths.push((kind, path.get("value").string().unwrap_or("/").to_owned()));
            }
            _ => {
                one.take();
                one.remark(Remark::dropped(
                    Severity::Major,
                    CODE,
                    "is not routed here: only exact paths and prefixes are",
                ));
            }
        }
    }
    paths
}
