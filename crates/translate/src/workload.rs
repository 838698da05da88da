//! Workloads: objects that make pods, and the pods they make.

use std::collections::BTreeMap;

use envctl_model::finding::Severity;
use envctl_wire::{CronJob, Protocol};

use crate::cron_job;
use crate::cursor::{Cursor, Remark};
use crate::kinds::Workload;
use crate::names::{self, Names};
use crate::output::Phase;

/// One pod before it is translated.
#[derive(Debug, Clone)]
pub(crate) struct PodPlan<'a> {
    pub(crate) name: String,
    pub(crate) namespace: String,
    pub(crate) workload: (String, String),
    pub(crate) spec: Cursor<'a>,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) hostname: String,
    /// The headless Service that publishes the pod's own name.
    pub(crate) subdomain: Option<&'a str>,
    /// `volumeClaimTemplates`.
    pub(crate) claim_templates: Vec<Cursor<'a>>,
    pub(crate) restart: Restart,
    pub(crate) run_once: bool,
    pub(crate) phase: Phase,
    /// The pod that this one follows.
    pub(crate) after: Option<After>,
    /// Variables that the controller gives to all containers.
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) named_ports: BTreeMap<(String, Protocol), u16>,
    /// A CronJob's: nothing of it is started.
    pub(crate) schedule: Option<CronJob>,
    /// How many seconds it may run.
    pub(crate) deadline: Option<u64>,
}

/// What another pod must have reached before one starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum After {
    /// It is ready: StatefulSets make their pods one by one.
    Ready(String),
    /// It has completed: a Job runs so many pods at a time.
    Completed(String),
}

/// When containers are started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Restart {
    Always,
    /// At most this many times.
    OnFailure(Option<u32>),
    Never,
}

impl Restart {
    pub(crate) fn compose(self) -> String {
        match self {
            // `always` would also start a pod that `envctl` stopped, after a reboot.
            Self::Always => "unless-stopped".to_owned(),
            Self::OnFailure(None) => "on-failure".to_owned(),
            Self::OnFailure(Some(0)) | Self::Never => "no".to_owned(),
            Self::OnFailure(Some(limit)) => format!("on-failure:{limit}"),
        }
    }
}

/// The pods of one workload.
pub(crate) fn pods<'a>(
    kind: Workload,
    root: &Cursor<'a>,
    namespace: &str,
    phase: Phase,
    names: &mut Names,
) -> Vec<PodPlan<'a>> {
    let spec = workload_spec(kind, root);
    let template = if kind == Workload::Pod { root.clone() } else { spec.get("template") };
    // The controller matches its pods by it; here each pod knows its workload.
    spec.get("selector").take();
    let count = replicas(kind, &spec);
    if count == 0 && kind != Workload::Pod {
        template.remark(Remark::approximated(
            Severity::Info,
            "no-replicas",
            "the workload is scaled to zero",
        ));
        template.take();
        spec.get("volumeClaimTemplates").take();
    }
    let shared = Shared::read(kind, root, &template, namespace, phase);
    let first: u32 = spec.at(&["ordinals", "start"]).number().unwrap_or(0);
    let mut planned: Vec<PodPlan<'a>> = Vec::new();
    for ordinal in first..first.saturating_add(count) {
        let after = shared.after(&planned);
        planned.push(shared.pod(ordinal, after, names));
    }
    planned
}

/// Where a workload says what pods it wants.
fn workload_spec<'a>(kind: Workload, root: &Cursor<'a>) -> Cursor<'a> {
    match kind {
        Workload::CronJob => root.at(&["spec", "jobTemplate", "spec"]),
        _ => root.get("spec"),
    }
}

