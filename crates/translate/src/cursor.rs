//! Reading objects so that nothing is dropped in silence.
//!
//! A [`Cursor`] stands on one field of an object. Reading its value records it as consumed in
//! [`Notes`]; what nobody consumed is found by [`crate::leftover`] and becomes a finding. Values are
//! known by their addresses: the objects are borrowed, hence fixed, for as long as a translation
//! runs, and no paths need to be built for what is carried.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write;
use std::rc::Rc;

use envctl_model::finding::{Fate, Finding, Severity};
use serde_json::Value;

use crate::codes;
use crate::error::{Problem, TranslateError};
use crate::objects::Object;
use envctl_model::quantity::Quantity;

/// What a translation learnt beside its result.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    consumed: RefCell<HashSet<*const Value>>,
    findings: RefCell<BTreeSet<Finding>>,
    errors: RefCell<Vec<TranslateError>>,
}

impl Notes {
    pub(crate) fn is_consumed(&self, value: &Value) -> bool {
        self.consumed.borrow().contains(&std::ptr::from_ref(value))
    }

    fn consume(&self, value: &Value) {
        self.consumed.borrow_mut().insert(std::ptr::from_ref(value));
    }

    pub(crate) fn find(&self, finding: Finding) {
        self.findings.borrow_mut().insert(finding);
    }

    pub(crate) fn fail(&self, error: TranslateError) {
        let mut errors = self.errors.borrow_mut();
        // Every replica reads the same template and meets the same error.
        if !errors.contains(&error) {
            errors.push(error);
        }
    }

    pub(crate) fn finish(self) -> Result<Vec<Finding>, Vec<TranslateError>> {
        let errors = self.errors.into_inner();
        if errors.is_empty() { Ok(self.findings.into_inner().into_iter().collect()) } else { Err(errors) }
    }
}

/// What a finding says, without where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remark {
    severity: Severity,
    fate: Fate,
    code: &'static str,
    message: String,
    fix: Option<String>,
}

impl Remark {
    pub(crate) fn new(
        fate: Fate,
        severity: Severity,
        code: &'static str,
        message: impl Into<String>,
    ) -> Self {
        debug_assert!(
            codes::explain(code).is_some_and(|row| severity <= row.severity),
            "codes.rs has to explain {code}, and that it may be {severity:?}"
        );
        Self { severity, fate, code, message: message.into(), fix: None }
    }

    pub(crate) fn approximated(severity: Severity, code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Fate::Approximated, severity, code, message)
    }

    pub(crate) fn dropped(severity: Severity, code: &'static str, message: impl Into<String>) -> Self {
        Self::new(Fate::Dropped, severity, code, message)
    }

    pub(crate) fn fix(mut self, fix: impl Into<String>) -> Self {
        self.fix = Some(fix.into());
        self
    }

    pub(crate) fn at(self, object: String, path: String) -> Finding {
        let Self { severity, fate, code, message, fix } = self;
        Finding { severity, fate, code: code.to_owned(), object, path, message, fix }
    }
}

#[derive(Debug)]
struct Place<'a> {
    parent: Option<Rc<Place<'a>>>,
    step: Step<'a>,
}

/// One step of a path inside an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    Root,
    Key(&'a str),
    Index(usize),
}

/// A field of an object, present or not.
#[derive(Debug, Clone)]
pub(crate) struct Cursor<'a> {
    value: Option<&'a Value>,
    place: Rc<Place<'a>>,
    object: &'a Object,
    notes: &'a Notes,
}

impl<'a> Cursor<'a> {
    pub(crate) fn new(object: &'a Object, notes: &'a Notes) -> Self {
        let place = Rc::new(Place { parent: None, step: Step::Root });
        Self { value: Some(&object.body), place, object, notes }
    }

