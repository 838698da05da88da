//! The new side of a draft: the chart's pods as containers on this machine's Engine.
//!
//! Its Services, their endpoints and probes are the gateway's and the agent's, CronJobs the warden's; signals are the
//! Engine's. That is near Kubernetes, and not Kubernetes: no cutover is permitted by it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use envctl_local::engine::VerifiedEngine;
use envctl_local::pods::{Pod, Pods as OnEngineOnly, PodsError, Which};
use envctl_local::warden;
use envctl_model::cutover::CutoverPlan;
use envctl_model::lifetime::Change;
use envctl_model::log::LogLine;
use envctl_model::selection::{component, means};
use envctl_model::settings::Salt;
use envctl_rehearse::director::Trouble;
use envctl_translate::Object;
use envctl_wire::{Protocol, Service, Suspension};
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use jiff::Timestamp;

use super::{Told, told};
use crate::flows::moving::PATIENCE;
use crate::flows::moving::workloads::Pods;
use crate::ui::Failure;

/// The new side, on this machine's Engine.
#[derive(Clone)]
pub(in crate::flows::rehearse) struct OnEngine {
    engine: VerifiedEngine,
    /// The environment's.
    identity: String,
    pods: OnEngineOnly,
    /// Pods by workload: what the chart wants. A schedule has none.
    pub(super) replicas: BTreeMap<String, i32>,
    /// The component's CronJobs.
    pub(super) cron_jobs: Vec<String>,
    /// The Services that lead to any pod.
    services: Vec<Service>,
    /// The names of all pods.
    names: Vec<String>,
}

impl OnEngine {
    /// Looks for the component's pods in an environment that was brought up with this identity.
    pub(in crate::flows::rehearse) async fn find(
        engine: &VerifiedEngine,
        identity: &str,
        plan: &CutoverPlan,
        objects: &[Object],
        services: Vec<Service>,
    ) -> Result<Self, Failure> {
        let pods = OnEngineOnly::of(engine, identity, Which::Component(plan.component.clone()));
        let pods = pods.with_main(main_container(objects, &plan.component));
        let cron_jobs = cron_jobs(objects, plan);
        let all = match pods.list().await {
            Err(PodsError::None { .. }) if !cron_jobs.is_empty() => Vec::new(),
            Err(error @ PodsError::None { .. }) => return Err(Failure::Usage(error.to_string())),
            all => all.map_err(Failure::failed)?,
        };
        let mut replicas: BTreeMap<String, i32> = BTreeMap::new();
        for Pod { workload, .. } in &all {
            *replicas.entry(workload.clone()).or_default() += 1;
        }
        let names = all.into_iter().map(|pod| pod.name).collect();
        let (engine, identity) = (engine.clone(), identity.to_owned());
        Ok(Self { engine, identity, pods, replicas, cron_jobs, services, names })
    }

    pub(super) fn host_names(&self) -> Pods {
        let workloads = self.replicas.keys().map(|workload| component(workload));
        Pods::of(workloads.chain(self.cron_jobs.iter().map(String::as_str)))
    }

    /// Has nothing of it run.
    pub(super) async fn off(&self) -> Result<(), Trouble> {
        tokio::try_join!(self.scale_down(), self.arm(false)).map(drop)
    }

    pub(super) async fn arm(&self, armed: bool) -> Result<(), Trouble> {
        for cron_job in &self.cron_jobs {
            let suspension = Suspension { cron_job: cron_job.clone(), suspended: !armed };
            warden::suspend(&self.engine, &self.identity, &suspension).await.map_err(told)?;
        }
        Ok(())
    }

    /// The virtual address of the Service that leads to the component.
    pub(super) fn exposed(&self, plan: &CutoverPlan) -> Result<SocketAddr, Failure> {
        way_in(&self.services, &self.names, plan.old.port).ok_or_else(|| {
            Failure::Usage(format!(
                "the chart has no Service with a TCP port that leads to `{}`: a draft reaches the new side by its \
                 Service",
                plan.component
            ))
        })
    }

    pub(super) async fn scale_up(&self) -> Result<(), Trouble> {
        self.pods.start(PATIENCE).await.map_err(|e| Trouble(format!("the new side: {e}")))
    }

    pub(super) async fn scale_down(&self) -> Result<(), Trouble> {
        if self.replicas.is_empty() {
            return Ok(());
        }
        self.pods.stop().await.map_err(told)?;
        match self.running().await?.as_slice() {
            [] => Ok(()),
            running => Err(Trouble(format!("these pods of the new side still run: {}", running.join(", ")))),
        }
    }

    pub(super) fn changes(&self) -> Told<Change> {
        if self.replicas.is_empty() {
            return stream::pending().boxed();
        }
        self.pods.changes().map_err(told).boxed()
    }

