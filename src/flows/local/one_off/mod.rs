//! `run` and `job run` on this machine's Engine: a pod made for one command, from what was delivered last, translated as
//! `up` translates it. It is removed afterwards, whatever came of it.

mod objects;

use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use envctl_local::compose::{ComposeError, ComposeProject, write_file};
use envctl_local::logs;
use envctl_local::remove;
use envctl_local::state::{self, ActualContainer};
use envctl_local::watch::{self, Outcome, Progress};
use envctl_model::labels::{self, Role};
use envctl_model::log::LogOptions;
use envctl_model::name::{EnvironmentName, hash};
use envctl_model::receipt::End;
use envctl_model::record::{Phase, Record};
use envctl_programs::process::{ProgramError, Supervisor};
use envctl_translate::Translation;
use futures_util::StreamExt as _;
use jiff::Timestamp;
use serde_json::{Value, json};
use tokio::sync::Notify;

use super::certificates;
use super::compose;
use super::machine::{Machine, explain};
use super::up::{self, desired, pod_volumes};
use crate::config::Base;
use crate::flows::chart::{self, Objects, Purpose};
use crate::flows::interrupts::Interrupts;
use crate::flows::secrets::Secrets;
use crate::flows::subject::local_record;
use crate::flows::up::Options;
use crate::flows::{Home, Store};
use crate::ui::{Failure, print, terminal};
use objects::Request;

/// How long what was interrupted may go on before its containers are looked for again.
const AGAIN: Duration = Duration::from_millis(500);

/// Pods for one command in an environment that is there, not yet made.
struct OneOff {
    machine: Machine,
    home: Home,
    record: Record,
    /// Of these pods alone.
    translation: Translation,
    /// What tells them from others.
    unique: String,
}

/// Runs a command in a pod of its own, which has a component's exact spec.
pub(crate) async fn run(
    base: &Base,
    name: &EnvironmentName,
    component: &str,
    container: Option<&str>,
    command: &[String],
) -> Result<(), Failure> {
    let request = Request { container, command, terminal: terminal::is_here() };
    let mut main = String::new();
    let one = OneOff::prepare(base, name, |objects, unique| {
        let (pod, container) = objects::pod(objects, component, &request, unique)?;
        main = container;
        Ok(pod)
    })
    .await?;
    // At a terminal Ctrl-C is the command's.
    let interrupts = Interrupts::listen()?;
    let ended = one.foreground(base, &main, request.terminal, &interrupts).await;
    let removed = one.remove().await;
    let status = ended?;
    removed?;
    Failure::of_code(status.code().unwrap_or(-1))
}

/// Has a CronJob run now, shows what it says, and waits for its end.
pub(crate) async fn job(
    base: &Base,
    name: &EnvironmentName,
    word: &str,
    timeout: Duration,
) -> Result<(), Failure> {
    let interrupts = Interrupts::listen()?;
    let one = OneOff::prepare(base, name, |objects, unique| objects::job(objects, word, unique)).await?;
    let ended = one.to_its_end(&interrupts, timeout).await;
    let said = one.say().await;
    let removed = one.remove().await;
    ended?;
    said.and(removed)
}

impl OneOff {
    /// Makes nothing yet.
    async fn prepare(
        base: &Base,
        name: &EnvironmentName,
        object: impl FnOnce(&[envctl_translate::Object], &str) -> Result<Value, String>,
    ) -> Result<Self, Failure> {
        let record = local_record(base, name)?;
        if record.phase == Phase::Creating {
            return Err(Failure::Refused(format!(
                "environment `{name}` has never been ready: `envctl up` goes on with it"
            )));
        }
        let mut base = base.clone();
        base.flags.name = Some(name.to_string());
        base.flags.target = Some(record.target.clone());
        let project = base.stack()?;
        let settings = base.settings(&project)?;
        let checked = up::check(&base, &project, &settings, &Options::plain()).await?;
        let home = Store::new(base.state_dir.value.clone()).home(name);
        let mut objects = delivered(&base, &home, name.as_str(), &checked.objects)?;
        let unique = hash(&format!("{} {} {}", Timestamp::now(), record.identity, std::process::id()), 6);
        let made = object(&objects.list, &unique).map_err(Failure::Usage)?;
        let made = chart::parse(&made.to_string(), "envctl run")?;
        let workloads: Vec<_> = made.iter().map(|made| (made.kind.clone(), made.name.clone())).collect();
        objects.list.extend(made);
        let mut translation = checked.translate_as_it_is(&objects, &settings, &home)?;
        translation.pods.retain(|pod| workloads.contains(&pod.workload));
        only(&mut translation, &unique);
        Ok(Self { machine: checked.machine, home, record, translation, unique })
    }

    fn project(&self) -> &str {
        self.record.name.as_str()
    }

    /// Writes the Compose file. It holds secrets, and goes as soon as it was read.
    fn file(&self) -> Result<tempfile::TempDir, Failure> {
        let directory = tempfile::Builder::new().prefix("one-off-").tempdir_in(self.home.file(""));
        let directory = directory.map_err(Failure::failed)?;
        let text = self.translation.compose.to_string();
        write_file(&directory.path().join("compose.json"), text.as_bytes()).map_err(Failure::failed)?;
        compose::write_host_files(&self.translation.host_files)?;
        Ok(directory)
    }

