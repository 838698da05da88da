//! `helm template`, renders that can be repeated, and releases.

mod discovery;
mod loopback;
mod release;
mod steady;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};

pub use release::{Access, Delivery};
pub use steady::carry;

use crate::private;
use crate::process::{Command, ProgramError, Supervisor, Tool};
use discovery::Kind;
use loopback::{Loopback, World};

/// The version that charts see where nobody says another.
pub const KUBE_VERSION: &str = "1.35.4";

/// A chart and all that goes into it.
#[derive(Debug, Clone)]
pub struct Template {
    /// Helm, by path or by name.
    pub program: PathBuf,
    /// The chart's directory or archive.
    pub chart: PathBuf,
    /// The release's name.
    pub release: String,
    /// The release's namespace.
    pub namespace: String,
    /// Values files, the last winning.
    pub values: Vec<PathBuf>,
    /// Values that win over the files.
    pub generated: Value,
    /// `--set` pairs as a user types them; they win over all.
    pub set: Vec<String>,
    /// What `.Capabilities.KubeVersion` says.
    pub kube_version: String,
    /// What `.Capabilities.APIVersions` has beside Kubernetes' own: `monitoring.coreos.com/v1`.
    pub api_versions: Vec<String>,
    /// Environment variables to set.
    pub env: BTreeMap<String, String>,
    /// Where to put generated values while Helm runs; the system's temporary directory if none is
    /// said. They may hold secrets, and a process that is killed leaves them behind.
    pub scratch: Option<PathBuf>,
}

/// What helm rendered.
#[derive(Clone, PartialEq, Eq)]
pub struct Rendered {
    /// The manifests, hooks included, as YAML with `# Source:` comments.
    pub manifests: String,
    /// What helm warned of.
    pub warnings: String,
}

/// Secrets are part of the manifests.
impl std::fmt::Debug for Rendered {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Rendered({} bytes)", self.manifests.len())
    }
}

