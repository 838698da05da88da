//! What may be wrong with this machine, each with the command that mends it. Nothing is changed.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};

use envctl_local::engine::EngineReader;
use envctl_local::leftovers::{self, Marked};
use envctl_local::lock::{Held, Holder};
use envctl_local::{port_owner, router};
use envctl_model::record::{Phase, Record};
use envctl_programs::process::{ProgramError, Supervisor, Tool};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::Store;
use super::local::certificates;
use super::local::machine::{Machine, explain};
use crate::config::{Base, default_router_port};
use crate::ui::Failure;

/// How something that was looked at is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Verdict {
    /// As it should be.
    Ok,
    /// It may be in the way.
    Warning,
    /// Something does not work because of it.
    Problem,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Finding {
    /// What was looked at.
    pub(crate) what: String,
    /// How it is.
    pub(crate) verdict: Verdict,
    /// What was found.
    pub(crate) found: String,
    /// The command that mends it, or where to get what is missing.
    pub(crate) mend: Option<String>,
}

impl Finding {
    fn ok(what: &str, found: impl Into<String>) -> Self {
        Self { what: what.to_owned(), verdict: Verdict::Ok, found: found.into(), mend: None }
    }

    fn warning(what: &str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        let mend = Some(mend.into());
        Self { what: what.to_owned(), verdict: Verdict::Warning, found: found.into(), mend }
    }

    fn problem(what: &str, found: impl Into<String>, mend: impl Into<String>) -> Self {
        Self { verdict: Verdict::Problem, ..Self::warning(what, found, mend) }
    }

    /// What an error of ours says: the last lines are what to do.
    fn of_failure(what: &str, failure: &Failure) -> Self {
        let text = failure.message().unwrap_or_default();
        let (found, mend) = text.split_once('\n').unwrap_or((&text, ""));
        let mend = Some(mend.trim().to_owned()).filter(|mend| !mend.is_empty());
        Self { what: what.to_owned(), verdict: Verdict::Problem, found: found.to_owned(), mend }
    }
}

/// With less room than this nothing can be built any more.
const LITTLE: u64 = 1 << 30;

/// With less room than this a few images fill the disk.
const SOME: u64 = 5 << 30;

/// Looks at everything.
pub(crate) async fn examine(base: &Base) -> Result<Vec<Finding>, Failure> {
    let (programs, engine, names) = tokio::join!(programs(base), engine(base), names());
    let mut findings = programs;
    findings.extend(engine?);
    findings.push(names);
    findings.extend(room("disk of the state", &base.state_dir.value, "make room on that disk"));
    findings.extend(unfinished(base)?);
    findings.extend(authority(base));
    Ok(findings)
}

/// Who signs for hosts that have TLS. Whether a browser trusts it, the browser knows.
fn authority(base: &Base) -> Option<Finding> {
    let path = certificates::authority(base)?;
    Some(Finding::ok(
        "TLS",
        format!("{} signs for environments: import it into a browser, or curl --cacert it", path.display()),
    ))
}

async fn programs(base: &Base) -> Vec<Finding> {
    let programs = &base.programs;
    let needs_terraform = base
        .stack()
        .is_ok_and(|project| project.file.stack.targets.values().any(|target| target.terraform.is_some()));
    let terraform = Tool::terraform_at(&programs.terraform.value);
    let supervisor = Supervisor::default();
    let (docker, helm, terraformed, git) = tokio::join!(
        Tool::Docker.probe(&programs.docker.value, &supervisor),
        Tool::Helm.probe(&programs.helm.value, &supervisor),
        terraform.probe(&programs.terraform.value, &supervisor),
        Tool::Git.probe(Path::new("git"), &supervisor),
    );
    let mut findings = vec![found("docker", docker, true), found("helm", helm, true)];
    findings.push(found(terraform.name(), terraformed, needs_terraform));
    findings.push(found("git", git, false));
    findings
}

/// What a program said of its version. One that is not needed may be missing.
fn found(
    what: &str,
    probed: Result<Option<envctl_programs::process::Version>, ProgramError>,
    is_needed: bool,
) -> Finding {
    match probed {
        Ok(Some(version)) => Finding::ok(what, version.to_string()),
        Ok(None) => Finding::ok(what, "a build of its own, without a version"),
        Err(ProgramError::NotFound { how_to_get, .. }) if is_needed => {
            Finding::problem(what, "is not installed", how_to_get)
        }
        Err(ProgramError::NotFound { how_to_get, .. }) => {
            Finding::warning(what, "is not installed; nothing here needs it", how_to_get)
        }
        Err(ProgramError::VersionTooOld { found, needed, how_to_get, .. }) => {
            Finding::problem(what, format!("{found} is too old: {needed} or newer is needed"), how_to_get)
        }
        Err(error) => Finding::of_failure(what, &Failure::Failed(error.to_string())),
    }
}