fn replicas(kind: Workload, spec: &Cursor<'_>) -> u32 {
    match kind {
        Workload::Pod | Workload::DaemonSet => 1,
        Workload::Deployment | Workload::ReplicaSet | Workload::StatefulSet => {
            spec.get("replicas").number().unwrap_or(1)
        }
        Workload::Job | Workload::CronJob => {
            if spec.get("suspend").boolean() == Some(true) {
                spec.get("suspend").remark(Remark::approximated(
                    Severity::Minor,
                    "suspended",
                    "the Job is suspended: it does not run",
                ));
                return 0;
            }
            let parallelism = spec.get("parallelism").number::<u32>();
            let completions = spec.get("completions").number::<u32>();
            // Nothing may run at a time: that, too, suspends it.
            if parallelism == Some(0) { 0 } else { completions.or(parallelism).unwrap_or(1) }
        }
    }
}

/// How many pods of a workload come up at a time.
#[derive(Debug, Clone, Copy)]
enum Window {
    /// Each waits until the former is ready.
    OneByOne,
    /// So many run, each of the others when one of those before has completed.
    AtATime(usize),
}

struct Shared<'a> {
    kind: Workload,
    name: &'a str,
    kind_name: &'a str,
    namespace: String,
    spec: Cursor<'a>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    subdomain: Option<&'a str>,
    claim_templates: Vec<Cursor<'a>>,
    window: Option<Window>,
    indexed: bool,
    restart: Restart,
    run_once: bool,
    phase: Phase,
    named_ports: BTreeMap<(String, Protocol), u16>,
    schedule: Option<CronJob>,
    deadline: Option<u64>,
}

impl<'a> Shared<'a> {
    fn read(kind: Workload, root: &Cursor<'a>, template: &Cursor<'a>, namespace: &str, phase: Phase) -> Self {
        let workload = workload_spec(kind, root);
        let spec = template.get("spec");
        let metadata = template.get("metadata");
        let policy = spec.get("restartPolicy").string().unwrap_or("Always");
        let restart = match (kind, policy) {
            (Workload::Job | Workload::CronJob, _) => {
                let limit = workload.get("backoffLimit").number().unwrap_or(6);
                if policy == "Never" && limit > 0 {
                    spec.get("restartPolicy").remark(Remark::approximated(
                        Severity::Info,
                        "job-retry",
                        "a failed container is started again in its pod, not in a new pod",
                    ));
                }
                Restart::OnFailure(Some(limit))
            }
            (Workload::Pod, "Never") => Restart::Never,
            (Workload::Pod, "OnFailure") => Restart::OnFailure(None),
            (Workload::Pod, _) | (_, "Always") => Restart::Always,
            _ => {
                spec.get("restartPolicy").invalid(policy, "`Always`, as pods of this kind must have");
                Restart::Always
            }
        };
        let is_job = matches!(kind, Workload::Job | Workload::CronJob);
        let stateful = kind == Workload::StatefulSet;
        let service_name = if stateful { workload.get("serviceName").string() } else { None };
        // A template's own name and namespace are ignored by controllers too.
        metadata.get("name").take();
        metadata.get("namespace").take();
        Self {
            kind,
            name: &root.object().name,
            kind_name: &root.object().kind,
            namespace: namespace.to_owned(),
            labels: metadata.get("labels").string_map(),
            annotations: metadata.get("annotations").string_map(),
            subdomain: service_name.or_else(|| spec.get("subdomain").string()),
            claim_templates: if stateful { workload.get("volumeClaimTemplates").items() } else { Vec::new() },
            window: window(kind, &workload),
            indexed: is_job && workload.get("completionMode").string() == Some("Indexed"),
            restart,
            run_once: is_job || (kind == Workload::Pod && restart != Restart::Always),
            phase,
            named_ports: named_ports(&spec),
            schedule: (kind == Workload::CronJob).then(|| cron_job::read(root)),
            deadline: deadline(kind, &workload, &spec),
            spec,
        }
    }

