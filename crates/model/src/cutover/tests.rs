use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use super::plan::{Action, Bake, Drill, GateKind};
use super::{PlanFile, catalogue, explain, not_exercised};
use crate::stack::{ComponentKind, Stack, StackFile};

const STACK: &str = r#"
apiVersion: envctl/v1
kind: Stack
project: album
chart: {path: chart}
components:
  admin: {kind: endpoint, criticality: 1}
  batch: {kind: schedule, criticality: 2}
  worker: {kind: worker, criticality: 3}
  api: {kind: service, criticality: 5}
protected: {accounts: ["111111111111"], clusters: [main-*]}
targets:
  local: {kind: compose}
  rehearsal: {kind: eks, account: "333333333333", region: ap-northeast-1, cluster: shared-dev}
  production: {kind: eks, account: "111111111111", region: ap-northeast-1, cluster: production}
  main: {kind: eks, account: "333333333333", region: ap-northeast-1, cluster: main-1}
"#;

fn stack() -> Stack {
    StackFile::parse("envctl.yaml", STACK).unwrap_or_else(|e| panic!("{e}")).stack
}

fn kind(word: &str) -> ComponentKind {
    *catalogue::KINDS.iter().find(|kind| kind.as_str() == word).unwrap()
}

/// The plan that `envctl init --cutover` writes for a kind, and for which component of the stack above.
fn template(kind: ComponentKind) -> String {
    let (text, component) = match kind {
        ComponentKind::Service => (include_str!("../../../../templates/cutover/service.yaml"), "api"),
        ComponentKind::Worker => (include_str!("../../../../templates/cutover/worker.yaml"), "worker"),
        ComponentKind::Schedule => (include_str!("../../../../templates/cutover/schedule.yaml"), "batch"),
        ComponentKind::Endpoint => (include_str!("../../../../templates/cutover/endpoint.yaml"), "admin"),
    };
    let context = minijinja::context! { component, target => "rehearsal" };
    minijinja::Environment::new().render_str(text, context).unwrap()
}

fn parse(source: &str) -> Result<PlanFile, Box<crate::Diagnostic>> {
    PlanFile::parse("plan.yaml", source, &stack(), Path::new("rehearsal"))
}

#[track_caller]
fn good(source: &str) -> PlanFile {
    parse(source).unwrap_or_else(|e| panic!("{e}"))
}

#[test]
fn the_template_of_every_kind_is_a_plan_and_is_told_in_words() {
    for kind in catalogue::KINDS {
        let file = good(&template(*kind));
        assert_eq!(file.plan.kind, *kind);
        insta::assert_snapshot!(format!("explain_{}", kind.as_str()), explain(&file.plan));
    }
}

#[test]
fn the_plan_of_the_design_is_read_whole() {
    let file = good(
        r"
apiVersion: envctl/v1
kind: CutoverPlan
component: api
old: {compose: old.yaml, service: api, port: 80, identity: fingerprint}
new: {target: rehearsal, values: [../deploy/values/staging.yaml]}
shared: [mysql, redis]
router: {adapter: haproxy, maxBody: 10m, idleTimeout: 90s}
divergence: [{object: Deployment/api, path: spec.replicas, reason: size of the sandbox}]
traffic: {model: open, rate: 200/s, clients: [fresh, keepalive, sticky, ttlIgnoring], mix: requests.yaml}
slo: {availability: 99.9%, p99: 400ms}
steps:
  - scaleUpNew: {verify: everyReplicaReady}
  - sameAnswer: {sample: 2000}
  - setWeight: 5
    bake: {minSamplesPerSide: 3000}
    gate: [noFailedRequest, latencySLO, observedShare]
  - setWeight: 50
  - setWeight: 100
  - drain: {side: old, timeout: 20s}
  - stopOld: {require: [oldIdleFor: 10s]}
faults: [{at: setWeight=50, inject: killNewPod, permits: {failedRequests: 20, recovery: 5s}}]
rollback: {drill: everyStep, maxDuration: 10s, afterWrites: true}
",
    );
    let plan = &file.plan;
    let seconds = Duration::from_secs;
    let names: Vec<_> = plan.steps.iter().map(super::Step::name).collect();
    assert_eq!(
        names,
        ["scaleUpNew", "sameAnswer", "setWeight=5", "setWeight=50", "setWeight=100", "drain", "stopOld"]
    );
    assert_eq!(plan.steps[2].line, 15);
    assert_eq!(plan.steps[2].bake, Bake { at_least: seconds(10), min_samples_per_side: 3000, min_ticks: 0 });
    assert_eq!(
        plan.steps[2].gates,
        [GateKind::NoFailedRequest, GateKind::LatencySLO, GateKind::ObservedShare]
    );
    assert_eq!(plan.steps[6].action, Action::StopOld { idle_for: seconds(10) });
    assert_eq!((plan.faults[0].at, plan.faults[0].recovery), (3, seconds(5)));
    assert_eq!(plan.rollback.drill, Drill::EveryStep);
    assert_eq!(plan.router.as_ref().unwrap().max_body, Some(10 << 20));
    assert_eq!(plan.old.instances, 2);
}

