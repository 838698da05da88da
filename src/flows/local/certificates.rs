//! Certificates of hosts that have TLS, and those that a chart wants of cert-manager: this machine's own authority makes
//! them, which nobody trusts until its user says so.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use envctl_model::name::hash;
use envctl_programs::private;
use envctl_translate::{Object, WantedCertificate};
use envctl_wire::Certificate;
use jiff::civil::Date;
use jiff::tz::Offset;
use jiff::{Timestamp, ToSpan as _};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::config::Base;
use crate::flows::Home;
use crate::flows::chart::{self, Purpose};
use crate::ui::Failure;

/// The directory of the authority in the state directory.
const AUTHORITY: &str = "authority";
const CERTIFICATE: &str = "ca.pem";
const KEY: &str = "ca.key";
/// In an environment's home: the gateway's.
const KEPT: &str = "certificate.json";

/// Where Secrets come from that were issued here.
const ISSUED: &str = "certificates";

/// For how long the authority lasts: it is in people's browsers.
const AUTHORITY_YEARS: i64 = 10;
/// Browsers take no certificate that lasts longer than 398 days.
const DAYS: i64 = 397;
/// One that ends sooner than this is made anew.
const LEFT_DAYS: i64 = 30;

/// A certificate that was made before.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    /// None in what an older envctl has kept, which is always the same.
    #[serde(default)]
    common_name: Option<String>,
    hosts: BTreeSet<String>,
    /// A digest of the authority's certificate.
    authority: String,
    until: Date,
    certificate: Certificate,
}

/// Where the authority's certificate is, if any environment has needed it.
pub(crate) fn authority(base: &Base) -> Option<PathBuf> {
    Some(directory(base).join(CERTIFICATE)).filter(|path| path.is_file())
}

fn directory(base: &Base) -> PathBuf {
    base.state_dir.value.join(AUTHORITY)
}

/// The certificate of an environment's gateway for these hosts: the former one as long as that will do. An authority is made
/// if there is none yet.
pub(crate) fn of(base: &Base, home: &Home, hosts: &BTreeSet<String>) -> Result<Certificate, Failure> {
    let common = "an environment of envctl";
    certificate(base, home, KEPT, common, hosts, &[ExtendedKeyUsagePurpose::ServerAuth])
        .map(|issued| issued.0)
}

/// Adds the Secrets that Certificates among the objects ask for, in place of those that were added before. To check, they are
/// empty, and nothing is made.
pub(crate) fn add(
    base: &Base,
    home: &Home,
    namespace: &str,
    objects: &mut Vec<Object>,
    purpose: Purpose,
) -> Result<(), Failure> {
    objects.retain(|object| object.origin.input != ISSUED);
    let usages = [ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    for wanted in envctl_translate::wanted_certificates(objects, namespace) {
        let WantedCertificate { secret, namespace, common_name, hosts } = wanted;
        let (certificate, authority) = match purpose {
            Purpose::Check => (Certificate { chain: String::new(), key: String::new() }, String::new()),
            Purpose::Deliver => {
                // No namespace has a dot.
                let kept = format!("certificate-{namespace}.{secret}.json");
                certificate(base, home, &kept, &common_name, &hosts.into_iter().collect(), &usages)?
            }
        };
        let object = json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": secret, "namespace": namespace},
            "type": "kubernetes.io/tls",
            "stringData": {"tls.crt": certificate.chain, "tls.key": certificate.key, "ca.crt": authority},
        });
        objects.extend(chart::parse(&object.to_string(), ISSUED)?);
    }
    Ok(())
}

/// A certificate that is kept under a name in the environment's home, and that of the authority.
fn certificate(
    base: &Base,
    home: &Home,
    kept_as: &str,
    common: &str,
    hosts: &BTreeSet<String>,
    usages: &[ExtendedKeyUsagePurpose],
) -> Result<(Certificate, String), Failure> {
    let today = Offset::UTC.to_datetime(Timestamp::now()).date();
    let dir = directory(base);
    let (of_authority, key) = ensure(&dir, today)?;
    let authority = hash(&of_authority, 64);
    if let Some(kept) = home.read_json::<Kept>(kept_as)?
        && kept.hosts == *hosts
        && kept.common_name.is_none_or(|kept| kept == common)
        && kept.authority == authority
        && kept.until > later(today, LEFT_DAYS)
    {
        return Ok((kept.certificate, of_authority));
    }
    let until = later(today, DAYS);
    let certificate = issue(&key, common, hosts, usages, today, until).map_err(|e| damaged(&dir, &e))?;
    home.write_json(
        kept_as,
        &Kept {
            common_name: Some(common.to_owned()),
            hosts: hosts.clone(),
            authority,
            until,
            certificate: certificate.clone(),
        },
    )?;
    Ok((certificate, of_authority))
}

