//! The old side of a rehearsal: machines that are containers.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::pin;
use std::time::Duration;

use envctl_local::engine::Engine;
use envctl_local::machines::{Machine, Machines, MachinesError, MachinesSpec, Stopped};
use envctl_model::labels;
use envctl_model::lifetime::{Change, State};
use envctl_model::receipt::End;
use envctl_model::settings::Salt;
use envctl_programs::process::Supervisor;
use futures_util::StreamExt as _;
use jiff::Timestamp;
use serde_json::{Value, json};

use crate::support::{IMAGE, World, docker};

const LONG: Duration = Duration::from_secs(60);

/// Says its colour, ends when it is asked to, unless it is stubborn.
const SCRIPT: &str = "echo \"colour $$COLOUR\"; touch /tmp/serves; [ \"$$1\" = stubborn ] && trap '' TERM || \
     trap 'echo bye; exit 0' TERM; while :; do sleep 1000 & wait; done";

fn spec(world: &World, service: Value, instances: u32) -> MachinesSpec {
    let file = world.directory.path().join("old.yaml");
    let text = json!({"services": {"api": service}, "volumes": {"data": {}}});
    std::fs::write(&file, text.to_string()).unwrap();
    MachinesSpec {
        project: world.identity.clone(),
        file,
        service: "api".to_owned(),
        tools: Vec::new(),
        instances,
        identity: world.identity.clone(),
        facts: BTreeMap::from([("COLOUR".to_owned(), "blue".to_owned())]),
        networks: Vec::new(),
        within: LONG,
    }
}

fn service(kind: &str) -> Value {
    json!({
        "image": IMAGE, "command": ["sh", "-c", SCRIPT, "sh", kind], "environment": {"COLOUR": "${COLOUR}"},
        "volumes": ["data:/data"],
        "healthcheck": {"test": ["CMD", "test", "-e", "/tmp/serves"], "interval": "1s", "start_period": "1s"},
    })
}

async fn up(world: &World, spec: &MachinesSpec) -> Option<Result<Machines, MachinesError>> {
    let cli = world.cli()?;
    Some(Machines::up(&world.engine, &cli, &Supervisor::default(), spec, |_, _| ()).await)
}

fn names(machines: &[Machine]) -> Vec<&str> {
    machines.iter().map(|machine| machine.instance.as_str()).collect()
}

#[tokio::test]
async fn machines_come_up_are_seen_to_change_and_go_with_proof() {
    let Some(world) = World::new("machines").await else { return };
    let shared = format!("{}-shared", world.identity);
    docker(&["network", "create", "--label", &format!("{}={}", labels::IDENTITY, world.identity), &shared]);
    let began = Timestamp::now();
    let spec = MachinesSpec { networks: vec![shared.clone()], ..spec(&world, service("polite"), 2) };
    let Some(machines) = up(&world, &spec).await else { return };
    let machines = machines.unwrap();
    let listed = machines.list().await.unwrap();
    let [one, two] = [1, 2].map(|n| format!("{}-api-{n}", world.identity));
    assert_eq!(names(&listed), [&one, &two]);
    assert!(listed.iter().all(|machine| machine.is_ready));
    let address = |machine: &Machine| machine.addresses[&shared];
    assert_ne!(address(&listed[0]), address(&listed[1]));
    assert!(listed[0].addresses.contains_key(&format!("{}_default", world.identity)));

    assert_eq!(machines.stop(&one, None).await.unwrap(), Stopped::Ended { code: 0 });
    machines.kill(&two).await.unwrap();
    assert!(machines.list().await.unwrap().iter().all(|machine| !machine.is_running));
    machines.start(&one, LONG).await.unwrap();
    assert!(machines.list().await.unwrap()[0].is_ready);

    let wanted = [State::Started, State::Ready, State::Ending, State::Ended, State::Started, State::Ready];
    let seen = changes(&machines, began, 9).await;
    assert_eq!(states(&seen, &one), wanted);
    assert_eq!(states(&seen, &two), [State::Started, State::Ready, State::Killed]);
    assert!(seen.iter().all(|change| change.at >= began && change.at <= Timestamp::now()));
    assert!(seen.iter().any(|change| change.address.is_some_and(|address: IpAddr| address.is_ipv4())));

    let error = machines.stop("nobody", None).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("there is no machine `nobody` of the old side; there are: {one}, {two}")
    );

    // Whose it is goes by the identity alone.
    let foreign = Machines::of(&world.engine, &spec.project, "api", "somebody-else");
    assert!(foreign.remove().await.unwrap().is_empty());
    let ends = machines.remove().await.unwrap();
    assert!(ends.iter().all(|(end, _)| *end == End::Gone), "{ends:?}");
    let mut gone: Vec<_> = ends.into_iter().map(|(_, item)| item.id).collect();
    gone.sort();
    let project = &world.identity;
    assert_eq!(gone, [one, two, format!("{project}_data"), format!("{project}_default")]);
    assert!(machines.list().await.unwrap().is_empty());
    docker(&["network", "inspect", &shared]);
}