#[test]
fn a_short_plan_works_and_the_whole_move_has_to_prove_the_availability() {
    let plan = good(
        "apiVersion: envctl/v1\nkind: CutoverPlan\ncomponent: api\nold: {compose: old.yaml, port: 80}\n\
         new: {target: local}\nshared: [mysql]\ntraffic: {mix: requests.yaml}\n\
         steps: [scaleUpNew, setWeight: 20, setWeight: 100]\n",
    )
    .plan;
    assert_eq!(plan.old.service, "api");
    assert_eq!(plan.traffic.as_ref().unwrap().clients.len(), 4);
    // 50/s, of which the new side gets a fifth, for 30 s; then what proves 99.9 %.
    assert_eq!(plan.steps[1].bake.min_samples_per_side, 300);
    assert_eq!(plan.steps[2].bake.min_samples_per_side, 3000);
    assert!(!plan.steps[2].gates.contains(&GateKind::LatencySLO), "nothing was promised");
    let missing = not_exercised(&plan).join("\n");
    assert!(missing.contains("stopping the old side") && missing.contains("dbFailover"), "{missing}");
}

#[test]
fn files_and_services_that_are_not_there_are_pointed_at() {
    let file = good(&template(ComponentKind::Worker));
    assert!(file.check_files(|_| true).is_ok());
    let error = file.check_files(|path| path != Path::new("worker-old.yaml")).unwrap_err().render(false);
    assert!(error.contains("there is no file worker-old.yaml") && error.contains("^^^^"), "{error}");
    let known: BTreeSet<_> = ["worker", "tools", "queue", "databse"].map(String::from).into();
    let error = file.check_services(&known).unwrap_err().render(false);
    assert!(error.contains("worker-old.yaml has no service `database`"), "{error}");
    assert!(error.contains("did you mean `databse`?"), "{error}");
    let source = template(ComponentKind::Worker).replace(
        "inject: killNewPod",
        "inject: queueRedelivery, with: {service: toolz, command: [redeliver, --all]}",
    );
    let file = good(&source);
    assert!(
        explain(&file.plan).contains("by        `redeliver --all` in toolz\n"),
        "{}",
        explain(&file.plan)
    );
    let known: BTreeSet<_> = ["worker", "tools", "queue", "database"].map(String::from).into();
    let error = file.check_services(&known).unwrap_err().render(false);
    assert!(error.contains("has no service `toolz`") && error.contains("did you mean `tools`?"), "{error}");
}

/// The part of the worker's template that says what it is given to do.
const WORK: &str = r#"work:
  rate: 10/s
  # Every class there is: one that the old side does not know is the mistake to find. `longest` is measured in
  # production; grace periods and visibility timeouts have to be above it.
  jobs:
    - {class: short, weight: 9, longest: 1s}
    - {class: long, weight: 1, longest: 9s}
  # Both commands run in a service of worker-old.yaml, and speak JSON, a line each: docs/cutover.md.
  enqueue: {service: tools, command: [enqueue]}
  ledger: {service: tools, command: [ledger]}
  backlog: 300

"#;

