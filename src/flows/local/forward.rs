//! `port-forward` on this machine's Engine: by the agent in the environment's gateway, to a Service, a backing service, or
//! a pod.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use envctl_local::dial::{self, DialError};
use envctl_local::engine::EngineError;
use envctl_local::{logs, lookup, state};
use envctl_model::labels::Role;
use envctl_model::record::{Place, Record};
use envctl_model::selection::means;
use envctl_translate::GATEWAY;
use envctl_wire::{CONFIG_VARIABLE, GatewayConfig, Protocol};
use serde_json::Value;
use tokio::net::TcpStream;

use super::compose::COMPOSE_FILE;
use super::machine::{Machine, explain};
use crate::config::Base;
use crate::flows::Store;
use crate::flows::forward::Way;
use crate::ui::Failure;

/// To an environment on this machine's Engine.
#[derive(Debug, Clone)]
pub(crate) struct ByGateway(Arc<There>);

#[derive(Debug)]
struct There {
    machine: Machine,
    record: Record,
    /// What the gateway serves.
    serves: GatewayConfig,
}

impl ByGateway {
    /// To this one.
    pub(crate) async fn to(base: &Base, record: Record) -> Result<Self, Failure> {
        let Place::Compose(place) = &record.place else {
            return Err(Failure::Failed(format!(
                "environment `{}` does not live on a Docker Engine",
                record.name
            )));
        };
        let machine = Machine::connect(base, Some(&place.engine_id)).await?;
        let home = Store::new(base.state_dir.value.clone()).home(&record.name);
        let file: Option<Value> = home.read_json(COMPOSE_FILE)?;
        let serves = file.as_ref().and_then(served).ok_or_else(|| {
            Failure::Refused(format!(
                "environment `{}` has never been ready: `envctl up` goes on with it",
                record.name
            ))
        })?;
        Ok(Self(Arc::new(There { machine, record, serves })))
    }

    /// Where a word and a port lead to, and the container from which that is reached.
    async fn resolve(&self, word: &str, port: u16) -> Result<(String, SocketAddr), Failure> {
        let There { machine, record, serves } = &*self.0;
        let all = state::containers(&machine.reader, &record.identity).await.map_err(|e| explain(&e))?;
        let gateway = all.iter().find(|container| container.role == Some(Role::Gateway));
        let gateway = gateway.map(|container| container.id.clone()).ok_or_else(|| {
            Failure::Failed("the gateway of the environment is gone\n  `envctl up` makes it anew".to_owned())
        })?;
        if let Some(address) = of_service(serves, word, port).map_err(Failure::Usage)? {
            return Ok((gateway, address));
        }
        let chosen =
            logs::select(&all, Some(word)).map_err(|_| Failure::Usage(unknown(serves, &all, word)))?;
        let sandbox = chosen.iter().find_map(|chosen| {
            all.iter().find(|one| one.pod == chosen.pod && one.role == Some(Role::Sandbox))
        });
        let address = match sandbox {
            Some(sandbox) => {
                let address = lookup::address(&machine.reader, &sandbox.id, record.name.as_str()).await;
                address.map_err(|e: EngineError| explain(&e))?
            }
            None => None,
        };
        let address = address.ok_or_else(|| {
            Failure::Failed(format!("no pod of {word} is running\n  `envctl status` shows what it waits for"))
        })?;
        Ok((gateway, SocketAddr::new(address, port)))
    }
}

impl Way for ByGateway {
    async fn check(&self, word: &str, port: u16) -> Result<(), Failure> {
        let (from, to) = self.resolve(word, port).await?;
        let checked = dial::check(&self.0.machine.engine, &from, to).await;
        checked.map_err(|error| failed(&error, word, port))
    }

    async fn carry(&self, word: &str, port: u16, connection: TcpStream) -> Result<(), Failure> {
        let (from, to) = self.resolve(word, port).await?;
        let carried = dial::carry(&self.0.machine.engine, &from, to, connection).await;
        carried.map_err(|error| failed(&error, word, port))
    }
}

fn failed(error: &DialError, word: &str, port: u16) -> Failure {
    match error {
        DialError::Engine(error) => explain(error),
        DialError::Refused(why) => Failure::Failed(format!("nobody listens at port {port} of {word}: {why}")),
    }
}