    /// What the next pod after `planned` follows.
    fn after(&self, planned: &[PodPlan<'a>]) -> Option<After> {
        match self.window? {
            Window::OneByOne => planned.last().map(|pod| After::Ready(pod.name.clone())),
            Window::AtATime(count) => {
                let before = planned.get(planned.len().checked_sub(count)?)?;
                Some(After::Completed(before.name.clone()))
            }
        }
    }

    fn pod(&self, ordinal: u32, after: Option<After>, names: &mut Names) -> PodPlan<'a> {
        let wanted = if self.kind == Workload::Pod {
            names::cut(&self.name.replace('.', "-"), names::LABEL_MAX)
        } else {
            names::pod(self.name, ordinal)
        };
        let identity = format!("{}/{}/{}", self.namespace, self.kind_name, self.name);
        let name =
            names.take(wanted, &identity, |hash| names::pod(&format!("{}-{hash}", self.name), ordinal));
        let mut labels = self.labels.clone();
        let mut environment = Vec::new();
        match self.kind {
            Workload::StatefulSet => {
                labels.insert("statefulset.kubernetes.io/pod-name".to_owned(), name.clone());
                labels.insert("apps.kubernetes.io/pod-index".to_owned(), ordinal.to_string());
            }
            Workload::Job | Workload::CronJob => {
                labels.insert("job-name".to_owned(), self.name.to_owned());
                labels.insert("batch.kubernetes.io/job-name".to_owned(), self.name.to_owned());
                if self.indexed {
                    labels.insert("batch.kubernetes.io/job-completion-index".to_owned(), ordinal.to_string());
                    environment.push(("JOB_COMPLETION_INDEX".to_owned(), ordinal.to_string()));
                }
            }
            _ => {}
        }
        let hostname = self.spec.get("hostname").string().unwrap_or(&name);
        PodPlan {
            namespace: self.namespace.clone(),
            workload: (self.kind_name.to_owned(), self.name.to_owned()),
            spec: self.spec.clone(),
            labels,
            annotations: self.annotations.clone(),
            hostname: names::cut(hostname, names::LABEL_MAX),
            subdomain: self.subdomain,
            claim_templates: self.claim_templates.clone(),
            restart: self.restart,
            run_once: self.run_once,
            phase: self.phase,
            after,
            environment,
            named_ports: self.named_ports.clone(),
            schedule: self.schedule.clone(),
            deadline: self.deadline,
            name,
        }
    }
}

/// The shorter of a Job's own and that of its pods. Pods of other controllers have none.
fn deadline(kind: Workload, workload: &Cursor<'_>, pod: &Cursor<'_>) -> Option<u64> {
    let of = |spec: &Cursor<'_>| {
        let field = spec.get("activeDeadlineSeconds");
        let seconds: Option<u64> = field.number();
        if seconds.is_some() {
            field.remark(Remark::approximated(
                Severity::Info,
                "deadline",
                "each pod has it for itself, from its own start; without a warden only an `up` that waits ends it",
            ));
        }
        seconds
    };
    match kind {
        Workload::Job | Workload::CronJob => of(workload).into_iter().chain(of(pod)).min(),
        Workload::Pod => of(pod),
        _ => None,
    }
}

fn window(kind: Workload, spec: &Cursor<'_>) -> Option<Window> {
    match kind {
        Workload::StatefulSet if spec.get("podManagementPolicy").string() != Some("Parallel") => {
            Some(Window::OneByOne)
        }
        Workload::Job => {
            let count = spec.get("parallelism").number::<u32>().unwrap_or(1);
            Some(Window::AtATime(usize::try_from(count).unwrap_or(usize::MAX)))
        }
        Workload::CronJob => {
            let completions = spec.get("completions");
            let at_a_time = spec.get("parallelism").number::<u32>().unwrap_or(1);
            if at_a_time < completions.number::<u32>().unwrap_or(1) {
                completions.remark(Remark::approximated(
                    Severity::Minor,
                    "job-parallelism",
                    "all pods of a run run at the same time",
                ));
            }
            None
        }
        _ => None,
    }
}

fn named_ports(spec: &Cursor<'_>) -> BTreeMap<(String, Protocol), u16> {
    let containers = spec.get("containers").items().into_iter().chain(spec.get("initContainers").items());
    containers
        .flat_map(|container| container.get("ports").items())
        .filter_map(|port| {
            let number = port.get("containerPort").number()?;
            let protocol = crate::service::protocol(&port.get("protocol"))?;
            Some(((port.get("name").string()?.to_owned(), protocol), number))
        })
        .collect()
}