    /// Runs the pod's container in the foreground: its streams are ours. Whoever interrupts us interrupts it.
    async fn foreground(
        &self,
        base: &Base,
        container: &str,
        at_terminal: bool,
        interrupts: &Interrupts,
    ) -> Result<ExitStatus, Failure> {
        let directory = self.file()?;
        let services = self.translation.pods.iter().flat_map(|pod| &pod.services);
        let main = services
            .filter(|service| service.role == Role::Container)
            .find(|service| service.container.as_deref() == Some(container))
            .ok_or_else(|| Failure::Failed("the pod has no such container".to_owned()))?;
        let [program, words @ ..] = base.programs.compose.value.as_slice() else {
            return Err(Failure::Failed("docker compose is not installed".to_owned()));
        };
        let mut command = tokio::process::Command::new(program);
        command.args(words).args(["--ansi", "never", "--progress", "quiet", "-p", self.project()]);
        command.arg("-f").arg(directory.path().join("compose.json"));
        command.args(["run", "--rm", "--quiet-pull", "--interactive"]);
        if !at_terminal {
            command.arg("--no-TTY");
        }
        command.arg(&main.service);
        command.env("DOCKER_HOST", self.machine.reader.endpoint().to_string()).env_remove("DOCKER_CONTEXT");
        // The environment's own containers are of this project, and not in this file.
        command.env("COMPOSE_IGNORE_ORPHANS", "true").env_remove("COMPOSE_PROFILES");
        command.stdin(Stdio::inherit()).stdout(Stdio::inherit()).stderr(Stdio::inherit());
        let failed = |e: std::io::Error| Failure::Failed(format!("cannot start docker compose: {e}"));
        let mut running = command.spawn().map_err(failed)?;
        tokio::select! {
            ended = running.wait() => return ended.map_err(failed),
            () = interrupts.token.cancelled() => {}
        }
        if let Some(pid) = running.id().and_then(|id| rustix::process::Pid::from_raw(id.cast_signed())) {
            // One that has ended meanwhile needs no signal.
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        }
        // A first process that does not listen to that is asked by its removal; what comes meanwhile goes with the next.
        loop {
            self.remove().await?;
            if let Ok(ended) = tokio::time::timeout(AGAIN, running.wait()).await {
                ended.map_err(failed)?;
                return Err(Failure::Interrupted);
            }
        }
    }

    /// Runs the pods until they have ended, well or not.
    async fn to_its_end(&self, interrupts: &Interrupts, timeout: Duration) -> Result<(), Failure> {
        let directory = self.file()?;
        let file = directory.path().join("compose.json");
        let project = ComposeProject { name: self.project(), file: &file };
        let desired: Vec<_> = desired(&self.translation);
        let services: Vec<String> =
            desired.iter().flat_map(|pod| pod.containers.iter().map(|c| c.service.clone())).collect();
        let since = Timestamp::now();
        let (stop, signals) = interrupts.derived();
        let by = Supervisor { signals, ..Supervisor::default() };
        let Machine { cli, reader, .. } = &self.machine;
        let (said, look) = (Notify::new(), Notify::new());
        let composed = project.up(cli, reader, &by, &services, |_, _| said.notify_one());
        let deadline = Instant::now() + timeout;
        let waiting = watch::wait(
            reader,
            &self.record.identity,
            Progress::new(&desired),
            since,
            deadline,
            &look,
            |_, _| {},
        );
        let (mut composed, mut waiting) = (std::pin::pin!(composed), std::pin::pin!(waiting));
        let outcome = tokio::select! {
            never = watch::look_when_silent(&said, &look) => match never {},
            outcome = &mut waiting => outcome,
            composed = &mut composed => match composed {
                // What ended badly is seen by its events, with why.
                Ok(()) | Err(ComposeError::DependencyFailed { .. }) => tokio::select! {
                    outcome = waiting => return told(outcome.map_err(|e| explain(&e))?, timeout),
                    () = interrupts.token.cancelled() => return Err(Failure::Interrupted),
                },
                Err(ComposeError::Program(ProgramError::Interrupted { .. })) => {
                    return Err(Failure::Interrupted);
                }
                Err(error) => return Err(Failure::Failed(error.to_string())),
            },
        };
        if !matches!(outcome, Ok(Outcome::Ready)) {
            // It would go on waiting for what has failed.
            stop.request();
        }
        let _ = composed.await;
        told(outcome.map_err(|e| explain(&e))?, timeout)
    }

    /// Its containers.
    async fn containers(&self) -> Result<Vec<ActualContainer>, Failure> {
        let all = state::containers(&self.machine.reader, &self.record.identity).await;
        let mut all = all.map_err(|e| explain(&e))?;
        all.retain(|container| container.one_off.as_deref() == Some(&self.unique));
        Ok(all)
    }

