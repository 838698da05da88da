//! The warden: restarts, CronJobs and rejoining, by the Engine's socket.

use envctl_model::finding::Severity;
use envctl_model::labels::{self as keys, Role};
use envctl_wire::{CONFIG_VARIABLE, ENGINE_SOCKET, WardenConfig};

use crate::compose::{BindOptions, File, Mount};
use crate::cursor::{Notes, Remark};
use crate::input::{Input, Warden};
use crate::labels;
use crate::names::hex_digest;
use crate::sandbox::{agent, health, json};

/// The Compose service of the warden.
pub const WARDEN: &str = "envctl-warden";

/// Adds the warden to the file; where there is none, says what that means.
pub(crate) fn add(input: &Input, file: &mut File, notes: &Notes) {
    let (socket, lock, expires) = match &input.warden {
        Warden::At { socket, lock, expires } => (socket, lock, *expires),
        Warden::Off(why) => {
            let message = format!("{why}: a pod whose sandbox is restarted stays out of the network");
            let remark = Remark::approximated(Severity::Minor, "no-warden", message)
                .fix("`envctl up` mends such pods; so does `envctl restart`");
            return notes
                .find(remark.at(format!("Namespace/{}", input.environment.namespace), String::new()));
        }
    };
    let config = WardenConfig {
        environment: input.environment.name.clone(),
        identity: input.environment.labels.get(keys::IDENTITY).cloned().unwrap_or_default(),
        lock: lock.clone(),
        expires,
    };
    let mut service = agent(input, "warden");
    service.environment.insert(CONFIG_VARIABLE.to_owned(), json(&config));
    // Nobody but the Engine talks to who may talk to it.
    service.network_mode = Some("none".to_owned());
    service.cap_drop = vec!["ALL".to_owned()];
    service.read_only = Some(true);
    service.security_opt = vec!["no-new-privileges:true".to_owned(), "label=disable".to_owned()];
    service.userns_mode = Some("host");
    service.volumes = vec![Mount::Bind {
        source: socket.clone(),
        target: ENGINE_SOCKET.to_owned(),
        read_only: false,
        bind: BindOptions { create_host_path: false, propagation: None },
    }];
    service.restart = Some("unless-stopped".to_owned());
    service.healthcheck = Some(health());
    let hash = hex_digest(service.to_value().to_string().as_bytes());
    service.labels = labels::role(input, Role::Warden, &hash);
    file.services.insert(WARDEN.to_owned(), service);
}
