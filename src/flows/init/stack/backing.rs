//! Services of an existing Compose file that stand in for what the chart needs from outside.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::found::joined;

/// A Compose file as far as it matters.
#[derive(Debug)]
pub(super) struct ComposeFile {
    path: PathBuf,
    content: Value,
}

/// What backs the environments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Backing {
    /// The Compose file it comes from.
    pub(super) from: PathBuf,
    /// The services, with their ports.
    pub(super) services: BTreeMap<String, Vec<String>>,
    /// Services that are left out, and why.
    pub(super) left_out: BTreeMap<String, &'static str>,
}

/// What the chart makes by itself.
#[derive(Debug, Default)]
pub(super) struct OfChart {
    /// Dockerfiles of its images.
    pub(super) dockerfiles: BTreeSet<PathBuf>,
    /// Repositories of its images.
    pub(super) repositories: BTreeSet<String>,
    /// Its Services.
    pub(super) services: BTreeSet<String>,
}

impl ComposeFile {
    /// Reads a file; nothing where Compose would not read it either.
    pub(super) fn read(dir: &Path, path: &Path) -> Option<Self> {
        let text = std::fs::read_to_string(dir.join(path)).ok()?;
        let content: Value = serde_yaml::from_str(&text).ok()?;
        content["services"].is_object().then(|| Self { path: path.to_owned(), content })
    }

    fn services(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.content["services"].as_object().into_iter().flatten()
    }

    /// The Dockerfile that a service is built from, and its context.
    fn build(&self, service: &Value) -> Option<(PathBuf, PathBuf)> {
        let build = &service["build"];
        let context = build.as_str().or_else(|| build["context"].as_str());
        let context = context.or_else(|| build.is_object().then_some("."))?;
        let context = joined(self.path.parent().unwrap_or(Path::new("")), context);
        let dockerfile = build["dockerfile"].as_str().unwrap_or("Dockerfile");
        Some((joined(&context, dockerfile), context))
    }

    /// The contexts of the Dockerfiles that it builds.
    pub(super) fn contexts(&self) -> BTreeMap<PathBuf, PathBuf> {
        self.services().filter_map(|(_, service)| self.build(service)).collect()
    }

    /// The services that can back environments: not those that are the chart's own work.
    pub(super) fn backing(&self, chart: &OfChart) -> Backing {
        let mut left_out = BTreeMap::new();
        for (name, service) in self.services() {
            if let Some(why) = self.why_not(name, service, chart) {
                left_out.insert(name.clone(), why);
            }
        }
        loop {
            let needs_missing =
                |service: &Value| depends_on(service).any(|other| left_out.contains_key(other));
            let more = self
                .services()
                .find(|(name, service)| !left_out.contains_key(*name) && needs_missing(service));
            let Some((name, _)) = more else { break };
            let name = name.clone();
            left_out.insert(name, "needs one that is left out");
        }
        let kept = self.services().filter(|(name, _)| !left_out.contains_key(*name));
        let services = kept.map(|(name, service)| (name.clone(), ports(service))).collect();
        Backing { from: self.path.clone(), services, left_out }
    }

    fn why_not(&self, name: &str, service: &Value, chart: &OfChart) -> Option<&'static str> {
        let image = service["image"].as_str().unwrap_or_default();
        let repository = image.rsplit_once(':').map_or(image, |(repository, _)| repository);
        let is_built =
            self.build(service).is_some_and(|(dockerfile, _)| chart.dockerfiles.contains(&dockerfile));
        let networks = &service["networks"];
        let on_default = networks.is_null()
            || networks.get("default").is_some()
            || networks.as_array().is_some_and(|list| list.iter().any(|network| network == "default"));
        if is_built || chart.repositories.contains(repository) {
            Some("the chart runs it")
        } else if chart.services.contains(name) {
            Some("the chart has a Service of that name")
        } else if !service["network_mode"].is_null() || !on_default {
            Some("it is not on the file's default network, so no pod could reach it")
        } else {
            None
        }
    }

    /// A Compose file with nothing but these services, which takes them from this one. It lies in `from`.
    pub(super) fn only(&self, services: &BTreeMap<String, Vec<String>>, project: &str) -> String {
        let file = self.path.display().to_string();
        let extending = services.keys().map(|name| {
            let mut service = json!({"extends": {"file": file, "service": name}});
            let needed: Vec<_> = self.content["services"]
                .get(name)
                .into_iter()
                .flat_map(depends_on)
                .map(str::to_owned)
                .collect();
            if !needed.is_empty() {
                service["depends_on"] = needed.into();
            }
            (name.clone(), service)
        });
        let mut content = Map::new();
        content.insert("name".into(), format!("{project}-backing").into());
        content.insert("services".into(), Value::Object(extending.collect()));
        for section in ["volumes", "networks", "configs", "secrets"] {
            if let Some(declared) = self.content.get(section) {
                content.insert(section.into(), declared.clone());
            }
        }
        let content = serde_json::to_string_pretty(&Value::Object(content)).unwrap_or_default();
        let why = "# The services of the Compose file that the chart does not run by itself. JSON is YAML.";
        format!("{why}\n{content}\n")
    }
}