/// What is wrong, the template's kind, what is replaced in it, and by what.
const BAD: &[(&str, &str, &str, &str)] = &[
    ("another version", "service", "envctl/v1", "envctl/v2"),
    ("another kind of file", "service", "kind: CutoverPlan", "kind: Stack"),
    ("a misspelt key", "service", "rollback:", "rolback:"),
    ("a misspelt key of a part", "service", "instances: 2", "instnces: 2"),
    ("a key is missing", "service", "new: {target: rehearsal}\n", ""),
    ("an unknown component", "service", "component: api", "component: apj"),
    ("an unknown target", "service", "target: rehearsal", "target: rehersal"),
    ("a protected account", "service", "target: rehearsal", "target: production"),
    ("a protected cluster", "service", "target: rehearsal", "target: main"),
    ("an absolute path", "service", "compose: api-old.yaml", "compose: /srv/old.yaml"),
    ("a path that leaves the stack", "service", "mix: api-requests.yaml", "mix: ../../requests.yaml"),
    ("a directory", "service", "mix: api-requests.yaml", "mix: requests/"),
    ("no old side", "service", "instances: 2", "instances: 0"),
    ("instances that are no number", "service", "instances: 2", "instances: many"),
    ("a port that is none", "service", "port: 8080", "port: 80800"),
    ("no port", "endpoint", ", port: 8080", ""),
    ("a port of a worker", "worker", "instances: 2", "instances: 2, port: 80"),
    ("nothing is shared", "service", "shared: [database]", "shared: []"),
    ("a worker without a queue", "worker", "shared: [queue, database]", "shared: []"),
    ("shared twice", "worker", "[queue, database]", "[queue, queue]"),
    ("the old side is shared", "service", "shared: [database]", "shared: [api]"),
    ("a router of a worker", "worker", "shared:", "router: {}\nshared:"),
    ("an unknown adapter", "service", "adapter: haproxy", "adapter: haprxy"),
    ("a body limit of nothing", "endpoint", "maxBody: 10m", "maxBody: 0"),
    ("a size that is none", "endpoint", "maxBody: 10m", "maxBody: 10 MB"),
    ("an idle timeout of nothing", "service", "idleTimeout: 60s", "idleTimeout: 0s"),
    (
        "a divergence of no object",
        "service",
        "\nsteps:",
        "\ndivergence: [{object: api, path: spec.replicas, reason: size}]\nsteps:",
    ),
    (
        "a divergence without a reason",
        "service",
        "\nsteps:",
        "\ndivergence: [{object: Deployment/api, path: spec.replicas, reason: \"\"}]\nsteps:",
    ),
    (
        "a divergence of everything",
        "service",
        "\nsteps:",
        "\ndivergence: [{object: Deployment/api, path: \"\", reason: size}]\nsteps:",
    ),
    (
        "no traffic",
        "service",
        "traffic: {rate: 100/s, clients: [fresh, keepalive, sticky, ttlIgnoring], mix: api-requests.yaml}",
        "",
    ),
    ("traffic of a worker", "worker", "work:\n", "traffic: {mix: requests.yaml}\nwork:\n"),
    ("a rate that is none", "service", "rate: 100/s", "rate: 100"),
    ("an unknown kind of client", "service", "keepalive", "keepAlive"),
    ("a kind of client twice", "service", "keepalive", "fresh"),
    ("no clients", "service", "clients: [fresh, keepalive, sticky, ttlIgnoring]", "clients: []"),
    ("an objective of a worker", "worker", "work:\n", "slo: {p99: 1s}\nwork:\n"),
    ("an objective of a schedule", "schedule", "timetable:\n", "slo: {p99: 1s}\ntimetable:\n"),
    ("a promise that cannot be proven", "service", "availability: 99%", "availability: 100%"),
    ("an availability that is no percentage", "service", "availability: 99%", "availability: 0.99"),
    ("a duration that is none", "service", "p99: 400ms", "p99: 400"),
    (
        "no jobs",
        "worker",
        "jobs:\n    - {class: short, weight: 9, longest: 1s}\n    - {class: long, weight: 1, longest: 9s}",
        "jobs: []",
    ),
    ("a class of jobs twice", "worker", "class: long", "class: short"),
    ("a command of nothing", "worker", "[enqueue]", "[]"),
    ("no backlog at all", "worker", "backlog: 300", "backlog: 0"),
    ("no work", "worker", WORK, ""),
    ("four fields", "schedule", "\"* * * * *\"", "\"0 3 * *\""),
    ("a minute that there is not", "schedule", "\"* * * * *\"", "\"70 * * * *\""),
    ("a word instead of fields", "schedule", "\"* * * * *\"", "\"@daily\""),
    ("an unknown time zone", "schedule", "timeZone: UTC", "timeZone: Asia/Tokio"),
    ("a tolerance of a tick", "schedule", "tolerance: 10s", "tolerance: 1m"),
    ("an unknown step", "service", "- setWeight: 50", "- setWieght: 50"),
    ("an unknown bare step", "service", "- drain: {side: old, timeout: 20s}", "- finish"),
    (
        "a misspelt key beside a step",
        "service",
        "    bake: {atLeast: 10s, minSamplesPerSide: 300}",
        "    bakes: {}",
    ),
    ("two steps in one item", "service", "    bake: {atLeast: 10s, minSamplesPerSide: 300}", "    drain: {}"),
    ("a weight of an endpoint", "endpoint", "- switchName: {ttl: 5s}", "- setWeight: 100"),
    ("a name of a service", "service", "- setWeight: 100", "- switchName: {ttl: 5s}"),
    ("a handover of a service", "service", "- setWeight: 100", "- handover: 1"),
    ("answers of a worker", "worker", "- handover: 1", "- sameAnswer: {sample: 10}"),
    ("a drain of a schedule", "schedule", "- disarmOld", "- drain"),
    ("a step without its number", "service", "- setWeight: 100", "- setWeight"),
    ("a weight above all", "service", "- setWeight: 100", "- setWeight: 101"),
    ("weights that fall", "service", "- setWeight: 50", "- setWeight: 5"),
    (
        "weights that do not end at 100",
        "service",
        "  - setWeight: 100\n  - drain: {side: old, timeout: 20s}\n  - stopOld: {require: [oldIdleFor: 10s]}\n",
        "",
    ),
    (
        "the old side is stopped under load",
        "service",
        "  - setWeight: 100\n  - drain: {side: old, timeout: 20s}\n",
        "",
    ),
    ("the old side is stopped undrained", "service", "  - drain: {side: old, timeout: 20s}\n", ""),
    ("the old side is drained under load", "service", "  - setWeight: 100\n", ""),
    (
        "the old name is stopped in use",
        "endpoint",
        "  - switchName: {ttl: 5s}\n  - drain: {timeout: 20s}\n",
        "",
    ),
    ("the old worker is stopped at work", "worker", "  - drain: {side: old, timeout: 20s}\n", ""),
    ("the old crontab is stopped armed", "schedule", "  - disarmOld\n  - armNew\n", ""),
    ("both armed", "schedule", "  - disarmOld\n  - armNew\n", "  - armNew\n  - disarmOld\n"),
    ("nobody armed", "schedule", "  - armNew\n", ""),
    (
        "something after the point of no return",
        "worker",
        "  - stopOld: {require: [oldIdleFor: 10s]}\n",
        "  - stopOld\n  - handover: 0\n",
    ),
    ("no new side", "service", "  - scaleUpNew: {verify: everyReplicaReady}\n", ""),
    ("no new side of a schedule", "schedule", "  - scaleUpNew\n", ""),
    ("a step twice", "service", "  - drain:", "  - drain\n  - drain:"),
    ("a handover of nobody", "worker", "- handover: 1", "- handover: 2"),
    ("a handover backwards", "worker", "- handover: 1", "- handover: 0\n  - handover: 1"),
    ("the new side is drained", "service", "side: old", "side: new"),
    ("idle twice", "service", "[oldIdleFor: 10s]", "[oldIdleFor: 10s, oldIdleFor: 5s]"),
    (
        "no steps",
        "worker",
        "steps:\n  # From here on both sides take jobs.\n  - scaleUpNew\n  - handover: 1\n  - drain: {side: old, timeout: 20s}\n  - stopOld: {require: [oldIdleFor: 10s]}",
        "steps: []",
    ),
    (
        "an unknown gate",
        "service",
        "minSamplesPerSide: 300}",
        "minSamplesPerSide: 300}\n    gate: [latencySLA]",
    ),
    (
        "a gate of a worker",
        "service",
        "minSamplesPerSide: 300}",
        "minSamplesPerSide: 300}\n    gate: [everyJobOnce]",
    ),
    (
        "a gate twice",
        "service",
        "minSamplesPerSide: 300}",
        "minSamplesPerSide: 300}\n    gate: [samples, samples]",
    ),
    (
        "nothing judges a weight",
        "service",
        "minSamplesPerSide: 300}",
        "minSamplesPerSide: 300}\n    gate: []",
    ),
    ("no objective", "service", "slo: {availability: 99%, p99: 400ms}", ""),
    (
        "answers that nobody compared",
        "service",
        "minSamplesPerSide: 300}",
        "minSamplesPerSide: 300}\n    gate: [sameAnswer]",
    ),
    (
        "an old side that is not silent yet",
        "service",
        "minSamplesPerSide: 300}",
        "minSamplesPerSide: 300}\n    gate: [oldSilent]",
    ),
    (
        "a share before there is one",
        "service",
        "everyReplicaReady}",
        "everyReplicaReady}\n    gate: [observedShare]",
    ),
    (
        "jobs across sides after the old one",
        "worker",
        "- drain: {side: old, timeout: 20s}",
        "- drain: {side: old, timeout: 20s}\n    gate: [crossConsume]",
    ),
    (
        "a gate on a drill that there is not",
        "service",
        "\nrollback: {drill: everyStep",
        "\nrollback: {drill: lastStep",
    ),
    ("samples of a schedule", "schedule", "- armNew", "- armNew:\n    bake: {minSamplesPerSide: 3}"),
    ("ticks of nobody", "schedule", "- disarmOld", "- disarmOld:\n    bake: {minTicks: 1}"),
    ("ticks of a worker", "worker", "- handover: 1", "- handover: 1\n    bake: {minTicks: 1}"),
    (
        "too few samples",
        "service",
        "- setWeight: 100",
        "- setWeight: 100\n    bake: {minSamplesPerSide: 100}",
    ),
    ("samples that never come", "service", "minSamplesPerSide: 150", "minSamplesPerSide: 15000"),
    ("a promise that takes too long to prove", "endpoint", "availability: 99%", "availability: 99.99%"),
    (
        "jobs that never come",
        "worker",
        "- handover: 1",
        "- handover: 1\n    bake: {minSamplesPerSide: 1000000}",
    ),
    ("answers that never come", "service", "sample: 200", "sample: 100000"),
    ("answers compared too late", "service", "  - drain:", "  - sameAnswer: {}\n  - drain:"),
    ("a fault at no step", "service", "at: setWeight=50", "at: setWeight=55"),
    ("an unknown fault", "service", "killNewPod", "killNewPods"),
    ("a fault of a worker", "service", "killNewPod", "queueRedelivery"),
    ("a fault without its command", "service", "inject: slowNew", "inject: dbFailover"),
    (
        "a fault with a command that it does not need",
        "service",
        "inject: slowNew",
        "inject: slowNew, with: {service: database, command: [tc, qdisc]}",
    ),
    (
        "a fault with a command of nothing",
        "worker",
        "inject: killNewPod",
        "inject: queueRedelivery, with: {service: tools, command: []}",
    ),
    ("a partition of a worker", "worker", "inject: killNewPod", "inject: networkPartition"),
    (
        "a partition of a new side without requests",
        "service",
        "at: setWeight=50, inject: killNewPod",
        "at: scaleUpNew, inject: networkPartition",
    ),
    ("a pod of a schedule", "schedule", "inject: reconvergeOld", "inject: killNewPod"),
    ("a fault without permits", "service", ", permits: {failedRequests: 20, recovery: 5s}", ""),
    ("half the permits", "service", "failedRequests: 20, recovery: 5s", "recovery: 5s"),
    ("a recovery of nothing", "service", "recovery: 5s", "recovery: 0s"),
    (
        "a fault twice",
        "service",
        "at: setWeight=100, inject: slowNew",
        "at: setWeight=50, inject: killNewPod",
    ),
    (
        "a fault of a new side without requests",
        "service",
        "at: setWeight=50, inject: killNewPod",
        "at: scaleUpNew, inject: slowNew",
    ),
    (
        "a fault of a stopped side",
        "service",
        "at: setWeight=50, inject: killNewPod",
        "at: stopOld, inject: killOldPod",
    ),
    (
        "a fault of an untouched side",
        "service",
        "at: setWeight=50, inject: killNewPod",
        "at: setWeight=50, inject: reconvergeOld",
    ),
    ("a fault of what is not shared", "schedule", "shared: [database]", "shared: []\n#"),
    ("permits of a schedule", "schedule", "failedRequests: 0", "failedRequests: 1"),
    ("an unknown drill", "service", "drill: everyStep", "drill: everystep"),
    ("a p99 of sixty requests", "service", "minSamplesPerSide: 300", "minSamplesPerSide: 60"),
    ("a way back in no time", "service", "maxDuration: 10s", "maxDuration: 0s"),
];