    /// The names of the pods that run.
    pub(super) async fn running(&self) -> Result<Vec<String>, Trouble> {
        if self.replicas.is_empty() {
            return Ok(Vec::new());
        }
        let all = self.pods.list().await.map_err(told)?;
        Ok(all.into_iter().filter(|pod| pod.is_running).map(|pod| pod.name).collect())
    }

    pub(super) fn lines(&self) -> Told<LogLine> {
        if self.replicas.is_empty() {
            return stream::pending().boxed();
        }
        self.pods.lines(Timestamp::now()).map_err(told).boxed()
    }

    pub(super) async fn settings(&self, pod: &str, salt: &Salt) -> Result<BTreeMap<String, String>, Trouble> {
        self.pods.settings(pod, salt).await.map_err(told)
    }

    /// Whether there was one to kill.
    pub(super) async fn kill_one(&self) -> Result<bool, Trouble> {
        self.pods.kill_one().await.map(|killed| killed.is_some()).map_err(told)
    }
}

/// The CronJobs that the entries of a plan's timetable are.
fn cron_jobs(objects: &[Object], plan: &CutoverPlan) -> Vec<String> {
    let entries = plan.timetable.iter().flat_map(|timetable| &timetable.entries);
    let names: Vec<_> = entries.map(|entry| entry.name.as_str()).collect();
    let ours = objects.iter().filter(|object| {
        let workload = format!("{}/{}", object.kind, object.name);
        object.kind == "CronJob" && names.iter().any(|name| means(name, &workload))
    });
    ours.map(|object| object.name.clone()).collect()
}

/// The first container of a component's template: native sidecars, which start before it, are none of these.
fn main_container(objects: &[Object], component: &str) -> Option<String> {
    let ours = objects.iter().filter(|object| means(component, &format!("{}/{}", object.kind, object.name)));
    let first = |object: &Object| {
        object.body["spec"]["template"]["spec"]["containers"][0]["name"].as_str().map(str::to_owned)
    };
    ours.filter_map(first).next()
}

/// The address of a Service that leads to one of these pods: to the port that the old side has, if any does.
fn way_in(services: &[Service], pods: &[String], wanted: Option<u16>) -> Option<SocketAddr> {
    let ways = services.iter().filter_map(|service| {
        let backend = service.backends.iter().find(|backend| pods.contains(&backend.pod))?;
        let vip = IpAddr::V4(service.vip?);
        let ports = service.ports.iter().filter(|port| port.protocol == Protocol::Tcp);
        let reached = ports.filter_map(move |port| {
            let target = backend.targets.get(&format!("{}/TCP", port.port))?;
            Some((Some(*target) == wanted, SocketAddr::new(vip, port.port)))
        });
        Some(reached.collect::<Vec<_>>())
    });
    let ways: Vec<_> = ways.flatten().collect();
    ways.iter().find(|(as_wanted, _)| *as_wanted).or(ways.first()).map(|(_, way)| *way)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use envctl_wire::{Backend, ServicePort};

    use super::*;

    fn service(name: &str, pod: &str, ports: &[(u16, u16)]) -> Service {
        let port = |(port, _): &(u16, u16)| ServicePort {
            name: String::new(),
            port: *port,
            protocol: Protocol::Tcp,
        };
        let backend = Backend {
            pod: pod.to_owned(),
            address: Ipv4Addr::LOCALHOST,
            hostname: None,
            targets: ports.iter().map(|(port, target)| (format!("{port}/TCP"), *target)).collect(),
            announced: true,
        };
        Service {
            name: name.to_owned(),
            namespace: "shop".to_owned(),
            vip: Some(Ipv4Addr::new(10, 0, 8, 1)),
            external_name: None,
            ports: ports.iter().map(port).collect(),
            publish_not_ready: false,
            client_ip_affinity_seconds: None,
            backends: vec![backend],
        }
    }

    #[test]
    fn the_way_in_is_the_service_that_leads_to_the_port_of_the_old_side() {
        let services =
            [service("web", "web-0", &[(80, 8000)]), service("api", "api-0", &[(9090, 9090), (80, 3000)])];
        let way = |pod: &str, wanted| {
            way_in(&services, &[pod.to_owned()], wanted).map(|way| (way.ip().to_string(), way.port()))
        };
        let vip = "10.0.8.1".to_owned();
        assert_eq!(way("api-0", Some(3000)), Some((vip.clone(), 80)));
        assert_eq!(way("api-0", Some(1)), Some((vip, 9090)), "none has that port: the first one");
        assert_eq!(way("worker-0", None), None);
    }
}
