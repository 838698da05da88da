//! What the command line says without a Docker Engine.

use crate::support::House;

#[test]
fn help_names_every_verb_and_the_exit_codes() {
    let house = House::new("cli");
    let help = house.envctl(&["--help"]).exits(0);
    for verb in
        ["up", "down", "plan", "list", "status", "logs", "exec", "render", "parity", "receipt", "config"]
    {
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
