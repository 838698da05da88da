//! The record: what is needed to see and destroy an environment without its sources.

use std::collections::BTreeMap;
use std::path::PathBuf;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::name::EnvironmentName;
use crate::requires::{Requirement, VERSION};
use crate::stack::{Protected, StateBackend};

/// The version of the record's format that this envctl writes, and the newest that it reads. Version 1
/// knew no other place than a Docker Engine, and had its fields beside the others.
pub const RECORD_VERSION: u32 = 2;

/// The record of one environment. It holds no secret: those are in files of mode 0600 beside it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Format version.
    pub version: u32,
    /// The environment's name.
    pub name: EnvironmentName,
    /// A random identity: a new environment of the same name is another one.
    pub identity: String,
    /// The stack's project.
    pub project: String,
    /// Who made it: user@host.
    pub owner: String,
    /// The target's name in the stack file.
    pub target: String,
    /// When it was first made.
    pub created: Timestamp,
    /// When it may be removed. `None` never expires.
    pub expires: Option<Timestamp>,
    /// The stack file it was made from.
    pub stack_file: PathBuf,
    /// The versions of envctl that the stack file lets touch it.
    #[serde(default)]
    pub requires: Option<Requirement>,
    /// Where it stands.
    pub phase: Phase,
    /// Where it lives.
    pub place: Place,
    /// Terraform, if the target has a root.
    pub terraform: Option<TerraformRecord>,
    /// Images built for it: name in the stack file to `repository:tag`.
    pub images: BTreeMap<String, String>,
    /// Where it answers.
    pub urls: Vec<String>,
    /// Since when it sleeps, and how it was before.
    #[serde(default)]
    pub asleep: Option<Asleep>,
    /// Components that its last `up` left out (`--only`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<String>,
    /// Components that run the working tree (`--dev`).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub live: Vec<String>,
}

/// An environment that sleeps: nothing of it runs, and all else is as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Asleep {
    /// Since when.
    pub since: Timestamp,
    /// How many replicas each workload had: `Deployment/api`.
    pub replicas: BTreeMap<String, i32>,
    /// The CronJobs that were not suspended before.
    pub cron_jobs: Vec<String>,
}

/// Where an environment lives: what has to be reached, and proven to be the same, before anything of
/// it is changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "camelCase")]
pub enum Place {
    /// A Docker Engine.
    Compose(ComposePlace),
    /// A namespace of an EKS cluster.
    Eks(EksPlace),
}

impl Place {
    /// The target's kind, as the stack file calls it.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Compose(_) => "compose",
            Self::Eks(_) => "eks",
        }
    }
}

/// An environment on a Docker Engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ComposePlace {
    /// The Engine that holds it.
    pub engine_id: String,
    /// The HTTP router's port.
    pub router_port: u16,
    /// The Compose project of the backing services.
    pub backing: Option<BackingRecord>,
    /// What the stack file protects: it is so for those, too, who do not have the file.
    #[serde(default)]
    pub protected: Protected,
}

/// An environment in a namespace of an EKS cluster. Namespace and Helm release have the
/// environment's name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EksPlace {
    /// The AWS account, 12 digits.
    pub account: String,
    /// The AWS region.
    pub region: String,
    /// The cluster's name.
    pub cluster: String,
    /// The UID of its namespace `kube-system`: tells two clusters of one name apart.
    pub cluster_uid: String,
    /// What belongs to it and not to its namespace.
    #[serde(default)]
    pub cluster_wide: Vec<ClusterObject>,
    /// What the stack file protects: it is so for those, too, who do not have the file.
    #[serde(default)]
    pub protected: Protected,
}

/// An object that belongs to a whole cluster.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClusterObject {
    /// Its group and version: `rbac.authorization.k8s.io/v1`.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// Whether it is a hook: Helm leaves these behind, and without a mark of whose they are.
    #[serde(default)]
    pub hook: bool,
}

/// Where an environment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Phase {
    /// `up` has begun and has not ended well yet.
    Creating,
    /// It was ready once, and another `up` has begun and has not ended well yet.
    Updating,
    /// The last `up` ended well.
    Ready,
    /// `down` has begun.
    Removing,
}

impl Phase {
    /// The phase in which another `up` begins.
    #[must_use]
    pub fn begin(former: Option<Self>) -> Self {
        match former {
            Some(Self::Ready | Self::Updating) => Self::Updating,
            _ => Self::Creating,
        }
    }
}

impl std::fmt::Display for Phase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Creating => "creating",
            Self::Updating => "updating",
            Self::Ready => "ready",
            Self::Removing => "removing",
        })
    }
}

/// The backing services an environment uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BackingRecord {
    /// The Compose project.
    pub project: String,
    /// The Compose file, resolved and kept with the record.
    pub file: PathBuf,
    /// Its network.
    pub network: String,
}

