//! From objects to a Compose file: the path of data.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use envctl_model::finding::{Fate, Severity};
use envctl_model::labels::Role;
use envctl_wire::{BackingService, PathMatch, Route, RouteTarget};

use crate::address::Division;
use crate::compose;
use crate::cursor::{Cursor, Notes, Remark};
use crate::downward::Downward;
use crate::error::{Problem, SubnetFull, TranslateError};
use crate::gateway::{self, Served};
use crate::hook::{self, Schedule};
use crate::http_route::{self, Listeners};
use crate::input::{BackingInput, Input};
use crate::kinds::{Kind, Workload};
use crate::names::{Names, hex_digest};
use crate::objects::Object;
use crate::output::{HostFile, Phase, Pod, Translation, Url};
use crate::pod::{Built, Prepared};
use crate::service::{Access, Endpoints, ServicePlan};
use crate::store::{Source, Store};
use crate::volume::{self, SubPaths};
use crate::workload::{self, PodPlan};
use crate::{carried, certificate, ingress, labels, leftover, limit_range, order, published, warden};

/// Translates Kubernetes objects into a Compose file.
///
/// # Errors
/// All that the API server or the kubelet would refuse as well, such as fields of a wrong type or
/// references to Secrets that do not exist; and a network that is too small.
pub fn translate(input: &Input) -> Result<Translation, Vec<TranslateError>> {
    let notes = Notes::default();
    let objects = limit_range::defaulted(&input.objects, &input.environment.namespace);
    let translation = with_notes(input, &objects, &notes);
    let findings = notes.finish()?;
    let translation = translation.map_err(|full| vec![full.into()])?;
    let whole = findings.iter().filter(|finding| finding.fate == Fate::Dropped && finding.path.is_empty());
    let (dropped, carried) = (whole.count(), carried::count(&input.objects, &findings));
    Ok(Translation { dropped, carried, findings, ..translation })
}

