//! Settings of processes as digests: they can be compared, and no value leaves the machine that has it.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

/// What every process has of its own, or tells where it runs and not how it is configured.
const ITS_OWN: [&str; 4] = ["HOSTNAME", "HOME", "PATH", "PWD"];

/// What digests are keyed with, so that nobody finds a value by trying likely ones. Drawn anew for each run, kept
/// in memory, and never written anywhere.
#[derive(Clone)]
pub struct Salt([u8; 32]);

impl std::fmt::Debug for Salt {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Salt")
    }
}

impl Salt {
    /// These random bytes.
    #[must_use]
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// For each variable of an environment, `NAME=value`, the SHA-256 of salt, name and value as hexadecimal text. The
    /// name is in it, so that nobody sees that two variables have the same value. Left out is what every process
    /// has of its own.
    pub fn digests<'a>(&self, variables: impl IntoIterator<Item = &'a [u8]>) -> BTreeMap<String, String> {
        let pairs = variables.into_iter().filter_map(|variable| {
            let end = variable.iter().position(|byte| *byte == b'=')?;
            let name = String::from_utf8_lossy(&variable[..end]).into_owned();
            let wanted = !name.is_empty() && !ITS_OWN.contains(&name.as_str());
            // A name has no `=` in it: no other name and value make these bytes.
            wanted.then(|| (name, self.digest(variable)))
        });
        pairs.collect()
    }

    fn digest(&self, variable: &[u8]) -> String {
        let digest = Sha256::new().chain_update(self.0).chain_update(variable).finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(salt: u8, variables: &[&str]) -> BTreeMap<String, String> {
        Salt::new([salt; 32]).digests(variables.iter().map(|variable| variable.as_bytes()))
    }

    #[test]
    fn equal_settings_have_equal_digests_and_others_do_not() {
        let one = digests(1, &["COLOUR=blue", "SHADE=blue", "HOSTNAME=a", "EMPTY=", "A=b=c"]);
        assert_eq!(one.keys().collect::<Vec<_>>(), ["A", "COLOUR", "EMPTY", "SHADE"]);
        assert_eq!(one, digests(1, &["A=b=c", "EMPTY=", "COLOUR=blue", "SHADE=blue", "HOSTNAME=b"]));
        assert_ne!(one["COLOUR"], digests(1, &["COLOUR=red"])["COLOUR"]);
        assert_ne!(one["COLOUR"], one["SHADE"], "that two values are the same is nobody's business");
        assert_ne!(one["COLOUR"], digests(2, &["COLOUR=blue"])["COLOUR"], "another run");
    }

    #[test]
    fn neither_value_nor_salt_is_shown() {
        let shown = format!("{:?} {:?}", Salt::new([7; 32]), digests(7, &["PASSWORD=hunter2"]));
        assert!(shown.starts_with("Salt {\"PASSWORD\": ") && !shown.contains("hunter2"), "{shown}");
    }
}
