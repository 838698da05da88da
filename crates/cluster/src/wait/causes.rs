//! What can be wrong, in plain words.

use std::time::Duration;

/// Why something does not become ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// The registry has no such image.
    ImageNotFound {
        /// The reference.
        image: String,
    },
    /// The reference is none.
    ImageNameInvalid {
        /// The reference.
        image: String,
    },
    /// The registry wants credentials that the node does not have.
    ImageDenied {
        /// The reference.
        image: String,
        /// The Secret that should have them and does not exist.
        missing_secret: Option<String>,
    },
    /// The image has no variant for the node's processor.
    WrongArchitecture {
        /// The reference.
        image: String,
    },
    /// The image cannot be had for another reason: the network, the registry.
    ImageUnavailable {
        /// The reference.
        image: String,
        /// The runtime's words.
        message: String,
    },
    /// A ConfigMap or Secret that a pod needs does not exist.
    MissingReference {
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// Its name.
        name: String,
    },
    /// It exists, and has no such key.
    MissingKey {
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// The runtime cannot start the container's command.
    CannotStart {
        /// The runtime's words.
        message: String,
    },
    /// The node cannot set the pod up: its network, its sandbox.
    SandboxFailed {
        /// The kubelet's words.
        message: String,
    },
    /// The node ended the pod: evicted, or not admitted.
    Ended {
        /// Why, in one word: `Evicted`.
        reason: String,
        /// The kubelet's words.
        message: String,
    },
    /// A volume cannot be mounted.
    VolumeFailed {
        /// The kubelet's words.
        message: String,
    },
    /// The container ends over and over.
    CrashLoop {
        /// The last exit code.
        exit_code: i32,
        /// How often it ended.
        times: i32,
        /// It is an init container.
        init: bool,
    },
    /// The container takes more memory than its limit.
    OutOfMemory {
        /// Its limit, as the manifest says it.
        limit: Option<String>,
    },
    /// The kubelet ends the container because a probe fails.
    ProbeKills {
        /// `liveness` or `startup`.
        probe: &'static str,
        /// What the probe got.
        message: String,
    },
    /// No node takes the pod.
    Unschedulable {
        /// What there is too little of.
        shortage: Shortage,
        /// The scheduler's words.
        message: String,
    },
    /// A volume claim is not bound.
    ClaimUnbound {
        /// The claim.
        claim: String,
        /// Why, where somebody says so.
        message: String,
    },
    /// The API server refuses the pods of a workload.
    PodsRefused {
        /// Who.
        refuser: Refuser,
        /// Its words.
        message: String,
    },
    /// A Job gave up.
    JobFailed {
        /// The exit code of its last container, where it ended by itself.
        exit_code: Option<i32>,
        /// It is a Helm hook of this kind: `pre-install`.
        hook: Option<String>,
    },
    /// A Job took longer than its `activeDeadlineSeconds`.
    JobDeadline {
        /// Seconds.
        deadline: Option<i64>,
    },
    /// A Deployment did not get on within its `progressDeadlineSeconds`.
    NoProgress {
        /// The controller's words.
        message: String,
    },
    /// The container runs, and its readiness probe fails.
    NotReady {
        /// What the probe got.
        message: String,
    },
    /// A Service that an Ingress leads to selects no ready pod.
    NoEndpoints {
        /// The Service's selector, in words.
        selector: String,
        /// The Ingress.
        ingress: String,
    },
}

/// What no node has enough of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shortage {
    /// Processors.
    Cpu,
    /// Memory.
    Memory,
    /// Room for one pod more.
    Pods,
    /// Nodes that match the pod's node selector or affinity.
    Selector,
    /// Nodes whose taints the pod tolerates.
    Taint,
    /// Volumes: a claim is not bound.
    Claim,
    /// Something else.
    Other,
}

/// Who refuses pods.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refuser {
    /// A ResourceQuota.
    Quota,
    /// A LimitRange.
    LimitRange,
    /// The Pod Security standard of the namespace.
    PodSecurity,
    /// An admission webhook that says no.
    Webhook(String),
    /// An admission webhook that does not answer.
    WebhookAway(String),
    /// The service account that does not exist.
    ServiceAccount(String),
    /// The API server itself.
    Api,
}

