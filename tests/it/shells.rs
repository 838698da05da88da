//! The function `env` in real shells.

use crate::support::{House, Ran, envctl, skip};

fn shell(program: &str, arguments: &[&str], script: &str) -> Option<Ran> {
    let house = House::new("shell");
    let bin = house.dir().join("bin");
    std::fs::create_dir(&bin).unwrap();
    std::os::unix::fs::symlink(envctl(), bin.join("envctl")).unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let mut command = house.command(program);
    command.env("PATH", path).args(arguments).arg("-c").arg(script);
    match command.output() {
        Ok(output) => Some(Ran::from(output)),
        Err(_) => {
            skip(format_args!("{program} is not installed"));
            None
        }
    }
}

fn checks(program: &str, arguments: &[&str], init: &str) {
    // Ours for our verbs.
    if let Some(ran) = shell(program, arguments, &format!("{init}; env list")) {
        ran.exits(0).says("there are no environments");
    }
    // The real one for everything else: variables, flags, no arguments at all, and its exit code.
    if let Some(ran) = shell(program, arguments, &format!("{init}; env FOO=1 sh -c 'echo foo is $FOO'")) {
        ran.exits(0).says("foo is 1");
    }
    if let Some(ran) = shell(program, arguments, &format!("{init}; env -i sh -c 'echo empty; exit 7'")) {
        ran.exits(7).says("empty");
    }
    if let Some(ran) = shell(program, arguments, &format!("{init}; env")) {
        ran.exits(0).says("ENVCTL_USER=aki");
    }
}

#[test]
fn bash() {
    checks("bash", &["--norc"], "eval \"$(envctl shell-init bash)\"");
    checks("bash", &["--norc", "-eu"], "eval \"$(envctl shell-init bash)\"");
}

#[test]
fn zsh() {
    checks("zsh", &["-f"], "eval \"$(envctl shell-init zsh)\"");
}

#[test]
fn fish() {
    checks("fish", &["--no-config"], "envctl shell-init fish | source");
}

#[test]
fn completions_are_accepted_by_the_shell() {
    if let Some(ran) = shell("bash", &["--norc"], "source <(envctl completions bash) && complete -p envctl") {
        ran.exits(0).says("envctl");
    }
    if let Some(ran) =
        shell("fish", &["--no-config"], "envctl completions fish | source; complete -C 'envctl re'")
    {
        ran.exits(0).says("receipt");
    }
}
