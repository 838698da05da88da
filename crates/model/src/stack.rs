//! The stack file, `envctl.yaml`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_yaml::Spanned;

use crate::diagnostic::Diagnostic;
use crate::facts::Facts;
use crate::host::{LOCAL_DOMAIN, is_domain};
use crate::requires::{Requirement, VERSION};
use crate::yaml::{self, span_of};

/// A whole stack file.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(title = "envctl stack file")]
pub struct Stack {
    /// `envctl/v1`.
    #[schemars(with = "ApiVersion")]
    pub api_version: Spanned<String>,
    /// `Stack`.
    #[schemars(with = "Kind")]
    pub kind: Spanned<String>,
    /// The project: the first part of every environment's name.
    #[schemars(with = "String")]
    pub project: Spanned<String>,
    /// Versions of envctl that may touch this stack's environments, such as `>=0.3`.
    #[schemars(with = "Option<String>")]
    pub requires: Option<Spanned<String>>,
    /// The Helm chart. Exactly one of `chart` and `manifests`.
    pub chart: Option<Chart>,
    /// Manifests instead of a chart.
    #[schemars(with = "Option<Manifests>")]
    pub manifests: Option<Spanned<Manifests>>,
    /// Images that are built from the working tree, by name.
    #[serde(default)]
    pub images: BTreeMap<String, Image>,
    /// Kubernetes Secrets to make: Secret name, then key, then where the value comes from.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, BTreeMap<String, SecretSource>>")]
    pub secrets: BTreeMap<String, Spanned<BTreeMap<String, SecretSource>>>,
    /// What envctl gives to the chart and to Terraform.
    #[serde(default)]
    pub inputs: Inputs,
    /// The stack's components, by name.
    #[serde(default)]
    pub components: BTreeMap<String, Component>,
    /// What envctl must never change.
    #[serde(default)]
    pub protected: Protected,
    /// Where environments can live, by name.
    pub targets: BTreeMap<String, Target>,
    /// Defaults of flags.
    #[serde(default)]
    pub defaults: Defaults,
}

#[derive(JsonSchema)]
#[allow(dead_code, reason = "only its schema is used")]
enum ApiVersion {
    #[serde(rename = "envctl/v1")]
    V1,
}

#[derive(JsonSchema)]
#[allow(dead_code, reason = "only its schema is used")]
enum Kind {
    Stack,
}

/// The Helm chart and the values that all targets share.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Chart {
    /// The chart's folder, relative to the stack file.
    #[schemars(with = "PathBuf")]
    pub path: Spanned<PathBuf>,
    /// Values files, later ones win.
    #[serde(default)]
    #[schemars(with = "Vec<PathBuf>")]
    pub values: Vec<Spanned<PathBuf>>,
}

/// Manifests instead of a chart: files, or a command that prints them. Exactly one of the two.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manifests {
    /// YAML files, relative to the stack file.
    #[schemars(with = "Option<Vec<PathBuf>>")]
    pub files: Option<Vec<Spanned<PathBuf>>>,
    /// A program and its arguments.
    pub command: Option<Vec<String>>,
}

/// An image that is built from the working tree.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Image {
    /// The build context, relative to the stack file.
    #[schemars(with = "PathBuf")]
    pub context: Spanned<PathBuf>,
    /// The Dockerfile, relative to the stack file; `Dockerfile` in the context if left out.
    #[schemars(with = "Option<PathBuf>")]
    pub dockerfile: Option<Spanned<PathBuf>>,
    /// The stage to build.
    pub target: Option<String>,
    /// Build arguments.
    #[serde(default)]
    pub args: BTreeMap<String, String>,
    /// The repository part of the image's reference.
    #[schemars(with = "String")]
    pub repository: Spanned<String>,
    /// The tag that CI pushes for a commit; a template.
    #[schemars(with = "Option<String>")]
    pub ci_tag: Option<Spanned<String>>,
}

/// Where the value of a Secret's key comes from. Exactly one field.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretSource {
    /// Draw this many random characters, once per environment.
    pub generate: Option<usize>,
    /// Take an environment variable.
    pub env: Option<String>,
    /// Take a file's content.
    pub file: Option<PathBuf>,
    /// Take what a program prints.
    pub command: Option<Vec<String>>,
}

/// What envctl gives to the chart and to Terraform. Strings are templates over facts.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Inputs {
    /// Chart values by dotted path (`image.tag`; `\.` for a dot in a key).
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub values: BTreeMap<String, Spanned<serde_json::Value>>,
    /// Terraform.
    #[serde(default)]
    pub terraform: TerraformInputs,
}

/// What envctl gives to Terraform.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TerraformInputs {
    /// Variables.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, serde_json::Value>")]
    pub vars: BTreeMap<String, Spanned<serde_json::Value>>,
}

