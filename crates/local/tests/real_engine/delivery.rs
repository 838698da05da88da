//! Compose file to running pods, what is seen of them, why they fail, and how they go.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use envctl_local::compose::{self, ComposeError, ComposeProject};
use envctl_local::docker_cli::DockerCli;
use envctl_local::logs;
use envctl_local::state::{self, DesiredContainer, DesiredPod, Why};
use envctl_local::watch::{self, FailureReason, Outcome, PodState, Progress};
use envctl_local::{diagnose, remove};
use envctl_model::labels::{self, Role};
use envctl_model::log::LogOptions;
use envctl_model::receipt::{End, ThingKind};
use envctl_programs::process::Supervisor;
use futures_util::TryStreamExt as _;
use jiff::Timestamp;
use serde_json::json;
use tokio::sync::Notify;

use crate::support::{IMAGE, World, docker, inspect};

/// A pod of a sandbox, an init container and one that runs `script`.
struct Pod {
    name: &'static str,
    hash: &'static str,
    init: &'static str,
    script: &'static str,
    run_once: bool,
}

const API: Pod = Pod {
    name: "api",
    hash: "1",
    init: "sleep 1; echo prepared",
    script: "echo listening; exec sleep 600",
    run_once: false,
};
const MIGRATE: Pod =
    Pod { name: "migrate", hash: "1", init: "true", script: "echo migrated", run_once: true };

impl Pod {
    fn services(&self, world: &World) -> serde_json::Value {
        let Self { name, hash, .. } = self;
        let sandbox = format!("{name}-sandbox");
        let service = |role: &str, container: &str, script: &str| {
            json!({
                "image": IMAGE, "command": ["sh", "-c", script], "init": true, "stop_grace_period": "1s",
                "labels": world.labels(name, role, container, hash),
            })
        };
        let after = |mut service: serde_json::Value, condition: serde_json::Value| {
            service["network_mode"] = json!(format!("service:{sandbox}"));
            service["depends_on"] = condition;
            service
        };
        let mut services = json!({});
        services[&sandbox] = service("sandbox", "sandbox", "exec sleep 600");
        services[&sandbox]["volumes"] = json!(["data:/data"]);
        services[format!("{name}-init")] = after(
            service("init", "init", self.init),
            json!({&sandbox: {"condition": "service_started", "restart": true}}),
        );
        services[format!("{name}-app")] = after(
            service("container", "app", self.script),
            json!({
                &sandbox: {"condition": "service_started", "restart": true},
                format!("{name}-init"): {"condition": "service_completed_successfully"},
            }),
        );
        if !self.run_once {
            services[format!("{name}-app")]["restart"] = json!("always");
        }
        services
    }

    fn desired(&self) -> DesiredPod {
        let Self { name, hash, run_once, .. } = self;
        let container = |service: &str, role: Role, run_once: bool| DesiredContainer {
            service: format!("{name}-{service}"),
            role,
            run_once,
            image: None,
            health: false,
            retries: run_once.then_some(0),
        };
        DesiredPod {
            name: (*name).to_owned(),
            hash: (*hash).to_owned(),
            deadline: None,
            containers: vec![
                container("sandbox", Role::Sandbox, false),
                container("init", Role::Init, true),
                container("app", Role::Container, *run_once),
            ],
        }
    }
}

/// What one `up` did.
struct Up {
    changed: Vec<String>,
    composed: Result<(), ComposeError>,
    outcome: Outcome,
}

struct Environment {
    world: World,
    cli: DockerCli,
    file: PathBuf,
}

impl Environment {
    async fn new(test: &str) -> Option<Self> {
        let world = World::new(test).await?;
        let cli = world.cli()?;
        let file = world.directory.path().join("compose.json");
        Some(Self { world, cli, file })
    }

    async fn up(&self, pods: &[Pod]) -> Up {
        let World { engine, identity, .. } = &self.world;
        let mut services = serde_json::Map::new();
        for pod in pods {
            services.extend(pod.services(&self.world).as_object().unwrap().clone());
        }
        let marks = json!({labels::IDENTITY: identity});
        let file = json!({
            "services": services,
            "volumes": {"data": {"labels": marks}},
            "networks": {"default": {"labels": marks}},
        });
        compose::write_file(&self.file, file.to_string().as_bytes()).unwrap();
        let project = ComposeProject { name: identity, file: &self.file };
        let supervisor = Supervisor::default();
        project.check(&self.cli, &supervisor).await.unwrap();

        let desired: Vec<_> = pods.iter().map(Pod::desired).collect();
        let actual = state::containers(engine.reader(), identity).await.unwrap();
        let changed = state::changed_pods(&desired, &actual);
        let services: Vec<String> = desired
            .iter()
            .filter(|pod| changed.contains_key(&pod.name))
            .flat_map(|pod| pod.containers.iter().map(|c| c.service.clone()))
            .collect();
        let since = Timestamp::now();
        let deadline = Instant::now() + Duration::from_secs(20);
        let composing = project.up(&self.cli, engine.reader(), &supervisor, &services, |_, _| ());
        // Nobody looks: Compose waits for nothing else here.
        let look = Notify::new();
        let waiting = watch::wait(
            engine.reader(),
            identity,
            Progress::new(&desired),
            since,
            deadline,
            &look,
            |_, _| (),
        );
        let (composed, outcome) = tokio::join!(composing, waiting);
        Up { changed: changed.into_keys().collect(), composed, outcome: outcome.unwrap() }
    }

