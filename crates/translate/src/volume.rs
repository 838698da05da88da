//! Volumes of a pod and their mounts.
//!
//! A volume is a Docker volume: of the pod (`emptyDir`, and content that the seeder writes) or of
//! the environment (claims). `subPath` is the Engine's own from version 26. For older engines a
//! volume is split along its sub paths into several Docker volumes, and where a volume is mounted
//! as a whole the others are mounted inside of it, so that all mounts still see the same files. One
//! file of a ConfigMap or Secret is a file of the host there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use envctl_model::finding::Severity;
use envctl_wire::SeedVolume;

use crate::compose::{BindOptions, Mount, VolumeOptions};
use crate::content::{self, Files};
use crate::cursor::{Cursor, Remark};
use crate::downward::Downward;
use crate::environment::Variables;
use crate::error::Problem;
use crate::expand::{expand, unresolved};
use crate::names::{hex_digest, key};
use crate::output::HostFile;
use crate::store::Store;

/// A volume of a pod.
#[derive(Debug)]
pub(crate) struct Volume {
    /// Key of its Docker volume.
    key: String,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Containers write to it.
    Directory { mode: u32, driver_opts: BTreeMap<String, String>, claim: Option<String>, read_only: bool },
    /// Its files are given.
    Content(Files),
    /// A path of the host.
    Host { path: String, create: bool },
}

/// A container's wish to see a volume.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    at: Cursor<'a>,
    volume: &'a str,
    target: String,
    /// Normalised; empty is the whole volume.
    sub_path: String,
    read_only: bool,
    propagation: Option<&'static str>,
}

/// Sub paths by volume key, over all pods: claims are shared.
pub(crate) type SubPaths = BTreeMap<String, BTreeSet<String>>;

/// A Docker volume of the environment, with what it was asked for as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DockerVolume {
    pub(crate) driver_opts: BTreeMap<String, String>,
    /// The claim it belongs to.
    pub(crate) claim: Option<String>,
}

/// Everything that a pod's volumes need.
#[derive(Debug, Default)]
pub(crate) struct Layout {
    pub(crate) volumes: BTreeMap<String, DockerVolume>,
    /// What the seeder does, by volume key.
    pub(crate) seeds: BTreeMap<String, SeedVolume>,
    /// Volumes in memory, which vanish when nothing mounts them.
    pub(crate) held: BTreeSet<String>,
    pub(crate) host_files: BTreeSet<HostFile>,
}

/// The volumes that a pod declares, by name.
pub(crate) fn volumes<'a>(
    downward: &Downward<'_, 'a>,
    store: &Store<'a>,
    claims: &BTreeSet<(String, String)>,
) -> BTreeMap<&'a str, Volume> {
    let pod = downward.pod;
    let mut volumes = BTreeMap::new();
    for volume in pod.spec.get("volumes").items() {
        let name = volume.get("name").required();
        let own = key(&format!("{}.{name}", pod.name));
        volumes.insert(name, self::volume(&volume, own, downward, store, claims));
    }
    for template in &pod.claim_templates {
        let name = template.at(&["metadata", "name"]).required();
        claim_spec(template);
        volumes.insert(name, claim(&format!("{name}-{}", pod.name), &pod.namespace, false));
    }
    volumes
}

fn claim(name: &str, namespace: &str, read_only: bool) -> Volume {
    let name = format!("{namespace}/{name}");
    Volume {
        key: key(&format!("claim.{}", name.replace('/', "."))),
        // A fresh file system of most storage classes belongs to root: fsGroup opens it.
        kind: Kind::Directory { mode: 0o755, driver_opts: BTreeMap::new(), claim: Some(name), read_only },
    }
}

/// Reads what a claim asks for.
pub(crate) fn claim_spec(claim: &Cursor<'_>) {
    let spec = claim.get("spec");
    let size = spec.at(&["resources", "requests"]);
    if size.present() {
        size.take();
        size.remark(Remark::approximated(Severity::Info, "claim-size", "the size is not enforced"));
    }
    let mode = spec.get("volumeMode");
    if mode.string() == Some("Block") {
        mode.remark(Remark::dropped(
            Severity::Critical,
            "block-volume",
            "there are no block devices: it is a directory",
        ));
    }
}