/// A workload of the stack. Its name is that of the workload in the chart, or its
/// `app.kubernetes.io/component`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Component {
    /// What it is.
    pub kind: ComponentKind,
    /// How much it matters, 1 (least) to 5: the order of cutovers.
    pub criticality: Option<u8>,
    /// The chart value that switches it on.
    pub enabled_by: Option<String>,
}

/// What a component is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum ComponentKind {
    /// Answers requests of users.
    Service,
    /// Takes jobs from a queue.
    Worker,
    /// Runs at certain times.
    Schedule,
    /// An internal tool.
    Endpoint,
}

impl ComponentKind {
    /// As the stack file writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::Worker => "worker",
            Self::Schedule => "schedule",
            Self::Endpoint => "endpoint",
        }
    }
}

/// What envctl must never change. Names may end in `*`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Protected {
    /// AWS accounts.
    #[serde(default)]
    pub accounts: Vec<String>,
    /// EKS clusters.
    #[serde(default)]
    pub clusters: Vec<String>,
    /// Namespaces.
    #[serde(default)]
    pub namespaces: Vec<String>,
    /// Terraform workspaces.
    #[serde(default)]
    pub workspaces: Vec<String>,
}

impl Protected {
    /// These rules and those of `other`.
    #[must_use]
    pub fn and(mut self, other: &Self) -> Self {
        self.accounts.extend_from_slice(&other.accounts);
        self.clusters.extend_from_slice(&other.clusters);
        self.namespaces.extend_from_slice(&other.namespaces);
        self.workspaces.extend_from_slice(&other.workspaces);
        self
    }

    /// The rule that protects `name` among `rules`, if one does.
    #[must_use]
    pub fn rule<'a>(rules: &'a [String], name: &str) -> Option<&'a str> {
        rules
            .iter()
            .find(|rule| rule.strip_suffix('*').map_or(*rule == name, |prefix| name.starts_with(prefix)))
            .map(String::as_str)
    }
}

/// A place where environments can live. Which fields are allowed depends on `kind`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Target {
    /// `compose` (this machine) or `eks` (a namespace of a shared cluster).
    #[schemars(with = "TargetKind")]
    pub kind: Spanned<TargetKind>,
    /// Values files on top of the chart's.
    #[serde(default)]
    #[schemars(with = "Vec<PathBuf>")]
    pub values: Vec<Spanned<PathBuf>>,
    /// The Terraform root.
    pub terraform: Option<Terraform>,
    /// Inputs of this target alone: they win over the stack's, key by key, and `null` takes one away.
    #[serde(default)]
    pub inputs: Inputs,
    /// compose: a Compose file with services that stand in for what AWS gives.
    #[schemars(with = "Option<PathBuf>")]
    pub backing: Option<Spanned<PathBuf>>,
    /// compose: the port of the machine's HTTP router; 8080 if left out.
    pub router_port: Option<u16>,
    /// compose: whether a container of the environment holds the Engine's socket; `true` if left out. It restarts
    /// containers whose liveness probe fails, runs CronJobs, ends what runs longer than its deadline, starts pods
    /// anew whose sandbox has ended, and tells sandboxes which readiness probes that are commands pass.
    pub warden: Option<bool>,
    /// compose: live source for `up --dev`, by component.
    #[schemars(with = "Option<BTreeMap<String, Dev>>")]
    pub dev: Option<Spanned<BTreeMap<String, Dev>>>,
    /// eks: the AWS account.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<String>")]
    pub account: Option<Spanned<String>>,
    /// eks: the region.
    pub region: Option<String>,
    /// eks: the cluster.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<String>")]
    pub cluster: Option<Spanned<String>>,
    /// eks: the UID of the namespace kube-system, written by `envctl init --pin`.
    pub cluster_uid: Option<String>,
    /// eks: how to sign in.
    pub aws: Option<Aws>,
    /// The domain of host names, `NAME.ENVIRONMENT.DOMAIN`. One that begins with `*.` has one label for the
    /// star, as a wildcard certificate wants it: `NAME-ENVIRONMENT.DOMAIN`. compose: `localhost` if left out;
    /// another one has to lead to this machine.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<String>")]
    pub domain: Option<Spanned<String>>,
    /// eks: who installs the chart.
    pub delivery: Option<Delivery>,
    /// eks: limits of the namespace.
    pub guardrails: Option<Guardrails>,
}

/// The cluster that a target of kind `eks` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EksTarget<'a> {
    /// The AWS account, 12 digits.
    pub account: &'a str,
    /// The region.
    pub region: &'a str,
    /// The cluster's name.
    pub cluster: &'a str,
}

