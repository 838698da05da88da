//! Where the environment lives that a verb is about.

use envctl_cluster::aws::SignIn;
use envctl_cluster::aws::eks::parts_of_arn;
use envctl_cluster::{Expected, records};
use envctl_model::name::EnvironmentName;
use envctl_model::record::{Place, Record};
use envctl_model::stack::{Protected, TargetKind};
use serde::{Deserialize, Serialize};

use super::cluster::target::{Destination, explain};
use super::{Home, Store};
use crate::config::{Base, Origin};
use crate::ui::{Failure, notice};

/// A place where an environment may live.
#[derive(Debug, Clone)]
pub(crate) enum Whereabouts {
    /// This machine's Docker Engine.
    Local,
    /// A cluster.
    Cluster(Box<Destination>),
}

/// As whom an `up` of this machine went to a cluster.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct SignedInAs {
    profile: Option<String>,
    role: Option<String>,
}

const SIGN_IN: &str = "sign-in.json";

/// Remembers as whom an `up` went to a cluster, so that the name is enough from now on.
pub(crate) fn remember(home: &Home, by: &SignIn) -> Result<(), Failure> {
    home.write_json(SIGN_IN, &SignedInAs { profile: by.profile.clone(), role: by.role.clone() })
}

/// The name of the environment that a verb is about. The stack file is needed only where no name is
/// given.
pub(crate) fn name(base: &Base) -> Result<EnvironmentName, Failure> {
    match base.named()? {
        Some(name) => Ok(name.value),
        None => Ok(base.settings(&base.stack()?)?.name.value),
    }
}

/// Where the environment `name` lives: where flags or variables say; else where this machine has brought
/// one up; else the default target of the stack file. Several places are listed, never guessed.
pub(crate) fn whereabouts(base: &Base, name: &EnvironmentName) -> Result<Whereabouts, Failure> {
    let project = match base.stack() {
        Ok(project) => Some(project),
        // Only a name was asked for: the sources may be gone.
        Err(_) if base.flags.stack.is_none() => None,
        Err(failure) => return Err(failure),
    };
    // What is protected now counts, wherever else a cluster is known from.
    let protected = project.as_ref().map(|project| project.file.stack.protected.clone()).unwrap_or_default();
    if let Some(cluster) = base.cluster() {
        let destination = of_arn(base, &cluster.value, &cluster.origin, protected)?;
        return Ok(Whereabouts::Cluster(Box::new(destination)));
    }
    let target = project.as_ref().map(|project| base.settings(project)).transpose()?.map(|s| s.target);
    let of_target = |name: &str| {
        let project = project.as_ref()?;
        let stack = &project.file.stack;
        let target = stack.targets.get(name)?;
        Some(match target.kind.value {
            TargetKind::Compose => Whereabouts::Local,
            TargetKind::Eks => {
                Whereabouts::Cluster(Box::new(Destination::of_target(base, &stack.protected, target)?))
            }
        })
    };
    if let Some(target) = &target
        && matches!(target.origin, Origin::Flag(_) | Origin::Variable(_))
        && let Some(whereabouts) = of_target(&target.value)
    {
        return Ok(whereabouts);
    }
    let store = Store::new(base.state_dir.value.clone());
    let mut found: Vec<(String, Whereabouts)> = Vec::new();
    if store.home(name).exists() {
        found.push(("the local target".to_owned(), Whereabouts::Local));
    }
    for home in store.cluster_homes(name)? {
        let Some(Ok(Some(record))) = Some(home.record()) else { continue };
        if let Some(destination) = of_record(base, &home, &record, &protected)? {
            let words = format!("cluster {}", destination.expected.cluster);
            found.push((words, Whereabouts::Cluster(Box::new(destination))));
        }
    }
    match found.len() {
        1 => found.pop().map(|(_, whereabouts)| whereabouts),
        0 => Some(target.and_then(|target| of_target(&target.value)).unwrap_or(Whereabouts::Local)),
        _ => None,
    }
    .ok_or_else(|| {
        let places: Vec<_> = found.iter().map(|(words, _)| words.as_str()).collect();
        Failure::Usage(format!(
            "there are several environments `{name}`: on {}\n  say which one with --target or --cluster",
            places.join(", and on ")
        ))
    })
}

/// What to make of a place that could not be asked. One that was named is a failure; one that only might
/// hold something is no reason not to go on: laptops without AWS credentials have stack files, too.
pub(crate) fn unasked(base: &Base, place: &Whereabouts, failure: Failure) -> Result<(), Failure> {
    let named = base.cluster().is_some() || base.flags.target.is_some() || base.variables.target.is_some();
    match (place, &failure) {
        (Whereabouts::Cluster(destination), Failure::Failed(why) | Failure::Refused(why)) if !named => {
            notice(&format!("warning: cluster {} was not asked: {why}", destination.expected.cluster));
            Ok(())
        }
        _ => Err(failure),
    }
}