    /// Shows what the application in it said.
    async fn say(&self) -> Result<(), Failure> {
        let containers = self.containers().await?;
        let application = logs::select(&containers, None).map_err(|e| Failure::Usage(e.to_string()))?;
        let application: Vec<_> = application.into_iter().cloned().collect();
        let mut lines = logs::lines(&self.machine.reader, &application, LogOptions::default());
        while let Some(line) = lines.next().await {
            print(&line.map_err(|e| explain(&e))?.text);
        }
        Ok(())
    }

    async fn remove(&self) -> Result<(), Failure> {
        let engine = &self.machine.engine;
        // What was on its way when somebody interrupted may come a moment later.
        let mut made = self.containers().await?;
        while !made.is_empty() {
            let ends = remove::containers(engine, made).await.map_err(|e| explain(&e))?;
            if let Some((_, item)) = ends.into_iter().find(|(end, _)| *end == End::Left) {
                let mend = item.remove.unwrap_or_default();
                return Err(Failure::Failed(format!(
                    "{} is not removed: {}\n  {mend}",
                    item.id, item.evidence
                )));
            }
            made = self.containers().await?;
        }
        let pods = self.translation.pods.iter().map(|pod| pod.name.clone()).collect();
        let volumes = pod_volumes(&self.translation, self.project(), &pods);
        remove::volumes(engine, &self.record.identity, &volumes).await.map_err(|e| explain(&e))
    }
}

/// How it ended.
fn told(outcome: Outcome, timeout: Duration) -> Result<(), Failure> {
    match outcome {
        Outcome::Ready => Ok(()),
        Outcome::Failed(pods) => {
            let why: Vec<_> =
                pods.into_iter().map(|(pod, failure)| format!("{pod}: {}", failure.reason)).collect();
            Err(Failure::Failed(why.join("\n")))
        }
        Outcome::Deadline(_) => Err(Failure::Failed(format!(
            "it has not ended within {} s (--wait-timeout), and was removed",
            timeout.as_secs()
        ))),
    }
}

/// What was delivered last; where that is not kept, what would be now.
fn delivered(base: &Base, home: &Home, name: &str, checked: &Objects) -> Result<Objects, Failure> {
    let mut objects = match chart::delivered(home)? {
        Some(mut objects) => {
            for secret in Secrets::kept(home)?.objects() {
                objects.list.extend(chart::parse(&secret.to_string(), "secrets")?);
            }
            objects
        }
        None => checked.clone(),
    };
    certificates::add(base, home, name, &mut objects.list, Purpose::Deliver)?;
    Ok(objects)
}

/// Takes from the Compose file what is not of these pods, and marks the rest. Volumes of claims are there already, and are
/// not this file's to make.
fn only(translation: &mut Translation, unique: &str) {
    let ours: Vec<String> = translation
        .pods
        .iter()
        .flat_map(|pod| &pod.services)
        .map(|service| service.service.clone())
        .collect();
    let file = &mut translation.compose;
    if let Some(services) = file["services"].as_object_mut() {
        services.retain(|name, _| ours.contains(name));
        for service in services.values_mut() {
            service["labels"][labels::ONE_OFF] = json!(unique);
            // What else they wait for is there already.
            if let Some(waits) = service.get_mut("depends_on").and_then(Value::as_object_mut) {
                waits.retain(|name, _| ours.contains(name));
            }
        }
    }
    let used = file["services"].to_string();
    for section in ["volumes", "configs"] {
        if let Some(things) = file.get_mut(section).and_then(Value::as_object_mut) {
            things.retain(|name, _| used.contains(&format!("\"{name}\"")));
        }
    }
}

#[cfg(test)]
mod tests {
    use envctl_translate::{Phase, Pod, PodService};

    use super::*;

    #[test]
    fn only_what_is_of_the_pod_stays_in_the_file() {
        let service = |name: &str| PodService {
            service: name.to_owned(),
            container: None,
            role: Role::Container,
            image: String::new(),
            health: false,
        };
        let mut translation = Translation {
            compose: json!({
                "services": {
                    "run-app": {
                        "labels": {}, "volumes": [{"source": "run.data"}],
                        "depends_on": {"migrate": {"condition": "service_completed_successfully"}},
                    },
                    "api-app": {"labels": {}, "volumes": [{"source": "api.data"}]},
                },
                "volumes": {"run.data": {}, "api.data": {}},
                "networks": {"default": {}},
            }),
            pods: vec![Pod {
                name: "run".to_owned(),
                workload: ("Pod".to_owned(), "run".to_owned()),
                namespace: "shop".to_owned(),
                labels: [].into(),
                phase: Phase::Main,
                run_once: true,
                hash: String::new(),
                address: std::net::Ipv4Addr::LOCALHOST,
                sandbox: String::new(),
                services: vec![service("run-app")],
            }],
            ..Translation::default()
        };
        only(&mut translation, "x7");
        assert_eq!(
            translation.compose,
            json!({
                "services": {
                    "run-app": {
                        "labels": {labels::ONE_OFF: "x7"}, "volumes": [{"source": "run.data"}],
                        "depends_on": {},
                    },
                },
                "volumes": {"run.data": {}},
                "networks": {"default": {}},
            })
        );
    }
}
