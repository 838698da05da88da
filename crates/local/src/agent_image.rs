//! The agent's image, made in memory and loaded into the Engine: no registry, no build.

use bollard::query_parameters::{ImportImageOptionsBuilder, ListImagesOptionsBuilder};
use envctl_model::receipt::{End, Item, ThingKind};
use envctl_wire::AGENT_PATH;
use futures_util::TryStreamExt as _;
use serde_json::json;

use crate::digest::sha256;
use crate::engine::{EngineError, EngineReader, VerifiedEngine, found, with_label};
use envctl_model::labels::{self, Role};

/// The repository of the agent's image.
pub const REPOSITORY: &str = "envctl-agent";

/// The agent's image on an Engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentImage {
    /// `envctl-agent:<first 12 hex digits of the binary's SHA-256>`.
    pub reference: String,
    /// Whether it was loaded just now.
    pub loaded: bool,
}

/// The reference under which `binary` is loaded.
#[must_use]
pub fn reference(binary: &[u8]) -> String {
    let digest = sha256(binary);
    format!("{REPOSITORY}:{}", &digest[..12])
}

/// Makes sure that the image of this agent is on the Engine.
///
/// # Errors
/// When the Engine does not answer or refuses the image.
pub async fn ensure(engine: &VerifiedEngine, binary: &[u8]) -> Result<AgentImage, EngineError> {
    let reference = reference(binary);
    let inspected = engine.docker().inspect_image(&reference).await;
    if found(inspected.map_err(engine.failed("looking for the agent's image")))?.is_some() {
        return Ok(AgentImage { reference, loaded: false });
    }
    let archive = archive(binary, &reference, &engine.facts().arch);
    let options = ImportImageOptionsBuilder::default().quiet(true).build();
    engine
        .docker()
        .import_image(options, bollard::body_full(archive.into()), None)
        .try_collect::<Vec<_>>()
        .await
        .map_err(engine.failed("loading the agent's image"))?;
    // `load` can end well and have loaded nothing (a full disk on old Engines): look.
    engine
        .docker()
        .inspect_image(&reference)
        .await
        .map_err(engine.failed("looking for the loaded agent's image"))?;
    Ok(AgentImage { reference, loaded: true })
}

/// Removes every agent image that no container uses. An image in use is `kept`, with the names of
/// the containers' environments.
///
/// # Errors
/// When the Engine does not answer.
pub async fn remove_unused(engine: &VerifiedEngine) -> Result<Vec<(End, Item)>, EngineError> {
    let mut ends = Vec::new();
    for reference in loaded(engine.reader()).await? {
        let used_by = users(engine.reader(), &reference).await?;
        if !used_by.is_empty() {
            let evidence = "containers run from it".to_owned();
            ends.push((
                End::Kept,
                Item { kind: ThingKind::Image, id: reference, evidence, used_by, remove: None },
            ));
            continue;
        }
        ends.push(crate::images::remove(engine, &reference).await?);
    }
    Ok(ends)
}

/// The references of all agent images on the Engine.
async fn loaded(reader: &EngineReader) -> Result<Vec<String>, EngineError> {
    let filter = with_label(labels::ROLE, Role::Agent.as_str());
    let options = ListImagesOptionsBuilder::default().filters(&filter).build();
    let images = reader.docker().list_images(Some(options)).await.map_err(reader.failed("listing images"))?;
    Ok(images
        .into_iter()
        .flat_map(|image| image.repo_tags)
        .filter(|tag| tag.starts_with(REPOSITORY))
        .collect())
}

/// Who has containers made from an image by this reference: environments' names, or the containers'
/// where they belong to none. Another reference of the same image is not this one's business: Docker
/// takes the reference away and leaves the image.
pub(crate) async fn users(reader: &EngineReader, reference: &str) -> Result<Vec<String>, EngineError> {
    let filter = std::collections::HashMap::from([("ancestor".to_owned(), vec![reference.to_owned()])]);
    let options =
        bollard::query_parameters::ListContainersOptionsBuilder::default().all(true).filters(&filter).build();
    let containers =
        reader.docker().list_containers(Some(options)).await.map_err(reader.failed("listing containers"))?;
    // Environments by name; other containers (the machine's router) only where there are none: they
    // are there for the environments' sake.
    let (mut users, mut others) = (Vec::new(), Vec::new());
    for container in containers {
        if container.image.as_deref() != Some(reference) {
            continue;
        }
        let environment = container.labels.and_then(|mut labels| labels.remove(labels::ENVIRONMENT));
        match (environment, container.names.and_then(|names| names.into_iter().next())) {
            (Some(environment), _) => users.push(environment),
            (None, Some(name)) => others.push(name.trim_start_matches('/').to_owned()),
            (None, None) => {}
        }
    }
    let mut users = if users.is_empty() { others } else { users };
    users.sort();
    users.dedup();
    Ok(users)
}

