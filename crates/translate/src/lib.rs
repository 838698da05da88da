//! Kubernetes objects to a Compose file: pure, repeatable, and nothing dropped in silence.
//!
//! [`parse`] reads rendered YAML, [`translate()`] makes of it a Compose file, a description of the
//! pods in it, and the [findings](envctl_model::finding) that say what differs from a cluster. Each
//! pod is a sandbox that holds its network, a service per container, and a seeder where volumes have
//! content; a gateway per environment is its Services, cluster DNS and Ingress. What sandbox, seeder
//! and gateway are told is [`envctl_wire`].

#![cfg_attr(test, allow(clippy::unwrap_used, clippy::expect_used))]

mod address;
mod annotations;
mod carried;
mod certificate;
pub mod codes;
mod compose;
mod container;
mod content;
mod cron_job;
mod cursor;
mod downward;
mod environment;
mod error;
mod expand;
mod fields;
mod gateway;
mod hook;
mod http_route;
mod ingress;
mod input;
mod kinds;
mod labels;
mod leftover;
mod limit_range;
mod live;
mod names;
mod objects;
mod order;
mod output;
mod pod;
mod probe;
mod published;
mod resources;
mod revision;
mod sandbox;
mod security;
mod service;
mod store;
mod translate;
mod volume;
mod warden;
mod workload;

pub use certificate::{WantedCertificate, wanted as wanted_certificates};
pub use error::{Problem, SubnetFull, TranslateError};
pub use gateway::GATEWAY;
pub use input::{
    Backing, BackingInput, EngineFacts, Environment, Input, LiveSource, Loopback, MissingReferences, Network,
    Router, Stage, Warden,
};
pub use objects::{Object, Origin, ParseError, ParseProblem, parse};
pub use output::{HostFile, Phase, Pod, PodService, Published, Translation, Url};
pub use translate::translate;
pub use warden::WARDEN;