impl Target {
    /// Which cluster a target of kind `eks` means; `None` for other kinds. A stack file is refused
    /// where one of the three is missing.
    #[must_use]
    pub fn eks(&self) -> Option<EksTarget<'_>> {
        Some(EksTarget {
            account: &self.account.as_ref()?.value,
            region: self.region.as_deref()?,
            cluster: &self.cluster.as_ref()?.value,
        })
        .filter(|_| self.kind.value == TargetKind::Eks)
    }

    /// The domain below which host names are.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        let stated = self.domain.as_ref().map(|domain| domain.value.as_str());
        stated.or((self.kind.value == TargetKind::Compose).then_some(LOCAL_DOMAIN))
    }
}

type InputMap = BTreeMap<String, Spanned<serde_json::Value>>;

/// The stack's inputs with those of a target on top.
fn merged<'a>(
    stack: &'a InputMap,
    target: &'a InputMap,
) -> BTreeMap<&'a str, &'a Spanned<serde_json::Value>> {
    let mut all: BTreeMap<_, _> = stack.iter().map(|(key, value)| (key.as_str(), value)).collect();
    all.extend(target.iter().map(|(key, value)| (key.as_str(), value)));
    all.retain(|_, value| !value.value.is_null());
    all
}

impl Stack {
    /// Chart values for a target, by dotted path, as templates.
    #[must_use]
    pub fn values<'a>(&'a self, target: &'a Target) -> BTreeMap<&'a str, &'a Spanned<serde_json::Value>> {
        merged(&self.inputs.values, &target.inputs.values)
    }

    /// Terraform variables for a target, as templates.
    #[must_use]
    pub fn terraform_vars<'a>(
        &'a self,
        target: &'a Target,
    ) -> BTreeMap<&'a str, &'a Spanned<serde_json::Value>> {
        merged(&self.inputs.terraform.vars, &target.inputs.terraform.vars)
    }
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Spanned<String>>, D::Error> {
    Spanned::<String>::deserialize(deserializer).map(Some)
}

/// The kind of a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TargetKind {
    /// This machine, by Docker Compose.
    Compose,
    /// A namespace of a shared EKS cluster.
    Eks,
}

/// A Terraform root.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Terraform {
    /// The root module's folder, relative to the stack file.
    #[schemars(with = "PathBuf")]
    pub path: Spanned<PathBuf>,
    /// Variable files, relative to the root.
    #[serde(default)]
    #[schemars(with = "Vec<PathBuf>")]
    pub var_files: Vec<Spanned<PathBuf>>,
    /// The name of an environment's workspace, a template over `env.name`, `env.namespace` and `env.target`:
    /// `review-{{ env.name }}`, for a root that looks up what stands before the `-`. The environment's name if
    /// left out.
    #[serde(default, deserialize_with = "present")]
    #[schemars(with = "Option<String>")]
    pub workspace: Option<Spanned<String>>,
    /// Backend configuration.
    #[serde(default)]
    pub backend_config: BTreeMap<String, String>,
    /// compose: `local` keeps the state with the environment, whatever backend the root names: so it can be
    /// the root of another target, too.
    #[schemars(with = "Option<StateBackend>")]
    pub backend: Option<Spanned<StateBackend>>,
    /// Environment variables for Terraform and its providers, such as `AWS_ENDPOINT_URL`.
    #[serde(default)]
    #[schemars(with = "BTreeMap<String, String>")]
    pub env: BTreeMap<String, Spanned<String>>,
    /// eks: AWS accounts beside the target's in which the backend and providers may act.
    #[serde(default)]
    pub accounts: Vec<String>,
    /// eks: kinds of backends (`http`) and providers (`kubernetes`) that envctl cannot check, and that are
    /// used all the same.
    #[serde(default)]
    pub trust: Vec<String>,
    /// A program of the root, and its arguments, that says whether a resource still exists: it gets
    /// `{"address","type","name","values"}` as JSON on standard input; exit status 0 means that it
    /// exists, 3 that it is gone; what it prints is the evidence in the receipt.
    #[serde(default)]
    pub lookup: Vec<String>,
}

/// Where a state is kept instead of where the root says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum StateBackend {
    /// With the environment.
    Local,
}

impl Terraform {
    /// The name of an environment's workspace.
    ///
    /// # Errors
    /// When the template names a fact that does not exist, or is no template.
    pub fn workspace(&self, name: &str, target: &str) -> Result<String, crate::facts::TemplateError> {
        let Some(template) = &self.workspace else { return Ok(name.to_owned()) };
        // What may change in an environment's life is left out: its state would be sought elsewhere then.
        let mut facts = Facts::new();
        for (fact, value) in [("env.name", name), ("env.namespace", name), ("env.target", target)] {
            facts.set(fact, value);
        }
        let rendered = facts.render(&template.value)?.value;
        Ok(rendered.as_str().map_or_else(|| rendered.to_string(), str::to_owned))
    }
}

