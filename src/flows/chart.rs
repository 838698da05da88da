//! From the stack file to Kubernetes objects, and from those to Compose.

use std::collections::BTreeMap;
use std::fs::{DirBuilder, Permissions};
use std::net::Ipv4Addr;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use envctl_local::backing::Backing;
use envctl_local::engine::EngineFacts;
use envctl_local::router;
use envctl_model::labels;
use envctl_model::stack::Target;
use envctl_programs::helm::{HelmError, Template};
use envctl_programs::process::{Command, ProgramError, Supervisor};
use envctl_translate::{
    BackingInput, Environment, HostFile, Input, MissingReferences, Network, Object, Router, Stage,
    Translation,
};
use envctl_wire::{CONTROL_PORT, ROUTER_ALIAS};
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Home;
use crate::config::{Base, Project};
use crate::ui::Failure;

/// Rendered objects.
#[derive(Debug, Clone, Default)]
pub(crate) struct Objects {
    /// The objects.
    pub(crate) list: Vec<Object>,
    /// What they came from: `chart album`.
    pub(crate) source: String,
}

/// What a render depends on, beside the stack file.
#[derive(Debug)]
pub(crate) struct ChartInputs<'a> {
    /// The target.
    pub(crate) target: &'a Target,
    /// Release and namespace.
    pub(crate) name: &'a str,
    /// Values made from inputs.
    pub(crate) values: Map<String, Value>,
    /// `--set`.
    pub(crate) set: &'a [String],
}

/// A render that is kept, so that equal inputs give equal objects.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    /// Digest of everything that went in.
    inputs: String,
    /// What Helm wrote, with its `# Source:` comments.
    manifests: String,
    /// The objects of `manifests`, with former values where the chart draws them at random.
    objects: Vec<Value>,
}

impl Kept {
    fn objects(&self, source: String) -> Result<Objects, Failure> {
        let mut list = parse(&self.manifests, "helm template")?;
        for (object, body) in list.iter_mut().zip(self.objects.iter().cloned()) {
            // A name may be drawn at random too.
            if let Some(name) = body["metadata"]["name"].as_str() {
                name.clone_into(&mut object.name);
            }
            object.body = body;
        }
        Ok(Objects { list, source })
    }
}

/// Where in an environment's home Helm finds generated values; cleared when a run begins.
pub(crate) const SCRATCH: &str = "scratch";

/// What a render is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To check, with placeholders: it must not be what later renders look up.
    Check,
    /// To be delivered.
    Deliver,
}

impl Purpose {
    fn file(self) -> &'static str {
        match self {
            Self::Check => "check.json",
            Self::Deliver => "render.json",
        }
    }
}

