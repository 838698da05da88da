//! Terraform as the cluster target runs it: with the credentials that were checked, tagged, guarded, and
//! kept where any machine finds it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use envctl_cluster::aws::caught_up;
use envctl_cluster::terraform::archive;
use envctl_cluster::terraform::guard::{self, Accounts, Allowed, State};
use envctl_cluster::terraform::tags;
use envctl_cluster::{ClusterError, VerifiedCluster};
use envctl_model::receipt::{End, Item};
use envctl_model::record::{ArchivePlace, Record, TerraformRecord};
use envctl_model::{ThingKind, stack};
use envctl_programs::terraform::Terraform;
use envctl_runner::StepError;
use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use super::target::cluster as cluster_failed;
use crate::flows::step_error::{failed, terraform_failed};
use crate::flows::terraform::{Known, Place};

/// What of a Terraform directory another machine needs.
const KEPT: [&str; 4] = ["root", "vars.json", "workspace.json", "resources.json"];

/// Has Terraform use exactly the credentials that were checked, and tag all that it makes.
pub(crate) fn equip(terraform: &mut Terraform, cluster: &VerifiedCluster, record: &Record) {
    for (name, value) in cluster.session().frozen.variables() {
        match value {
            Some(value) => {
                terraform.env.insert(name.to_owned(), value);
            }
            None => terraform.unset.push(name.to_owned()),
        }
    }
    terraform.env.extend(tags::variables(record.name.as_str(), &record.identity));
}

/// The accounts that Terraform may act in, and the backends that are trusted.
pub(crate) fn allowed(cluster: &VerifiedCluster, terraform: Option<&stack::Terraform>) -> Allowed {
    let stated = terraform.map(|stated| (stated.accounts.as_slice(), stated.trust.as_slice()));
    let (more, trust) = stated.unwrap_or_default();
    allowed_beside(cluster, more, trust)
}

/// Likewise, as a record has it.
pub(crate) fn allowed_by_record(cluster: &VerifiedCluster, terraform: Option<&TerraformRecord>) -> Allowed {
    let kept = terraform.map(|kept| (kept.accounts.as_slice(), kept.trust.as_slice()));
    let (more, trust) = kept.unwrap_or_default();
    allowed_beside(cluster, more, trust)
}

fn allowed_beside(cluster: &VerifiedCluster, more: &[String], trust: &[String]) -> Allowed {
    let own = std::iter::once(&cluster.facts().account);
    Allowed { accounts: Accounts::Only(own.chain(more).cloned().collect()), trusted: trust.to_vec() }
}

/// Where the state is kept, if that is allowed.
pub(crate) async fn state(
    cluster: &VerifiedCluster,
    terraform: &Terraform,
    allowed: &Allowed,
) -> Result<State, StepError> {
    let backend = terraform.backend_in_use().map_err(terraform_failed)?;
    guard::check_backend(cluster.session(), backend.as_ref(), allowed).await.map_err(cluster_failed)
}

/// Keeps the root and its variables where any machine finds them.
pub(crate) async fn keep(
    cluster: &VerifiedCluster,
    record: &Record,
    at: &ArchivePlace,
    place: &Place,
) -> Result<(), StepError> {
    let packed = archive::pack(place.dir(), &KEPT).map_err(failed)?;
    archive::keep(cluster, record, at, &packed).await.map_err(cluster_failed)
}

/// Brings the root here, if this machine does not have it.
pub(crate) async fn fetch(
    cluster: &VerifiedCluster,
    record: &Record,
    place: &Place,
) -> Result<(), StepError> {
    let archive = record.terraform.as_ref().and_then(|terraform| terraform.archive.as_ref());
    let Some(archive) = archive.filter(|_| !place.dir().join("root").exists()) else { return Ok(()) };
    let packed = archive::fetch(cluster, record, archive).await.map_err(cluster_failed)?;
    archive::unpack(&packed, place.dir()).map_err(failed)
}

/// What everything of an environment carries at AWS, in words.
pub(crate) fn tag_of(record: &Record) -> String {
    format!("{}={}", tags::IDENTITY, record.identity)
}

/// How long AWS' lists of what has a tag may lag behind what was removed.
const LISTS_LAG: Duration = Duration::from_secs(30);