/// Live source of one component.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Dev {
    /// `HOST:CONTAINER`, such as `./app:/srv/app`: a path relative to the stack file, and where it is
    /// mounted in the first container.
    #[serde(default)]
    #[schemars(with = "Vec<String>")]
    pub mounts: Vec<Spanned<DevMount>>,
    /// The command instead of the container's and the image's.
    pub command: Option<Vec<String>>,
}

/// A path of the working tree in a container.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct DevMount {
    /// Relative to the stack file.
    pub host: PathBuf,
    /// Absolute.
    pub container: String,
}

impl TryFrom<String> for DevMount {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.split_once(':') {
            Some((host, container)) if !host.is_empty() && is_place(container) => {
                Ok(Self { host: host.into(), container: container.to_owned() })
            }
            _ => Err(format!("`{text}` is no mount: write HOST:CONTAINER, such as ./app:/srv/app")),
        }
    }
}

/// Whether something can be mounted there: an absolute path below the root, as it is, without options.
fn is_place(path: &str) -> bool {
    let mut parts = path.split('/');
    let is_absolute = parts.next() == Some("");
    is_absolute && path.len() > 1 && !path.contains(':') && parts.all(|part| part != "..")
}

/// How to sign in to AWS.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Aws {
    /// A profile.
    pub profile: Option<String>,
    /// A role to assume.
    pub role: Option<String>,
}

/// Who installs the chart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Delivery {
    /// Helm, started by envctl.
    Helm,
    /// An Argo CD Application.
    Argocd,
}

/// Limits of a namespace.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Guardrails {
    /// ResourceQuota, by resource.
    #[serde(default)]
    pub quota: BTreeMap<String, serde_json::Value>,
    /// Pod Security level.
    pub pod_security: Option<String>,
    /// Deny ingress from other namespaces.
    pub isolate_ingress: Option<bool>,
    /// Networks that may connect all the same.
    #[serde(default)]
    pub allow_ingress_from: Vec<String>,
}

/// Defaults of flags.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Defaults {
    /// `--target`.
    #[schemars(with = "Option<String>")]
    pub target: Option<Spanned<String>>,
    /// `--ttl`, such as `24h`.
    #[schemars(with = "Option<String>")]
    pub ttl: Option<Spanned<String>>,
}

/// A stack file that was parsed and checked.
#[derive(Debug, Clone)]
pub struct StackFile {
    /// The file as the user would name it.
    pub file: String,
    /// Its text.
    pub source: String,
    /// Its content.
    pub stack: Stack,
}

impl StackFile {
    /// Parses and checks a stack file.
    ///
    /// # Errors
    /// The first thing that is wrong, with its place and, for misspelt keys, a suggestion.
    pub fn parse(file: &str, source: &str) -> Result<Self, Box<Diagnostic>> {
        check_requires(file, source)?;
        let stack: Stack = yaml::read(file, source)?;
        let parsed = Self { file: file.to_owned(), source: source.to_owned(), stack };
        parsed.check()?;
        Ok(parsed)
    }

    /// An error at a value of this file.
    #[must_use]
    pub fn error_at<T>(
        &self,
        at: &Spanned<T>,
        message: impl Into<String>,
        help: Option<String>,
    ) -> Box<Diagnostic> {
        Box::new(Diagnostic {
            message: message.into(),
            file: self.file.clone(),
            source: self.source.clone(),
            span: span_of(&self.source, &at.referenced),
            label: String::new(),
            help,
        })
    }

    /// Where the cluster's name of a target stands in the text.
    #[must_use]
    pub fn span_of_cluster(&self, target: &str) -> Option<std::ops::Range<usize>> {
        let cluster = self.stack.targets.get(target)?.cluster.as_ref()?;
        Some(span_of(&self.source, &cluster.referenced))
    }

