//! The role `seed`: fills volumes before a pod's containers start, as the kubelet does.

mod ownership;
mod payload;

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::Context;
use envctl_wire::{SEED_FILE, SeedConfig, SeedVolume};

use self::payload::Payload;

/// Seeds all volumes named in [`SEED_FILE`].
pub(crate) fn run() -> anyhow::Result<()> {
    let text = fs::read_to_string(SEED_FILE).with_context(|| format!("cannot read {SEED_FILE}"))?;
    let config: SeedConfig =
        serde_json::from_str(&text).with_context(|| format!("{SEED_FILE} is not understood"))?;
    for volume in config.volumes.iter().filter(|volume| volume.replace || !config.refresh) {
        seed(volume).with_context(|| format!("volume {}", volume.mount))?;
    }
    Ok(())
}

fn seed(volume: &SeedVolume) -> anyhow::Result<()> {
    let root = Path::new(&volume.mount);
    let payload = Payload::decode(&volume.files)?;
    // The root of what outlives the pod belongs to the program after its first start: a database
    // that has closed its folder to others finds it as it left it.
    let fresh = is_empty(root)?;
    if volume.replace || fresh {
        fs::set_permissions(root, Permissions::from_mode(volume.mode))
            .context("cannot set the mode of the volume")?;
    }
    let own = |path: &Path| match volume.fs_group {
        Some(group) => ownership::give_to_group(path, group, volume.replace),
        None => Ok(()),
    };
    match (volume.replace, volume.atomic_links) {
        (_, true) => payload.link_into(root, own)?,
        (true, false) => payload.replace(root)?,
        (false, false) => payload.write(root)?,
    }
    for directory in &volume.directories {
        make_directory(root, directory).with_context(|| format!("cannot make the folder {directory}"))?;
    }
    own(root)
}

