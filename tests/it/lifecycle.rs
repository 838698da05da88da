//! Up, use, change, down: on real Docker, with the small stack.

use serde_json::Value;

use crate::support::{House, Ran, envctl, have};

const NEEDS: [&str; 2] = ["docker", "helm"];

fn web(house: &House) -> String {
    format!("web.{}.localhost", house.environment())
}

/// Names and ids of the environment's containers. The gateway is left out: it is made anew when a
/// Service's pods change.
fn container_ids(house: &House) -> Vec<String> {
    let output = std::process::Command::new("docker")
        .args(["ps", "-a", "--no-trunc", "--format", "{{.Names}} {{.ID}}", "--filter"])
        .arg(format!("label=dev.envctl.environment={}", house.environment()))
        .output()
        .unwrap();
    let mut ids: Vec<_> = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
    ids.retain(|line| !line.contains("envctl-gateway"));
    ids.sort();
    ids
}

#[test]
fn up_use_change_down() {
    if !have(&NEEDS) {
        return;
    }
    let house = House::small("life");
    let up = house.envctl(&["up"]).exits(0);
    let host = web(&house);
    assert!(up.stdout.contains(&format!("http://{host}:{}", house.port)), "{}", up.stdout);
    let (status, body) = house.get(&host, "/");
    assert_eq!((status, body.starts_with("hello from web")), (200, true), "{body}");

    let report = house.envctl(&["status", "--json"]).exits(0).json();
    assert_eq!(report["phase"], "ready");
    assert_eq!(report["urls"][0], format!("http://{host}:{}", house.port));
    let list = house.envctl(&["list", "--json"]).exits(0).json();
    assert_eq!(list[0]["name"], house.environment());
    house.envctl(&["logs", "web"]).exits(0).says("listening");
    house
        .envctl(&["exec", "web", "--", "sh", "-c", "echo inside $MESSAGE; exit 9"])
        .exits(9)
        .says("inside hello");

    // Nothing changed: nothing is made anew, and the password that the chart draws stays.
    let password =
        |house: &House| house.envctl(&["exec", "web", "--", "sh", "-c", "echo $PASSWORD"]).exits(0).stdout;
    let (before, drawn) = (container_ids(&house), password(&house));
    assert!(drawn.trim().len() == 24, "{drawn}");
    house.envctl(&["up"]).exits(0);
    assert_eq!(container_ids(&house), before);

    // A changed value recreates the pod concerned, keeps the password, and reaches the browser.
    house.envctl(&["up", "--set", "message=changed"]).exits(0);
    assert!(house.get(&host, "/").1.starts_with("changed from web"));
    assert_eq!(password(&house), drawn);
    let after = container_ids(&house);
    assert_ne!(before, after);
    assert!(before.iter().any(|id| after.contains(id)), "the finished hook was made anew too");

    // More replicas: the old one stays.
    house.envctl(&["up", "--set", "message=changed,replicas=3"]).exits(0);
    let more = container_ids(&house);
    assert!(after.iter().all(|id| more.contains(id)), "a pod that did not change was made anew");
    let mut answers: Vec<_> = (0..30).map(|_| house.get(&host, "/").1).collect();
    answers.sort();
    answers.dedup();
    assert_eq!(answers.len(), 3, "{answers:?}");

    // Fewer: the surplus goes.
    house.envctl(&["up", "--set", "message=changed"]).exits(0);
    assert_eq!(container_ids(&house).len(), after.len());

    let down = house.envctl(&["down", "--yes"]).exits(0);
    assert!(down.stdout.contains("0 left"), "{}", down.stdout);
    assert_eq!(house.on_engine(), [""; 0]);
    let receipt = house.envctl(&["receipt", "--json"]).exits(0).json();
    for list in ["kept", "retained", "unverified", "left"] {
        let of_ours: Vec<_> = receipt[list]
            .as_array()
            .unwrap()
            .iter()
            .filter(|i| i["id"].as_str().unwrap().contains(&house.project))
            .collect();
        assert_eq!(of_ours, Vec::<&Value>::new(), "{list}");
    }
    assert!(receipt["gone"].as_array().unwrap().iter().all(|i| !i["evidence"].as_str().unwrap().is_empty()));
    house.envctl(&["down", "--yes"]).exits(0).says("there is no environment");
}

