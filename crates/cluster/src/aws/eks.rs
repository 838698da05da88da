//! `DescribeCluster`: where a cluster really is, and by which authority it proves itself.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Session;
use crate::error::ClusterError;

/// What EKS says about a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    /// `arn:aws:eks:REGION:ACCOUNT:cluster/NAME`.
    pub arn: String,
    /// The API server.
    pub endpoint: String,
    /// The authority that signed the API server's certificate, PEM.
    pub authority: Vec<u8>,
    /// `ACTIVE`, `UPDATING`, ...
    pub status: String,
}

/// The parts of a cluster's ARN: region, account, name.
#[must_use]
pub fn parts_of_arn(arn: &str) -> Option<(&str, &str, &str)> {
    // arn:PARTITION:eks:REGION:ACCOUNT:cluster/NAME
    let mut parts = arn.splitn(6, ':');
    let (prefix, _partition, service) = (parts.next()?, parts.next()?, parts.next()?);
    let (region, account, resource) = (parts.next()?, parts.next()?, parts.next()?);
    let name = resource.strip_prefix("cluster/")?;
    (prefix == "arn" && service == "eks" && !name.is_empty()).then_some((region, account, name))
}

/// Asks EKS about a cluster of the session's account and region.
///
/// # Errors
/// When there is no such cluster, or AWS does not say.
pub async fn describe(session: &Session, name: &str) -> Result<Description, ClusterError> {
    let doing = format!("to describe the EKS cluster `{name}`");
    let client = aws_sdk_eks::Client::new(session.config());
    let answer = client.describe_cluster().name(name).send().await.map_err(ClusterError::from_aws(&doing))?;
    let lacks = |what: &str| ClusterError::Unreadable {
        doing: "DescribeCluster".to_owned(),
        message: format!("it has no {what}"),
    };
    let cluster = answer.cluster.ok_or_else(|| lacks("cluster"))?;
    let encoded = cluster
        .certificate_authority
        .and_then(|authority| authority.data)
        .ok_or_else(|| lacks("authority"))?;
    let authority = STANDARD.decode(encoded).map_err(|_| lacks("readable authority"))?;
    Ok(Description {
        arn: cluster.arn.ok_or_else(|| lacks("ARN"))?,
        endpoint: cluster.endpoint.ok_or_else(|| lacks("endpoint"))?,
        authority,
        status: cluster.status.map(|status| status.as_str().to_owned()).unwrap_or_default(),
    })
}

#[cfg(test)]
mod tests {
    use super::parts_of_arn;

    #[test]
    fn an_arn_says_where_a_cluster_is() {
        assert_eq!(
            parts_of_arn("arn:aws-cn:eks:cn-north-1:333333333333:cluster/dev"),
            Some(("cn-north-1", "333333333333", "dev"))
        );
        for wrong in [
            "arn:aws:eks:r:a:nodegroup/dev",
            "arn:aws:ecs:r:a:cluster/dev",
            "dev",
            "arn:aws:eks:r:a:cluster/",
        ] {
            assert_eq!(parts_of_arn(wrong), None, "{wrong}");
        }
    }
}