    fn check(&self) -> Result<(), Box<Diagnostic>> {
        let stack = &self.stack;
        if stack.api_version.value != "envctl/v1" {
            let message = format!("apiVersion `{}` is not known", stack.api_version.value);
            return Err(self.error_at(&stack.api_version, message, Some("write `envctl/v1`".into())));
        }
        if stack.kind.value != "Stack" {
            let message = format!("a stack file has kind `Stack`, not `{}`", stack.kind.value);
            return Err(self.error_at(&stack.kind, message, None));
        }
        let project = &stack.project.value;
        if project.len() > 20 || crate::name::label(project, 20) != *project {
            let message =
                format!("project `{project}` is not a name of a-z, 0-9 and `-`, of at most 20 characters");
            return Err(self.error_at(&stack.project, message, None));
        }
        match (&stack.chart, &stack.manifests) {
            (Some(_), Some(manifests)) => {
                return Err(self.error_at(
                    manifests,
                    "both `chart` and `manifests` are given",
                    Some("keep one of them".into()),
                ));
            }
            (None, None) => {
                let help = "add `chart: {path: ...}` or `manifests: {files: [...]}`".to_owned();
                return Err(self.error_at(
                    &stack.kind,
                    "the stack has neither `chart` nor `manifests`",
                    Some(help),
                ));
            }
            (None, Some(manifests)) => {
                if manifests.value.files.is_some() == manifests.value.command.is_some() {
                    return Err(self.error_at(
                        manifests,
                        "`manifests` needs exactly one of `files` and `command`",
                        None,
                    ));
                }
            }
            (Some(_), None) => {}
        }
        for keys in stack.secrets.values() {
            for (key, source) in &keys.value {
                let given = [
                    source.generate.is_some(),
                    source.env.is_some(),
                    source.file.is_some(),
                    source.command.is_some(),
                ];
                if given.iter().filter(|g| **g).count() != 1 {
                    let message = format!(
                        "secret key `{key}` needs exactly one of `generate`, `env`, `file`, `command`"
                    );
                    return Err(self.error_at(keys, message, None));
                }
            }
        }
        for (name, target) in &stack.targets {
            self.check_target(name, target)?;
        }
        if let Some(default) = &stack.defaults.target
            && !stack.targets.contains_key(&default.value)
        {
            let names: Vec<_> = stack.targets.keys().map(String::as_str).collect();
            let help = format!("targets of this file: {}", names.join(", "));
            return Err(self.error_at(
                default,
                format!("there is no target `{}`", default.value),
                Some(help),
            ));
        }
        if let Some(ttl) = &stack.defaults.ttl {
            parse_ttl(&ttl.value).map_err(|message| self.error_at(ttl, message, None))?;
        }
        Ok(())
    }

    fn check_target(&self, name: &str, target: &Target) -> Result<(), Box<Diagnostic>> {
        let wrong = match target.kind.value {
            TargetKind::Compose => [
                ("account", target.account.is_some()),
                ("region", target.region.is_some()),
                ("cluster", target.cluster.is_some()),
                ("clusterUid", target.cluster_uid.is_some()),
                ("aws", target.aws.is_some()),
                ("delivery", target.delivery.is_some()),
                ("guardrails", target.guardrails.is_some()),
            ]
            .into_iter()
            .find(|(_, given)| *given),
            TargetKind::Eks => [
                ("backing", target.backing.is_some()),
                ("routerPort", target.router_port.is_some()),
                ("warden", target.warden.is_some()),
                ("dev", target.dev.is_some()),
            ]
            .into_iter()
            .find(|(_, given)| *given),
        };
        if let Some(domain) = target.domain.as_ref().filter(|domain| !is_domain(&domain.value)) {
            let message =
                format!("`{}` is not a domain: write `dev.example.com` or `*.dev.example.com`", domain.value);
            return Err(self.error_at(domain, message, None));
        }
        if let Some(terraform) = &target.terraform {
            self.check_terraform(name, target, terraform)?;
        }
        if let Some((key, _)) = wrong {
            let (kind, other) = match target.kind.value {
                TargetKind::Compose => ("compose", "eks"),
                TargetKind::Eks => ("eks", "compose"),
            };
            let message =
                format!("target `{name}` is of kind `{kind}`, and `{key}` belongs to kind `{other}`");
            return Err(self.error_at(&target.kind, message, None));
        }
        if let Some(dev) = &target.dev
            && let Some(unknown) = dev.value.keys().find(|name| !self.stack.components.contains_key(*name))
        {
            let known: Vec<_> = self.stack.components.keys().map(String::as_str).collect();
            let message = format!("`dev` names `{unknown}`, which is no component of the stack");
            return Err(self.error_at(dev, message, Some(format!("its components: {}", known.join(", ")))));
        }
        if target.kind.value == TargetKind::Eks {
            let missing: Vec<_> = [
                ("account", target.account.is_none()),
                ("region", target.region.is_none()),
                ("cluster", target.cluster.is_none()),
            ]
            .into_iter()
            .filter_map(|(key, missing)| missing.then_some(key))
            .collect();
            if !missing.is_empty() {
                let message = format!("target `{name}` of kind `eks` needs {}", missing.join(", "));
                return Err(self.error_at(&target.kind, message, None));
            }
            if let Some(account) = &target.account
                && (account.value.len() != 12 || !account.value.bytes().all(|b| b.is_ascii_digit()))
            {
                let message = format!("`{}` is not an AWS account: 12 digits, quoted", account.value);
                return Err(self.error_at(account, message, None));
            }
        }
        Ok(())
    }