async fn engine(base: &Base) -> Result<Vec<Finding>, Failure> {
    let machine = match Machine::connect(base, None).await {
        Ok(machine) => machine,
        Err(failure) => return Ok(vec![Finding::of_failure("Docker Engine", &failure)]),
    };
    let facts = machine.engine.facts();
    let mut findings = vec![Finding::ok("Docker Engine", format!("{} at {}", facts.version, facts.endpoint))];
    findings.push(match machine.compose_version().await {
        Ok((major, minor, patch)) => Finding::ok("docker compose", format!("{major}.{minor}.{patch}")),
        Err(failure) => Finding::of_failure("docker compose", &failure),
    });
    if let Some(directory) = leftovers::directory(&machine.reader).await.map_err(|e| explain(&e))? {
        // Never `docker system prune`: what sleeps is what does not run.
        let mend = "docker image prune && docker builder prune";
        findings.extend(room("Docker's disk", &directory, mend));
    }
    findings.push(port(base, &machine.reader).await?);
    let (locks, marked) =
        tokio::try_join!(leftovers::locks(&machine.reader), leftovers::marked(&machine.reader))
            .map_err(|e| explain(&e))?;
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let here = Holder::this_process(&host, &base.variables.user, "envctl doctor").map_err(Failure::failed)?;
    findings.extend(locks.iter().filter_map(|lock| stale(lock, &here)));
    // What does not say whose it is may be somebody else's, and what a record is of that cannot be read is not lost.
    let mine = |one: &Marked| one.owner.as_deref() == Some(base.owner.as_str());
    let known = known(base)?;
    let is_known = |identity: &str, one: &Marked| {
        known.contains(identity) || one.environment.as_ref().is_some_and(|name| known.contains(name))
    };
    let orphans = marked.iter().filter(|(identity, one)| mine(one) && !is_known(identity, one));
    findings.extend(orphans.map(|(identity, one)| orphan(identity, one)));
    Ok(findings)
}

/// The port on which environments of this machine answer.
async fn port(base: &Base, reader: &EngineReader) -> Result<Finding, Failure> {
    let settings = base.stack().and_then(|project| base.settings(&project));
    let port = settings.map_or_else(|_| default_router_port(base), |settings| settings.router_port.value);
    let what = "router's port";
    if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
        return Ok(Finding::ok(what, format!("{port} is free")));
    }
    let owner = port_owner::find(reader, port).await.map_err(|e| explain(&e))?;
    if matches!(&owner, port_owner::PortOwner::Container { name, .. } if *name == router::name(port)) {
        return Ok(Finding::ok(what, format!("{port} is our router's")));
    }
    let variable = crate::config::variables::ROUTER_PORT;
    Ok(Finding::problem(
        what,
        format!("{port} is taken by {owner}"),
        format!("end that, or choose another port: {variable}=PORT"),
    ))
}

/// A lock whose holder is dead. The next verb breaks it by itself, unless its holder was on another machine.
fn stale(lock: &Held, here: &Holder) -> Option<Finding> {
    let found = format!("{}: {lock}", lock.container);
    match &lock.holder {
        Some(holder) if holder.is_dead(here) => {
            Some(Finding::warning("lock", format!("{found}, which is dead"), lock.break_command()))
        }
        Some(_) => None,
        None => Some(Finding::warning("lock", found, lock.break_command())),
    }
}

/// The identities of everything that this machine's state directory knows, and the names of what it cannot read.
fn known(base: &Base) -> Result<BTreeSet<String>, Failure> {
    let store = Store::new(base.state_dir.value.clone());
    let records = store.records()?.into_iter();
    let mut known: BTreeSet<String> =
        records.map(|(name, record)| record.map_or(name, |record: Record| record.identity)).collect();
    for (_, kind, file) in LONG_WORK {
        for home in store.all_held(kind)? {
            let kept: Option<Value> = home.read_json(file)?;
            known.extend(kept.and_then(|kept| kept["identity"].as_str().map(str::to_owned)));
        }
    }
    Ok(known)
}

/// Work that outlives its process: its verb, its directory, and the file that says what it is.
const LONG_WORK: [(&str, &str, &str); 2] =
    [("rehearse", "rehearsals", "rehearsal.json"), ("cutover", "cutovers", "cutover.json")];

