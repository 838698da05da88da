//! What machines are made of, and how they are configured.

use std::collections::BTreeMap;

use bollard::exec::{CreateExecOptions, StartExecOptions, StartExecResults};
use envctl_model::settings::Salt;
use futures_util::TryStreamExt as _;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Machine, Machines, MachinesError};
use crate::digest::sha256;
use crate::engine::EngineError;

/// Lists a Debian's packages with their versions.
const PACKAGES: [&str; 4] = ["dpkg-query", "-W", "-f", "${binary:Package} ${Version}\\n"];
/// Says of an image which revision of the code it has.
/// <https://github.com/opencontainers/image-spec/blob/main/annotations.md>
const REVISION: &str = "org.opencontainers.image.revision";

/// What a machine is made of. A real one has no image whose digest would say it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fingerprint {
    /// SHA-256 of the list of packages; none where there is no dpkg.
    pub packages: Option<String>,
    /// The revision of the code, where the image says one; else SHA-256 of what the image is made of.
    pub code: String,
}

impl Fingerprint {
    /// One text for both, as hexadecimal text.
    #[must_use]
    pub fn digest(&self) -> String {
        sha256(json!([self.packages, self.code]).to_string().as_bytes())
    }
}

impl Machines {
    /// What the machines are made of: all that run are looked at, and have to be alike.
    ///
    /// # Errors
    /// When they are not alike, or none runs; when the Engine does not answer.
    pub async fn fingerprint(&self) -> Result<Fingerprint, MachinesError> {
        let mut first: Option<(String, Fingerprint)> = None;
        for machine in self.list().await?.into_iter().filter(|machine| machine.is_running) {
            let found = self.fingerprint_of(&machine).await?;
            match &first {
                None => first = Some((machine.instance, found)),
                Some((_, known)) if *known == found => {}
                Some((name, known)) => {
                    return Err(MachinesError::Unlike {
                        service: self.service.clone(),
                        first: name.clone(),
                        second: machine.instance,
                        what: if known.code == found.code { "packages" } else { "code" },
                    });
                }
            }
        }
        match first {
            Some((_, found)) => Ok(found),
            None => Err(MachinesError::NoMachine { instance: self.service.clone(), there: Vec::new() }),
        }
    }

    /// For each setting in a machine's environment a digest of its value: the values go nowhere.
    ///
    /// # Errors
    /// When there is no such machine, or the Engine does not answer.
    pub async fn settings(
        &self,
        instance: &str,
        salt: &Salt,
    ) -> Result<BTreeMap<String, String>, MachinesError> {
        let machine = self.machine(instance).await?;
        let inspected = self.engine.docker().inspect_container(&machine.id, None).await;
        let inspected = inspected.map_err(self.engine.failed(&format!("looking at {instance}")))?;
        let variables = inspected.config.and_then(|config| config.env).unwrap_or_default();
        Ok(salt.digests(variables.iter().map(String::as_bytes)))
    }

    async fn fingerprint_of(&self, machine: &Machine) -> Result<Fingerprint, EngineError> {
        let packages = self.packages(machine).await?.map(|list| sha256(&list));
        let docker = self.engine.docker();
        let failed = self.engine.failed(&format!("looking at {}", machine.instance));
        let image =
            docker.inspect_container(&machine.id, None).await.map_err(&failed)?.image.unwrap_or_default();
        let image = docker.inspect_image(&image).await.map_err(&failed)?;
        let config = image.config.unwrap_or_default();
        let revision = config.labels.and_then(|mut labels| labels.remove(REVISION));
        // Not the image's id: Compose writes the name of the project into it.
        let layers = image.root_fs.and_then(|root| root.layers);
        let content =
            json!([layers, config.env, config.entrypoint, config.cmd, config.user, config.working_dir]);
        let code = revision.unwrap_or_else(|| sha256(content.to_string().as_bytes()));
        Ok(Fingerprint { packages, code })
    }

    /// The list of packages; none where the machine has no dpkg.
    async fn packages(&self, machine: &Machine) -> Result<Option<Vec<u8>>, EngineError> {
        let docker = self.engine.docker();
        let failed = self.engine.failed(&format!("listing the packages of {}", machine.instance));
        let options = CreateExecOptions {
            attach_stdout: Some(true),
            cmd: Some(PACKAGES.to_vec()),
            ..CreateExecOptions::default()
        };
        let exec = docker.create_exec(&machine.id, options).await.map_err(&failed)?.id;
        let mut list = Vec::new();
        // Where there is no such program some Engines refuse to start it, and others say it with its exit code.
        match docker.start_exec(&exec, None::<StartExecOptions>).await.map_err(&failed) {
            Ok(StartExecResults::Attached { mut output, .. }) => {
                while let Some(chunk) = output.try_next().await.map_err(&failed)? {
                    list.extend_from_slice(&chunk.into_bytes());
                }
            }
            Ok(StartExecResults::Detached) => {}
            Err(EngineError::Refused { status: 400 | 500, .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
        let ended = docker.inspect_exec(&exec).await.map_err(&failed)?;
        Ok((ended.exit_code == Some(0)).then_some(list))
    }
}
