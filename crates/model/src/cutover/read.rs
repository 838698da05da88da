//! From a plan's file to the plan.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::check::Reader;
use super::file::PlanText;
use super::plan::CutoverPlan;
use super::{course, faults, load, production, sides};
use crate::diagnostic::Diagnostic;
use crate::spelling::closest;
use crate::stack::Stack;
use crate::yaml;

/// A cutover plan that was parsed and checked, with its file.
#[derive(Debug, Clone)]
pub struct PlanFile {
    /// The file as the user would name it.
    pub file: String,
    /// Its text.
    pub source: String,
    /// Its content.
    pub plan: CutoverPlan,
    files: Vec<(PathBuf, Range<usize>)>,
    services: Vec<(String, Range<usize>)>,
}

impl PlanFile {
    /// Parses and checks a plan of a stack. `directory` is where the plan lies, from the stack file's directory.
    ///
    /// # Errors
    /// The first thing that is wrong or makes no sense, with its place and what to do.
    pub fn parse(file: &str, source: &str, stack: &Stack, directory: &Path) -> Result<Self, Box<Diagnostic>> {
        let text: PlanText = yaml::read(file, source)?;
        let mut reader = Reader::new(file, source, directory);
        reader.header(&text)?;
        let kind = reader.component(&text.component, stack)?;
        let sections = load::read(&mut reader, kind, &text)?;
        let mut plan = CutoverPlan {
            component: text.component.value.clone(),
            kind,
            old: sides::old(&mut reader, kind, &text)?,
            new: sides::new(&mut reader, &text.new, stack)?,
            shared: sides::shared(&mut reader, kind, &text)?,
            router: sides::router(&reader, kind, text.router.as_ref())?,
            divergence: sides::divergence(&reader, &text.divergence)?,
            traffic: sections.traffic,
            work: sections.work,
            timetable: sections.timetable,
            slo: sections.promise.slo,
            steps: Vec::new(),
            faults: Vec::new(),
            rollback: faults::rollback(&reader, &text.rollback)?,
            production: None,
        };
        plan.steps = course::read(&reader, &plan, sections.promise.given, &text)?;
        plan.faults = faults::read(&mut reader, &plan, &text.faults)?;
        let production = text.production.as_ref();
        plan.production =
            production.map(|text| production::read(&mut reader, &plan, text, stack)).transpose()?;
        let (files, services) = reader.mentioned();
        Ok(Self { file: file.to_owned(), source: source.to_owned(), plan, files, services })
    }

    /// Checks that all files which the plan names are there; they are given as paths from the plan's directory.
    ///
    /// # Errors
    /// The first one that is not, with the place where it is named.
    pub fn check_files(&self, there: impl Fn(&Path) -> bool) -> Result<(), Box<Diagnostic>> {
        let Some((path, span)) = self.files.iter().find(|(path, _)| !there(path)) else { return Ok(()) };
        let message = format!("there is no file {}", path.display());
        Err(self.error_at(span, message, "paths in a plan are relative to the plan"))
    }

    /// Checks that all services which the plan names are among those of its Compose file.
    ///
    /// # Errors
    /// The first one that is not, with the place where it is named and a suggestion.
    pub fn check_services(&self, known: &BTreeSet<String>) -> Result<(), Box<Diagnostic>> {
        let Some((name, span)) = self.services.iter().find(|(name, _)| !known.contains(name)) else {
            return Ok(());
        };
        let compose = self.plan.old.compose.display();
        let message = format!("{compose} has no service `{name}`");
        let help = closest(name, known.iter().map(String::as_str)).map_or_else(
            || format!("its services: {}", known.iter().map(String::as_str).collect::<Vec<_>>().join(", ")),
            |service| format!("did you mean `{service}`?"),
        );
        Err(self.error_at(span, message, &help))
    }

    fn error_at(&self, span: &Range<usize>, message: String, help: &str) -> Box<Diagnostic> {
        Box::new(Diagnostic {
            message,
            file: self.file.clone(),
            source: self.source.clone(),
            span: span.clone(),
            label: String::new(),
            help: Some(help.to_owned()),
        })
    }
}
