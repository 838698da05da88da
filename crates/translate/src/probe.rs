//! Probes: network probes go to the pod's sandbox, exec probes to Docker.

use std::collections::BTreeMap;

use envctl_model::finding::Severity;
use envctl_wire::{Check, Exec, ExecProbe, HealthCheck, Probe, ProbeKind};

use crate::compose;
use crate::cursor::{Cursor, Remark};
use crate::input::{EngineFacts, Warden};

/// The probes of one container.
#[derive(Debug, Default)]
pub(crate) struct Probes {
    pub(crate) network: Vec<Probe>,
    /// Those that the warden makes: they restart.
    pub(crate) exec: Vec<ExecProbe>,
    pub(crate) health: Option<compose::HealthCheck>,
    /// What this health check decides, if somebody tells the sandbox how it is.
    pub(crate) counts: Option<HealthCheck>,
}

#[derive(Debug)]
struct Program<'a> {
    command: Vec<&'a str>,
    timing: Timing,
}

#[derive(Debug, Clone, Copy)]
struct Timing {
    initial_delay: u32,
    period: u32,
    timeout: u32,
    success: u32,
    failure: u32,
}

impl Timing {
    fn read(probe: &Cursor<'_>) -> Self {
        let at_least_one = |key: &'static str, default: u32| {
            probe.get(key).number::<u32>().filter(|n| *n > 0).unwrap_or(default)
        };
        Self {
            initial_delay: probe.get("initialDelaySeconds").number().unwrap_or(0),
            period: at_least_one("periodSeconds", 10),
            timeout: at_least_one("timeoutSeconds", 1),
            success: at_least_one("successThreshold", 1),
            failure: at_least_one("failureThreshold", 3),
        }
    }

    /// A probe of the agent's with these timings.
    fn probe<C>(self, container: &str, kind: ProbeKind, check: C) -> Probe<C> {
        Probe {
            container: container.to_owned(),
            kind,
            check,
            initial_delay_seconds: self.initial_delay,
            period_seconds: self.period,
            timeout_seconds: self.timeout,
            success_threshold: self.success,
            failure_threshold: self.failure,
        }
    }

    /// Who makes this probe does not hear of a startup probe that somebody else makes, and gives it all the time it has.
    fn wait_for<C>(&mut self, elsewhere: &[Probe<C>]) {
        for probe in elsewhere.iter().filter(|probe| probe.kind == ProbeKind::Startup) {
            let grace = probe.failure_threshold.saturating_mul(probe.period_seconds);
            self.initial_delay = self.initial_delay.max(probe.initial_delay_seconds.saturating_add(grace));
        }
    }
}

pub(crate) fn read(container: &Cursor<'_>, name: &str, engine: &EngineFacts, warden: &Warden) -> Probes {
    let mut probes = Probes::default();
    let mut startup = None;
    let mut readiness = None;
    let kinds = [
        ("startupProbe", ProbeKind::Startup),
        ("readinessProbe", ProbeKind::Readiness),
        ("livenessProbe", ProbeKind::Liveness),
    ];
    for (field, kind) in kinds {
        let probe = container.get(field);
        if !probe.present() {
            continue;
        }
        let mut timing = Timing::read(&probe);
        let command = probe.at(&["exec", "command"]);
        if let (ProbeKind::Liveness, Warden::Off(why)) = (kind, warden) {
            let what = if command.present() { "the probe is not run" } else { "a failure restarts nothing" };
            probe.remark(Remark::approximated(
                Severity::Minor,
                "liveness-not-restarted",
                format!("{what}: {why}"),
            ));
        }
        if kind != ProbeKind::Readiness && timing.success != 1 {
            probe.get("successThreshold").invalid(&timing.success.to_string(), "1, as it must be here");
        }
        if command.present() {
            if let (ProbeKind::Startup | ProbeKind::Readiness, Warden::Off(why)) = (kind, warden) {
                probe.remark(Remark::approximated(
                    Severity::Minor,
                    "exec-probe",
                    format!("Services send requests before it has succeeded: {why}"),
                ));
            }
            if timing.success > 1 {
                probe.get("successThreshold").remark(Remark::dropped(
                    Severity::Minor,
                    "exec-probe",
                    "one success is enough for Docker",
                ));
            }
            let command = command.strings();
            if kind != ProbeKind::Readiness && warden.is_on() {
                if kind == ProbeKind::Liveness {
                    timing.wait_for(&probes.network);
                }
                let command = command.iter().map(|word| (*word).to_owned()).collect();
                let own = timing.probe(name, kind, Exec { command });
                let timeout_seconds = own.timeout_seconds.saturating_add(EXEC_START);
                probes.exec.push(ExecProbe { timeout_seconds, ..own });
            }
            match kind {
                ProbeKind::Startup => startup = Some(Program { command, timing }),
                ProbeKind::Readiness => readiness = Some(Program { command, timing }),
                ProbeKind::Liveness => {}
            }
        } else if let Some(check) = check(&probe, &ports(container)) {
            if kind == ProbeKind::Liveness {
                timing.wait_for(&probes.exec);
            }
            probes.network.push(timing.probe(name, kind, check));
        }
    }
    if let (Some(_), Some(_)) = (&startup, &readiness) {
        container.get("startupProbe").remark(Remark::approximated(
            Severity::Minor,
            "exec-probe",
            "is not waited for: readiness is asked from the start, and one success within this probe's time is enough",
        ));
    }
    let kind = if readiness.is_some() { ProbeKind::Readiness } else { ProbeKind::Startup };
    probes.health = health(startup, readiness, engine);
    probes.counts = probes
        .health
        .as_ref()
        .filter(|_| warden.is_on())
        .map(|_| HealthCheck { container: name.to_owned(), kind });
    probes
}

