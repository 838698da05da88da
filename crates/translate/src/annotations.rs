//! What controllers read in an Ingress' annotations, as far as it is known here.

use envctl_model::finding::{Fate, Severity};
use envctl_wire::Rewrite;

use crate::cursor::{Cursor, Remark};

const CODE: &str = "ingress-annotation";

/// What annotations say about an Ingress' paths.
#[derive(Debug)]
pub(crate) struct Annotated<'a> {
    rewrite: Option<&'a str>,
    /// Paths are regular expressions.
    regex: bool,
}

/// Reads the annotations that are known. The others become findings.
pub(crate) fn read<'a>(root: &Cursor<'a>) -> Annotated<'a> {
    let annotations = root.at(&["metadata", "annotations"]);
    let mut found = Annotated { rewrite: None, regex: false };
    for (name, annotation) in annotations.entries() {
        match name {
            "nginx.ingress.kubernetes.io/rewrite-target" => {
                found.rewrite = annotation.string();
                // nginx takes the paths of such an Ingress for regular expressions.
                found.regex = true;
            }
            "nginx.ingress.kubernetes.io/use-regex" => found.regex |= annotation.string() == Some("true"),
            _ => {
                let Some((_, remark)) = KNOWN.iter().find(|(known, _)| *known == name) else { continue };
                annotation.take();
                annotation.remark(Remark::new(Fate::Meaningless, Severity::Info, CODE, *remark));
            }
        }
    }
    found
}

const NO_LIMIT: &str = "the router has no such limit";
const NO_TLS_REDIRECT: &str = "plain HTTP is served, too";
const NO_CLOUD: &str = "there is no load balancer of a cloud";

/// Annotations of which nobody here misses the effect.
#[rustfmt::skip]
const KNOWN: &[(&str, &str)] = &[
    ("nginx.ingress.kubernetes.io/proxy-body-size", NO_LIMIT),
    ("nginx.ingress.kubernetes.io/proxy-buffer-size", NO_LIMIT),
    ("nginx.ingress.kubernetes.io/proxy-connect-timeout", NO_LIMIT),
    ("nginx.ingress.kubernetes.io/proxy-read-timeout", NO_LIMIT),
    ("nginx.ingress.kubernetes.io/proxy-send-timeout", NO_LIMIT),
    ("nginx.ingress.kubernetes.io/ssl-redirect", NO_TLS_REDIRECT),
    ("nginx.ingress.kubernetes.io/force-ssl-redirect", NO_TLS_REDIRECT),
    ("alb.ingress.kubernetes.io/ssl-redirect", NO_TLS_REDIRECT),
    ("alb.ingress.kubernetes.io/certificate-arn", NO_CLOUD),
    ("alb.ingress.kubernetes.io/group.name", NO_CLOUD),
    ("alb.ingress.kubernetes.io/healthcheck-path", NO_CLOUD),
    ("alb.ingress.kubernetes.io/listen-ports", NO_CLOUD),
    ("alb.ingress.kubernetes.io/load-balancer-attributes", NO_CLOUD),
    ("alb.ingress.kubernetes.io/scheme", NO_CLOUD),
    ("alb.ingress.kubernetes.io/subnets", NO_CLOUD),
    ("alb.ingress.kubernetes.io/tags", NO_CLOUD),
    ("alb.ingress.kubernetes.io/target-type", NO_CLOUD),
    ("cert-manager.io/cluster-issuer", "no certificate is issued"),
    ("cert-manager.io/issuer", "no certificate is issued"),
    ("external-dns.alpha.kubernetes.io/hostname", "no DNS records are made"),
    ("kubernetes.io/ingress.class", "one router serves every Ingress class"),
    ("kubernetes.io/tls-acme", "no certificate is issued"),
];

/// How regular expressions end that mean "and all below", with the group that is what comes after.
const TAILS: [(&str, &str); 4] = [("(/|$)(.*)", "$2"), ("/?(.*)", "$1"), ("/(.*)", "$1"), ("(.*)", "$1")];

impl<'a> Annotated<'a> {
    /// The path to route by, and what becomes of it; `None` for a regular expression that is no prefix.
    pub(crate) fn path(&self, written: &str) -> Option<(String, Option<Rewrite>)> {
        if !self.regex {
            return Some((written.to_owned(), None));
        }
        let tail = TAILS.iter().find_map(|(tail, group)| Some((written.strip_suffix(tail)?, *group)));
        let (prefix, group) = tail.unwrap_or((written, ""));
        if prefix.contains(['(', ')', '[', ']', '*', '+', '?', '|', '^', '$', '\\', '{']) {
            return None;
        }
        let path = if prefix.is_empty() { "/" } else { prefix };
        let before = |target: &'a str| target.strip_suffix(group).filter(|_| !group.is_empty());
        let rewrite = self.rewrite.map(|target| match before(target) {
            Some(before) => Rewrite::Prefix(before.to_owned()),
            None => Rewrite::Whole(target.to_owned()),
        });
        match &rewrite {
            Some(Rewrite::Prefix(text) | Rewrite::Whole(text)) if text.contains('$') => None,
            _ => Some((path.to_owned(), rewrite)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_regular_expressions_are_prefixes() {
        let path = |rewrite, written| Annotated { rewrite, regex: true }.path(written);
        let prefix = |path: &str, to: &str| Some((path.to_owned(), Some(Rewrite::Prefix(to.to_owned()))));
        assert_eq!(path(Some("/$2"), "/api(/|$)(.*)"), prefix("/api", "/"));
        assert_eq!(path(Some("/v1/$1"), "/api/(.*)"), prefix("/api", "/v1/"));
        assert_eq!(path(Some("/$1"), "/(.*)"), prefix("/", "/"));
        assert_eq!(path(Some("/"), "/api"), Some(("/api".to_owned(), Some(Rewrite::Whole("/".to_owned())))));
        assert_eq!(path(None, "/api/?(.*)"), Some(("/api".to_owned(), None)));
        assert_eq!(path(Some("/$1/$2"), "/(a|b)/(.*)"), None);
        assert_eq!(path(Some("/$1"), "/api(/|$)(.*)"), None, "the other group");
        let plain = Annotated { rewrite: None, regex: false };
        assert_eq!(plain.path("/a(b)"), Some(("/a(b)".to_owned(), None)));
    }
}