fn depends_on(service: &Value) -> impl Iterator<Item = &str> {
    let needed = &service["depends_on"];
    let listed = needed.as_array().into_iter().flatten().filter_map(Value::as_str);
    listed.chain(needed.as_object().into_iter().flat_map(|map| map.keys().map(String::as_str)))
}

/// The ports of a service inside its network.
fn ports(service: &Value) -> Vec<String> {
    let port = |port: &Value| {
        let text = match port {
            Value::Object(port) => port.get("target")?.to_string(),
            Value::String(text) => text.clone(),
            number => number.to_string(),
        };
        let inner = text.rsplit(':').next()?;
        Some(inner.split('/').next()?.to_owned())
    };
    let listed = |key: &str| service[key].as_array().cloned().unwrap_or_default();
    let mut ports: Vec<String> = listed("ports").iter().chain(&listed("expose")).filter_map(port).collect();
    ports.dedup();
    ports
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMPOSE: &str = "
services:
  app: {build: ., depends_on: [mysql]}
  worker: {image: 'shop/web:dev'}
  tests: {image: curl, depends_on: {app: {condition: service_started}}}
  mysql: {build: docker/mysql, ports: ['127.0.0.1:3307:3306'], depends_on: [redis]}
  redis: {image: 'redis:7', expose: [6379]}
  cache: {image: 'redis:7'}
  inner: {image: x, networks: [inner]}
volumes: {data: {}}
";

    #[test]
    fn what_the_chart_runs_backs_nothing() {
        let file =
            ComposeFile { path: "compose.yaml".into(), content: serde_yaml::from_str(COMPOSE).unwrap() };
        let of_chart = OfChart {
            dockerfiles: [PathBuf::from("Dockerfile")].into(),
            repositories: ["shop/web".to_owned()].into(),
            services: ["cache".to_owned()].into(),
        };
        let backing = file.backing(&of_chart);
        let services: Vec<_> =
            backing.services.iter().map(|(name, ports)| (name.as_str(), ports.join(","))).collect();
        assert_eq!(services, [("mysql", "3306".to_owned()), ("redis", "6379".to_owned())]);
        let left_out: Vec<_> =
            backing.left_out.into_iter().map(|(name, why)| format!("{name}: {why}")).collect();
        assert_eq!(
            left_out,
            [
                "app: the chart runs it",
                "cache: the chart has a Service of that name",
                "inner: it is not on the file's default network, so no pod could reach it",
                "tests: needs one that is left out",
                "worker: the chart runs it",
            ]
        );
        let only: Value = serde_yaml::from_str(&file.only(&backing.services, "shop")).unwrap();
        assert_eq!(
            only,
            json!({
                "name": "shop-backing",
                "services": {
                    "mysql": {"extends": {"file": "compose.yaml", "service": "mysql"}, "depends_on": ["redis"]},
                    "redis": {"extends": {"file": "compose.yaml", "service": "redis"}},
                },
                "volumes": {"data": {}},
            })
        );
        let contexts = file.contexts();
        assert_eq!(contexts[Path::new("docker/mysql/Dockerfile")], Path::new("docker/mysql"));
        assert_eq!(contexts[Path::new("Dockerfile")], Path::new(""));
    }
}
