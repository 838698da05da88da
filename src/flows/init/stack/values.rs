//! A chart's values as leaves with paths, and what is set on top of them.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Map, Value};

/// One step down into values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// Into a map.
    Key(String),
    /// Into a list.
    Index(usize),
}

/// A plain value and where it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Leaf {
    steps: Vec<Step>,
    /// The value.
    pub(super) value: Value,
}

impl Leaf {
    /// The text in it; that of nothing is empty.
    pub(super) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            Value::Null => Some(""),
            _ => None,
        }
    }

    /// The last key of its path.
    pub(super) fn key(&self) -> &str {
        let keys = self.steps.iter().rev().find_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        });
        keys.unwrap_or_default()
    }

    /// How far down it is.
    pub(super) fn depth(&self) -> usize {
        self.steps.len()
    }

    /// Whether both are in the same map.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        let above = |leaf: &Self| leaf.steps.len().saturating_sub(1);
        self.steps != other.steps && self.steps[..above(self)] == other.steps[..above(other)]
    }

    /// The path of what can be set: lists are set as a whole. And the steps within it.
    fn settable(&self) -> (String, &[Step]) {
        let keys: Vec<_> = self
            .steps
            .iter()
            .map_while(|step| match step {
                Step::Key(key) => Some(key.replace('\\', "\\\\").replace('.', "\\.")),
                Step::Index(_) => None,
            })
            .collect();
        let inner = &self.steps[keys.len()..];
        (keys.join("."), inner)
    }
}

/// `ingress.hosts[0].host`
impl fmt::Display for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, step) in self.steps.iter().enumerate() {
            match step {
                Step::Key(key) if n == 0 => f.write_str(key)?,
                Step::Key(key) => write!(f, ".{key}")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}

/// All plain values, in the order of the file.
pub(super) fn leaves(values: &Value) -> Vec<Leaf> {
    let mut found = Vec::new();
    collect(values, &mut Vec::new(), &mut found);
    found
}

fn collect(value: &Value, steps: &mut Vec<Step>, found: &mut Vec<Leaf>) {
    let mut descend = |step, value| {
        steps.push(step);
        collect(value, steps, found);
        steps.pop();
    };
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| descend(Step::Key(key.clone()), value)),
        Value::Array(list) => {
            list.iter().enumerate().for_each(|(index, value)| descend(Step::Index(index), value));
        }
        plain => found.push(Leaf { steps: steps.clone(), value: plain.clone() }),
    }
}

/// The leaf at a dotted path, which need not be there.
pub(super) fn leaf_at(values: &Value, path: &str) -> Leaf {
    let steps: Vec<_> = path.split('.').map(|key| Step::Key(key.to_owned())).collect();
    let value = path.split('.').fold(values, |value, key| &value[key]).clone();
    Leaf { steps, value }
}

/// Lays values over others as Helm does: maps are merged, all else is replaced, and `null` takes away.
pub(super) fn merge(under: &mut Value, over: Value) {
    match (under, over) {
        (Value::Object(under), Value::Object(over)) => {
            for (key, value) in over {
                if value.is_null() {
                    under.shift_remove(&key);
                } else {
                    merge(under.entry(key).or_insert(Value::Null), value);
                }
            }
        }
        (under, over) => *under = over,
    }
}

/// What is set on top of values, by dotted path: what `inputs.values` of a stack file holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Overrides(BTreeMap<String, Value>);

impl Overrides {
    /// Sets a leaf of these values. Of a list the other items stay what they are.
    pub(super) fn set(&mut self, values: &Value, leaf: &Leaf, new: impl Into<Value>) {
        let (path, inner) = leaf.settable();
        let outer = leaf.steps.len() - inner.len();
        let there = leaf.steps[..outer].iter().fold(values, |value, step| match step {
            Step::Key(key) => &value[key.as_str()],
            Step::Index(index) => &value[*index],
        });
        let mut at = self.0.entry(path).or_insert_with(|| there.clone());
        for step in inner {
            at = match step {
                Step::Key(key) => &mut at[key.as_str()],
                Step::Index(index) => &mut at[*index],
            };
        }
        *at = new.into();
    }

    /// Each path with its value.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(path, value)| (path.as_str(), value))
    }

    /// As a values file would hold them.
    pub(super) fn nested(&self) -> Value {
        let mut root = Map::new();
        for (path, value) in &self.0 {
            // Both paths are of the same values, where nothing is a map and a plain value at once.
            let _ = envctl_model::stack::set_path(&mut root, path, value.clone());
        }
        Value::Object(root)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn leaves_say_where_they_are_and_lists_are_set_as_a_whole() {
        let values = json!({"tag": "", "in.gress": {"hosts": [{"host": "a.example", "paths": ["/"]}]}});
        let all = leaves(&values);
        let shown: Vec<_> = all.iter().map(Leaf::to_string).collect();
        assert_eq!(shown, ["tag", "in.gress.hosts[0].host", "in.gress.hosts[0].paths[0]"]);
        let mut set = Overrides::default();
        set.set(&values, &all[1], "b.example");
        set.set(&values, &all[2], "/b");
        set.set(&values, &all[0], "1");
        assert_eq!(
            set.iter().map(|(path, _)| path).collect::<Vec<_>>(),
            [r"in\.gress.hosts", "tag"],
            "two leaves of one list are one input"
        );
        assert_eq!(
            set.nested(),
            json!({"tag": "1", "in.gress": {"hosts": [{"host": "b.example", "paths": ["/b"]}]}})
        );
        assert!(all[0].is_beside(&leaf_at(&values, "image")) && !all[1].is_beside(&all[0]));
    }

    #[test]
    fn values_are_layered_as_helm_does() {
        let mut values = json!({"a": {"b": 1, "c": [1, 2]}, "d": 1});
        merge(&mut values, json!({"a": {"c": [3]}, "d": null, "e": {"f": 2}}));
        assert_eq!(values, json!({"a": {"b": 1, "c": [3]}, "e": {"f": 2}}));
    }
}
