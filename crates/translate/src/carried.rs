//! How much of the objects is carried over as it is written.

use envctl_model::finding::{Fate, Finding};
use serde_json::Value;

use crate::cursor::{Step, path};
use crate::objects::Object;

/// The number of plain values that no finding is about.
pub(crate) fn count(objects: &[Object], findings: &[Finding]) -> usize {
    let of_object = |object: &Object| {
        let id = object.id();
        let own = findings.iter().filter(|finding| finding.object == id && finding.fate != Fate::Carried);
        let paths: Vec<&str> = own.map(|finding| finding.path.as_str()).collect();
        if paths.contains(&"") { 0 } else { below(&object.body, &mut Vec::new(), &paths) }
    };
    objects.iter().map(of_object).sum()
}

fn below<'a>(value: &'a Value, steps: &mut Vec<Step<'a>>, found: &[&str]) -> usize {
    if !steps.is_empty() && found.contains(&path(steps).as_str()) {
        return 0;
    }
    let mut descend = |step, value| {
        steps.push(step);
        let count = below(value, steps, found);
        steps.pop();
        count
    };
    match value {
        Value::Object(fields) => fields.iter().map(|(key, field)| descend(Step::Key(key), field)).sum(),
        Value::Array(items) => {
            items.iter().enumerate().map(|(index, item)| descend(Step::Index(index), item)).sum()
        }
        // That is how templates write "absent".
        Value::Null => 0,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use envctl_model::finding::Severity;

    use super::*;

    #[test]
    fn what_a_finding_is_about_is_not_carried() {
        let text = "{apiVersion: v1, kind: X, metadata: {name: a}, spec: {b: [1, {c: 2, d: null}], e: 3}}";
        let objects = crate::parse(text, "test").unwrap();
        let finding = |path: &str| Finding {
            severity: Severity::Info,
            fate: Fate::Dropped,
            code: String::new(),
            object: "X/a".to_owned(),
            path: path.to_owned(),
            message: String::new(),
            fix: None,
        };
        assert_eq!(count(&objects, &[]), 6);
        assert_eq!(count(&objects, &[finding("spec.b[1]")]), 5);
        assert_eq!(count(&objects, &[finding("spec.b"), finding("spec.b[0]")]), 4);
        assert_eq!(count(&objects, &[finding("")]), 0);
    }
}
