//! The files of a volume, and the ways to put them there.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Component, Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use envctl_wire::SeedFile;

const DATA: &str = "..data";
const NEW_DATA: &str = "..data_tmp";

/// The files of one volume, checked and decoded.
pub(super) struct Payload<'a> {
    files: Vec<(&'a SeedFile, Vec<u8>)>,
}

impl<'a> Payload<'a> {
    /// Checks that all paths stay inside the volume (and out of the way of our own names).
    pub(super) fn decode(files: &'a [SeedFile]) -> anyhow::Result<Self> {
        let files = files
            .iter()
            .map(|file| {
                check_inside(&file.path)?;
                let content = BASE64_STANDARD
                    .decode(&file.content)
                    .with_context(|| format!("the content of {} is not base64", file.path))?;
                Ok((file, content))
            })
            .collect::<anyhow::Result<_>>()?;
        Ok(Self { files })
    }

    /// Writes the files beside what is there.
    pub(super) fn write(&self, root: &Path) -> anyhow::Result<()> {
        for (file, content) in &self.files {
            let path = root.join(&file.path);
            write_file(&path, content, file).with_context(|| format!("cannot write {}", path.display()))?;
        }
        Ok(())
    }

    /// Writes the files and removes everything else.
    pub(super) fn replace(&self, root: &Path) -> anyhow::Result<()> {
        for name in names_in(root)? {
            remove(&root.join(name))?;
        }
        self.write(root)
    }

    /// Puts the files into a folder of their own and switches to it in one step, as the kubelet's
    /// AtomicWriter: a program that reads while we write sees all old files or all new ones. `own`
    /// is called for the folder before the switch.
    pub(super) fn link_into(
        &self,
        root: &Path,
        own: impl Fn(&Path) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let wanted: BTreeSet<OsString> = self
            .files
            .iter()
            .filter_map(|(file, _)| Path::new(&file.path).components().next())
            .map(|part| part.as_os_str().to_owned())
            .collect();
        if self.is_there(root, &wanted)? {
            return Ok(());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let folder = PathBuf::from(format!("..{}.{:09}", now.as_secs(), now.subsec_nanos()));
        let path = root.join(&folder);
        fs::create_dir(&path)
            .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o755)))
            .with_context(|| format!("cannot create {}", path.display()))?;
        self.write(&path)?;
        own(&path)?;
        link(&folder, &root.join(NEW_DATA))?;
        fs::rename(root.join(NEW_DATA), root.join(DATA))
            .with_context(|| format!("cannot switch {}", root.join(DATA).display()))?;
        for name in &wanted {
            link(&Path::new(DATA).join(name), &root.join(name))?;
        }
        for name in names_in(root)? {
            if name != folder.as_os_str() && name != DATA && !wanted.contains(&name) {
                remove(&root.join(name))?;
            }
        }
        Ok(())
    }

    /// Whether the volume has exactly these files already.
    fn is_there(&self, root: &Path, wanted: &BTreeSet<OsString>) -> anyhow::Result<bool> {
        let Ok(folder) = fs::read_link(root.join(DATA)) else {
            return Ok(false);
        };
        let mut expected = wanted.clone();
        expected.extend([folder.clone().into_os_string(), OsString::from(DATA)]);
        let mut files = Vec::new();
        if list_files(&root.join(&folder), &mut files).is_err() {
            return Ok(false);
        }
        let linked = wanted
            .iter()
            .all(|name| fs::read_link(root.join(name)).is_ok_and(|to| to == Path::new(DATA).join(name)));
        Ok(linked
            && names_in(root)? == expected
            && files.len() == self.files.len()
            && self.files.iter().all(|(file, content)| {
                is_same(&root.join(&folder).join(&file.path), content, file).unwrap_or(false)
            }))
    }
}

/// Refuses paths that leave the volume, and names that are ours.
pub(super) fn check_inside(path: &str) -> anyhow::Result<()> {
    let inside = Path::new(path).components().all(|part| matches!(part, Component::Normal(_)));
    if path.is_empty() || !inside || path.starts_with("..") {
        bail!("`{path}` is no path inside a volume");
    }
    Ok(())
}

/// Group bits are left out of the comparison of modes where fsGroup may have added them.
fn is_same(path: &Path, content: &[u8], file: &SeedFile) -> io::Result<bool> {
    const ADDED_BY_FS_GROUP: u32 = 0o440;
    let metadata = fs::metadata(path)?;
    let mode = metadata.permissions().mode() & 0o7777;
    Ok((mode == file.mode || mode == file.mode | ADDED_BY_FS_GROUP)
        && metadata.uid() == file.uid.unwrap_or_else(|| rustix::process::geteuid().as_raw())
        && fs::read(path)? == content)
}

fn write_file(path: &Path, content: &[u8], file: &SeedFile) -> io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    fs::write(path, content)?;
    if file.uid.is_some() {
        chown(path, file.uid, None)?;
    }
    // Last and not at creation, where the umask would take bits away.
    fs::set_permissions(path, Permissions::from_mode(file.mode))
}

/// Makes `path` a link to `target`, whatever it was before.
fn link(target: &Path, path: &Path) -> anyhow::Result<()> {
    if fs::read_link(path).is_ok_and(|current| current == target) {
        return Ok(());
    }
    if fs::symlink_metadata(path).is_ok() {
        remove(path)?;
    }
    symlink(target, path).with_context(|| format!("cannot link {}", path.display()))
}

fn names_in(root: &Path) -> anyhow::Result<BTreeSet<OsString>> {
    fs::read_dir(root)
        .and_then(|entries| entries.map(|entry| entry.map(|e| e.file_name())).collect())
        .with_context(|| format!("cannot list {}", root.display()))
}

fn list_files(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            list_files(&entry.path(), files)?;
        } else {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn remove(path: &Path) -> anyhow::Result<()> {
    let is_folder = fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir());
    let removed = if is_folder { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.with_context(|| format!("cannot remove {}", path.display()))
}
