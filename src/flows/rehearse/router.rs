//! The router of a sandbox: HAProxy in a container, on the network of the old side.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::sync::Arc;

use envctl_local::balancer::{self, Balancer, BalancerSpec};
use envctl_model::cutover::plan::Router as Wanted;
use envctl_model::receipt::{End, Item};
use envctl_rehearse::evidence::Digest;
use envctl_rehearse::haproxy::config::BACKEND;
use envctl_rehearse::haproxy::{Config, Log, Router, Runtime};
use envctl_rehearse::{Observation, Recorder};

use super::kept::{Held, Kept, Ports};
use crate::flows::Home;
use crate::flows::local::machine::{Machine, explain};
use crate::ui::Failure;

/// How the router is operated, whose container is found by its name.
#[derive(Debug)]
pub(super) struct SandboxRouter {
    /// Its weights.
    pub(super) router: Router,
    /// Where it takes requests.
    pub(super) requests: SocketAddr,
    /// The digest of its image.
    pub(super) image: Option<Digest>,
    log: Log,
}

/// What a router is made from.
pub(super) struct Parts<'a> {
    /// The router of the plan.
    pub(super) wanted: &'a Wanted,
    /// The image of HAProxy.
    pub(super) image: &'a str,
    /// The rehearsal.
    pub(super) kept: &'a Kept,
    /// The network of the machines.
    pub(super) network: &'a str,
    /// The machines.
    pub(super) old: Vec<SocketAddr>,
    /// Where it listens.
    pub(super) ports: Ports,
}

impl SandboxRouter {
    /// Writes the configuration, which sends everything to the old side, and starts it.
    pub(super) async fn up(
        machine: &Machine,
        home: &Home,
        recorder: &Recorder,
        parts: Parts<'_>,
    ) -> Result<Self, Failure> {
        let log = log(machine, parts.network, parts.ports, recorder).await?;
        let everywhere = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
        let config = Config {
            bind: everywhere(parts.ports.requests),
            runtime: everywhere(parts.ports.runtime),
            log: log.address(),
            old: parts.old,
            new: Vec::new(),
            slots: 1,
            percent: 0,
            max_body: parts.wanted.max_body,
            idle_timeout: parts.wanted.idle_timeout,
        };
        let text = config.render().map_err(Failure::failed)?;
        let directory = home.file("router");
        write(&directory, &text).map_err(|e| {
            Failure::Failed(format!(
                "cannot write the router's configuration in {}: {e}",
                directory.display()
            ))
        })?;
        let spec = BalancerSpec {
            name: container(&parts.kept.name),
            identity: parts.kept.identity.clone(),
            network: parts.network.to_owned(),
            directory,
            ports: [parts.ports.requests, parts.ports.runtime].into(),
        };
        let balancer = Balancer::up(&machine.engine, parts.image, &spec).await.map_err(Failure::failed)?;
        Self::of(&balancer, home, parts.ports, log).await
    }

    /// The router that an earlier process made.
    pub(super) async fn open(
        machine: &Machine,
        held: &Held,
        network: &str,
        ports: Ports,
        recorder: &Recorder,
    ) -> Result<Self, Failure> {
        let log = log(machine, network, ports, recorder).await?;
        let balancer = Balancer::of(&machine.engine, &container(&held.kept.name));
        Self::of(&balancer, &held.home, ports, log).await
    }

    async fn of(balancer: &Balancer, home: &Home, ports: Ports, log: Log) -> Result<Self, Failure> {
        let here = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port);
        let runtime = Runtime::new(here(ports.runtime));
        let router = Router::new(runtime, &home.file("router").join("haproxy.cfg"), BACKEND);
        let image = balancer.image().await.map_err(|e| explain(&e))?.and_then(|id| id.parse().ok());
        Ok(Self { router, requests: here(ports.requests), image, log })
    }

    /// Lines of its log that nobody can read. A log with any of these cannot be reconciled.
    pub(super) fn unreadable(&self) -> u64 {
        self.log.unreadable()
    }

    /// Removes it, and says how it ended.
    pub(super) async fn remove(machine: &Machine, name: &str) -> Result<(End, Item), Failure> {
        Balancer::of(&machine.engine, &container(name)).remove().await.map_err(|e| explain(&e))
    }
}

fn container(name: &str) -> String {
    format!("{name}-router")
}

/// Takes the router's log, at the address by which its container reaches this machine.
async fn log(machine: &Machine, network: &str, ports: Ports, recorder: &Recorder) -> Result<Log, Failure> {
    let gateway = balancer::gateway(&machine.reader, network).await.map_err(Failure::failed)?;
    let address = SocketAddr::new(gateway, ports.log);
    let sink = recorder.clone();
    let sink = Arc::new(move |observation: Observation| sink.see(observation));
    Log::bind(address, recorder.zero(), sink)
        .map_err(|e| Failure::Failed(format!("cannot take the router's log at {address}: {e}")))
}

/// Ports that are free now.
pub(super) fn free_ports() -> Result<Ports, Failure> {
    let listen = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    // All at a time, so that no two are the same.
    let listening = || {
        let all = [listen()?, listen()?, listen()?, listen()?];
        let port = |index: usize| Ok::<_, std::io::Error>(all[index].local_addr()?.port());
        Ok(Ports { requests: port(0)?, runtime: port(1)?, log: port(2)?, proxy: port(3)? })
    };
    listening().map_err(|e: std::io::Error| Failure::failed(e))
}

/// Readable for HAProxy, which is another user in its container. There is no secret in it.
fn write(directory: &std::path::Path, text: &str) -> std::io::Result<()> {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(directory)?;
    std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o755))?;
    let file = directory.join("haproxy.cfg");
    std::fs::write(&file, text)?;
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644))
}