    fn check_terraform(
        &self,
        name: &str,
        target: &Target,
        terraform: &Terraform,
    ) -> Result<(), Box<Diagnostic>> {
        let is_shared = target.kind.value == TargetKind::Eks;
        if let Some(template) = &terraform.workspace {
            let of = |environment: &str| {
                let rendered = terraform.workspace(environment, name);
                rendered.map_err(|error| {
                    let text = error.to_string();
                    let (message, help) = text.split_once('\n').unwrap_or((&text, ""));
                    self.error_at(template, message, Some(help.to_owned()).filter(|help| !help.is_empty()))
                })
            };
            let workspace = of("a")?;
            if !is_workspace(&workspace) {
                let message = format!("`{}` does not make the name of a Terraform workspace", template.value);
                let help = "it has letters, digits, `-`, `_` and `.`, begins with a letter or a digit, and is not `default`";
                return Err(self.error_at(template, message, Some(help.to_owned())));
            }
            if is_shared && workspace == of("b")? {
                let message = "all environments would have the same Terraform workspace";
                let help = format!("name the environment in it: `{}-{{{{ env.name }}}}`", template.value);
                return Err(self.error_at(template, message, Some(help)));
            }
        }
        if let Some(backend) = &terraform.backend {
            if is_shared {
                let message = "other machines have to find the state of an environment on a shared cluster";
                let help = "leave `backend` out: the root's own is used";
                return Err(self.error_at(backend, message, Some(help.to_owned())));
            }
            if !terraform.backend_config.is_empty() {
                let message = "`backendConfig` completes the root's own backend, which `backend` replaces";
                return Err(self.error_at(backend, message, Some("leave one of them out".to_owned())));
            }
        }
        for (variable, value) in &terraform.env {
            let why = match variable.as_str() {
                "TF_WORKSPACE" => "`workspace` says it",
                "TF_DATA_DIR" => "each environment has one of its own",
                name if name.starts_with("TF_CLI_ARGS") || name == "TF_REATTACH_PROVIDERS" => {
                    "it would change what envctl's calls mean"
                }
                name if is_shared && name.starts_with("AWS_") => {
                    "on a shared cluster Terraform acts with the credentials that were checked, and nowhere else"
                }
                _ => continue,
            };
            return Err(self.error_at(value, format!("`{variable}` is envctl's to set: {why}"), None));
        }
        Ok(())
    }
}

/// Refuses a file that is not for this version, before its keys are read: another version may have more of
/// them.
fn check_requires(file: &str, source: &str) -> Result<(), Box<Diagnostic>> {
    #[derive(Deserialize)]
    struct Requiring {
        requires: Option<Spanned<String>>,
    }
    // What is wrong beside it is told when the whole file is read.
    let Ok(Requiring { requires: Some(requires) }) = yaml::read(file, source) else { return Ok(()) };
    let refuse = |message: String, help: &str| {
        Err(Box::new(Diagnostic {
            message,
            file: file.to_owned(),
            source: source.to_owned(),
            span: span_of(source, &requires.referenced),
            label: String::new(),
            help: Some(help.to_owned()),
        }))
    };
    match requires.value.parse::<Requirement>() {
        Ok(requirement) if requirement.allows(VERSION) => Ok(()),
        Ok(requirement) => refuse(
            format!("this stack requires envctl {requirement}, and this is {VERSION}"),
            "use a version that it allows",
        ),
        Err(error) => refuse(error.to_string(), "write comparisons such as `>=0.3` or `>=0.3, <1`"),
    }
}

/// Whether Terraform takes this as the name of a workspace of one's own, and every backend as a part of a path.
fn is_workspace(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    name.starts_with(|c: char| c.is_ascii_alphanumeric()) && name.chars().all(is_allowed) && name != "default"
}

/// Parses a time to live: `90m`, `24h`, `7d`. `never` is `None`.
///
/// # Errors
/// A sentence that says what is accepted.
pub fn parse_ttl(text: &str) -> Result<Option<jiff::SignedDuration>, String> {
    if text == "never" {
        return Ok(None);
    }
    let wrong = || format!("`{text}` is not a time to live: write `90m`, `24h`, `7d` or `never`");
    let unit = text.chars().last().ok_or_else(wrong)?;
    let hours_per_unit = match unit {
        's' => 1.0 / 3600.0,
        'm' => 1.0 / 60.0,
        'h' => 1.0,
        'd' => 24.0,
        _ => return Err(wrong()),
    };
    let number: u32 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    if number == 0 {
        return Err(wrong());
    }
    #[allow(clippy::cast_possible_truncation, reason = "whole seconds of a u32 number of units fit")]
    Ok(Some(jiff::SignedDuration::from_secs((f64::from(number) * hours_per_unit * 3600.0).round() as i64)))
}

