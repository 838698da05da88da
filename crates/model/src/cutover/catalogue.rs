//! What there is to plan with: one table each of steps, gates and faults, that parsing, checks, `--explain`,
//! the JSON Schema and `docs/cutover.md` read.

use super::plan::{FaultKind, GateKind};
use crate::stack::ComponentKind::{self, Endpoint, Schedule, Service, Worker};

const ALL: &[ComponentKind] = &[Service, Worker, Schedule, Endpoint];
const ANSWERING: &[ComponentKind] = &[Service, Endpoint];

/// All kinds of components, in the order of the tables.
pub const KINDS: &[ComponentKind] = ALL;

/// What a kind of component uses instead of something that makes no sense for it.
type Instead = &'static [(ComponentKind, &'static str)];

/// A kind of step.
#[derive(Debug, Clone, Copy)]
pub struct StepEntry {
    /// As the plan writes it.
    pub word: &'static str,
    /// An example of how it is written, as an item of `steps`.
    pub example: &'static str,
    /// For which kinds of components it makes sense.
    pub kinds: &'static [ComponentKind],
    /// What is done.
    pub does: &'static str,
    /// How it is read back whether that was done.
    pub verify: &'static str,
    /// What undoes it. None: it changes nothing.
    pub undo: Option<&'static str>,
    instead: Instead,
}

/// A gate.
#[derive(Debug, Clone, Copy)]
pub struct GateEntry {
    /// Which.
    pub gate: GateKind,
    /// As the plan writes it.
    pub word: &'static str,
    /// For which kinds of components it makes sense.
    pub kinds: &'static [ComponentKind],
    /// What is so where it passes.
    pub proves: &'static str,
    instead: Instead,
}

/// A fault.
#[derive(Debug, Clone, Copy)]
pub struct FaultEntry {
    /// Which.
    pub fault: FaultKind,
    /// As the plan writes it.
    pub word: &'static str,
    /// For which kinds of components it makes sense.
    pub kinds: &'static [ComponentKind],
    /// What is broken.
    pub does: &'static str,
    /// What it finds.
    pub finds: &'static str,
    /// What a command of the plan's has to do for it, where what breaks is outside of a sandbox's hands. None: the
    /// sandbox breaks it itself.
    pub command: Option<&'static str>,
    instead: Instead,
}

/// All kinds of steps.
pub const STEPS: &[StepEntry] = &[
    StepEntry {
        word: "scaleUpNew",
        example: "scaleUpNew: {verify: everyReplicaReady}",
        kinds: ALL,
        does: "installs the new side and waits until every replica is ready",
        verify: "every replica of the new side is ready",
        undo: Some("removes the new side's replicas"),
        instead: &[],
    },
    StepEntry {
        word: "sameAnswer",
        example: "sameAnswer: {sample: 2000}",
        kinds: ANSWERING,
        does: "sends the same requests to both sides and compares status, headers and bodies",
        verify: "every pair of answers was compared",
        undo: None,
        instead: &[
            (Worker, "gate `crossConsume`, which shows that each side finishes the other's jobs"),
            (Schedule, "gate `everyTickOnce`, which compares the runs with the crontab"),
        ],
    },
    StepEntry {
        word: "setWeight",
        example: "setWeight: 5",
        kinds: &[Service],
        does: "has the router send this part of the requests to the new side, in percent",
        verify: "the weight that the router runs with, and the one in its configuration",
        undo: Some("sets the weight of before"),
        instead: &[
            (Endpoint, "`switchName`, which moves the whole name"),
            (Worker, "`handover: N`, which ends old instances one after another"),
            (Schedule, "`disarmOld`, then `armNew`"),
        ],
    },
    StepEntry {
        word: "switchName",
        example: "switchName: {ttl: 5s}",
        kinds: &[Endpoint],
        does: "has the component's name lead to the new side",
        verify: "what the name leads to",
        undo: Some("has the name lead to the old side again"),
        instead: &[
            (Service, "`setWeight: N`, which moves a part at a time and comes back at once"),
            (Worker, "`handover: N`: a worker takes its jobs from a queue and has no name"),
            (Schedule, "`disarmOld`, then `armNew`: a schedule has no name"),
        ],
    },
    StepEntry {
        word: "handover",
        example: "handover: 1",
        kinds: &[Worker],
        does: "lets so many instances of the old worker run on and ends the others gracefully",
        verify: "how many old instances run",
        undo: Some("starts the ended instances again"),
        instead: &[
            (Service, "`setWeight: N`, which moves requests a part at a time"),
            (Endpoint, "`switchName`, which moves the whole name"),
            (Schedule, "`disarmOld`, then `armNew`"),
        ],
    },
    StepEntry {
        word: "disarmOld",
        example: "disarmOld",
        kinds: &[Schedule],
        does: "takes the entries out of the old side's crontab",
        verify: "the entries are not in the crontab",
        undo: Some("puts the entries back"),
        instead: &[
            (Service, "`setWeight: 100`, then `drain`"),
            (Worker, "`drain`, which gives the old side no more jobs"),
            (Endpoint, "`switchName`, then `drain`"),
        ],
    },
    StepEntry {
        word: "armNew",
        example: "armNew",
        kinds: &[Schedule],
        does: "lets the new side's CronJobs run",
        verify: "no CronJob of the new side is suspended",
        undo: Some("suspends the CronJobs"),
        instead: &[
            (Service, "`setWeight: N`"),
            (Worker, "`scaleUpNew`: a worker takes jobs as soon as it runs"),
            (Endpoint, "`switchName`"),
        ],
    },
    StepEntry {
        word: "drain",
        example: "drain: {side: old, timeout: 20s}",
        kinds: &[Service, Worker, Endpoint],
        does: "lets the old side finish what it has and gives it nothing new",
        verify: "the old side has nothing in work",
        undo: Some("gives the old side work again"),
        instead: &[(Schedule, "`disarmOld`: nothing new starts, and a run that goes on ends by itself")],
    },
    StepEntry {
        word: "stopOld",
        example: "stopOld: {require: [oldIdleFor: 10s]}",
        kinds: ALL,
        does: "stops the old side, which must have had nothing to do for a while",
        verify: "no instance of the old side runs",
        undo: Some("starts the old side and waits until it answers"),
        instead: &[],
    },
];

