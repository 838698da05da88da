//! Hosts of Ingresses that have TLS: by certificates of this machine's own authority.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use crate::support::{House, Ran, have};

/// A request to a host, by https, that trusts an authority.
fn curl(house: &House, host: &str, authority: Option<&Path>) -> Ran {
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--max-time", "20", "--noproxy", "*", "--resolve"]);
    command.arg(format!("{host}:{}:127.0.0.1", house.port));
    if let Some(authority) = authority {
        command.arg("--cacert").arg(authority);
    }
    Ran::of(command.arg(format!("https://{host}:{}/", house.port)))
}

#[test]
fn a_host_with_tls_is_served_by_a_certificate_that_this_machine_vouches_for() {
    if !have(&["docker", "helm", "curl"]) {
        return;
    }
    let house = House::small("tls");
    house.edit("chart/templates/web.yaml", |text| {
        text.replacen(
            "spec:\n  rules:\n",
            "spec:\n  tls: [{hosts: [{{ .Values.host }}], secretName: web-tls}]\n  rules:\n",
            1,
        )
        // It says what it was told of the client.
        .replace("$ENV{MESSAGE} from", "$ENV{MESSAGE} by $proto from")
        .replace(
            "last if $line =~ /^\\r?$/ }",
            "last if $line =~ /^\\r?$/; $proto = $1 if $line =~ /^x-forwarded-proto: (\\w+)/i }",
        )
        .replace("my $request = <$client> // \"\";", "my ($request, $proto) = (<$client> // \"\", \"\");")
    });
    let host = format!("web.{}.localhost", house.environment());
    let authority = house.state().join("authority/ca.pem");
    house.envctl(&["up"]).exits(0).says(&format!("ready      https://{host}:{}", house.port));
    curl(&house, &host, Some(&authority)).exits(0).says("hello by https from web-0");
    curl(&house, &host, None).exits(60);
    let (status, page) = house.get(&host, "/");
    assert_eq!((status, page.trim()), (200, "hello by http from web-0"));

    // Who holds the key says who is who: nobody else may read it, and nothing shows it.
    let mode = std::fs::metadata(house.state().join("authority/ca.key")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let shown = house.envctl(&["render", "--format", "compose"]).exits(0).stdout;
    assert!(!shown.contains("PRIVATE KEY"), "{shown}");
    let ca = std::fs::read_to_string(&authority).unwrap();
    house.envctl(&["doctor"]).says("authority/ca.pem signs for environments");

    // It stays as it is, for browsers and for the gateway.
    house.envctl(&["up"]).exits(0).says("no changes");
    let other = format!("{}-two", house.project);
    house.envctl(&["up", "--name", &other]).exits(0);
    assert_eq!(std::fs::read_to_string(&authority).unwrap(), ca);
    curl(&house, &format!("web.{other}.localhost"), Some(&authority)).exits(0).says("hello by https");
    curl(&house, &host, Some(&authority)).exits(0).says("hello by https");
    house.envctl(&["down", "--yes", "--name", &other]).exits(0).says("0 left");
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
    assert_eq!(house.on_engine(), [""; 0]);
}