/// What a few cases need beside their replacement.
fn prepared(name: &str, source: String) -> String {
    match name {
        "answers that nobody compared" | "answers compared too late" => {
            source.replace("  - sameAnswer: {sample: 200}\n", "")
        }
        "no objective" => {
            source.replace("minSamplesPerSide: 300}", "minSamplesPerSide: 300}\n    gate: [latencySLO]")
        }
        "a gate on a drill that there is not" => {
            source.replace("minSamplesPerSide: 300}", "minSamplesPerSide: 300}\n    gate: [rollbackLossless]")
        }
        "a fault of what is not shared" => source.replace("inject: reconvergeOld", "inject: dbFailover"),
        _ => source,
    }
}

#[test]
fn a_bad_plan_is_refused_with_its_place_and_what_to_do() {
    let mut all = String::new();
    for (name, of, from, to) in BAD {
        let mut source = template(kind(of));
        if *of == "schedule" {
            // Its template has none.
            source.push_str("\nfaults: [{at: armNew, inject: reconvergeOld, permits: {failedRequests: 0, recovery: 60s}}]\n");
        }
        assert!(source.contains(from), "{name}: the template has no {from}");
        let error = match parse(&prepared(name, source.replacen(from, to, 1))) {
            Ok(_) => panic!("{name}: was taken for good"),
            Err(error) => error.render(false),
        };
        let _ = writeln!(all, "# {name}\n{error}\n");
    }
    insta::assert_snapshot!(all);
}

