//! One pod as Compose services: a sandbox, a seeder where volumes have to be filled, and one service
//! per container.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

use envctl_model::finding::Severity;
use envctl_model::labels::{PROBES, Role, VARIABLES};
use envctl_wire::{ProbeKind, SEED_FILE, SeedConfig, SeedVolume};

use crate::compose::{Condition, ConfigMount, Dependency, HealthCheck, Mount, Service, VolumeOptions};
use crate::container;
use crate::cursor::{Cursor, Remark};
use crate::downward::Downward;
use crate::environment::{self, Variables};
use crate::input::Input;
use crate::live;
use crate::output::PodService;
use crate::probe::{self, Probes};
use crate::revision;
use crate::sandbox;
use crate::store::Store;
use crate::volume::{self, Builder, Layout, Request, SubPaths, Volume};
use crate::workload::{PodPlan, Restart};

static NO_LINKS: BTreeMap<String, String> = BTreeMap::new();

/// A pod whose variables and mounts are known, before volumes are laid out: that needs all pods.
#[derive(Debug)]
pub(crate) struct Prepared<'p, 'a> {
    pub(crate) plan: &'p PodPlan<'a>,
    downward: Downward<'p, 'a>,
    containers: Vec<PreparedContainer<'p, 'a>>,
    volumes: BTreeMap<&'a str, Volume>,
}

#[derive(Debug)]
struct PreparedContainer<'p, 'a> {
    at: Cursor<'a>,
    name: &'a str,
    step: Step,
    variables: Variables<'p>,
    requests: Vec<Request<'a>>,
}

/// The place of a container in the pod's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// Runs to completion before the next.
    Init,
    /// An init container with `restartPolicy: Always`: keeps running.
    Sidecar,
    Main,
}

/// A pod's part of the Compose file.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) services: Vec<(PodService, Service)>,
    pub(crate) layout: Layout,
    /// Content of the seeder's config, by its key.
    pub(crate) seed: Option<(String, String)>,
    pub(crate) hash: String,
}

impl<'p, 'a> Prepared<'p, 'a> {
    pub(crate) fn new(
        downward: Downward<'p, 'a>,
        store: &Store<'a>,
        links: &'p BTreeMap<String, String>,
        claims: &BTreeSet<(String, String)>,
    ) -> Self {
        let plan = downward.pod;
        let spec = &plan.spec;
        let links = if spec.get("enableServiceLinks").boolean().unwrap_or(true) { links } else { &NO_LINKS };
        let init = spec.get("initContainers").items().into_iter().map(|at| {
            let sidecar = at.get("restartPolicy").string() == Some("Always");
            (at, if sidecar { Step::Sidecar } else { Step::Init })
        });
        let main = spec.get("containers").items().into_iter().map(|at| (at, Step::Main));
        let containers = init
            .chain(main)
            .map(|(at, step)| {
                let variables = environment::variables(&at, &downward, store, links);
                let requests = volume::requests(&at, &variables);
                PreparedContainer { name: at.get("name").required(), at, step, variables, requests }
            })
            .collect();
        Self { plan, downward, containers, volumes: volume::volumes(&downward, store, claims) }
    }

    pub(crate) fn gather(&self, sub_paths: &mut SubPaths) {
        for container in &self.containers {
            volume::gather(&self.volumes, &container.requests, sub_paths);
        }
    }

    pub(crate) fn build(self, input: &Input, gateway: Ipv4Addr, sub_paths: &SubPaths) -> Built {
        let Self { plan, downward, containers, volumes } = self;
        let spec = &plan.spec;
        namespaces(spec);
        let mut builder = Builder {
            volumes: &volumes,
            sub_paths,
            fs_group: spec.at(&["securityContext", "fsGroup"]).number(),
            engine_subpaths: input.engine.mounts_subpaths(),
            host_files: input.host_files.as_deref(),
            layout: Layout::default(),
        };
        let mut members = Vec::new();
        let (mut network_probes, mut health_checks) = (Vec::new(), Vec::new());
        let mut live = input.live.iter().find(|live| live.workload == plan.workload);
        for container in &containers {
            let Probes { network, exec, health, counts } =
                probe::read(&container.at, container.name, &input.engine, &input.warden);
            if container.step == Step::Sidecar && network.iter().any(|probe| probe.kind == ProbeKind::Startup)
            {
                container.at.get("startupProbe").remark(Remark::approximated(
                    Severity::Minor,
                    "sidecar-order",
                    "what comes after the sidecar does not wait for it; the pod's readiness does",
                ));
            }
            network_probes.extend(network);
            // What has ended is not healthy any more.
            health_checks.extend(counts.filter(|_| container.step != Step::Init));
            let mut service = container::service(spec, &container.at, &container.variables, &input.engine);
            service.volumes = container.requests.iter().flat_map(|request| builder.mounts(request)).collect();
            if !exec.is_empty() {
                service.labels.insert(PROBES.to_owned(), sandbox::json(&exec));
            }
            if let Some(live) = live.take_if(|_| container.step == Step::Main) {
                live::apply(spec, &container.at, live, &mut service);
            }
            join(spec, &plan.name, &mut service);
            service.restart = Some(restart(container.step, plan.restart).compose());
            let health_is_own = health.is_some();
            service.healthcheck = health.or(Some(HealthCheck::Disabled { disable: true }));
            let role = match container.step {
                Step::Init => Role::Init,
                Step::Sidecar => Role::Sidecar,
                Step::Main => Role::Container,
            };
            let member = PodService {
                service: format!("{}.{}", plan.name, container.name),
                container: Some(container.name.to_owned()),
                role,
                image: service.image.clone(),
                health: health_is_own,
            };
            members.push((member, service, container.step));
        }
        let layout = builder.layout;
        let mut sandbox = sandbox::service(input, &downward, gateway, network_probes, health_checks);
        sandbox.volumes = layout.held.iter().map(|key| mount(key, format!("/held/{key}"))).collect();
        if spec.get("hostIPC").boolean() == Some(true) {
            sandbox.ipc = Some("host".to_owned());
        }
        let seed = seed_config(&plan.name, &layout);
        let mut services = vec![(agent_service(&plan.name, Role::Sandbox, input), sandbox)];
        if let Some((key, _)) = &seed {
            services.push((agent_service(key, Role::Seeder, input), seeder(input, &plan.name, key, &layout)));
        }
        order(&plan.name, seed.as_ref().map(|(key, _)| key.as_str()), &mut members);
        services.extend(members.into_iter().map(|(member, service, _)| (member, service)));
        let hash = revision::hash(input, plan, &services, &layout, seed.as_ref());
        // After the hash: a new Service does not replace running pods, here as on a cluster.
        for (member, service) in &mut services {
            if let Some(own) =
                containers.iter().find(|container| Some(container.name) == member.container.as_deref())
            {
                let told = revision::told(input, &own.variables.declared, service);
                service.labels.insert(VARIABLES.to_owned(), told);
                let mut environment = own.variables.links.clone();
                environment.append(&mut service.environment);
                service.environment = environment;
            }
        }
        Built { services, layout, seed, hash }
    }
}

