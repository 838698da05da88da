//! A container of a pod as a Compose service.

use envctl_model::finding::Severity;
use envctl_model::labels::BEFORE_STOP;
use envctl_wire::BeforeStop;

use crate::compose::{Hook, Service};
use crate::cursor::{Cursor, Remark};
use crate::environment::Variables;
use crate::expand::expand;
use crate::input::EngineFacts;
use crate::{probe, resources, security};

/// What the API has in the container itself; mounts, probes, order and the Services' variables come
/// from the pod.
pub(crate) fn service(
    pod: &Cursor<'_>,
    container: &Cursor<'_>,
    variables: &Variables<'_>,
    engine: &EngineFacts,
) -> Service {
    let image = container.get("image").required().to_owned();
    let words = |key: &'static str| -> Vec<String> {
        container
            .get(key)
            .strings()
            .into_iter()
            .map(|word| expand(word, |name| variables.get(name)))
            .collect()
    };
    let flag = |key: &'static str| container.get(key).boolean().filter(|set| *set);
    let mut service = Service {
        pull_policy: Some(pull_policy(container, &image)),
        entrypoint: words("command"),
        command: words("args"),
        working_dir: container.get("workingDir").string().filter(|path| !path.is_empty()).map(str::to_owned),
        stdin_open: flag("stdin"),
        tty: flag("tty"),
        environment: variables.declared.clone(),
        image,
        ..Service::default()
    };
    let grace = pod.get("terminationGracePeriodSeconds").number::<u32>().unwrap_or(30);
    service.stop_grace_period = Some(probe::seconds(grace));
    service.stop_signal = container.at(&["lifecycle", "stopSignal"]).string().map(str::to_owned);
    for port in container.get("ports").items() {
        // Container ports inform; every port of a pod can be reached.
        for key in ["name", "containerPort", "protocol"] {
            port.get(key).take();
        }
    }
    resources::apply(container, engine, &mut service);
    security::apply(pod, container, &mut service);
    service.post_start = post_start(container, engine);
    if let Some(wanted) = before_stop(container) {
        // The type consists of strings and numbers: this cannot fail.
        let wanted = serde_json::to_string(&wanted).unwrap_or_default();
        service.labels.insert(BEFORE_STOP.to_owned(), wanted);
    }
    service
}

/// The API's own default depends on the tag.
fn pull_policy(container: &Cursor<'_>, image: &str) -> &'static str {
    match container.get("imagePullPolicy").string() {
        Some("Always") => "always",
        Some("Never") => "never",
        Some(_) => "missing",
        None => {
            let name = image.rsplit('/').next().unwrap_or(image);
            let latest = !name.contains('@') && (!name.contains(':') || name.ends_with(":latest"));
            if latest { "always" } else { "missing" }
        }
    }
}

/// Compose runs it as soon as the container has started.
fn post_start(container: &Cursor<'_>, engine: &EngineFacts) -> Vec<Hook> {
    let hook = container.at(&["lifecycle", "postStart"]);
    if !hook.present() {
        return Vec::new();
    }
    let (command, sleep) = (hook.at(&["exec", "command"]), hook.get("sleep"));
    if sleep.present() {
        hook.take();
        hook.remark(Remark::dropped(Severity::Info, HOOK, "the pod is ready without waiting for it"));
        return Vec::new();
    }
    if !command.present() || !engine.has_lifecycle_hooks() {
        hook.take();
        let reason =
            if command.present() { "needs Compose 2.30 or newer" } else { "only commands are carried" };
        hook.remark(Remark::dropped(Severity::Major, HOOK, format!("is not run: {reason}")));
        return Vec::new();
    }
    hook.remark(Remark::approximated(
        Severity::Minor,
        HOOK,
        "runs when `up` starts the container, not when Docker restarts it",
    ));
    vec![Hook { command: owned(&command) }]
}

/// envctl runs it when it ends the container.
fn before_stop(container: &Cursor<'_>) -> Option<BeforeStop> {
    let hook = container.at(&["lifecycle", "preStop"]);
    if !hook.present() {
        return None;
    }
    let (command, sleep) = (hook.at(&["exec", "command"]), hook.at(&["sleep", "seconds"]));
    let wanted = match (command.present(), sleep.number()) {
        (true, _) => BeforeStop::Exec(owned(&command)),
        (false, Some(seconds)) => BeforeStop::Sleep(seconds),
        (false, None) if hook.get("httpGet").present() => {
            BeforeStop::Request(probe::check(&hook, &probe::ports(container))?)
        }
        (false, None) => {
            hook.take();
            hook.remark(Remark::dropped(
                Severity::Major,
                HOOK,
                "is not run: only commands, requests and sleep are carried",
            ));
            return None;
        }
    };
    hook.remark(Remark::approximated(
        Severity::Info,
        HOOK,
        "runs when envctl or its warden ends the container, not when Docker does",
    ));
    Some(wanted)
}

fn owned(words: &Cursor<'_>) -> Vec<String> {
    words.strings().into_iter().map(str::to_owned).collect()
}

const HOOK: &str = "lifecycle-hook";
