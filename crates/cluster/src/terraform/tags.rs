//! What AWS says exists because of an environment: everything that carries its tag. Terraform forgets what
//! it made when it is killed between a creation and the write of its state; the tag remembers.

use std::collections::BTreeSet;

use crate::aws::{Session, tagged};
use crate::error::ClusterError;

/// The tag of an environment's identity.
pub const IDENTITY: &str = "envctl:identity";
/// The tag of its name, for people.
pub const ENVIRONMENT: &str = "envctl:environment";

/// The variables by which Terraform's AWS provider tags all that it makes, without the root's help.
/// <https://registry.terraform.io/providers/hashicorp/aws/latest/docs#default_tags-configuration-block>
#[must_use]
pub fn variables(name: &str, identity: &str) -> [(String, String); 2] {
    let variable = |tag: &str| format!("TF_AWS_DEFAULT_TAGS_{tag}");
    [(variable(ENVIRONMENT), name.to_owned()), (variable(IDENTITY), identity.to_owned())]
}

/// The ARNs of everything that carries an environment's identity, in the session's region and in these.
///
/// # Errors
/// When AWS refuses or does not answer.
pub async fn existing(
    session: &Session,
    identity: &str,
    regions: &BTreeSet<String>,
) -> Result<BTreeSet<String>, ClusterError> {
    let doing = "to list what carries the environment's tag";
    let regions = std::iter::once(None).chain(regions.iter().map(|region| Some(region.as_str())));
    let found = regions.map(|region| tagged(session, region, IDENTITY, identity, doing));
    let found = futures_util::future::try_join_all(found).await?;
    Ok(found.into_iter().flatten().map(|thing| thing.arn).collect())
}