    pub(crate) fn object(&self) -> &'a Object {
        self.object
    }

    fn step(&self, step: Step<'a>, value: Option<&'a Value>) -> Self {
        Self {
            // null is how templates write "absent", and the API server reads it so.
            value: value.filter(|value| !value.is_null()),
            place: Rc::new(Place { parent: Some(Rc::clone(&self.place)), step }),
            object: self.object,
            notes: self.notes,
        }
    }

    /// The field `key` of a mapping.
    pub(crate) fn get(&self, key: &'a str) -> Self {
        self.step(Step::Key(key), self.value.and_then(|value| value.get(key)))
    }

    /// The field at the end of several keys.
    pub(crate) fn at(&self, keys: &[&'static str]) -> Self {
        keys.iter().fold(self.clone(), |cursor, key| cursor.get(key))
    }

    /// The field as it is written, which does not count as reading it.
    pub(crate) fn raw(&self) -> Option<&'a Value> {
        self.value
    }

    /// Whether the field is written (and not null).
    pub(crate) fn present(&self) -> bool {
        self.value.is_some()
    }

    /// The items of a list; none if absent.
    pub(crate) fn items(&self) -> Vec<Self> {
        match self.value {
            Some(Value::Array(items)) => items
                .iter()
                .enumerate()
                .map(|(index, item)| self.step(Step::Index(index), Some(item)))
                .collect(),
            Some(_) => self.wrong_type("a list"),
            None => Vec::new(),
        }
    }

    /// The fields of a mapping, in order; none if absent.
    pub(crate) fn entries(&self) -> Vec<(&'a str, Self)> {
        match self.value {
            Some(Value::Object(fields)) => fields
                .iter()
                .map(|(key, field)| (key.as_str(), self.step(Step::Key(key), Some(field))))
                .collect(),
            Some(_) => self.wrong_type("a mapping"),
            None => Vec::new(),
        }
    }

    fn wrong_type<T: Default>(&self, expected: &'static str) -> T {
        let found = match self.value {
            None | Some(Value::Null) => "nothing",
            Some(Value::Bool(_)) => "a boolean",
            Some(Value::Number(_)) => "a number",
            Some(Value::String(_)) => "a string",
            Some(Value::Array(_)) => "a list",
            Some(Value::Object(_)) => "a mapping",
        };
        self.take();
        self.fail(Problem::WrongType { expected, found });
        T::default()
    }

    fn scalar<T>(&self, expected: &'static str, read: impl FnOnce(&'a Value) -> Option<T>) -> Option<T> {
        let value = self.value?;
        self.notes.consume(value);
        read(value).or_else(|| self.wrong_type(expected))
    }

    pub(crate) fn string(&self) -> Option<&'a str> {
        self.scalar("a string", Value::as_str)
    }

    pub(crate) fn boolean(&self) -> Option<bool> {
        self.scalar("a boolean", Value::as_bool)
    }

    pub(crate) fn integer(&self) -> Option<i64> {
        self.scalar("an integer", Value::as_i64)
    }

    /// An integer that fits `T`; what does not fit is an error.
    pub(crate) fn number<T: TryFrom<i64>>(&self) -> Option<T> {
        let integer = self.integer()?;
        T::try_from(integer).ok().or_else(|| {
            self.invalid(&integer.to_string(), "a number in this field's range");
            None
        })
    }

    /// `IntOrString` as text.
    pub(crate) fn int_or_string(&self) -> Option<String> {
        self.scalar("an integer or a string", |value| match value {
            Value::String(text) => Some(text.clone()),
            Value::Number(number) => Some(number.to_string()),
            _ => None,
        })
    }

    pub(crate) fn quantity(&self) -> Option<Quantity> {
        let text = self.int_or_string()?;
        Quantity::parse(&text).or_else(|| {
            self.invalid(&text, "a quantity such as 500m, 1.5 or 128Mi");
            None
        })
    }

    pub(crate) fn strings(&self) -> Vec<&'a str> {
        self.items().iter().filter_map(Self::string).collect()
    }

    pub(crate) fn string_map(&self) -> BTreeMap<String, String> {
        self.entries()
            .into_iter()
            .filter_map(|(key, field)| Some((key.to_owned(), field.string()?.to_owned())))
            .collect()
    }

    /// A string that must be there; the empty string after the error is recorded.
    pub(crate) fn required(&self) -> &'a str {
        if !self.present() {
            self.fail(Problem::Required);
        }
        self.string().unwrap_or_default()
    }

    /// Consumes the field with all that is below it.
    pub(crate) fn take(&self) {
        if let Some(value) = self.value {
            self.notes.consume(value);
        }
    }

    /// The JSON path: `spec.template.spec.containers[0].image`.
    pub(crate) fn path(&self) -> String {
        let mut steps = Vec::new();
        let mut place = Some(&self.place);
        while let Some(here) = place {
            steps.push(here.step);
            place = here.parent.as_ref();
        }
        steps.reverse();
        path(&steps)
    }

    pub(crate) fn fail(&self, problem: Problem) {
        self.notes.fail(TranslateError::Field {
            object: self.object.id(),
            path: self.path(),
            origin: self.object.origin.clone(),
            problem,
        });
    }

    pub(crate) fn invalid(&self, value: &str, expected: &'static str) {
        self.fail(Problem::Invalid { value: value.to_owned(), expected });
    }

    pub(crate) fn remark(&self, remark: Remark) {
        self.notes.find(remark.at(self.object.id(), self.path()));
    }
}

/// Writes a path as users know it from kubectl.
pub(crate) fn path(steps: &[Step<'_>]) -> String {
    let mut text = String::new();
    for step in steps {
        // Writing to a String cannot fail.
        let _ = match step {
            Step::Root => Ok(()),
            Step::Index(index) => write!(text, "[{index}]"),
            Step::Key(key) if key.contains(['.', '/']) => write!(text, "['{key}']"),
            Step::Key(key) if text.is_empty() => write!(text, "{key}"),
            Step::Key(key) => write!(text, ".{key}"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::objects::parse;

    #[test]
    fn wrong_types_are_errors_with_a_path() {
        let objects = parse(
            "apiVersion: v1\nkind: Pod\nmetadata: {name: x, labels: {a.b/c: 1}}\nspec: {containers: [{image: [1]}], list: no}\n",
            "t.yaml",
        )
        .expect("parses");
        let notes = Notes::default();
        let root = Cursor::new(&objects[0], &notes);
        assert!(root.at(&["metadata", "labels"]).string_map().is_empty());
        assert_eq!(root.at(&["spec", "containers"]).items()[0].get("image").string(), None);
        assert!(root.at(&["spec", "list"]).items().is_empty());
        assert_eq!(root.get("status").required(), "");
        let errors: Vec<_> = notes.finish().expect_err("errors").iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "Pod/x metadata.labels['a.b/c']: expected a string, found a number (t.yaml:1)",
                "Pod/x spec.containers[0].image: expected a string, found a list (t.yaml:1)",
                "Pod/x spec.list: expected a list, found a boolean (t.yaml:1)",
                "Pod/x status: is required (t.yaml:1)",
            ]
        );
    }
}
