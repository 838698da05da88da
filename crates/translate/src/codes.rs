//! Every code that a finding can have, and what it means: for `parity --explain` and for docs/parity.md.

use envctl_model::finding::Severity;

use Severity::{Critical, Info, Major, Minor};

/// What a code means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Code {
    /// The code, as findings have it.
    pub code: &'static str,
    /// The most that a finding with it matters.
    pub severity: Severity,
    /// What a cluster does.
    pub cluster: &'static str,
    /// What happens here instead.
    pub local: &'static str,
    /// What to do about it.
    pub advice: &'static str,
}

/// What a code means; nothing where there is no such code.
#[must_use]
pub fn explain(code: &str) -> Option<&'static Code> {
    CODES.iter().find(|row| row.code == code)
}

/// Whether findings may have a code, at compile time for the tables of this crate.
pub(crate) const fn is_known(code: &str) -> bool {
    let mut row = 0;
    while row < CODES.len() {
        if same(CODES[row].code.as_bytes(), code.as_bytes()) {
            return true;
        }
        row += 1;
    }
    false
}

const fn same(one: &[u8], other: &[u8]) -> bool {
    if one.len() != other.len() {
        return false;
    }
    let mut at = 0;
    while at < one.len() {
        if one[at] != other[at] {
            return false;
        }
        at += 1;
    }
    true
}

const fn code(
    code: &'static str,
    severity: Severity,
    cluster: &'static str,
    local: &'static str,
    advice: &'static str,
) -> Code {
    Code { code, severity, cluster, local, advice }
}

const NOTHING: &str = "Nothing: applications do not notice.";
const ON_CLUSTER: &str = "Test it in an environment on a cluster, where it matters.";