/// All gates.
pub const GATES: &[GateEntry] = &[
    GateEntry {
        gate: GateKind::NoFailedRequest,
        word: "noFailedRequest",
        kinds: ANSWERING,
        proves: "no request failed, seen by client, router and application",
        instead: &[(Worker, "`everyJobOnce`"), (Schedule, "`everyTickOnce`")],
    },
    GateEntry {
        gate: GateKind::LatencySLO,
        word: "latencySLO",
        kinds: ANSWERING,
        proves: "the latency objective holds on each side, counted from when a request was due",
        instead: &[(Worker, "`backlogSLO`"), (Schedule, "`everyTickOnce`, with `timetable.tolerance`")],
    },
    GateEntry {
        gate: GateKind::ObservedShare,
        word: "observedShare",
        kinds: &[Service],
        proves: "each side gets its part of the requests, and of the clients",
        instead: &[
            (Endpoint, "`oldSilent`: a name leads to one side as a whole"),
            (Worker, "`everyReplicaServes`"),
            (Schedule, "`everyTickOnce`"),
        ],
    },
    GateEntry {
        gate: GateKind::SameAnswer,
        word: "sameAnswer",
        kinds: ANSWERING,
        proves: "both sides answer the same requests alike",
        instead: &[(Worker, "`crossConsume`"), (Schedule, "`everyTickOnce`")],
    },
    GateEntry {
        gate: GateKind::EveryJobOnce,
        word: "everyJobOnce",
        kinds: &[Worker],
        proves: "every job had its effect exactly once, or waits, or was given up and is known",
        instead: &[
            (Service, "`noFailedRequest`"),
            (Endpoint, "`noFailedRequest`"),
            (Schedule, "`everyTickOnce`"),
        ],
    },
    GateEntry {
        gate: GateKind::BacklogSLO,
        word: "backlogSLO",
        kinds: &[Worker],
        proves: "no more jobs wait than `work.backlog` allows",
        instead: &[
            (Service, "`latencySLO`"),
            (Endpoint, "`latencySLO`"),
            (Schedule, "`everyTickOnce`, with `timetable.tolerance`"),
        ],
    },
    GateEntry {
        gate: GateKind::NothingStranded,
        word: "nothingStranded",
        kinds: &[Worker],
        proves: "no job is left that nobody will finish",
        instead: &[
            (Service, "`noFailedRequest`"),
            (Endpoint, "`noFailedRequest`"),
            (Schedule, "`everyTickOnce`"),
        ],
    },
    GateEntry {
        gate: GateKind::CrossConsume,
        word: "crossConsume",
        kinds: &[Worker],
        proves: "each side finishes jobs of every class that the other put there",
        instead: &[(Service, "`sameAnswer`"), (Endpoint, "`sameAnswer`"), (Schedule, "`everyTickOnce`")],
    },
    GateEntry {
        gate: GateKind::EveryTickOnce,
        word: "everyTickOnce",
        kinds: &[Schedule],
        proves: "every tick of the old crontab was run exactly once, on either side",
        instead: &[
            (Service, "`noFailedRequest`"),
            (Endpoint, "`noFailedRequest`"),
            (Worker, "`everyJobOnce`"),
        ],
    },
    GateEntry {
        gate: GateKind::NoOverlap,
        word: "noOverlap",
        kinds: &[Schedule],
        proves: "no two runs of one entry went on at the same time",
        instead: &[
            (Service, "`noFailedRequest`"),
            (Endpoint, "`noFailedRequest`"),
            (Worker, "`everyJobOnce`"),
        ],
    },
    GateEntry {
        gate: GateKind::OldSilent,
        word: "oldSilent",
        kinds: ALL,
        proves: "the old side gets nothing any more, from the load or from anybody else",
        instead: &[],
    },
    GateEntry {
        gate: GateKind::EveryReplicaServes,
        word: "everyReplicaServes",
        kinds: &[Service, Worker, Endpoint],
        proves: "every replica of the new side does its part, and all are configured alike",
        instead: &[(Schedule, "`everyTickOnce`: a CronJob has no replicas")],
    },
    GateEntry {
        gate: GateKind::RollbackLossless,
        word: "rollbackLossless",
        kinds: ALL,
        proves: "going back lost nothing and doubled nothing, after writes of the new side too",
        instead: &[],
    },
    GateEntry {
        gate: GateKind::NoFailedRequestDuringRollback,
        word: "noFailedRequestDuringRollback",
        kinds: ANSWERING,
        proves: "no request failed while going back",
        instead: &[(Worker, "`rollbackLossless`"), (Schedule, "`rollbackLossless`")],
    },
    GateEntry {
        gate: GateKind::Samples,
        word: "samples",
        kinds: ALL,
        proves: "there is enough to judge by, and known bad requests were counted",
        instead: &[],
    },
];

