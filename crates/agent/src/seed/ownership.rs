//! fsGroup, as in the kubelet's `SetVolumeOwnership`.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, lchown};
use std::path::Path;

use anyhow::Context;

const SETGID: u32 = 0o2000;
const GROUP_READS: u32 = 0o440;
const GROUP_WRITES: u32 = 0o660;
const GROUP_ENTERS: u32 = 0o110;

/// Gives `path` and all below it to `group`, which may read it and, unless `read_only`, write it.
pub(super) fn give_to_group(path: &Path, group: u32, read_only: bool) -> anyhow::Result<()> {
    let context = || format!("cannot give {} to group {group}", path.display());
    let metadata = fs::symlink_metadata(path).with_context(context)?;
    lchown(path, None, Some(group)).with_context(context)?;
    if metadata.is_symlink() {
        return Ok(());
    }
    let mut mode = metadata.permissions().mode() | if read_only { GROUP_READS } else { GROUP_WRITES };
    if metadata.is_dir() {
        mode |= SETGID | GROUP_ENTERS;
        for entry in fs::read_dir(path).with_context(context)? {
            give_to_group(&entry.with_context(context)?.path(), group, read_only)?;
        }
    }
    // After chown, which drops the setgid bit.
    fs::set_permissions(path, Permissions::from_mode(mode)).with_context(context)
}
