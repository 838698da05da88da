//! The ConfigMaps and Secrets that pods refer to.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use envctl_model::finding::Severity;

use crate::cursor::{Cursor, Remark};
use crate::error::Problem;
use crate::input::MissingReferences;

/// The two kinds whose content reaches containers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Source {
    ConfigMap,
    Secret,
}

impl Source {
    fn kind(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }
}

/// The keys of one object with their contents.
pub(crate) type Entries<'a> = BTreeMap<&'a str, Cow<'a, [u8]>>;

/// All ConfigMaps and Secrets by kind, namespace and name.
#[derive(Debug)]
pub(crate) struct Store<'a> {
    objects: BTreeMap<(Source, String, &'a str), Entries<'a>>,
    missing: MissingReferences,
}

/// The controller manager puts this ConfigMap into every namespace of a cluster.
const ROOT_CA: &str = "kube-root-ca.crt";

impl<'a> Store<'a> {
    pub(crate) fn new(missing: MissingReferences) -> Self {
        Self { objects: BTreeMap::new(), missing }
    }

    pub(crate) fn add(&mut self, source: Source, namespace: &str, root: &Cursor<'a>) {
        let mut entries = Entries::new();
        let (encoded, plain) = match source {
            Source::ConfigMap => ("binaryData", "data"),
            Source::Secret => ("data", "stringData"),
        };
        for (key, field) in root.get(encoded).entries() {
            let text = field.string().unwrap_or_default();
            // The API server takes line breaks inside of base64, as `base64` prints them.
            let compact: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
            match STANDARD.decode(compact) {
                Ok(content) => {
                    entries.insert(key, content.into());
                }
                Err(_) => field.invalid(&format!("{} characters", text.len()), "base64"),
            }
        }
        // Plain text comes second: stringData wins over data.
        for (key, field) in root.get(plain).entries() {
            entries.insert(key, field.string().unwrap_or_default().as_bytes().into());
        }
        root.get("type").take();
        root.get("immutable").take();
        self.objects.insert((source, namespace.to_owned(), &root.object().name), entries);
    }

    /// The object that `reference` names. A missing one is an error or a finding there, unless it
    /// is optional.
    pub(crate) fn find(
        &self,
        source: Source,
        namespace: &str,
        reference: &Reference<'_, 'a>,
    ) -> Option<&Entries<'a>> {
        let name = reference.name;
        let found = self.objects.get(&(source, namespace.to_owned(), name));
        if found.is_none() && !reference.optional {
            if source == Source::ConfigMap && name == ROOT_CA {
                reference.at.remark(
                    Remark::dropped(
                        Severity::Major,
                        "no-api-server",
                        "the cluster's CA is not available: there is no API server",
                    )
                    .fix("do not call the Kubernetes API from this pod locally"),
                );
            } else {
                self.missing(
                    reference.at,
                    Problem::NoObject {
                        kind: source.kind(),
                        name: name.to_owned(),
                        namespace: namespace.to_owned(),
                    },
                );
            }
        }
        found
    }

    /// The content of one key.
    pub(crate) fn value(
        &self,
        source: Source,
        namespace: &str,
        reference: &Reference<'_, 'a>,
        key: &str,
    ) -> Option<&Cow<'a, [u8]>> {
        let entries = self.find(source, namespace, reference)?;
        let found = entries.get(key);
        if found.is_none() && !reference.optional {
            self.missing(
                reference.at,
                Problem::NoKey { kind: source.kind(), name: reference.name.to_owned(), key: key.to_owned() },
            );
        }
        found
    }

    fn missing(&self, at: &Cursor<'a>, problem: Problem) {
        match self.missing {
            MissingReferences::Deny => at.fail(problem),
            MissingReferences::Placeholder => at.remark(
                Remark::dropped(
                    Severity::Critical,
                    "missing-reference",
                    format!("{problem}; an empty value is used"),
                )
                .fix("let the chart make it from values"),
            ),
        }
    }
}

/// A mention of a ConfigMap or Secret.
#[derive(Debug)]
pub(crate) struct Reference<'c, 'a> {
    pub(crate) at: &'c Cursor<'a>,
    pub(crate) name: &'a str,
    pub(crate) optional: bool,
}

impl<'c, 'a> Reference<'c, 'a> {
    /// From a mapping with the name in `field` and maybe `optional`.
    pub(crate) fn read(at: &'c Cursor<'a>, field: &'static str) -> Self {
        Self { at, name: at.get(field).required(), optional: at.get("optional").boolean().unwrap_or(false) }
    }
}
