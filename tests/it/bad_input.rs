//! Bad input: what, where, and what to do. Nothing is created.

use crate::support::{House, Ran, have};

#[track_caller]
fn up(house: &House, arguments: &[&str]) -> Ran {
    let mut all = vec!["up"];
    all.extend(arguments);
    house.envctl(&all)
}

#[test]
fn no_stack_file() {
    House::new("none").envctl(&["up"]).exits(2).says("there is no envctl.yaml in").says("--stack FILE");
}

#[test]
fn an_unknown_key_gets_its_line_a_caret_and_a_suggestion() {
    let house = House::small("key");
    house.edit("envctl.yaml", |text| text.replace("chart: {path: chart}", "chart: {pth: chart}"));
    up(&house, &[])
        .exits(2)
        .says("unknown key `pth`")
        .says("envctl.yaml:4:9")
        .says("4 | chart: {pth: chart}\n  |         ^^^")
        .says("did you mean `path`?");
}

#[test]
fn broken_yaml_points_at_its_line() {
    let house = House::small("yaml");
    house.edit("envctl.yaml", |text| text.replace("components:", "components: ]"));
    up(&house, &[]).exits(2).says("envctl.yaml:7:");
}

#[test]
fn a_missing_values_file_is_pointed_at() {
    let house = House::small("values");
    house.edit("envctl.yaml", |text| {
        text.replace("chart: {path: chart}", "chart: {path: chart, values: [prod.yaml]}")
    });
    up(&house, &[])
        .exits(2)
        .says("there is no values file prod.yaml")
        .says("envctl.yaml:4:")
        .says("paths are relative to");
}

#[test]
fn a_missing_chart_is_pointed_at() {
    let house = House::small("chart");
    house.edit("envctl.yaml", |text| text.replace("path: chart", "path: charts"));
    up(&house, &[]).exits(2).says("there is no chart in charts").says("envctl.yaml:4:");
}

#[test]
fn an_unknown_target_is_named_with_those_that_exist() {
    let house = House::small("target");
    up(&house, &["--target", "prod"])
        .exits(2)
        .says("there is no target `prod` (flag --target)")
        .says("local");
    for verb in ["list", "gc"] {
        house.envctl(&[verb, "--target", "dve"]).exits(2).says("there is no target `dve`");
    }
}

#[test]
fn an_unknown_component_is_named_with_those_that_exist() {
    up(&House::small("only"), &["--only", "web,shop"])
        .exits(2)
        .says("--only shop: the stack has no component `shop`; its components: web");
}

#[test]
fn live_source_that_is_not_there_is_pointed_at() {
    let house = House::small("live");
    house.edit("envctl.yaml", |text| {
        text.replace("{kind: compose}", "{kind: compose, dev: {web: {mounts: ['./app:/srv/app']}}}")
    });
    up(&house, &["--dev"])
        .exits(2)
        .says("./app cannot be mounted: No such file or directory")
        .says("envctl.yaml:10:47")
        .says("paths are relative to");
}

#[test]
fn a_wrong_time_to_live_says_what_is_accepted() {
    up(&House::small("ttl"), &["--ttl", "soon"]).exits(2).says("`soon` is not a time to live").says("`24h`");
}

#[test]
fn a_name_with_nothing_readable_is_refused() {
    up(&House::small("name"), &["--name", "///"]).exits(2).says("`///` cannot name an environment");
}

#[test]
fn a_protected_name_is_refused_by_its_rule() {
    let house = House::small("protected");
    house.edit("envctl.yaml", |text| text + "protected: {namespaces: [prod-*]}\n");
    up(&house, &["--name", "prod-eu"]).exits(3).says("`prod-eu` is protected by the rule `prod-*`");
}

#[test]
fn a_stack_that_requires_another_version_says_so() {
    let house = House::small("requires");
    house.edit("envctl.yaml", |text| text + "requires: '>=99'\n");
    up(&house, &[]).exits(2).says("requires envctl >=99").says("'>=99'");
}

#[test]
fn what_is_of_the_other_kind_of_target_says_so() {
    let house = House::small("kinds");
    house.edit("envctl.yaml", |text| {
        text.replace(
            "local: {kind: compose}",
            "local: {kind: compose}\n  dev: {kind: eks, account: '333333333333', region: ap-northeast-1, cluster: c}",
        )
    });
    house.envctl(&["parity", "--target", "dev"]).exits(2).says("name a target of kind `compose`");
    house.envctl(&["up", "--dev", "--target", "dev"]).exits(2).says("target `dev` is a cluster");
    house.envctl(&["up", "--dev"]).exits(2).says("target `local` has none").says("dev: {web: {mounts:");
    house.envctl(&["render", "--target", "dev"]).exits(2).says("--format objects --target dev");
    house.envctl(&["whoami"]).exits(2).says("name a target of kind `eks`");
}