    async fn containers(&self) -> Vec<state::ActualContainer> {
        state::containers(self.world.reader(), &self.world.identity).await.unwrap()
    }

    async fn diagnose(&self, pod: &str) -> diagnose::Diagnosis {
        diagnose::pod(self.world.reader(), &self.containers().await, pod).await.unwrap().unwrap()
    }

    fn id(&self, service: &str) -> String {
        let project = format!("label=com.docker.compose.project={}", self.world.identity);
        let service = format!("label=com.docker.compose.service={service}");
        docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &project, "--filter", &service])
    }
}

#[tokio::test]
async fn only_what_changed_is_made_again_and_down_leaves_nothing() {
    let Some(environment) = Environment::new("delivery").await else {
        return;
    };
    let first = environment.up(&[API, MIGRATE]).await;
    first.composed.unwrap();
    assert_eq!((first.changed.len(), first.outcome), (2, Outcome::Ready));
    // With --no-deps Compose still keeps the order among the services that are named.
    let ended = inspect(&environment.id("api-init"), "{{.State.FinishedAt}}");
    let started = inspect(&environment.id("api-app"), "{{.State.StartedAt}}");
    assert!(ended <= started, "{ended} {started}");

    let begun = Instant::now();
    let again = environment.up(&[API, MIGRATE]).await;
    assert_eq!((again.changed.as_slice(), again.outcome), (&[][..], Outcome::Ready));
    assert!(begun.elapsed() < Duration::from_secs(5));

    let (migrate, api) = (environment.id("migrate-app"), environment.id("api-app"));
    let changed = Pod { hash: "2", ..API };
    let third = environment.up(&[changed, MIGRATE]).await;
    third.composed.unwrap();
    assert_eq!((third.changed.as_slice(), third.outcome), (&["api".to_owned()][..], Outcome::Ready));
    assert_eq!(environment.id("migrate-app"), migrate, "a completed job is not made again");
    assert_ne!(environment.id("api-app"), api);

    let surplus = state::surplus_pods(&[API.desired()], &environment.containers().await);
    assert_eq!(surplus.into_iter().collect::<Vec<_>>(), ["migrate"]);

    let lines: Vec<_> =
        logs::lines(world(&environment), &environment.containers().await, LogOptions::default())
            .try_collect()
            .await
            .unwrap();
    let said: Vec<_> = lines.iter().map(|line| (line.pod.as_str(), line.text.as_str())).collect();
    assert_eq!(said, [("migrate", "migrated"), ("api", "prepared"), ("api", "listening")]);

    let ends = remove::environment(&environment.world.engine, &environment.world.identity).await.unwrap();
    assert!(ends.iter().all(|(end, _)| *end == End::Gone), "{ends:?}");
    let count = |kind| ends.iter().filter(|(_, item)| item.kind == kind).count();
    assert_eq!((count(ThingKind::Container), count(ThingKind::Network), count(ThingKind::Volume)), (6, 1, 1));
    let inventory = state::inventory(world(&environment), &environment.world.identity).await.unwrap();
    assert_eq!(inventory, state::Inventory::default());
    assert_eq!(
        remove::environment(&environment.world.engine, &environment.world.identity).await.unwrap(),
        []
    );
}

fn world(environment: &Environment) -> &envctl_local::engine::EngineReader {
    environment.world.reader()
}

#[tokio::test]
async fn a_crash_loop_ends_the_wait_with_its_last_lines() {
    let Some(environment) = Environment::new("crash").await else {
        return;
    };
    let begun = Instant::now();
    let up = environment.up(&[Pod { script: "echo no database >&2; exit 5", ..API }]).await;
    let Outcome::Failed(failed) = up.outcome else { panic!("{:?}", up.outcome) };
    assert_eq!(failed[0].1.reason, FailureReason::CrashLoop { exit_code: 5, times: 3 });
    assert!(begun.elapsed() < Duration::from_secs(15));
    let diagnosis = environment.diagnose("api").await;
    assert_eq!(diagnosis.container, "app");
    assert!(diagnosis.restarts >= 2, "{diagnosis:?}");
    assert!(diagnosis.log.iter().any(|line| line.text == "no database"), "{diagnosis:?}");
    assert_eq!(diagnosis.next[0], "envctl logs api");
}