fn orphan(identity: &str, one: &Marked) -> Finding {
    let Marked { environment, containers, networks, volumes, .. } = one;
    let counted =
        |n: usize, what: &str| (n > 0).then(|| format!("{n} {what}{}", if n == 1 { "" } else { "s" }));
    let things = [
        counted(containers.len(), "container"),
        counted(networks.len(), "network"),
        counted(volumes.len(), "volume"),
    ];
    let things: Vec<_> = things.into_iter().flatten().collect();
    let of = environment.as_ref().map(|name| format!(" of the environment `{name}`")).unwrap_or_default();
    let mut commands = Vec::new();
    for (command, names) in [("rm -f -v", containers), ("network rm", networks), ("volume rm", volumes)] {
        if !names.is_empty() {
            commands.push(format!("docker {command} {}", names.join(" ")));
        }
    }
    let short = identity.get(..8).unwrap_or(identity);
    Finding::warning(
        "left over",
        format!("{}{of} that no record in the state directory knows ({short})", things.join(", ")),
        commands.join(" && "),
    )
}

/// Whether names below `localhost` lead here.
async fn names() -> Finding {
    let what = "names below localhost";
    let looked_up = tokio::net::lookup_host(("envctl-doctor.localhost", 80)).await;
    if looked_up.is_ok_and(|mut found| found.any(|address| address.ip().is_loopback())) {
        return Finding::ok(what, "lead to this machine");
    }
    Finding::warning(
        what,
        "are not found by this machine's resolver; browsers and curl know them all the same",
        "curl -H 'Host: NAME.ENVIRONMENT.localhost' http://127.0.0.1:8080, or systemd-resolved, or a line in /etc/hosts",
    )
}

/// The room on the disk that holds a directory, or where it will be.
fn room(what: &str, directory: &Path, mend: &str) -> Option<Finding> {
    let mut there: PathBuf = directory.to_owned();
    while !there.exists() {
        there = there.parent()?.to_owned();
    }
    let disk = rustix::fs::statvfs(&there).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    #[allow(clippy::cast_precision_loss, reason = "shown with one digit")]
    let found = format!("{:.1} GiB free at {}", free as f64 / f64::from(1 << 30), there.display());
    Some(match free {
        ..LITTLE => Finding::problem(what, found, mend),
        LITTLE..SOME => Finding::warning(what, found, mend),
        _ => Finding::ok(what, found),
    })
}

/// Environments, rehearsals and cutovers whose process died.
fn unfinished(base: &Base) -> Result<Vec<Finding>, Failure> {
    let store = Store::new(base.state_dir.value.clone());
    let mut findings = Vec::new();
    for (name, record) in store.records()? {
        findings.extend(match record {
            Err(failure) => Some(Finding::of_failure("record", &failure)),
            Ok(record) => begun(&name, record.phase),
        });
    }
    for (verb, kind, file) in LONG_WORK {
        for home in store.all_held(kind)? {
            let Some(kept) = home.read_json::<Value>(file)? else { continue };
            let text = |key: &str| kept[key].as_str().unwrap_or_default().to_owned();
            findings.push(Finding::warning(
                verb,
                format!("`{}` of {} is at work, or its process died", text("name"), text("component")),
                format!("envctl {verb} {} --abort", text("plan")),
            ));
        }
    }
    Ok(findings)
}

fn begun(name: &str, phase: Phase) -> Option<Finding> {
    let what = "environment";
    match phase {
        Phase::Ready => None,
        Phase::Creating | Phase::Updating => Some(Finding::warning(
            what,
            format!("`{name}`: an `up` of it is at work, or did not end well"),
            format!("envctl up --name {name}, or envctl down --name {name}"),
        )),
        Phase::Removing => Some(Finding::warning(
            what,
            format!("`{name}`: a `down` of it is at work, or did not end well"),
            format!("envctl down --name {name}"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_over_is_named_with_the_command_that_removes_it() {
        let one = Marked {
            environment: Some("shop".to_owned()),
            owner: None,
            containers: vec!["a".to_owned(), "b".to_owned()],
            networks: vec!["shop".to_owned()],
            volumes: Vec::new(),
        };
        let finding = orphan("0123456789abcdef", &one);
        assert_eq!(
            finding.found,
            "2 containers, 1 network of the environment `shop` that no record in the state directory knows (01234567)"
        );
        assert_eq!(finding.mend.unwrap(), "docker rm -f -v a b && docker network rm shop");
    }

    #[test]
    fn only_a_lock_whose_holder_is_known_to_be_dead_is_stale() {
        let here = Holder::this_process("here", "me", "envctl doctor").unwrap();
        let lock = |holder| Held {
            holder,
            container: "envctl-lock-shop".to_owned(),
            id: "0123456789abcdef".to_owned(),
        };
        assert_eq!(stale(&lock(Some(here.clone())), &here), None);
        assert_eq!(stale(&lock(Some(Holder { host: "there".to_owned(), ..here.clone() })), &here), None);
        let dead = Holder { started: "1".to_owned(), ..here.clone() };
        assert_eq!(stale(&lock(Some(dead)), &here).unwrap().mend.unwrap(), "docker rm 0123456789ab");
    }
}
