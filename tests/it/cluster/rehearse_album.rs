//! The example's cutovers, rehearsed: its own program on machines and in pods, with a real database, queue and bucket
//! that both sides share. `make test-all` runs one; `make rehearse` runs more, and keeps what came of them.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::PoisonError;

use super::example::{Backing, platform};
use super::rehearse::place;
use crate::album::{ALONE, house};
use crate::support::cluster::Cluster;
use crate::support::{House, Ran, envctl, has_time_for, have, root};

/// The quickest.
const SAMPLE: &str = "admin";

/// Names of components, with blanks between them.
const WHICH: &str = "ENVCTL_REHEARSE";

/// A directory for reports and evidence.
const OUT: &str = "ENVCTL_REHEARSE_OUT";

fn text(variable: &str) -> Option<String> {
    std::env::var(variable).ok().filter(|text| !text.is_empty())
}

/// Runs `envctl` where the example is, and shows what it prints as it comes.
fn live(house: &House, arguments: &[&str]) -> Ran {
    let mut command = house.command(envctl());
    command.current_dir(house.src().join("examples/album")).args(arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let stderr = child.stderr.take().unwrap();
    let complaints = std::thread::spawn(move || std::io::read_to_string(stderr).unwrap());
    let mut stdout = String::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap) {
        eprintln!("{line}");
        stdout.push_str(&line);
        stdout.push('\n');
    }
    let (code, stderr) = (child.wait().unwrap().code().unwrap_or(-1), complaints.join().unwrap());
    eprint!("{stderr}");
    Ran { code, stdout, stderr }
}

/// The sandbox's name.
fn sandbox(stdout: &str) -> &str {
    let name = stdout.split_whitespace().find(|word| word.starts_with("rehearse-"));
    name.unwrap_or_else(|| panic!("no sandbox in: {stdout}"))
}

/// Rehearses one cutover: it succeeds, its evidence is accepted, and nothing is left. Else it says what is otherwise.
fn rehearse(house: &House, cluster: &Cluster, component: &str, out: &Path) -> Result<(), String> {
    std::fs::create_dir_all(out).unwrap();
    let (plan, out) = (format!("rehearsal/{component}.yaml"), out.display().to_string());
    eprintln!("\n$ envctl rehearse {plan}");
    let ran = live(house, &["rehearse", &plan, "--seed", "7", "--key", "key.pem", "--out", &out]);
    let well = ran.code == 0
        && ran.stdout.contains("verdict    SUCCESSFUL")
        && !ran.stdout.contains("not everything was seen");
    if !well {
        return Err(format!("{component}: exit code {}\n{}{}", ran.code, ran.stdout, ran.stderr));
    }
    let evidence = format!("{out}/rehearsal.intoto.jsonl");
    eprintln!("\n$ envctl evidence verify {evidence} --plan {plan}");
    let verified = live(house, &["evidence", "verify", &evidence, "--plan", &plan]);
    if verified.code != 0 {
        return Err(format!("{component}: its evidence is refused\n{}{}", verified.stdout, verified.stderr));
    }
    let name = sandbox(&ran.stdout);
    let mut docker = Command::new("docker");
    let containers = Ran::of(docker.args(["ps", "--all", "--format", "{{.Names}}"])).exits(0).stdout;
    if !cluster.object(&["namespace", name]).is_null() || containers.contains(name) {
        return Err(format!("{component}: {name} is still there\n{containers}"));
    }
    Ok(())
}

#[test]
fn the_cutovers_of_the_album_succeed() {
    if !have(&["docker", "helm", "terraform"])
        || (text(WHICH).is_none() && !has_time_for("the example's cutovers"))
    {
        return;
    }
    let Some(cluster) = &Cluster::own("shared-dev", &["--with", "albc"]) else { return };
    let _one_build = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let _place = place();
    let backing = Backing::start(&format!("t{}kcut", std::process::id() % 10_000));
    let mut house = house();
    let _repository = platform(cluster, &backing, &mut house);
    // Machines have keys that somebody gave them long ago.
    let keys = cluster.ctl(&["identity", "profile=machines"]);
    let key = |name: &str| keys[name].as_str().unwrap().to_owned();
    house.environment.extend([
        ("ALBUM_MACHINES_ACCESS_KEY_ID".to_owned(), key("accessKeyId")),
        ("ALBUM_MACHINES_SECRET_ACCESS_KEY".to_owned(), key("secretAccessKey")),
        ("ALBUM_MACHINES_AWS_ENDPOINT_URL".to_owned(), cluster.text("awsEndpointInside").to_owned()),
    ]);
    let signer = house.album(&["evidence", "keygen", "key.pem", "--signer", "aki"]).exits(0);
    std::fs::write(house.src().join("examples/album/rehearsal/signers"), &signer.stdout).unwrap();
    let out = text(OUT).map_or_else(|| house.dir().join("rehearsals"), |out| root().join(PathBuf::from(out)));
    let which = text(WHICH).unwrap_or_else(|| SAMPLE.to_owned());
    // One that fails does not keep the others from being rehearsed.
    let rehearsed = which.split_whitespace().map(|name| rehearse(&house, cluster, name, &out.join(name)));
    let failed: Vec<String> = rehearsed.filter_map(Result::err).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