#[tokio::test]
async fn a_failing_job_and_a_failing_init_container_are_named() {
    let Some(environment) = Environment::new("job").await else {
        return;
    };
    let up = environment.up(&[Pod { script: "echo cannot migrate; exit 3", ..MIGRATE }]).await;
    let Outcome::Failed(failed) = up.outcome else { panic!("{:?}", up.outcome) };
    assert_eq!(failed[0].1.reason, FailureReason::RunOnceFailed { exit_code: 3, attempts: 1 });
    let diagnosis = environment.diagnose("migrate").await;
    assert_eq!((diagnosis.exit_code, diagnosis.log.len()), (Some(3), 1));
    let why = state::changed_pods(&[MIGRATE.desired()], &environment.containers().await);
    assert_eq!(why["migrate"], Why::Ended("migrate-app".into(), Some(3)), "the next `up` runs it again");

    let up = environment.up(&[Pod { init: "nonsuch-command", ..API }]).await;
    assert!(matches!(up.composed, Err(ComposeError::DependencyFailed { .. })), "{:?}", up.composed);
    let diagnosis = environment.diagnose("api").await;
    assert_eq!((diagnosis.container.as_str(), diagnosis.exit_code), ("init", Some(127)));
    assert!(diagnosis.cause.contains("not found"), "{diagnosis:?}");
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_a_failure_at_once() {
    let Some(environment) = Environment::new("nocommand").await else {
        return;
    };
    let mut services = API.services(&environment.world);
    services["api-app"]["init"] = json!(false);
    services["api-app"]["command"] = json!(["/nonsuch"]);
    let file = json!({"services": services, "volumes": {"data": {"labels": {labels::IDENTITY: environment.world.identity}}}});
    compose::write_file(&environment.file, file.to_string().as_bytes()).unwrap();
    let project = ComposeProject { name: &environment.world.identity, file: &environment.file };
    let services: Vec<_> = API.desired().containers.into_iter().map(|c| c.service).collect();
    let up =
        project.up(&environment.cli, world(&environment), &Supervisor::default(), &services, |_, _| ()).await;
    assert!(up.is_err());
    let diagnosis = environment.diagnose("api").await;
    assert_eq!(diagnosis.container, "app");
    assert!(diagnosis.cause.starts_with("Docker could not start it: its command"), "{diagnosis:?}");
    let mut progress = Progress::new(&[API.desired()]);
    progress.observe(&environment.containers().await, Instant::now());
    let states = progress.states(Instant::now());
    assert!(
        matches!(&states[0].1, PodState::Failed(f) if matches!(f.reason, FailureReason::CannotStart { .. })),
        "{states:?}"
    );
}

#[tokio::test]
async fn a_missing_image_and_a_taken_port_are_named() {
    let Some(environment) = Environment::new("missing").await else {
        return;
    };
    let up = async |service: serde_json::Value| {
        let marks = json!({labels::IDENTITY: environment.world.identity});
        let file = json!({"services": {"web": service}, "networks": {"default": {"labels": marks}}});
        compose::write_file(&environment.file, file.to_string().as_bytes()).unwrap();
        let project = ComposeProject { name: &environment.world.identity, file: &environment.file };
        let services = ["web".to_owned()];
        let by = Supervisor::default();
        project.up(&environment.cli, world(&environment), &by, &services, |_, _| ()).await.unwrap_err()
    };
    let error = up(json!({"image": "localtest-nonsuch:1"})).await;
    assert!(
        matches!(&error, ComposeError::ImageMissing { image, .. } if image.contains("localtest-nonsuch")),
        "{error}"
    );

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let marks = json!({labels::IDENTITY: environment.world.identity});
    let error = up(json!({"image": IMAGE, "ports": [format!("127.0.0.1:{port}:80")], "labels": marks})).await;
    let expected = format!("port {port} is taken by the process {}", std::process::id());
    assert!(error.to_string().starts_with(&expected), "{error}");
}

#[tokio::test]
async fn a_strangers_container_keeps_the_network_and_is_named() {
    let Some(environment) = Environment::new("guest").await else {
        return;
    };
    let World { engine, identity, .. } = &environment.world;
    let marks = format!("{}={identity}", labels::IDENTITY);
    docker(&["network", "create", "--label", &marks, identity]);
    let guest = format!("{identity}-guest");
    docker(&["run", "--detach", "--network", identity, "--name", &guest, IMAGE, "sleep", "600"]);
    let ends = remove::environment(engine, identity).await.unwrap();
    let (end, item) = &ends[0];
    assert_eq!((ends.len(), *end, item.kind), (1, End::Left, ThingKind::Network));
    assert!(item.evidence.ends_with(&guest), "{item:?}");
    assert_eq!(inspect(&guest, "{{.State.Running}}"), "true");
}
