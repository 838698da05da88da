//! cert-manager's Certificates: the machine's own authority issues them, before anything is translated.

use std::collections::BTreeSet;

use envctl_model::finding::Severity;
use serde_json::Value;

use crate::cursor::{Cursor, Remark};
use crate::objects::Object;

const CODE: &str = "certificate";

/// A Secret that a Certificate asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedCertificate {
    /// The Secret's name.
    pub secret: String,
    /// The Certificate's namespace, where written.
    pub namespace: Option<String>,
    /// Host names and IP addresses, at least one; the first is its common name.
    pub hosts: Vec<String>,
}

/// Whether an object is a Certificate of cert-manager's that can be issued here: one for hosts, and not for an authority.
pub(crate) fn is_issued(object: &Object) -> bool {
    wanted_by(object).is_some()
}

/// The Secrets that Certificates ask for, and that are not among the objects themselves.
#[must_use]
pub fn wanted(objects: &[Object]) -> Vec<WantedCertificate> {
    let there: BTreeSet<_> = objects
        .iter()
        .filter(|object| object.kind == "Secret" && object.group().is_empty())
        .map(|secret| (&secret.namespace, secret.name.as_str()))
        .collect();
    let wanted = objects.iter().filter_map(wanted_by);
    wanted.filter(|wanted| !there.contains(&(&wanted.namespace, wanted.secret.as_str()))).collect()
}

fn wanted_by(object: &Object) -> Option<WantedCertificate> {
    if object.group() != "cert-manager.io" || object.kind != "Certificate" {
        return None;
    }
    let spec = &object.body["spec"];
    if spec["isCA"] == true {
        return None;
    }
    let texts = |field: &str| spec[field].as_array().into_iter().flatten().filter_map(Value::as_str);
    let common = spec["commonName"].as_str().filter(|name| !name.is_empty());
    let mut hosts: Vec<String> = Vec::new();
    for host in common.into_iter().chain(texts("dnsNames")).chain(texts("ipAddresses")) {
        if !hosts.iter().any(|known| known == host) {
            hosts.push(host.to_owned());
        }
    }
    let secret = spec["secretName"].as_str()?.to_owned();
    (!hosts.is_empty()).then(|| WantedCertificate { secret, namespace: object.namespace.clone(), hosts })
}

/// The findings of a Certificate that was issued.
pub(crate) fn read(root: &Cursor<'_>) {
    let spec = root.get("spec");
    for field in ["keystores", "additionalOutputFormats"] {
        let field = spec.get(field);
        if field.present() {
            field.take();
            field.remark(Remark::dropped(
                Severity::Major,
                CODE,
                "only `tls.crt`, `tls.key` and `ca.crt` are made",
            ));
        }
    }
    root.take();
    root.remark(Remark::approximated(
        Severity::Info,
        CODE,
        "is issued by envctl's authority of this machine, for servers and clients, whatever issuer, key and duration it asks for",
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::parse;

    #[test]
    fn what_is_wanted_is_a_secret_for_hosts_that_the_chart_does_not_make() {
        let certificate = |name: &str, spec: &str| {
            format!(
                "---\napiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
            )
        };
        let yaml = [
            certificate(
                "web",
                "secretName: web-tls, commonName: web, dnsNames: [web, web.shop.svc], ipAddresses: [10.0.0.1]",
            ),
            certificate("root", "secretName: root-tls, isCA: true, commonName: root"),
            certificate("empty", "secretName: empty-tls"),
            certificate("own", "secretName: own-tls, dnsNames: [own]"),
            "---\napiVersion: v1\nkind: Secret\nmetadata: {name: own-tls}\n".to_owned(),
        ];
        let objects = parse(&yaml.concat(), "t").unwrap();
        let web = ["web", "web.shop.svc", "10.0.0.1"].map(str::to_owned).to_vec();
        assert_eq!(
            wanted(&objects),
            [WantedCertificate { secret: "web-tls".to_owned(), namespace: None, hosts: web }]
        );
        assert_eq!(objects.iter().filter(|object| is_issued(object)).count(), 2);
    }
}