#[test]
fn the_schema_takes_the_words_of_the_tables() {
    let schema = super::schema().to_value().to_string();
    let steps = catalogue::STEPS.iter().map(|entry| entry.word);
    let gates = catalogue::GATES.iter().map(|entry| entry.word);
    for word in steps.chain(gates).chain(catalogue::FAULTS.iter().map(|entry| entry.word)) {
        assert!(schema.contains(&format!("\"{word}\"")), "{word}");
    }
}

#[test]
fn the_schema_in_the_repository_is_that_of_the_code() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../schemas/cutover-plan.schema.json");
    let now = serde_json::to_string_pretty(&super::schema()).unwrap() + "\n";
    if std::env::var_os("ENVCTL_BLESS").is_some() {
        std::fs::write(path, &now).unwrap();
    }
    let there = std::fs::read_to_string(path).unwrap_or_default();
    assert!(there == now, "{path} is out of date: run the tests once with ENVCTL_BLESS=1");
}

fn with_production(section: &str) -> String {
    format!("{}\nproduction: {section}\n", template(ComponentKind::Service))
}

const PRODUCTION: &str = "{target: production, namespace: album, old: {instances: 10, command: [./machines.sh]}, \
    router: {runtime: \"10.0.0.7:9999\", configuration: /etc/haproxy/haproxy.cfg, backend: api}, \
    metrics: {prometheus: \"http://p:9090/\", requests: r, failed: f, p99: q}, bake: 10m, stopAfter: [setWeight=50]}";

