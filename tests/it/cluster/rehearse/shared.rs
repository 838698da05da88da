//! What both sides of a rehearsal share, on this machine: a queue, and a small database.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::components::SHARED;
use crate::support::cluster::Cluster;
use crate::support::root;

/// It ends with this.
pub(in crate::cluster) struct Shared {
    child: Child,
    /// As machines and commands reach it.
    here: String,
    /// As pods do.
    for_pods: String,
}

impl Shared {
    /// Starts it, where the pods of a cluster reach it, or those on the Engine. `visibility` of `how` is the queue's time-out, in seconds.
    pub(in crate::cluster) fn start(cluster: Option<&Cluster>, how: &Value) -> Self {
        let mut python = Command::new("python3");
        python.arg(root().join("tests/support/shared.py")).arg(how["visibility"].to_string());
        let mut child = python.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut here = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut here).unwrap();
        let here = here.trim().to_owned();
        let for_pods = cluster.map(|cluster| {
            let forward = cluster.ctl(&["forward", &format!("to={here}")]);
            forward["address"].as_str().unwrap().to_owned()
        });
        Self { child, for_pods: for_pods.unwrap_or_else(|| here.clone()), here }
    }

    /// Its address, as machines and commands reach it.
    pub(in crate::cluster) fn address(&self) -> &str {
        &self.here
    }

    /// With its address, as machines and commands reach it.
    pub(in crate::cluster) fn known_here(&self, to: &Value) -> Value {
        filled(to, &self.here)
    }

    /// With its address, as pods reach it.
    pub(in crate::cluster) fn known_to_pods(&self, to: &Value) -> Value {
        filled(to, &self.for_pods)
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn filled(value: &Value, address: &str) -> Value {
    serde_json::from_str(&value.to_string().replace(SHARED, address)).unwrap()
}