/// Why nothing was rendered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum HelmError {
    /// Helm could not be run, or failed; its message is passed through whole.
    #[error(transparent)]
    Program(#[from] ProgramError),
    /// The chart's dependencies were not fetched.
    #[error("{message}\n  fetch them: helm dependency build {}", .chart.display())]
    DependenciesMissing {
        /// The chart.
        chart: PathBuf,
        /// What Helm says.
        message: String,
    },
    /// A values file or a part of the chart cannot be read.
    #[error("cannot read {}: {source}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

/// Variables by which a user's shell would lead Helm to a real cluster, or change what it writes.
const STEERING: [&str; 12] = [
    "KUBECONFIG",
    "HELM_DEBUG",
    "HELM_KUBEAPISERVER",
    "HELM_KUBEASGROUPS",
    "HELM_KUBEASUSER",
    "HELM_KUBECAFILE",
    "HELM_KUBECONTEXT",
    "HELM_KUBEINSECURE_SKIP_TLS_VERIFY",
    "HELM_KUBETLS_SERVER_NAME",
    "HELM_KUBETOKEN",
    "HELM_NAMESPACE",
    "HELM_DRIVER",
];

impl Template {
    /// A chart without values.
    pub fn new(
        program: impl Into<PathBuf>,
        chart: impl Into<PathBuf>,
        release: impl Into<String>,
        namespace: impl Into<String>,
    ) -> Self {
        Self {
            program: program.into(),
            chart: chart.into(),
            release: release.into(),
            namespace: namespace.into(),
            values: Vec::new(),
            generated: Value::Null,
            set: Vec::new(),
            kube_version: KUBE_VERSION.to_owned(),
            api_versions: Vec::new(),
            env: BTreeMap::new(),
            scratch: None,
        }
    }

    /// Renders the chart. `former` is what the last render gave, and what `lookup` will find; the
    /// chart is told that it upgrades where there is any.
    ///
    /// # Errors
    /// [`HelmError::DependenciesMissing`], [`HelmError::Unreadable`] for values files, or Helm's
    /// own error, whole.
    pub async fn render(&self, former: &[Value], by: &Supervisor) -> Result<Rendered, HelmError> {
        let api = self.api(former).await?;
        self.render_with(&api, former, by).await
    }

    /// Renders the chart as [`Template::render`] does, twice, for [`carry`] to find what is drawn
    /// at random. Where both renders are equal, only the first is given.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub async fn render_twice(
        &self,
        former: &[Value],
        by: &Supervisor,
    ) -> Result<(Rendered, Option<Rendered>), HelmError> {
        let api = self.api(former).await?;
        let (now, again) =
            tokio::try_join!(self.render_with(&api, former, by), self.render_with(&api, former, by))?;
        let differs = now.manifests != again.manifests;
        Ok((now, differs.then_some(again)))
    }

    /// A digest of all that goes into a render but the former one: where it is the same, nothing
    /// has to be rendered.
    ///
    /// # Errors
    /// When the chart or a values file cannot be read.
    pub fn inputs_digest(&self) -> Result<String, HelmError> {
        let mut digest = Sha256::new();
        let mut part = |name: &str, content: &[u8]| {
            digest.update(format!("{} {name} {}\n", name.len(), content.len()));
            digest.update(content);
        };
        for (name, path) in files_of(&self.chart)? {
            part(&name, &read(&path)?);
        }
        for path in &self.values {
            part("values", &read(path)?);
        }
        part("generated", self.generated.to_string().as_bytes());
        for pair in &self.set {
            part("set", pair.as_bytes());
        }
        for version in &self.api_versions {
            part("api", version.as_bytes());
        }
        for word in [&self.release, &self.namespace, &self.kube_version] {
            part("word", word.as_bytes());
        }
        use std::fmt::Write;
        Ok(digest.finalize().iter().fold(String::new(), |mut text, byte| {
            let _ = write!(text, "{byte:02x}");
            text
        }))
    }

    async fn api(&self, former: &[Value]) -> Result<Loopback, HelmError> {
        let mut world = World::new(&self.release, &self.namespace, &self.kube_version, former);
        for version in &self.api_versions {
            // Either a group and version, or with a kind behind it.
            match version.rsplit_once('/') {
                Some((api_version, kind)) if kind.starts_with(char::is_uppercase) => {
                    world.discovery.add(&Kind { api_version: api_version.to_owned(), kind: kind.to_owned() });
                }
                _ => {
                    world.discovery.add_version(version);
                }
            }
        }
        let served = Loopback::serve(world, self.scratch.as_deref()).await;
        Ok(served.map_err(ProgramError::io("serve the former render on the loopback interface"))?)
    }

    async fn render_with(
        &self,
        api: &Loopback,
        former: &[Value],
        by: &Supervisor,
    ) -> Result<Rendered, HelmError> {
        for path in &self.values {
            // Helm names the file as well, but by a path of its own making.
            fs::File::open(path).map_err(|source| HelmError::Unreadable { path: path.clone(), source })?;
        }
        let generated = api.kubeconfig().with_file_name("values.json");
        if !self.generated.is_null() {
            private::write(&generated, self.generated.to_string().as_bytes())
                .map_err(ProgramError::io("write the generated values"))?;
        }
        loop {
            let result = self.command(api, &generated, !former.is_empty()).run(by).await;
            let failure = match result {
                Ok(output) => {
                    let manifests = output.stdout_text().into_owned();
                    return Ok(Rendered { manifests, warnings: output.stderr });
                }
                Err(ProgramError::Failed(failure)) => failure,
                Err(error) => return Err(error.into()),
            };
            // A chart may bring kinds of its own; a cluster that gets it would know them.
            let unknown = unknown_kinds(&failure.message);
            if !unknown.is_empty() && api.learn(&unknown) {
                continue;
            }
            if failure.message.contains("missing in charts/ directory") {
                let (chart, message) = (self.chart.clone(), failure.message.trim_end().to_owned());
                return Err(HelmError::DependenciesMissing { chart, message });
            }
            return Err(ProgramError::Failed(failure).into());
        }
    }

    fn command(&self, api: &Loopback, generated: &Path, is_upgrade: bool) -> Command {
        let mut command = Command::new(&self.program)
            .args(["template", &self.release])
            .arg(&self.chart)
            .args(["--namespace", &self.namespace])
            .args(["--dry-run=server", "--disable-openapi-validation"])
            .arg("--kubeconfig")
            .arg(api.kubeconfig())
            // Helm 3 does not take these from the API.
            .args(["--kube-version", &self.kube_version])
            .how_to_get(Tool::Helm.how_to_get())
            .whole_stdout();
        for version in &self.api_versions {
            command = command.args(["--api-versions", version]);
        }
        if is_upgrade {
            command = command.arg("--is-upgrade");
        }
        for path in &self.values {
            command = command.arg("--values").arg(path);
        }
        if !self.generated.is_null() {
            command = command.arg("--values").arg(generated);
        }
        for pair in &self.set {
            command = command.arg("--set").secret_arg(pair);
        }
        STEERING
            .iter()
            .fold(command, |command, variable| command.env_remove(*variable))
            .envs(&self.env)
            .env("KUBECACHEDIR", api.cache())
    }
}

