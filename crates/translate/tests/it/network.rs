//! Services, Ingress, the gateway and what sandboxes know of it.

use envctl_translate::{Backing, BackingInput, Loopback, Url, parse, translate};
use envctl_wire::{GatewayConfig, PathMatch, Rewrite, RouteTarget, SandboxConfig};
use serde_json::json;

use crate::support::{OLD_ENGINE, config, findings, input, service, translated};

const STACK: &str = r#"
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  template:
    metadata: {labels: {app: web}}
    spec:
      hostAliases: [{ip: 10.1.1.1, hostnames: [one, two]}]
      containers:
      - name: web
        image: web:1
        ports: [{name: http, containerPort: 3000}, {containerPort: 53, protocol: UDP, hostPort: 5353}]
        readinessProbe: {httpGet: {path: ready, port: http}}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}, {name: raw, port: 9000, targetPort: 9001, nodePort: 30000}]
---
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db}
spec:
  serviceName: db
  template:
    metadata: {labels: {app: db}}
    spec: {dnsPolicy: Default, containers: [{name: db, image: "db:1"}]}
---
apiVersion: v1
kind: Service
metadata: {name: db}
spec: {clusterIP: None, publishNotReadyAddresses: true, selector: {app: db}, ports: [{port: 5432}]}
---
apiVersion: v1
kind: Service
metadata: {name: outside}
spec: {type: ExternalName, externalName: example.org}
---
apiVersion: v1
kind: Service
metadata: {name: legacy}
spec: {sessionAffinity: ClientIP, ports: [{port: 80, name: http}]}
---
apiVersion: v1
kind: Endpoints
metadata: {name: legacy}
subsets: [{addresses: [{ip: 10.9.9.9}], ports: [{name: http, port: 8080}]}]
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, annotations: {nginx.ingress.kubernetes.io/proxy-body-size: 8m, nginx.ingress.kubernetes.io/auth-url: x}}
spec:
  ingressClassName: nginx
  tls: [{hosts: [web.localhost], secretName: tls}]
  rules:
  - host: web.localhost
    http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {name: http}}}}, {path: /x, pathType: Exact, backend: {service: {name: web, port: {number: 9000}}}}, {path: /y, backend: {service: {name: gone, port: {number: 1}}}}]}
  defaultBackend: {service: {name: web, port: {number: 80}}}
"#;

fn gateway() -> GatewayConfig {
    config(&translated(STACK), "envctl-gateway")
}

#[test]
fn services_lead_to_pods() {
    let gateway = gateway();
    let web = gateway.services.iter().find(|service| service.name == "web").unwrap();
    assert!(gateway.vips.contains(&web.vip.unwrap()));
    assert_eq!(web.backends.len(), 2);
    assert_eq!(web.backends[0].targets, [("80/TCP".to_owned(), 3000), ("9000/TCP".to_owned(), 9001)].into());
    assert_eq!(web.backends[0].hostname, None);
    let db = gateway.services.iter().find(|service| service.name == "db").unwrap();
    assert_eq!((db.vip, db.publish_not_ready), (None, true));
    assert_eq!(db.backends[0].hostname.as_deref(), Some("db-0"));
    let outside = gateway.services.iter().find(|service| service.name == "outside").unwrap();
    assert_eq!((outside.vip, outside.external_name.as_deref()), (None, Some("example.org")));
    let legacy = gateway.services.iter().find(|service| service.name == "legacy").unwrap();
    assert_eq!(legacy.client_ip_affinity_seconds, Some(10_800));
    assert_eq!((legacy.backends[0].announced, legacy.backends[0].targets["80/TCP"]), (false, 8080));
}

#[test]
fn ingress_rules_are_routes() {
    let gateway = gateway();
    let routes: Vec<_> = gateway
        .routes
        .iter()
        .map(|route| (route.host.as_deref(), route.path.as_str(), route.match_kind))
        .collect();
    assert_eq!(
        routes,
        [
            (Some("web.localhost"), "/", PathMatch::Prefix),
            (Some("web.localhost"), "/x", PathMatch::Exact),
            (None, "/", PathMatch::Prefix)
        ]
    );
    assert_eq!(gateway.routes[0].to, RouteTarget::Service { name: "web".to_owned(), port: 80 });
    let translation = translated(STACK);
    assert_eq!(
        translation.urls[0],
        Url { host: "web.localhost".to_owned(), path: "/".to_owned(), service: "web".to_owned() }
    );
    assert_eq!(translation.secured, ["web.localhost".to_owned()].into());
    assert_eq!(
        findings(&translation, "Ingress/web"),
        [
            "ingress-annotation metadata.annotations['nginx.ingress.kubernetes.io/proxy-body-size']",
            "ingress-class spec.ingressClassName",
            "ingress-annotation metadata.annotations['nginx.ingress.kubernetes.io/auth-url']",
            "ingress-backend spec.rules[0].http.paths[2].backend.service",
        ]
    );
}

