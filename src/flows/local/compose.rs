//! From Kubernetes objects to a Compose file.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{DirBuilder, Permissions};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::PathBuf;

use envctl_local::backing::Backing;
use envctl_local::engine::EngineFacts;
use envctl_local::state::ActualContainer;
use envctl_local::{lock, router};
use envctl_model::host::Hosts;
use envctl_model::labels;
use envctl_translate::{
    BackingInput, Environment, HostFile, Input, LiveSource, Loopback, MissingReferences, Network, Object,
    Router, Stage, Translation, Warden,
};
use envctl_wire::{CONTROL_PORT, Certificate, Protocol, ROUTER_ALIAS};
use ipnet::Ipv4Net;
use serde_json::Value;

use crate::flows::chart::Objects;
use crate::ui::Failure;

/// The Compose file in an environment's home.
pub(crate) const COMPOSE_FILE: &str = "compose.json";

/// Who an environment belongs to, for labels.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ownership<'a> {
    /// The environment's identity.
    pub(crate) identity: &'a str,
    /// `user@host`.
    pub(crate) owner: &'a str,
    /// The stack's project.
    pub(crate) project: &'a str,
}

impl Ownership<'static> {
    /// For translations that only check.
    pub(crate) const UNKNOWN: Self = Self { identity: "", owner: "", project: "" };
}

/// What a translation depends on.
#[derive(Debug)]
pub(crate) struct Translated<'a> {
    /// The objects.
    pub(crate) objects: &'a Objects,
    /// The environment.
    pub(crate) name: &'a str,
    /// The domain of host names.
    pub(crate) domain: &'a str,
    /// Whose it is.
    pub(crate) ownership: Ownership<'a>,
    /// The Engine.
    pub(crate) engine: &'a EngineFacts,
    /// Compose.
    pub(crate) compose_version: (u32, u32, u32),
    /// The network.
    pub(crate) subnet: Ipv4Net,
    /// The agent's image.
    pub(crate) agent_image: &'a str,
    /// The router.
    pub(crate) router_port: u16,
    /// Who holds the Engine's socket.
    pub(crate) warden: Warden,
    /// The backing services.
    pub(crate) backing: Option<&'a Backing>,
    /// Which hooks run.
    pub(crate) stage: Stage,
    /// Where single files of volumes may be put.
    pub(crate) host_files: PathBuf,
    /// Workloads that run the working tree.
    pub(crate) live: Vec<LiveSource>,
    /// What the gateway proves by that it is hosts that have TLS.
    pub(crate) certificate: Option<Certificate>,
    /// Secrets whose new content replaces the pods that read them.
    pub(crate) replacing: BTreeMap<String, String>,
}

