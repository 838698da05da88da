//! Faults of the world around: a daemon that dies, a disk that is full, a lock that is held, Ctrl-C.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::crashes::with_terraform;
use crate::support::disk::SmallDisk;
use crate::support::{House, Ran, envctl, have, root, skip};

/// A Docker socket that leads to the real one until it is cut: to its clients the daemon is dead.
struct Daemon {
    socket: PathBuf,
    cut: Arc<AtomicBool>,
}

impl Daemon {
    /// Cut as soon as a request has this in it.
    fn that_dies_at(dir: &Path, request: &'static str) -> Self {
        let socket = dir.join("docker.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let cut = Arc::new(AtomicBool::new(false));
        let flag = cut.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                let Ok(client) = client else { return };
                // Accepted and closed at once, as by a daemon that is going down.
                if flag.load(Ordering::SeqCst) {
                    continue;
                }
                let real = real_socket();
                let Ok(server) = UnixStream::connect(real) else { return };
                for (mut from, mut to, watch) in [
                    (client.try_clone().unwrap(), server.try_clone().unwrap(), true),
                    (server, client, false),
                ] {
                    let flag = flag.clone();
                    std::thread::spawn(move || {
                        let mut buffer = [0; 16 << 10];
                        while let Ok(n @ 1..) = from.read(&mut buffer) {
                            if watch && String::from_utf8_lossy(&buffer[..n]).contains(request) {
                                flag.store(true, Ordering::SeqCst);
                            }
                            if flag.load(Ordering::SeqCst) || to.write_all(&buffer[..n]).is_err() {
                                break;
                            }
                        }
                        let _ = from.shutdown(std::net::Shutdown::Both);
                        let _ = to.shutdown(std::net::Shutdown::Both);
                    });
                }
            }
        });
        Self { socket, cut }
    }
}

fn real_socket() -> String {
    let host = std::env::var("DOCKER_HOST").unwrap_or_default();
    host.strip_prefix("unix://").unwrap_or("/var/run/docker.sock").to_owned()
}

#[test]
fn docker_dies_during_up_and_the_same_command_finishes_later() {
    if !have(&["docker", "helm"]) {
        return;
    }
    if !Path::new(&real_socket()).exists() {
        skip("the Engine is not at a Unix socket");
        return;
    }
    for request in ["/networks/create", "/containers/create?name=t"] {
        let house = House::small("dies");
        let daemon = Daemon::that_dies_at(house.dir(), request);
        let mut command = house.command(envctl());
        command.env("DOCKER_HOST", format!("unix://{}", daemon.socket.display())).arg("up");
        let ran = Ran::of(&mut command).exits(1);
        assert!(daemon.cut.load(Ordering::SeqCst), "{request} was not made");
        assert!(ran.stdout.contains("docker") || ran.stderr.to_lowercase().contains("docker"), "{ran:?}");
        house.envctl(&["up"]).exits(0);
        house.envctl(&["down", "--yes"]).exits(0).says("0 left");
        assert_eq!(house.on_engine(), [""; 0], "{request}");
    }
}

#[test]
fn a_full_disk_is_named_and_with_room_the_same_command_goes_on() {
    if !have(&["docker", "helm"]) {
        return;
    }
    let house = House::small("full");
    let Some(disk) = SmallDisk::at(&house.state(), "64k") else { return };
    // All but 8 KiB is taken: the record fits, the rendered chart does not.
    std::fs::write(house.state().join("ballast"), vec![0; 48 << 10]).unwrap();
    house.envctl(&["up"]).exits(1).says("No space left on device").says("make room");
    std::fs::remove_file(house.state().join("ballast")).unwrap();
    house.envctl(&["up"]).exits(0);
    // Removing is what makes room: nothing of it waits for that.
    disk.fill();
    house.envctl(&["down", "--yes"]).exits(0).says("No space left on device").says("0 left");
    assert_eq!(house.on_engine(), [""; 0]);
    assert!(house.state().join(format!("receipts/{}.json", house.environment())).is_file());
}

#[test]
fn a_lock_of_somebody_else_is_explained_and_never_broken() {
    if !have(&["docker", "helm"]) {
        return;
    }
    let house = House::small("lock");
    let name = format!("envctl-lock-{}", house.environment());
    let holder = r#"{"pid":1,"started":"1","host":"elsewhere","boot":"another","user":"yui","since":"2026-01-01T00:00:00Z","command":"envctl up"}"#;
    let label = format!("dev.envctl.holder={holder}");
    let create = ["create", "--name", &name, "--label", &label, "debian:bookworm-slim", "true"];
    Ran::of(Command::new("docker").args(create)).exits(0);
    house.envctl(&["up"]).exits(3).says("is locked by").says("yui").says("elsewhere").says("docker rm");
    Ran::of(Command::new("docker").args(["rm", &name])).exits(0);
    house.envctl(&["up"]).exits(0);
}

#[test]
fn an_interrupt_lets_terraform_save_its_state_and_the_same_command_goes_on() {
    if !have(&["docker", "helm", "terraform"]) {
        return;
    }
    let house = with_terraform("ctrlc");
    let pipe = house.dir().join("begun");
    Ran::of(Command::new("mkfifo").arg(&pipe)).exits(0);
    // The provisioner says when it has begun, and then takes its time.
    house.edit("terraform/main.tf", |text| {
        text.replace(
            "command = \"mkdir",
            &format!("command = \"echo begun > {}; sleep 3; mkdir", pipe.display()),
        )
    });
    let mut command = house.command(envctl());
    let child = command.arg("up").stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    assert_eq!(std::fs::read_to_string(&pipe).unwrap(), "begun\n");
    Ran::of(Command::new("kill").args(["-INT", &child.id().to_string()])).exits(0);
    Ran::from(child.wait_with_output().unwrap()).exits(130).says("interrupted; the same command again");
    house.edit("terraform/main.tf", |text| {
        text.replace(&format!("echo begun > {}; sleep 3; ", pipe.display()), "")
    });
    house.envctl(&["up"]).exits(0);
    house.envctl(&["down", "--yes"]).exits(0).says("0 left");
    assert_eq!(house.on_engine(), [""; 0]);
}

#[test]
fn all_of_the_corpus_renders_to_what_compose_accepts() {
    let corpus =
        std::env::var_os("ENVCTL_CORPUS").map_or_else(|| root().join("../shared/corpus"), PathBuf::from);
    let Ok(entries) = std::fs::read_dir(&corpus) else {
        skip(format_args!("there is no corpus at {} (ENVCTL_CORPUS)", corpus.display()));
        return;
    };
    let house = House::new("corpus");
    let mut count = 0;
    for file in entries.map(|e| e.unwrap().path()) {
        let file = file.display().to_string();
        let compose = house.envctl(&["render", "--from-manifests", &file]).exits(0).json();
        assert!(compose["services"].is_object() || compose["services"].is_null(), "{file}");
        count += 1;
    }
    assert!(count > 0, "{}", corpus.display());
}