fn volume<'a>(
    volume: &Cursor<'a>,
    own: String,
    downward: &Downward<'_, 'a>,
    store: &Store<'a>,
    claims: &BTreeSet<(String, String)>,
) -> Volume {
    if let Some(files) = content::files(volume, downward, store) {
        return Volume { key: own, kind: Kind::Content(files) };
    }
    let namespace = &downward.pod.namespace;
    for (source, at) in volume.entries() {
        match source {
            "name" => {}
            "emptyDir" => {
                return Volume { key: own, kind: empty_dir(&at) };
            }
            "persistentVolumeClaim" => {
                let name = at.get("claimName").required();
                if !claims.contains(&(namespace.clone(), name.to_owned())) {
                    at.get("claimName").remark(
                        Remark::approximated(
                            Severity::Major,
                            "undeclared-claim",
                            format!("claim `{name}` is not in the chart: an empty volume stands for it"),
                        )
                        .fix("mount the data with a hostPath, or fill the volume once"),
                    );
                }
                return claim(name, namespace, at.get("readOnly").boolean().unwrap_or(false));
            }
            "ephemeral" => {
                claim_spec(&at.get("volumeClaimTemplate"));
                return Volume {
                    key: own,
                    kind: Kind::Directory {
                        mode: 0o755,
                        driver_opts: BTreeMap::new(),
                        claim: None,
                        read_only: false,
                    },
                };
            }
            "hostPath" => {
                return Volume { key: own, kind: host_path(&at) };
            }
            _ => {
                at.take();
                at.remark(Remark::dropped(
                    Severity::Critical,
                    "volume-type",
                    format!("a `{source}` volume is an empty directory here"),
                ));
            }
        }
    }
    // No source at all is an emptyDir to the API server.
    Volume {
        key: own,
        kind: Kind::Directory { mode: 0o777, driver_opts: BTreeMap::new(), claim: None, read_only: false },
    }
}

fn empty_dir(at: &Cursor<'_>) -> Kind {
    let memory = at.get("medium").string() == Some("Memory");
    let limit = at.get("sizeLimit");
    let bytes = limit.quantity().map(envctl_model::quantity::Quantity::ceil_units).filter(|bytes| *bytes > 0);
    let mut driver_opts = BTreeMap::new();
    if memory {
        let size = bytes.map(|bytes| format!(",size={bytes}")).unwrap_or_default();
        driver_opts =
            [("type", "tmpfs".to_owned()), ("device", "tmpfs".to_owned()), ("o", format!("mode=0777{size}"))]
                .map(|(option, value)| (option.to_owned(), value))
                .into();
    } else {
        if bytes.is_some() {
            limit.remark(Remark::dropped(Severity::Info, "empty-dir-size", "the size is not limited"));
        }
        at.remark(Remark::approximated(
            Severity::Info,
            "empty-dir",
            "keeps its content when the pod is replaced, until `down`",
        ));
    }
    Kind::Directory { mode: 0o777, driver_opts, claim: None, read_only: false }
}

fn host_path(at: &Cursor<'_>) -> Kind {
    let path = at.get("path").required();
    let kind = at.get("type").string().unwrap_or_default();
    at.remark(
        Remark::approximated(
            Severity::Critical,
            "host-path",
            format!("`{path}` is a path of the machine that runs Docker"),
        )
        .fix("use a claim or an emptyDir in this target's values"),
    );
    Kind::Host { path: path.to_owned(), create: matches!(kind, "" | "DirectoryOrCreate") }
}

/// The mounts of one container.
pub(crate) fn requests<'a>(container: &Cursor<'a>, variables: &Variables<'_>) -> Vec<Request<'a>> {
    let devices = container.get("volumeDevices");
    if !devices.items().is_empty() {
        devices.take();
        devices.remark(Remark::dropped(Severity::Critical, "block-volume", "there are no block devices"));
    }
    container.get("volumeMounts").items().into_iter().filter_map(|mount| request(mount, variables)).collect()
}