#[test]
fn a_cluster_that_nobody_named_does_not_keep_list_from_listing() {
    let house = House::small("noaws");
    let target = "dev: {kind: eks, account: '333333333333', region: ap-northeast-1, cluster: shared, aws: {profile: nobody}}";
    house.edit("envctl.yaml", |text| {
        text.replace("local: {kind: compose}", &format!("local: {{kind: compose}}\n  {target}"))
    });
    for verb in ["list", "gc"] {
        house.envctl(&[verb]).exits(0).says("cluster shared was not asked: ").says("profile nobody");
        house.envctl(&[verb, "--target", "dev"]).exits(3).says("profile nobody");
    }
}

#[test]
fn no_docker_says_what_to_do() {
    let house = House::small("nodocker");
    let mut command = house.command(crate::support::envctl());
    command.env("DOCKER_HOST", "unix:///nonexistent/docker.sock").arg("up");
    let ran = Ran::of(&mut command).exits(1).says("/nonexistent/docker.sock");
    assert!(ran.stderr.to_lowercase().contains("docker"), "{}", ran.stderr);
    assert!(!house.state().join("environments").exists(), "nothing half-created");
}

#[test]
fn an_unknown_fact_is_pointed_at_with_the_list() {
    if !have(&["docker", "helm"]) {
        return;
    }
    let house = House::small("fact");
    house.edit("envctl.yaml", |text| text.replace("host.web", "hots.web"));
    up(&house, &[]).exits(2).says("there is no fact `hots.web`").says("envctl.yaml:6:").says("env.name");
}

#[test]
fn errors_of_helm_are_passed_through_whole() {
    if !have(&["docker", "helm"]) {
        return;
    }
    let house = House::small("template");
    house.edit("chart/templates/web.yaml", |text| {
        text.replace("{{ .Values.message | quote }}", "{{ .Values.message | qoute }}")
    });
    up(&house, &[]).exits(2).says("function \"qoute\" not defined").says("web.yaml:");
    assert_eq!(house.on_engine(), [""; 0]);
}

#[test]
fn a_missing_configmap_is_found_before_anything_is_created() {
    if !have(&["docker", "helm"]) {
        return;
    }
    let house = House::small("configmap");
    house.edit("chart/templates/web.yaml", |text| {
        text.replace("configMapKeyRef: {name: web,", "configMapKeyRef: {name: wbe,")
    });
    up(&house, &[]).exits(2).says("wbe").says("Deployment/web");
    assert_eq!(house.on_engine(), [""; 0]);
}

#[test]
fn down_of_what_does_not_exist_says_so() {
    if !have(&["docker"]) {
        return;
    }
    let house = House::new("absent");
    house.envctl(&["down", "--yes", "--name", "nobody"]).exits(0).says("there is no environment `nobody`");
}

#[test]
fn down_asks_and_where_nobody_can_answer_it_wants_yes() {
    House::small("ask").envctl(&["down"]).exits(2).says("say --yes");
}

#[test]
fn a_record_of_a_newer_version_is_refused() {
    let house = House::small("newer");
    let home = house.state().join("environments").join(house.environment());
    std::fs::create_dir_all(&home).unwrap();
    std::fs::write(home.join("record.json"), r#"{"version": 99, "shape": "unknown"}"#).unwrap();
    for verb in [&["up"][..], &["down", "--yes"], &["status"], &["list"]] {
        house.envctl(verb).exits(1).says("format 99").says("newer envctl");
    }
    std::fs::remove_dir_all(home).unwrap();
}

#[test]
fn a_state_directory_that_cannot_be_written_is_named() {
    if !have(&["docker", "helm"]) {
        return;
    }
    let house = House::small("readonly");
    // Root may write anywhere by mode; nobody can make a directory below a file.
    std::fs::remove_dir(house.state()).unwrap();
    std::fs::write(house.state(), "").unwrap();
    house.envctl(&["up"]).exits(1).says("of the state directory").says("ENVCTL_STATE_DIR");
    assert_eq!(house.on_engine(), [""; 0], "the lock was given back");
    std::fs::remove_file(house.state()).unwrap();
}

#[test]
fn a_missing_program_says_how_to_get_it_before_anything_is_created() {
    if !have(&["docker", "helm"]) {
        return;
    }
    let house = House::small("program");
    let up_without = |variable: &str| {
        let mut command = house.command(crate::support::envctl());
        Ran::of(command.env(variable, "/nonexistent/program").arg("up"))
    };
    up_without("ENVCTL_HELM").exits(1).says("not installed or not on PATH").says("helm.sh");
    up_without("ENVCTL_COMPOSE").exits(1).says("docker compose is not installed").says("docs.docker.com");
    std::fs::create_dir(house.src().join("tf")).unwrap();
    house.edit("envctl.yaml", |text| {
        text.replace("{kind: compose}", "{kind: compose, terraform: {path: tf}}")
    });
    up_without("ENVCTL_TERRAFORM").exits(1).says("not installed or not on PATH").says("terraform/install");
    assert_eq!(house.on_engine(), [""; 0]);
    assert!(!house.state().join("environments").exists());
}