/// All faults.
pub const FAULTS: &[FaultEntry] = &[
    FaultEntry {
        fault: FaultKind::KillNewPod,
        word: "killNewPod",
        kinds: &[Service, Worker, Endpoint],
        does: "kills one pod of the new side, without grace",
        finds: "too few replicas, jobs that are acknowledged before they are done",
        command: None,
        instead: &[(Schedule, "`dbFailover`: a CronJob has a pod only while a run goes on")],
    },
    FaultEntry {
        fault: FaultKind::KillOldPod,
        word: "killOldPod",
        kinds: &[Service, Worker, Endpoint],
        does: "kills one instance of the old side",
        finds: "an old side that was thinned out too early to go back to",
        command: None,
        instead: &[(Schedule, "`reconvergeOld`: a crontab has no instances")],
    },
    FaultEntry {
        fault: FaultKind::SlowNew,
        word: "slowNew",
        kinds: ANSWERING,
        does: "has the new side answer slowly",
        finds: "timeouts that are too short, connections that pile up",
        command: None,
        instead: &[(Worker, "`killNewPod`, or `dbFailover`"), (Schedule, "`dbFailover`")],
    },
    FaultEntry {
        fault: FaultKind::DbFailover,
        word: "dbFailover",
        kinds: ALL,
        does: "breaks the connections to the shared database, which is away for a while",
        finds: "pools that never connect again",
        command: Some("has the database away for a while, and ends when it is back"),
        instead: &[],
    },
    FaultEntry {
        fault: FaultKind::LongTransaction,
        word: "longTransaction",
        kinds: ALL,
        does: "holds locks in the shared database by a transaction that does not end soon",
        finds: "migrations and writes that wait for a lock and hold up all others",
        command: Some("holds the locks for a while, and ends when it has let them go"),
        instead: &[],
    },
    FaultEntry {
        fault: FaultKind::ReconvergeOld,
        word: "reconvergeOld",
        kinds: ALL,
        does: "has a configuration manager put the old side back as it was",
        finds: "an old side that begins to work again after it was taken out",
        command: None,
        instead: &[],
    },
    FaultEntry {
        fault: FaultKind::NetworkPartition,
        word: "networkPartition",
        kinds: ANSWERING,
        does: "has nothing arrive between the router and the new side",
        finds: "routers that wait for a side that nobody reaches, connections that pile up",
        command: None,
        instead: &[(Worker, "`killNewPod`, or `dbFailover`"), (Schedule, "`dbFailover`")],
    },
    FaultEntry {
        fault: FaultKind::QueueRedelivery,
        word: "queueRedelivery",
        kinds: &[Worker],
        does: "has the queue deliver jobs again that are being worked on",
        finds: "effects that happen twice",
        command: Some("has the queue give out again what is being worked on"),
        instead: &[
            (Service, "`dbFailover`, or `slowNew`"),
            (Endpoint, "`dbFailover`, or `slowNew`"),
            (Schedule, "`reconvergeOld`, which has both sides run"),
        ],
    },
];