fn request<'a>(at: Cursor<'a>, variables: &Variables<'_>) -> Option<Request<'a>> {
    let expression = at.get("subPathExpr");
    let written = match expression.string().filter(|text| !text.is_empty()) {
        Some(text) => {
            if let Some(unknown) = unresolved(text, |name| variables.get(name)) {
                expression.invalid(unknown, "a variable of this container");
            }
            expand(text, |name| variables.get(name))
        }
        None => at.get("subPath").string().unwrap_or_default().to_owned(),
    };
    let propagation = match at.get("mountPropagation").string() {
        Some("HostToContainer") => Some("rslave"),
        Some("Bidirectional") => Some("rshared"),
        _ => None,
    };
    Some(Request {
        volume: at.get("name").required(),
        target: at.get("mountPath").required().to_owned(),
        sub_path: content::inside(&at.get("subPath"), &written)?,
        read_only: at.get("readOnly").boolean().unwrap_or(false),
        propagation,
        at,
    })
}

/// Notes which sub paths of which volumes are asked for.
pub(crate) fn gather(volumes: &BTreeMap<&str, Volume>, requests: &[Request<'_>], sub_paths: &mut SubPaths) {
    for request in requests {
        if let Some(volume) = volumes.get(request.volume)
            && !request.sub_path.is_empty()
        {
            sub_paths.entry(volume.key.clone()).or_default().insert(request.sub_path.clone());
        }
    }
}

/// How the mounts of a pod are made.
pub(crate) struct Builder<'b> {
    pub(crate) volumes: &'b BTreeMap<&'b str, Volume>,
    pub(crate) sub_paths: &'b SubPaths,
    pub(crate) fs_group: Option<u32>,
    /// The Engine mounts sub paths itself.
    pub(crate) engine_subpaths: bool,
    pub(crate) host_files: Option<&'b Path>,
    pub(crate) layout: Layout,
}

