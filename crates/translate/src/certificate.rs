//! cert-manager's Certificates: the machine's own authority issues them, before anything is translated.

use std::collections::BTreeSet;
use std::net::IpAddr;

use envctl_model::finding::Severity;
use serde_json::Value;

use crate::cursor::{Cursor, Remark};
use crate::ingress::can_be_certified;
use crate::objects::Object;

const CODE: &str = "certificate";

/// What a Certificate can ask for besides.
const NOT_MADE: [&str; 8] = [
    "keystores",
    "additionalOutputFormats",
    "uris",
    "emailAddresses",
    "otherNames",
    "subject",
    "literalSubject",
    "secretTemplate",
];

/// A Secret that a Certificate asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WantedCertificate {
    /// The Secret's name.
    pub secret: String,
    /// The Certificate's namespace.
    pub namespace: String,
    /// Its common name: any text.
    pub common_name: String,
    /// Host names, which may begin with a star, and IP addresses.
    pub hosts: Vec<String>,
}

/// Whether an object is a Certificate of cert-manager's that can be issued here: one for hosts, and not for an authority.
pub(crate) fn is_issued(object: &Object) -> bool {
    wanted_by(object, "").is_some()
}

/// The Secrets that Certificates ask for, each once, and none that is among the objects itself. Objects that say no
/// namespace are in this one.
#[must_use]
pub fn wanted(objects: &[Object], namespace: &str) -> Vec<WantedCertificate> {
    let of = |object: &Object| object.namespace.clone().unwrap_or_else(|| namespace.to_owned());
    let mut there: BTreeSet<_> = objects
        .iter()
        .filter(|object| object.kind == "Secret" && object.group().is_empty())
        .map(|secret| (of(secret), secret.name.clone()))
        .collect();
    let wanted = objects.iter().filter_map(|object| wanted_by(object, namespace));
    wanted.filter(|wanted| there.insert((wanted.namespace.clone(), wanted.secret.clone()))).collect()
}

fn wanted_by(object: &Object, namespace: &str) -> Option<WantedCertificate> {
    if object.group() != "cert-manager.io" || object.kind != "Certificate" {
        return None;
    }
    let spec = &object.body["spec"];
    let secret = spec["secretName"].as_str().filter(|name| can_be_certified(name))?;
    let texts = |field: &str| spec[field].as_array().into_iter().flatten().map(Value::as_str);
    let names: Vec<&str> = texts("dnsNames").collect::<Option<_>>()?;
    let addresses: Vec<&str> = texts("ipAddresses").collect::<Option<_>>()?;
    let can_be_named = names.iter().all(|name| can_be_certified(name))
        && addresses.iter().all(|address| address.parse::<IpAddr>().is_ok());
    let hosts: Vec<String> = names.into_iter().chain(addresses).map(str::to_owned).collect();
    let common_name = spec["commonName"].as_str().filter(|name| !name.is_empty());
    let common_name = common_name.or(hosts.first().map(String::as_str))?.to_owned();
    let namespace = object.namespace.as_deref().unwrap_or(namespace).to_owned();
    (spec["isCA"] != true && can_be_named).then(|| WantedCertificate {
        secret: secret.to_owned(),
        namespace,
        common_name,
        hosts,
    })
}

/// The findings of a Certificate that was issued.
pub(crate) fn read(root: &Cursor<'_>) {
    let spec = root.get("spec");
    for field in NOT_MADE {
        let field = spec.get(field);
        if field.present() {
            field.take();
            field.remark(Remark::dropped(
                Severity::Major,
                CODE,
                "`tls.crt`, `tls.key` and `ca.crt` are made, for a common name, host names and IP addresses",
            ));
        }
    }
    root.take();
    root.remark(Remark::approximated(
        Severity::Info,
        CODE,
        "unless the chart makes the Secret itself, envctl's authority of this machine does, for servers and clients, whatever issuer, key and duration are asked for",
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::parse;

    fn certificate(name: &str, spec: &str) -> String {
        format!(
            "---\napiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"
        )
    }

    #[test]
    fn what_is_wanted_is_a_secret_that_nobody_else_makes() {
        let yaml = [
            certificate("web", "secretName: web-tls, dnsNames: [web, '*.shop.svc'], ipAddresses: [10.0.0.1]"),
            certificate("again", "secretName: web-tls, dnsNames: [web]"),
            certificate("client", "secretName: client-tls, commonName: Prüfstelle"),
            certificate("own", "secretName: own-tls, dnsNames: [own]"),
            "---\napiVersion: v1\nkind: Secret\nmetadata: {name: own-tls, namespace: shop}\n".to_owned(),
        ];
        let objects = parse(&yaml.concat(), "t").unwrap();
        let wanted: Vec<_> = wanted(&objects, "shop")
            .into_iter()
            .map(|wanted| (wanted.secret, wanted.common_name, wanted.hosts.join(" ")))
            .collect();
        let text = |texts: [&str; 3]| <(String, String, String)>::from(texts.map(str::to_owned));
        assert_eq!(
            wanted,
            [text(["web-tls", "web", "web *.shop.svc 10.0.0.1"]), text(["client-tls", "Prüfstelle", ""])]
        );
    }

    #[test]
    fn of_authorities_and_what_no_certificate_can_name_none_is_issued() {
        let none = [
            "secretName: x, isCA: true, commonName: root",
            "secretName: x",
            "secretName: x, dnsNames: [prüfstelle.example]",
            "secretName: x, dnsNames: [web, 7]",
            "secretName: x, ipAddresses: [web]",
            "secretName: ../x, dnsNames: [web]",
            "dnsNames: [web]",
        ];
        for spec in none {
            let objects = parse(&certificate("web", spec), "t").unwrap();
            assert!(!is_issued(&objects[0]) && wanted(&objects, "shop").is_empty(), "{spec}");
        }
    }
}
