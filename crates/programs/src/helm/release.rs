//! A release on a cluster: installed, upgraded, uninstalled by helm itself.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use super::{HelmError, Rendered, STEERING, Template};
use crate::private;
use crate::process::{Command, ProgramError, Stream, Supervisor, Tool};

/// How helm reaches a cluster.
#[derive(Debug, Clone)]
pub struct Access {
    /// A kubeconfig that leads to this cluster and to no other, mode 0600.
    pub kubeconfig: PathBuf,
    /// Where generated values and caches are put while helm runs: a directory for its owner only.
    pub scratch: PathBuf,
}

/// How a release is delivered.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// Labels of the release, by which its owner is known.
    pub labels: BTreeMap<String, String>,
    /// How long helm waits at most for a hook, and for all of it.
    pub timeout: Duration,
    /// Helm 4 takes fields from other managers only when told to.
    pub force_conflicts: bool,
}

impl Template {
    /// Installs the chart, or upgrades it, and waits until helm finds it ready, hooks included. Values
    /// of former releases play no part.
    ///
    /// # Errors
    /// Helm's own error, whole.
    pub async fn deliver(
        &self,
        to: &Access,
        how: &Delivery,
        by: &Supervisor,
        line: impl FnMut(Stream, &str),
    ) -> Result<(), HelmError> {
        let mut command = self
            .on(to, "upgrade")?
            .args(["--install", "--reset-values", "--wait", "--wait-for-jobs", "--history-max", "5"])
            .arg("--timeout")
            .arg(format!("{}s", how.timeout.as_secs()));
        if !how.labels.is_empty() {
            let pairs: Vec<_> = how.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            command = command.arg("--labels").arg(pairs.join(","));
        }
        if how.force_conflicts {
            command = command.arg("--force-conflicts");
        }
        command.run_with_lines(by, line).await?;
        Ok(())
    }

    /// Renders the chart as the cluster would get it: `lookup` and capabilities are the cluster's.
    /// Nothing is changed there.
    ///
    /// # Errors
    /// Helm's own error, whole.
    pub async fn render_on(
        &self,
        to: &Access,
        is_upgrade: bool,
        by: &Supervisor,
    ) -> Result<Rendered, HelmError> {
        let mut command = self
            .on(to, "template")?
            .args(["--dry-run=server", "--disable-openapi-validation"])
            .args(["--kube-version", &self.kube_version])
            .whole_stdout();
        if is_upgrade {
            command = command.arg("--is-upgrade");
        }
        let output = command.run(by).await?;
        Ok(Rendered { manifests: output.stdout_text().into_owned(), warnings: output.stderr })
    }

    /// Uninstalls the release, with its `hooks` or without, without waiting for its objects to go: who removes the
    /// namespace waits, and can say what is in the way. One that is not there is no error.
    ///
    /// # Errors
    /// Helm's own error, whole.
    pub async fn uninstall(
        &self,
        to: &Access,
        timeout: Duration,
        hooks: bool,
        by: &Supervisor,
    ) -> Result<(), HelmError> {
        let command = reach(Command::new(&self.program).args(["uninstall", &self.release]), to)
            // What owns pods goes when they have ended: nobody else says when that is.
            .args(["--namespace", &self.namespace, "--ignore-not-found", "--cascade", "foreground"])
            .arg("--timeout")
            .arg(format!("{}s", timeout.as_secs()))
            .envs(&self.env);
        let command = if hooks { command } else { command.arg("--no-hooks") };
        command.run(by).await?;
        Ok(())
    }

    fn on(&self, to: &Access, verb: &str) -> Result<Command, HelmError> {
        let command = Command::new(&self.program).args([verb, &self.release]).arg(&self.chart);
        let mut command = reach(command, to).args(["--namespace", &self.namespace]);
        for path in &self.values {
            command = command.arg("--values").arg(path);
        }
        if !self.generated.is_null() {
            let generated = to.scratch.join("values.json");
            private::write(&generated, self.generated.to_string().as_bytes())
                .map_err(ProgramError::io("write the generated values"))?;
            command = command.arg("--values").arg(generated);
        }
        for pair in &self.set {
            command = command.arg("--set").secret_arg(pair);
        }
        Ok(command.envs(&self.env))
    }
}

fn reach(command: Command, to: &Access) -> Command {
    let command = STEERING.iter().fold(command, |command, variable| command.env_remove(*variable));
    command
        .arg("--kubeconfig")
        .arg(&to.kubeconfig)
        .env("KUBECACHEDIR", to.scratch.join("cache"))
        .how_to_get(Tool::Helm.how_to_get())
}
