//! What controllers of a cluster made in AWS for the Ingresses and Services of a namespace: load balancers,
//! target groups, security groups. It is found by the tags by which its controller finds it again.

use std::collections::BTreeSet;
use std::time::Instant;

use crate::aws::{Tagged, caught_up, tagged};
use crate::error::ClusterError;
use crate::guard::VerifiedCluster;

/// How a controller tags what it makes: the cluster, and `NAMESPACE/NAME..` of what it stands for.
struct Marks {
    cluster: fn(&str) -> (String, String),
    objects: &'static [&'static str],
}

/// The AWS Load Balancer Controller, the same as part of EKS Auto Mode, and the cloud provider.
/// <https://kubernetes-sigs.github.io/aws-load-balancer-controller/latest/deploy/configurations/#default-tags>,
/// <https://docs.aws.amazon.com/eks/latest/userguide/migrate-auto.html>,
/// <https://cloud-provider-aws.sigs.k8s.io/service_controller/>
const CONTROLLERS: [Marks; 3] = [
    Marks {
        cluster: |name| ("elbv2.k8s.aws/cluster".to_owned(), name.to_owned()),
        objects: &["ingress.k8s.aws/stack", "ingress.k8s.aws/resource", "service.k8s.aws/stack"],
    },
    Marks {
        cluster: |name| ("eks:eks-cluster-name".to_owned(), name.to_owned()),
        objects: &[
            "ingress.eks.amazonaws.com/stack",
            "ingress.eks.amazonaws.com/resource",
            "service.eks.amazonaws.com/stack",
        ],
    },
    Marks {
        cluster: |name| (format!("kubernetes.io/cluster/{name}"), "owned".to_owned()),
        objects: &["kubernetes.io/service-name"],
    },
];

/// The ARNs of all that controllers made for a namespace.
///
/// # Errors
/// When AWS refuses or does not answer.
pub async fn of_namespace(
    cluster: &VerifiedCluster,
    namespace: &str,
) -> Result<BTreeSet<String>, ClusterError> {
    let name = &cluster.facts().cluster;
    let lists = CONTROLLERS.iter().map(|marks| async move {
        let (key, value) = (marks.cluster)(name);
        let doing = "to list what load balancer controllers made";
        let all = tagged(cluster.session(), None, &key, &value, doing).await?;
        Ok::<_, ClusterError>(all.into_iter().filter(|thing| is_for(thing, marks.objects, namespace)))
    });
    let lists = futures_util::future::try_join_all(lists).await?;
    Ok(lists.into_iter().flatten().map(|thing| thing.arn).collect())
}

fn is_for(thing: &Tagged, objects: &[&str], namespace: &str) -> bool {
    let mut marks = thing.tags.iter().filter(|(key, _)| objects.contains(&key.as_str()));
    marks.any(|(_, value)| value.split_once('/').is_some_and(|(place, _)| place == namespace))
}

/// Waits until AWS no longer lists anything for a namespace: its lists lag behind. What it still lists at
/// `deadline`.
///
/// # Errors
/// When AWS refuses or does not answer.
pub async fn await_gone(
    cluster: &VerifiedCluster,
    namespace: &str,
    deadline: Instant,
) -> Result<BTreeSet<String>, ClusterError> {
    caught_up(deadline, BTreeSet::is_empty, || of_namespace(cluster, namespace)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_another_namespaces_or_shared_is_not_counted() {
        let thing = |key: &str, value: &str| Tagged {
            arn: String::new(),
            tags: vec![(key.to_owned(), value.to_owned())],
        };
        let ours = |key: &str, value: &str| is_for(&thing(key, value), CONTROLLERS[0].objects, "album-aki");
        assert!(ours("ingress.k8s.aws/stack", "album-aki/web"));
        assert!(ours("service.k8s.aws/stack", "album-aki/web"));
        // In a group of Ingresses only the target groups are an Ingress' own.
        assert!(ours("ingress.k8s.aws/resource", "album-aki/web-web:80"));
        assert!(!ours("ingress.k8s.aws/stack", "shared-group"));
        assert!(!ours("ingress.k8s.aws/resource", "LoadBalancer"));
        assert!(!ours("ingress.k8s.aws/stack", "album-aki2/web"));
        assert!(!ours("team", "album-aki/web"));
    }
}