/// The objects, sorted by what becomes of them.
struct Sorted<'a> {
    store: Store<'a>,
    workloads: Vec<(Workload, Cursor<'a>, String, Phase)>,
    services: Vec<ServicePlan<'a>>,
    endpoints: Vec<Endpoints<'a>>,
    ingresses: Vec<(Cursor<'a>, String)>,
    http_routes: Vec<(Cursor<'a>, String)>,
    listeners: Listeners<'a>,
    /// Hosts of Gateways that have TLS.
    secured: BTreeSet<String>,
    /// Namespace and name.
    claims: BTreeSet<(String, String)>,
}

fn with_notes(input: &Input, objects: &[Object], notes: &Notes) -> Result<Translation, SubnetFull> {
    let mut sorted = sort(input, objects, notes);
    let pods = plan(&mut sorted.workloads);
    let division = Division::of(input.network.subnet);
    let addresses = division.pods(&pods.iter().map(|pod| pod.name.clone()).collect())?;
    let vips = division.services(&virtual_names(&sorted.services, input))?;
    let links = links(&sorted.services, &vips, notes);

    let mut file = compose::File { name: input.environment.project.clone(), ..compose::File::default() };
    let (mut described, host_files) = build(input, &sorted, &pods, &addresses, division, &links, &mut file);

    let mut urls = BTreeSet::new();
    let mut routes: Vec<Route> = sorted
        .ingresses
        .iter()
        .flat_map(|(root, namespace)| ingress::routes(root, namespace, &sorted.services, &mut urls))
        .collect();
    routes.extend(sorted.http_routes.iter().flat_map(|(root, namespace)| {
        http_route::routes(root, namespace, &sorted.listeners, &sorted.services, &mut urls)
    }));
    routes.extend(backing(input).filter_map(|service| backing_route(service, &mut urls)));
    // Runs of CronJobs come and go: no Service leads to one.
    let running: Vec<_> = pods.iter().filter(|pod| pod.schedule.is_none()).cloned().collect();
    let services: Vec<_> = sorted
        .services
        .iter()
        .map(|service| {
            service.wire(vips.get(&service.key()).copied(), &running, &addresses, &sorted.endpoints)
        })
        .collect();
    let published = published::plan(&sorted.services, input.environment.loopback.as_ref());
    let served = Served {
        services: services.clone(),
        backing: backing(input).filter_map(|service| backing_service(service, &vips)).collect(),
        routes,
        published: published.listening,
        ports: published.ports,
    };
    let of_ingresses = sorted.ingresses.iter().flat_map(|(root, _)| ingress::secured(root));
    let secured = of_ingresses.chain(std::mem::take(&mut sorted.secured)).collect();
    gateway::add(input, division, served, &mut file);
    if let Some(gateway) = file.services.get_mut(gateway::GATEWAY) {
        let hash = hex_digest(gateway.to_value().to_string().as_bytes());
        let content = file.configs.get(gateway::GATEWAY).map(|content| hex_digest(content.as_bytes()));
        gateway.labels =
            labels::role(input, Role::Gateway, &format!("{hash}{}", content.unwrap_or_default()));
    }
    warden::add(input, &mut file, notes);
    let is_template = |pod: &mut Pod| running.iter().all(|own| own.name != pod.name);
    let templates = described.extract_if(.., is_template).collect();
    let after = pods.iter().filter_map(|pod| Some((pod.name.as_str(), pod.after.as_ref()?))).collect();
    order::arrange(&described, &after, &mut file.services);
    for object in objects {
        leftover::report(object, notes);
    }
    Ok(Translation {
        compose: file.to_value(),
        host_files: host_files.into_iter().collect(),
        pods: described,
        templates,
        services,
        findings: Vec::new(),
        urls: urls.into_iter().collect(),
        secured,
        published: published.told,
        objects: objects.len(),
        dropped: 0,
        carried: 0,
    })
}

fn sort<'a>(input: &Input, objects: &'a [Object], notes: &'a Notes) -> Sorted<'a> {
    let mut sorted = Sorted {
        store: Store::new(input.missing_references),
        workloads: Vec::new(),
        services: Vec::new(),
        endpoints: Vec::new(),
        ingresses: Vec::new(),
        http_routes: Vec::new(),
        listeners: Listeners::new(),
        secured: BTreeSet::new(),
        claims: BTreeSet::new(),
    };
    let mut seen = BTreeMap::new();
    for object in objects {
        let root = Cursor::new(object, notes);
        let namespace = object.namespace.as_ref().unwrap_or(&input.environment.namespace).clone();
        let identity = (object.group(), object.kind.as_str(), namespace.clone(), object.name.as_str());
        if let Some(first) = seen.insert(identity, object) {
            root.at(&["metadata", "name"]).fail(Problem::Duplicate(first.origin.clone()));
        }
        let kind = Kind::of(object, &input.warden);
        let scheduled = hook::schedule(&root, input.stage);
        let phase = match (&kind, scheduled) {
            (_, Schedule::At(phase)) => phase,
            // Data of a hook may be there from another stage, and pods may refer to it.
            (Kind::ConfigMap | Kind::Secret | Kind::Claim, Schedule::Elsewhere(_)) => Phase::Main,
            (_, Schedule::Elsewhere(remark)) => {
                root.take();
                root.remark(remark);
                continue;
            }
        };
        metadata(&root, &kind);
        match kind {
            Kind::Workload(kind) => {
                // Helm waits for Jobs and Pods among the hooks, and only creates the others.
                let phase = if matches!(kind, Workload::Job | Workload::Pod) { phase } else { Phase::Main };
                sorted.workloads.push((kind, root, namespace, phase));
            }
            Kind::ConfigMap => sorted.store.add(Source::ConfigMap, &namespace, &root),
            Kind::Secret => sorted.store.add(Source::Secret, &namespace, &root),
            Kind::Service => sorted.services.push(ServicePlan::read(&root, namespace)),
            Kind::Endpoints => sorted.endpoints.push(Endpoints::read(&root, namespace)),
            Kind::EndpointSlice => sorted.endpoints.push(Endpoints::read_slice(&root, namespace)),
            Kind::Ingress => sorted.ingresses.push((root, namespace)),
            Kind::HttpRoute => sorted.http_routes.push((root, namespace)),
            Kind::Gateway => {
                let hosts = http_route::listeners(&root, &mut sorted.secured);
                sorted.listeners.insert((namespace, object.name.as_str()), hosts);
            }
            Kind::LimitRange => limit_range::read(&root),
            Kind::Certificate => certificate::read(&root),
            Kind::Claim => {
                volume::claim_spec(&root);
                sorted.claims.insert((namespace, object.name.clone()));
            }
            Kind::Unsupported(remark) => {
                root.take();
                root.remark(remark);
            }
        }
    }
    sorted
}

/// Reads what identifies an object. Annotations are meant for controllers; those of kinds whose
/// behaviour they often change are left for the findings.
fn metadata(root: &Cursor<'_>, kind: &Kind) {
    root.get("apiVersion").take();
    root.get("kind").take();
    let metadata = root.get("metadata");
    for field in ["name", "namespace", "labels"] {
        metadata.get(field).take();
    }
    let telling = matches!(kind, Kind::Service | Kind::Ingress | Kind::HttpRoute | Kind::Gateway);
    for (name, annotation) in metadata.get("annotations").entries() {
        if !telling || name.starts_with("helm.sh/") || name.starts_with("meta.helm.sh/") {
            annotation.take();
        }
    }
}

fn plan<'a>(workloads: &mut [(Workload, Cursor<'a>, String, Phase)]) -> Vec<PodPlan<'a>> {
    // The order in which names are given: it must not depend on the order of templates.
    workloads.sort_by(|(a, a_root, a_namespace, _), (b, b_root, b_namespace, _)| {
        (a, a_namespace, &a_root.object().name).cmp(&(b, b_namespace, &b_root.object().name))
    });
    let mut names = Names::default();
    for own in [gateway::GATEWAY, warden::WARDEN] {
        names.take(own.to_owned(), "", str::to_owned);
    }
    let mut pods: Vec<_> = workloads
        .iter()
        .flat_map(|(kind, root, namespace, phase)| workload::pods(*kind, root, namespace, *phase, &mut names))
        .collect();
    // Helm runs hooks by weight, then kind, then name.
    pods.sort_by(|a, b| (a.phase, &a.workload).cmp(&(b.phase, &b.workload)));
    pods
}