#[test]
fn a_url_of_the_router_works_inside_pods_too() {
    if !have(&NEEDS) {
        return;
    }
    let house = House::small("url");
    house.envctl(&["up"]).exits(0);
    let host = web(&house);
    let script = format!(
        "use IO::Socket::INET; my $s = IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => {port}) or die $!; \
         print $s \"GET / HTTP/1.0\\r\\nHost: {host}:{port}\\r\\n\\r\\n\"; print <$s>",
        port = house.port
    );
    house.envctl(&["exec", "web", "--", "perl", "-e", &script]).exits(0).says("hello from web");
    // By the Service's name and port, which is not the container's.
    let script = "use IO::Socket::INET; my $s = IO::Socket::INET->new(PeerAddr => 'web', PeerPort => 80) or die $!; \
                  print $s \"GET / HTTP/1.0\\r\\n\\r\\n\"; print <$s>";
    house.envctl(&["exec", "web", "--", "perl", "-e", script]).exits(0).says("hello from web");
}

#[test]
fn down_works_without_the_sources() {
    if !have(&NEEDS) {
        return;
    }
    let house = House::small("gone");
    house.envctl(&["up"]).exits(0);
    std::fs::remove_dir_all(house.src()).unwrap();
    std::fs::create_dir(house.src()).unwrap();
    house.envctl(&["down", "--yes", "--name", &house.environment()]).exits(0).says("0 left");
    assert_eq!(house.on_engine(), [""; 0]);
}

#[test]
fn what_we_did_not_create_is_never_touched() {
    if !have(&NEEDS) {
        return;
    }
    let house = House::small("stranger");
    let environment = house.environment();
    let docker = |arguments: &[&str]| Ran::of(std::process::Command::new("docker").args(arguments));
    docker(&["network", "create", &environment]).exits(0);
    house.envctl(&["up"]).exits(3).says(&environment).says("are not this environment's");
    house.envctl(&["down", "--yes"]).exits(0);
    docker(&["network", "inspect", &environment]).exits(0);
    docker(&["network", "rm", &environment]).exits(0);
}

#[test]
fn two_ups_at_once_one_waits_its_turn_by_being_refused() {
    if !have(&NEEDS) {
        return;
    }
    let house = House::small("twice");
    let spawn = || {
        let mut command = house.command(envctl());
        command.arg("up").stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
        command.spawn().unwrap()
    };
    let (first, second) = (spawn(), spawn());
    let (first, second) =
        (Ran::from(first.wait_with_output().unwrap()), Ran::from(second.wait_with_output().unwrap()));
    let (won, lost) = if first.code == 0 { (first, second) } else { (second, first) };
    won.exits(0);
    if lost.code != 0 {
        lost.exits(3).says("is locked by").says("envctl up").says("docker rm");
    }
    house.envctl(&["up"]).exits(0);
}

#[test]
fn two_environments_side_by_side_share_the_router_and_nothing_else() {
    if !have(&NEEDS) {
        return;
    }
    let house = House::small("pair");
    let (one, two) = (format!("{}-one", house.project), format!("{}-two", house.project));
    house.envctl(&["up", "--name", &one, "--set", "message=one"]).exits(0);
    house.envctl(&["up", "--name", &two, "--set", "message=two"]).exits(0);
    assert!(house.get(&format!("web.{one}.localhost"), "/").1.starts_with("one"));
    assert!(house.get(&format!("web.{two}.localhost"), "/").1.starts_with("two"));
    house.envctl(&["down", "--yes", "--name", &one]).exits(0).says("0 left").says(" kept (").says(&two);
    assert!(house.get(&format!("web.{two}.localhost"), "/").1.starts_with("two"));
    house.envctl(&["down", "--yes", "--name", &two]).exits(0).says("0 left");
    assert_eq!(house.on_engine(), [""; 0]);
}

