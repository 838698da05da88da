//! The sandbox of a rehearsal: both sides, what they share, and what is between them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use envctl_cluster::live::expose::{self, Exposed};
use envctl_local::balancer;
use envctl_local::machines::{Machines, MachinesSpec};
use envctl_model::Event;
use envctl_model::cutover::plan::{ClientKind, Fault};
use envctl_model::cutover::{CutoverPlan, FaultKind, Side};
use envctl_model::facts::Facts;
use envctl_model::name::EnvironmentName;
use envctl_model::receipt::Receipt;
use envctl_programs::process::Supervisor;
use envctl_rehearse::Recorder;
use envctl_rehearse::load::Resolver;
use envctl_rehearse::proxy::Proxy;
use http::HeaderValue;

use super::kept::Held;
use super::plan::Loaded;
use super::router::{self, Parts, SandboxRouter};
use super::sides::{New, Old, failed};
use super::stage::Name;
use crate::config::{Base, Settings};
use crate::flows::cluster::target::{Destination, explain as cluster_explain};
use crate::flows::cluster::{down, up as cluster_up};
use crate::flows::interrupts::Interrupts;
use crate::flows::known;
use crate::flows::local::machine::{Machine, explain};
use crate::flows::moving::PATIENCE;
use crate::flows::run::Screen;
use crate::flows::terraform::Place;
use crate::flows::up::{Call, Options};
use crate::ui::Failure;

/// Both sides and what is between them.
pub(super) struct Sandbox {
    /// The old side.
    pub(super) old: Old,
    /// The new side.
    pub(super) new: New,
    /// How the new side is reached from this machine; for services and endpoints.
    pub(super) exposed: Option<SocketAddr>,
    /// What sends requests to either.
    pub(super) router: Option<SandboxRouter>,
    /// What stands between router and new side, where the plan has a fault that needs it.
    pub(super) proxy: Option<Proxy>,
}

/// What the sandbox is made with.
pub(super) struct Making<'a> {
    /// Flags, variables, programs; of the sandbox's environment.
    pub(super) base: &'a Base,
    /// Name, target and the like of the sandbox's environment.
    pub(super) settings: &'a Settings,
    /// The plan.
    pub(super) loaded: &'a Loaded,
    /// Ctrl-C.
    pub(super) interrupts: &'a Interrupts,
    /// Where to publish.
    pub(super) screen: &'a Screen,
}

/// What is known of the new side, once it is up.
pub(super) struct Delivered {
    /// All facts, Terraform's outputs among them.
    pub(super) facts: Facts,
    /// The same check that `up` made, after it.
    pub(super) checked: cluster_up::Checked,
}

/// How long the new side may take to come up.
const UP_WITHIN: Duration = Duration::from_secs(600);

