//! What containers of a run are made of: their template, as the Engine tells it, under other names. Pure.

use std::collections::HashMap;

use envctl_wire::labels::{self, Role};
use serde_json::{Map, Value, json};

/// Compose takes whatever carries its labels for its own.
const OF_COMPOSE: &str = "com.docker.compose.";

/// One pod of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Naming {
    /// The run: `digest-29345671`.
    pub(super) run: String,
    /// When it was due, seconds since 1970.
    pub(super) due: i64,
    /// The pod of the template.
    pub(super) template: String,
    /// The pod of the run.
    pub(super) pod: String,
}

/// A host name is no longer.
const LABEL_MAX: usize = 63;

impl Naming {
    /// For a pod of a template. The name of a run is the one that a Job of a cluster's CronJob has: the minute it was due.
    pub(super) fn new(cron_job: &str, due: i64, template: &str) -> Self {
        let minutes = due / 60;
        let (base, ordinal) = template.rsplit_once('-').unwrap_or((template, "0"));
        let suffix = format!("-{minutes}-{ordinal}");
        let base: String = base.chars().take(LABEL_MAX - suffix.len().min(LABEL_MAX)).collect();
        Self {
            run: format!("{cron_job}-{minutes}"),
            due,
            template: template.to_owned(),
            pod: format!("{}{suffix}", base.trim_end_matches('-')),
        }
    }

    /// The run's name for something of the template's.
    pub(super) fn rename(&self, name: &str) -> String {
        name.replacen(&self.template, &self.pod, 1)
    }

    /// The run's labels for those of something of the template's.
    pub(super) fn labels(&self, of_template: &Value) -> Value {
        let kept = of_template.as_object().into_iter().flatten();
        let kept = kept.filter(|(key, _)| !key.starts_with(OF_COMPOSE) && *key != labels::SCHEDULE);
        let mut all: Map<String, Value> = kept.map(|(key, value)| (key.clone(), value.clone())).collect();
        if all.contains_key(labels::POD) {
            all.insert(labels::POD.to_owned(), self.pod.clone().into());
        }
        all.insert(labels::ONE_OFF.to_owned(), self.run.clone().into());
        all.insert(labels::DUE.to_owned(), self.due.to_string().into());
        all.into()
    }
}

/// What has been made of the template so far.
#[derive(Debug, Default)]
pub(super) struct Made {
    /// Containers: the template's id to the run's.
    pub(super) containers: HashMap<String, String>,
    /// Volumes: the template's name to the run's.
    pub(super) volumes: HashMap<String, String>,
}