impl Builder<'_> {
    pub(crate) fn mounts(&mut self, request: &Request<'_>) -> Vec<Mount> {
        let volumes = self.volumes;
        let Some(volume) = volumes.get(request.volume) else {
            request.at.get("name").fail(Problem::NoVolume(request.volume.to_owned()));
            return Vec::new();
        };
        if request.propagation.is_some() && !matches!(volume.kind, Kind::Host { .. }) {
            request.at.get("mountPropagation").remark(Remark::dropped(
                Severity::Minor,
                "mount-propagation",
                "only paths of the host pass mounts on",
            ));
        }
        match &volume.kind {
            Kind::Host { path, create } => vec![host_mount(request, path, *create)],
            Kind::Content(files) => self.content(request, &volume.key, files).into_iter().collect(),
            Kind::Directory { .. } => self.directory(request, volume),
        }
    }

    fn directory(&mut self, request: &Request<'_>, volume: &Volume) -> Vec<Mount> {
        let Kind::Directory { read_only, .. } = &volume.kind else {
            return Vec::new();
        };
        let sub_paths = self.sub_paths;
        let all = sub_paths.get(&volume.key);
        let all = || all.into_iter().flatten();
        let read_only = *read_only || request.read_only;
        if self.engine_subpaths {
            self.declare(volume, "", all().cloned().collect());
            let subpath = Some(request.sub_path.clone()).filter(|path| !path.is_empty());
            return vec![named(volume.key.clone(), request.target.clone(), read_only, subpath)];
        }
        let mut mounts = Vec::new();
        let wanted =
            std::iter::once(&request.sub_path).chain(all().filter(|path| **path != request.sub_path));
        for path in wanted {
            let Some(relative) = below(path, &request.sub_path) else {
                continue;
            };
            let inner = all()
                .filter(|other| *other != path)
                .filter_map(|other| below(other, path))
                .map(str::to_owned)
                .collect();
            let key = self.declare(volume, path, inner);
            let target = format!("{}/{relative}", request.target.trim_end_matches('/'));
            let target = if relative.is_empty() { request.target.clone() } else { target };
            mounts.push(named(key, target, read_only, None));
        }
        mounts
    }

    /// Declares the Docker volume for a part of a volume.
    fn declare(&mut self, volume: &Volume, path: &str, directories: Vec<String>) -> String {
        let key = part_key(&volume.key, path);
        let Kind::Directory { mode, driver_opts, claim, .. } = &volume.kind else {
            return key;
        };
        if !driver_opts.is_empty() {
            self.layout.held.insert(key.clone());
        }
        // A claim's own rights are kept unless fsGroup or a missing directory asks for the seeder.
        if claim.is_none() || self.fs_group.is_some() || !directories.is_empty() {
            let seed = SeedVolume {
                mount: String::new(),
                mode: *mode,
                fs_group: self.fs_group,
                replace: false,
                atomic_links: false,
                directories,
                files: Vec::new(),
            };
            self.layout.seeds.insert(key.clone(), seed);
        }
        let volume = DockerVolume { driver_opts: driver_opts.clone(), claim: claim.clone() };
        self.layout.volumes.insert(key.clone(), volume);
        key
    }

    fn content(&mut self, request: &Request<'_>, key: &str, files: &Files) -> Option<Mount> {
        let path = &request.sub_path;
        let target = request.target.clone();
        if !path.is_empty() && !files.keys().any(|file| below(file, path).is_some()) {
            request.at.get("subPath").remark(Remark::approximated(
                Severity::Major,
                "missing-sub-path",
                format!("the volume has no `{path}`: an empty directory is mounted"),
            ));
            self.seed(&part_key(key, path), Files::new());
            return Some(named(part_key(key, path), target, true, None));
        }
        if self.engine_subpaths || path.is_empty() {
            self.seed(key, files.clone());
            return Some(named(
                key.to_owned(),
                target,
                true,
                Some(path.clone()).filter(|path| !path.is_empty()),
            ));
        }
        if let Some(file) = files.get(path) {
            // The content was encoded by us.
            let content = STANDARD.decode(&file.content).unwrap_or_default();
            return self.host_file(request, content, file.mode);
        }
        let part = files.values().filter_map(|file| {
            let path = below(&file.path, path)?.to_owned();
            Some((path.clone(), envctl_wire::SeedFile { path, ..file.clone() }))
        });
        let part_key = part_key(key, path);
        self.seed(&part_key, part.collect());
        Some(named(part_key, target, true, None))
    }

    fn seed(&mut self, key: &str, files: Files) {
        let seed = SeedVolume {
            mount: String::new(),
            mode: 0o755,
            fs_group: self.fs_group,
            replace: true,
            atomic_links: true,
            directories: Vec::new(),
            files: files.into_values().collect(),
        };
        self.layout.seeds.insert(key.to_owned(), seed);
        self.layout
            .volumes
            .insert(key.to_owned(), DockerVolume { driver_opts: BTreeMap::new(), claim: None });
    }

    fn host_file(&mut self, request: &Request<'_>, content: Vec<u8>, mode: u32) -> Option<Mount> {
        let Some(directory) = self.host_files else {
            request.at.get("subPath").remark(
                Remark::dropped(
                    Severity::Critical,
                    "file-sub-path",
                    "this Docker Engine cannot mount one file of a volume",
                )
                .fix("upgrade Docker to version 26 or newer"),
            );
            return None;
        };
        // fsGroup makes files readable for the group; the owner and the group here are those of whoever
        // writes the file. What keeps others out is the directory.
        let mode = if self.fs_group.is_some() { mode | 0o444 } else { mode };
        let name = hex_digest(&[&mode.to_be_bytes(), content.as_slice()].concat());
        let path = directory.join(name);
        let source = path.to_string_lossy().into_owned();
        self.layout.host_files.insert(HostFile { path, mode, content });
        let bind = BindOptions { create_host_path: false, propagation: None };
        Some(Mount::Bind { source, target: request.target.clone(), read_only: true, bind })
    }
}

fn host_mount(request: &Request<'_>, path: &str, create: bool) -> Mount {
    let source = if request.sub_path.is_empty() {
        path.to_owned()
    } else {
        format!("{}/{}", path.trim_end_matches('/'), request.sub_path)
    };
    Mount::Bind {
        source,
        target: request.target.clone(),
        read_only: request.read_only,
        bind: BindOptions { create_host_path: create, propagation: request.propagation },
    }
}

fn named(source: String, target: String, read_only: bool, subpath: Option<String>) -> Mount {
    // Kubernetes never copies what the image has at the mount point.
    Mount::Volume { source, target, read_only, volume: VolumeOptions { nocopy: true, subpath } }
}

fn part_key(volume: &str, path: &str) -> String {
    if path.is_empty() { volume.to_owned() } else { key(&format!("{volume}.{path}")) }
}

/// `path` relative to `base`, if it is `base` (empty then) or below it.
fn below<'p>(path: &'p str, base: &str) -> Option<&'p str> {
    if base.is_empty() {
        return Some(path);
    }
    let rest = path.strip_prefix(base)?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix('/') }
}