/// Sets `path` (dotted, `\.` for a dot in a key) in nested maps to `value`.
///
/// # Errors
/// When a shorter path was already set to something that is not a map.
pub fn set_path(
    root: &mut serde_json::Map<String, serde_json::Value>,
    path: &str,
    value: serde_json::Value,
) -> Result<(), String> {
    let mut keys = vec![String::new()];
    let mut escaped = false;
    for c in path.chars() {
        match c {
            '\\' if !escaped => {
                escaped = true;
                continue;
            }
            '.' if !escaped => keys.push(String::new()),
            c => {
                if let Some(key) = keys.last_mut() {
                    key.push(c);
                }
            }
        }
        escaped = false;
    }
    let last = keys.pop().unwrap_or_default();
    let mut map = root;
    for key in keys {
        let next = map.entry(key.clone()).or_insert_with(|| serde_json::json!({}));
        map = next.as_object_mut().ok_or_else(|| {
            format!("`{path}` goes through `{key}`, which another input sets to a plain value")
        })?;
    }
    map.insert(last, value);
    Ok(())
}

/// Renders all templates inside a value. The second result says whether a sensitive fact went in.
///
/// # Errors
/// The first template that cannot be rendered.
pub fn render_value(
    facts: &Facts,
    value: &serde_json::Value,
) -> Result<(serde_json::Value, bool), crate::facts::TemplateError> {
    use serde_json::Value;
    Ok(match value {
        Value::String(text) => {
            let rendered = facts.render(text)?;
            (rendered.value, rendered.sensitive)
        }
        Value::Array(list) => {
            let mut sensitive = false;
            let list = list
                .iter()
                .map(|v| {
                    let (v, s) = render_value(facts, v)?;
                    sensitive |= s;
                    Ok(v)
                })
                .collect::<Result<Vec<_>, _>>()?;
            (Value::Array(list), sensitive)
        }
        Value::Object(map) => {
            let mut sensitive = false;
            let map = map
                .iter()
                .map(|(k, v)| {
                    let (v, s) = render_value(facts, v)?;
                    sensitive |= s;
                    Ok((k.clone(), v))
                })
                .collect::<Result<_, _>>()?;
            (Value::Object(map), sensitive)
        }
        other => (other.clone(), false),
    })
}