fn backing(input: &Input) -> impl Iterator<Item = &BackingInput> {
    input.backing.iter().flat_map(|backing| &backing.services)
}

fn backing_key(service: &BackingInput) -> String {
    format!("backing:{}", service.name)
}

fn virtual_names(services: &[ServicePlan<'_>], input: &Input) -> BTreeSet<String> {
    let own = services.iter().filter(|service| service.access == Access::ClusterIp).map(ServicePlan::key);
    own.chain(backing(input).map(backing_key)).collect()
}

/// Above this number of Services in a namespace their variables are left out: each container gets
/// seven or more for each of them, so that the Compose file grows with the square.
const LINKED_SERVICES: usize = 100;

/// Services' variables by namespace.
fn links(
    services: &[ServicePlan<'_>],
    vips: &BTreeMap<String, Ipv4Addr>,
    notes: &Notes,
) -> BTreeMap<String, BTreeMap<String, String>> {
    let mut links: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for service in services {
        *counts.entry(&service.namespace).or_default() += 1;
    }
    for (namespace, count) in counts.iter().filter(|(_, count)| **count > LINKED_SERVICES) {
        let message =
            format!("{count} Services: their variables (`NAME_SERVICE_HOST` and so on) are left out");
        let remark = Remark::new(Fate::Dropped, Severity::Minor, "service-links", message)
            .fix("use DNS names, or set `enableServiceLinks: false` as most charts do");
        notes.find(remark.at(format!("Namespace/{namespace}"), String::new()));
    }
    for service in services {
        if counts[service.namespace.as_str()] > LINKED_SERVICES {
            continue;
        }
        if let Some(vip) = vips.get(&service.key()) {
            links.entry(service.namespace.clone()).or_default().extend(service.links(*vip));
        }
    }
    links
}

fn backing_route(service: &BackingInput, urls: &mut BTreeSet<Url>) -> Option<Route> {
    let (host, port) = service.host.clone()?;
    urls.insert(Url { host: host.clone(), path: "/".to_owned(), service: service.name.clone() });
    let to = RouteTarget::Backing { name: service.name.clone(), port };
    Some(Route { host: Some(host), path: "/".to_owned(), match_kind: PathMatch::Prefix, to, rewrite: None })
}

fn backing_service(service: &BackingInput, vips: &BTreeMap<String, Ipv4Addr>) -> Option<BackingService> {
    Some(BackingService {
        name: service.name.clone(),
        upstream: service.upstream.clone(),
        vip: *vips.get(&backing_key(service))?,
        ports: service.ports.clone(),
    })
}

/// Adds the services, volumes and configs of all pods to the file.
fn build(
    input: &Input,
    sorted: &Sorted<'_>,
    pods: &[PodPlan<'_>],
    addresses: &BTreeMap<String, Ipv4Addr>,
    division: Division,
    links: &BTreeMap<String, BTreeMap<String, String>>,
    file: &mut compose::File,
) -> (Vec<Pod>, BTreeSet<HostFile>) {
    let no_links = BTreeMap::new();
    let prepared: Vec<(Prepared<'_, '_>, Ipv4Addr)> = pods
        .iter()
        .filter_map(|pod| {
            let address = *addresses.get(&pod.name)?;
            let downward = Downward {
                pod,
                project: &input.environment.project,
                address,
                host: division.host(),
                engine: &input.engine,
            };
            let links = links.get(&pod.namespace).unwrap_or(&no_links);
            Some((Prepared::new(downward, &sorted.store, links, &sorted.claims), address))
        })
        .collect();
    let mut sub_paths = SubPaths::new();
    for (pod, _) in &prepared {
        pod.gather(&mut sub_paths);
    }
    let mut described = Vec::new();
    let mut host_files = BTreeSet::new();
    for (pod, address) in prepared {
        let plan = pod.plan;
        let Built { services, layout, seed, hash } = pod.build(input, division.gateway(), &sub_paths);
        for (key, volume) in layout.volumes {
            let labels = labels::volume(input, volume.claim.as_deref());
            file.volumes.insert(key, compose::Volume { driver_opts: volume.driver_opts, labels });
        }
        file.configs.extend(seed);
        host_files.extend(layout.host_files);
        let mut members = Vec::new();
        for (member, mut service) in services {
            service.labels.extend(labels::member(input, plan, &member, members.len(), &hash));
            file.services.insert(member.service.clone(), service);
            members.push(member);
        }
        described.push(Pod {
            name: plan.name.clone(),
            workload: plan.workload.clone(),
            namespace: plan.namespace.clone(),
            labels: plan.labels.clone(),
            phase: plan.phase,
            run_once: plan.run_once,
            hash,
            address,
            sandbox: members
                .iter()
                .find(|member| member.role == Role::Sandbox)
                .map_or_else(String::new, |member| member.service.clone()),
            services: members,
        });
    }
    (described, host_files)
}