impl Making<'_> {
    fn options(&self) -> Options {
        Options {
            set: Vec::new(),
            values: self.loaded.values(),
            images: None,
            image: BTreeMap::new(),
            yes: true,
            rollback: false,
            timeout: UP_WITHIN,
            schedule_grace: Duration::from_secs(60),
        }
    }

    fn supervisor(&self) -> Supervisor {
        Supervisor { signals: self.interrupts.signals.clone(), ..Supervisor::default() }
    }

    /// Checks all that can be checked before anything is made.
    pub(super) async fn check(&self) -> Result<Machine, Failure> {
        let options = self.options();
        let checked = cluster_up::check(self.base, &self.loaded.project, self.settings, &options);
        let (machine, _) = tokio::try_join!(Machine::connect(self.base, None), checked)?;
        machine.compose_version().await?;
        Ok(machine)
    }

    /// Brings the new side up, as `up` does.
    pub(super) async fn new_side(&self) -> Result<(New, Delivered), Failure> {
        let options = self.options();
        let call = Call {
            base: self.base,
            project: &self.loaded.project,
            settings: self.settings,
            options: &options,
            interrupts: self.interrupts,
            screen: self.screen,
            begun: Instant::now(),
        };
        cluster_up::up(call).await?;
        let delivered = self.delivered().await?;
        let name = self.settings.name.value.as_str();
        let new = New::find(delivered.checked.cluster.clone(), name, &self.loaded.plan).await?;
        Ok((new, delivered))
    }

    /// What is known of a new side that is up.
    pub(super) async fn delivered(&self) -> Result<Delivered, Failure> {
        let Self { base, settings, loaded, .. } = *self;
        let checked = cluster_up::check(base, &loaded.project, settings, &self.options()).await?;
        let target = &loaded.project.file.stack.targets[&settings.target.value];
        let outputs = Place::of(&checked.home).outputs(&checked.home)?;
        let facts = known::with_outputs(checked.facts(base, target, settings), &outputs);
        Ok(Delivered { facts, checked })
    }

    /// Brings the old side up, with all facts of the sandbox as variables of its Compose file.
    pub(super) async fn old_side(
        &self,
        machine: &Machine,
        held: &Held,
        facts: &Facts,
    ) -> Result<Old, Failure> {
        let plan = &self.loaded.plan;
        let spec = MachinesSpec {
            project: held.kept.name.clone(),
            file: self.loaded.old_file(),
            service: plan.old.service.clone(),
            tools: tools(self.loaded),
            instances: u32::from(plan.old.instances),
            identity: held.kept.identity.clone(),
            facts: variables(facts),
            networks: Vec::new(),
            within: PATIENCE,
        };
        let up = Machines::up(&machine.engine, &machine.cli, &self.supervisor(), &spec, |_, _| ()).await;
        let machines = up.map_err(|e| Failure::Failed(format!("the old side does not come up: {e}")))?;
        Ok(Old { machines, port: plan.old.port })
    }

    /// Starts the router, which sends everything to the old side, and lets it and this machine in to the new one.
    pub(super) async fn between(
        &self,
        machine: &Machine,
        held: &mut Held,
        old: &Old,
        new: &New,
        recorder: &Recorder,
    ) -> Result<Between, Failure> {
        if !self.loaded.has_requests() {
            return Ok(Between::default());
        }
        let network = old.network().await.map_err(failed)?;
        let router = match &self.loaded.plan.router {
            None => None,
            Some(wanted) => {
                let ports = router::free_ports()?;
                held.kept.ports = Some(ports);
                held.save()?;
                let by = self.supervisor();
                let image = balancer::image(&machine.engine, &machine.cli, &by, |_, _| ()).await;
                let image = image.map_err(Failure::failed)?;
                let old = old.addresses().await.map_err(failed)?;
                let kept = &held.kept;
                let parts = Parts { wanted, image: &image, kept, network: &network, old, ports };
                Some(SandboxRouter::up(machine, &held.home, recorder, parts).await?)
            }
        };
        let exposed = expose(new, &self.loaded.plan).await?;
        let mut proxy = None;
        if let (Some(router), Some(ports)) = (&router, held.kept.ports) {
            proxy = self::proxy(&self.loaded.plan, machine, &network, ports.proxy, exposed).await?;
            let way = proxy.as_ref().map_or(exposed, Proxy::address);
            router.router.set_addresses(Side::New, &[way]).await.map_err(Failure::failed)?;
        }
        Ok(Between { exposed: Some(exposed), router, proxy })
    }
}

/// What is between clients and sides.
#[derive(Default)]
pub(super) struct Between {
    /// Where the new side is reached.
    pub(super) exposed: Option<SocketAddr>,
    /// What sends requests to either side.
    pub(super) router: Option<SandboxRouter>,
    /// What can be broken before the new side.
    pub(super) proxy: Option<Proxy>,
}

/// A proxy before the new side, at the address by which the router reaches this machine: only where a fault needs it,
/// because it is one thing more between the sides than production has.
async fn proxy(
    plan: &CutoverPlan,
    machine: &Machine,
    network: &str,
    port: u16,
    exposed: SocketAddr,
) -> Result<Option<Proxy>, Failure> {
    let needs = |fault: &Fault| matches!(fault.inject, FaultKind::SlowNew | FaultKind::NetworkPartition);
    if !plan.faults.iter().any(needs) {
        return Ok(None);
    }
    let gateway = balancer::gateway(&machine.reader, network).await.map_err(Failure::failed)?;
    Proxy::start(SocketAddr::new(gateway, port), exposed).map(Some).map_err(Failure::failed)
}

/// Services of the old side's Compose file in which tools run.
fn tools(loaded: &Loaded) -> Vec<String> {
    let plan = &loaded.plan;
    let work = plan.work.iter().flat_map(|work| [&work.enqueue, &work.ledger]);
    let timetable = plan.timetable.iter().flat_map(|table| [&table.ledger, &table.arm, &table.disarm]);
    let faults = plan.faults.iter().filter_map(|fault| fault.with.as_ref());
    let mut services: Vec<_> = work.chain(timetable).chain(faults).map(|tool| tool.service.clone()).collect();
    services.sort();
    services.dedup();
    services
}

/// Facts as variables: `terraform.database_host` is `TERRAFORM_DATABASE_HOST`.
fn variables(facts: &Facts) -> BTreeMap<String, String> {
    let value = |name: &str| {
        let value = facts.render(&format!("{{{{ {name} }}}}")).ok()?.value;
        Some(value.as_str().map_or_else(|| value.to_string(), str::to_owned))
    };
    let names = facts.names();
    let variable = |name: &String| Some((name.to_uppercase().replace(['.', '-'], "_"), value(name)?));
    names.iter().filter_map(variable).collect()
}

