//! What all parts of reading a plan share: errors with their place, and words that have to be known.

use std::ops::{Range, RangeInclusive};
use std::path::{Component, Path, PathBuf};

use serde_yaml::Spanned;

use super::catalogue::Entry;
use super::file::{PlanText, Text};
use crate::diagnostic::Diagnostic;
use crate::spelling::closest;
use crate::stack::{ComponentKind, Stack};
use crate::yaml::span_of;

/// What is wrong with a plan.
pub(super) type Wrong = Box<Diagnostic>;

/// Reads one plan, and remembers which files and services it names.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    file: &'a str,
    source: &'a str,
    directory: &'a Path,
    files: Vec<(PathBuf, Range<usize>)>,
    services: Vec<(String, Range<usize>)>,
}

/// Files and services, each with the place where it is named.
type Mentioned = (Vec<(PathBuf, Range<usize>)>, Vec<(String, Range<usize>)>);

impl<'a> Reader<'a> {
    /// A reader of the plan in `directory`, a path from the stack file's directory.
    pub(super) fn new(file: &'a str, source: &'a str, directory: &'a Path) -> Self {
        Self { file, source, directory, files: Vec::new(), services: Vec::new() }
    }

    /// What was named.
    pub(super) fn mentioned(self) -> Mentioned {
        (self.files, self.services)
    }

    /// An error at a value, and what to do.
    pub(super) fn at<T>(&self, value: &Spanned<T>, message: impl Into<String>, help: &str) -> Wrong {
        self.within(self.span(value), message, help)
    }

    /// An error at a key of the plan's outermost mapping.
    pub(super) fn at_key(&self, key: &str, message: impl Into<String>, help: &str) -> Wrong {
        let mut start = 0;
        for line in self.source.split_inclusive('\n') {
            if line.strip_prefix(key).is_some_and(|rest| rest.starts_with(':')) {
                return self.within(start..start + key.len(), message, help);
            }
            start += line.len();
        }
        self.within(0..0, message, help)
    }

    fn within(&self, span: Range<usize>, message: impl Into<String>, help: &str) -> Wrong {
        Box::new(Diagnostic {
            message: message.into(),
            file: self.file.to_owned(),
            source: self.source.to_owned(),
            span,
            label: String::new(),
            help: (!help.is_empty()).then(|| help.to_owned()),
        })
    }

    fn span<T>(&self, value: &Spanned<T>) -> Range<usize> {
        span_of(self.source, &value.referenced)
    }

    /// Checks `apiVersion` and `kind`.
    pub(super) fn header(&self, text: &PlanText) -> Result<(), Wrong> {
        if text.api_version.value != "envctl/v1" {
            let message = format!("apiVersion `{}` is not known", text.api_version.value);
            return Err(self.at(&text.api_version, message, "write `envctl/v1`"));
        }
        if text.kind.value != "CutoverPlan" {
            let message = format!("a cutover plan has kind `CutoverPlan`, not `{}`", text.kind.value);
            return Err(self.at(&text.kind, message, ""));
        }
        Ok(())
    }

    /// The kind of the component that the plan is about.
    pub(super) fn component(&self, name: &Text, stack: &Stack) -> Result<ComponentKind, Wrong> {
        if let Some(component) = stack.components.get(&name.value) {
            return Ok(component.kind);
        }
        let known = stack.components.keys().map(String::as_str);
        let help = if stack.components.is_empty() {
            "the stack file has no `components`: add `components: {NAME: {kind: service}}`".to_owned()
        } else {
            meant(&name.value, known, "components of the stack")
        };
        Err(self.at(name, format!("the stack has no component `{}`", name.value), &help))
    }