fn agent_service(service: &str, role: Role, input: &Input) -> PodService {
    PodService {
        service: service.to_owned(),
        container: None,
        role,
        image: input.agent_image.clone(),
        health: role == Role::Sandbox,
    }
}

/// Findings for namespaces that the pod takes from the host.
fn namespaces(spec: &Cursor<'_>) {
    for (field, what) in [("hostPID", "sees all processes"), ("hostIPC", "shares the memory segments")] {
        if spec.get(field).boolean() == Some(true) {
            spec.get(field).remark(Remark::approximated(
                Severity::Critical,
                "host-namespace",
                format!("the pod {what} of the machine that runs Docker"),
            ));
        }
    }
    if spec.get("automountServiceAccountToken").boolean() == Some(true) {
        spec.get("automountServiceAccountToken").remark(Remark::dropped(
            Severity::Major,
            "no-api-server",
            "no token is mounted: there is no API server",
        ));
    }
    spec.get("serviceAccountName").take();
}

/// Lets a container share what the pod's containers share.
fn join(spec: &Cursor<'_>, sandbox: &str, service: &mut Service) {
    service.network_mode = Some(format!("service:{sandbox}"));
    let host = |field: &'static str| spec.get(field).boolean() == Some(true);
    service.ipc = Some(if host("hostIPC") { "host".to_owned() } else { format!("service:{sandbox}") });
    if host("hostPID") {
        service.pid = Some("host".to_owned());
    } else if host("shareProcessNamespace") {
        service.pid = Some(format!("service:{sandbox}"));
    }
}

fn restart(step: Step, pod: Restart) -> Restart {
    match (step, pod) {
        (Step::Sidecar, _) => Restart::Always,
        (Step::Init, Restart::Always) => Restart::OnFailure(None),
        (_, policy) => policy,
    }
}

/// Init containers run one after another, each sidecar is started before what follows it, and the
/// main containers come last.
fn order(sandbox: &str, seeder: Option<&str>, members: &mut [(PodService, Service, Step)]) {
    let mut needed: BTreeMap<String, Dependency> =
        [(sandbox.to_owned(), Dependency::tied(Condition::Started))].into();
    if let Some(seeder) = seeder {
        needed.insert(seeder.to_owned(), Dependency::after(Condition::Completed));
    }
    for (member, service, step) in members {
        service.depends_on.clone_from(&needed);
        let condition = match step {
            Step::Init => Condition::Completed,
            Step::Sidecar if member.health => Condition::Healthy,
            Step::Sidecar => Condition::Started,
            Step::Main => continue,
        };
        needed.insert(member.service.clone(), Dependency::after(condition));
    }
}

fn mount(volume: &str, target: String) -> Mount {
    let volume_options = VolumeOptions { nocopy: true, subpath: None };
    Mount::Volume { source: volume.to_owned(), target, read_only: false, volume: volume_options }
}

fn seed_mount(index: usize) -> String {
    format!("/seed/{index}")
}

/// Key and content of the seeder's configuration; `None` if there is nothing to fill.
fn seed_config(pod: &str, layout: &Layout) -> Option<(String, String)> {
    if layout.seeds.is_empty() {
        return None;
    }
    let volumes = layout
        .seeds
        .values()
        .enumerate()
        .map(|(index, seed)| SeedVolume { mount: seed_mount(index), ..seed.clone() })
        .collect();
    Some((format!("{pod}.envctl-seed"), sandbox::json(&SeedConfig { volumes, refresh: false })))
}

fn seeder(input: &Input, sandbox: &str, key: &str, layout: &Layout) -> Service {
    let mut service = sandbox::agent(input, "seed");
    service.user = Some("0".to_owned());
    service.network_mode = Some("none".to_owned());
    service.restart = Some("no".to_owned());
    service.volumes =
        layout.seeds.keys().enumerate().map(|(index, key)| mount(key, seed_mount(index))).collect();
    service.configs = vec![ConfigMount { source: key.to_owned(), target: SEED_FILE.to_owned() }];
    service.healthcheck = Some(HealthCheck::Disabled { disable: true });
    // The sandbox holds the volumes in memory.
    service.depends_on.insert(sandbox.to_owned(), Dependency::tied(Condition::Started));
    service
}
