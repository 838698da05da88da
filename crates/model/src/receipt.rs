//! What exists because of us, and the proof that it no longer does.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What kind of thing was created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ThingKind {
    /// A container on the Engine.
    Container,
    /// A network on the Engine.
    Network,
    /// A volume on the Engine.
    Volume,
    /// An image we built.
    Image,
    /// A Terraform workspace.
    Workspace,
    /// A resource in a Terraform state.
    Resource,
    /// A backing service, shared by environments.
    BackingService,
    /// The HTTP router of the machine, shared by environments.
    Router,
    /// A namespace of a cluster.
    Namespace,
    /// An object in a cluster: `Deployment/api`.
    Object,
    /// A volume of a cluster that a claim was bound to.
    PersistentVolume,
}

impl std::fmt::Display for ThingKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Container => "container",
            Self::Network => "network",
            Self::Volume => "volume",
            Self::Image => "image",
            Self::Workspace => "workspace",
            Self::Resource => "resource",
            Self::BackingService => "backing service",
            Self::Router => "router",
            Self::Namespace => "namespace",
            Self::Object => "object",
            Self::PersistentVolume => "persistent volume",
        })
    }
}

/// A thing that exists, or may exist, because of an environment.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Thing {
    /// Its kind.
    pub kind: ThingKind,
    /// How its owner (Engine, Terraform) names it.
    pub id: String,
}

impl Thing {
    /// A thing.
    #[must_use]
    pub fn new(kind: ThingKind, id: impl Into<String>) -> Self {
        Self { kind, id: id.into() }
    }
}

impl std::fmt::Display for Thing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.kind, self.id)
    }
}

/// A thing with how it was found to have ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Item {
    /// Its kind.
    pub kind: ThingKind,
    /// How its owner names it.
    pub id: String,
    /// What was looked up, and what the answer was.
    pub evidence: String,
    /// Environments that still use it (`kept` only).
    #[serde(rename = "usedBy", default, skip_serializing_if = "Vec::is_empty")]
    pub used_by: Vec<String>,
    /// The command that removes it (`left` only).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remove: Option<String>,
}

/// How a thing ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum End {
    /// Looked up directly and not there.
    Gone,
    /// Shared, and still used by others.
    Kept,
    /// Kept on purpose until a stated time.
    Retained,
    /// Only a state file says that it is gone.
    Unverified,
    /// Still there.
    Left,
}

/// What `down` proves: for every thing created, how it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Receipt {
    /// The environment.
    pub environment: String,
    /// Looked up directly and not there.
    pub gone: Vec<Item>,
    /// Shared, and still used by others.
    pub kept: Vec<Item>,
    /// Kept on purpose until a stated time.
    pub retained: Vec<Item>,
    /// Only a state file says that it is gone.
    pub unverified: Vec<Item>,
    /// Still there.
    pub left: Vec<Item>,
}

impl Receipt {
    /// An empty receipt.
    #[must_use]
    pub fn new(environment: &str) -> Self {
        Self { environment: environment.to_owned(), ..Self::default() }
    }

    /// Adds a thing. A thing that is named twice counts once, and the worse end wins.
    pub fn add(&mut self, end: End, item: Item) {
        let thing = (item.kind, item.id.clone());
        for other in [End::Gone, End::Kept, End::Retained, End::Unverified, End::Left] {
            let list = self.list(other);
            if let Some(at) = list.iter().position(|i| (i.kind, i.id.clone()) == thing) {
                if other >= end {
                    return;
                }
                list.remove(at);
            }
        }
        self.list(end).push(item);
    }

    fn list(&mut self, end: End) -> &mut Vec<Item> {
        match end {
            End::Gone => &mut self.gone,
            End::Kept => &mut self.kept,
            End::Retained => &mut self.retained,
            End::Unverified => &mut self.unverified,
            End::Left => &mut self.left,
        }
    }

    /// All items with their ends.
    pub fn items(&self) -> impl Iterator<Item = (End, &Item)> {
        self.gone
            .iter()
            .map(|i| (End::Gone, i))
            .chain(self.kept.iter().map(|i| (End::Kept, i)))
            .chain(self.retained.iter().map(|i| (End::Retained, i)))
            .chain(self.unverified.iter().map(|i| (End::Unverified, i)))
            .chain(self.left.iter().map(|i| (End::Left, i)))
    }

    /// The one-line summary: `31 created: 28 gone, 3 kept (backing services, used by x), 0 left`.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut parts = vec![format!("{} gone", self.gone.len())];
        if !self.kept.is_empty() {
            let mut kinds: Vec<_> = self.kept.iter().map(|i| format!("{}s", i.kind)).collect();
            kinds.sort();
            kinds.dedup();
            let mut users: Vec<_> = self.kept.iter().flat_map(|i| i.used_by.iter().cloned()).collect();
            users.sort();
            users.dedup();
            let users =
                if users.is_empty() { String::new() } else { format!(", used by {}", users.join(", ")) };
            parts.push(format!("{} kept ({}{users})", self.kept.len(), kinds.join(", ")));
        }
        if !self.retained.is_empty() {
            parts.push(format!("{} retained", self.retained.len()));
        }
        if !self.unverified.is_empty() {
            parts.push(format!("{} unverified", self.unverified.len()));
        }
        parts.push(format!("{} left", self.left.len()));
        format!("{} created: {}", self.items().count(), parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(id: &str) -> Item {
        Item {
            kind: ThingKind::Container,
            id: id.into(),
            evidence: "looked up".into(),
            used_by: vec![],
            remove: None,
        }
    }

    #[test]
    fn the_worse_end_wins_and_a_thing_counts_once() {
        let mut receipt = Receipt::new("a");
        receipt.add(End::Gone, item("x"));
        receipt.add(End::Left, item("x"));
        receipt.add(End::Gone, item("x"));
        receipt.add(End::Gone, item("y"));
        assert_eq!(receipt.summary(), "2 created: 1 gone, 1 left");
    }

    #[test]
    fn the_summary_names_who_still_uses_what_is_kept() {
        let mut receipt = Receipt::new("a");
        receipt.add(End::Gone, item("x"));
        receipt.add(
            End::Kept,
            Item { kind: ThingKind::BackingService, used_by: vec!["album-yui".into()], ..item("mysql") },
        );
        assert_eq!(
            receipt.summary(),
            "2 created: 1 gone, 1 kept (backing services, used by album-yui), 0 left"
        );
    }
}