#[test]
fn production_has_its_own_figures_and_the_same_steps() {
    let plan = good(&with_production(PRODUCTION)).plan;
    let production = plan.production.clone().unwrap();
    assert_eq!(plan.steps[production.stop_after[0]].name(), "setWeight=50");
    assert_eq!(production.values, plan.new.values);
    let told = explain(&plan);
    for said in [
        "in production\n  new side     namespace album of target production\n",
        "10 machines, operated by ./machines.sh",
        "by Prometheus at http://p:9090\n",
        "each step for 10m at least",
        "stops after  setWeight=50",
    ] {
        assert!(told.contains(said), "{told}\nis without: {said}");
    }
    let there = plan.in_production();
    assert_eq!(there.old.instances, 10);
    let names = |plan: &super::CutoverPlan| plan.steps.iter().map(super::Step::name).collect::<Vec<_>>();
    assert_eq!(names(&there), names(&plan));
    // And as much longer as what Prometheus says may be old.
    assert!(there.steps.iter().all(|step| step.bake.at_least == Duration::from_secs(660)));
    let idle_for = |plan: &super::CutoverPlan| {
        plan.steps.iter().find_map(|step| match step.action {
            Action::StopOld { idle_for } => Some(idle_for),
            _ => None,
        })
    };
    assert_eq!(idle_for(&there), idle_for(&plan).map(|idle_for| idle_for + Duration::from_secs(60)));

    let crontab = good(&format!(
        "{}\nproduction: {{target: production, namespace: album, old: {{instances: 1, command: [x]}}, ledger: [y], bake: 10m, \
         entries: [{{name: digest, schedule: \"0 7 * * *\"}}]}}\n",
        template(ComponentKind::Schedule)
    ));
    let at = |plan: &super::CutoverPlan| plan.timetable.as_ref().unwrap().entries[0].schedule.clone();
    assert_ne!(at(&crontab.plan), "0 7 * * *");
    assert_eq!(at(&crontab.plan.in_production()), "0 7 * * *");
    let there = crontab.plan.in_production();
    let long = there.steps.iter().filter(|step| step.bake.at_least == Duration::from_secs(600));
    let long: Vec<_> = long.map(super::Step::name).collect();
    assert_eq!(long, ["scaleUpNew", "armNew", "stopOld"], "nobody runs a crontab that is disarmed");

    let worker = format!(
        "{}\nproduction: {{target: production, namespace: album, old: {{instances: 9, command: [x]}}, ledger: [y]}}\n",
        template(ComponentKind::Worker)
    );
    let plan = good(&worker).plan;
    let handed = |plan: &super::CutoverPlan| {
        plan.steps.iter().find_map(|step| match step.action {
            Action::Handover { old } => Some(old),
            _ => None,
        })
    };
    // The same part goes on, and rather one more than one less.
    assert_eq!((plan.old.instances, handed(&plan), handed(&plan.in_production())), (2, Some(1), Some(5)));
}

