//! JSON bodies, member by member. Places are JSON pointers (RFC 6901).

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::alike::Alike;
use super::shown::ABSENT;

/// The longest list of which the order is looked into. Comparing each member with each takes the square of it.
const LONGEST_SORTED: usize = 500;

/// What stands at one place: on the old side, on the old side the second time, on the new side.
type Three<'a> = [Option<&'a Value>; 3];

pub(super) fn alike(found: &mut Alike, old: &Value, again: &Value, new: &Value) {
    let mut walk = Walk { found, volatile: Vec::new() };
    walk.at("", [Some(old), Some(again), Some(new)]);
    for pointer in walk.volatile {
        found.volatile(place(&numberless(&pointer)));
    }
}

/// The whole document has an empty pointer.
fn place(pointer: &str) -> String {
    if pointer.is_empty() { "body /".to_owned() } else { format!("body {pointer}") }
}

struct Walk<'a> {
    found: &'a mut Alike,
    /// Pointers to what the old side did not repeat.
    volatile: Vec<String>,
}

impl Walk<'_> {
    fn at(&mut self, pointer: &str, [old, again, new]: Three<'_>) {
        match (old, again, new) {
            (old, again, new) if old == again && old == new => {}
            (Some(Value::Object(old)), Some(Value::Object(again)), Some(Value::Object(new))) => {
                self.object(pointer, [old, again, new]);
            }
            (Some(Value::Array(old)), Some(Value::Array(again)), Some(Value::Array(new)))
                if old.len() == again.len() =>
            {
                self.array(pointer, [old, again, new]);
            }
            (old, again, _) if old != again && !is_container_of_both(old, again) => {
                self.volatile.push(pointer.to_owned());
            }
            (old, _, new) => self.differ(pointer, old, new),
        }
    }

    fn object(&mut self, pointer: &str, three: [&Map<String, Value>; 3]) {
        let keys: BTreeSet<&String> = three.iter().flat_map(|map| map.keys()).collect();
        for key in keys {
            let escaped = key.replace('~', "~0").replace('/', "~1");
            self.at(&format!("{pointer}/{escaped}"), three.map(|map| map.get(key)));
        }
    }

    fn array(&mut self, pointer: &str, [old, again, new]: [&[Value]; 3]) {
        if old.len() != new.len() {
            let count = |list: &[Value]| format!("{} members", list.len());
            return self.found.differ(place(pointer), &count(old), &count(new));
        }
        let (before, steady) = (self.found.differences.len(), self.volatile.len());
        for (index, ((old, again), new)) in old.iter().zip(again).zip(new).enumerate() {
            self.at(&format!("{pointer}/{index}"), [Some(old), Some(again), Some(new)]);
        }
        if self.found.differences.len() > before + 1
            && let Some((first, second)) = exchanged(old, new, &self.within(pointer, steady))
        {
            self.found.differences.truncate(before);
            let list = |members: [&Value; 2]| Value::from_iter(members.map(Value::clone)).to_string();
            let (old, new) = (list([&first, &second]), list([&second, &first]));
            self.found.differ(place(pointer), &old, &new);
        }
    }

    /// What was found volatile since then within members of a list, as pointers from the member.
    fn within(&self, list: &str, since: usize) -> BTreeSet<String> {
        let inner = |pointer: &String| {
            let after = pointer.strip_prefix(list)?.strip_prefix('/')?;
            Some(after.split_once('/').map_or_else(String::new, |(_, inner)| format!("/{inner}")))
        };
        self.volatile[since..].iter().filter_map(inner).collect()
    }

    fn differ(&mut self, pointer: &str, old: Option<&Value>, new: Option<&Value>) {
        match (old, new) {
            // Two strings differ also without their quotes.
            (Some(Value::String(old)), Some(Value::String(new))) => {
                self.found.differ(place(pointer), old, new);
            }
            (old, new) => {
                let text = |value: Option<&Value>| value.map_or_else(|| ABSENT.to_owned(), Value::to_string);
                self.found.differ(place(pointer), &text(old), &text(new));
            }
        }
    }
}

/// Whether the old side gave an object twice, or a list of one length twice: what differs is within.
fn is_container_of_both(old: Option<&Value>, again: Option<&Value>) -> bool {
    match (old, again) {
        (Some(Value::Object(_)), Some(Value::Object(_))) => true,
        (Some(Value::Array(old)), Some(Value::Array(again))) => old.len() == again.len(),
        _ => false,
    }
}

/// If two lists have the same members in another order: two members of which each list has another one first, shown
/// by what tells them apart. What is volatile in members is passed over.
fn exchanged(old: &[Value], new: &[Value], volatile: &BTreeSet<String>) -> Option<(Value, Value)> {
    if old.len() > LONGEST_SORTED {
        return None;
    }
    let steady =
        |list: &[Value]| -> Vec<Value> { list.iter().map(|member| without(member, volatile)).collect() };
    let (old, new) = (steady(old), steady(new));
    let mut taken = vec![false; new.len()];
    let mut places = Vec::with_capacity(old.len());
    for member in &old {
        let place = (0..new.len()).find(|place| !taken[*place] && new[*place] == *member)?;
        taken[place] = true;
        places.push(place);
    }
    let at = places.windows(2).position(|pair| pair[0] > pair[1])?;
    Some(told_apart(&old[at], &old[at + 1]))
}

fn without(member: &Value, volatile: &BTreeSet<String>) -> Value {
    let mut member = member.clone();
    for pointer in volatile {
        if let Some(value) = member.pointer_mut(pointer) {
            *value = Value::Null;
        }
    }
    member
}

/// Two members, reduced to the shortest key in which they differ.
fn told_apart(first: &Value, second: &Value) -> (Value, Value) {
    let (Value::Object(one), Value::Object(other)) = (first, second) else {
        return (first.clone(), second.clone());
    };
    let differing = one.iter().filter_map(|(key, value)| {
        let against = other.get(key).filter(|against| *against != value)?;
        Some((key, value, against))
    });
    let shortest =
        differing.min_by_key(|(_, value, against)| value.to_string().len() + against.to_string().len());
    let only = |key: &String, value: &Value| Value::Object(Map::from_iter([(key.clone(), value.clone())]));
    shortest.map_or_else(
        || (first.clone(), second.clone()),
        |(key, value, against)| (only(key, value), only(key, against)),
    )
}

/// A pointer with `#` for numbers of list members, so that all members of a list have one.
fn numberless(pointer: &str) -> String {
    let parts = pointer.split('/').map(|part| if part.parse::<usize>().is_ok() { "#" } else { part });
    parts.collect::<Vec<_>>().join("/")
}