#[test]
fn events_are_one_json_object_a_line() {
    if !have(&NEEDS) {
        return;
    }
    let house = House::small("json");
    let events = house.envctl(&["up", "--json"]).exits(0).events();
    assert_eq!(events.first().unwrap()["event"], "planned");
    assert_eq!(events.last().unwrap()["event"], "ready");
    let started: Vec<_> = events.iter().filter(|e| e["event"] == "stepStarted").collect();
    let done: Vec<_> = events.iter().filter(|e| e["event"] == "stepDone").collect();
    assert_eq!(started.len(), done.len());
    assert_eq!(events[0]["steps"], started.len());
    let down = house.envctl(&["down", "--yes", "--json"]).exits(0).events();
    assert_eq!(down.last().unwrap()["event"], "receipt");
}

#[test]
fn names_of_branches_are_made_into_names() {
    if !have(&NEEDS) {
        return;
    }
    let house = House::small("odd");
    let branch = format!("{}/Feature: Überarbeitung {}", house.project, "x".repeat(280));
    let up = house.envctl(&["up", "--name", &branch]).exits(0);
    let url = up.stdout.split_whitespace().find(|w| w.starts_with("http://web.")).unwrap().to_owned();
    let host = url.trim_start_matches("http://").split(':').next().unwrap().to_owned();
    assert!(house.get(&host, "/").1.starts_with("hello"), "{host}");
    house.envctl(&["down", "--yes", "--name", &branch]).exits(0).says("0 left");
}

#[test]
fn a_taken_port_is_named_with_who_has_it() {
    if !have(&NEEDS) {
        return;
    }
    let house = House::small("port");
    let listener = std::net::TcpListener::bind(("127.0.0.1", house.port)).unwrap();
    house
        .envctl(&["up"])
        .exits(1)
        .says(&format!("port {} is taken by", house.port))
        .says("ENVCTL_ROUTER_PORT");
    drop(listener);
    house.envctl(&["up"]).exits(0);
}

#[test]
fn another_engine_than_the_environments_is_refused() {
    if !have(&NEEDS) {
        return;
    }
    let house = House::small("engine");
    house.envctl(&["up"]).exits(0);
    let record = house.state().join("environments").join(house.environment()).join("record.json");
    let text = std::fs::read_to_string(&record).unwrap();
    let mut elsewhere: Value = serde_json::from_str(&text).unwrap();
    elsewhere["place"]["engineId"] = "ANOTHER:ENGINE".into();
    std::fs::write(&record, elsewhere.to_string()).unwrap();
    for verb in [&["up"][..], &["down", "--yes"]] {
        house.envctl(verb).exits(3).says("ANOTHER:ENGINE");
    }
    std::fs::write(&record, text).unwrap();
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
}