/// The step of this word.
#[must_use]
pub fn step(word: &str) -> Option<&'static StepEntry> {
    STEPS.iter().find(|entry| entry.word == word)
}

/// The gate of this word.
#[must_use]
pub fn gate_of(word: &str) -> Option<&'static GateEntry> {
    GATES.iter().find(|entry| entry.word == word)
}

/// The fault of this word.
#[must_use]
pub fn fault_of(word: &str) -> Option<&'static FaultEntry> {
    FAULTS.iter().find(|entry| entry.word == word)
}

impl GateKind {
    /// As the plan writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        GATES.iter().find(|entry| entry.gate == self).map_or("", |entry| entry.word)
    }
}

impl FaultKind {
    /// What a command of the plan's has to do for it. None: the sandbox breaks it itself.
    #[must_use]
    pub fn command(self) -> Option<&'static str> {
        FAULTS.iter().find(|entry| entry.fault == self).and_then(|entry| entry.command)
    }

    /// As the plan writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        FAULTS.iter().find(|entry| entry.fault == self).map_or("", |entry| entry.word)
    }
}

/// What `kind` uses instead of something that makes no sense for it.
fn instead_for(instead: Instead, kind: ComponentKind) -> Option<&'static str> {
    instead.iter().find(|(of, _)| *of == kind).map(|(_, text)| *text)
}

/// What the three tables have in common.
pub(super) trait Entry {
    /// What it is called: `step`.
    const NOUN: &'static str;
    /// As the plan writes it.
    fn word(&self) -> &'static str;
    /// For which kinds it makes sense.
    fn kinds(&self) -> &'static [ComponentKind];
    /// What another kind uses instead.
    fn instead(&self, kind: ComponentKind) -> Option<&'static str>;
}

impl Entry for StepEntry {
    const NOUN: &'static str = "step";
    fn word(&self) -> &'static str {
        self.word
    }
    fn kinds(&self) -> &'static [ComponentKind] {
        self.kinds
    }
    fn instead(&self, kind: ComponentKind) -> Option<&'static str> {
        instead_for(self.instead, kind)
    }
}

impl Entry for GateEntry {
    const NOUN: &'static str = "gate";
    fn word(&self) -> &'static str {
        self.word
    }
    fn kinds(&self) -> &'static [ComponentKind] {
        self.kinds
    }
    fn instead(&self, kind: ComponentKind) -> Option<&'static str> {
        instead_for(self.instead, kind)
    }
}

impl Entry for FaultEntry {
    const NOUN: &'static str = "fault";
    fn word(&self) -> &'static str {
        self.word
    }
    fn kinds(&self) -> &'static [ComponentKind] {
        self.kinds
    }
    fn instead(&self, kind: ComponentKind) -> Option<&'static str> {
        instead_for(self.instead, kind)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// The words that serde writes an enum's variants with, out of its schema.
    fn words_of<T: schemars::JsonSchema>() -> BTreeSet<String> {
        let schema = schemars::schema_for!(T).to_value();
        let variants = schema["oneOf"].as_array().unwrap();
        variants.iter().map(|variant| variant["const"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_tables_have_every_gate_and_fault_in_the_words_of_the_evidence() {
        let gates: BTreeSet<_> = GATES.iter().map(|entry| entry.word.to_owned()).collect();
        assert_eq!(gates, words_of::<GateKind>());
        let faults: BTreeSet<_> = FAULTS.iter().map(|entry| entry.word.to_owned()).collect();
        assert_eq!(faults, words_of::<FaultKind>());
        for entry in GATES {
            assert_eq!(serde_json::to_value(entry.gate).unwrap(), entry.word);
        }
        for entry in FAULTS {
            assert_eq!(serde_json::to_value(entry.fault).unwrap(), entry.word);
        }
    }

    #[test]
    fn what_makes_no_sense_for_a_kind_says_what_to_use_instead() {
        fn complete<E: Entry>(entries: &[E]) {
            for entry in entries {
                for kind in KINDS {
                    let fits = entry.kinds().contains(kind);
                    assert_ne!(
                        fits,
                        entry.instead(*kind).is_some(),
                        "{} for {}",
                        entry.word(),
                        kind.as_str()
                    );
                }
            }
        }
        complete(STEPS);
        complete(GATES);
        complete(FAULTS);
    }
}