/// Labels on everything of an environment.
pub(crate) fn environment_labels(name: &str, ownership: Ownership<'_>) -> BTreeMap<String, String> {
    [
        (labels::ENVIRONMENT, name),
        (labels::IDENTITY, ownership.identity),
        (labels::OWNER, ownership.owner),
        (labels::PROJECT, ownership.project),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}

/// Translates.
pub(crate) fn translate(from: &Translated<'_>) -> Result<Translation, Failure> {
    let hosts = Hosts::new(from.name, from.domain);
    // Elsewhere, and without root, Docker has no loopback address to give but the first.
    let own_loopback = cfg!(target_os = "linux") && !from.engine.is_remote && !from.engine.rootless;
    let mut input = Input {
        objects: from.objects.list.clone(),
        environment: Environment {
            name: from.name.to_owned(),
            namespace: from.name.to_owned(),
            project: from.name.to_owned(),
            labels: environment_labels(from.name, from.ownership),
            loopback: own_loopback.then(|| Loopback::of(from.name)),
        },
        network: Network { name: from.name.to_owned(), subnet: from.subnet },
        engine: engine_facts(from.engine, from.compose_version),
        agent_image: from.agent_image.to_owned(),
        router: Some(Router {
            network: router::name(from.router_port),
            http_port: from.router_port,
            control: format!("{ROUTER_ALIAS}:{CONTROL_PORT}"),
        }),
        warden: from.warden.clone(),
        backing: from.backing.map(|backing| envctl_translate::Backing {
            network: backing.network.clone(),
            services: backing
                .services
                .iter()
                .map(|service| BackingInput {
                    name: service.name.clone(),
                    upstream: service.container.clone(),
                    ports: service.ports.clone(),
                    host: service.route.as_ref().map(|(host, port)| (hosts.of(host), *port)),
                })
                .collect(),
        }),
        stage: from.stage,
        missing_references: MissingReferences::Deny,
        host_files: Some(from.host_files.clone()),
        live: from.live.clone(),
        certificate: from.certificate.clone(),
        replacing: from.replacing.clone(),
    };
    let translation = run(&input)?;
    let taken: BTreeSet<_> =
        translation.published.iter().map(|one| one.port).filter(|port| is_taken_everywhere(*port)).collect();
    match &mut input.environment.loopback {
        Some(loopback) if !taken.is_empty() => {
            loopback.taken = taken;
            run(&input)
        }
        _ => Ok(translation),
    }
}

/// Whether a program listens on a port of all addresses: then it has that of every loopback address,
/// too. No environment has this one.
fn is_taken_everywhere(port: u16) -> bool {
    let at = (Ipv4Addr::new(127, 255, 255, 254), port);
    match TcpListener::bind(at).map_err(|error| error.kind()) {
        Err(ErrorKind::AddrInUse) => true,
        // Below 1024 the kernel says first that it is not ours to take. Who listens there answers at once.
        Err(ErrorKind::PermissionDenied) => TcpStream::connect(at).is_ok(),
        _ => false,
    }
}

/// Translates manifests that belong to no environment, as for a current Engine.
pub(crate) fn translate_manifests(objects: Vec<Object>) -> Result<Translation, Failure> {
    let name = "manifests";
    let input = Input {
        objects,
        environment: Environment {
            name: name.to_owned(),
            namespace: name.to_owned(),
            project: name.to_owned(),
            labels: environment_labels(name, Ownership::UNKNOWN),
            loopback: None,
        },
        network: Network { name: name.to_owned(), subnet: PLACEHOLDER_SUBNET },
        engine: envctl_translate::EngineFacts {
            api_version: (1, 47),
            compose_version: (2, 30, 0),
            cpus: 4.0,
            memory_bytes: 8 << 30,
        },
        agent_image: envctl_local::agent_image::REPOSITORY.to_owned(),
        router: None,
        warden: Warden::At {
            socket: "/var/run/docker.sock".to_owned(),
            lock: lock::name(name),
            expires: None,
        },
        backing: None,
        stage: Stage::Install,
        missing_references: MissingReferences::Placeholder,
        host_files: None,
        live: Vec::new(),
        certificate: None,
        replacing: BTreeMap::new(),
    };
    run(&input)
}

fn run(input: &Input) -> Result<Translation, Failure> {
    envctl_translate::translate(input).map_err(|errors| {
        let lines: Vec<_> = errors.iter().map(ToString::to_string).collect();
        Failure::Usage(lines.join("\n"))
    })
}

/// A subnet for translations that are not run.
pub(crate) const PLACEHOLDER_SUBNET: Ipv4Net = Ipv4Net::new_assert(Ipv4Addr::new(10, 64, 0, 0), 20);

/// Writes the files that containers mount from the host: single files of volumes.
pub(crate) fn write_host_files(files: &[HostFile]) -> Result<(), Failure> {
    for file in files {
        let written = file
            .path
            .parent()
            .map_or(Ok(()), |dir| DirBuilder::new().recursive(true).mode(0o700).create(dir))
            .and_then(|()| envctl_local::compose::write_file(&file.path, &file.content))
            .and_then(|()| std::fs::set_permissions(&file.path, Permissions::from_mode(file.mode)));
        written.map_err(|e| Failure::Failed(format!("cannot write {}: {e}", file.path.display())))?;
    }
    Ok(())
}

/// Where an environment answers: the hosts of its Ingresses first, then those of its backing services,
/// then the ports of its Services.
pub(crate) fn urls(translation: &Translation, port: u16, backing: Option<&Backing>) -> Vec<String> {
    let is_backing = |service: &str| backing.is_some_and(|b| b.services.iter().any(|s| s.name == service));
    let (last, first): (Vec<_>, Vec<_>) = translation.urls.iter().partition(|url| is_backing(&url.service));
    let mut urls = Vec::new();
    for url in first.into_iter().chain(last) {
        let path = if url.path == "/" { "" } else { url.path.as_str() };
        let scheme =
            if translation.secured.iter().any(|host| covers(host, &url.host)) { "https" } else { "http" };
        let text = format!("{scheme}://{}:{port}{path}", url.host);
        if !urls.contains(&text) {
            urls.push(text);
        }
    }
    urls.extend(translation.published.iter().map(|one| {
        let protocol = match one.protocol {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        };
        format!("{protocol}://{}:{}", one.address, one.port)
    }));
    urls
}

/// Whether a name of a certificate, which may begin with a star, is that of a host.
fn covers(name: &str, host: &str) -> bool {
    name == host
        || name
            .strip_prefix('*')
            .is_some_and(|rest| host.split_once('.').is_some_and(|(_, suffix)| rest == format!(".{suffix}")))
}

#[allow(clippy::cast_precision_loss, reason = "a number of processors is exact in an f64")]
fn engine_facts(facts: &EngineFacts, compose_version: (u32, u32, u32)) -> envctl_translate::EngineFacts {
    envctl_translate::EngineFacts {
        api_version: facts.api(),
        compose_version,
        cpus: facts.cpus as f64,
        memory_bytes: facts.memory,
    }
}

/// The name that Compose gives to the container of a service.
pub(crate) fn container_name(project: &str, service: &str) -> String {
    format!("{project}-{service}-1")
}

/// The names that Compose gives to the containers of a translation.
pub(crate) fn container_names(translation: &Translation, project: &str) -> Vec<String> {
    keys(&translation.compose, "services").map(|service| container_name(project, service)).collect()
}

/// What a seeder of a Compose file writes, as it reads it: Compose has made one `$` of two.
pub(crate) fn seed(file: &Value, seeder: &str) -> String {
    file["configs"][seeder]["content"].as_str().unwrap_or_default().replace("$$", "$")
}

/// The workloads with a container whose variables are not those of a Compose file any more, of the containers that are
/// there.
pub(crate) fn outdated<'a>(
    file: &'a Value,
    containers: impl IntoIterator<Item = &'a ActualContainer>,
) -> BTreeSet<&'a str> {
    let is_outdated = |container: &&ActualContainer| {
        let wanted = container.service.as_deref().map(|service| &file["services"][service]["labels"]);
        let wanted = wanted.and_then(|labels| labels[labels::VARIABLES].as_str());
        wanted.is_some() && wanted != container.variables.as_deref()
    };
    containers.into_iter().filter(is_outdated).filter_map(|container| container.workload.as_deref()).collect()
}

/// The names that Compose gives to the volumes of a translation.
pub(crate) fn volume_names(translation: &Translation, project: &str) -> Vec<String> {
    let volumes = &translation.compose["volumes"];
    keys(&translation.compose, "volumes")
        .map(|volume| {
            volumes[volume]["name"].as_str().map_or_else(|| format!("{project}_{volume}"), str::to_owned)
        })
        .collect()
}

fn keys<'a>(compose: &'a Value, section: &str) -> impl Iterator<Item = &'a String> {
    compose.get(section).and_then(Value::as_object).into_iter().flat_map(|map| map.keys())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    // Elsewhere loopback has one address.
    #[test]
    fn a_port_of_all_addresses_is_taken_and_one_of_an_environment_is_not() {
        let port = |listener: &TcpListener| listener.local_addr().unwrap().port();
        let everywhere = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        assert!(is_taken_everywhere(port(&everywhere)));
        let environment = TcpListener::bind((Loopback::of("album-aki").address, 0)).unwrap();
        assert!(!is_taken_everywhere(port(&environment)));
    }
}
