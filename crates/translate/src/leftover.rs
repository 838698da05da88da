//! What nobody read: fields of a handled object that were not consumed become findings.

use serde_json::Value;

use crate::cursor::{Notes, Remark, Step, path};
use crate::fields::{self, Scope};
use crate::objects::Object;

/// Reports every field of the object that was not consumed: where it is known, as
/// [`fields`] says; else as `unknown-field`.
pub(crate) fn report(object: &Object, notes: &Notes) {
    let mut steps = Vec::new();
    walk(&object.body, &mut steps, object, notes);
}

fn walk<'a>(value: &'a Value, steps: &mut Vec<Step<'a>>, object: &'a Object, notes: &Notes) {
    let left = left(value, notes);
    if matches!(left, Left::Nothing | Left::Blank) {
        return;
    }
    if let Some((length, remark)) = known(object, steps) {
        notes.find(remark.at(object.id(), path(&steps[..length.min(steps.len())])));
        return;
    }
    // A subtree of which nothing was read is one finding, unless rows tell its fields apart.
    let whole = left == Left::Everything && !steps.is_empty() && !reaches_further(object, steps);
    match value {
        Value::Object(fields) if !whole => {
            for (key, field) in fields {
                steps.push(Step::Key(key));
                walk(field, steps, object, notes);
                steps.pop();
            }
        }
        Value::Array(items) if !whole => {
            for (index, item) in items.iter().enumerate() {
                steps.push(Step::Index(index));
                walk(item, steps, object, notes);
                steps.pop();
            }
        }
        _ => notes.find(fields::unknown().at(object.id(), path(steps))),
    }
}

/// How much of a value was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    /// There is nothing to read: null and empty collections, which templates leave behind.
    Blank,
    Nothing,
    Something,
    Everything,
}

fn left(value: &Value, notes: &Notes) -> Left {
    if notes.is_consumed(value) {
        return Left::Nothing;
    }
    match value {
        Value::Null => Left::Blank,
        Value::Array(items) => items.iter().map(|item| left(item, notes)).fold(Left::Blank, Left::and),
        Value::Object(fields) => fields.values().map(|field| left(field, notes)).fold(Left::Blank, Left::and),
        _ => Left::Everything,
    }
}

impl Left {
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Blank, only) | (only, Self::Blank) => only,
            (one, other) if one == other => one,
            _ => Self::Something,
        }
    }
}

/// The table's row for a path, and how many of its steps belong to the row.
fn known(object: &Object, steps: &[Step<'_>]) -> Option<(usize, Remark)> {
    scopes(object, steps).into_iter().find_map(|(scope, kind, skip)| {
        let (length, remark) = fields::find(scope, kind, &steps[skip..])?;
        Some((skip + length, remark))
    })
}

/// Whether the table has rows for fields below this path.
fn reaches_further(object: &Object, steps: &[Step<'_>]) -> bool {
    scopes(object, steps)
        .into_iter()
        .any(|(scope, kind, skip)| fields::has_below(scope, kind, &steps[skip..]))
}

/// What a CronJob has of a Job.
const JOB: [Step<'static>; 2] = [Step::Key("spec"), Step::Key("jobTemplate")];

/// The tables that apply to a path, narrowest first, with their kind and the number of steps they leave out.
fn scopes<'o>(object: &'o Object, steps: &[Step<'_>]) -> Vec<(Scope, &'o str, usize)> {
    let kind = object.kind.as_str();
    let mut scopes = Vec::new();
    let template: &[Step<'_>] = match kind {
        "Pod" => &[],
        "CronJob" => &[JOB[0], JOB[1], Step::Key("spec"), Step::Key("template")],
        _ => &[Step::Key("spec"), Step::Key("template")],
    };
    let pod = template.len() + 1;
    if steps.starts_with(template) && steps.get(template.len()) == Some(&Step::Key("spec")) {
        let containers = matches!(steps.get(pod), Some(Step::Key("containers" | "initContainers")));
        if containers && matches!(steps.get(pod + 1), Some(Step::Index(_))) {
            scopes.push((Scope::Container, kind, pod + 2));
        }
        scopes.push((Scope::PodSpec, kind, pod));
    }
    if kind == "CronJob" && steps.starts_with(&JOB) {
        scopes.push((Scope::Kind, "Job", JOB.len()));
    }
    scopes.push((Scope::Kind, kind, 0));
    scopes.push((Scope::Any, kind, 0));
    scopes
}
