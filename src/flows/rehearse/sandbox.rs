//! The sandbox of a rehearsal: both sides, what they share, and what is between them.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use envctl_local::balancer;
use envctl_local::machines::{Machines, MachinesSpec};
use envctl_model::Event;
use envctl_model::cutover::plan::{ClientKind, Fault};
use envctl_model::cutover::{CutoverPlan, FaultKind, Side};
use envctl_model::facts::Facts;
use envctl_model::receipt::Receipt;
use envctl_model::stack::TargetKind;
use envctl_programs::process::Supervisor;
use envctl_rehearse::Recorder;
use envctl_rehearse::evidence::TerraformIdentity;
use envctl_rehearse::load::Resolver;
use envctl_rehearse::proxy::Proxy;
use http::HeaderValue;

use super::kept::Held;
use super::new::{Checked, Environment, New};
use super::old::{Old, failed};
use super::plan::Loaded;
use super::router::{self, Parts, SandboxRouter};
use super::stage::Name;
use crate::config::Base;
use crate::flows::local::machine::{Machine, explain};
use crate::flows::moving::PATIENCE;
use crate::flows::run::Screen;
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
    /// The environment that the new side is.
    pub(super) environment: Environment<'a>,
}

/// What is known of the new side, once it is up.
pub(super) struct Delivered {
    /// All facts, Terraform's outputs among them.
    pub(super) facts: Facts,
    /// The same check that `up` made, after it.
    pub(super) checked: Checked,
    /// What Terraform made it with, if anything.
    pub(super) terraform: Option<TerraformIdentity>,
}

impl Making<'_> {
    fn supervisor(&self) -> Supervisor {
        Supervisor { signals: self.environment.interrupts.signals.clone(), ..Supervisor::default() }
    }

    /// Checks all that can be checked before anything is made.
    pub(super) async fn check(&self) -> Result<(Machine, Checked), Failure> {
        let connected = Machine::connect(self.environment.base, None);
        let (machine, checked) = tokio::try_join!(connected, self.environment.check())?;
        machine.compose_version().await?;
        Ok((machine, checked))
    }

    /// Brings the new side up, as `up` does.
    pub(super) async fn new_side(&self, checked: Checked) -> Result<(New, Delivered), Failure> {
        self.environment.up(checked).await?;
        let delivered = self.delivered().await?;
        Ok((self.environment.new_side(&delivered.checked).await?, delivered))
    }

    /// What is known of a new side that is up.
    pub(super) async fn delivered(&self) -> Result<Delivered, Failure> {
        let checked = self.environment.check().await?;
        let (facts, terraform) = (self.environment.facts(&checked)?, self.environment.terraform(&checked)?);
        Ok(Delivered { facts, checked, terraform })
    }

    /// Brings the old side up, with all facts of the sandbox as variables of its Compose file.
    pub(super) async fn old_side(
        &self,
        machine: &Machine,
        held: &Held,
        delivered: &Delivered,
    ) -> Result<Old, Failure> {
        let loaded = self.environment.loaded;
        let plan = &loaded.plan;
        let spec = MachinesSpec {
            project: held.kept.name.clone(),
            file: loaded.old_file(),
            service: plan.old.service.clone(),
            tools: tools(loaded),
            instances: u32::from(plan.old.instances),
            identity: held.kept.identity.clone(),
            facts: variables(&delivered.facts),
            networks: delivered.checked.networks(),
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
        let Environment { loaded, .. } = self.environment;
        if !loaded.has_requests() {
            return Ok(Between::default());
        }
        let network = old.network().await.map_err(failed)?;
        let router = match &loaded.plan.router {
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
        let exposed = new.expose(&loaded.plan).await?;
        let mut proxy = None;
        if let (Some(router), Some(ports)) = (&router, held.kept.ports) {
            proxy = self::proxy(loaded, machine, &network, ports.proxy, exposed).await?;
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
/// because it is one thing more between the sides than production has; and in a draft, because Docker lets no container
/// of one network through to another one.
async fn proxy(
    loaded: &Loaded,
    machine: &Machine,
    network: &str,
    port: u16,
    exposed: SocketAddr,
) -> Result<Option<Proxy>, Failure> {
    let needs = |fault: &Fault| matches!(fault.inject, FaultKind::SlowNew | FaultKind::NetworkPartition);
    if loaded.target != TargetKind::Compose && !loaded.plan.faults.iter().any(needs) {
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

impl Sandbox {
    /// The sandbox that an earlier process made.
    pub(super) async fn open(
        environment: &Environment<'_>,
        held: &Held,
        delivered: &Delivered,
        recorder: &Recorder,
    ) -> Result<Self, Failure> {
        let Environment { base, loaded, .. } = *environment;
        let machine = Machine::connect(base, None).await?;
        let (plan, kept) = (&loaded.plan, &held.kept);
        let machines = Machines::of(&machine.engine, &kept.name, &plan.old.service, &kept.identity);
        let old = Old { machines, port: plan.old.port };
        let mut new = environment.new_side(&delivered.checked).await?;
        new.remember(&kept.replicas);
        let (mut router, mut proxy) = (None, None);
        if let Some(ports) = kept.ports {
            let network = old.network().await.map_err(failed)?;
            router = Some(SandboxRouter::open(&machine, held, &network, ports, recorder).await?);
            if let Some(exposed) = kept.exposed {
                proxy = self::proxy(loaded, &machine, &network, ports.proxy, exposed).await?;
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
    let hosts = delivered.checked.objects().list.iter().filter(|object| object.kind == "Ingress");
    let hosts: Vec<&str> = hosts
        .flat_map(|object| object.body["spec"]["rules"].as_array().into_iter().flatten())
        .filter_map(|rule| rule["host"].as_str())
        .collect();
    let own = hosts.iter().find(|host| host.split('.').next() == Some(&plan.component)).or(hosts.first());
    HeaderValue::from_str(own.copied().unwrap_or(&plan.component)).map_err(Failure::failed)
}

/// Removes all that a rehearsal made, whoever made it and however far it came.
pub(super) async fn remove(environment: &Environment<'_>, held: &Held) -> Result<(), Failure> {
    let old = remove_old(environment.base, held, environment.screen).await;
    // The new side goes also where the Engine is away.
    environment.remove().await.and(old)?;
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
