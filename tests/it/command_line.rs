//! What the command line says without a Docker Engine.

use crate::support::{House, Ran, envctl, have};

#[test]
fn help_names_every_verb_and_the_exit_codes() {
    let house = House::new("cli");
    let help = house.envctl(&["--help"]).exits(0);
    for verb in [
        "up", "down", "plan", "list", "status", "logs", "exec", "render", "parity", "diff", "receipt",
        "config",
    ] {
        assert!(help.stdout.contains(&format!("\n  {verb} ")), "{verb}\n{}", help.stdout);
    }
    assert!(help.stdout.replace('\n', " ").contains("5 something is left"));
}

#[test]
fn a_misspelt_verb_is_usage_and_gets_a_suggestion() {
    House::new("cli").envctl(&["stauts"]).exits(2).says("'status'");
}

#[test]
fn settings_say_where_they_came_from() {
    let house = House::small("origin");
    std::fs::create_dir_all(house.home().join(".config/envctl")).unwrap();
    std::fs::write(house.home().join(".config/envctl/config.yaml"), "ttl: 2h\nrouterPort: 1\n").unwrap();
    let rows = house.envctl(&["config", "--json", "--name", "mine"]).exits(0).json();
    let origin = |setting: &str| {
        let row = rows.as_array().unwrap().iter().find(|r| r["setting"] == setting).unwrap();
        (row["value"].as_str().unwrap().to_owned(), row["origin"].as_str().unwrap().to_owned())
    };
    assert_eq!(origin("name"), ("mine".into(), "flag --name".into()));
    assert_eq!(origin("routerPort").1, "environment variable ENVCTL_ROUTER_PORT");
    let file = house.src().join("envctl.yaml").display().to_string();
    assert_eq!(origin("ttl"), ("1h".into(), file.clone()), "the project's file wins over the user's");
    assert_eq!(origin("target"), ("local".into(), file));
    house.edit("envctl.yaml", |text| text.replace(", ttl: 1h", ""));
    let text = house.envctl(&["config", "--show-origin"]).exits(0).stdout;
    let ttl = text.lines().find(|l| l.starts_with("ttl")).unwrap();
    assert!(ttl.contains("2h") && ttl.contains(".config/envctl/config.yaml"), "{ttl}");
}

#[test]
fn schemas_are_printed_for_all_that_has_json() {
    let house = House::new("schema");
    for of in
        ["stack", "cutover-plan", "event", "list", "status", "receipt", "parity", "evidence", "verification"]
    {
        assert!(house.envctl(&["schema", of]).exits(0).json()["$schema"].is_string(), "{of}");
    }
    let receipt = house.envctl(&["schema", "receipt"]).json();
    for list in ["gone", "kept", "retained", "unverified", "left"] {
        assert!(receipt["properties"][list].is_object(), "{list}");
    }
}

#[test]
fn codes_are_explained_and_manual_pages_written_without_a_stack() {
    let house = House::new("explain");
    house
        .envctl(&["parity", "--explain", "network-policy"])
        .exits(0)
        .says("network-policy: at most major")
        .says("here          It is not enforced");
    let told = house.envctl(&["parity", "--explain", "cron-job", "--json"]).exits(0).json();
    assert_eq!((told["code"].as_str(), told["severity"].as_str()), (Some("cron-job"), Some("major")));
    house.envctl(&["parity", "--explain", "network-polcy"]).exits(2).says("did you mean `network-policy`?");
    house.envctl(&["man", "pages"]).exits(0).says("pages/envctl.1");
    let page = std::fs::read_to_string(house.src().join("pages/envctl-parity.1")).unwrap();
    assert!(page.contains("exit with 4") || page.contains("Exit with 4"), "{page}");
    assert!(!house.src().join("pages/envctl-man.1").exists(), "what is hidden has no page");
}

#[test]
fn diff_tells_what_two_targets_or_two_sets_of_values_would_run_differently() {
    if !have(&["helm"]) {
        return;
    }
    let house = House::small("diff");
    let secret =
        "apiVersion: v1\nkind: Secret\nmetadata: {name: given}\nstringData: {key: '{{ .Values.key }}'}\n";
    std::fs::write(house.src().join("chart/templates/secret.yaml"), secret).unwrap();
    house.edit("chart/values.yaml", |text| text + "key: tellnobody\n");
    house.edit("envctl.yaml", |text| {
        let dev = "dev: {kind: eks, account: '333333333333', region: x, cluster: c, domain: dev.example.com, values: [dev.yaml]}";
        text.replace("{kind: compose}", &format!("{{kind: compose}}\n  {dev}"))
    });
    std::fs::write(house.src().join("dev.yaml"), "replicas: 3\nmessage: bye\nkey: everybody\n").unwrap();
    // There is no Engine, no cluster and nobody to sign in as.
    let diff = |arguments: &[&str]| {
        let mut command = house.command(envctl());
        Ran::of(command.arg("diff").args(arguments).env("DOCKER_HOST", "tcp://127.0.0.1:9"))
    };
    let ran = diff(&["local", "dev"]).exits(0);
    for line in ["replicas", "1 -> 3", "env web MESSAGE", "hello -> bye", "Secret/given\n  data key  differs"]
    {
        assert!(ran.stdout.contains(line), "{line}: {}", ran.stdout);
    }
    let hosts = format!("web.{0}.localhost -> web.{0}.dev.example.com", house.environment());
    assert!(ran.stdout.contains(&hosts), "{}", ran.stdout);
    assert!(!ran.stdout.contains("tellnobody") && !ran.stdout.contains("everybody"), "{}", ran.stdout);
    assert!(!ran.stdout.contains("PASSWORD"), "what is drawn at random is no difference: {}", ran.stdout);

    let report = diff(&["local", "--set", "probePath=/up", "--json"]).exits(0).json();
    let entries = report["groups"].as_array().unwrap().iter().flat_map(|g| g["entries"].as_array().unwrap());
    let entries: Vec<_> = entries.map(|e| (e["what"].clone(), e["a"].clone(), e["b"].clone())).collect();
    let path = "web readinessProbe.httpGet.path";
    assert_eq!(entries, [(path.into(), "/ready".into(), "/up".into())], "{report}");
    diff(&["local", "--values", "dev.yaml", "--exit-code"])
        .exits(4)
        .says("`local` and `local --values dev.yaml` would not run the same");
    diff(&["dev", "local", "--values-b", "dev.yaml", "--exit-code"]).says("host");
    diff(&["local", "local", "--set-a", "replicas=1", "--exit-code"]).exits(0).says("no differences");

    diff(&["local"]).exits(2).says("nothing to compare `local` with").says("--values FILE");
    diff(&["local", "prod"]).exits(2).says("there is no target `prod`; targets of this stack: dev, local");
    diff(&["local", "--values", "x.yaml"]).exits(2).says("there is no values file x.yaml");
}
