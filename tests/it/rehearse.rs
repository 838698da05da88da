//! Cutover plans: written by `init --cutover`, told by `rehearse --explain`, refused with a caret.

use crate::support::House;

/// A house whose stack has a component of each kind.
fn house(what: &str) -> House {
    let house = House::small(what);
    house.edit("envctl.yaml", |text| {
        text.replace(
            "  web: {kind: service}",
            "  web: {kind: service}\n  mailer: {kind: worker}\n  batch: {kind: schedule}\n  admin: {kind: endpoint}",
        )
    });
    house
}

fn explain(house: &House, component: &str) -> crate::support::Ran {
    house.envctl(&["rehearse", &format!("rehearsal/{component}.yaml"), "--explain"])
}

#[test]
fn what_init_writes_for_every_kind_is_a_plan_that_can_be_told() {
    let house = house("templates");
    for (component, files, step) in [
        ("web", &["-old", "-requests"][..], "setWeight=100"),
        ("admin", &["-old", "-requests"], "switchName"),
        ("mailer", &["-old"], "handover=1"),
        ("batch", &["-old"], "armNew"),
    ] {
        let ran = house.envctl(&["init", "--cutover", component]).exits(0);
        for file in files {
            let wrote = format!("wrote rehearsal/{component}{file}.yaml: fill in ");
            assert!(ran.stdout.contains(&wrote), "{}", ran.stdout);
        }
        let command = format!("envctl rehearse rehearsal/{component}.yaml --explain");
        assert!(ran.stdout.contains(&command), "{}", ran.stdout);
        let told = explain(&house, component).exits(0).stdout;
        assert!(told.contains(step) && told.contains("not exercised"), "{told}");
        assert!(told.contains("target local is of kind compose, which makes this a draft"), "{told}");
    }
}

#[test]
fn init_overwrites_nothing() {
    let house = house("overwrite");
    std::fs::create_dir(house.src().join("rehearsal")).unwrap();
    std::fs::write(house.src().join("rehearsal/web-requests.yaml"), "mine").unwrap();
    house
        .envctl(&["init", "--cutover", "web"])
        .exits(2)
        .says("these files are there already: ")
        .says("rehearsal/web-requests.yaml")
        .says("nothing was written");
    assert_eq!(std::fs::read_dir(house.src().join("rehearsal")).unwrap().count(), 1);
}

#[test]
fn init_names_the_components_that_there_are() {
    house("component")
        .envctl(&["init", "--cutover", "api"])
        .exits(2)
        .says("the stack has no component `api`")
        .says("components of envctl.yaml: admin, batch, mailer, web");
}

#[test]
fn a_senseless_plan_is_refused_with_a_caret_and_advice() {
    let house = house("senseless");
    house.envctl(&["init", "--cutover", "mailer"]).exits(0);
    house.edit("rehearsal/mailer.yaml", |text| text.replace("- handover: 1", "- setWeight: 50"));
    explain(&house, "mailer")
        .exits(2)
        .says("step `setWeight` makes no sense for a worker")
        .says("rehearsal/mailer.yaml:29:5")
        .says("29 |   - setWeight: 50\n   |     ^^^^^^^^^")
        .says("for a worker use `handover: N`");
}

#[test]
fn a_file_or_a_service_that_is_not_there_is_pointed_at() {
    let house = house("missing");
    house.envctl(&["init", "--cutover", "web"]).exits(0);
    house.edit("rehearsal/web-old.yaml", |text| text.replace("  database:\n", "  databases:\n"));
    explain(&house, "web")
        .exits(2)
        .says("web-old.yaml has no service `database`")
        .says("shared: [database]")
        .says("did you mean `databases`?");
    std::fs::remove_file(house.src().join("rehearsal/web-requests.yaml")).unwrap();
    explain(&house, "web").exits(2).says("there is no file web-requests.yaml").says("relative to the plan");
    std::fs::remove_file(house.src().join("rehearsal/web.yaml")).unwrap();
    explain(&house, "web").exits(2).says("cannot read the cutover plan rehearsal/web.yaml");
}

#[test]
fn a_plan_outside_the_stack_is_refused() {
    let house = house("outside");
    let plan = house.dir().join("plan.yaml");
    std::fs::write(&plan, "").unwrap();
    house
        .envctl(&["rehearse", plan.to_str().unwrap(), "--explain"])
        .exits(2)
        .says("lies outside the directory of the stack file");
}