/// The authority's certificate and key. Who was first at making them has made them.
fn ensure(dir: &Path, today: Date) -> Result<(String, String), Failure> {
    let (certificate, key) = (dir.join(CERTIFICATE), dir.join(KEY));
    if !certificate.is_file() {
        let (certificate_pem, key_pem) = make_authority(today).map_err(Failure::failed)?;
        // Both or none: a directory is renamed at one moment.
        let failed = |e: std::io::Error| Failure::Failed(format!("cannot write {}: {e}", dir.display()));
        let parent = dir.parent().unwrap_or(dir);
        private::make_directory(parent).map_err(failed)?;
        let made = tempfile::Builder::new().prefix(AUTHORITY).tempdir_in(parent).map_err(failed)?;
        private::write(&made.path().join(KEY), key_pem.as_bytes()).map_err(failed)?;
        private::write(&made.path().join(CERTIFICATE), certificate_pem.as_bytes()).map_err(failed)?;
        // Another `up` may have been first: then it is there now, and ours goes with its directory.
        if let Err(error) = std::fs::rename(made.path(), dir)
            && !certificate.is_file()
        {
            return Err(damaged(dir, &error));
        }
    }
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|e| damaged(dir, &e));
    Ok((read(&certificate)?, read(&key)?))
}

/// What is there is no authority any more.
fn damaged(dir: &Path, error: &dyn std::fmt::Display) -> Failure {
    Failure::Failed(format!(
        "the authority for TLS in {} cannot be used: {error}\n  remove that directory: the next `envctl up` makes another \
         one, which browsers have to be told of again",
        dir.display()
    ))
}

fn make_authority(today: Date) -> Result<(String, String), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = authority_params()?;
    last(&mut params, today, today.saturating_add(AUTHORITY_YEARS.years()));
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

/// What is the same whenever it signs.
fn authority_params() -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name = name("envctl, of this machine alone");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn issue(
    authority_key: &str,
    common: &str,
    hosts: &BTreeSet<String>,
    usages: &[ExtendedKeyUsagePurpose],
    from: Date,
    until: Date,
) -> Result<Certificate, rcgen::Error> {
    let issuer = Issuer::new(authority_params()?, KeyPair::from_pem(authority_key)?);
    let mut params = CertificateParams::new(hosts.iter().cloned().collect::<Vec<_>>())?;
    params.distinguished_name = name(common);
    params.extended_key_usages = usages.to_vec();
    params.use_authority_key_identifier_extension = true;
    last(&mut params, from, until);
    let key = KeyPair::generate()?;
    Ok(Certificate { chain: params.signed_by(&key, &issuer)?.pem(), key: key.serialize_pem() })
}

fn name(common: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common);
    name
}

fn later(date: Date, days: i64) -> Date {
    date.saturating_add(days.days())
}

/// From when to when it holds. Months and days of a date always fit.
fn last(params: &mut CertificateParams, from: Date, until: Date) {
    let part = |part: i8| u8::try_from(part).unwrap_or(1);
    let at = |date: Date| rcgen::date_time_ymd(i32::from(date.year()), part(date.month()), part(date.day()));
    (params.not_before, params.not_after) = (at(from), at(until));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_made_once_and_signs_for_the_hosts() {
        let dir = tempfile::tempdir().unwrap();
        let (dir, today) = (dir.path().join(AUTHORITY), jiff::civil::date(2026, 2, 28));
        let (certificate, key) = ensure(&dir, today).unwrap();
        assert_eq!(ensure(&dir, today).unwrap(), (certificate, key.clone()), "it is in people's browsers");
        let hosts =
            BTreeSet::from(["web.album-aki.localhost".to_owned(), "*.album-aki.localhost".to_owned()]);
        let usages = [ExtendedKeyUsagePurpose::ServerAuth];
        let issued = issue(&key, "web", &hosts, &usages, today, later(today, DAYS)).unwrap();
        assert!(issued.chain.starts_with("-----BEGIN CERTIFICATE-----"), "{}", issued.chain);
        assert!(!format!("{issued:?}").contains("BEGIN"), "a key is in it");

        // Half of it, or what is none, is named with what mends it.
        std::fs::remove_file(dir.join(CERTIFICATE)).unwrap();
        let said = ensure(&dir, today).unwrap_err().message().unwrap();
        assert!(said.contains("remove that directory") && said.contains(AUTHORITY), "{said}");
        assert!(issue("", "web", &hosts, &usages, today, today).is_err());
    }
}