/// Makes what is missing of a sub path, with the mode of the volume's root. What is there already
/// stays as its program wants it.
fn make_directory(root: &Path, directory: &str) -> anyhow::Result<()> {
    payload::check_inside(directory)?;
    let mode = fs::metadata(root)?.permissions();
    let mut path = root.to_path_buf();
    for part in Path::new(directory) {
        path.push(part);
        match fs::create_dir(&path) {
            Ok(()) => fs::set_permissions(&path, mode.clone())?,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn is_empty(folder: &Path) -> anyhow::Result<bool> {
    let mut entries = fs::read_dir(folder).context("the volume is not mounted")?;
    Ok(entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt;

    use base64::Engine;
    use base64::prelude::BASE64_STANDARD;
    use envctl_wire::SeedFile;

    use super::*;

    fn file(path: &str, content: &str, mode: u32) -> SeedFile {
        SeedFile { path: path.to_owned(), mode, uid: None, content: BASE64_STANDARD.encode(content) }
    }

    fn config_map(root: &Path, files: Vec<SeedFile>) -> SeedVolume {
        SeedVolume {
            mount: root.to_str().unwrap().to_owned(),
            mode: 0o755,
            fs_group: None,
            replace: true,
            atomic_links: true,
            directories: Vec::new(),
            files,
        }
    }

    fn mode(path: impl AsRef<Path>) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn names(root: &Path) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(root)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_config_map_looks_as_on_the_cluster() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let volume = config_map(root, vec![file("a.conf", "one", 0o440), file("sub/b", "two", 0o644)]);
        seed(&volume).unwrap();
        assert_eq!(fs::read_to_string(root.join("a.conf")).unwrap(), "one");
        assert_eq!(fs::read_to_string(root.join("sub/b")).unwrap(), "two");
        assert_eq!(fs::read_link(root.join("a.conf")).unwrap(), Path::new("..data/a.conf"));
        assert_eq!(fs::read_link(root.join("sub")).unwrap(), Path::new("..data/sub"));
        assert_eq!((mode(root), mode(root.join("a.conf"))), (0o755, 0o440));
        let data = fs::read_link(root.join("..data")).unwrap();
        assert!(data.to_str().unwrap().starts_with(".."), "{data:?}");
        assert_eq!(names(root).len(), 4);
    }

    #[test]
    fn unchanged_content_is_left_alone_and_changed_content_replaced() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let first = config_map(root, vec![file("a", "1", 0o644), file("b", "2", 0o644)]);
        seed(&first).unwrap();
        let data = fs::read_link(root.join("..data")).unwrap();
        seed(&first).unwrap();
        assert_eq!(fs::read_link(root.join("..data")).unwrap(), data, "nothing to do");

        seed(&config_map(root, vec![file("a", "1", 0o644), file("c", "3", 0o600)])).unwrap();
        let newer = fs::read_link(root.join("..data")).unwrap();
        assert_ne!(newer, data);
        assert_eq!(names(root), [newer.to_str().unwrap(), "..data", "a", "c"]);
        assert_eq!(mode(root.join("c")), 0o600);

        seed(&config_map(root, vec![file("a", "1", 0o644), file("c", "3", 0o640)])).unwrap();
        assert_eq!(mode(root.join("c")), 0o640, "a mode is a change too");
    }

    #[test]
    fn replace_without_links_removes_what_was_there() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir(root.join("old")).unwrap();
        fs::write(root.join("older"), "").unwrap();
        let mut volume = config_map(root, vec![file("new", "n", 0o644)]);
        volume.atomic_links = false;
        seed(&volume).unwrap();
        assert_eq!(names(root), ["new"]);
    }

    #[test]
    fn a_claim_keeps_its_content_and_the_mode_its_program_chose() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let mut claim = config_map(root, Vec::new());
        (claim.replace, claim.atomic_links, claim.mode) = (false, false, 0o777);
        seed(&claim).unwrap();
        assert_eq!(mode(root), 0o777);
        fs::write(root.join("PG_VERSION"), "15").unwrap();
        fs::set_permissions(root, Permissions::from_mode(0o700)).unwrap();
        seed(&claim).unwrap();
        assert_eq!((mode(root), names(root)), (0o700, vec!["PG_VERSION".to_owned()]));
    }

    #[test]
    fn sub_paths_are_made_where_they_are_missing() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let mut claim = config_map(root, Vec::new());
        (claim.replace, claim.atomic_links, claim.mode) = (false, false, 0o777);
        claim.directories = vec!["data/mysql".to_owned()];
        seed(&claim).unwrap();
        assert_eq!((mode(root.join("data")), mode(root.join("data/mysql"))), (0o777, 0o777));
        fs::set_permissions(root.join("data/mysql"), Permissions::from_mode(0o700)).unwrap();
        seed(&claim).unwrap();
        assert_eq!(mode(root.join("data/mysql")), 0o700);
        claim.directories = vec!["../other".to_owned()];
        assert!(format!("{:#}", seed(&claim).unwrap_err()).contains("../other"));
    }

    #[test]
    fn fs_group_gives_everything_to_the_group() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir(root.join("data")).unwrap();
        fs::write(root.join("data/file"), "").unwrap();
        fs::set_permissions(root.join("data/file"), Permissions::from_mode(0o600)).unwrap();
        let mut claim = config_map(root, Vec::new());
        (claim.replace, claim.atomic_links, claim.fs_group) = (false, false, Some(2000));
        seed(&claim).unwrap();
        assert_eq!(mode(root) & 0o2070, 0o2070);
        assert_eq!(mode(root.join("data")) & 0o2070, 0o2070);
        assert_eq!(mode(root.join("data/file")), 0o660);
        assert_eq!(fs::metadata(root.join("data/file")).unwrap().gid(), 2000);

        let other = tempfile::tempdir().unwrap();
        let mut secret = config_map(other.path(), vec![file("key", "k", 0o400)]);
        secret.fs_group = Some(2000);
        secret.files[0].uid = Some(1000);
        seed(&secret).unwrap();
        let key = fs::metadata(other.path().join("key")).unwrap();
        assert_eq!((key.mode() & 0o7777, key.uid(), key.gid()), (0o440, 1000, 2000));
        let data = fs::read_link(other.path().join("..data")).unwrap();
        seed(&secret).unwrap();
        assert_eq!(fs::read_link(other.path().join("..data")).unwrap(), data, "still the same");
    }

    #[test]
    fn errors_name_the_file() {
        let root = tempfile::tempdir().unwrap();
        let mut broken = file("app.conf", "", 0o644);
        broken.content = "%".to_owned();
        let error = seed(&config_map(root.path(), vec![broken])).unwrap_err();
        assert!(format!("{error:#}").contains("app.conf"), "{error:#}");
        for path in ["../out", "/etc/passwd", "a/../../b", "..data"] {
            let error = seed(&config_map(root.path(), vec![file(path, "", 0o644)])).unwrap_err();
            assert!(format!("{error:#}").contains(path), "{error:#}");
        }
        let gone = config_map(Path::new("/nonexistent-volume"), Vec::new());
        assert!(format!("{:#}", seed(&gone).unwrap_err()).contains("not mounted"));
    }
}