/// The ports of a container that have a name.
pub(crate) fn ports<'a>(container: &Cursor<'a>) -> BTreeMap<&'a str, u16> {
    let ports = container.get("ports").items();
    ports
        .iter()
        .filter_map(|port| Some((port.get("name").string()?, port.get("containerPort").number()?)))
        .collect()
}

/// What is asked of a container over the network, by a probe or a lifecycle hook.
pub(crate) fn check(probe: &Cursor<'_>, ports: &BTreeMap<&str, u16>) -> Option<Check> {
    let (http, tcp, grpc) = (probe.get("httpGet"), probe.get("tcpSocket"), probe.get("grpc"));
    let host =
        |field: &Cursor<'_>| field.get("host").string().filter(|host| !host.is_empty()).map(str::to_owned);
    if http.present() {
        let path = http.get("path").string().unwrap_or_default();
        Some(Check::HttpGet {
            host: host(&http),
            port: port(&http.get("port"), ports)?,
            path: if path.starts_with('/') { path.to_owned() } else { format!("/{path}") },
            tls: http.get("scheme").string().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")),
            headers: http
                .get("httpHeaders")
                .items()
                .iter()
                .map(|header| {
                    (
                        header.get("name").required().to_owned(),
                        header.get("value").string().unwrap_or_default().to_owned(),
                    )
                })
                .collect(),
        })
    } else if tcp.present() {
        Some(Check::Tcp { host: host(&tcp), port: port(&tcp.get("port"), ports)? })
    } else if grpc.present() {
        let service = grpc.get("service").string().unwrap_or_default().to_owned();
        Some(Check::Grpc { port: port(&grpc.get("port"), ports)?, service })
    } else {
        probe.invalid("this probe", "one of exec, httpGet, tcpSocket and grpc");
        None
    }
}

fn port(field: &Cursor<'_>, ports: &BTreeMap<&str, u16>) -> Option<u16> {
    if !field.present() {
        field.required();
    }
    let text = field.int_or_string()?;
    let number = text.parse().ok().filter(|port| *port > 0).or_else(|| ports.get(text.as_str()).copied());
    if number.is_none() {
        field.invalid(&text, "a port number, or the name of a port of this container");
    }
    number
}

/// Starting a process in a container takes Docker this many seconds on a busy machine. It counts as
/// the check's own time, and the default of one second would fail healthy pods.
const EXEC_START: u32 = 2;