#[test]
fn a_sandbox_knows_its_gateway_and_probes() {
    let translation = translated(STACK);
    let web: SandboxConfig = config(&translation, "web-0");
    let gateway = gateway();
    let resolv = web.resolv.unwrap();
    assert_eq!(resolv.nameservers, [gateway.address]);
    assert_eq!(resolv.search[0], "dev-alice.svc.cluster.local");
    assert_eq!(web.gateway.unwrap().to_string(), format!("{}:4", gateway.address));
    assert_eq!((web.forwards[0].listen, web.forwards[0].to.port()), (8080, 8080));
    assert_eq!(web.probes.len(), 1);
    let sandbox = service(&translation, "web-0");
    assert_eq!(sandbox["extra_hosts"], json!(["one=10.1.1.1", "two=10.1.1.1"]));
    assert_eq!(
        sandbox["ports"],
        json!([{"host_ip": "127.0.0.1", "published": "5353", "target": 53, "protocol": "udp"}])
    );
    let db: SandboxConfig = config(&translation, "db-0");
    assert_eq!(db.resolv, None, "dnsPolicy Default is Docker's own");
    assert_eq!(service(&translation, "db-0")["domainname"], "db.dev-alice.svc.cluster.local");
}

#[test]
fn backing_services_are_names_and_routes_of_the_gateway() {
    let mut input = input(parse(STACK, "t").unwrap(), OLD_ENGINE);
    let before = translate(&input).unwrap();
    let s3 = BackingInput {
        name: "s3".to_owned(),
        upstream: "backing-s3-1".to_owned(),
        ports: vec![9000],
        host: Some(("s3.album.localhost".to_owned(), 9000)),
    };
    input.backing = Some(Backing { network: "backing".to_owned(), services: vec![s3] });
    let translation = translate(&input).unwrap();
    let gateway: GatewayConfig = config(&translation, "envctl-gateway");
    assert_eq!(gateway.backing[0].upstream, "backing-s3-1");
    assert!(gateway.vips.contains(&gateway.backing[0].vip));
    let own = service(&translation, "envctl-gateway");
    assert_eq!(own["networks"]["default"]["mac_address"], "02:42:ac:1e:00:02");
    assert_eq!(own["networks"]["backing"], json!({}));
    assert_eq!(translation.compose["networks"]["backing"], json!({"name": "backing", "external": true}));
    assert!(translation.urls.iter().any(|url| url.host == "s3.album.localhost"));
    let hashes =
        |t: &envctl_translate::Translation| t.pods.iter().map(|pod| pod.hash.clone()).collect::<Vec<_>>();
    assert_eq!(hashes(&before), hashes(&translation));
    assert_ne!(
        own["labels"]["dev.envctl.pod-hash"],
        service(&before, "envctl-gateway")["labels"]["dev.envctl.pod-hash"]
    );
}

#[test]
fn a_configuration_too_large_for_a_variable_is_a_file() {
    let mut yaml = String::new();
    for number in 0..600 {
        yaml.push_str(&format!("---\napiVersion: v1\nkind: Service\nmetadata: {{name: s{number}}}\nspec: {{ports: [{{port: 80}}]}}\n"));
    }
    let translation = translated(&yaml);
    let gateway = service(&translation, "envctl-gateway");
    assert_eq!(gateway["environment"]["ENVCTL_AGENT_CONFIG"], "@/envctl-gateway.json");
    let content = translation.compose["configs"]["envctl-gateway"]["content"].as_str().unwrap();
    assert_eq!(serde_json::from_str::<GatewayConfig>(content).unwrap().services.len(), 600);
}