/// What the gateway of a Compose file serves.
fn served(file: &Value) -> Option<GatewayConfig> {
    let text = file["services"][GATEWAY]["environment"][CONFIG_VARIABLE].as_str()?;
    // One that is too large for a variable is in a file.
    let text = if text.starts_with('@') { file["configs"][GATEWAY]["content"].as_str()? } else { text };
    serde_json::from_str(&text.replace("$$", "$")).ok()
}

/// The address of a port of the Service, or of the backing service, that a word means. None where there is no such.
fn of_service(serves: &GatewayConfig, word: &str, port: u16) -> Result<Option<SocketAddr>, String> {
    let named = |name: &str| means(word, &format!("Service/{name}"));
    let own = |namespace: &str| namespace == serves.namespace;
    let service = serves
        .services
        .iter()
        .filter(|service| service.external_name.is_none() && named(&service.name))
        .max_by_key(|service| (service.name == word, own(&service.namespace)));
    if let Some(service) = service {
        let mut ports = service.ports.iter().filter(|port| port.protocol == Protocol::Tcp);
        if ports.clone().all(|one| one.port != port) {
            let known: Vec<_> = ports.by_ref().map(|port| port.port.to_string()).collect();
            return Err(format!(
                "Service {} has no port {port}\n  its ports: {}",
                service.name,
                known.join(", ")
            ));
        }
        let headless = || {
            let backend = service.backends.first()?;
            Some(SocketAddr::new(IpAddr::V4(backend.address), *backend.targets.get(&format!("{port}/TCP"))?))
        };
        let address = service.vip.map(|vip| SocketAddr::new(IpAddr::V4(vip), port)).or_else(headless);
        return match address {
            Some(address) => Ok(Some(address)),
            None => Err(format!("Service {} leads to no pod", service.name)),
        };
    }
    let backing = serves.backing.iter().find(|backing| backing.name == word);
    Ok(backing.map(|backing| SocketAddr::new(IpAddr::V4(backing.vip), port)))
}

/// That nothing is called so, with what there is.
fn unknown(serves: &GatewayConfig, all: &[state::ActualContainer], word: &str) -> String {
    let services = serves.services.iter().map(|service| service.name.as_str());
    let backing = serves.backing.iter().map(|backing| backing.name.as_str());
    let workloads = all.iter().filter_map(|container| container.workload.as_deref());
    let mut there: Vec<&str> = services.chain(backing).chain(workloads).collect();
    there.sort_unstable();
    there.dedup();
    format!("there is no Service and no component `{word}`\n  there are: {}", there.join(", "))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn config() -> GatewayConfig {
        let file = json!({"services": {GATEWAY: {"environment": {CONFIG_VARIABLE: json!({
            "environment": "shop", "namespace": "shop", "address": "10.0.0.2", "vips": "10.0.8.0/21",
            "clusterDomain": "cluster.local", "routes": [], "httpPort": 80, "router": null,
            "services": [
                {"name": "shop-api", "namespace": "shop", "vip": "10.0.8.1", "externalName": null,
                 "ports": [{"name": "http", "port": 80, "protocol": "TCP"}], "publishNotReady": false,
                 "clientIpAffinitySeconds": null, "backends": []},
                {"name": "db", "namespace": "shop", "vip": null, "externalName": null,
                 "ports": [{"name": "sql", "port": 3306, "protocol": "TCP"}], "publishNotReady": false,
                 "clientIpAffinitySeconds": null,
                 "backends": [{"pod": "db-0", "address": "10.0.0.9", "hostname": null, "targets": {"3306/TCP": 3307},
                               "announced": true}]},
            ],
            "backing": [{"name": "mysql", "upstream": "x", "vip": "10.0.8.9", "ports": []}],
        }).to_string()}}}});
        served(&file).unwrap()
    }

    #[test]
    fn a_word_means_a_service_or_a_backing_service() {
        let config = config();
        let address =
            |word, port| of_service(&config, word, port).map(|address| address.map(|a| a.to_string()));
        assert_eq!(address("api", 80), Ok(Some("10.0.8.1:80".to_owned())));
        assert_eq!(address("db", 3306), Ok(Some("10.0.0.9:3307".to_owned())), "headless: a pod itself");
        assert_eq!(address("mysql", 3306), Ok(Some("10.0.8.9:3306".to_owned())));
        assert_eq!(address("worker", 1), Ok(None));
        assert_eq!(address("api", 81), Err("Service shop-api has no port 81\n  its ports: 80".to_owned()));
    }
}