/// An archive as written by `docker save`, the one format that every Engine loads. It depends on
/// nothing but its arguments: the same binary gives the same image id everywhere.
fn archive(binary: &[u8], reference: &str, arch: &str) -> Vec<u8> {
    let layer = layer(binary);
    let layer_digest = sha256(&layer);
    let config = json!({
        "architecture": arch,
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": {
            "Entrypoint": [AGENT_PATH],
            "Env": ["PATH=/"],
            "Labels": {labels::ROLE: Role::Agent.as_str()},
        },
        "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
        "history": [{"created": "1970-01-01T00:00:00Z", "created_by": "envctl"}],
    })
    .to_string();
    let config_name = format!("{}.json", sha256(config.as_bytes()));
    let layer_name = format!("{layer_digest}/layer.tar");
    let manifest =
        json!([{"Config": config_name, "RepoTags": [reference], "Layers": [layer_name]}]).to_string();
    let mut archive = Archive::default();
    archive.directory(&layer_digest, 0o755);
    archive.file(&layer_name, 0o644, &layer);
    archive.file(&config_name, 0o644, config.as_bytes());
    archive.file("manifest.json", 0o644, manifest.as_bytes());
    archive.finish()
}

/// The file system of the agent: itself, and the directories that programs expect.
fn layer(binary: &[u8]) -> Vec<u8> {
    let mut layer = Archive::default();
    layer.directory("etc", 0o755);
    layer.directory("run", 0o755);
    layer.directory("tmp", 0o1777);
    layer.file(AGENT_PATH.trim_start_matches('/'), 0o755, binary);
    layer.finish()
}

/// A tar archive in memory in which nothing depends on the time or the user.
#[derive(Default)]
struct Archive(Vec<u8>);

impl Archive {
    fn directory(&mut self, path: &str, mode: u32) {
        self.entry(&format!("{path}/"), mode, tar::EntryType::Directory, &[]);
    }

    fn file(&mut self, path: &str, mode: u32, content: &[u8]) {
        self.entry(path, mode, tar::EntryType::Regular, content);
    }

    fn entry(&mut self, path: &str, mode: u32, kind: tar::EntryType, content: &[u8]) {
        let mut header = tar::Header::new_ustar();
        // All names here are ours and shorter than the 100 bytes of the field.
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.extend_from_slice(header.as_bytes());
        self.0.extend_from_slice(content);
        self.0.resize(self.0.len().next_multiple_of(512), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.0.resize(self.0.len() + 1024, 0);
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    #[test]
    fn the_same_binary_gives_the_same_archive_and_another_one_another_reference() {
        assert_eq!(
            archive(b"agent", "envctl-agent:x", "amd64"),
            archive(b"agent", "envctl-agent:x", "amd64")
        );
        assert_ne!(reference(b"agent"), reference(b"Agent"));
        assert_eq!(reference(b"agent").len(), "envctl-agent:".len() + 12);
    }

    #[test]
    fn the_layer_holds_the_binary_executable_and_the_directories_programs_expect() {
        let layer = layer(b"agent");
        let mut archive = tar::Archive::new(layer.as_slice());
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            let path = entry.path().unwrap().display().to_string();
            seen.push((path, entry.header().mode().unwrap(), content));
        }
        let expected = [
            ("etc/", 0o755, ""),
            ("run/", 0o755, ""),
            ("tmp/", 0o1777, ""),
            ("envctl-agent", 0o755, "agent"),
        ];
        assert_eq!(seen, expected.map(|(p, m, c)| (p.to_owned(), m, c.to_owned())));
    }
}