/// Renders the chart, or takes the manifests. A chart whose inputs are those of the last render is
/// not rendered again: charts draw passwords and certificates at random.
pub(crate) async fn render(
    base: &Base,
    project: &Project,
    home: &Home,
    inputs: ChartInputs<'_>,
    purpose: Purpose,
    supervisor: &Supervisor,
) -> Result<Objects, Failure> {
    let stack = &project.file.stack;
    if let Some(manifests) = &stack.manifests {
        return take_manifests(project, &manifests.value, supervisor).await;
    }
    let Some(chart) = &stack.chart else {
        return Err(Failure::Usage("the stack has neither `chart` nor `manifests`".to_owned()));
    };
    let chart_dir = project.dir.join(&chart.path.value);
    let source = format!("chart {}", chart_name(&chart_dir).unwrap_or_else(|| stack.project.value.clone()));
    let mut template = Template::new(&base.programs.helm.value, chart_dir, inputs.name, inputs.name);
    template.values =
        chart.values.iter().chain(&inputs.target.values).map(|file| project.dir.join(&file.value)).collect();
    template.generated = Value::Object(inputs.values);
    template.set = inputs.set.to_vec();
    template.scratch = home.exists().then(|| home.file(SCRATCH));
    let digest = template.inputs_digest().map_err(Failure::failed)?;
    let delivered = home.read_json::<Kept>(Purpose::Deliver.file())?;
    let checked = match purpose {
        Purpose::Check => home.read_json::<Kept>(purpose.file())?,
        Purpose::Deliver => None,
    };
    if let Some(kept) = delivered.iter().chain(&checked).find(|kept| kept.inputs == digest) {
        return kept.objects(source);
    }
    let former = delivered.map(|kept| kept.objects).unwrap_or_default();
    let rendered = match purpose {
        // What is only checked may draw at random.
        Purpose::Check => template.render(&former, supervisor).await.map(|rendered| (rendered, None)),
        Purpose::Deliver => template.render_twice(&former, supervisor).await,
    };
    let (rendered, again) = rendered.map_err(|error| match error {
        HelmError::Program(ProgramError::Interrupted { .. }) => Failure::Interrupted,
        // What Helm refuses is the chart, or the values.
        HelmError::Program(ProgramError::Failed(_)) | HelmError::DependenciesMissing { .. } => {
            Failure::Usage(error.to_string())
        }
        error => Failure::failed(error),
    })?;
    let bodies = |manifests: &str| -> Result<Vec<Value>, Failure> {
        Ok(parse(manifests, "helm template")?.into_iter().map(|object| object.body).collect())
    };
    let mut objects = bodies(&rendered.manifests)?;
    if let Some(again) = again {
        objects = envctl_programs::helm::carry(&former, objects, &bodies(&again.manifests)?);
    }
    let kept = Kept { inputs: digest, manifests: rendered.manifests, objects };
    if home.exists() {
        home.write_json(purpose.file(), &kept)?;
    }
    kept.objects(source)
}

fn chart_name(chart: &Path) -> Option<String> {
    let text = std::fs::read_to_string(chart.join("Chart.yaml")).ok()?;
    let chart: Value = serde_yaml::from_str(&text).ok()?;
    chart["name"].as_str().map(str::to_owned)
}

async fn take_manifests(
    project: &Project,
    manifests: &envctl_model::stack::Manifests,
    supervisor: &Supervisor,
) -> Result<Objects, Failure> {
    let mut list = Vec::new();
    for file in manifests.files.iter().flatten() {
        let path = project.dir.join(&file.value);
        let text = std::fs::read_to_string(&path).map_err(|e| {
            let message = format!("cannot read {}: {e}", file.value.display());
            Failure::Input(project.file.error_at(file, message, None))
        })?;
        list.extend(parse(&text, &file.value.display().to_string())?);
    }
    if let Some((program, arguments)) = manifests.command.as_ref().and_then(|c| c.split_first()) {
        let output = Command::new(program)
            .args(arguments.iter().cloned())
            .current_dir(&project.dir)
            .whole_stdout()
            .run(supervisor)
            .await
            .map_err(Failure::failed)?;
        list.extend(parse(&output.stdout_text(), program)?);
    }
    Ok(Objects { list, source: "manifests".to_owned() })
}

/// Parses manifests.
pub(crate) fn parse(text: &str, origin: &str) -> Result<Vec<Object>, Failure> {
    envctl_translate::parse(text, origin).map_err(|e| Failure::Usage(e.to_string()))
}

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
    /// The backing services.
    pub(crate) backing: Option<&'a Backing>,
    /// Which hooks run.
    pub(crate) stage: Stage,
    /// Where single files of volumes may be put.
    pub(crate) host_files: PathBuf,
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
    let input = Input {
        objects: from.objects.list.clone(),
        environment: Environment {
            name: from.name.to_owned(),
            namespace: from.name.to_owned(),
            project: from.name.to_owned(),
            labels: environment_labels(from.name, from.ownership),
        },
        network: Network { name: from.name.to_owned(), subnet: from.subnet },
        engine: engine_facts(from.engine, from.compose_version),
        agent_image: from.agent_image.to_owned(),
        router: Some(Router {
            network: router::name(from.router_port),
            http_port: from.router_port,
            control: format!("{ROUTER_ALIAS}:{CONTROL_PORT}"),
        }),
        backing: from.backing.map(|backing| envctl_translate::Backing {
            network: backing.network.clone(),
            services: backing
                .services
                .iter()
                .map(|service| BackingInput {
                    name: service.name.clone(),
                    upstream: service.container.clone(),
                    ports: service.ports.clone(),
                    host: service
                        .route
                        .as_ref()
                        .map(|(host, port)| (format!("{host}.{}.localhost", from.name), *port)),
                })
                .collect(),
        }),
        stage: from.stage,
        missing_references: MissingReferences::Deny,
        host_files: Some(from.host_files.clone()),
    };
    run(&input)
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
        backing: None,
        stage: Stage::Install,
        missing_references: MissingReferences::Placeholder,
        host_files: None,
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

