//! Names of what is generated: pods, Compose services, volumes.

use std::collections::BTreeSet;

use sha2::{Digest, Sha256};

/// The longest host name that starts, and the longest DNS label that resolves.
pub(crate) const LABEL_MAX: usize = 63;

/// The first 64 bits of the SHA-256 of a text: stable between versions and platforms.
pub(crate) fn stable_hash(text: &str) -> u64 {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().take(8).fold(0, |hash, byte| hash << 8 | u64::from(*byte))
}

/// The SHA-256 of some bytes in hexadecimal.
pub(crate) fn hex_digest(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn short_hash(text: &str) -> String {
    format!("{:016x}", stable_hash(text)).chars().take(8).collect()
}

/// `<base>-<ordinal>` as a DNS label: too long a base is cut and marked with its hash.
pub(crate) fn pod(base: &str, ordinal: u32) -> String {
    let suffix = format!("-{ordinal}");
    let room = LABEL_MAX - suffix.len();
    format!("{}{suffix}", cut(&base.replace('.', "-"), room))
}

/// At most `max` bytes of an ASCII name, unique for different names.
pub(crate) fn cut(name: &str, max: usize) -> String {
    if name.len() <= max {
        return name.to_owned();
    }
    let hash = short_hash(name);
    let kept: String = name.chars().filter(char::is_ascii).take(max - hash.len() - 1).collect();
    format!("{}-{hash}", kept.trim_end_matches(['-', '.']))
}

/// A key of a Compose mapping, which allows `[a-zA-Z0-9._-]`.
pub(crate) fn key(text: &str) -> String {
    let clean: String =
        text.chars().map(|c| if c.is_ascii_alphanumeric() || ".-_".contains(c) { c } else { '-' }).collect();
    if clean == text { clean } else { format!("{clean}-{}", short_hash(text)) }
}

/// Gives each name once.
#[derive(Debug, Default)]
pub(crate) struct Names {
    taken: BTreeSet<String>,
}

impl Names {
    /// `wanted`, or what `otherwise` makes of a hash of `identity` if it is taken.
    pub(crate) fn take(
        &mut self,
        wanted: String,
        identity: &str,
        otherwise: impl FnOnce(&str) -> String,
    ) -> String {
        let name = if self.taken.contains(&wanted) { otherwise(&short_hash(identity)) } else { wanted };
        self.taken.insert(name.clone());
        name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let a = pod(&"a".repeat(70), 0);
        let b = pod(&format!("{}b", "a".repeat(70)), 0);
        assert_eq!((a.len(), b.len()), (63, 63));
        assert_ne!(a, b);
        assert_eq!(pod("api", 12), "api-12");
        assert_eq!(pod("api.v2", 0), "api-v2-0");
    }

    #[test]
    fn keys_keep_what_compose_allows() {
        assert_eq!(key("pod-0.data"), "pod-0.data");
        assert_ne!(key("a/b"), key("a:b"));
    }
}