/// What AWS lists under the environment's tag once its lists have caught up, in the regions where providers
/// or resources are.
async fn listed(
    cluster: &VerifiedCluster,
    record: &Record,
    known: &[Known],
    mut regions: BTreeSet<String>,
) -> Result<BTreeSet<String>, ClusterError> {
    let region = |arn: &str| arn.split(':').nth(3).filter(|region| !region.is_empty()).map(str::to_owned);
    regions.extend(known.iter().filter_map(|known| region(known.values["arn"].as_str()?)));
    // AWS itself says when it will remove these.
    let is_kept = |arn: &String| {
        known.iter().any(|k| k.values["arn"].as_str() == Some(arn) && window(&k.values).is_some())
    };
    let only_kept = |listed: &BTreeSet<String>| listed.iter().all(is_kept);
    let list = || tags::existing(cluster.session(), &record.identity, &regions);
    caught_up(Instant::now() + LISTS_LAG, only_kept, list).await
}

/// What became of what Terraform made, where its provider could not tell: by what AWS still lists under the
/// environment's tag. Also what carries the tag and no state knows of.
pub(crate) async fn look_up_by_tag(
    cluster: &VerifiedCluster,
    record: &Record,
    known: &[Known],
    ends: Vec<(End, Item)>,
    regions: BTreeSet<String>,
) -> Vec<(End, Item)> {
    let listed = listed(cluster, record, known, regions).await;
    let tag = tag_of(record);
    let mut seen = Vec::new();
    for (resource, (end, item)) in known.iter().zip(ends) {
        let arn = resource.values["arn"].as_str();
        seen.push(match (end, arn, window(&resource.values)) {
            (_, Some(arn), Some(days)) => {
                let until = Timestamp::now().saturating_add(SignedDuration::from_hours(24 * days));
                let until = until.unwrap_or(Timestamp::MAX);
                let evidence = format!("AWS keeps {arn} until {until}: its recovery window is {days} days");
                (End::Retained, Item { evidence, remove: None, ..item })
            }
            (End::Left, Some(arn), None) => (end, Item { remove: Some(remove_command(arn)), ..item }),
            (End::Unverified, Some(arn), None)
                if listed.as_ref().is_ok_and(|listed| listed.contains(arn)) =>
            {
                let evidence = format!("AWS still lists {arn} under the tag {tag}");
                (End::Left, Item { evidence, remove: Some(remove_command(arn)), ..item })
            }
            _ => (end, item),
        });
    }
    let known: Vec<_> = known.iter().filter_map(|k| k.values["arn"].as_str()).collect();
    let orphan = |id: String, evidence: String, remove| Item {
        kind: ThingKind::Resource,
        id,
        evidence,
        used_by: vec![],
        remove,
    };
    match listed {
        Ok(listed) => {
            for arn in listed.into_iter().filter(|arn| !known.contains(&arn.as_str())) {
                let evidence = format!(
                    "AWS lists it under the tag {tag}, and no Terraform state knows of it: Terraform was killed after it had made it"
                );
                let remove = Some(remove_command(&arn));
                seen.push((End::Left, orphan(arn, evidence, remove)));
            }
        }
        Err(error) => {
            let evidence = format!(
                "whether something carries it that no Terraform state knows of: AWS could not be asked: {error}"
            );
            seen.push((End::Unverified, orphan(tag, evidence, None)));
        }
    }
    seen
}

/// For how many days AWS keeps what was destroyed.
fn window(values: &Value) -> Option<i64> {
    let days = ["recovery_window_in_days", "deletion_window_in_days"];
    days.iter().find_map(|key| values[*key].as_i64()).filter(|days| *days > 0)
}

/// The command that removes a thing of AWS, for the services that environments use most.
pub(crate) fn remove_command(arn: &str) -> String {
    let mut parts = arn.splitn(6, ':').skip(2);
    let service = parts.next().unwrap_or_default();
    let (region, account) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let rest = parts.next().unwrap_or_default();
    match service {
        "sqs" => format!(
            "aws sqs delete-queue --region {region} --queue-url https://sqs.{region}.amazonaws.com/{account}/{rest}"
        ),
        "elasticloadbalancing" if rest.starts_with("loadbalancer/") => {
            format!("aws elbv2 delete-load-balancer --region {region} --load-balancer-arn {arn}")
        }
        "elasticloadbalancing" if rest.starts_with("targetgroup/") => {
            format!("aws elbv2 delete-target-group --region {region} --target-group-arn {arn}")
        }
        "ec2" if rest.starts_with("security-group/") => format!(
            "aws ec2 delete-security-group --region {region} --group-id {}",
            rest.rsplit('/').next().unwrap_or(rest)
        ),
        "s3" => format!("aws s3 rb --force s3://{rest}"),
        "iam" => format!("aws iam delete-role --role-name {}", rest.rsplit('/').next().unwrap_or(rest)),
        "secretsmanager" => {
            format!(
                "aws secretsmanager delete-secret --region {region} --secret-id {arn} --force-delete-without-recovery"
            )
        }
        _ => format!("look for {arn} in the console of `{service}`, and delete it there"),
    }
}