/// The JSON Schema of a stack file.
#[must_use]
pub fn schema() -> schemars::Schema {
    schemars::schema_for!(Stack)
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = include_str!("../tests/whole.yaml");

    #[test]
    fn the_whole_file_of_the_design_parses() {
        let file = StackFile::parse("envctl.yaml", WHOLE).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(file.stack.components["mailer"].kind, ComponentKind::Worker);
        assert_eq!(
            file.stack.targets["dev"].account.as_ref().map(|a| a.value.as_str()),
            Some("333333333333")
        );
        let dev = file.stack.targets["local"].dev.as_ref().map(|dev| &dev.value["mailer"]);
        let mounts = dev.into_iter().flat_map(|dev| &dev.mounts).map(|mount| mount.value.clone());
        assert_eq!(
            mounts.collect::<Vec<_>>(),
            [DevMount { host: "./app".into(), container: "/srv/app".into() }]
        );
    }

    fn error(source: &str) -> String {
        StackFile::parse("envctl.yaml", source).unwrap_err().render(false)
    }

    #[test]
    fn a_misspelt_key_gets_line_caret_and_suggestion() {
        insta::assert_snapshot!(error(&WHOLE.replace("dockerfile:", "dokerfile:")));
    }

    #[test]
    fn a_missing_target_is_named_with_those_that_exist() {
        insta::assert_snapshot!(error(&WHOLE.replace("target: local,", "target: lcoal,")));
    }

    #[test]
    fn a_version_that_is_not_allowed_is_told_before_keys_that_it_would_not_know() {
        let newer = WHOLE.replace(">=0.3", ">=99").replace("dockerfile:", "fromTheFuture:");
        insta::assert_snapshot!(error(&newer));
        insta::assert_snapshot!(error(&WHOLE.replace(">=0.3", "soon")));
    }

    #[test]
    fn workspaces_have_the_names_that_a_root_knows() {
        let with = |key: &str| {
            WHOLE.replace("path: deploy/terraform/aws,", &format!("path: deploy/terraform/aws, {key},"))
        };
        let name = |key: &str| {
            let file = StackFile::parse("envctl.yaml", &with(key)).unwrap_or_else(|e| panic!("{e}"));
            file.stack.targets["dev"].terraform.as_ref().unwrap().workspace("album-aki", "dev").unwrap()
        };
        assert_eq!(name("accounts: []"), "album-aki");
        assert_eq!(name(r#"workspace: "review_{{ env.name }}""#), "review_album-aki");
        insta::assert_snapshot!(error(&with("workspace: staging")));
        insta::assert_snapshot!(error(&with(r#"workspace: "{{ git.branch }}-{{ env.name }}""#)));
        insta::assert_snapshot!(error(&with(r#"workspace: "review/{{ env.name }}""#)));
        // On a laptop each environment has a state of its own.
        let local =
            WHOLE.replace("path: deploy/terraform/local", "path: deploy/terraform/local, workspace: staging");
        StackFile::parse("envctl.yaml", &local).unwrap_or_else(|e| panic!("{e}"));
    }

    #[test]
    fn a_root_is_shared_by_variables_and_a_state_of_the_environments_own() {
        let shared =
            "path: deploy/terraform/aws, backend: local, env: {AWS_ENDPOINT_URL: \"http://127.0.0.1:4566\"}";
        let local = WHOLE.replace("path: deploy/terraform/local", shared);
        StackFile::parse("envctl.yaml", &local).unwrap_or_else(|e| panic!("{e}"));
        let on_the_cluster = WHOLE.replace("path: deploy/terraform/aws", shared);
        insta::assert_snapshot!(error(&on_the_cluster.replace("backend: local, ", "")));
        insta::assert_snapshot!(error(&on_the_cluster));
        insta::assert_snapshot!(error(
            &local.replace("backend: local", "backend: local, backendConfig: {path: x}")
        ));
        insta::assert_snapshot!(error(&local.replace("AWS_ENDPOINT_URL", "TF_WORKSPACE")));
        let arguments = error(&local.replace("AWS_ENDPOINT_URL", "TF_CLI_ARGS_plan"));
        assert!(arguments.contains("it would change what envctl's calls mean"), "{arguments}");
    }

    #[test]
    fn a_target_has_a_domain() {
        let file = StackFile::parse("envctl.yaml", WHOLE).unwrap_or_else(|e| panic!("{e}"));
        let domain = |target: &str| file.stack.targets[target].domain();
        assert_eq!((domain("local"), domain("dev")), (Some("localhost"), Some("dev.example.com")));
        insta::assert_snapshot!(error(&WHOLE.replace("domain: dev.", "domain: https://dev.")));
    }

    #[test]
    fn keys_of_the_other_kind_are_refused() {
        insta::assert_snapshot!(error(&WHOLE.replace("kind: compose", "kind: eks")));
    }

    #[test]
    fn live_source_says_what_goes_where_and_for_which_component() {
        insta::assert_snapshot!(error(&WHOLE.replace("./app:/srv/app", "./app")));
        insta::assert_snapshot!(error(&WHOLE.replace("dev: {mailer:", "dev: {mialer:")));
        for wrong in ["./app:/srv/app:ro", "./app:/", "./app:/srv/../etc", "./app:srv"] {
            assert!(DevMount::try_from(wrong.to_owned()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn broken_yaml_points_at_its_place() {
        insta::assert_snapshot!(error("apiVersion: envctl/v1\nkind: [Stack\nproject: x\n"));
    }

    #[test]
    fn a_wrong_ttl_says_what_is_accepted() {
        insta::assert_snapshot!(error(&WHOLE.replace("ttl: 24h", "ttl: tomorrow")));
        assert_eq!(parse_ttl("90m").unwrap(), Some(jiff::SignedDuration::from_mins(90)));
        assert_eq!(parse_ttl("7d").unwrap(), Some(jiff::SignedDuration::from_hours(168)));
        assert_eq!(parse_ttl("never").unwrap(), None);
        for wrong in ["", "0h", "-1h", "1w", "h", "99999999999999h"] {
            assert!(parse_ttl(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn dotted_paths_nest_and_conflicts_are_named() {
        let mut map = serde_json::Map::new();
        set_path(&mut map, "image.tag", "1".into()).unwrap();
        set_path(&mut map, r"annotations.a\.b", "2".into()).unwrap();
        assert_eq!(
            serde_json::Value::Object(map.clone()),
            serde_json::json!({"image": {"tag": "1"}, "annotations": {"a.b": "2"}})
        );
        assert!(set_path(&mut map, "image.tag.x", "3".into()).unwrap_err().contains("`tag`"));
    }

    #[test]
    fn protection_rules_match_names_and_prefixes() {
        let rules = vec!["production-*".to_owned(), "default".to_owned()];
        assert_eq!(Protected::rule(&rules, "production-eu"), Some("production-*"));
        assert_eq!(Protected::rule(&rules, "default"), Some("default"));
        assert_eq!(Protected::rule(&rules, "default-2"), None);
    }

    #[test]
    fn the_schema_in_the_repository_is_that_of_the_code() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/stack.schema.json");
        let now = serde_json::to_string_pretty(&schema()).unwrap() + "\n";
        if std::env::var_os("ENVCTL_BLESS").is_some() {
            std::fs::write(path, &now).unwrap();
        }
        let there = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            there == now,
            "schemas/stack.schema.json is out of date: run the tests once with ENVCTL_BLESS=1"
        );
    }
}
