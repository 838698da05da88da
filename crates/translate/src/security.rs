//! Security contexts.

use envctl_model::finding::{Fate, Severity};

use crate::compose::Service;
use crate::cursor::{Cursor, Remark};

pub(crate) fn apply(pod: &Cursor<'_>, container: &Cursor<'_>, service: &mut Service) {
    let (pod, own) = (pod.get("securityContext"), container.get("securityContext"));
    // The container's setting wins; the pod's counts as read in any case.
    let number = |key: &'static str| {
        let (pod, own) = (pod.get(key).number::<u32>(), own.get(key).number::<u32>());
        own.or(pod)
    };
    let (user, group) = (number("runAsUser"), number("runAsGroup"));
    service.user = match (user, group) {
        (Some(user), Some(group)) => Some(format!("{user}:{group}")),
        (Some(user), None) => Some(user.to_string()),
        (None, Some(_)) => {
            let at = if own.get("runAsGroup").present() { &own } else { &pod };
            at.get("runAsGroup").remark(
                Remark::dropped(
                    Severity::Major,
                    "group-without-user",
                    "Docker sets a group only together with a user",
                )
                .fix("set runAsUser as well"),
            );
            None
        }
        (None, None) => None,
    };
    non_root(&pod, &own, user);

    let groups =
        pod.get("supplementalGroups").items().iter().filter_map(Cursor::number::<u32>).collect::<Vec<_>>();
    let groups = groups.into_iter().chain(pod.get("fsGroup").number::<u32>());
    service.group_add = groups.map(|group| group.to_string()).collect();
    service.group_add.dedup();

    service.read_only = own.get("readOnlyRootFilesystem").boolean().filter(|read_only| *read_only);
    if own.get("allowPrivilegeEscalation").boolean() == Some(false) {
        service.security_opt.push("no-new-privileges:true".to_owned());
    }
    service.cap_add = own.at(&["capabilities", "add"]).strings().into_iter().map(str::to_owned).collect();
    service.cap_drop = own.at(&["capabilities", "drop"]).strings().into_iter().map(str::to_owned).collect();
    let privileged = own.get("privileged");
    if privileged.boolean() == Some(true) {
        service.privileged = Some(true);
        privileged.remark(Remark::approximated(
            Severity::Critical,
            "privileged",
            "the container controls the machine that runs Docker",
        ));
    }
    profiles(&pod, &own, service);
}

fn non_root(pod: &Cursor<'_>, own: &Cursor<'_>, user: Option<u32>) {
    let (of_pod, of_own) = (pod.get("runAsNonRoot"), own.get("runAsNonRoot"));
    let (inherited, overridden) = (of_pod.boolean(), of_own.boolean());
    let at = if overridden.is_some() { of_own } else { of_pod };
    match (overridden.or(inherited), user) {
        (Some(true), Some(0)) => at.invalid("true", "possible with runAsUser 0"),
        (Some(true), None) => at.remark(Remark::new(
            Fate::Dropped,
            Severity::Minor,
            "run-as-non-root",
            "that the image's user is not root is not checked",
        )),
        _ => {}
    }
}

fn profiles(pod: &Cursor<'_>, own: &Cursor<'_>, service: &mut Service) {
    for (field, option) in [("seccompProfile", "seccomp"), ("appArmorProfile", "apparmor")] {
        let (of_pod, of_own) = (pod.get(field), own.get(field));
        let (inherited, overridden) = (of_pod.get("type").string(), of_own.get("type").string());
        match overridden.or(inherited) {
            None | Some("RuntimeDefault") => {}
            Some("Unconfined") => service.security_opt.push(format!("{option}=unconfined")),
            Some(_) => {
                let at = if of_own.present() { of_own } else { of_pod };
                at.get("localhostProfile").take();
                at.remark(Remark::dropped(
                    Severity::Major,
                    "security-profile",
                    "Docker's default profile is used",
                ));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cursor::Notes;
    use crate::objects::parse;

    #[test]
    fn the_container_overrides_the_pod() {
        let objects = parse(
            "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec:\n  securityContext: {runAsUser: 1, runAsGroup: 2, fsGroup: 3, supplementalGroups: [4], seccompProfile: {type: Unconfined}, runAsNonRoot: true}\n  containers:\n  - securityContext: {runAsUser: 9, readOnlyRootFilesystem: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL], add: [NET_BIND_SERVICE]}, seccompProfile: {type: RuntimeDefault}}\n",
            "t",
        )
        .expect("parses");
        let notes = Notes::default();
        let spec = Cursor::new(&objects[0], &notes).get("spec");
        let mut service = Service::default();
        apply(&spec, &spec.get("containers").items()[0], &mut service);
        assert_eq!(
            service.to_value(),
            serde_json::json!({"image": "", "user": "9:2", "group_add": ["4", "3"], "read_only": true,
                "cap_add": ["NET_BIND_SERVICE"], "cap_drop": ["ALL"], "security_opt": ["no-new-privileges:true"]})
        );
        assert!(notes.finish().expect("no errors").is_empty());
    }
}