/// Opens the new side's way in for the router and for this machine, and says where it is.
async fn expose(new: &New, plan: &CutoverPlan) -> Result<SocketAddr, Failure> {
    let Some(workload) = new.workloads.replicas.keys().next() else {
        return Err(Failure::Usage(format!(
            "the chart has no workload for `{}` that answers",
            plan.component
        )));
    };
    let nodes = expose::nodes(new.cluster.reader()).await.map_err(|e| cluster_explain(&e))?;
    // What the router sends leaves this machine under the same address.
    let callers: Vec<IpAddr> = nodes.iter().filter_map(|node| balancer::seen_from(*node).ok()).collect();
    let exposed = expose::expose(&new.cluster, &new.namespace, workload, &callers).await;
    let Exposed { nodes, ports, .. } = exposed.map_err(|e| cluster_explain(&e))?;
    let of_old = plan.old.port.and_then(|port| ports.get(&port));
    match (nodes.first(), of_old.or_else(|| ports.values().next())) {
        (Some(node), Some(port)) => Ok(SocketAddr::new(*node, *port)),
        _ => Err(Failure::Failed(format!("the cluster has no node at which {workload} could be reached"))),
    }
}

impl Sandbox {
    /// The sandbox that an earlier process made.
    pub(super) async fn open(
        base: &Base,
        loaded: &Loaded,
        held: &Held,
        delivered: &Delivered,
        recorder: &Recorder,
    ) -> Result<Self, Failure> {
        let machine = Machine::connect(base, None).await?;
        let (plan, kept) = (&loaded.plan, &held.kept);
        let machines = Machines::of(&machine.engine, &kept.name, &plan.old.service, &kept.identity);
        let old = Old { machines, port: plan.old.port };
        let mut new = New::find(delivered.checked.cluster.clone(), &kept.name, plan).await?;
        new.workloads.replicas.clone_from(&kept.replicas);
        let (mut router, mut proxy) = (None, None);
        if let Some(ports) = kept.ports {
            let network = old.network().await.map_err(failed)?;
            router = Some(SandboxRouter::open(&machine, held, &network, ports, recorder).await?);
            if let Some(exposed) = kept.exposed {
                proxy = self::proxy(plan, &machine, &network, ports.proxy, exposed).await?;
            }
        }
        Ok(Self { old, new, exposed: kept.exposed, router, proxy })
    }

    /// Where the load goes. The name of an endpoint leads now here, now there.
    pub(super) async fn resolver(&self, name: &Name) -> Result<Resolver, Failure> {
        if let Some(router) = &self.router {
            let at = router.requests;
            return Ok(Arc::new(move |_: ClientKind| at));
        }
        let (old, new) = (self.old.addresses().await.map_err(failed)?, self.exposed);
        let (Some(old), Some(new)) = (old.first().copied(), new) else {
            return Err(Failure::Failed(
                "the plan has no `old.port` at which the old side answers".to_owned(),
            ));
        };
        let name = name.clone();
        Ok(Arc::new(move |_: ClientKind| match name.side() {
            Side::Old => old,
            Side::New => new,
        }))
    }
}

/// What the load asks for in `Host`: the component's own host, if it has one.
pub(super) fn host(delivered: &Delivered, plan: &CutoverPlan) -> Result<HeaderValue, Failure> {
    let hosts = delivered.checked.objects.list.iter().filter(|object| object.kind == "Ingress");
    let hosts: Vec<&str> = hosts
        .flat_map(|object| object.body["spec"]["rules"].as_array().into_iter().flatten())
        .filter_map(|rule| rule["host"].as_str())
        .collect();
    let own = hosts.iter().find(|host| host.split('.').next() == Some(&plan.component)).or(hosts.first());
    HeaderValue::from_str(own.copied().unwrap_or(&plan.component)).map_err(Failure::failed)
}

/// Removes all that a rehearsal made, whoever made it and however far it came.
pub(super) async fn remove(
    base: &Base,
    destination: &Destination,
    name: &EnvironmentName,
    held: &Held,
    interrupts: &Interrupts,
    screen: &Screen,
) -> Result<(), Failure> {
    let old = remove_old(base, held, screen).await;
    let options = down::Options::within(DOWN_WITHIN);
    // The new side goes also where the Engine is away.
    down::remove(base, destination, name, &options, interrupts, screen).await.and(old)?;
    held.home.remove()
}

/// Removes what is on the Engine: the old side, and the router.
async fn remove_old(base: &Base, held: &Held, screen: &Screen) -> Result<(), Failure> {
    let machine = Machine::connect(base, None).await?;
    let kept = &held.kept;
    let mut receipt = Receipt::new(&kept.name);
    if kept.ports.is_some() {
        let (end, item) = SandboxRouter::remove(&machine, &kept.name).await?;
        receipt.add(end, item);
    }
    let machines = Machines::of(&machine.engine, &kept.name, "", &kept.identity);
    for (end, item) in machines.remove().await.map_err(|e| explain(&e))? {
        receipt.add(end, item);
    }
    let left = !receipt.left.is_empty();
    if receipt.items().next().is_some() {
        screen.show(Event::Receipt(receipt));
    }
    if left { Err(Failure::Left) } else { Ok(()) }
}

/// How long the new side may take to go.
const DOWN_WITHIN: Duration = Duration::from_secs(300);
