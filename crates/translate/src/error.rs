//! Why objects cannot be translated.

use ipnet::Ipv4Net;

use crate::objects::Origin;

/// One reason why there is no Compose file. All reasons are reported together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TranslateError {
    /// A field that the API server or the kubelet would refuse as well.
    #[error("{object} {path}: {problem} ({origin})")]
    Field {
        /// `Deployment/api`.
        object: String,
        /// JSON path inside the object.
        path: String,
        /// Where the object was written.
        origin: Origin,
        /// What is wrong.
        problem: Problem,
    },
    /// The network is too small.
    #[error(transparent)]
    Subnet(#[from] SubnetFull),
}

/// A network that has fewer addresses than an environment needs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the network {subnet} has {available} addresses for {purpose}, {needed} are needed")]
pub struct SubnetFull {
    /// The network.
    pub subnet: Ipv4Net,
    /// `pods` or `services`.
    pub purpose: &'static str,
    /// How many there are.
    pub available: usize,
    /// How many are needed.
    pub needed: usize,
}

/// What is wrong with a field.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Another type than the API has.
    #[error("expected {expected}, found {found}")]
    WrongType {
        /// In words.
        expected: &'static str,
        /// In words.
        found: &'static str,
    },
    /// A CronJob's schedule that its controller does not read.
    #[error("{0}")]
    Schedule(String),
    /// A required field is absent.
    #[error("is required")]
    Required,
    /// The object's name is taken.
    #[error("is declared twice (also in {0})")]
    Duplicate(Origin),
    /// A reference without object: the kubelet's CreateContainerConfigError.
    #[error("{kind} `{name}` does not exist in namespace `{namespace}`")]
    NoObject {
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// Where it was looked for.
        namespace: String,
    },
    /// A reference to a key that the object lacks.
    #[error("{kind} `{name}` has no key `{key}`")]
    NoKey {
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// A mount of a volume that the pod does not declare.
    #[error("the pod has no volume `{0}`")]
    NoVolume(String),
    /// A value of the right type that means nothing.
    #[error("`{value}` is not {expected}")]
    Invalid {
        /// What was written.
        value: String,
        /// What is accepted.
        expected: &'static str,
    },
}