const ROUTES: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: web}
spec: {ports: [{port: 80}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: Gateway
metadata: {name: edge}
spec: {gatewayClassName: any, listeners: [{name: a, port: 443, protocol: HTTPS, hostname: "*.edge.localhost", tls: {certificateRefs: [{name: x}]}}]}
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: one}
spec:
  parentRefs: [{name: edge, sectionName: a}]
  rules:
  - backendRefs: [{name: web, port: 80, weight: 0}, {name: web, port: 80}, {name: other, port: 80}]
  - matches: [{path: {type: Exact, value: /exact}}, {path: {value: /v2}, method: GET}, {path: {type: RegularExpression, value: /r.*}}]
    filters: [{type: RequestHeaderModifier, requestHeaderModifier: {remove: [x]}}, {type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /new}}}]
    backendRefs: [{name: web, port: 80}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: two}
spec: {parentRefs: [{name: elsewhere}], hostnames: [two.localhost], rules: [{matches: [{path: {value: /v1}}], backendRefs: [{name: web, port: 81}]}, {backendRefs: [{name: web, port: 80}]}]}
"#;

#[test]
fn http_routes_are_routes() {
    let translation = translated(ROUTES);
    let gateway: GatewayConfig = config(&translation, "envctl-gateway");
    let routes: Vec<_> = gateway
        .routes
        .iter()
        .map(|route| (route.host.as_deref(), route.path.as_str(), route.match_kind))
        .collect();
    assert_eq!(
        routes,
        [
            (Some("*.edge.localhost"), "/", PathMatch::Prefix),
            (Some("*.edge.localhost"), "/exact", PathMatch::Exact),
            (Some("two.localhost"), "/", PathMatch::Prefix)
        ]
    );
    assert_eq!(gateway.routes[1].rewrite, Some(Rewrite::Prefix("/new".to_owned())));
    let hosts: Vec<_> = translation.urls.iter().map(|url| url.host.as_str()).collect();
    assert_eq!(hosts, ["two.localhost"], "a wildcard is no place to go to");
    assert_eq!(translation.secured, ["*.edge.localhost".to_owned()].into());
    let mut one = findings(&translation, "HTTPRoute/one");
    one.sort();
    assert_eq!(
        one,
        [
            "gateway-api spec.rules[0].backendRefs[0]",
            "gateway-api spec.rules[0].backendRefs[2]",
            "gateway-api spec.rules[1].filters[0]",
            "gateway-api spec.rules[1].matches[1]",
            "gateway-api spec.rules[1].matches[2]",
        ]
    );
    assert_eq!(findings(&translation, "HTTPRoute/two"), ["ingress-backend spec.rules[0].backendRefs[0]"]);
}

#[test]
fn what_the_outside_reaches_is_published_on_the_environments_own_address() {
    let yaml = r#"
apiVersion: v1
kind: Service
metadata: {name: lb}
spec: {type: LoadBalancer, ports: [{port: 5432, nodePort: 30001}, {port: 53, protocol: UDP, name: dns}]}
---
apiVersion: v1
kind: Service
metadata: {name: node}
spec: {type: NodePort, ports: [{port: 80, nodePort: 30080}]}
---
apiVersion: v1
kind: Service
metadata: {name: again}
spec: {type: LoadBalancer, ports: [{port: 5432}]}
"#;
    let translation = translated(yaml);
    let address = Loopback::of("album-aki").address;
    assert!(address.is_loopback() && address.octets()[1] != 0);
    assert_ne!(address, Loopback::of("album-bob").address);
    let ports: Vec<_> = service(&translation, "envctl-gateway")["ports"]
        .as_array()
        .unwrap()
        .iter()
        .map(|port| {
            format!("{} {} {}", port["host_ip"], port["published"], port["protocol"]).replace('"', "")
        })
        .collect();
    assert_eq!(
        ports,
        [format!("{address} 5432 tcp"), format!("{address} 53 udp"), format!("{address} 30080 tcp")]
    );
    let gateway: GatewayConfig = config(&translation, "envctl-gateway");
    let targets: Vec<_> =
        gateway.published.iter().map(|one| (one.listen, one.service.as_str(), one.port)).collect();
    assert_eq!(targets, [(30000, "lb", 5432), (30001, "lb", 53), (30002, "node", 80)]);
    let again = translation.findings.iter().find(|finding| finding.object == "Service/again").unwrap();
    assert_eq!(again.message, "LoadBalancer is reachable inside of the environment only: port 5432 is taken");

    let mut input = input(parse(yaml, "t").unwrap(), OLD_ENGINE);
    input.environment.loopback = None;
    let nowhere = translate(&input).unwrap();
    assert_eq!(service(&nowhere, "envctl-gateway").get("ports"), None);
    assert_eq!(findings(&nowhere, "Service/node"), ["external-service spec.type"]);
}