/// Every place that may hold environments: the one that flags or variables name; else this machine, the
/// clusters of the stack file, and those to which this machine has brought one up.
pub(crate) fn places(base: &Base) -> Result<Vec<Whereabouts>, Failure> {
    let project = match base.stack() {
        Ok(project) => Some(project),
        Err(_) if base.flags.stack.is_none() && base.flags.target.is_none() => None,
        Err(failure) => return Err(failure),
    };
    let protected = project.as_ref().map(|project| project.file.stack.protected.clone()).unwrap_or_default();
    if let Some(cluster) = base.cluster() {
        let destination = of_arn(base, &cluster.value, &cluster.origin, protected)?;
        return Ok(vec![Whereabouts::Cluster(Box::new(destination))]);
    }
    let mut destinations: Vec<Destination> = Vec::new();
    if let Some(project) = &project {
        let stack = &project.file.stack;
        let of = |target| Destination::of_target(base, &stack.protected, target);
        if base.flags.target.is_some() || base.variables.target.is_some() {
            let target = base.settings(project)?.target.value;
            let place = of(&stack.targets[&target]).map(|d| Whereabouts::Cluster(Box::new(d)));
            return Ok(vec![place.unwrap_or(Whereabouts::Local)]);
        }
        destinations.extend(stack.targets.values().filter_map(of));
    }
    for home in Store::new(base.state_dir.value.clone()).all_cluster_homes()? {
        let Ok(Some(record)) = home.record() else { continue };
        destinations.extend(of_record(base, &home, &record, &protected)?);
    }
    let mut keys = std::collections::BTreeSet::new();
    destinations.retain(|destination| keys.insert(destination.key()));
    let clusters = destinations.into_iter().map(|d| Whereabouts::Cluster(Box::new(d)));
    Ok(std::iter::once(Whereabouts::Local).chain(clusters).collect())
}

/// The cluster of an environment that this machine brought up, from its record here.
fn of_record(
    base: &Base,
    home: &Home,
    record: &Record,
    protected: &Protected,
) -> Result<Option<Destination>, Failure> {
    let Place::Eks(place) = &record.place else { return Ok(None) };
    let signed_in: Option<SignedInAs> = home.read_json(SIGN_IN)?;
    let chosen = base.aws_profile();
    let profile = chosen.or_else(|| signed_in.as_ref().and_then(|s| s.profile.clone()));
    Ok(Some(Destination {
        expected: Expected {
            account: place.account.clone(),
            region: place.region.clone(),
            cluster: place.cluster.clone(),
            uid: Some(place.cluster_uid.clone()),
        },
        by: SignIn {
            profile,
            role: signed_in.and_then(|s| s.role),
            region: place.region.clone(),
            user: base.variables.user.clone(),
        },
        protected: place.protected.clone().and(protected),
    }))
}

/// A cluster that is named by its ARN, from a machine that has nothing else of it.
fn of_arn(base: &Base, arn: &str, origin: &Origin, protected: Protected) -> Result<Destination, Failure> {
    let Some((region, account, cluster)) = parts_of_arn(arn) else {
        return Err(Failure::Usage(format!(
            "`{arn}` ({origin}) is not a cluster: write its ARN, arn:aws:eks:REGION:ACCOUNT:cluster/NAME"
        )));
    };
    Ok(Destination {
        expected: Expected {
            account: account.to_owned(),
            region: region.to_owned(),
            cluster: cluster.to_owned(),
            uid: None,
        },
        by: SignIn {
            profile: base.aws_profile(),
            role: None,
            region: region.to_owned(),
            user: base.variables.user.clone(),
        },
        protected,
    })
}

/// The record of an environment in a cluster.
pub(crate) async fn cluster_record(
    reader: &envctl_cluster::ClusterReader,
    name: &EnvironmentName,
) -> Result<Record, Failure> {
    match records::read(reader, name.as_str()).await.map_err(|e| explain(&e))? {
        Some(stored) => stored.record.map_err(Failure::failed),
        None => {
            let all = records::all(reader).await.map_err(|e| explain(&e))?;
            let names: Vec<_> = all.iter().map(|stored| stored.name.as_str()).collect();
            let known = if names.is_empty() {
                "there are none in this cluster; `envctl up` makes one".to_owned()
            } else {
                format!("environments in this cluster: {}", names.join(", "))
            };
            Err(Failure::Usage(format!("there is no environment `{name}`\n  {known}")))
        }
    }
}
