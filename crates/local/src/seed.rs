//! Seeders: what fills a pod's volumes is a file in their container, which may change while the pod runs.

use std::io::Read as _;

use bollard::query_parameters::{
    DownloadFromContainerOptionsBuilder, StartContainerOptions, UploadToContainerOptionsBuilder,
};
use envctl_wire::{SEED_FILE, SeedConfig};
use futures_util::TryStreamExt as _;

use crate::ending;
use crate::engine::{EngineError, VerifiedEngine};

/// What became of a running pod's files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refreshed {
    /// They were as they should be.
    Unchanged,
    /// They were replaced, each volume's at one moment, as by the kubelet.
    Replaced,
    /// The seeder ended with this code: some may still be as they were.
    Failed(i64),
}

/// Puts what a seeder is to write into its container, which was made and is not running: Compose gives configs only to
/// those that it starts itself.
///
/// # Errors
/// When the Engine does not answer, or has no such container.
pub async fn put(engine: &VerifiedEngine, seeder: &str, content: &[u8]) -> Result<(), EngineError> {
    let doing = format!("writing {SEED_FILE} into {seeder}");
    let mut header = tar::Header::new_gnu();
    header.set_size(content.len() as u64);
    // It may hold secrets, and the seeder is root.
    header.set_mode(0o400);
    let mut archive = tar::Builder::new(Vec::new());
    let packed = archive
        .append_data(&mut header, SEED_FILE.trim_start_matches('/'), content)
        .and_then(|()| archive.into_inner());
    let packed = packed.map_err(|error| engine.failed(&doing)(error.into()))?;
    let options = UploadToContainerOptionsBuilder::default().path("/").build();
    let body = bollard::body_full(packed.into());
    let put = engine.docker().upload_to_container(seeder, Some(options), body).await;
    put.map_err(engine.failed(&doing))
}

/// Has a seeder write this into those volumes of its pod, which goes on running, that hold what ConfigMaps and Secrets do;
/// unless it has done so already. One that was interrupted at it has a file that says so.
///
/// # Errors
/// When the Engine does not answer, or has no such container.
pub async fn refresh(
    engine: &VerifiedEngine,
    seeder: &str,
    wanted: &SeedConfig,
) -> Result<Refreshed, EngineError> {
    let doing = format!("writing {SEED_FILE} for {seeder}");
    let pack = |config: &SeedConfig| {
        serde_json::to_vec(config).map_err(|error| engine.failed(&doing)(std::io::Error::from(error).into()))
    };
    let there = get(engine, seeder).await?;
    if serde_json::from_slice::<SeedConfig>(&there).is_ok_and(|there| there == *wanted) {
        return Ok(Refreshed::Unchanged);
    }
    put(engine, seeder, &pack(&SeedConfig { refresh: true, ..wanted.clone() })?).await?;
    let started = engine.docker().start_container(seeder, None::<StartContainerOptions>).await;
    started.map_err(engine.failed(&format!("starting {seeder}")))?;
    let code = ending::ended(engine, seeder, seeder).await?;
    if code != 0 {
        return Ok(Refreshed::Failed(code));
    }
    // For its next start, which is that of the whole pod.
    put(engine, seeder, &pack(wanted)?).await?;
    Ok(Refreshed::Replaced)
}

/// What a seeder has written, or is to write.
async fn get(engine: &VerifiedEngine, seeder: &str) -> Result<Vec<u8>, EngineError> {
    let doing = format!("reading {SEED_FILE} of {seeder}");
    let options = DownloadFromContainerOptionsBuilder::default().path(SEED_FILE).build();
    let packed = engine.docker().download_from_container(seeder, Some(options));
    let packed = packed.try_fold(Vec::new(), async |mut all, part| {
        all.extend_from_slice(&part);
        Ok(all)
    });
    let packed = packed.await.map_err(engine.failed(&doing))?;
    let mut content = Vec::new();
    let mut archive = tar::Archive::new(packed.as_slice());
    let read = archive.entries().and_then(|mut entries| match entries.next() {
        Some(entry) => entry?.read_to_end(&mut content),
        None => Ok(0),
    });
    read.map_err(|error| engine.failed(&doing)(error.into()))?;
    Ok(content)
}
