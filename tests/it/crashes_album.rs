//! SIGKILL anywhere on the way of the example up or down, with its real database and queue.

use std::process::Command;
use std::sync::PoisonError;

use crate::album::{ALONE, house, upload_to_thumbnail};
use crate::support::{House, Ran, envctl, have, todays};

const UP: [&str; 12] = [
    "network@after-effect",
    "router@after-intent",
    "image/app@after-intent",
    "image/app@built",
    "terraform/workspace@after-effect",
    "terraform/apply@after-intent",
    "terraform/apply@applied",
    "terraform/apply@after-outcome",
    "helm/render@after-effect",
    "compose/translate@after-effect",
    "compose/deliver@composing",
    "compose/deliver@after-effect",
];

/// A database of the environment's name that somebody else made: `up` says so, and leaves it alone.
fn a_foreign_database_is_not_taken_over(house: &House) {
    let mysql = format!("{}bk-mysql-1", house.project);
    let name = house.environment();
    let sql = |statement: String| {
        let client = ["exec", &mysql, "mariadb", "-N", "-e", &statement];
        Ran::of(Command::new("docker").args(client)).exits(0)
    };
    sql(format!("create database `{name}`"));
    house.album(&["up"]).exits(1).says(&format!("database {name} exists and is not this environment's"));
    house.album(&["down", "--yes"]).exits(0);
    sql("show databases".to_owned()).says(&name);
    sql(format!("drop database `{name}`"));
}

const DOWN: [&str; 4] = [
    "pods@after-effect",
    "terraform/destroy@after-intent",
    "terraform/destroy@destroyed",
    "terraform/workspace@after-effect",
];

#[test]
fn the_album_killed_anywhere_on_its_way_up_or_down_converges() {
    if !have(&["docker", "helm", "terraform", "curl"]) {
        return;
    }
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let house = house();
    let killed = |place: &str, arguments: &[&str]| {
        let mut command = house.command(envctl());
        command.current_dir(house.src().join("examples/album")).env("ENVCTL_FAILPOINT", place);
        let ran = Ran::of(command.args(arguments));
        assert_eq!(ran.code, -1, "{place} was not reached\n{}\n{}", ran.stdout, ran.stderr);
    };
    let gone = |place: &str| {
        let down = house.album(&["down", "--yes"]).exits(0);
        assert!(
            down.stdout.contains("0 left") && !down.stdout.contains("unverified"),
            "{place}\n{}",
            down.stdout
        );
    };
    // Another environment keeps the backing services up, and must come to no harm.
    let other = format!("{}-yui", house.project);
    house.album(&["up", "--name", &other]).exits(0);
    a_foreign_database_is_not_taken_over(&house);
    for (at, place) in todays("places to die at on the way up", UP.to_vec()).into_iter().enumerate() {
        killed(place, &["up"]);
        if at % 3 == 0 {
            house.album(&["up"]).exits(0);
            upload_to_thumbnail(&house);
        }
        gone(place);
    }
    for place in todays("places to die at on the way down", DOWN.to_vec()) {
        house.album(&["up"]).exits(0);
        killed(place, &["down", "--yes"]);
        gone(place);
    }
    let mine = house.environment();
    assert!(house.on_engine().iter().all(|thing| !thing.contains(&mine)), "{:?}", house.on_engine());
    house.album(&["down", "--yes", "--name", &other]).exits(0).says("0 left");
    assert_eq!(house.on_engine(), [""; 0]);
}