/// Docker has one health check per container: the readiness probe, with the time that the startup
/// probe grants as its start period; or the startup probe alone.
fn health(
    startup: Option<Program<'_>>,
    readiness: Option<Program<'_>>,
    engine: &EngineFacts,
) -> Option<compose::HealthCheck> {
    let grace = startup.as_ref().map_or(0, |probe| {
        probe.timing.initial_delay.saturating_add(probe.timing.failure.saturating_mul(probe.timing.period))
    });
    let probe = readiness.or(startup)?;
    let timing = probe.timing;
    let start_period = grace.max(timing.initial_delay);
    // The kubelet probes first after the initial delay, Docker after a whole interval. Engines
    // without a start interval check as often as it takes, and tolerate as many more failures.
    let first = timing.initial_delay.clamp(1, timing.period);
    let eager = engine.has_start_interval();
    let interval = if eager { timing.period } else { first };
    let tolerated = timing.failure.saturating_mul(timing.period).div_ceil(interval);
    Some(compose::HealthCheck::Test {
        test: ["CMD"].into_iter().chain(probe.command).map(str::to_owned).collect(),
        interval: seconds(interval),
        timeout: seconds(timing.timeout.saturating_add(EXEC_START)),
        retries: tolerated,
        start_period: seconds(start_period),
        start_interval: (eager && start_period > 0).then(|| seconds(first)),
    })
}

pub(crate) fn seconds(seconds: u32) -> String {
    format!("{seconds}s")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cursor::Notes;
    use crate::objects::parse;

    const ENGINE: EngineFacts =
        EngineFacts { api_version: (1, 41), compose_version: (5, 6, 0), cpus: 2.0, memory_bytes: 1 };

    fn warden() -> Warden {
        Warden::At { socket: "/docker.sock".to_owned(), lock: "lock".to_owned(), expires: None }
    }

    #[test]
    fn network_probes_get_the_apis_defaults() {
        let objects = parse(
            "apiVersion: v1\nkind: Pod\nmetadata: {name: x}\nspec:\n  ports: [{name: web, containerPort: 8080}]\n  readinessProbe: {httpGet: {path: /ready, port: web, scheme: HTTPS}}\n  livenessProbe: {tcpSocket: {port: nope}}\n  startupProbe: {exec: {command: [a, b]}, failureThreshold: 30, periodSeconds: 2}\n",
            "t",
        )
        .expect("parses");
        let notes = Notes::default();
        let probes = read(&Cursor::new(&objects[0], &notes).get("spec"), "main", &ENGINE, &warden());
        assert_eq!(probes.network.len(), 1);
        let probe = &probes.network[0];
        assert_eq!((probe.period_seconds, probe.timeout_seconds, probe.failure_threshold), (10, 1, 3));
        assert!(
            matches!(&probe.check, Check::HttpGet { port: 8080, tls: true, path, .. } if path == "/ready")
        );
        let health = serde_json::to_value(probes.health).expect("serializes");
        assert_eq!(
            health,
            serde_json::json!({"test": ["CMD", "a", "b"], "interval": "1s", "timeout": "3s", "retries": 60, "start_period": "60s"})
        );
        let errors = notes.finish().expect_err("the port name is unknown");
        assert_eq!(
            errors[0].to_string(),
            "Pod/x spec.livenessProbe.tcpSocket.port: `nope` is not a port number, or the name of a port of this container (t:1)"
        );
    }

    #[test]
    fn what_restarts_is_probed_by_the_warden_or_by_the_sandbox_and_waits_for_the_start() {
        let of = |startup: &str, liveness: &str, warden: &Warden| {
            let text = format!(
                "apiVersion: v1\nkind: Pod\nmetadata: {{name: x}}\nspec:\n  startupProbe: {{{startup}, failureThreshold: 30, periodSeconds: 2}}\n  livenessProbe: {{{liveness}, initialDelaySeconds: 5}}\n"
            );
            let objects = parse(&text, "t").expect("parses");
            let notes = Notes::default();
            let probes = read(&Cursor::new(&objects[0], &notes).get("spec"), "main", &ENGINE, warden);
            let shown = |kind: ProbeKind, delay: u32| format!("{kind} {delay}");
            let network: Vec<_> =
                probes.network.iter().map(|probe| shown(probe.kind, probe.initial_delay_seconds)).collect();
            let exec: Vec<_> =
                probes.exec.iter().map(|probe| shown(probe.kind, probe.initial_delay_seconds)).collect();
            (network, exec)
        };
        let (exec, tcp) = ("exec: {command: [a]}", "tcpSocket: {port: 80}");
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        assert_eq!(of(exec, exec, &warden()), (words(&[]), words(&["startup 0", "liveness 5"])));
        assert_eq!(of(tcp, exec, &warden()), (words(&["startup 0"]), words(&["liveness 60"])));
        assert_eq!(of(exec, tcp, &warden()), (words(&["liveness 60"]), words(&["startup 0"])));
        assert_eq!(of(exec, exec, &Warden::Off("not here")), (words(&[]), words(&[])));
    }
}