/// All codes, sorted.
#[rustfmt::skip]
pub const CODES: &[Code] = &[
    code("address-type", Major, "EndpointSlices may hold IPv6 addresses and host names.", "Only IPv4 addresses are carried; the Service does not lead to the others.", "Give IPv4 addresses in this target's values, or a Service of type ExternalName."),
    code("admission-webhook", Minor, "The API server asks webhooks and policies before it takes an object.", "There is no API server, so nothing is changed or refused by them.", "What a webhook would inject, write into the chart; test refusals on a cluster."),
    code("api-service", Minor, "An aggregated API answers below the API server.", "There is no API server here, so there is none of its APIs.", "Switch off in this target's values what asks for it."),
    code("app-protocol", Info, "Some load balancers and meshes treat a port by its `appProtocol`.", "Connections are passed on as they are.", NOTHING),
    code("autoscaling", Minor, "The number of pods follows load or a queue.", "Nothing scales: the workload has the `replicas` that are written, one where there are none.", "Set `replicas` in this target's values to see several pods at work."),
    code("binary-variable", Major, "Values that are not UTF-8 cannot be environment variables; the kubelet refuses or mangles them.", "The variable is left out.", "Mount the key as a file, or encode it."),
    code("block-volume", Critical, "The container sees a raw block device.", "There are no block devices: it is a directory, or nothing at all.", "Use `volumeMode: Filesystem` in this target's values, or a backing service."),
    code("certificate", Major, "cert-manager issues a certificate and keeps it in a Secret.", "envctl's authority of this machine issues one for servers and clients; of authorities, and of what names no host, the Secret does not exist.", "Let the chart make the Secret from values in this target, or use `secrets` of the stack file, for what is not issued."),
    code("claim-retention", Info, "Claims of a StatefulSet may be removed when it is scaled down or deleted.", "Volumes live until `envctl down`.", NOTHING),
    code("claim-size", Info, "A claim is as large as it says.", "The size is not enforced: the machine's disk is the limit.", "Watch the disk: `envctl doctor` shows what is left."),
    code("cluster-ip", Minor, "A Service can ask for a certain virtual address.", "It gets one of the environment's own subnet.", "Use the Service's name instead of the address."),
    code("cpu-limit", Info, "Containers may use the CPU of their limit.", "The limit is brought within what the Engine takes: no less than 10m, no more than the machine has.", NOTHING),
    code("cron-job", Major, "Pods are started whenever the schedule says so.", "Without a warden the schedule starts nothing.", "Leave out `warden: false` of the target, or run it when you need it: `envctl job run NAME`."),
    code("custom-resource-definition", Minor, "The API server learns a kind, and a controller acts on its objects.", "There is neither an API server nor a controller.", "Switch off in this target's values what needs the kind."),
    code("deadline", Minor, "`activeDeadlineSeconds` ends what runs too long, and a Job with all of its pods.", "Each pod is ended when its own time is over: by an `envctl up` that waits for it, else by the warden. Pods of other controllers have no deadline.", "Leave out `warden: false` of the target."),
    code("delete-hook", Minor, "Helm runs it before or after it removes the release.", "It is not run: `envctl down` removes the whole environment.", "Clean up what lies outside of the environment by a Terraform root."),
    code("disruption-budget", Info, "Evictions wait while too few pods are ready.", "Nothing is evicted here.", NOTHING),
    code("dns", Minor, "`dnsPolicy` and `dnsConfig` decide on the pod's resolv.conf.", "What is not carried is what Docker's own settings say; name servers are IPv4 only.", "Use full names, and IPv4 name servers."),
    code("empty-dir", Info, "An emptyDir goes with its pod.", "It keeps its content when the pod is replaced, until `envctl down`.", "Do not expect it to be empty: clear it at the start of the container where that matters."),
    code("empty-dir-size", Info, "A pod that fills more than `sizeLimit` is evicted.", "The size is not limited.", NOTHING),
    code("endpoints", Minor, "Endpoints tell ready, serving and terminating addresses apart.", "All addresses that are written as ready are used, and the other details are not.", NOTHING),
    code("ephemeral-container", Minor, "A container for debugging joins a running pod.", "It is not started.", "Use `envctl exec NAME -- sh`, or `envctl run NAME -- COMMAND`."),
    code("exec-probe", Minor, "A probe that runs a command decides when Services send requests.", "It is run as Docker's health check, of which a container has one, and one success is enough: readiness does not wait for startup. Without a warden Services send requests before it has succeeded.", "Use an HTTP, TCP or gRPC probe where this matters, and leave out `warden: false` of the target."),
    code("external-secret", Critical, "A controller fetches the Secret from a vault.", "The Secret is not made, and pods that read it get empty values or do not start.", "Make it with `secrets` of the stack file: `command: [op, read, ..]` asks a vault as well."),
    code("external-service", Minor, "NodePort and LoadBalancer make a Service reachable from outside.", "It is reachable inside of the environment only; there is one node and no load balancer.", "Use an Ingress, or `envctl port-forward NAME PORT`."),
    code("file-sub-path", Critical, "One file of a volume can be mounted by `subPath`.", "This Docker Engine cannot: nothing is mounted.", "Upgrade Docker to version 26 or newer."),
    code("fs-group", Info, "`fsGroupChangePolicy` decides when owners of files are set.", "They are set at every start of the pod.", NOTHING),
    code("gateway-api", Major, "A gateway routes requests as HTTPRoutes and others say.", "They are not routed.", "Use an Ingress in this target's values."),
    code("group-without-user", Major, "`runAsGroup` works without `runAsUser`.", "Docker sets a group only together with a user, so the image's group stays.", "Set `runAsUser` as well."),
    code("helm-test", Info, "`helm test` runs it.", "It is left out.", "Run the same command with `envctl run NAME -- COMMAND`."),
    code("hook", Minor, "Helm runs it at a moment that an environment does not have, such as a rollback.", "It is not run.", NOTHING),
    code("hook-of-other-stage", Info, "Install hooks run at the first delivery, upgrade hooks at later ones.", "The same is true here; this one is of the other stage.", NOTHING),
    code("host-namespace", Critical, "The pod shares processes or IPC with its node.", "It shares them with the machine that runs Docker: your own.", "Switch it off in this target's values."),
    code("host-network", Major, "The pod uses its node's network.", "It has a network of its own, and the machine does not have its ports.", "Reach the pod through a Service."),
    code("host-path", Critical, "A directory of the node is mounted.", "A directory of the machine that runs Docker is mounted: what the pod writes there stays.", "Use a claim or an emptyDir in this target's values."),
    code("host-port", Info, "A port of the node leads to the pod.", "The port is published on 127.0.0.1: other machines do not reach it, and two environments cannot both have it.", "Use an Ingress or a Service."),
    code("image-pull-secret", Minor, "The kubelet signs in to the registry with the Secret.", "The credentials of the local `docker login` are used.", "Sign in once: `docker login REGISTRY`."),
    code("ingress-annotation", Minor, "The Ingress controller reads annotations: rewrites, limits, authentication, timeouts.", "The router does not know it.", "Test what depends on it on a cluster, or let the application do it."),
    code("ingress-backend", Major, "A rule leads to a Service and a port that exist.", "This one does not, or leads to something else than a Service: nothing is routed.", "Correct the name or the port; on a cluster it would be answered with an error as well."),
    code("ingress-class", Info, "The class decides which controller serves an Ingress.", "One router serves all of them.", NOTHING),
    code("ingress-path", Major, "A controller may read paths as regular expressions, and rewrite them by what those caught.", "Plain paths and the usual rewriting of a prefix are carried; this path is not routed.", "Write the path without a regular expression in this target's values."),
    code("ingress-tls", Minor, "TLS may end for any host.", "What no certificate can name, such as every host there is, is served over plain HTTP.", "Name the host, as DNS writes it."),
    code("ingress-without-host", Major, "A rule without a host answers for all of them.", "The router finds environments by host: pods reach this rule, browsers do not.", "Set a host in this target's values: `{{ host.NAME }}`."),
    code("ip-family", Info, "Services can have IPv6 addresses, or both.", "IPv4 only.", NOTHING),
    code("job-parallelism", Minor, "A Job runs so many of its pods at a time.", "All pods of a CronJob's run run at the same time.", NOTHING),
    code("job-retention", Info, "Finished Jobs are removed after a time.", "They stay until `envctl down`.", NOTHING),
    code("job-retry", Minor, "Failed pods of a Job are replaced, as `backoffLimit` and policies say.", "A failed container is started again in its pod, `backoffLimit` times; finer policies do not count.", "Write Jobs so that they can begin again in the same place."),
    code("job-selector", Info, "`manualSelector` lets a Job choose its pods by labels.", "Each pod knows its Job.", NOTHING),
    code("lifecycle-hook", Major, "`postStart` and `preStop` run in the container at each start and before each end.", "Commands after the start run when `up` starts the container, and requests do not; what comes before the end does when envctl or the warden ends it, and not when Docker does.", "Do in the program what has to happen at every start and end."),
    code("limit-range", Minor, "Containers without requests and limits get default ones.", "They get none.", "Write the limits into the pods."),
    code("live-command", Major, "A container runs its own command.", "With `up --dev` it runs the command of the target's `dev`.", "Type `envctl up` without `--dev` to run the image."),
    code("live-source", Major, "A container sees what its image holds.", "With `up --dev` a path of the working tree is mounted over it.", "Type `envctl up` without `--dev` to run the image."),
    code("live-source-owner", Minor, "Files of an image belong to whom it says.", "Files of the live source keep their owner on this machine, whom the container's user may not be.", "Make the files readable for all, or leave `runAsUser` out in this target's values."),
    code("live-source-writable", Minor, "A read-only root file system keeps a container from writing.", "The live source can be written to all the same.", "Type `envctl up` without `--dev` to run the image."),
    code("liveness-not-restarted", Minor, "A container whose liveness or startup probe fails is restarted.", "Without a warden a failure is reported at most; the container is not restarted.", "Leave out `warden: false` of the target; `envctl restart NAME` does it by hand."),
    code("memory-limit", Info, "A container may have any limit.", "It is raised to 6 MiB, the Engine's minimum.", NOTHING),
    code("metadata", Info, "Controllers and the API server use fields such as finalizers and owners.", "Nothing reads them here.", NOTHING),
    code("missing-reference", Critical, "A pod that refers to a ConfigMap or Secret that is not there does not start.", "It starts with an empty value: this is a translation of files, or the reference is allowed to be missing.", "Let the chart make it from values, or make a Secret with `secrets` of the stack file."),
    code("missing-sub-path", Major, "A `subPath` that the volume does not have becomes a directory.", "An empty directory is mounted.", "Check the key's name: a file was meant, most likely."),
    code("monitoring", Minor, "The Prometheus operator scrapes what monitors describe, and evaluates rules.", "Nothing does.", "Look at the metrics by hand: `envctl port-forward NAME PORT`."),
    code("mount-propagation", Minor, "Mounts that a container makes may show on the node, and the other way round.", "Only what is mounted from this machine can have that; for other volumes it is left out.", "Test it in an environment on a cluster."),
    code("namespace", Info, "A namespace is made.", "The environment is the namespace.", NOTHING),
    code("network-policy", Major, "Only connections that a policy allows are possible.", "It is not enforced: all pods of the environment reach each other and the outside. A connection that is missing in the policy works here and fails there.", "Test policies on a cluster target."),
    code("no-api-server", Major, "Pods can call the Kubernetes API with a token that is mounted.", "There is no API server: no token, or a placeholder, and no CA.", "Do not call the Kubernetes API from this pod locally: switch that off in this target's values."),
    code("no-replicas", Info, "A workload that is scaled to zero has no pods.", "The same.", "Set `replicas` in this target's values to have one."),
    code("no-warden", Minor, "A pod whose sandbox has ended, or whose node was restarted, is started anew.", "Without a warden it stays out of the network.", "Leave out `warden: false` of the target; `envctl up` mends such pods, and so does `envctl restart`."),
    code("node-field", Info, "The downward API tells the node's name and address.", "It tells something that stands for it.", NOTHING),
    code("persistent-volume", Minor, "A volume that exists already is offered to claims.", "Claims are Docker volumes that begin empty.", "Fill the volume once, or use a backing service."),
    code("pod-resources", Minor, "Limits of a whole pod are shared by its containers.", "Only the containers' own limits apply.", "Write limits into the containers."),
    code("privileged", Critical, "The container has all rights on its node.", "It controls the machine that runs Docker: your own.", "Switch it off in this target's values."),
    code("probe-grace-period", Info, "A probe can have a grace period of its own for the restart that it causes.", "The pod's applies.", NOTHING),
    code("protocol", Major, "Services carry TCP, UDP and SCTP.", "This protocol is not carried.", "Use TCP or UDP, or test it on a cluster."),
    code("rbac", Info, "Roles say what a pod may do in the Kubernetes API.", "There is no API server here: a pod that calls the Kubernetes API fails.", ON_CLUSTER),
    code("readiness-gate", Major, "A pod is ready only when a controller says so, too.", "Probes alone decide.", ON_CLUSTER),
    code("recursive-read-only", Minor, "Mounts inside of a read-only mount are read-only as well.", "They stay writable.", ON_CLUSTER),
    code("resize", Info, "`resizePolicy` says whether a container survives a change of its resources.", "Containers are recreated.", NOTHING),
    code("resource", Major, "Containers get devices, huge pages and other resources that they ask for.", "They get none.", "Switch off in this target's values what needs them."),
    code("resource-claim", Major, "Devices are allocated to pods by claims.", "None are.", "Switch off in this target's values what needs them."),
    code("resource-quota", Info, "All pods of a namespace together may use so much.", "The machine is the quota.", NOTHING),
    code("restart-rules", Minor, "A container's own rules say which exit codes restart it.", "The pod's restart policy applies.", ON_CLUSTER),
    code("run-as-non-root", Minor, "A container whose image's user is root does not start.", "That is not checked.", "Set `runAsUser`, or build the image with a `USER`; the cluster would refuse it otherwise."),
    code("runtime-class", Minor, "A class chooses the container runtime.", "Docker's runtime runs every container.", ON_CLUSTER),
    code("scheduling", Minor, "Affinity, tolerations, priorities and spreading decide where and when a pod runs.", "There is one node, and pods start at once.", NOTHING),
    code("security-profile", Major, "Seccomp, AppArmor, SELinux and `procMount` confine a container.", "Docker's default profile applies.", ON_CLUSTER),
    code("service-account", Info, "A pod has an identity in the Kubernetes API, and often one at the cloud.", "There is no API server here, and no identity at the cloud.", "Give the stand-in's credentials in this target's values."),
    code("service-annotation", Minor, "Controllers of load balancers and DNS read annotations.", "No controller reads it here.", NOTHING),
    code("service-links", Minor, "Each pod gets variables for each Service: `WEB_SERVICE_HOST`.", "There are too many Services for that: the variables are left out.", "Use DNS names, or set `enableServiceLinks: false` as most charts do."),
    code("sidecar-order", Minor, "A sidecar's startup probe holds up the containers after it.", "The containers after it start when it has started.", "Have the application wait for what it needs, as it has to when a sidecar restarts."),
    code("stdin-once", Info, "Standard input is closed after the first session.", "It stays open.", NOTHING),
    code("storage", Major, "Storage classes, snapshots and selectors decide what a claim gets.", "Claims are Docker volumes, which begin empty; no snapshots are taken.", "Fill the volume once where it has to begin with data, or use a backing service."),
    code("supplemental-groups", Minor, "`supplementalGroupsPolicy: Strict` takes the groups away that the image gives a user.", "They are kept.", ON_CLUSTER),
    code("suspended", Minor, "A suspended Job waits until somebody resumes it.", "It does not run.", "Set `suspend: false` in this target's values."),
    code("termination-message", Info, "What a container writes into a file, or its last lines, is its termination message.", "Its last log lines are shown instead.", NOTHING),
    code("undeclared-claim", Major, "A claim that the chart does not make has to be there already.", "An empty volume stands for it.", "Mount the data with a hostPath, or fill the volume once."),
    code("unknown-field", Major, "The API server knows the field, or refuses it.", "It is not known here and has no effect.", "Correct it if it is misspelt; otherwise test on a cluster what depends on it."),
    code("unknown-kind", Major, "A controller acts on the object.", "Nothing acts on it here.", "Switch it off in this target's values, or put what its controller would make into the backing services."),
    code("update-strategy", Minor, "Pods are replaced a few at a time, and old revisions are kept.", "Changed pods are recreated at once.", "Test on a cluster that old and new can run side by side."),
    code("user-namespace", Minor, "The pod's users are mapped to others of the node.", "The Engine's user namespace applies.", ON_CLUSTER),
    code("variable-name", Minor, "A key that cannot name a variable is skipped.", "The same.", "Rename the key if the variable is needed."),
    code("variable-source", Critical, "A variable can come from a source that is newer than this envctl.", "It is left out.", "Write the value into this target's values."),
    code("volume-source", Critical, "A projected volume has files from sources of several kinds.", "This source gives no files.", "Write the files into a ConfigMap or Secret in this target's values."),
    code("volume-type", Critical, "A driver mounts storage: NFS, CSI, a cloud's disk.", "It is an empty directory.", "Use a claim in this target's values, and fill it once; or a backing service."),
    code("windows", Info, "Containers may run on Windows.", "They run on Linux.", NOTHING),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    fn is_constant(word: &str) -> bool {
        !word.is_empty() && word.bytes().all(|b| b.is_ascii_uppercase() || b == b'_')
    }

    /// The texts in quotes, or the constants, that stand where a remark has its code: after its severity.
    fn codes_in(source: &str) -> BTreeSet<String> {
        let mut found = BTreeSet::new();
        for constructor in ["Remark::new(", "Remark::approximated(", "Remark::dropped("] {
            for call in source.split(constructor).skip(1) {
                let mut words = call.split([',', '(', ')']).map(str::trim);
                let name = words.find(|word| is_constant(word) || word.starts_with('"')).unwrap_or_default();
                let defined = source.split_once(&format!("const {name}: &str = "));
                let quoted = if name.starts_with('"') { name } else { defined.map_or("", |(_, rest)| rest) };
                found.insert(quoted.split('"').nth(1).unwrap_or_default().to_owned());
            }
        }
        found
    }

    #[test]
    fn every_code_of_the_source_is_explained_and_every_explained_one_is_used() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut used = BTreeSet::new();
        for file in std::fs::read_dir(dir).unwrap() {
            let path = file.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            // The tables and the constructors are checked by the compiler and by whoever runs them.
            if path.is_file() && !["codes.rs", "cursor.rs", "fields.rs", "kinds.rs"].contains(&name) {
                used.extend(codes_in(&std::fs::read_to_string(&path).unwrap()));
            }
        }
        let unknown: Vec<_> = used.iter().filter(|code| !is_known(code)).collect();
        assert!(unknown.is_empty(), "codes.rs does not explain {unknown:?}");
        used.extend(crate::fields::codes().chain(crate::kinds::codes()).map(str::to_owned));
        let idle: Vec<_> = CODES.iter().map(|row| row.code).filter(|code| !used.contains(*code)).collect();
        assert!(idle.is_empty(), "no finding has {idle:?}");
    }

    #[test]
    fn codes_are_sorted_and_each_is_there_once() {
        assert!(CODES.windows(2).all(|pair| pair[0].code < pair[1].code));
        assert!(is_known("windows") && is_known("address-type") && !is_known("") && !is_known("window"));
    }
}