/// The volumes that a container mounts, by name.
pub(super) fn volumes(inspected: &Value) -> Vec<String> {
    let host = &inspected["HostConfig"];
    let binds = host["Binds"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let binds = binds.filter_map(|bind| bind.split(':').next()).filter(|source| !source.starts_with('/'));
    let mounts = host["Mounts"].as_array().into_iter().flatten();
    let mounts =
        mounts.filter(|mount| mount["Type"] == "volume").filter_map(|mount| mount["Source"].as_str());
    binds.chain(mounts).map(str::to_owned).collect()
}

/// The body of the request that makes a container. `at_address`: the sandbox gets the template's address, which belongs to
/// one run at a time.
pub(super) fn body(inspected: &Value, role: Role, naming: &Naming, made: &Made, at_address: bool) -> Value {
    let mut body = inspected["Config"].clone();
    body["Labels"] = naming.labels(&inspected["Config"]["Labels"]);
    if let Some(env) = body["Env"].as_array_mut() {
        for variable in env {
            let is_name =
                |text: &str| text.split_once('=').is_some_and(|(_, value)| value == naming.template);
            if let Some(text) = variable.as_str().filter(|text| is_name(text)) {
                *variable = naming.rename(text).into();
            }
        }
    }
    let mut host = inspected["HostConfig"].clone();
    for mode in ["NetworkMode", "IpcMode", "PidMode"] {
        let other = host[mode].as_str().and_then(|mode| mode.strip_prefix("container:"));
        if let Some(made) = other.and_then(|id| made.containers.get(id)) {
            host[mode] = format!("container:{made}").into();
        }
    }
    for bind in host["Binds"].as_array_mut().into_iter().flatten() {
        let renamed = bind.as_str().and_then(|text| {
            let (source, rest) = text.split_once(':')?;
            Some(format!("{}:{rest}", made.volumes.get(source)?))
        });
        if let Some(renamed) = renamed {
            *bind = renamed.into();
        }
    }
    for mount in host["Mounts"].as_array_mut().into_iter().flatten() {
        if let Some(renamed) = mount["Source"].as_str().and_then(|source| made.volumes.get(source)) {
            mount["Source"] = renamed.clone().into();
        }
    }
    body["HostConfig"] = host;
    let fields = body.as_object_mut();
    if role == Role::Sandbox {
        if body["Hostname"].as_str() == Some(&naming.template) {
            body["Hostname"] = naming.pod.clone().into();
        }
        let networks = inspected["NetworkSettings"]["Networks"].as_object().into_iter().flatten();
        let endpoints: Map<String, Value> = networks
            .map(|(name, endpoint)| {
                let address = if at_address { endpoint["IPAMConfig"].clone() } else { Value::Null };
                (name.clone(), json!({"IPAMConfig": address}))
            })
            .collect();
        body["NetworkingConfig"] = json!({"EndpointsConfig": endpoints});
    } else if let Some(fields) = fields {
        // They are the sandbox's, or the image's: the Engine says both again, and then refuses them.
        for field in ["Hostname", "Domainname", "ExposedPorts", "MacAddress"] {
            fields.remove(field);
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    fn naming() -> Naming {
        Naming::new("digest", 29_345_671 * 60, "digest-0")
    }

    fn template() -> Value {
        json!({
            "Id": "member",
            "Config": {
                "Hostname": "0123456789ab", "Domainname": "", "ExposedPorts": {"80/tcp": {}}, "Image": "a:1",
                "Env": ["POD_NAME=digest-0", "URL=http://digest-0/"],
                "Labels": {
                    "dev.envctl.pod": "digest-0", "dev.envctl.identity": "i", "dev.envctl.schedule": "{}",
                    "com.docker.compose.service": "digest-0.digest",
                },
            },
            "HostConfig": {
                "NetworkMode": "container:sandbox", "IpcMode": "container:sandbox", "PidMode": "",
                "Binds": ["shop_digest-0.tmp:/tmp:rw,nocopy", "shop_claim.data:/data:rw", "/host:/host:ro"],
                "Mounts": [{"Type": "volume", "Source": "shop_digest-0.etc", "Target": "/etc/x"}],
            },
            "NetworkSettings": {"Networks": {}},
        })
    }

    #[test]
    fn a_member_is_its_template_in_the_runs_sandbox() {
        let made = Made {
            containers: HashMap::from([("sandbox".to_owned(), "new".to_owned())]),
            volumes: ["tmp", "etc"]
                .map(|name| {
                    (format!("shop_digest-0.{name}"), naming().rename(&format!("shop_digest-0.{name}")))
                })
                .into(),
        };
        let body = body(&template(), Role::Container, &naming(), &made, true);
        assert_eq!(
            body,
            json!({
                "Image": "a:1",
                "Env": ["POD_NAME=digest-29345671-0", "URL=http://digest-0/"],
                "Labels": {
                    "dev.envctl.pod": "digest-29345671-0", "dev.envctl.identity": "i",
                    "dev.envctl.one-off": "digest-29345671", "dev.envctl.due": "1760740260",
                },
                "HostConfig": {
                    "NetworkMode": "container:new", "IpcMode": "container:new", "PidMode": "",
                    "Binds": ["shop_digest-29345671-0.tmp:/tmp:rw,nocopy", "shop_claim.data:/data:rw", "/host:/host:ro"],
                    "Mounts": [{"Type": "volume", "Source": "shop_digest-29345671-0.etc", "Target": "/etc/x"}],
                },
            })
        );
        assert_eq!(volumes(&template()), ["shop_digest-0.tmp", "shop_claim.data", "shop_digest-0.etc"]);
    }

    #[test]
    fn a_sandbox_has_the_templates_address_or_any() {
        let mut sandbox = template();
        sandbox["Config"]["Hostname"] = "digest-0".into();
        sandbox["NetworkSettings"]["Networks"] =
            json!({"shop": {"IPAMConfig": {"IPv4Address": "10.64.0.9"}, "Aliases": ["digest-0"]}});
        let of = |at_address| body(&sandbox, Role::Sandbox, &naming(), &Made::default(), at_address);
        assert_eq!(of(true)["Hostname"], "digest-29345671-0");
        let config = |address: Value| json!({"EndpointsConfig": {"shop": {"IPAMConfig": address}}});
        assert_eq!(of(true)["NetworkingConfig"], config(json!({"IPv4Address": "10.64.0.9"})));
        assert_eq!(of(false)["NetworkingConfig"], config(Value::Null));
    }

    #[test]
    fn names_fit() {
        let long = Naming::new("x", 29_345_671 * 60, &format!("{}-12", "a".repeat(60)));
        assert_eq!((long.pod.len(), long.pod.ends_with("-29345671-12")), (63, true));
    }
}
