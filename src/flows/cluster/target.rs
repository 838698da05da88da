//! Which cluster is meant, and as whom we go there.

use envctl_cluster::aws::SignIn;
use envctl_cluster::{ClusterError, ClusterReader, Examined, Expected, Facts, examine};
use envctl_model::record::{ClusterObject, EksPlace};
use envctl_model::stack::{Protected, Target};
use envctl_runner::StepError;

use crate::config::Base;
use crate::flows::step_error::failure;
use crate::ui::Failure;

/// A cluster and how to sign in to it.
#[derive(Debug, Clone)]
pub(crate) struct Destination {
    /// Which cluster.
    pub(crate) expected: Expected,
    /// As whom.
    pub(crate) by: SignIn,
    /// What must not be changed.
    pub(crate) protected: Protected,
}

impl Destination {
    /// The cluster of a target of the stack file; `None` for targets of other kinds. A former `up`
    /// knows which cluster it was, even where the stack file does not pin it.
    pub(crate) fn of_target(base: &Base, protected: &Protected, target: &Target) -> Option<Self> {
        let eks = target.eks()?;
        let aws = target.aws.as_ref();
        Some(Self {
            expected: Expected {
                account: eks.account.to_owned(),
                region: eks.region.to_owned(),
                cluster: eks.cluster.to_owned(),
                uid: target.cluster_uid.clone(),
            },
            by: SignIn {
                profile: base.aws_profile().or_else(|| aws.and_then(|aws| aws.profile.clone())),
                role: aws.and_then(|aws| aws.role.clone()),
                region: eks.region.to_owned(),
                user: base.variables.user.clone(),
            },
            protected: protected.clone(),
        })
    }

    /// Signs in and looks, without changing anything.
    pub(crate) async fn examine(&self) -> Examined {
        examine(&self.expected, &self.protected, &self.by).await
    }

    /// The right to look.
    pub(crate) async fn look(&self) -> Result<(ClusterReader, Facts), Failure> {
        self.examine().await.reader().map_err(|e| explain(&e))
    }

    /// The directory of this cluster's environments in the state directory.
    pub(crate) fn key(&self) -> String {
        let Expected { account, region, cluster, .. } = &self.expected;
        format!("{account}-{region}-{cluster}")
    }
}

/// A cluster as a record names it.
pub(crate) fn place(facts: &Facts, protected: &Protected, cluster_wide: Vec<ClusterObject>) -> EksPlace {
    EksPlace {
        cluster_wide,
        protected: protected.clone(),
        account: facts.account.clone(),
        region: facts.region.clone(),
        cluster: facts.cluster.clone(),
        cluster_uid: facts.uid.clone(),
    }
}

/// An error of the cluster with what to do about it.
pub(crate) fn explain(error: &ClusterError) -> Failure {
    let text = match error.hint() {
        Some(hint) => format!("{error}\n  {hint}"),
        None => error.to_string(),
    };
    match error {
        ClusterError::Refused { .. } | ClusterError::Credentials { .. } => Failure::Refused(text),
        ClusterError::NoSuch { .. } => Failure::Usage(text),
        _ => Failure::Failed(text),
    }
}

/// An error of the cluster as a step's.
pub(crate) fn cluster(error: ClusterError) -> StepError {
    failure(explain(&error))
}