async fn changes(machines: &Machines, since: Timestamp, count: usize) -> Vec<Change> {
    let taken = machines.changes(since).take(count).map(Result::unwrap).collect();
    tokio::time::timeout(LONG, taken).await.unwrap()
}

fn states(changes: &[Change], instance: &str) -> Vec<State> {
    changes.iter().filter(|change| change.instance == instance).map(|change| change.state).collect()
}

#[tokio::test]
async fn a_machine_that_does_not_end_in_its_grace_is_killed_and_that_is_said() {
    let Some(world) = World::new("stubborn").await else { return };
    let Some(machines) = up(&world, &spec(&world, service("stubborn"), 1)).await else { return };
    let machines = machines.unwrap();
    let name = format!("{}-api-1", world.identity);
    let since = Timestamp::now();
    assert_eq!(machines.stop(&name, Some(Duration::from_millis(300))).await.unwrap(), Stopped::Killed);
    let seen = changes(&machines, since, 2).await;
    assert_eq!(states(&seen, &name), [State::Ending, State::Killed]);
    machines.remove().await.unwrap();
}

#[tokio::test]
async fn a_machine_that_does_not_start_says_why() {
    let Some(world) = World::new("broken").await else { return };
    let mut broken = service("polite");
    broken["command"] = json!(["sh", "-c", "echo no database; exit 3"]);
    let Some(result) = up(&world, &spec(&world, broken, 1)).await else { return };
    let error = result.unwrap_err();
    let wanted = format!(
        "machine {}-api-1 of the old side ended with code 3 before it was ready; it said:\n  no database",
        world.identity
    );
    assert_eq!(error.to_string(), wanted);
    let mut blind = service("polite");
    blind["healthcheck"]["test"] = json!(["CMD", "false"]);
    let impatient = MachinesSpec { within: Duration::from_secs(2), ..spec(&world, blind, 1) };
    let error = up(&world, &impatient).await.unwrap().unwrap_err();
    assert!(error.to_string().starts_with("not ready within 2 s: "), "{error}");
    let mut asking = service("polite");
    asking["environment"] = json!({"HOST": "${DB_HOST}"});
    let error = up(&world, &spec(&world, asking, 1)).await.unwrap().unwrap_err();
    assert!(error.to_string().contains("asks for DB_HOST, which the sandbox does not give"), "{error}");
    assert!(error.to_string().ends_with("use what it gives: COLOUR"), "{error}");
}