/// Where an environment answers: the hosts of its Ingresses first, then those of its backing services.
pub(crate) fn urls(translation: &Translation, port: u16, backing: Option<&Backing>) -> Vec<String> {
    let is_backing = |service: &str| backing.is_some_and(|b| b.services.iter().any(|s| s.name == service));
    let (last, first): (Vec<_>, Vec<_>) = translation.urls.iter().partition(|url| is_backing(&url.service));
    let mut urls = Vec::new();
    for url in first.into_iter().chain(last) {
        let path = if url.path == "/" { "" } else { url.path.as_str() };
        let text = format!("http://{}:{port}{path}", url.host);
        if !urls.contains(&text) {
            urls.push(text);
        }
    }
    urls
}

/// An object, with its values hidden if it is a Secret and they are not to be shown.
pub(crate) fn hide_secret(object: &Value, show: bool) -> Value {
    let mut object = object.clone();
    if object["kind"] == "Secret" && !show {
        for section in ["data", "stringData"] {
            for value in object
                .get_mut(section)
                .and_then(Value::as_object_mut)
                .into_iter()
                .flat_map(|m| m.values_mut())
            {
                *value = HIDDEN.into();
            }
        }
    }
    object
}

const HIDDEN: &str = "(hidden)";

/// A Compose file, or an object, with everything hidden that stands in one of the Secrets or is a
/// sensitive output of Terraform.
pub(crate) fn hide_secrets(shown: Value, objects: &Objects, sensitive: &[Value]) -> Value {
    let mut secrets: Vec<String> = sensitive.iter().filter_map(|v| v.as_str().map(str::to_owned)).collect();
    for object in objects.list.iter().filter(|o| o.kind == "Secret") {
        for value in object.body["stringData"].as_object().into_iter().flat_map(|m| m.values()) {
            secrets.extend(value.as_str().map(str::to_owned));
        }
        for value in object.body["data"].as_object().into_iter().flat_map(|m| m.values()) {
            secrets.extend(value.as_str().map(str::to_owned));
            let decoded = value.as_str().and_then(|text| STANDARD.decode(text).ok());
            secrets.extend(decoded.and_then(|bytes| String::from_utf8(bytes).ok()));
        }
    }
    // Short values (`true`, a port) would hide half the file and give nothing away.
    secrets.retain(|secret| secret.len() >= 4);
    secrets.sort_by_key(|secret| std::cmp::Reverse(secret.len()));
    hide(shown, &secrets)
}

fn hide(value: Value, secrets: &[String]) -> Value {
    match value {
        Value::String(mut text) => {
            for secret in secrets {
                // Compose doubles each dollar sign.
                text = text.replace(secret.as_str(), HIDDEN).replace(&secret.replace('$', "$$"), HIDDEN);
            }
            Value::String(text)
        }
        Value::Array(list) => list.into_iter().map(|v| hide(v, secrets)).collect(),
        // A seeder's content is a document of files, encoded: nothing in it is found by searching.
        Value::Object(map) => map
            .into_iter()
            .map(|(key, v)| match key.as_str() {
                "content" => (key, HIDDEN.into()),
                _ => (key, hide(v, secrets)),
            })
            .collect(),
        other => other,
    }
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

/// The names that Compose gives to the containers of a translation.
pub(crate) fn container_names(translation: &Translation, project: &str) -> Vec<String> {
    keys(&translation.compose, "services").map(|service| format!("{project}-{service}-1")).collect()
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