/// What is needed to run Terraform again. The root itself is archived beside the record.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TerraformRecord {
    /// The workspace.
    pub workspace: String,
    /// The root, relative to the archive.
    pub root: PathBuf,
    /// `terraform` or `tofu`, as found.
    pub program: PathBuf,
    /// The program that looks a resource up, relative to the root.
    pub lookup: Vec<String>,
    /// Backend configuration (`-backend-config`).
    pub backend_config: BTreeMap<String, String>,
    /// Variable files, relative to the root.
    pub var_files: Vec<PathBuf>,
    /// Where the state is kept instead of where the root says.
    #[serde(default)]
    pub backend: Option<StateBackend>,
    /// Environment variables of the stack file.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Whether the workspace is this environment's, or is about to be.
    #[serde(default)]
    pub claimed: bool,
    /// AWS accounts, beside the cluster's, in which Terraform may act.
    #[serde(default)]
    pub accounts: Vec<String>,
    /// Kinds of backends that are trusted unchecked.
    #[serde(default)]
    pub trust: Vec<String>,
    /// Where the root and its variables are kept for other machines.
    #[serde(default)]
    pub archive: Option<ArchivePlace>,
}

/// Where a Terraform root is kept, encrypted, for machines that have nothing else of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "in", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum ArchivePlace {
    /// Beside the state.
    S3 {
        /// The bucket.
        bucket: String,
        /// The object's key.
        key: String,
        /// The bucket's region, where the backend names one.
        region: Option<String>,
        /// Requests name the bucket in the path.
        path_style: bool,
    },
    /// In a Secret beside the record.
    Secret,
}

/// Reading a record.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// Written by a newer envctl.
    #[error(
        "the record of this environment has format {found}, and this envctl reads up to {RECORD_VERSION}: \
         it was written by a newer envctl. Use that one, or update this one"
    )]
    Newer {
        /// Its version.
        found: u32,
    },
    /// Its stack is not for this envctl.
    #[error(
        "environment `{name}` is of a stack that requires envctl {requires}, and this is {VERSION}: use a version that \
         it allows"
    )]
    Required {
        /// The environment.
        name: EnvironmentName,
        /// What its stack file required.
        requires: Requirement,
    },
    /// Not a record.
    #[error("the record cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
}

impl Record {
    /// Reads a record.
    ///
    /// # Errors
    /// When it was written by a newer envctl (which is found out before its fields are read), is of a stack
    /// that this one may not touch, or is no record at all.
    pub fn parse(text: &str) -> Result<Self, RecordError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_str(text)?;
        if version > RECORD_VERSION {
            return Err(RecordError::Newer { found: version });
        }
        let mut record: serde_json::Value = serde_json::from_str(text)?;
        if version == 1
            && let Some(fields) = record.as_object_mut()
        {
            let mut place = serde_json::Map::from_iter([("kind".to_owned(), "compose".into())]);
            for moved in ["engineId", "routerPort", "backing"] {
                place.extend(fields.remove(moved).map(|value| (moved.to_owned(), value)));
            }
            fields.insert("place".to_owned(), place.into());
            fields.insert("version".to_owned(), RECORD_VERSION.into());
        }
        let record: Self = serde_json::from_value(record)?;
        match record.requires {
            Some(requires) if !requires.allows(VERSION) => {
                Err(RecordError::Required { name: record.name, requires })
            }
            _ => Ok(record),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_record_is_refused_before_its_fields_are_read() {
        let error = Record::parse(r#"{"version": 7, "whatever": []}"#).unwrap_err();
        assert!(error.to_string().contains("format 7"), "{error}");
    }

    #[test]
    fn a_record_of_the_first_version_is_still_read() {
        let text = r#"{"version": 1, "name": "album-aki", "identity": "ab", "project": "album", "owner": "aki@x",
            "target": "local", "created": "2026-11-01T00:00:00Z", "expires": null, "stackFile": "/s/envctl.yaml",
            "phase": "ready", "engineId": "E", "routerPort": 8080, "backing": null, "terraform": null,
            "images": {}, "urls": []}"#;
        let record = Record::parse(text).unwrap();
        let place = ComposePlace {
            engine_id: "E".into(),
            router_port: 8080,
            backing: None,
            protected: Protected::default(),
        };
        assert_eq!(record.place, Place::Compose(place));
        let again = serde_json::to_string(&record).unwrap();
        assert_eq!(Record::parse(&again).unwrap(), record);
    }

    #[test]
    fn a_record_of_a_stack_that_requires_another_version_is_refused() {
        let requiring = |versions: &str| {
            let text = serde_json::json!({"version": RECORD_VERSION, "name": "album-aki", "identity": "ab",
                "project": "album", "owner": "aki@x", "target": "local", "created": "2026-11-01T00:00:00Z",
                "expires": null, "stackFile": "/s/envctl.yaml", "requires": versions, "phase": "ready",
                "place": {"kind": "compose", "engineId": "E", "routerPort": 8080, "backing": null},
                "terraform": null, "images": {}, "urls": []});
            Record::parse(&text.to_string())
        };
        assert_eq!(requiring(">=0.3").unwrap().requires, Some(">=0.3".parse().unwrap()));
        let error = requiring(">=99").unwrap_err().to_string();
        assert!(error.contains("`album-aki`") && error.contains("envctl >=99, and this is 0."), "{error}");
    }
}