#[tokio::test]
async fn what_machines_say_is_read_on_after_they_were_started_again_each_line_once() {
    let Some(world) = World::new("lines").await else { return };
    let began = Timestamp::now();
    let Some(machines) = up(&world, &spec(&world, service("polite"), 1)).await else { return };
    let machines = machines.unwrap();
    let name = format!("{}-api-1", world.identity);
    let mut lines = pin!(machines.lines(began));
    let mut next = async || tokio::time::timeout(LONG, lines.next()).await.unwrap().unwrap().unwrap();
    let mut seen = vec![next().await];
    machines.stop(&name, Some(LONG)).await.unwrap();
    machines.start(&name, LONG).await.unwrap();
    machines.kill(&name).await.unwrap();
    machines.start(&name, LONG).await.unwrap();
    for _ in 0..3 {
        seen.push(next().await);
    }
    let texts: Vec<_> = seen.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(texts, ["colour blue", "bye", "colour blue", "colour blue"]);
    assert!(seen.iter().all(|line| line.container == name && line.time.is_some()));
    machines.remove().await.unwrap();
}

#[tokio::test]
async fn machines_are_told_apart_by_what_they_are_made_of_and_how_they_are_configured() {
    let Some(world) = World::new("fingerprint").await else { return };
    let Some(machines) = up(&world, &spec(&world, service("polite"), 2)).await else { return };
    let machines = machines.unwrap();
    let [one, two] = [1, 2].map(|n| format!("{}-api-{n}", world.identity));
    let found = machines.fingerprint().await.unwrap();
    assert!(found.packages.is_some());
    assert_eq!(machines.fingerprint().await.unwrap().digest(), found.digest());

    let salt = Salt::new([7; 32]);
    let settings = machines.settings(&one, &salt).await.unwrap();
    assert_eq!(settings.keys().collect::<Vec<_>>(), ["COLOUR"]);
    assert_eq!(settings, machines.settings(&two, &salt).await.unwrap());
    assert_ne!(settings, machines.settings(&two, &Salt::new([8; 32])).await.unwrap());

    // Somebody installs something on one of them.
    docker(&[
        "exec",
        &two,
        "sh",
        "-c",
        "printf 'Package: surprise\\nStatus: install ok installed\\nVersion: 1\\n\\n' >> /var/lib/dpkg/status",
    ]);
    let error = machines.fingerprint().await.unwrap_err();
    assert!(error.to_string().contains(&format!("{one} and {two} differ in their packages")), "{error}");
    machines.remove().await.unwrap();
}

#[tokio::test]
async fn a_tool_reads_and_writes_lines_outlives_the_machines_and_goes_when_it_is_dropped() {
    let Some(world) = World::new("tool").await else { return };
    let Some(machines) = up(&world, &spec(&world, service("polite"), 1)).await else { return };
    let machines = machines.unwrap();
    let echo = "while read -r line; do echo \"$COLOUR $line\"; done; echo complained >&2; exit 4";
    let command = ["sh", "-c", echo].map(str::to_owned);
    let mut tool = machines.tool("ledger", "api", &command).await.unwrap();
    assert_eq!(machines.list().await.unwrap().len(), 1, "a tool is no machine");
    tool.input.send(r#"{"id":"1"}"#).await.unwrap();
    let mut next = async || tokio::time::timeout(LONG, tool.lines.next()).await.unwrap().unwrap();
    assert_eq!(next().await.as_deref(), Some(r#"blue {"id":"1"}"#));
    machines.kill(&format!("{}-api-1", world.identity)).await.unwrap();
    tool.input.send("2").await.unwrap();
    assert_eq!(next().await.as_deref(), Some("blue 2"));
    assert_eq!(tokio::time::timeout(LONG, tool.close()).await.unwrap().unwrap(), 4);

    let name = format!("{}-tool-ledger", world.identity);
    let dropped = machines.tool("ledger", "api", &command).await.unwrap();
    drop(dropped);
    let (reader, _) = Engine::connect(std::env::var("DOCKER_HOST").ok().as_deref()).await.unwrap();
    let gone = async {
        // What is dropped says nothing: so it is looked up.
        while envctl_local::state::container(&reader, &name).await.unwrap().is_some() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(LONG, gone).await.unwrap();

    let _kept = machines.tool("other", "api", &command).await.unwrap();
    let ends = machines.remove().await.unwrap();
    assert!(ends.iter().any(|(end, item)| *end == End::Gone && item.id.ends_with("-tool-other")), "{ends:?}");
}