    /// A quantity, by the function of [`crate::units`] that reads it.
    pub(super) fn quantity<T>(
        &self,
        text: &Text,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<T, Wrong> {
        read(&text.value).map_err(|message| self.at(text, message, ""))
    }

    /// A whole number within bounds.
    pub(super) fn whole<T: TryFrom<u64>>(
        &self,
        text: &Text,
        what: &str,
        bounds: RangeInclusive<u64>,
    ) -> Result<T, Wrong> {
        let number = text.value.parse::<u64>().ok().filter(|number| bounds.contains(number));
        number.and_then(|number| T::try_from(number).ok()).ok_or_else(|| {
            let (low, high) = bounds.into_inner();
            self.at(text, format!("{what} is a whole number from {low} to {high}, not `{}`", text.value), "")
        })
    }

    /// A path from the plan's directory that stays within the stack's.
    pub(super) fn path(&mut self, text: &Text) -> Result<PathBuf, Wrong> {
        let path = PathBuf::from(&text.value);
        if path.is_absolute() {
            let message = format!("`{}` is an absolute path: others have it elsewhere", text.value);
            return Err(self.at(text, message, "write it relative to the plan"));
        }
        let mut depth = 0_i32;
        for part in self.directory.join(&path).components() {
            depth += match part {
                Component::ParentDir => -1,
                Component::Normal(_) => 1,
                _ => 0,
            };
            if depth < 0 {
                let message = format!("`{}` leaves the directory of the stack file", text.value);
                let help = "copy it beside the plan: what is rehearsed is what the repository has";
                return Err(self.at(text, message, help));
            }
        }
        if text.value.is_empty() || text.value.ends_with('/') {
            return Err(self.at(text, format!("`{}` is not the path of a file", text.value), ""));
        }
        self.files.push((path.clone(), self.span(text)));
        Ok(path)
    }

    /// A service of the old side's Compose file.
    pub(super) fn service(&mut self, text: &Text) -> String {
        self.services.push((text.value.clone(), self.span(text)));
        text.value.clone()
    }

    /// One of a few words.
    pub(super) fn word<T: Copy>(&self, text: &Text, what: &str, known: &[(&str, T)]) -> Result<T, Wrong> {
        known.iter().find(|(word, _)| *word == text.value).map(|(_, value)| *value).ok_or_else(|| {
            let help = meant(&text.value, known.iter().map(|(word, _)| *word), "write one of");
            self.at(text, format!("there is no {what} `{}`", text.value), &help)
        })
    }

    /// A word of a table of the catalogue, which has to make sense for the kind.
    pub(super) fn entry<E: Entry, T>(
        &self,
        at: &Spanned<T>,
        word: &str,
        kind: ComponentKind,
        table: &'static [E],
    ) -> Result<&'static E, Wrong> {
        let noun = E::NOUN;
        let Some(entry) = table.iter().find(|entry| entry.word() == word) else {
            let fitting = table.iter().filter(|entry| entry.kinds().contains(&kind)).map(Entry::word);
            let help = closest(word, table.iter().map(Entry::word)).map_or_else(
                || format!("{noun}s for {}: {}", a(kind), fitting.collect::<Vec<_>>().join(", ")),
                |known| format!("did you mean `{known}`?"),
            );
            return Err(self.at(at, format!("there is no {noun} `{word}`"), &help));
        };
        if entry.kinds().contains(&kind) {
            return Ok(entry);
        }
        let plurals: Vec<_> = entry.kinds().iter().map(|kind| format!("{}s", kind.as_str())).collect();
        let instead = entry.instead(kind).unwrap_or("another one");
        let help = format!("it is for {}; for {} use {instead}", listed(&plurals), a(kind));
        Err(self.at(at, format!("{noun} `{word}` makes no sense for {}", a(kind)), &help))
    }
}

/// `a service`, `an endpoint`.
pub(super) fn a(kind: ComponentKind) -> String {
    let article = if kind == ComponentKind::Endpoint { "an" } else { "a" };
    format!("{article} {}", kind.as_str())
}

/// `a`, `a and b`, `a, b and c`.
fn listed(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [only] => only.clone(),
        [before @ .., last] => format!("{} and {last}", before.join(", ")),
    }
}

/// The word that was meant, or all there are.
pub(super) fn meant<'a>(word: &str, known: impl Iterator<Item = &'a str> + Clone, list: &str) -> String {
    closest(word, known.clone()).map_or_else(
        || format!("{list}: {}", known.collect::<Vec<_>>().join(", ")),
        |known| format!("did you mean `{known}`?"),
    )
}

/// The first value that an earlier one equals.
pub(super) fn repeated<'a>(values: impl IntoIterator<Item = &'a Text>) -> Option<&'a Text> {
    let mut seen = std::collections::BTreeSet::new();
    values.into_iter().find(|text| !seen.insert(text.value.as_str()))
}