impl Cause {
    /// A stable name for the kind of cause.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::ImageNotFound { .. } => "image-not-found",
            Self::ImageNameInvalid { .. } => "image-name-invalid",
            Self::ImageDenied { .. } => "image-denied",
            Self::WrongArchitecture { .. } => "wrong-architecture",
            Self::ImageUnavailable { .. } => "image-unavailable",
            Self::MissingReference { .. } => "missing-reference",
            Self::MissingKey { .. } => "missing-key",
            Self::CannotStart { .. } => "cannot-start",
            Self::SandboxFailed { .. } => "sandbox-failed",
            Self::Ended { .. } => "pod-ended",
            Self::VolumeFailed { .. } => "volume-failed",
            Self::CrashLoop { init: true, .. } => "init-failing",
            Self::CrashLoop { .. } => "crash-loop",
            Self::OutOfMemory { .. } => "out-of-memory",
            Self::ProbeKills { .. } => "probe-kills",
            Self::Unschedulable { .. } => "unschedulable",
            Self::ClaimUnbound { .. } => "claim-unbound",
            Self::PodsRefused { refuser, .. } => match refuser {
                Refuser::Quota => "quota",
                Refuser::LimitRange => "limit-range",
                Refuser::PodSecurity => "pod-security",
                Refuser::Webhook(_) => "webhook-refuses",
                Refuser::WebhookAway(_) => "webhook-away",
                Refuser::ServiceAccount(_) => "service-account-missing",
                Refuser::Api => "pods-refused",
            },
            Self::JobFailed { hook: Some(_), .. } => "hook-failed",
            Self::JobFailed { .. } => "job-failed",
            Self::JobDeadline { .. } => "job-deadline",
            Self::NoProgress { .. } => "no-progress",
            Self::NotReady { .. } => "not-ready",
            Self::NoEndpoints { .. } => "no-endpoints",
        }
    }

    /// Whether it was counted: then a moment of readiness in between says nothing.
    #[must_use]
    pub fn is_repeated(&self) -> bool {
        matches!(self, Self::CrashLoop { .. } | Self::OutOfMemory { .. } | Self::ProbeKills { .. })
    }

    /// How long it may last before it is a failure: some things heal by themselves.
    #[must_use]
    pub fn grace(&self, schedule: Duration) -> Duration {
        match self {
            // Somebody else may be about to make it.
            Self::MissingReference { .. } | Self::MissingKey { .. } => Duration::from_secs(2),
            // Provisioners and controllers start late, and try again.
            Self::ClaimUnbound { .. } => Duration::from_secs(10),
            // Old pods are still going: their share is given back in a moment.
            Self::PodsRefused { refuser: Refuser::Quota, .. } => Duration::from_secs(5),
            Self::PodsRefused { refuser: Refuser::WebhookAway(_), .. } => Duration::from_secs(30),
            Self::PodsRefused { refuser: Refuser::ServiceAccount(_), .. } => Duration::from_secs(5),
            // The kubelet tries again every ten seconds or so, a pull more rarely. A node may not know of
            // a new pod's claim yet; a disk has to come off the node of the pod before.
            Self::ImageUnavailable { .. } | Self::SandboxFailed { .. } | Self::VolumeFailed { .. } => {
                Duration::from_secs(60)
            }
            Self::NoEndpoints { .. } => Duration::from_secs(5),
            Self::Unschedulable { shortage: Shortage::Claim, .. } => Duration::from_secs(15),
            Self::Unschedulable { .. } => schedule,
            _ => Duration::ZERO,
        }
    }

    /// What is wrong, in one line.
    #[must_use]
    pub fn headline(&self) -> String {
        match self {
            Self::ImageNotFound { image } => format!("the image {image} does not exist"),
            Self::ImageNameInvalid { image } => format!("`{image}` is no name of an image"),
            Self::ImageDenied { image, missing_secret: Some(secret) } => {
                format!("the image {image} may not be pulled: the Secret `{secret}` does not exist")
            }
            Self::ImageDenied { image, missing_secret: None } => {
                format!("the image {image} may not be pulled")
            }
            Self::WrongArchitecture { image } => {
                format!("the image {image} is not made for the processor of the node")
            }
            Self::ImageUnavailable { image, .. } => format!("the image {image} cannot be pulled"),
            Self::MissingReference { kind, name } => format!("there is no {kind} `{name}`"),
            Self::MissingKey { kind, name, key } => format!("the {kind} `{name}` has no key `{key}`"),
            Self::CannotStart { .. } => "its command cannot be started".to_owned(),
            Self::SandboxFailed { .. } => "the node cannot set it up".to_owned(),
            Self::Ended { reason, .. } => format!("the node ended it: {reason}"),
            Self::VolumeFailed { .. } => "a volume cannot be mounted".to_owned(),
            Self::CrashLoop { exit_code, times, init: true } => {
                format!("the init container fails over and over ({times} times, last exit code {exit_code})")
            }
            Self::CrashLoop { exit_code, times, .. } => {
                format!("it crashes over and over ({times} times, last exit code {exit_code})")
            }
            Self::OutOfMemory { limit: Some(limit) } => {
                format!("it takes more memory than its limit of {limit}")
            }
            Self::OutOfMemory { limit: None } => "it takes more memory than there is".to_owned(),
            Self::ProbeKills { probe, .. } => format!("it is killed because its {probe} probe fails"),
            Self::Unschedulable { shortage, .. } => format!("no node takes it: {}", shortage.words()),
            Self::ClaimUnbound { claim, .. } => format!("its volume claim `{claim}` is not bound"),
            Self::PodsRefused { refuser, .. } => match refuser {
                Refuser::Quota => "its pods do not fit into the namespace's quota".to_owned(),
                Refuser::LimitRange => "its pods break the namespace's LimitRange".to_owned(),
                Refuser::PodSecurity => {
                    "its pods are not allowed by the namespace's Pod Security level".to_owned()
                }
                Refuser::Webhook(name) => format!("the admission webhook `{name}` refuses its pods"),
                Refuser::WebhookAway(name) => format!("the admission webhook `{name}` does not answer"),
                Refuser::ServiceAccount(name) => format!("its service account `{name}` does not exist"),
                Refuser::Api => "the API server refuses its pods".to_owned(),
            },
            Self::JobFailed { hook: Some(hook), exit_code } => {
                format!("the {hook} hook failed{}", code(*exit_code))
            }
            Self::JobFailed { hook: None, exit_code } => format!("the Job failed{}", code(*exit_code)),
            Self::JobDeadline { deadline: Some(seconds) } => {
                format!("the Job was stopped: it took longer than its deadline of {seconds} s")
            }
            Self::JobDeadline { deadline: None } => {
                "the Job was stopped: it took longer than its deadline".to_owned()
            }
            Self::NoProgress { .. } => "it does not get on".to_owned(),
            Self::NotReady { .. } => "it runs, and its readiness probe fails".to_owned(),
            Self::NoEndpoints { ingress, .. } => {
                format!("no ready pod stands behind it, and the Ingress `{ingress}` leads to it")
            }
        }
    }

    /// What its originator said, where the headline does not say all of it.
    #[must_use]
    pub fn detail(&self) -> Option<&str> {
        let text = match self {
            Self::ImageUnavailable { message, .. }
            | Self::CannotStart { message }
            | Self::SandboxFailed { message }
            | Self::Ended { message, .. }
            | Self::VolumeFailed { message }
            | Self::ProbeKills { message, .. }
            | Self::Unschedulable { message, .. }
            | Self::ClaimUnbound { message, .. }
            | Self::PodsRefused { message, .. }
            | Self::NoProgress { message }
            | Self::NotReady { message } => message.as_str(),
            Self::NoEndpoints { selector, .. } => selector,
            _ => return None,
        };
        (!text.is_empty()).then_some(text)
    }

    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> String {
        match self {
            Self::ImageNotFound { .. } => {
                "push it, or correct its repository and tag in the values".to_owned()
            }
            Self::ImageNameInvalid { .. } => {
                "correct its repository and tag in the values: REGISTRY/NAME:TAG, in lower case".to_owned()
            }
            Self::ImageDenied { missing_secret: Some(secret), .. } => {
                format!("make the Secret `{secret}` (type kubernetes.io/dockerconfigjson) by `secrets:` or the chart, or take it out of imagePullSecrets")
            }
            Self::ImageDenied { missing_secret: None, .. } => {
                "name a Secret with credentials in imagePullSecrets, or let the nodes' role pull from this registry".to_owned()
            }
            Self::WrongArchitecture { .. } => {
                "build it for the nodes' processors (docker build --platform), or select nodes it runs on".to_owned()
            }
            Self::ImageUnavailable { .. } => "see whether the nodes reach the registry".to_owned(),
            Self::MissingReference { kind, name } => {
                format!("let the chart make the {kind} `{name}`, name it in `secrets:`, or correct the reference")
            }
            Self::MissingKey { kind, key, .. } => format!("add `{key}` to the {kind}, or correct the reference"),
            Self::CannotStart { .. } => "correct `command` and `args`, or the image's entrypoint".to_owned(),
            Self::SandboxFailed { .. } | Self::Ended { .. } => {
                "its message says why; the platform engineer knows the node".to_owned()
            }
            Self::VolumeFailed { .. } => "correct the volume, or wait and try again if its driver was not ready".to_owned(),
            Self::CrashLoop { .. } | Self::JobFailed { .. } => {
                "read its last lines above; what it needs may be missing or not ready yet".to_owned()
            }
            Self::OutOfMemory { .. } => "raise resources.limits.memory, or find what takes it".to_owned(),
            Self::ProbeKills { probe, .. } => {
                format!("correct the {probe} probe, or give the container more time (initialDelaySeconds, failureThreshold, startupProbe)")
            }
            Self::Unschedulable { shortage, .. } => shortage.advice().to_owned(),
            Self::ClaimUnbound { .. } => "name a StorageClass that exists, and a size and access mode that it gives".to_owned(),
            Self::PodsRefused { refuser, .. } => match refuser {
                Refuser::Quota => "ask for less, run fewer replicas, or have `guardrails.quota` raised".to_owned(),
                Refuser::LimitRange => "bring requests and limits within what the LimitRange allows".to_owned(),
                Refuser::PodSecurity => {
                    "correct the security context; the level is `guardrails.podSecurity` of the target".to_owned()
                }
                Refuser::Webhook(_) => "its message says what it wants; its owner knows more".to_owned(),
                Refuser::WebhookAway(_) => "tell the platform engineer: nothing can be created while it is away".to_owned(),
                Refuser::ServiceAccount(_) => "let the chart make it, or correct serviceAccountName".to_owned(),
                Refuser::Api => "correct the pod template".to_owned(),
            },
            Self::JobDeadline { .. } => "raise activeDeadlineSeconds, or find out why it takes so long".to_owned(),
            Self::NoProgress { .. } => "look at its pods, and at progressDeadlineSeconds".to_owned(),
            Self::NotReady { .. } => "see why the application does not answer its readiness probe".to_owned(),
            Self::NoEndpoints { .. } => "compare the Service's selector with the labels of the pods".to_owned(),
        }
    }
}

fn code(exit_code: Option<i32>) -> String {
    exit_code.map_or_else(String::new, |code| format!(" (exit code {code})"))
}

impl Shortage {
    fn words(self) -> &'static str {
        match self {
            Self::Cpu => "it asks for more CPU than any node has left",
            Self::Memory => "it asks for more memory than any node has left",
            Self::Pods => "the nodes are full of pods",
            Self::Selector => "no node has the labels that it asks for",
            Self::Taint => "the nodes have taints that it does not tolerate",
            Self::Claim => "a volume claim of it is not bound",
            Self::Other => "the scheduler finds none",
        }
    }

    fn advice(self) -> &'static str {
        match self {
            Self::Cpu | Self::Memory => "ask for less, or have the cluster grow",
            Self::Pods => "run fewer replicas, or have the cluster grow",
            Self::Selector => "correct nodeSelector and affinity: `kubectl get nodes --show-labels`",
            Self::Taint => {
                "add a toleration, if these nodes are meant for it: \
                 `kubectl get nodes -o custom-columns=NAME:.metadata.name,TAINTS:.spec.taints`"
            }
            Self::Claim => "name a StorageClass that exists, and a size and access mode that it gives",
            Self::Other => "its message says why",
        }
    }
}