/// The kinds that Helm's message says the API does not know.
fn unknown_kinds(message: &str) -> Vec<Kind> {
    // no matches for kind "ServiceMonitor" in version "monitoring.coreos.com/v1"
    let rendered = message.split("no matches for kind \"").skip(1).filter_map(|rest| {
        let (kind, rest) = rest.split_once('"')?;
        let (api_version, _) = rest.strip_prefix(" in version \"")?.split_once('"')?;
        Some(Kind { api_version: api_version.to_owned(), kind: kind.to_owned() })
    });
    // unable to get apiresource from unstructured: monitoring.coreos.com/v1, Kind=ServiceMonitor
    let looked_up =
        message.split("unable to get apiresource from unstructured: ").skip(1).filter_map(|rest| {
            let (api_version, rest) = rest.split_once(", Kind=")?;
            let end = rest.find(|c: char| !c.is_alphanumeric()).unwrap_or(rest.len());
            let api_version = api_version.trim_start_matches('/').to_owned();
            Some(Kind { api_version, kind: rest[..end].to_owned() })
        });
    rendered.chain(looked_up).collect()
}

fn read(path: &Path) -> Result<Vec<u8>, HelmError> {
    fs::read(path).map_err(|source| HelmError::Unreadable { path: path.to_owned(), source })
}

/// The files of a chart, with names relative to it, in a fixed order.
fn files_of(chart: &Path) -> Result<BTreeMap<String, PathBuf>, HelmError> {
    let refused = |path: &Path| {
        let path = path.to_owned();
        move |source| HelmError::Unreadable { path, source }
    };
    let mut files = BTreeMap::new();
    let mut waiting = vec![(String::new(), chart.to_owned())];
    while let Some((name, path)) = waiting.pop() {
        if !fs::metadata(&path).map_err(refused(&path))?.is_dir() {
            files.insert(name, path);
            continue;
        }
        for entry in fs::read_dir(&path).map_err(refused(&path))? {
            let entry = entry.map_err(refused(&path))?;
            waiting.push((format!("{name}/{}", entry.file_name().to_string_lossy()), entry.path()));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_kinds_are_read_from_both_messages() {
        let message = "Error: unable to build kubernetes objects from release manifest: [resource mapping not found for name: \"x\" namespace: \"\" from \"\": no matches for kind \"ServiceMonitor\" in version \"monitoring.coreos.com/v1\"\nensure CRDs are installed first, unable to get apiresource from unstructured: a.b/v1, Kind=Thing: the server could not find]";
        let kind =
            |api_version: &str, kind: &str| Kind { api_version: api_version.into(), kind: kind.into() };
        assert_eq!(
            unknown_kinds(message),
            [kind("monitoring.coreos.com/v1", "ServiceMonitor"), kind("a.b/v1", "Thing")]
        );
    }

    #[test]
    fn every_input_changes_the_digest() {
        let chart = tempfile::tempdir().unwrap();
        fs::create_dir(chart.path().join("templates")).unwrap();
        fs::write(chart.path().join("templates/a.yaml"), "a").unwrap();
        let template = Template::new("helm", chart.path(), "album", "ns");
        let digest = |template: &Template| template.inputs_digest().unwrap();
        let first = digest(&template);
        assert_eq!(first, digest(&template.clone()));
        let mut set = template.clone();
        set.set.push("a=b".into());
        let mut generated = template.clone();
        generated.generated = serde_json::json!({"a": 1});
        assert_ne!(first, digest(&set));
        assert_ne!(first, digest(&generated));
        fs::write(chart.path().join("templates/a.yaml"), "b").unwrap();
        assert_ne!(first, digest(&template));
    }
}