#[test]
fn nothing_of_the_state_can_be_read_by_others() {
    use std::os::unix::fs::PermissionsExt;
    if !have(&NEEDS) {
        return;
    }
    let house = House::small("rights");
    house.envctl(&["up"]).exits(0);
    let mut waiting = vec![house.state().join("environments")];
    let mut seen = 0;
    while let Some(path) = waiting.pop() {
        let metadata = std::fs::metadata(&path).unwrap();
        let mode = metadata.permissions().mode() & 0o777;
        // Single files of volumes are mounted into containers; their directory keeps others out.
        if !path.ancestors().skip(1).any(|dir| dir.ends_with("files")) {
            assert_eq!(mode & 0o077, 0, "{} has mode {mode:o}", path.display());
        }
        if metadata.is_dir() {
            waiting.extend(std::fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
        seen += 1;
    }
    assert!(seen > 5);
}

#[test]
fn what_was_taken_apart_by_hand_is_put_together_again() {
    if !have(&NEEDS) {
        return;
    }
    let house = House::small("repair");
    // By `up` alone: a warden would be faster.
    house.edit("envctl.yaml", |text| text.replace("{kind: compose}", "{kind: compose, warden: false}"));
    let up = house.envctl(&["up"]).exits(0);
    assert!(!up.stderr.contains("socket"), "{}", up.stderr);
    let name = house.environment();
    let docker = |arguments: &[&str]| Ran::of(std::process::Command::new("docker").args(arguments));
    assert_ne!(docker(&["inspect", &format!("{name}-envctl-warden-1")]).code, 0);
    house.envctl(&["parity"]).exits(0).says("no-warden").says("stays out of the network");
    let answers = |house: &House| house.get(&web(house), "/").0 == 200;
    // The sandbox is restarted: its member is left in a network that is gone.
    docker(&["restart", &format!("{name}-web-0-1")]).exits(0);
    house.envctl(&["up"]).exits(0).says("web ✔");
    assert!(answers(&house));
    // A container is removed.
    docker(&["rm", "--force", &format!("{name}-web-0.web-1")]).exits(0);
    assert_eq!(house.envctl(&["status", "--json"]).json()["pods"][1]["ready"], false);
    house.envctl(&["up"]).exits(0).says("web ✔");
    assert!(answers(&house));
    // The gateway is removed.
    docker(&["rm", "--force", &format!("{name}-envctl-gateway-1")]).exits(0);
    house.envctl(&["up"]).exits(0);
    assert!(answers(&house));
    // The whole network.
    for container in container_ids(&house) {
        let id = container.split(' ').next().unwrap();
        docker(&["network", "disconnect", "--force", &name, id]);
    }
    docker(&["network", "disconnect", "--force", &name, &format!("{name}-envctl-gateway-1")]);
    docker(&["network", "rm", &name]).exits(0);
    house.envctl(&["up"]).exits(0);
    assert!(answers(&house));
}

#[test]
fn a_reader_that_goes_away_does_not_stop_an_up() {
    if !have(&NEEDS) {
        return;
    }
    let house = House::small("pipe");
    let script = format!("{} up | head -n 1", envctl().display());
    Ran::of(house.command("sh").args(["-c", &script])).exits(0).says("plan");
    // `head` ends first; the lock tells when `up` has.
    let lock = format!("envctl-lock-{}", house.environment());
    while Ran::of(std::process::Command::new("docker").args(["inspect", &lock])).code == 0 {}
    assert_eq!(house.envctl(&["status", "--json"]).exits(0).json()["phase"], "ready");
}

#[test]
fn rollback_never_removes_what_was_there_before() {
    if !have(&NEEDS) {
        return;
    }
    let house = House::small("keep");
    house.envctl(&["up"]).exits(0);
    house.envctl(&["up", "--rollback", "--set", "jobExit=4"]).exits(1).says("--rollback removes nothing");
    assert!(house.on_engine().iter().any(|thing| thing.contains("web-0")));
}

#[test]
fn a_compose_project_of_the_same_name_is_neither_adopted_nor_replaced() {
    if !have(&NEEDS) {
        return;
    }
    let house = House::small("foreign");
    let theirs = format!("{}-web-0.web-1", house.environment());
    let docker = |arguments: &[&str]| Ran::of(std::process::Command::new("docker").args(arguments));
    docker(&["create", "--name", &theirs, "debian:bookworm-slim", "true"]).exits(0);
    house.envctl(&["up"]).exits(3).says(&format!("container {theirs}")).says("--name");
    docker(&["rm", &theirs]).exits(0);
    assert_eq!(house.on_engine(), [""; 0]);
}

#[test]
fn a_changed_backing_service_is_made_anew_and_an_unchanged_one_is_not() {
    if !have(&NEEDS) {
        return;
    }
    let house = House::small("backing");
    let project = format!("{}bk", house.project);
    let file = house.src().join("backing.yaml");
    let write = |greeting: &str| {
        let text = format!(
            "name: {project}\nservices:\n  store:\n    image: debian:bookworm-slim\n    init: true\n    \
             command: [sleep, infinity]\n    environment: {{GREETING: {greeting}}}\n"
        );
        std::fs::write(&file, text).unwrap();
    };
    write("one");
    house.edit("envctl.yaml", |text| {
        text.replace("{kind: compose}", "{kind: compose, backing: backing.yaml}")
    });
    let container = format!("{project}-store-1");
    let id = || {
        let mut inspect = std::process::Command::new("docker");
        Ran::of(inspect.args(["inspect", "--format", "{{.Id}} {{.Config.Env}}", &container])).exits(0).stdout
    };
    house.envctl(&["up"]).exits(0).says("backing");
    let first = id();
    assert!(first.contains("GREETING=one"), "{first}");
    house.envctl(&["up"]).exits(0);
    assert_eq!(id(), first);
    write("two");
    house.envctl(&["up"]).exits(0);
    assert!(id().contains("GREETING=two"), "{}", id());
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
    assert_eq!(house.on_engine(), [""; 0]);
}
