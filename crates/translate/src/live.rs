//! Live source: the working tree in a container, in place of what its image holds (`up --dev`).

use envctl_model::finding::Severity;

use crate::compose::{BindOptions, Mount, Service};
use crate::cursor::{Cursor, Remark};
use crate::input::LiveSource;

/// Gives the source to a container, and says what now differs from the cluster.
pub(crate) fn apply(pod: &Cursor<'_>, container: &Cursor<'_>, live: &LiveSource, service: &mut Service) {
    for (source, target) in &live.mounts {
        // What the pod mounts in the same place is hidden by it, as the image's content is.
        service.volumes.retain(|mount| mount.target() != target);
        service.volumes.push(Mount::Bind {
            source: source.to_string_lossy().into_owned(),
            target: target.clone(),
            read_only: false,
            bind: BindOptions { create_host_path: false, propagation: None },
        });
        container.remark(
            Remark::approximated(
                Severity::Major,
                "live-source",
                format!("{target} is {} of this machine, not what the image holds", source.display()),
            )
            .fix("type `envctl up` without --dev to run the image"),
        );
    }
    if let Some(command) = &live.command {
        service.entrypoint.clone_from(command);
        service.command.clear();
        container.get("command").remark(
            Remark::approximated(
                Severity::Major,
                "live-command",
                format!("runs `{}` instead of its own command", command.join(" ")),
            )
            .fix("type `envctl up` without --dev to run the image"),
        );
    }
    if live.mounts.is_empty() {
        return;
    }
    let own = container.get("securityContext");
    if service.read_only == Some(true) {
        own.get("readOnlyRootFilesystem").remark(Remark::approximated(
            Severity::Minor,
            "live-source-writable",
            "the live source can be written to all the same",
        ));
    }
    if let Some(user) = &service.user {
        let at = if own.get("runAsUser").present() { own } else { pod.get("securityContext") };
        at.get("runAsUser").remark(Remark::approximated(
            Severity::Minor,
            "live-source-owner",
            format!(
                "user {user} may be unable to read or write the live source, whose files keep their owner"
            ),
        ));
    }
}
