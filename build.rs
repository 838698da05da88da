//! Embeds the agent, for every architecture for which it has been built.
//!
//! `make build` builds the agent first. Without one envctl still builds (`cargo install`, editors),
//! and says at run time what is missing.

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Rust's word for an architecture, and Docker's.
const ARCHITECTURES: [(&str, &str); 2] = [("x86_64", "amd64"), ("aarch64", "arm64")];

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default());
    let agents = root.join("target").join("agent");
    println!("cargo::rerun-if-env-changed=ENVCTL_AGENT_BIN");
    println!("cargo::rerun-if-changed=build.rs");
    let mut list = String::new();
    for (rust, docker) in ARCHITECTURES {
        for libc in ["gnu", "musl"] {
            let built =
                agents.join(format!("{rust}-unknown-linux-{libc}")).join("release").join("envctl-agent");
            if built.is_file() {
                println!("cargo::rerun-if-changed={}", built.display());
                add(&mut list, docker, &built);
                break;
            }
        }
    }
    if list.is_empty() {
        // What is watched and does not exist makes cargo look again each time: until one is built.
        println!("cargo::rerun-if-changed={}", agents.display());
    }
    if let Some(given) = env::var_os("ENVCTL_AGENT_BIN") {
        let here = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_default();
        if let Some((_, docker)) = ARCHITECTURES.iter().find(|(rust, _)| *rust == here) {
            list.clear();
            add(&mut list, docker, Path::new(&given));
        }
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").unwrap_or_default()).join("agents.rs");
    if let Err(error) = fs::write(&out, format!("&[{list}]")) {
        println!("cargo::error=cannot write {}: {error}", out.display());
    }
}

fn add(list: &mut String, architecture: &str, file: &Path) {
    let _ = write!(list, "({architecture:?}, include_bytes!({:?}) as &[u8]),", file.display().to_string());
}
