//! A rehearsal that tests sign and draw.

use envctl_model::cutover::plan::Adapter;
use envctl_model::cutover::{FaultKind, GateKind};
use envctl_model::stack::{ComponentKind, TargetKind};

use super::*;

/// A successful one of component `api`.
pub(crate) fn rehearsal() -> Rehearsal {
    let digest = |text: &str| Digest::of(text.as_bytes());
    let step = |step: &str, gates: &[GateKind]| StepRecord {
        step: step.to_owned(),
        took_ms: 20_000,
        gates: gates.iter().map(|&gate| GateRecord { gate, outcome: GateOutcome::Passed }).collect(),
    };
    Rehearsal {
        component: "api".to_owned(),
        kind: ComponentKind::Service,
        plan: NamedDigest { name: "rehearsal/api.yaml".to_owned(), digest: digest("plan") },
        old: OldIdentity { packages: digest("packages"), revision: "4f2a9c1".to_owned() },
        new: NewIdentity {
            target: TargetKind::Eks,
            images: [("app".to_owned(), digest("app"))].into(),
            chart: digest("chart"),
            values: digest("values"),
            manifests: [
                ("Deployment/api".to_owned(), digest("deployment")),
                ("Service/api".to_owned(), digest("service")),
            ]
            .into(),
        },
        terraform: Some(TerraformIdentity { configuration: digest("root"), plan: Some(digest("saved")) }),
        git: GitIdentity { commit: "9f0c2d41e7b8a6f5".to_owned(), dirty: false },
        tools: ["envctl", "helm", "haproxy"].map(|tool| (tool.to_owned(), digest(tool))).into(),
        router: Some(Adapter::Haproxy),
        seed: u64::MAX,
        load: Load { per_thousand_seconds: 200_000, samples: PerSide { old: 21_000, new: 14_000 } },
        steps: vec![
            step("scaleUpNew", &[]),
            step("setWeight=5", &[GateKind::NoFailedRequest, GateKind::LatencySLO]),
            step("setWeight=50", &[GateKind::NoFailedRequest, GateKind::ObservedShare]),
        ],
        faults: vec![FaultRecord {
            fault: FaultKind::KillNewPod,
            at: "setWeight=50".to_owned(),
            permitted_failures: 20,
            failures: 4,
            permitted_recovery_ms: 5_000,
            recovery_ms: Some(1_800),
        }],
        drills: vec![DrillRecord {
            from: "setWeight=50".to_owned(),
            middle: false,
            took_ms: 4_100,
            lost: 0,
            doubled: 0,
        }],
        not_exercised: vec!["a node of the cluster that is lost".to_owned()],
        began: "2026-03-01T12:00:00Z".parse().unwrap(),
        ended: "2026-03-01T12:02:55.5Z".parse().unwrap(),
        verdict: Conclusion::Successful,
    }
}