#[test]
fn what_is_wrong_with_production_is_said_at_its_place() {
    for (from, to, said, help) in [
        (
            "target: production",
            "target: local",
            "production is on a cluster, and target `local` is not",
            "kind `eks`",
        ),
        (
            "target: production",
            "target: prodution",
            "there is no target `prodution`",
            "did you mean `production`?",
        ),
        ("instances: 10", "instances: none", "`instances` is a whole number", ""),
        ("[./machines.sh]", "[]", "a command needs a program", "./production.sh"),
        ("\"10.0.0.7:9999\"", "haproxy", "`haproxy` is not an address with a port", "10.0.0.7:9999"),
        ("failed: f, ", "", "Prometheus needs `prometheus`, `requests` and `failed`", "`$side`"),
        (", p99: q", "", "the gate `latencySLO` needs the query `p99`", "histogram_quantile"),
        ("setWeight=50]", "setWeight=51]", "there is no step `setWeight=51`", "did you mean `setWeight=50`?"),
        (
            ", bake: 10m",
            ", values: [/etc/values.yaml]",
            "`/etc/values.yaml` is an absolute path",
            "relative to the plan",
        ),
        (", bake: 10m", ", ledger: [x]", "a service has no ledger", "remove `ledger`"),
    ] {
        let changed = PRODUCTION.replace(from, to);
        assert_ne!(changed, PRODUCTION, "{from}");
        let wrong = parse(&with_production(&changed)).unwrap_err().to_string();
        assert!(wrong.contains(said) && wrong.contains(help), "{wrong}\nis not: {said}");
        assert!(wrong.contains("plan.yaml:"), "{wrong}");
    }
    let router = parse(&with_production(
        "{target: production, namespace: album, old: {instances: 1, command: [x]}, metrics: {}}",
    ));
    assert!(router.unwrap_err().to_string().contains("a service in production needs its `router`"));
    let crontab = format!(
        "{}\nproduction: {{target: production, namespace: album, old: {{instances: 1, command: [x]}}, ledger: [y], \
         stopAfter: [disarmOld]}}\n",
        template(ComponentKind::Schedule)
    );
    let wrong = parse(&crontab).unwrap_err().to_string();
    assert!(wrong.contains("ticks would be lost") && wrong.contains("write `armNew`"), "{wrong}");
    let stops = "stopAfter: [disarmOld]";
    for (entries, said) in [
        ("entries: [{name: digests, schedule: \"0 7 * * *\"}]", "`digests` is rehearsed as no entry"),
        ("entries: []", "`production.entries` does not say when `digest` runs"),
        ("entries: [{name: digest, schedule: \"0 7 * *\"}]", "has five fields"),
    ] {
        let wrong = parse(&crontab.replace(stops, entries)).unwrap_err().to_string();
        assert!(wrong.contains(said), "{wrong}");
    }
}
