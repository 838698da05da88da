//! What a cutover may do in production: change how much of one namespace runs, and mark its evidence as used.
//!
//! Production is protected, and a [`VerifiedCluster`] of it cannot be had. A [`CutoverTarget`] can, by evidence alone, and
//! gives no other right.

use std::collections::BTreeMap;

use envctl_rehearse::evidence::Digest;
use jiff::Timestamp;
use k8s_openapi::api::apps::v1::{Deployment, StatefulSet};
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Api;
use kube::api::PostParams;

use crate::client::ClusterReader;
use crate::error::ClusterError;
use crate::guard::{Facts, VerifiedCluster};
use crate::live::scale::Scaling;
use crate::marks;

/// One namespace of production, for one cutover.
#[derive(Debug, Clone)]
pub struct CutoverTarget {
    scaling: Scaling,
    evidence: Digest,
}

/// Which cutover used evidence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The component that it moves.
    pub component: String,
    /// Whose claim it is: drawn for each cutover.
    pub identity: String,
    /// Who began it, as the cluster takes them for.
    pub by: String,
    /// When it began.
    pub began: Timestamp,
}

impl CutoverTarget {
    /// Only [`crate::Examined::admit`] makes one.
    pub(crate) fn new(cluster: &VerifiedCluster, namespace: &str, evidence: Digest) -> Self {
        Self { scaling: cluster.scaling(namespace), evidence }
    }

    /// Who and where we are.
    #[must_use]
    pub fn facts(&self) -> &Facts {
        self.scaling.cluster.facts()
    }

    /// The same cluster, to look only.
    #[must_use]
    pub fn reader(&self) -> &ClusterReader {
        self.scaling.reader()
    }

    /// The namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.scaling.namespace()
    }

    /// What is worth knowing and stops nothing.
    #[must_use]
    pub fn warnings(&self) -> &[String] {
        self.scaling.cluster.warnings()
    }

    /// The right to change how much of the namespace's workloads runs.
    #[must_use]
    pub fn scaling(&self) -> Scaling {
        self.scaling.clone()
    }

    /// The images of the containers of a Deployment or StatefulSet, by container.
    ///
    /// # Errors
    /// When the cluster refuses or does not answer, or has no such workload.
    pub async fn images(&self, workload: &str) -> Result<BTreeMap<String, String>, ClusterError> {
        let (client, failed) = (self.reader().client(), self.reader().failed(&format!("to show {workload}")));
        let template = match workload.split_once('/') {
            Some(("Deployment", name)) => {
                let api: Api<Deployment> = Api::namespaced(client, self.namespace());
                api.get(name).await.map_err(failed)?.spec.map(|spec| spec.template)
            }
            Some((_, name)) => {
                let api: Api<StatefulSet> = Api::namespaced(client, self.namespace());
                api.get(name).await.map_err(failed)?.spec.map(|spec| spec.template)
            }
            None => None,
        };
        let containers = template.and_then(|template| template.spec).map(|spec| spec.containers);
        let containers = containers.unwrap_or_default().into_iter();
        Ok(containers.filter_map(|container| Some((container.name, container.image?))).collect())
    }

    /// Marks the evidence as used, in one go with finding out whether it was. Returns who did so before, if somebody
    /// else did.
    ///
    /// # Errors
    /// When the cluster refuses or does not answer.
    pub async fn claim(&self, claim: &Claim) -> Result<Option<Claim>, ClusterError> {
        let name = name(&self.evidence);
        let data = [
            ("component", claim.component.clone()),
            ("identity", claim.identity.clone()),
            ("by", claim.by.clone()),
            ("began", claim.began.to_string()),
            ("evidence", self.evidence.to_string()),
        ];
        let object = ConfigMap {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                labels: Some([(marks::MANAGED_BY.to_owned(), marks::ENVCTL.to_owned())].into()),
                ..ObjectMeta::default()
            },
            data: Some(data.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()),
            immutable: Some(true),
            ..ConfigMap::default()
        };
        let api: Api<ConfigMap> = Api::namespaced(self.scaling.cluster.client(), self.namespace());
        let params =
            PostParams { field_manager: Some(marks::FIELD_MANAGER.to_owned()), ..PostParams::default() };
        match api.create(&params, &object).await {
            Ok(_) => Ok(None),
            Err(kube::Error::Api(status)) if status.is_already_exists() => {
                let found = claimed(self.reader(), self.namespace(), &self.evidence).await?;
                // Our own, whose answer was lost.
                Ok(found.filter(|found| found.identity != claim.identity))
            }
            Err(error) => Err(self
                .scaling
                .cluster
                .failed(&format!("to mark the evidence as used, by the ConfigMap {name}"))(
                error
            )),
        }
    }
}

/// Which cutover used evidence of this id, if one did.
///
/// # Errors
/// When the cluster refuses or does not answer.
pub async fn claimed(
    reader: &ClusterReader,
    namespace: &str,
    evidence: &Digest,
) -> Result<Option<Claim>, ClusterError> {
    let api: Api<ConfigMap> = Api::namespaced(reader.client(), namespace);
    let found = api.get_opt(&name(evidence)).await;
    let found = found.map_err(reader.failed("to show whether the evidence was used"))?;
    Ok(found.map(|found| read(&found.data.unwrap_or_default())))
}

/// Evidence permits one cutover, so that its digest is enough of a name.
fn name(evidence: &Digest) -> String {
    format!("envctl-cutover-{}", evidence.hex().get(..16).unwrap_or_default())
}

fn read(data: &BTreeMap<String, String>) -> Claim {
    let text = |key: &str| data.get(key).cloned().unwrap_or_default();
    Claim {
        component: text("component"),
        identity: text("identity"),
        by: text("by"),
        began: text("began").parse().unwrap_or(Timestamp::UNIX_EPOCH),
    }
}
